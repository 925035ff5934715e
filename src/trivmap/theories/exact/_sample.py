"""Independent configurations of theories that are solved by drawing plaquettes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import integer
from ..._random import host_generator
from ..._types import Array, PRNGKey, Shape
from ...groups import real_dtype
from .. import WilsonAction
from ._dispatch import concrete
from ._errors import NoExactResultError


def sample(key: PRNGKey, theory: Any, count: int, dtype: Any = None) -> Array:
    r"""`count` independent configurations of two-dimensional U(1) gauge theory with Wilson's action, `(count, 2, L0, L1)`.

    $V - 1$ plaquettes are drawn from the von Mises distribution, the last one is minus their sum and is accepted with
    probability $e^{|\beta| (\pm\cos\theta_P - 1)}$; Polyakov loops and gauge are uniform. Reweighting them to a theory
    with quarks is what flows for that must beat.

    **Arguments:** `count`: number of configurations; `dtype`: real, of the angles.

    **Raises:** `NoExactResultError` for any other theory.

        >>> tm.exact.sample(key, theory, 10).shape
        (10, 2, 4, 4)
    """
    integer("sample: count", count, 1)
    if not isinstance(theory, WilsonAction) or theory.group.complex_elements or len(theory.lattice) != 2:
        raise NoExactResultError(
            f"no exact samples of {type(theory).__name__} on the lattice {theory.lattice}: they are known for WilsonAction "
            "of U1() in two dimensions. tm.heatbath and tm.hmc sample the others."
        )
    rng = host_generator(key)
    lattice = (theory.lattice[0], theory.lattice[1])
    plaquettes = _plaquettes(rng, concrete(theory.beta, "beta"), count, lattice)
    links = _random_gauge(rng, _links(rng, plaquettes))
    wrapped = links - 2 * np.pi * np.round(links / (2 * np.pi))
    return jax.device_put(jnp.asarray(wrapped, real_dtype(dtype)))


def _plaquettes(rng: np.random.Generator, beta: float, count: int, lattice: Shape) -> np.ndarray:
    """Plaquette angles of sum zero, `(count, *lattice)`: draws of all but one until the last is accepted."""
    volume = int(np.prod(lattice))
    angles = np.empty((count, volume))
    open_ = np.arange(count)
    while len(open_):
        drawn = rng.vonmises(0.0 if beta >= 0 else np.pi, abs(beta), (len(open_), volume - 1))
        last = -drawn.sum(axis=1)
        # The bound of the density of the last plaquette is exp(|beta|).
        accepted = np.log1p(-rng.random(len(open_))) <= beta * np.cos(last) - abs(beta)
        angles[open_] = np.concatenate([drawn, last[:, None]], axis=1)
        open_ = open_[~accepted]
    return angles.reshape(count, *lattice)


def _links(rng: np.random.Generator, plaquettes: np.ndarray) -> np.ndarray:
    """Links with these plaquettes, uniform Polyakov loops, and all others that a gauge transformation can remove zero."""
    count = len(plaquettes)
    links = np.zeros((count, 2, *plaquettes.shape[1:]))
    # theta_1 grows along time by the plaquettes, and the last slice is closed by theta_0 of its links.
    links[:, 1, 1:] = np.cumsum(plaquettes[:, :-1], axis=1)
    links[:, 0, -1, 1:] = -np.cumsum(plaquettes.sum(axis=1)[:, :-1], axis=1)
    links[:, 0, -1] += rng.uniform(-np.pi, np.pi, (count, 1))
    links[:, 1, :, -1] += rng.uniform(-np.pi, np.pi, (count, 1))
    return links


def _random_gauge(rng: np.random.Generator, links: np.ndarray) -> np.ndarray:
    omega = rng.uniform(-np.pi, np.pi, (len(links), *links.shape[2:]))
    return links + np.stack([omega - np.roll(omega, -1, axis=1 + mu) for mu in range(2)], axis=1)
