"""Distributions of one link given all others: exact draws by rejection with a fixed number of attempts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

# Concentrations below serve for divisions only: the formulas are uniform from there on.
_TINY = 1e-30


def von_mises(
    key: Key[Array, ""], kappa: Float[Array, " links"], attempts: int
) -> tuple[Float[Array, " links"], Bool[Array, " links"]]:
    r"""Angles with density $\propto \exp(\kappa \cos\theta)$, kappa >= 0, and which of them are valid.

    Best and Fisher (Appl. Statist. 28 (1979) 152): proposals from the wrapped Cauchy distribution, of which at least 0.66 are
    accepted, written so that nothing cancels at small or large kappa. Other concentrations give NaN.
    """
    kappa = _concentration(kappa)
    u, v = _uniform(key, (2, attempts, *kappa.shape), kappa.dtype)
    outer = jnp.hypot(jnp.ones_like(kappa), 2 * kappa)
    inner = jnp.sqrt(2 * (1 + outer))
    root = 1 + outer + inner
    # 1 - rho with rho = 2 kappa/root; and outer - 2 kappa = 1/(outer + 2 kappa).
    gap = (1 + inner + 1 / (outer + 2 * kappa)) / root
    theta = 2 * jnp.arctan((gap / (2 - gap))[None] * jnp.tan(jnp.pi * (u - 0.5)))
    c = (root * gap**2 / 4)[None] + 2 * kappa[None] * jnp.sin(theta / 2) ** 2
    theta, valid = _first(theta, jnp.log(v) <= jnp.log(c) + 1 - c)
    return theta, valid | jnp.isnan(kappa)


def quaternion(
    key: Key[Array, ""], w: Float[Array, " links"], attempts: int
) -> tuple[Float[Array, "4 links"], Bool[Array, " links"]]:
    r"""Unit quaternions with density $\propto \exp(w a_0)$, w >= 0, towards Haar measure, and which of them are valid.

    $a_0$ has the density $\sqrt{1 - a_0^2}\, e^{w a_0}$. For w > 1.7 after Kennedy and Pendleton (Phys. Lett. B 156 (1985)
    393), $1 - a_0$ from a Gamma distribution; below after Creutz (Phys. Rev. D 21 (1980) 2308), from $e^{w a_0}$. At least
    0.7 of the proposals are accepted. Other concentrations give NaN.
    """
    w = _concentration(w)
    key, direction = jax.random.split(key)
    u = _uniform(key, (4, attempts, *w.shape), w.dtype)
    safe = jnp.maximum(w, _TINY)[None]
    gamma = -(jnp.log(u[0]) + jnp.log(u[1]) * jnp.cos(2 * jnp.pi * u[2]) ** 2) / safe
    exponential = -jnp.log1p((1 - u[0]) * jnp.expm1(-2 * safe)) / safe
    large = w[None] > 1.7
    delta = jnp.where(large, gamma, exponential)
    delta, valid = _first(delta, u[3] ** 2 <= jnp.where(large, 1 - delta / 2, delta * (2 - delta)))
    a0 = 1 - delta
    size = jnp.sqrt(jnp.maximum(delta * (2 - delta), 0))
    cosine, phase = _uniform(direction, (2, *w.shape), w.dtype)
    cosine, phase = 2 * cosine - 1, 2 * jnp.pi * phase
    sine = jnp.sqrt(1 - cosine**2)
    q = jnp.stack([a0, size * sine * jnp.cos(phase), size * sine * jnp.sin(phase), size * cosine])
    return q, valid | jnp.isnan(w)


def _concentration(w: Array) -> Array:
    """w, or NaN for what is no concentration: a draw with a plausible value would hide the mistake."""
    return jnp.where(w >= 0, w, jnp.nan)


def _uniform(key: Array, shape: tuple[int, ...], dtype) -> Array:
    """Uniform on (0, 1]: zero has no logarithm."""
    return 1 - jax.random.uniform(key, shape, dtype)


def _first(proposals: Array, accepted: Array) -> tuple[Array, Array]:
    """The first accepted proposal along axis 0."""
    index = jnp.argmax(accepted, axis=0)
    return jnp.take_along_axis(proposals, index[None], axis=0)[0], jnp.any(accepted, axis=0)
