"""The optimiser that `fit` uses when none is given."""

import optax


def default_optimiser(steps: int, learning_rate: float = 1e-2) -> optax.GradientTransformation:
    """Adam with a cosine decay of the learning rate from `learning_rate` to zero over `steps` updates."""
    return optax.adam(optax.cosine_decay_schedule(learning_rate, max(steps, 1)), b1=0.9, b2=0.95)
