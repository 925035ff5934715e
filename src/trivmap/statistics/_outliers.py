"""Errors that one measurement makes."""

import numpy as np

_LARGEST_SHARE = 0.5


def outlier_cautions(terms: np.ndarray) -> tuple[str, ...]:
    """From terms (n, ...) whose squares add up to a variance: where one of them is most of it."""
    largest = np.abs(terms).max(axis=0)
    squares = np.sum(np.abs(terms / np.where(largest > 0.0, largest, 1.0)) ** 2, axis=0)
    share = np.max(np.where(squares > 0.0, 1.0 / np.maximum(squares, 1.0), 0.0))
    if not share > _LARGEST_SHARE:  # nan, too
        return ()
    return (f"one sample makes {100 * share:.0f} % of the squared error: the error itself is uncertain",)
