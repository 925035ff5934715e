"""The optimiser that `fit` uses when none is given."""

import optax

from .._checks import integers, positive


def default_optimiser(steps: int, learning_rate: float = 1e-2) -> optax.GradientTransformation:
    """Adam with a cosine decay of the learning rate from `learning_rate` to zero over `steps` updates.

    >>> optimiser = tm.training.default_optimiser(1000, 3e-3)
    """
    integers("default_optimiser", 1, steps=steps)
    positive("default_optimiser: learning_rate", learning_rate)
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps), b1=0.9, b2=0.95)
