"""Families of terms as JAX functions with a derivative of their own.

Values V_k and the gradient G of L = sum_k c_k V_k with respect to links are together the gradient of L(c, U). Its Jacobian
is symmetric, so that its transpose is a tangent map: reverse-mode differentiation of a field costs one forward-mode pass,
which stores nothing. JAX learns this from three primitives: values and gradient, their tangents, and their cotangents.
"""

import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._types import Array
from ..groups import SU, U1
from ..lattice import accumulator_dtype
from ._algebra import LoopAlgebra, Term
from ._evaluate import family_gradient
from ._paths import letters
from ._plaquettes import planes
from ._program import Program, make_program


class LoopFamily(eqx.Module):
    """Sums over sites and hypercubic images of products of traces, with exact first and second derivatives.

    V_k(U) = sum_x sum_images Re prod_loops tr U(loop), for canonical terms k of a `LoopAlgebra`. The family is completed by
    the terms that appear in its Laplacians: `terms` begins with those given.

    **Arguments:** `algebra`: gauge group and dimension; `terms`: canonical terms, without repetition.

    **Raises:** `ValueError` for terms that are not canonical or repeated.

        >>> algebra = tm.gauge.LoopAlgebra(3, 2)
        >>> family = tm.gauge.LoopFamily(algebra, [algebra.canonical(algebra.term((1, 2, -1, -2)))])
    """

    algebra: LoopAlgebra = eqx.field(static=True)
    terms: tuple[Term, ...] = eqx.field(static=True)
    given: int = eqx.field(static=True)

    def __init__(self, algebra: LoopAlgebra, terms: Sequence[Term]):
        for term in terms:
            if not term or algebra.canonical(term) != term:
                raise ValueError(f"LoopFamily: {term} is not a canonical term; pass `algebra.canonical(term)`.")
        if len(set(terms)) != len(terms):
            raise ValueError("LoopFamily: a term occurs twice; every term may be given once.")
        self.algebra = algebra
        self.given = len(terms)
        self.terms = _closure(algebra, tuple(terms))

    @property
    def program(self) -> Program:
        """Index tables of the family, shared by all families with the same terms."""
        return make_program(self.algebra, self.terms)

    def values_and_gradient(self, coefficients: Array, links: Array) -> tuple[Array, Array]:
        """All values `(terms,)` in the accumulator precision, and the gradient of `coefficients @ values`.

        The gradient is right-trivialised, sum_a T_a d_a on every link. Batches under `jax.vmap` are worked off one
        configuration at a time on CPUs, which keeps it in the cache.
        """
        values, gradient = _gradient.bind(coefficients, links, program=self.program, batched=False)
        return values, gradient

    def laplacian(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix M and vector m with sum_{e,a} d_a d_a V_k = sum_j M[k, j] V_j + m[k] (number of sites)."""
        return _laplacian(self.program)

    def normalisation(self) -> np.ndarray:
        """The factors `(terms,)` planes/(images N^traces), with which every V_k is the number of plaquettes on unit links."""
        counts = [(len(images), len(term)) for images, term in zip(self.program.images, self.terms, strict=True)]
        return np.array([len(planes(self.algebra.dim)) / (images * self.algebra.n**traces) for images, traces in counts])

    def check_lattice(self, lattice: tuple[int, ...]) -> None:
        """Refuses lattices on which different links of a term become one, where derivatives would have further terms.

        **Raises:** `ValueError`.
        """
        for family in self.program.images:
            for image in family:
                links = {(a.site, a.mu) for loop in image for a in letters(loop)}
                wrapped = {(tuple(c % extent for c, extent in zip(site, lattice, strict=True)), mu) for site, mu in links}
                if len(wrapped) < len(links):
                    paths = " ".join(str(loop.steps) for loop in image)
                    raise ValueError(
                        f"loops {paths}: two of their links coincide on the lattice {lattice}; use larger extents "
                        "(one more than the longest straight stretch of a term) or smaller loops."
                    )


@functools.lru_cache(maxsize=64)
def _laplacian(program: Program) -> tuple[np.ndarray, np.ndarray]:
    rows = {term: k for k, term in enumerate(program.terms)}
    matrix, constant = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
    images = [len(family) for family in program.images]
    for term, k in rows.items():
        # The expression is one of means over images: V_k is images[k] times such a mean.
        for other, value in program.algebra.symmetric(program.algebra.laplacian(term)).items():
            if other:
                matrix[k, rows[other]] = -float(value) * images[k] / images[rows[other]]
            else:
                constant[k] = -float(value) * images[k]
    return matrix, constant


def _closure(algebra: LoopAlgebra, terms: tuple[Term, ...]) -> tuple[Term, ...]:
    found = dict.fromkeys(terms)
    pending = list(terms)
    while pending:
        for other in sorted(algebra.symmetric(algebra.laplacian(pending.pop(0)))):
            if other and other not in found:
                found[other] = None
                pending.append(other)
    return tuple(found)


# --- one configuration ---------------------------------------------------------------------------------------------------


def _trivialised(program: Program, links: Array, cotangent: Array) -> Array:
    """sum_a T_a d_a f from the output of `jax.grad`, linear in it."""
    group = SU(program.algebra.n) if program.algebra.n > 1 else U1()  # pyright: ignore[reportCallIssue]
    return jax.vmap(group.gradient)(links, cotangent)


def _evaluate(program: Program, coefficients: Array, links: Array) -> tuple[Array, Array]:
    values, cotangent = family_gradient(program, coefficients, links)
    return values, _trivialised(program, links, cotangent)


def _tangents(program: Program, c: Array, links: Array, c_dot: Array, links_dot: Array) -> tuple[Array, Array]:
    return jax.jvp(functools.partial(_evaluate, program), (c, links), (c_dot, links_dot))[1]


def _cotangents(program: Program, c: Array, links: Array, values_bar: Array, gradient_bar: Array) -> tuple[Array, Array]:
    """The transpose of `_tangents`: that of the last, linear step, then the symmetric Jacobian of (V, G)."""
    step = functools.partial(_trivialised, program)
    of_cotangent = jax.linear_transpose(functools.partial(step, links), links)
    pulled = of_cotangent(gradient_bar)[0]
    primal, (c_bar, links_bar) = jax.jvp(
        functools.partial(family_gradient, program), (c, links), (values_bar.astype(c.dtype), pulled)
    )
    if program.algebra.n > 1:
        links_bar = links_bar + jax.linear_transpose(lambda x: step(x, primal[1]), links)(gradient_bar)[0]
    return c_bar.astype(c.dtype), links_bar


# --- the primitives ------------------------------------------------------------------------------------------------------

_FUNCTIONS = {
    "loop_family_gradient": _evaluate,
    "loop_family_tangents": _tangents,
    "loop_family_cotangents": _cotangents,
}
_gradient, _tangent, _cotangent = map(Primitive, _FUNCTIONS)


def _call(primitive: Primitive, *arguments: Array, program: Program, batched: bool) -> tuple[Array, Array]:
    function = functools.partial(_FUNCTIONS[primitive.name], program)
    return (jax.vmap(function) if batched else function)(*arguments)


def _abstract(c: Any, links: Any, *_: Any, program: Program, batched: bool) -> list[Any]:
    return [c.update(dtype=jax.dtypes.canonicalize_dtype(accumulator_dtype())), links]


def _instantiate(tangent: Any, primal: Any) -> Any:
    return jnp.zeros_like(primal) if type(tangent) is ad.Zero else tangent


def _gradient_jvp(primals: Any, tangents: Any, **options: Any) -> Any:
    tangents = map(_instantiate, tangents, primals)
    return _gradient.bind(*primals, **options), _tangent.bind(*primals, *tangents, **options)


def _linear_jvp(primitive: Primitive) -> Any:
    """Of a primitive that is linear in its last two arguments; derivatives by the others are left to JAX."""

    def rule(primals: Any, tangents: Any, **options: Any) -> Any:
        out = primitive.bind(*primals, **options)
        if all(type(tangent) is ad.Zero for tangent in tangents[:2]):
            return out, primitive.bind(*primals[:2], *map(_instantiate, tangents[2:], primals[2:]), **options)
        tangents = tuple(map(_instantiate, tangents, primals))
        return out, list(jax.jvp(functools.partial(_call, primitive, **options), tuple(primals), tangents)[1])

    return rule


def _transpose_rule(other: Primitive) -> Any:
    def rule(cotangents: Any, c: Any, links: Any, *linear: Any, **options: Any) -> Any:
        bars = [ad.instantiate_zeros(bar) for bar in cotangents]
        found = other.bind(c, links, *bars, **options)
        return [None, None, *(x.astype(wanted.aval.dtype) for x, wanted in zip(found, linear, strict=True))]

    return rule


def _batching_rule(primitive: Primitive) -> Any:
    def rule(arguments: Any, dims: Any, *, program: Program, batched: bool) -> Any:
        size = next(a.shape[d] for a, d in zip(arguments, dims, strict=True) if d is not batching.not_mapped)
        moved = tuple(batching.bdim_at_front(a, d, size) for a, d in zip(arguments, dims, strict=True))
        if jax.default_backend() != "cpu" and not batched:
            return primitive.bind(*moved, program=program, batched=True), (0, 0)
        # One configuration at a time: the half paths of a batch do not fit into a cache (measured: 5 times slower).
        return jax.lax.map(lambda a: tuple(primitive.bind(*a, program=program, batched=batched)), moved), (0, 0)

    return rule


def _register(primitive: Primitive) -> None:
    function = functools.partial(_call, primitive)
    primitive.multiple_results = True
    primitive.def_impl(jax.jit(function, static_argnames=("program", "batched")))
    primitive.def_abstract_eval(_abstract_cotangents if primitive is _cotangent else _abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=True))
    batching.primitive_batchers[primitive] = _batching_rule(primitive)


def _abstract_cotangents(c: Any, links: Any, *_: Any, program: Program, batched: bool) -> list[Any]:
    return [c, links]


for _primitive in (_gradient, _tangent, _cotangent):
    _register(_primitive)
ad.primitive_jvps[_gradient] = _gradient_jvp
for _primitive, _other in ((_tangent, _cotangent), (_cotangent, _tangent)):
    ad.primitive_jvps[_primitive] = _linear_jvp(_primitive)
    ad.primitive_transposes[_primitive] = _transpose_rule(_other)
