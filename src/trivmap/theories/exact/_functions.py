from collections.abc import Sequence
from typing import Any

import numpy as np

from ._dispatch import concrete, solve
from ._errors import NoExactResultError
from ._gauge2d import expansion_of
from ._strong_coupling import strong_coupling_plaquette as _strong_coupling_plaquette


def _evaluate(observable: str, theory: Any, *arguments: Any) -> Any:
    solution = solve(theory)
    method = getattr(solution, observable, None)
    if method is None:
        raise NoExactResultError(
            f"no exact {observable} for {type(theory).__name__} on the lattice {theory.lattice}: it is not an "
            f"observable of this theory, or no exact method ({type(solution).__name__}) yields it."
        )
    try:
        with np.errstate(all="ignore"):
            result = method(*arguments)
    except (ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
        raise _out_of_reach(observable, theory, type(error).__name__) from error
    except ValueError as error:
        # The logarithm of what has underflowed, by Python's own function.
        if "math domain" not in str(error):
            raise
        raise _out_of_reach(observable, theory, "underflow") from error
    if not np.all(np.isfinite(result)):
        raise _out_of_reach(observable, theory, f"got {result}")
    return result


def _out_of_reach(observable: str, theory: Any, reason: str) -> NoExactResultError:
    terms = getattr(theory, "terms", (theory,))
    couplings = {name: value for term in terms for name, value in vars(term).items() if name != "manifold"}
    shown = ", ".join(f"{name}={float(np.asarray(value)):g}" for name, value in couplings.items())
    return NoExactResultError(
        f"no exact {observable} for {type(theory).__name__} with {shown} on the lattice {theory.lattice}: the computation "
        f"leaves the range of numbers or memory ({reason}). Take less extreme couplings or a smaller lattice."
    )


def _check_axis(theory: Any, axis: int) -> None:
    if not 0 <= axis < len(theory.lattice):
        raise ValueError(f"axis={axis}: the lattice {theory.lattice} has the axes 0 ... {len(theory.lattice) - 1}.")


def log_z(theory: Any) -> float:
    r"""Log of the partition function, $\log \int e^{-S}$.

    Haar measure of volume one for links ($d\theta/2\pi$ for U(1): with plain $d\theta$ add $\log 2\pi$ per link), plain
    $\prod_x d\phi_x$ for scalars, the uniform measure of volume one for unit vectors. Sources: Migdal (1975) for gauge
    theory; transfer matrix for $\phi^4$; H. E. Stanley, Phys. Rev. 179 (1969) 570 for O(n) chains.

        >>> tm.exact.log_z(theory)
    """
    return _evaluate("log_z", theory)


def mean_action(theory: Any) -> float:
    r"""$\langle S \rangle$ of the whole lattice."""
    return _evaluate("mean_action", theory)


def entropy(theory: Any) -> float:
    r"""Differential entropy $-\langle \log p \rangle = \log Z + \langle S \rangle$ of the normalised density."""
    return log_z(theory) + mean_action(theory)


def action_variance(theory: Any) -> float:
    r"""Gauge and O(n): $d^2 \log Z / d\beta^2$, the variance of $S/\beta$ ($\sum_P p$). Scalars: $\mathrm{Var}(S)$."""
    return _evaluate("action_variance", theory)


def plaquette(theory: Any) -> float:
    r"""Mean plaquette $\frac1N \langle \mathrm{Re\,tr}\, U_P \rangle$ ($\langle \cos\theta_P \rangle$ for U(1)) on the torus.

    $\langle p \rangle = \frac1V\, d \log Z / d\beta$, differentiated exactly.

        >>> tm.exact.plaquette(theory)
    """
    return _evaluate("plaquette", theory)


def wilson_loop(theory: Any, r: int, t: int, plane: tuple[int, int] | None = None) -> float:
    r"""Contractible rectangle, $\frac1N \langle \mathrm{Re\,tr}\, W \rangle$, with finite-volume corrections.

    **Arguments:** `r`, `t`: extents, smaller than the lattice; `plane`: axes of r and t, by default the average of both
    orientations (which have the same value where both fit).

        >>> tm.exact.wilson_loop(theory, 2, 2)
    """
    return _evaluate("wilson_loop", theory, r, t, plane)


def polyakov_loop_squared(theory: Any, axis: int = 0) -> float:
    r"""$\langle |\mathrm{tr} P|^2 \rangle / N^2$ of one line P that winds along `axis` (equal for both axes)."""
    return _evaluate("polyakov_loop_squared", theory, axis)


def polyakov_correlator(theory: Any, axis: int, distance: int) -> float:
    r"""$\langle \mathrm{tr} P(0)\, \mathrm{tr} P(R)^\dagger \rangle / N^2$ of two lines that wind along `axis`.

    **Arguments:** `axis`: along which the lines wind; `distance`: R, along the other axis.
    """
    return _evaluate("polyakov_correlator", theory, axis, distance)


def charge_distribution(theory: Any, charge: Any) -> Any:
    r"""Two-dimensional U(1): probability P(Q) of the topological charge, $Q = \frac{1}{2\pi} \sum_x \mathrm{wrap}(\theta_P)$.

    **Arguments:** `charge`: an integer, or an array of integers. Absolute accuracy about 1e-15; smaller values are 0.
    """
    return _evaluate("charge_distribution", theory, charge)


def charge_moment(theory: Any, power: int) -> Any:
    r"""Two-dimensional U(1): the moment $\langle Q^n \rangle$, not divided by the volume and not a cumulant.

    With a theta term complex.
    """
    return _evaluate("charge_moment", theory, power)


def charge_squared(theory: Any) -> float:
    r"""Two-dimensional U(1): $\langle Q^2 \rangle$ of the whole lattice (divide by V for the susceptibility).

    >>> tm.exact.charge_squared(theory)
    """
    return _evaluate("charge_squared", theory)


def average_phase(theory: Any) -> float:
    r"""$\langle e^{i\theta Q} \rangle = Z(\theta)/Z(0)$ of two-dimensional U(1) with a theta term."""
    return _evaluate("average_phase", theory)


def strong_coupling_plaquette(theory: Any) -> float:
    r"""Plaquette of the infinite lattice in the dimension of `theory`, to order $u^{10}$ of strong coupling.

    Truncated at single and double cubes, error of order $u^{11}$ ($u = c_f / c_0$): in four dimensions 1e-10 for SU(3) at
    beta = 1, 1e-6 for U(1) at 0.3, 1e-4 for SU(2) at 1. Finite lattices differ by loops around them.

    **Errors:** `NoExactResultError` where the expansion does not converge.
    """
    if not (hasattr(theory, "group") and hasattr(theory, "beta")):
        raise NoExactResultError(f"strong coupling is for gauge theories, got {type(theory).__name__}.")
    group, beta, dimension = theory.group, concrete(theory.beta, "beta"), len(theory.lattice)
    name = f"{group.name} at beta={beta} in {dimension} dimensions"
    return _strong_coupling_plaquette(expansion_of(group.name, group.n, beta), dimension, name)


def phi_moment(theory: Any, power: int) -> float:
    r"""$\langle \phi_x^n \rangle$ at one site."""
    return _evaluate("phi_moment", theory, power)


def phi_squared(theory: Any) -> float:
    r"""$\langle \phi_x^2 \rangle$."""
    return phi_moment(theory, 2)


def phi_fourth(theory: Any) -> float:
    r"""$\langle \phi_x^4 \rangle$."""
    return phi_moment(theory, 4)


def magnetisation(theory: Any) -> float:
    r"""$\langle M \rangle = 0$ by the symmetry $\phi \to -\phi$; see `abs_magnetisation`."""
    return _evaluate("phi_moment", theory, 1)


def abs_magnetisation(theory: Any) -> float:
    r"""$\langle |M| \rangle$ with $M = \frac1V \sum_x \phi_x$, from the characteristic function of M.

    Costs some twenty to a hundred traces of transfer matrices: seconds to width 6, a minute or more at width 8.
    """
    return _evaluate("abs_magnetisation", theory)


def binder_cumulant(theory: Any) -> float:
    r"""$1 - \langle M^4 \rangle / 3 \langle M^2 \rangle^2$; costs as much as `abs_magnetisation`."""
    return _evaluate("binder_cumulant", theory)


def susceptibility(theory: Any) -> float:
    r"""$\sum_x \langle \phi_x \phi_0 \rangle = V \langle M^2 \rangle$, nothing subtracted.

    >>> tm.exact.susceptibility(scalar)
    """
    return _evaluate("susceptibility", theory)


def two_point(theory: Any, axis: int = 0) -> np.ndarray:
    r"""Zero-momentum correlator along `axis`, $C(t) = \sum_{y} \langle \phi(t, y) \phi(0, 0) \rangle$, t = 0 ... L - 1."""
    _check_axis(theory, axis)
    return _evaluate("two_point", theory, axis)


def propagator(theory: Any, displacement: Sequence[int]) -> float:
    r"""Free field: $\langle \phi_x \phi_0 \rangle$ at the displacement x, taken modulo the extents."""
    return _evaluate("propagator", theory, tuple(displacement))


def ising_energy(theory: Any, axis: int | None = None) -> float:
    r"""$\langle \phi_x \phi_{x+\mu} \rangle$ for neighbours along `axis`, by default the average of all axes; the mean of
    $s_x \cdot s_{x+\mu}$ for O(n)."""
    axes = range(len(theory.lattice)) if axis is None else [axis]
    for mu in axes:
        _check_axis(theory, mu)
    return sum(_evaluate("nearest_neighbour", theory, mu) for mu in axes) / len(axes)


def pole_mass(theory: Any, axis: int = 0) -> float:
    r"""Decay rate of `two_point` along an infinitely long `axis`, the other extents as given.

    Free field: $\cosh m = 1 + m^2/2$; $\phi^4$ and O(n) chains: log of the ratio of the two largest eigenvalues of the
    transfer matrix.
    """
    _check_axis(theory, axis)
    return _evaluate("pole_mass", theory, axis)
