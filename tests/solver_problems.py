"""Small differential equations with exact divergences, and the table of solvers, for the tests of the solvers."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from trivmap.groups import SU, U1
from trivmap.manifolds import AbstractManifold, LinkField, RealField
from trivmap.solvers import (
    CF3,
    CF4,
    CG2,
    CG3,
    CG4,
    EES25,
    EES27,
    LSCFRK3W7,
    LSCFRK4,
    RKMK,
    LuescherW3,
    integrate,
)


class Entry(NamedTuple):
    """A solver for a manifold, with declared order of the solution and of forward-then-backward."""

    make: Callable[[AbstractManifold], Any]
    order: int
    reversal: int


# Running a scheme of order p backwards undoes it to order p + 1 if p is even, else p; the EES schemes are built for more.
SOLVERS = {
    "CG2": Entry(CG2, 2, 3),
    "CG3": Entry(CG3, 3, 3),
    "CG4": Entry(CG4, 4, 5),
    "LuescherW3": Entry(LuescherW3, 3, 3),
    "LSCFRK3W7": Entry(LSCFRK3W7, 3, 3),
    "LSCFRK4": Entry(LSCFRK4, 4, 5),
    "EES25": Entry(EES25, 2, 5),
    "EES27": Entry(EES27, 2, 7),
    "CF3": Entry(CF3, 3, 3),
    "CF4": Entry(CF4, 4, 5),
    "RKMK(Euler)": Entry(lambda m: RKMK(diffrax.Euler(), m), 1, 1),
    "RKMK(Heun)": Entry(lambda m: RKMK(diffrax.Heun(), m), 2, 3),
    "RKMK(Bosh3)": Entry(lambda m: RKMK(diffrax.Bosh3(), m), 3, 3),
    "RKMK(Dopri5)": Entry(lambda m: RKMK(diffrax.Dopri5(), m), 5, 5),
    "RKMK(Tsit5)": Entry(lambda m: RKMK(diffrax.Tsit5(), m), 5, 5),
    "RKMK(Dopri8)": Entry(lambda m: RKMK(diffrax.Dopri8(), m), 8, 8),
}
LOW_STORAGE = ["LuescherW3", "LSCFRK3W7", "LSCFRK4", "EES25", "EES27"]
TABLEAUS = [name for name in SOLVERS if not name.startswith("RKMK")]


class Problem(NamedTuple):
    manifold: Any
    field: Callable[[Any, Any], Any]
    x: jax.Array


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.sum(a[:, :, None] * b[None], axis=1)


def cast(t: Any, like: jax.Array) -> jax.Array:
    return jnp.asarray(t).astype(like.dtype)


def single_link(n: int) -> Problem:
    """One SU(n) link in a time-dependent field: v = TA(U M(t)), div v = 2 C_F Re tr(U M(t)).

    With f = Re tr(U M): TA(U M) = -2 grad f and sum_a d_a d_a f = -C_F f.
    """
    group, rng = SU(n), np.random.default_rng(1)
    m0, m1 = (rng.normal(size=(2, n, n, 1)) + 1j * rng.normal(size=(2, n, n, 1))) / 4
    manifold, casimir = LinkField(group, (1,)), (n**2 - 1) / (2 * n)

    def field(t: Any, x: jax.Array) -> Any:
        m = jnp.asarray(m0, x.dtype) * cast(jnp.cos(t), x) + jnp.asarray(m1, x.dtype) * cast(jnp.sin(2 * t), x)
        um = product(x[0], m)
        return group.project_algebra(um)[None], 2 * casimir * jnp.sum(jnp.real(jnp.trace(um)))

    return Problem(manifold, field, manifold.reference_sample(jax.random.key(3)))


def plaquettes(group: Any, x: jax.Array) -> jax.Array:
    """sum_P Re tr P (SU(n)) or sum_P cos theta_P (U(1)) on a two-dimensional lattice."""
    forward = [jnp.roll(x[1], -1, axis=-2), jnp.roll(x[0], -1, axis=-1)]
    upper, lower = group.multiply(x[0], forward[0]), group.multiply(x[1], forward[1])
    return group.n * jnp.sum(group.real_trace(group.multiply(upper, group.adjoint(lower))))


def flow(group: Any, lattice: tuple[int, int] = (2, 2)) -> Problem:
    """Time-dependent gradient flow of the plaquettes W: v = c(t) grad W, div v = -4 C_F c(t) W (U(1): -4 c(t) W)."""
    manifold = LinkField(group, lattice)
    casimir = 1.0 if group.name == "U(1)" else (group.n**2 - 1) / (2 * group.n)

    def field(t: Any, x: jax.Array) -> Any:
        c = 1 + jnp.cos(3 * t) / 2
        gradient = manifold.gradient(functools.partial(plaquettes, group))(x)
        return gradient * cast(c, gradient), -4 * casimir * c * plaquettes(group, x)

    return Problem(manifold, field, manifold.reference_sample(jax.random.key(5)))


def scalar() -> Problem:
    """v_x = cos(t) sin(phi_x + phi_{x+1}) on four sites."""
    manifold = RealField((4,))

    def field(t: Any, x: jax.Array) -> Any:
        pair = x + jnp.roll(x, -1)
        return cast(jnp.cos(t), x) * jnp.sin(pair), jnp.cos(t) * jnp.sum(jnp.cos(pair))

    return Problem(manifold, field, jnp.array([0.3, -0.7, 1.1, 0.2]))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "SU(2) link": lambda: single_link(2),
    "SU(3) link": lambda: single_link(3),
    "SU(3) flow": lambda: flow(SU(3)),
    "SU(2) flow": lambda: flow(SU(2)),
    "U(1) flow": lambda: flow(U1()),
    "scalar": scalar,
}


@functools.cache
def problem(name: str) -> Problem:
    return PROBLEMS[name]()


@functools.cache
def stepper(name: str, solver: Any) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """n equal steps with n as data, so that one compilation serves all step sizes: (xs, t0, t1, n) -> (xs, log_dets)."""
    manifold, field, _ = problem(name)
    if solver in SOLVERS:
        solver = SOLVERS[solver].make(manifold)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None, None, None))
    def run(x, t0, t1, n):
        h = (t1 - t0) / n.astype(t1.dtype)

        def body(i, carry):
            t = t0 + i.astype(h.dtype) * h
            out = integrate(field, manifold, carry[0], t0=t, t1=t + h, solver=solver, steps=1, error=False)
            return out.x, carry[1] + out.log_det

        return jax.lax.fori_loop(0, n, body, (x, jnp.zeros(())))

    return lambda xs, t0, t1, n: run(xs, jnp.asarray(t0), jnp.asarray(t1), jnp.asarray(n))


@functools.cache
def reference(name: str) -> tuple[jax.Array, jax.Array]:
    """Solutions at t = 1 of `starts` by 64 steps of eighth order, accurate to rounding."""
    return stepper(name, "RKMK(Dopri8)")(starts(name), 0.0, 1.0, 64)


@functools.cache
def starts(name: str) -> jax.Array:
    """Four configurations: the root mean square of their errors has no accidental zeros."""
    manifold, keys = problem(name).manifold, jax.random.split(jax.random.key(11), 4)
    if isinstance(manifold, RealField):
        return jax.vmap(manifold.random_tangent)(keys)
    return jax.vmap(manifold.reference_sample)(keys)


def distance(name: str, xs: jax.Array, ys: jax.Array) -> float:
    """Root mean square distance of configurations."""
    return rms(jax.vmap(problem(name).manifold.distance)(xs, ys))


def rms(values: jax.Array) -> float:
    return float(jnp.sqrt(jnp.mean(values**2)))
