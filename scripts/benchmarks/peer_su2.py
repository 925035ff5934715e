"""SU(2) continuous flow against bijx 1.3.2: the same potential, Runge-Kutta tableau and number of steps on both sides.

    python scripts/benchmarks/peer_su2.py [--lattice 8 8] [--steps 5] [--tableau CG2]

Both integrate dU/dt = -dS~ U with S~ = -c(t) sum_p Re tr U_p / N and c(t) = sum_k c_k cos(pi k t), from the same Haar
configurations, by the same Crouch-Grossman tableau (CG2 is bijx's default), so that final links and log-dets agree to
rounding; this is checked before anything is timed. Here the divergence is the closed form 4 C_F S~ and the exponential
that of SU(2); bijx has its generic ones (`lie.path_grad2`, `jax.scipy.linalg.expm`). The gradient is that of
mean(S - log det) in the coefficients c_k; bijx differentiates by its continuous adjoint, which is biased (printed).

Ratios are wall times per configuration, bijx / trivmap, each side at its best batch size of those given; above 1 means
that trivmap is faster.
"""

import argparse

import _timing as timing
import equinox as eqx
import jax
import jax.numpy as jnp

from trivmap.fields import GradientField, LoopPotential
from trivmap.flows import ContinuousFlow
from trivmap.groups import SU
from trivmap.manifolds import LinkField
from trivmap.solvers import CG2, CG3, LSCFRK4
from trivmap.theories import WilsonAction

TABLEAUS = {"CG2": CG2, "CG3": CG3}
BETA = 2.2
COEFFICIENTS = (0.6, 0.2, -0.1, 0.05)


class Ours:
    """The flow of trivmap; links `(batch, dim, 2, 2, *lattice)`."""

    def __init__(self, lattice, steps, solver):
        theory = WilsonAction(SU(2), lattice, BETA)
        self.theory = theory
        self.flow = ContinuousFlow(GradientField(LoopPotential(theory.manifold)), steps=steps, solver=solver)

    def _flow(self, coefficients):
        return eqx.tree_at(lambda flow: flow.field.potential.coefficients, self.flow, coefficients[None])

    def field(self, coefficients, t, links):
        return jax.vmap(self._flow(coefficients).field, in_axes=(None, 0))(t, links)

    def sample(self, coefficients, links):
        return jax.vmap(self._flow(coefficients).forward_and_log_det)(links)

    def loss(self, coefficients, links):
        links, log_det = self.sample(coefficients, links)
        return jnp.mean(jax.vmap(self.theory.action)(links) - log_det)


class Peer:
    """The flow of bijx; links `(batch, *lattice, dim, 2, 2)`."""

    def __init__(self, steps, tableau):
        self.bijx = timing.require_peer()
        from bijx import cg, lie
        from bijx.lattice.gauge import wilson_log_prob

        self.generators = lie.SU2_GEN / 2  # bijx's are i sigma, ours i sigma / 2
        self.log_prob, self.path_grad2 = wilson_log_prob, lie.path_grad2
        self.flow = self.bijx.ContFlowCG(self._negated, steps=steps, tableau=getattr(cg, tableau))

    def field(self, coefficients, t, links):
        basis = jnp.cos(t * jnp.pi * jnp.arange(len(COEFFICIENTS)))
        strength = basis @ coefficients

        def one(links):
            _, gradient, second = self.path_grad2(lambda u: self.log_prob(u, 1.0), self.generators, links)
            velocity = jnp.einsum("...a,aij->...ij", gradient.astype(links.dtype), self.generators)
            return strength * velocity, strength * jnp.sum(second)

        return jax.vmap(one)(links)

    def _negated(self, t, links, *, coefficients):
        velocity, divergence = self.field(coefficients, t, links)
        return velocity, -divergence

    def sample(self, coefficients, links):
        links, minus_log_det = self.flow.forward(links, jnp.zeros(len(links)), coefficients=coefficients)
        return links, -minus_log_det

    def loss(self, coefficients, links):
        links, log_det = self.sample(coefficients, links)
        return jnp.mean(-self.log_prob(links, BETA) - log_det)


def to_peer(links):
    return jnp.moveaxis(links, (1, 2, 3), (-3, -2, -1))


def difference(a, b) -> float:
    return float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))


