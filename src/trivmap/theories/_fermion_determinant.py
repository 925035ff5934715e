from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._checks import integer
from .._types import Array
from ..fermions import WilsonDirac, log_det, log_det_method
from ..manifolds import LinkField
from ._base import AbstractTheory


class FermionDeterminant(AbstractTheory):
    r"""Quarks that were integrated out exactly: $S = -n_f \log \det D$ of Wilson fermions as a theory of links.

    For an even number of flavours the weight $(\det D)^{n_f}$ is positive and S real, $-n_f \log |\det D|$. For an odd
    one the action is complex, with the imaginary part $\pi$ where det D is negative: reweighting keeps the sign, chains
    follow the magnitude, and where a density is needed `phase_quenched` is the theory of $|\det D|^{n_f}$. With a
    twisted mass flavours come in pairs of opposite $\mu$, $\det(D^\dagger D + \mu^2)$ each.
    `tm.theories.SumTheory(determinant, gauge)` has a gauge action besides.

    **Arguments:** `dirac`: the operator; `flavours`: their number, of the same mass; `method`: as in `fermions.log_det`.

    **Raises:** `ValueError` for an odd number of flavours with a twisted mass, or a method that does not fit.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> tm.theories.FermionDeterminant(dirac).action(links)
    """

    dirac: WilsonDirac
    flavours: int = eqx.field(static=True)
    method: str = eqx.field(static=True)

    def __init__(self, dirac: Any, flavours: int = 2, method: str = "auto"):
        integer("FermionDeterminant: flavours", flavours, 1)
        if flavours % 2 and dirac.twisted_mass is not None:
            raise ValueError(
                f"FermionDeterminant: got {flavours} flavours with a twisted mass, expected an even number: flavours of "
                "opposite twisted mass make up a positive determinant in pairs."
            )
        self.dirac = dirac
        self.flavours = flavours
        self.method = log_det_method(dirac, method)

    @property
    def manifold(self) -> LinkField:
        return self.dirac.manifold

    def log_det(self, x: Array) -> Array:
        r"""$\log |\det D|$ of one flavour."""
        return log_det(self.dirac, x, self.method)[1]

    def sign(self, x: Array) -> Array:
        r"""Sign of det D, 1 or -1, of one flavour without twisted mass; with one the product of a pair, 1."""
        if self.dirac.twisted_mass is not None:
            return jnp.ones(())
        return log_det(self.dirac, x, self.method)[0].real

    def action(self, x: Array) -> Array:
        phase, logarithm = log_det(self.dirac, x, self.method)
        if self.flavours % 2 == 0:
            return -self.flavours * logarithm
        return jax.lax.complex(-self.flavours * logarithm, jnp.where(phase.real < 0, jnp.pi, 0.0).astype(logarithm.dtype))
