"""The heat kernel of U(1) and SU(N): density of Brownian motion towards Haar measure, and its score."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact, Key

from ..groups import AbstractGroup, adjoint, eigenphases, matrix_product


def log_heat_kernel(
    group: AbstractGroup, u: Inexact[Array, "*shape"], variance: Float[Array, ""], images: int = 2
) -> Float[Array, "*sites"]:
    r"""log K up to a constant: Brownian motion from the identity, of the given variance in each coordinate of the algebra.

    U(1): the wrapped normal distribution. SU(N), with eigenphases $\theta_i$ of sum zero (Menotti and Onofri, Nucl. Phys. B
    190 (1981) 288):

    $$ K \propto \sum_{n \in \mathbb{Z}^N,\, \sum n = 0} \prod_{i<j} \frac{\vartheta_{ij}/2}{\sin(\vartheta_{ij}/2)}
       e^{-\sum_i \vartheta_i^2/\sigma^2}, \quad \vartheta = \theta + 2\pi n. $$

    A loop of l links that all diffuse decays by $e^{-l C_F \sigma^2/2}$ (U(1): $C_F = 1$).

    **Arguments:** `u`: angles `(*sites)` or matrices `(n, n, *sites)`; `images`: bound of |n|, enough for a variance up to
    10. Images cancel where two eigenvalues coincide, with the limits of value and score; not where three do, which noise
    meets with probability zero.

        >>> tm.stochastic.log_heat_kernel(tm.SU(2), tm.SU(2).haar(key, (4, 4)), jnp.asarray(0.5)).shape
    """
    if not group.complex_elements:
        turns = jnp.arange(-images, images + 1, dtype=u.dtype).reshape(-1, *(1 for _ in u.shape))
        return jax.scipy.special.logsumexp(-((group.project(u)[None] + 2 * jnp.pi * turns) ** 2) / (2 * variance), axis=0)
    theta = _apart(_balanced(eigenphases(u)[0]), variance)
    winding = np.array([n for n in itertools.product(range(-images, images + 1), repeat=group.n) if sum(n) == 0])
    shifted = theta[None] + 2 * np.pi * jnp.asarray(winding, theta.dtype).reshape(*winding.shape, *(1 for _ in u.shape[2:]))
    exponent = -jnp.sum(shifted**2, axis=1) / variance
    factor = jnp.ones_like(exponent)
    for i, j in itertools.combinations(range(group.n), 2):
        # sin(x + pi m) = (-1)^m sin(x): the sine of the difference without turns, so that opposite images cancel exactly.
        turns = winding[:, i] - winding[:, j]
        sign = jnp.asarray((-1.0) ** turns, theta.dtype).reshape(-1, *(1 for _ in u.shape[2:]))
        half = (theta[i] - theta[j]) / 2
        factor = factor * sign * ((half[None] + _columns(np.pi * turns, theta)) / jnp.sin(half)[None])
    top = jnp.max(jax.lax.stop_gradient(exponent), axis=0)
    return jnp.log(jnp.sum(factor * jnp.exp(exponent - top[None]), axis=0)) + top


def heat_kernel_score(
    group: AbstractGroup, u: Inexact[Array, "*shape"], variance: Float[Array, ""]
) -> Inexact[Array, "*shape"]:
    r"""The gradient $\sum_a T_a \partial_a \log K(u)$, near the identity $-\log(u)/\sigma^2$.

    >>> tm.stochastic.heat_kernel_score(tm.SU(2), tm.SU(2).haar(key, (4, 4)), jnp.asarray(0.5)).shape
    """
    return group.gradient(u, jax.grad(lambda v: jnp.sum(log_heat_kernel(group, v, variance)))(u))


def brownian_motion(
    key: Key[Array, ""], group: AbstractGroup, u: Inexact[Array, "*shape"], variance: Float[Array, ""], steps: int
) -> Inexact[Array, "*shape"]:
    r"""$e^{\epsilon_n} \cdots e^{\epsilon_1} u$ with normal steps: exact for U(1), else up to O(1/steps)."""
    sites, real = u.shape[len(group.element_shape) :], jnp.real(u).dtype
    if not group.complex_elements:
        return u + jnp.sqrt(variance) * jax.random.normal(key, u.shape, real)
    size = jnp.sqrt(variance / steps).astype(u.dtype)

    def step(u, key):
        return group.multiply(group.exp(size * group.random_algebra(key, sites, real)), u), None

    return jax.lax.scan(step, u, jax.random.split(key, steps))[0]


def logarithm(group: AbstractGroup, u: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """The shortest element of the algebra whose exponential is u."""
    if not group.complex_elements:
        return group.project(u)
    return _matrix_logarithm(u)


@jax.custom_jvp
def _matrix_logarithm(u: Array) -> Array:
    theta, v = eigenphases(u)
    theta = _balanced(theta)
    scaled = v * jax.lax.complex(jnp.zeros_like(theta), theta)[None]
    return matrix_product(scaled, adjoint(v))


@_matrix_logarithm.defjvp
def _matrix_logarithm_jvp(primals, tangents):
    (u,), (du,) = primals, tangents
    theta, v = eigenphases(u)
    theta = _balanced(theta)
    moved = matrix_product(adjoint(v), matrix_product(du, v))
    # i (theta_i - theta_j)/(lambda_i - lambda_j), which has a limit at equal eigenvalues; infinite at the cut.
    half, mean = (theta[:, None] - theta[None]) / 2, (theta[:, None] + theta[None]) / 2
    small = jnp.abs(half) < float(jnp.finfo(theta.dtype).eps) ** 0.25
    rate = jnp.where(small, 1 + half**2 / 6, half / jnp.sin(jnp.where(small, 1, half)))
    rates = rate.astype(u.dtype) * jax.lax.complex(jnp.cos(mean), -jnp.sin(mean))
    return _matrix_logarithm(u), matrix_product(v, matrix_product(moved * rates, adjoint(v)))


def _balanced(theta: Array) -> Array:
    """Phases in ascending order shifted by turns so that their sum is zero and the sum of their squares least."""
    turns = jnp.round(jnp.sum(theta, axis=0) / (2 * jnp.pi)).astype(jnp.int32)
    n = len(theta)
    index = jnp.arange(n, dtype=jnp.int32).reshape(-1, *(1 for _ in theta.shape[1:]))
    down = (turns[None] > 0) & (index >= n - turns[None])
    up = (turns[None] < 0) & (index < -turns[None])
    return theta - 2 * jnp.pi * (down.astype(theta.dtype) - up.astype(theta.dtype))


def _apart(theta: Array, variance: Array) -> Array:
    r"""Phases moved off the walls where two eigenvalues coincide and images cancel to 0/0, the cut locus among them.

    The kernel is an even function of the distance y of half a difference from such a wall, in which images vary at the rate
    $a = 4\pi/\sigma^2$. Where |y| < s it is taken at $(y^2 + s^2)^{1/2}$ instead: by evenness that adds a constant to leading
    order, and leaves the derivative. With $s = \epsilon^{1/4}/a$ both the next order and what cancellation loses are relative
    errors of $\epsilon^{1/2}$.
    """
    small = float(jnp.finfo(theta.dtype).eps) ** 0.25 / jnp.maximum(1, 4 * jnp.pi / variance).astype(theta.dtype)
    moved = list(theta)
    for i, j in itertools.combinations(range(len(theta)), 2):
        half = (theta[i] - theta[j]) / 2
        y = half - jnp.pi * jax.lax.stop_gradient(jnp.round(half / jnp.pi))
        near = jnp.abs(y) < small
        away = jnp.where(y >= 0, 1, -1).astype(y.dtype) * jnp.sqrt(jnp.where(near, y**2 + small**2, 1))
        change = jnp.where(near, away - y, 0)
        moved[i], moved[j] = moved[i] + change, moved[j] - change
    return jnp.stack(moved)


def _columns(values: np.ndarray, like: Array) -> Array:
    return jnp.asarray(values, like.dtype).reshape(-1, *(1 for _ in like.shape[1:]))