def check(ours, peer, coefficients, links) -> None:
    """Exits unless velocity, divergence, final links and log-det agree to 200 roundings."""
    t = jnp.asarray(0.3)
    names = ["velocity", "divergence", "links", "log det"]
    mine = [*jax.jit(ours.field)(coefficients, t, links), *jax.jit(ours.sample)(coefficients, links)]
    theirs = [
        *jax.jit(peer.field)(coefficients, t, to_peer(links)),
        *jax.jit(peer.sample)(coefficients, to_peer(links)),
    ]
    for i in (0, 2):
        mine[i] = to_peer(mine[i])
    errors = {name: difference(a, b) for name, a, b in zip(names, mine, theirs, strict=True)}
    print("difference " + ", ".join(f"{name} {error:.0e}" for name, error in errors.items()))
    if not max(errors.values()) < 200 * jnp.finfo(t.dtype).eps:
        raise SystemExit("The two sides do not compute the same flow; nothing was timed.")
    mine, theirs = (
        jax.jit(jax.grad(ours.loss))(coefficients, links),
        jax.jit(jax.grad(peer.loss))(coefficients, to_peer(links)),
    )
    print(f"difference gradient {difference(theirs, mine):.0e} (bijx: continuous adjoint)")


def report(timings: dict[str, timing.Timing]) -> None:
    for name, value in timings.items():
        print(f"  {name:23s}{value}\n    {timing.memory_line(value)}")


def best(timings: dict[str, timing.Timing], side: str) -> timing.Timing:
    """The timing at the batch size that suits a side best."""
    return min((value for name, value in timings.items() if name.startswith(side)), key=lambda value: value.median)


def one_gradient(args, lattice, coefficients, links) -> None:
    """A single call of one side in this process, for its peak memory."""
    if args.only == "ours":
        side, links = Ours(lattice, args.steps, TABLEAUS[args.tableau]()), links[: max(args.batch)]
    else:
        side, links = Peer(args.steps, args.tableau), to_peer(links)[: min(args.peer_batch)]
    jax.block_until_ready(jax.jit(jax.value_and_grad(side.loss))(coefficients, links))
    print(timing.peak_memory())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lattice", type=int, nargs="+", default=[8, 8])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--tableau", choices=TABLEAUS, default="CG2")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256], help="ours")
    parser.add_argument("--peer-batch", type=int, nargs="+", default=[1, 4], help="bijx")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--x64", action="store_true", help="float64 on both sides")
    parser.add_argument("--smoke", action="store_true", help="2x2 lattice, one repetition")
    parser.add_argument("--only", choices=["ours", "peer"], help="one call of one side, to see its memory")
    args = parser.parse_args()
    if args.smoke:
        args.lattice, args.steps, args.batch, args.peer_batch, args.repeats = [2, 2], 2, [4], [1], 1
    jax.config.update("jax_enable_x64", args.x64)
    lattice = tuple(args.lattice)
    coefficients = jnp.asarray(COEFFICIENTS)
    sample = LinkField(SU(2), lattice).reference_sample
    links = jax.vmap(sample)(jax.random.split(jax.random.key(0), max(args.batch + args.peer_batch)))
    if args.only is not None:
        one_gradient(args, lattice, coefficients, links)
        return
    ours, peer = Ours(lattice, args.steps, TABLEAUS[args.tableau]()), Peer(args.steps, args.tableau)
    timing.header(f"SU(2) {'x'.join(map(str, lattice))}, {args.tableau} x {args.steps}, plaquette potential")
    check(ours, peer, coefficients, links[:2])
    print("times per configuration, median (quartiles)")
    ratios = []
    sides = [(f"trivmap {args.tableau}", ours, links, batch) for batch in args.batch]
    sides += [("default LSCFRK4", Ours(lattice, args.steps, LSCFRK4()), links, args.batch[0])]
    sides += [("bijx", peer, to_peer(links), batch) for batch in args.peer_batch]
    for job, target in (("sample", 300), ("gradient", 500)):
        cases = {}
        for name, side, x, batch in sides:
            function = side.sample if job == "sample" else jax.value_and_grad(side.loss)
            cases[f"{name}, batch {batch}"] = timing.Case(function, (coefficients, x[:batch]), batch)
        timings = timing.measure(cases, args.repeats)
        print(job)
        report(timings)
        mine, theirs = best(timings, "trivmap"), best(timings, "bijx")
        ratios.append(timing.ratio_line(f"SU(2) {job}, bijx / trivmap", theirs, mine, None if args.smoke else target))
    print(*ratios, sep="\n")
    for side, batch in (("ours", max(args.batch)), ("peer", min(args.peer_batch))):
        options = ["--smoke"] if args.smoke else ["--lattice", *map(str, lattice), "--steps", str(args.steps), "--batch"]
        if not args.smoke:
            options += [*map(str, args.batch), "--peer-batch", *map(str, args.peer_batch), "--tableau", args.tableau]
        peak = timing.subprocess_peak("--only", side, *options, *(["--x64"] if args.x64 else []))
        print(f"peak memory of a process, gradient, {side}, batch {batch}: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
