from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import _linalg as linalg
from .._trees import cast
from .._types import Array, PRNGKey
from ..fermions import (
    Accuracy,
    RationalPower,
    WilsonDirac,
    apply_gamma_five,
    rational_form,
    solve_fraction,
    spectral_interval,
    zolotarev,
)
from ._fermion_determinant import FermionDeterminant
from ._pseudofermions import AbstractPseudofermion, accuracies, uses_halves

# Of the logarithm of the weight, for all modes together: far below statistical errors of any sample.
_TARGET = 1e-9


class RationalPseudofermionAction(AbstractPseudofermion):
    r"""One flavour of Wilson quarks by pseudofermions, up to the sign of its determinant, for rational HMC:

    $$S = \varphi^\dagger R(D D^\dagger)\, \varphi, \qquad R(s) \approx s^{-1/2}, \qquad
      \int d\varphi\, e^{-S} = \pi^n / \det R(D D^\dagger) \approx \pi^n\, |\det D|,$$

    with Zolotarev's R (arXiv:hep-lat/9809092 for rational approximations, arXiv:hep-lat/0608015 for RHMC). Partial
    fractions share one Krylov space. With the Hermitian $Q = D\gamma_5$, $R(Q^2) = C^\dagger C$ for a rational C(Q), and
    $\varphi = C^{-1} \eta$ is an exact draw for R itself, so that R alone is an approximation: its weight is
    `log_correction`, below `error` inside of the interval. What `sign` says is left to reweighting.
    `SumTheory` adds a gauge action and quarks of other masses (under another `name`).

    **Arguments:** `dirac`: without twisted mass; `interval`: ends between which the spectrum of $D D^\dagger$ lies, of the
    Schur complement where extents are even; `spectral_interval` measures it on given links, and the upper end is at most
    $(1 + 2d\kappa)^2$; `poles`: of R, by default as many as leave the weight an error below 1e-9. All others as of
    `PseudofermionAction`.

    **Raises:** `ValueError` for a twisted mass, or an interval that is none.

        >>> dirac = tm.fermions.WilsonDirac(tm.U1(), (4, 4), kappa=0.2)
        >>> strange = tm.theories.RationalPseudofermionAction(dirac, interval=(0.01, 4.0))
        >>> theory = tm.theories.SumTheory(strange, tm.WilsonAction(tm.U1(), (4, 4), beta=2.0))
    """

    dirac: WilsonDirac
    power: RationalPower = eqx.field(static=True)
    name: str = eqx.field(static=True)
    even_odd: bool = eqx.field(static=True)
    accuracy: Accuracy = eqx.field(static=True)
    force_accuracy: Accuracy = eqx.field(static=True)

    def __init__(
        self,
        dirac: Any,
        interval: tuple[float, float],
        poles: int | None = None,
        *,
        even_odd: bool | None = None,
        name: str = "phi",
        tolerance: float = 1e-10,
        force_tolerance: float = 1e-7,
        max_iterations: int = 5000,
    ):
        if dirac.twisted_mass is not None:
            raise ValueError(
                "RationalPseudofermionAction: got an operator with a twisted mass, expected one without: flavours of "
                "opposite twisted mass make up a positive determinant in pairs, for PseudofermionAction."
            )
        self.dirac, self.name, self.even_odd = dirac, name, uses_halves(dirac, even_odd)
        self.power = RationalPower(-0.5, interval, poles, target=_TARGET / dirac.size)
        self.accuracy, self.force_accuracy = accuracies(
            "RationalPseudofermionAction", tolerance, force_tolerance, max_iterations
        )

    @property
    def error(self) -> float:
        """Bound of `log_correction` for spectra inside of the interval: rows of D times the relative error of R."""
        return self.operator.size * self.power.error

    def form(self, x: dict[str, Array], accuracy: Accuracy) -> Array:
        # In float64 also for float32 fields: solves with shifts do not correct their residuals.
        u, phi = self.fields(cast(x, jnp.result_type(float)))
        return rational_form(accuracy, self.power, self.operator, u, phi)

    def drawn(self, eta: Array, u: Any, accuracy: Accuracy) -> Array:
        constant, weights, roots = _inverse_factor(self.power)
        x, _ = solve_fraction(accuracy, tuple((roots**2).tolist()), self.operator, u, eta)
        total = lambda c: jnp.tensordot(jnp.asarray(c, x.dtype), x, 1)  # noqa: E731
        turned = self.operator.apply_with(u, apply_gamma_five(total(1j * weights)))
        return (eta + turned + total(weights * roots)) * np.sqrt(1 / constant).item()

    def iterations(self, x: dict[str, Array]) -> Array:
        """Iterations of conjugate gradients, two applications of the operator each, that one action takes."""
        u, phi = self.fields(x)
        return solve_fraction(self.accuracy, self.power.shifts, self.operator, u, phi)[1]

    def log_correction(self, x: dict[str, Array]) -> Array:
        r"""The log weight that makes up for the approximation, $\log |\det D| + \log \det R(D D^\dagger)$, by a dense
        matrix."""
        singular = linalg.svd(self.operator.dense(x["links"]))[1]
        return jnp.sum(jnp.log(singular * self.power(singular**2)))

    def sign(self, x: dict[str, Array]) -> Array:
        r"""Sign of det D by an exact method of `fermions.log_det`, the factor that reweighting has to make up for."""
        return FermionDeterminant(self.dirac, flavours=1).sign(x["links"])

    def check_spectrum(self, key: PRNGKey, x: dict[str, Array]) -> None:
        """Raises `ValueError` where the spectrum on the links is not inside of the interval, by Lanczos iterations."""
        found = spectral_interval(key, self.operator, x["links"])
        lower, upper = self.power.interval
        if found[0] < lower or found[1] > upper:
            raise ValueError(
                f"RationalPseudofermionAction: got the interval ({lower:g}, {upper:g}), expected one that holds the "
                f"spectrum of D D^dagger, here ({found[0]:g}, {found[1]:g}); a wider one costs a few poles."
            )


def _inverse_factor(power: RationalPower) -> tuple[float, np.ndarray, np.ndarray]:
    r"""$A, s_l, \beta_l$ of $C^{-1}(y) = A^{-1/2} \prod_l (y + i\alpha_l)/(y + i\beta_l)$, which is
    $A^{-1/2}[1 + \sum_l i s_l/(y + i\beta_l)]$; $|C(y)|^2 = A \prod_l (y^2 + \beta_l^2)/(y^2 + \alpha_l^2)$ is R of $y^2$.
    """
    lower, upper = power.interval
    factor, a, b = zolotarev(lower / upper, len(power.shifts))
    alpha, beta = np.sqrt(upper * a), np.sqrt(upper * b)
    others = ~np.eye(len(beta), dtype=bool)
    tops, bottoms = alpha - beta[:, None], beta - beta[:, None]
    products = np.prod(np.where(others, tops / np.where(others, bottoms, 1.0), 1.0), axis=1)
    return factor / np.sqrt(upper), (alpha - beta) * products, beta
