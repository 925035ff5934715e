"""What a command tells its user when it cannot go on."""


class CommandError(Exception):
    """Something the user can mend; the command prints the message and exits with `status`.

    2, the default, for input that is refused before any work; 1 for work that failed.
    """

    def __init__(self, message: str, status: int = 2):
        super().__init__(message)
        self.status = status
