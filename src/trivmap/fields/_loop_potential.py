"""Potentials that are linear in products of traces of Wilson loops."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float, Inexact

from .._checks import integer
from ..gauge import (
    LoopAlgebra,
    LoopFamily,
    Path,
    Term,
    casimir,
    family_gradient,
    loop_curvatures,
    loop_reach,
    loops_are_linear,
    trivializing_series,
)
from ..groups import AbstractGroup
from ..manifolds import AbstractManifold, LinkField, links_of
from ..theories import AbstractTheory, WilsonAction
from ._base import AbstractPotential
from ._reach import Reach
from ._time import cosine_basis

PLAQUETTE = (1, 2, -1, -2)


class TimeDependence(eqx.Module):
    """A set of functions of t in [0, 1] that multiply coefficients.

    - `constant`: 1. `affine`: 1 - t and t, so that coefficients are values at both ends.
    - `spline`: coefficients are values at `size` equidistant knots of a cubic spline (not-a-knot ends).
    - `cosine`: cos(pi k t). `polynomial`: t^k, k < `size`.

        >>> potential = tm.LoopPotential(theory.manifold, time="cosine", times=4)
        >>> potential(jnp.ones(()), links)
    """

    kind: Literal["constant", "affine", "spline", "cosine", "polynomial"] = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def __init__(self, kind: str, size: int | None = None):
        fixed = {"constant": 1, "affine": 2}
        if kind not in ("constant", "affine", "spline", "cosine", "polynomial"):
            raise ValueError(
                f"time dependence: got {kind!r}; choose 'constant', 'affine', 'spline', 'cosine' or 'polynomial'."
            )
        size = fixed.get(kind, size)
        least = 2 if kind == "spline" else 1
        integer(f"time dependence {kind!r}: times", size, least)
        self.kind = kind  # pyright: ignore[reportAttributeAccessIssue]
        self.size = size  # pyright: ignore[reportAttributeAccessIssue]

    def __call__(self, t: Float[Array, ""]) -> Float[Array, " size"]:
        """The functions at t."""
        if self.kind == "cosine":
            return cosine_basis(t, self.size)
        if self.kind == "affine":
            return jnp.stack([1 - t, t])
        if self.kind == "spline":
            return self._spline(t)
        return jnp.stack([jnp.ones_like(t), *(t**k for k in range(1, self.size))])

    def _spline(self, t: Array) -> Array:
        # The cardinal splines piece by piece: (power from high to low, piece, knot).
        pieces = _cardinal_splines(self.size)
        knots = np.linspace(0.0, 1.0, self.size)
        piece = jnp.clip((t * (self.size - 1)).astype(jnp.int32), 0, pieces.shape[1] - 1)
        offset = t - jnp.asarray(knots, t.dtype)[piece]
        total = jnp.zeros(self.size, t.dtype)
        for power in jnp.asarray(pieces, t.dtype):
            total = total * offset + power[piece]
        return total

    def coefficients_of(self, polynomials: Array) -> Array:
        """Coefficients that reproduce polynomials `(terms, powers of t)`, or approximate them in the mean square.

        Constants average over t; cosines are fitted; the other kinds are exact as far as their degree goes.
        """
        powers = np.arange(polynomials.shape[1])
        if self.kind == "constant":
            table = (1 / (1 + powers))[:, None]
        elif self.kind == "polynomial":
            table = np.eye(len(powers), max(self.size, len(powers)))[:, : self.size]
        elif self.kind == "cosine":
            t = np.linspace(0.0, 1.0, 256)
            cosines = np.cos(np.pi * t[:, None] * np.arange(self.size))
            table = np.linalg.lstsq(cosines, t[:, None] ** powers, rcond=None)[0].T
        else:
            table = np.linspace(0.0, 1.0, self.size) ** powers[:, None]
        return polynomials @ jnp.asarray(table, polynomials.dtype)


@functools.cache
def _cardinal_splines(knots: int) -> np.ndarray:
    # Imported here: scipy.interpolate would add a third to the time of `import trivmap`.
    from scipy.interpolate import CubicSpline

    return CubicSpline(np.linspace(0.0, 1.0, knots), np.eye(knots)).c


class LoopPotential(AbstractPotential):
    r"""A potential that is linear in products of traces of loops, with learned time-dependent coefficients.

    S~(t, U) = -sum_k c_k(t) W_k(U),   c_k(t) = sum_j coefficients[k, j] b_j(t),
    W_k = (planes/images) sum_x sum_images Re prod_loops (1/N) tr U(loop),

    summed over all sites and the distinct hypercubic images of term k (one of each pair of complex conjugates). W_k is
    normalised to the number of plaquettes on unit links, whatever the size of a loop, the number of its images and of its
    factors, so that one learning rate suits all coefficients; for the plaquette W = sum_p (1/N) Re tr U_p (U(1): cos
    theta_p). A positive coefficient smooths.

    The Laplacian is derived symbolically at construction: sum_a d_a d_a W_k is a combination of W_j, to which terms are
    added as needed. Values and gradient of all terms come from one stacked sweep along shared half paths; its derivative
    (training) is one forward-mode pass, without stored intermediates.

    **Arguments:**

    - `manifold`: a `LinkField` of dimension two or more.
    - `terms`: closed paths such as `(1, 2, -1, -2)` (steps +-(mu + 1)), or terms of a `LoopAlgebra`; default: the plaquette.
    - `coefficient`: initial value of c_0 if `coefficients` is not given; all others are zero.
    - `coefficients`: initial `(terms, times)`.
    - `time`: name of a `TimeDependence`; `times`: how many functions of t (ignored for `constant` and `affine`).
    - `dtype`: precision of the parameters.

    **Raises:** `TypeError` for scalar fields; `ValueError` for lattices on which a term meets a link twice by wrapping
    around, and for shapes that do not fit. Source: arXiv:2212.08469.

        >>> potential = tm.LoopPotential.model_a(theory)
        >>> gradient, laplacian = potential.gradient_and_laplacian(jnp.zeros(()), links)
    """

    coefficients: Float[Array, "terms times"]
    manifold: LinkField = eqx.field(static=True)
    time: TimeDependence = eqx.field(static=True)
    family: LoopFamily = eqx.field(static=True)

    def __init__(
        self,
        manifold: AbstractManifold,
        terms: Sequence[Path | Term] | None = None,
        *,
        coefficient: float = 0.0,
        coefficients: Array | None = None,
        time: str = "cosine",
        times: int | None = 4,
        dtype: DTypeLike | None = None,
    ):
        message = f"LoopPotential acts on gauge links, but was given {manifold}. For scalars use GatedConvolutionField."
        manifold = links_of(AbstractGroup, manifold, message)
        if min(manifold.lattice) < 2:
            raise ValueError(f"LoopPotential needs extents of two or more, but the lattice is {manifold.lattice}.")
        if len(manifold.lattice) < 2:
            raise ValueError(f"LoopPotential needs two dimensions or more, but the lattice is {manifold.lattice}.")
        algebra = LoopAlgebra(manifold.group.n, len(manifold.lattice))
        self.manifold = manifold
        self.time = TimeDependence(time, times)
        self.family = LoopFamily(algebra, _canonical(algebra, [PLAQUETTE] if terms is None else terms))
        self.family.check_lattice(manifold.lattice)
        shape = (self.family.given, self.time.size)
        if coefficients is None:
            constant = jnp.zeros((shape[0], 1), dtype).at[0, 0].set(coefficient)
            coefficients = self.time.coefficients_of(constant)
        if coefficients.shape != shape:
            raise ValueError(f"LoopPotential: got coefficients {coefficients.shape}, expected (terms, times) = {shape}.")
        self.coefficients = coefficients if dtype is None else coefficients.astype(dtype)

    @classmethod
    def model_a(cls, theory: AbstractTheory, *, order: int = 1, dtype: DTypeLike | None = None) -> "LoopPotential":
        """The loops of the next-to-leading trivializing potential, each with a coefficient affine in t.

        In two dimensions these are the plaquette and W_1 ... W_7 of arXiv:0907.5491: eight terms, of which seven are
        independent on SU(3) because tr U^2 = (tr U)^2 - 2 tr U^dagger (the model of arXiv:2212.08469). Rectangles and chairs
        are separate in higher dimensions. The start is the trivializing potential of the given order (0 or 1).
        """
        return _from_series(cls, theory, 1, order, None, "affine", None, dtype)

    @classmethod
    def model_b(
        cls, theory: AbstractTheory, *, terms: int = 42, knots: int = 10, order: int = 2, dtype: DTypeLike | None = None
    ) -> "LoopPotential":
        """Loops of the second-order trivializing potential with cubic splines in t, 420 parameters by default.

        The terms of orders zero to two are sorted by their number of links, then by their number of traces (fewer
        first), then lexicographically, and the first `terms` are taken; in two dimensions SU(N >= 3) has 43, so that
        42 leave out one product of plaquettes. The start is the trivializing potential of the given order, as far as its
        terms are kept.
        """
        return _from_series(cls, theory, 2, order, terms, "spline", knots, dtype)

    def on(self, manifold: AbstractManifold) -> "LoopPotential":
        """The potential with the same coefficients on a lattice of other extents."""
        kind, size = self.time.kind, self.time.size
        return LoopPotential(manifold, self.terms, coefficients=self.coefficients, time=kind, times=size)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The canonical terms that the coefficients belong to."""
        return self.family.terms[: self.family.given]

    def __call__(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Float[Array, ""]:
        if self._is_plaquette:
            return self._plaquettes(t, x.real.dtype).action(x)
        coefficients = self._scaled(t, x.real.dtype)
        values, _ = self.family.values_and_gradient(coefficients, x)
        return -coefficients.astype(values.dtype) @ values

    def gradient_and_laplacian(
        self, t: Float[Array, ""], x: Inexact[Array, "*shape"]
    ) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
        group = self.manifold.group
        if self._is_plaquette:
            # Staples are three times faster than the general sweep, and sum_a T_a T_a = -C_F for each of four links.
            potential = self._plaquettes(t, x.real.dtype)
            return potential.gradient(x), -4 * float(casimir(group.n)) * potential.action(x)
        self.manifold.check(x)
        coefficients = self._scaled(t, x.real.dtype)
        values, gradient = self.family.values_and_gradient(coefficients, x)
        matrix, constant = (jnp.asarray(a, values.dtype) for a in self.family.laplacian())
        laplacians = matrix @ values + math.prod(self.manifold.lattice) * constant
        return -gradient, -coefficients.astype(values.dtype) @ laplacians

    def receptive_field(self) -> Reach:
        return loop_reach(self.family)

    def curvature_bound(self, t: Float[Array, ""]) -> Float[Array, ""]:
        coefficients = self._at(t, self.coefficients.dtype)
        traces = np.array([len(term) for term in self.terms])
        # Bounds are those of normalised traces, and the normalisation contains their factors 1/N.
        each = self._normalisation * self.family.algebra.n**traces * loop_curvatures(self.family)
        return jnp.sum(jnp.abs(coefficients) * jnp.asarray(each, coefficients.dtype))

    def plaquette_coefficient(self, t: Float[Array, ""]) -> Float[Array, ""] | None:
        return self._at(t, self.coefficients.dtype)[0] if self._is_plaquette else None

    def link_staples(self, t: Float[Array, ""], x: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"] | None:
        if self.family.algebra.n == 1 or not loops_are_linear(self.family):
            return None
        _, cotangent = family_gradient(self.family.program, self._scaled(t, x.real.dtype), x)
        return jnp.swapaxes(cotangent, 1, 2)

    @property
    def _normalisation(self) -> np.ndarray:
        return self.family.normalisation()[: self.family.given]

    @property
    def _is_plaquette(self) -> bool:
        return self.terms == _canonical(self.family.algebra, [PLAQUETTE])

    def _at(self, t: Array, dtype: Any) -> Array:
        """c_k(t)."""
        return self.coefficients.astype(dtype) @ self.time(t.astype(dtype))

    def _plaquettes(self, t: Array, dtype: Any) -> WilsonAction:
        return WilsonAction(self.manifold.group, self.manifold.lattice, self._at(t, dtype)[0])

    def _scaled(self, t: Array, dtype: Any) -> Array:
        """Coefficients of the values of the family, zero for the terms that only its Laplacian needs."""
        scale = jnp.asarray(self._normalisation, dtype)
        added = len(self.family.terms) - self.family.given
        return jnp.concatenate([scale * self._at(t, dtype), jnp.zeros(added, dtype)])


def series_coefficients(theory: WilsonAction, terms: Sequence[Term], order: int) -> Array:
    """Coefficients `(terms, order + 1)` of t^k in the trivializing potential, in the normalisation of `LoopPotential`."""
    dim = len(theory.lattice)
    algebra, series = trivializing_series(theory.group.n, dim, order)
    planes = dim * (dim - 1) // 2
    table = [[-float(s.get(term, 0)) * algebra.n ** len(term) / planes for s in series] for term in terms]
    powers = jnp.stack([theory.beta ** (k + 1) for k in range(order + 1)])
    return jnp.asarray(table, powers.dtype) * powers[None]


def series_terms(theory: AbstractTheory, order: int) -> list[Term]:
    """All terms of the trivializing potential up to an order, by number of links, number of traces, steps."""
    if not isinstance(theory, WilsonAction):
        raise TypeError(f"trivializing potentials are known for WilsonAction, but the theory is {type(theory).__name__}.")
    if order < 0:
        raise ValueError(f"trivializing potential: got order {order}, expected 0, 1, 2, ...")
    _, series = trivializing_series(theory.group.n, len(theory.lattice), order)
    found = {term for expression in series for term in expression}
    return sorted(found, key=lambda term: (sum(len(loop.steps) for loop in term), len(term), term))


def _from_series(cls, theory, terms_order, order, limit, time, times, dtype) -> "LoopPotential":
    terms = series_terms(theory, terms_order)[:limit]
    polynomials = series_coefficients(theory, terms, order)
    coefficients = TimeDependence(time, times).coefficients_of(polynomials)
    return cls(theory.manifold, terms, coefficients=coefficients, time=time, times=times, dtype=dtype)


def _canonical(algebra: LoopAlgebra, terms: Sequence[Any]) -> tuple[Term, ...]:
    """Paths become terms of one trace; terms are brought to canonical form."""
    found = []
    for term in terms:
        if not len(term):
            raise ValueError("LoopPotential: got an empty path; give closed paths such as (1, 2, -1, -2).")
        found.append(algebra.canonical(algebra.term(term) if isinstance(term[0], int) else algebra.term(*term)))
    return tuple(found)
