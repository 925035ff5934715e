class NoExactResultError(ValueError):
    """No exact result is known for the observable and theory asked for; the message says which and why."""
