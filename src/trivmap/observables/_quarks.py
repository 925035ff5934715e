"""Observables of quarks on one configuration of links: condensate, meson correlators, index."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .. import _linalg as linalg
from .._checks import integers
from .._types import Array, Float, PRNGKey, RealScalar
from ..fermions import WilsonDirac, apply_gamma_five, gamma_matrices, log_det, log_det_method, solve
from ..lattice import accumulator_dtype
from ._derived import DerivedObservable
from ._links import check_axis


class ChiralCondensate(eqx.Module):
    r"""$\frac1V \mathrm{Re\,tr}\, D^{-1}$ of one flavour, exactly, from $\mathrm{tr}\, D^{-1} = \text{size} - \kappa\, d
    \log\det D / d\kappa$.

    $\langle\bar\psi\psi\rangle$ is minus its mean; times $2\kappa$ in the normalisation of $D + m_0$.

    **Arguments:** `dirac`: the operator, without twisted mass; `method`: as in `fermions.log_det`.

    **Raises:** `ValueError` with a twisted mass.

        >>> condensate = tm.observables.ChiralCondensate(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> tm.expectation(ensemble, condensate)
    """

    dirac: WilsonDirac
    method: str = eqx.field(static=True)

    def __init__(self, dirac: Any, method: str = "auto"):
        if dirac.twisted_mass is not None:
            raise ValueError("ChiralCondensate: got a twisted mass, expected none; see stochastic_condensate.")
        self.dirac = dirac
        self.method = log_det_method(dirac, method)

    def __call__(self, x: Array) -> RealScalar:
        dirac, volume = self.dirac, math.prod(self.dirac.lattice)

        def logarithm(kappa: Array) -> Array:
            return log_det(eqx.tree_at(lambda d: d.kappa, dirac, kappa), x, self.method)[1]

        kappa = dirac.kappa.astype(accumulator_dtype())
        slope = jax.jvp(logarithm, (kappa,), (jnp.ones_like(kappa),))[1]
        return (dirac.size - kappa * slope) / volume


def stochastic_condensate(
    key: PRNGKey, dirac: WilsonDirac, x: Array, sources: int = 16, tolerance: float = 1e-10
) -> tuple[RealScalar, RealScalar]:
    r"""An unbiased estimate of $\frac1V \mathrm{Re\,tr}\, D^{-1}$, $\frac1V \mathrm{Re}\, \eta^\dagger D^{-1} \eta$, and
    its error.

    Components of $\eta$ are independent phases 1, i, -1, -i: the noise comes from entries off the diagonal only.

    **Arguments:** `sources`: number of $\eta$, two or more; the error is that of their mean on this configuration.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> value, error = tm.observables.stochastic_condensate(key, dirac, links)
    """
    integers("stochastic_condensate", 2, sources=sources)

    def one(key: PRNGKey) -> Array:
        quarter = jax.random.randint(key, dirac.spinor_shape, 0, 4)
        noise = jnp.asarray(np.array([1, 1j, -1, -1j]), jnp.result_type(complex))[quarter]
        found = solve(dirac, x, noise, tolerance=tolerance).spinor
        return jnp.vdot(noise, found).real / math.prod(dirac.lattice)

    values = jax.vmap(one)(jax.random.split(key, sources))
    return jnp.mean(values), jnp.std(values, ddof=1) / sources**0.5


class MesonCorrelators(eqx.Module):
    r"""Connected correlators of mesons with zero momentum and degenerate flavours, from the propagator S of one source,

    $$C_{PP}(t) = \sum_{x_\perp} \mathrm{tr}\, S S^\dagger, \qquad C_{AP}(t) = -\sum_{x_\perp} \mathrm{tr}\, \gamma_t S
    S^\dagger,$$

    an array `(2, extent)`. $C_{PP}$ is the correlator of the pion (of the eta without its disconnected part), $C_{AP}$
    that of the axial current, both with the sign that makes `pcac_mass` that of the quark. They use $S(0, x) = \gamma_5
    S(x, 0)^\dagger \gamma_5$. For fits take `pion`, for masses at one t `effective_mass`.

    **Arguments:** `dirac`: the operator, without twisted mass; `axis`: direction of t, 0 is time; `source`: "point" at
    the origin, or "wall", the slice t = 0 with equal entries: where the gauge is not fixed, quarks of different sites
    average out, and the mean is that of the point source times the sites of a slice, from all of them at once but with the
    noise of the gauge; `tolerance`: of the solves, one for each spin and colour.

    **Raises:** `ValueError` for another source, or a twisted mass; `fermions.NotConvergedError` in the call.

        >>> correlators = tm.observables.MesonCorrelators(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> correlators(links).shape
        (2, 4)
    """

    dirac: WilsonDirac
    axis: int = eqx.field(static=True)
    source: str = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def __init__(self, dirac: Any, axis: int = 0, source: str = "point", tolerance: float = 1e-10):
        check_axis("MesonCorrelators", axis, len(dirac.lattice))
        if source not in ("point", "wall"):
            raise ValueError(f"MesonCorrelators: got source={source!r}, expected 'point' or 'wall'.")
        if dirac.twisted_mass is not None:
            raise ValueError("MesonCorrelators: got a twisted mass, expected none.")
        self.dirac, self.axis, self.source, self.tolerance = dirac, axis, source, tolerance

    def __call__(self, x: Array) -> Float[Array, "2 extent"]:
        dirac, dim = self.dirac, len(self.dirac.lattice)
        place = tuple(0 if mu == self.axis or self.source == "point" else slice(None) for mu in range(dim))
        spins, colours = np.indices((dirac.spins, dirac.group.n)).reshape(2, -1)

        def column(spin: Array, colour: Array) -> Array:
            b = jnp.zeros(dirac.spinor_shape, jnp.result_type(complex)).at[(spin, colour, *place)].set(1)
            return solve(dirac, x, b, tolerance=self.tolerance).spinor

        propagator = jax.vmap(column)(jnp.asarray(spins), jnp.asarray(colours))
        gamma = jnp.asarray(gamma_matrices(dim)[self.axis], propagator.dtype)
        turned = jnp.einsum("st,kt...->ks...", gamma, propagator)
        others = tuple(a for a in range(propagator.ndim) if a != propagator.ndim - dim + self.axis)
        pion = jnp.sum(jnp.abs(propagator) ** 2, axis=others)
        axial = -jnp.sum((propagator.conj() * turned).real, axis=others)
        return jnp.stack([pion, axial])

    def pion(self, x: Array) -> Float[Array, " extent"]:
        r"""$C_{PP}$ alone, as `statistics.fit_correlator` and `effective_mass` expect it."""
        return self(x)[0]


def pcac_mass(correlators: MesonCorrelators, t: int) -> DerivedObservable:
    r"""Quark mass from the partially conserved axial current, $\frac{C_{AP}(t+1) - C_{AP}(t-1)}{4\, C_{PP}(t)}$, of mean
    correlators.

    **Arguments:** `correlators`: of one configuration; `t`: away from the source, where the relation holds up to the
    cutoff.

        >>> correlators = tm.observables.MesonCorrelators(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2))
        >>> tm.expectation(ensemble, tm.observables.pcac_mass(correlators, t=2))
    """
    extent = correlators.dirac.lattice[correlators.axis]
    integers("pcac_mass", 1, t=t)

    def function(means: Array) -> Array:
        pion, axial = means
        return (axial[(t + 1) % extent] - axial[t - 1]) / (4 * pion[t % extent])

    # A function is hashable, which static fields must be; a module with couplings is not.
    return DerivedObservable(lambda x: correlators(x), function)


def spectral_index(dirac: WilsonDirac, x: Array) -> RealScalar:
    r"""Half the number of positive minus negative eigenvalues of $\gamma_5 D$, on small lattices by diagonalisation.

    With a negative quark mass, $1/(2d) < \kappa < 1/(2d - 4)$ (as $\kappa = 1/2$ in two dimensions, $m_0 = -1$), it is
    the index of the overlap operator (hep-lat/9707022), on smooth U(1) fields the geometric charge.

    **Arguments:** `dirac`: the operator, without twisted mass.

        >>> tm.observables.spectral_index(tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2), links)
    """
    matrix = dirac.dense(x).reshape(*dirac.spinor_shape, dirac.size)
    hermitian = apply_gamma_five(matrix).reshape(dirac.size, dirac.size)
    return jnp.sum(jnp.sign(linalg.eigh(hermitian)[0])) / 2
