"""Arrays as users give them, checked before anything is computed."""

from typing import Any

import numpy as np


def plain_array(data: Any, what: str) -> np.ndarray:
    """A NumPy array without a mask. **Raises:** `ValueError` where entries are masked: dropping the mask would use them."""
    if isinstance(data, np.ma.MaskedArray):
        masked = int(np.sum(np.ma.getmaskarray(data)))
        if masked:
            raise ValueError(
                f"{what}: {masked} of {data.size} are masked. Remove them first (`x[~x.mask].data`), or pass `x.data` "
                "if they are valid; a gap in a Markov chain also breaks its autocorrelation"
            )
        data = data.data
    if hasattr(data, "observables"):
        raise TypeError(
            f"{what}: expected numbers, got {_article(type(data).__name__)}; pass data.observables[NAME], or estimate with "
            "expectation(data, NAME)"
        )
    return np.asarray(data)


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


def real_array(data: Any, what: str, advice: str) -> np.ndarray:
    """In float64. **Raises:** `TypeError` for complex numbers, text or objects."""
    array = plain_array(data, what)
    if np.iscomplexobj(array):
        raise TypeError(
            f"the data are complex: {advice} the real part, the imaginary part or the modulus, "
            "for example with `lambda x: jnp.real(observable(x))`"
        )
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what}: expected real numbers, got an array of dtype {array.dtype}") from error


def complex_array(data: Any, what: str, advice: str) -> np.ndarray:
    """In complex128. **Raises:** `TypeError` for text or objects."""
    array = plain_array(data, what)
    return array.astype(np.complex128) if np.iscomplexobj(array) else real_array(array, what, advice).astype(np.complex128)
