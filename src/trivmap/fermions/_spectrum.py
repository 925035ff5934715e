from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._checks import integers
from .._types import Array, PRNGKey


def spectral_interval(key: PRNGKey, operator: Any, x: Array, steps: int = 120) -> tuple[float, float]:
    r"""An interval that holds the spectrum of $D D^\dagger$ on the links `x`, by Lanczos iterations from a random spinor.

    The ends are the extreme Ritz values, moved outwards by the bounds of their residuals. All vectors are kept orthogonal.

    **Arguments:** `operator`: a `WilsonDirac` or its `EvenOddDirac`; `steps`: applications of $D D^\dagger$, at most the
    number of rows.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> lower, upper = tm.fermions.spectral_interval(key, tm.fermions.EvenOddDirac(dirac), links)
    """
    integers("spectral_interval", 1, steps=steps)
    diagonal, beside = (np.asarray(a) for a in _lanczos(key, operator, x, min(steps, operator.size)))
    # An invariant subspace ends the iterations: what follows is rounding.
    ended = np.flatnonzero(beside < 1e-10 * np.max(diagonal))
    count = ended[0] + 1 if len(ended) else len(diagonal)
    off = np.diag(beside[: count - 1], 1)
    values, vectors = np.linalg.eigh(np.diag(diagonal[:count]) + off + off.T)
    bounds = beside[count - 1] * np.abs(vectors[-1])
    return max(float(values[0] - bounds[0]), 0.0), float(values[-1] + bounds[-1])


@eqx.filter_jit
def _lanczos(key: PRNGKey, operator: Any, x: Array, steps: int) -> tuple[Array, Array]:
    """Diagonal of the tridiagonal matrix, and the entries beside it, the last one of which leads out of it."""
    u = operator.transporters(x)
    start = operator.random_spinor(key, jnp.finfo(jax.tree.leaves(u)[0].dtype).dtype)

    def step(carry: tuple, i: Array) -> tuple:
        basis, v = carry
        basis = basis.at[i].set(v)
        w = operator.apply_with(u, operator.apply_with(u, v, dagger=True))
        diagonal = jnp.sum(v.real * w.real + v.imag * w.imag)
        for _ in range(2):  # twice is enough
            w = w - jnp.tensordot(jnp.tensordot(basis.conj(), w, w.ndim), basis, 1)
        beside = jnp.sqrt(jnp.sum(w.real**2 + w.imag**2))
        return (basis, w / jnp.where(beside > 0, beside, 1.0).astype(w.dtype)), (diagonal, beside)

    basis = jnp.zeros((steps, *start.shape), start.dtype)
    norm = jnp.sqrt(jnp.sum(start.real**2 + start.imag**2)).astype(start.dtype)
    return lax.scan(step, (basis, start / norm), jnp.arange(steps))[1]
