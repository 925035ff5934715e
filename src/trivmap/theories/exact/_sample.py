"""Independent configurations of theories that are solved by drawing plaquettes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import integer
from ..._random import host_generator
from ..._types import Array, PRNGKey
from ...groups import real_dtype
from .. import WeightedWilsonAction, WilsonAction
from ._dispatch import concrete, concrete_array
from ._errors import NoExactResultError


def sample(key: PRNGKey, theory: Any, count: int, dtype: Any = None) -> Array:
    r"""`count` independent configurations of two-dimensional U(1) gauge theory, `(count, 2, L0, L1)`.

    All plaquettes but one of least coupling are drawn from the von Mises distribution, the last one is minus their sum and
    is accepted with probability $e^{|\beta| (\pm\cos\theta_P - 1)}$; Polyakov loops and gauge are uniform. Reweighting them
    to a theory with quarks is what flows for that must beat.

    **Arguments:** `theory`: a `WilsonAction` or `WeightedWilsonAction`; `count`: number of configurations; `dtype`: real, of
    the angles.

    **Raises:** `NoExactResultError` for any other theory.

        >>> tm.exact.sample(key, theory, 10).shape
        (10, 2, 4, 4)
    """
    integer("sample: count", count, 1)
    gauge = isinstance(theory, WilsonAction | WeightedWilsonAction)
    if not gauge or theory.group.complex_elements or len(theory.lattice) != 2:
        raise NoExactResultError(
            f"no exact samples of {type(theory).__name__} on the lattice {theory.lattice}: they are known for WilsonAction "
            "and WeightedWilsonAction of U1() in two dimensions. tm.heatbath and tm.hmc sample the others."
        )
    rng = host_generator(key)
    betas = np.full(theory.lattice, concrete(theory.beta, "beta"))
    if isinstance(theory, WeightedWilsonAction):
        betas = betas * concrete_array(theory.weights, "weights")[0]
    plaquettes = _plaquettes(rng, betas, count)
    links = _random_gauge(rng, _links(rng, plaquettes))
    wrapped = links - 2 * np.pi * np.round(links / (2 * np.pi))
    return jax.device_put(jnp.asarray(wrapped, real_dtype(dtype)))


def _plaquettes(rng: np.random.Generator, betas: np.ndarray, count: int) -> np.ndarray:
    """Plaquette angles of sum zero, `(count, *lattice)`: draws of all but one until that one is accepted."""
    # The acceptance of the last falls with its coupling.
    order = np.argsort(-np.abs(betas), axis=None, kind="stable")
    sorted_ = betas.reshape(-1)[order]
    modes, widths, last_beta = np.where(sorted_[:-1] >= 0, 0.0, np.pi), np.abs(sorted_[:-1]), sorted_[-1]
    angles = np.empty((count, betas.size))
    open_ = np.arange(count)
    while len(open_):
        drawn = rng.vonmises(modes, widths, (len(open_), betas.size - 1))
        last = -drawn.sum(axis=1)
        # The bound of the density of the last plaquette is exp(|beta|).
        accepted = np.log1p(-rng.random(len(open_))) <= last_beta * np.cos(last) - abs(last_beta)
        angles[np.ix_(open_, order)] = np.concatenate([drawn, last[:, None]], axis=1)
        open_ = open_[~accepted]
    return angles.reshape(count, *betas.shape)


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
