import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from .._checks import integer
from .._types import Array, Float, RealScalar
from ._scalar import magnetisation, two_point


class DerivedObservable(eqx.Module):
    """A function of means: `function(mean(primary(x)))`.

    **Arguments:** `primary`: maps a configuration to a vector of primary observables; `function`: maps the vector of their
    means to a scalar. Errors follow by linear propagation or resampling: `expectation(data, derived)` from configurations,
    `expectation(data, NAME, function=derived)` from primary values that were measured under a name.

        >>> moments = lambda x: jnp.stack([jnp.mean(x**2), jnp.mean(x**4)])
        >>> tm.expectation(chain, tm.observables.DerivedObservable(moments, lambda m: m[1] / m[0] ** 2))
    """

    primary: Callable[[Array], Array] = eqx.field(static=True)
    function: Callable[[Array], Array] = eqx.field(static=True)


def _even_moments(phi: Array) -> Float[Array, " 2"]:
    m2 = magnetisation(phi) ** 2
    return jnp.stack([m2, m2**2])


def _binder(means: Float[Array, " 2"]) -> RealScalar:
    return 1 - means[1] / (3 * means[0] ** 2)


def _scaled_moments(phi: Array) -> Float[Array, " 2"]:
    m = magnetisation(phi)
    return jnp.stack([phi.size * m**2, phi.size**0.5 * jnp.abs(m)])


def _variance(means: Float[Array, " 2"]) -> RealScalar:
    return means[0] - means[1] ** 2


def _correlator_primary(axis: int, connected: bool) -> Callable[[Array], Array]:
    def primary(phi: Array) -> Array:
        c = two_point(phi, axis)
        if not connected:
            return c
        # Scaled so that its square is the disconnected part of C(t) and the function needs no volume.
        transverse = phi.size // phi.shape[axis]
        return jnp.concatenate([c, (transverse**0.5 * jnp.abs(magnetisation(phi)))[None]])

    return primary


def _correlator(means: Array, connected: bool) -> Array:
    return means[:-1] - means[-1] ** 2 if connected else means


def _family(derived: Callable[..., DerivedObservable]) -> Any:
    """A function whose values are derived observables, itself the one with default arguments where one is expected.

    Equal arguments give the same object: no recompilation where it is a static argument.
    """
    cached, name = functools.cache(derived), derived.__name__

    @functools.wraps(derived)
    def family(*arguments: Any, **parameters: Any) -> DerivedObservable:
        if any(hasattr(argument, "shape") for argument in (*arguments, *parameters.values())):
            raise TypeError(
                f"{name} is a function of means and has no value on one configuration: write expectation(data, {name}) for "
                f"a chain or an ensemble of configurations, measure={{'{name}': {name}}} while sampling and then "
                f"expectation(data, '{name}', function={name})."
            )
        return cached(*arguments, **parameters)

    named: Any = family
    named.primary, named.function = derived().primary, derived().function
    return named


@_family
def binder_cumulant() -> DerivedObservable:
    r"""$U_4 = 1 - \langle M^4\rangle / (3 \langle M^2\rangle^2)$. `binder_cumulant` itself stands for `binder_cumulant()`."""
    return DerivedObservable(_even_moments, _binder)


@_family
def connected_susceptibility() -> DerivedObservable:
    r"""$V (\langle M^2\rangle - \langle |M|\rangle^2)$. `connected_susceptibility` itself stands for its value."""
    return DerivedObservable(_scaled_moments, _variance)


def effective_mass(correlator: Callable[[Array], Array], t: int | None = None) -> DerivedObservable:
    r"""Effective mass $\mathrm{arccosh} \frac{C(t-1) + C(t+1)}{2 C(t)}$ of the mean of any correlator on a periodic
    lattice, exact at every `t` at which a single state is left.

    **Arguments:** `correlator`: function of a configuration with values $C(0), \ldots, C(T-1)$; `t`: separation, by default
    T/2.

    **Raises:** `ValueError` when it is evaluated on an extent below 3 or with `t` outside of 1 ... T - 1.

        >>> pion = tm.observables.MesonCorrelators(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)).pion
        >>> tm.expectation(ensemble, tm.observables.effective_mass(pion))
    """
    if t is not None:
        integer("effective_mass: t", t, 1)
    # Functions are hashable, which static fields must be; methods of modules with couplings are not.
    return DerivedObservable(lambda x: correlator(x), lambda means: _effective("effective_mass", means, t))


def _effective(name: str, c: Array, t: int | None) -> RealScalar:
    extent = c.shape[0]
    if extent < 3:
        raise ValueError(f"{name}: got an extent of {extent} along the axis of the correlator, expected at least 3.")
    if t is not None and t >= extent:
        raise ValueError(f"{name}: got t={t}, expected a separation in 1..{extent - 1} along the axis of the correlator.")
    centre = extent // 2 if t is None else t
    return jnp.arccosh((c[centre - 1] + c[(centre + 1) % extent]) / (2 * c[centre]))


@_family
def pole_mass(axis: int = 0, t: int | None = None, connected: bool = False) -> DerivedObservable:
    r"""Effective mass $\mathrm{arccosh} \frac{C(t-1) + C(t+1)}{2 C(t)}$ of the zero-momentum two-point function.

    Exact at every `t` for a single state on a periodic lattice. `pole_mass` itself stands for `pole_mass()`.

    **Arguments:** `axis`: direction of the correlator; `t`: separation, by default half of the extent, where the formula
    reads $\mathrm{arccosh}\, C(L/2-1)/C(L/2)$; `connected`: subtract $(V/L) \langle |M|\rangle^2$.

    **Raises:** `ValueError` when it is evaluated on an extent below 3 or with `t` outside of 1 ... L - 1.

        >>> tm.expectation(chain, tm.observables.pole_mass(t=1))
    """
    if t is not None:
        integer("pole_mass: t", t, 1)

    def function(means: Array) -> RealScalar:
        return _effective("pole_mass", _correlator(means, connected), t)

    return DerivedObservable(_correlator_primary(axis, connected), function)


@_family
def second_moment_mass(axis: int = 0, connected: bool = False) -> DerivedObservable:
    r"""Second-moment mass $m^2 = 4 \sin^2(\pi/L)\, \frac{G(p)}{G(0) - G(p)}$, $p = 2\pi/L$ along `axis`; $\xi = 1/m$.

    Exact for a free field: the bare mass.

    **Arguments:** as for `pole_mass`.

    **Raises:** `ValueError` when it is evaluated on an extent of 1, which has no momentum but zero.

        >>> tm.expectation(chain, tm.observables.second_moment_mass)
    """

    def function(means: Array) -> RealScalar:
        c = _correlator(means, connected)
        extent = c.shape[0]
        if extent < 2:
            raise ValueError(f"second_moment_mass: got an extent of {extent} along axis {axis}, expected at least 2.")
        momentum = 2 * jnp.pi / extent
        zero = jnp.sum(c)
        lowest = jnp.sum(c * jnp.cos(momentum * jnp.arange(extent, dtype=c.dtype)))
        return 2 * jnp.sin(momentum / 2) * jnp.sqrt(lowest / (zero - lowest))

    return DerivedObservable(_correlator_primary(axis, connected), function)
