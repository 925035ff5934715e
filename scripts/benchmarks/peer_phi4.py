"""phi^4 continuous flow of arXiv:2207.00283 against bijx 1.3.2: the same field, parameters and Runge-Kutta steps.

    python scripts/benchmarks/peer_phi4.py [--lattice 8 8] [--steps 20] [--batch 64]

Velocity W(t) * H(phi) of `ConvolutionField` and of bijx's `ConvVF` with the paper's sizes; the parameters of bijx are
copied into ours, so that velocity, divergence, final fields and log-dets agree to rounding (checked before timing). Both
take the classical RK4 (on a vector space, `CF4` is that scheme). bijx convolves densely, O(V^2), and differentiates by
its continuous adjoint, which integrates backwards; ours convolves by fast transforms and differentiates the steps,
recomputing each (`checkpoint=True`) or storing them.

A training step is prior sample, reverse-KL value and gradient, and Adam update. Ratios are wall times of a step,
bijx / trivmap; above 1 means that trivmap is faster. The last row is what a user of trivmap gets by default: five-stage
`LSCFRK4` and the embedded-error term in the loss.
"""

import argparse

import _timing as timing
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from trivmap.fields import ConvolutionField
from trivmap.flows import ContinuousFlow
from trivmap.lattice import hypercubic_orbits
from trivmap.manifolds import RealField
from trivmap.models import Model
from trivmap.priors import GaussianPrior
from trivmap.solvers import CF4
from trivmap.theories import Phi4Action
from trivmap.training import reverse_kl

OPTIMISER = optax.adam(5e-3, b1=0.8, b2=0.9)


class Peer:
    """The flow of bijx; parameters are the state of its `nnx.Param`s."""

    def __init__(self, lattice, steps):
        bijx = timing.require_peer()
        from flax import nnx

        self.nnx, self.bijx, self.steps = nnx, bijx, steps
        field = bijx.ConvVF.build(lattice, rngs=nnx.Rngs(0))
        # Only the parameters may be traced: bijx 1.3.2 fails when its integer orbit table is.
        self.graph, self.parameters, self.rest = nnx.split(field, nnx.Param, ...)
        # Initial velocities are of order 1e-3; those of a trained field, of order one, make the comparison mean something.
        kernel = self.parameters["conv"]["kernel_params"]
        kernel.set_value(300 * kernel.get_value())

    def field(self, parameters, t, x):
        velocity, minus_divergence = self.nnx.merge(self.graph, parameters, self.rest)(t, x)
        return velocity, -minus_divergence

    def flow(self, parameters, z):
        field = self.nnx.merge(self.graph, parameters, self.rest)
        x, minus_log_det = self.bijx.ContFlowRK4(field, steps=self.steps).forward(z, jnp.zeros(len(z)))
        return x, -minus_log_det


class Ours:
    """The flow of trivmap; parameters are the arrays of the field."""

    def __init__(self, lattice, steps, peer=None, **options):
        field = ConvolutionField(jax.random.key(0), RealField(lattice))
        if peer is not None:
            field = converted(field, peer)
        self.parameters, self.static = eqx.partition(field, eqx.is_array)
        self.options = {"steps": steps} | options

    def field(self, parameters, t, x):
        return jax.vmap(eqx.combine(parameters, self.static), in_axes=(None, 0))(t, x)

    def transport(self, parameters):
        return ContinuousFlow(eqx.combine(parameters, self.static), **self.options)

    def flow(self, parameters, z):
        return jax.vmap(self.transport(parameters).forward_and_log_det)(z)


def converted(field, peer):
    """`field` with the parameters of bijx."""
    theirs = peer.nnx.merge(peer.graph, peer.parameters, peer.rest)
    orbits = hypercubic_orbits(field.manifold.lattice)
    # bijx puts the origin of the kernel at (L - 1) // 2.
    table = jnp.roll(theirs.conv.orbits, [-((extent - 1) // 2) for extent in orbits.shape], range(orbits.ndim))
    first = [(orbits == label).nonzero() for label in range(orbits.max() + 1)]
    order = jnp.asarray([int(table[tuple(axis[0] for axis in sites)]) for sites in first])
    kernel = theirs.conv.kernel_params.get_value()  # (orbits, site features, time features)
    frequencies = theirs.feature_map.features[0].phi_freq.get_value()[0]
    times = theirs.time_kernel.superposition.get_value()
    times = jnp.concatenate([times[:, -1:], times[:, :-1]], axis=1) / times.shape[1]  # the constant comes last there
    sites = theirs.feature_superposition.get_value()
    return eqx.tree_at(
        lambda f: (f.frequencies, f.mix_sites, f.mix_times, f.kernel),
        field,
        (frequencies, sites / sites.shape[1], times, kernel[order].transpose(2, 1, 0)),
    )


def training_step(side, theory, batch):
    """prior sample -> reverse KL (up to a constant) -> gradient -> Adam."""

    def loss(parameters, key):
        z = jax.random.normal(key, (batch, *theory.lattice))
        x, log_det = side.flow(parameters, z)
        return jnp.mean(jax.vmap(theory.action)(x) - log_det)

    return _step(loss)


def default_step(side, theory, batch):
    """The objective of `fit`, with its embedded-error term."""

    def loss(parameters, key):
        model = Model(GaussianPrior(theory.manifold, 1.0), side.transport(parameters))
        return reverse_kl(key, model, theory, batch)[0]

    return _step(loss)


def _step(loss):
    def step(parameters, state, key):
        value, gradient = jax.value_and_grad(loss)(parameters, key)
        updates, state = OPTIMISER.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    return step


def difference(a, b) -> float:
    return float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)))


def check(ours, peer, lattice) -> None:
    """Exits unless velocity, divergence, final fields and log-det agree to rounding."""
    x, t = jax.random.normal(jax.random.key(1), (4, *lattice)), jnp.asarray(0.3)
    names = ["velocity", "divergence", "x", "log det"]
    sides = [(*jax.jit(side.field)(side.parameters, t, x), *jax.jit(side.flow)(side.parameters, x)) for side in (ours, peer)]
    errors = {name: difference(a, b) for name, a, b in zip(names, *sides, strict=True)}
    print("difference " + ", ".join(f"{name} {error:.0e}" for name, error in errors.items()))
    # Sums over thousands of features and a flow that amplifies: a few hundred roundings.
    if not max(errors.values()) < 1000 * jnp.finfo(x.dtype).eps:
        raise SystemExit("The two sides do not compute the same flow; nothing was timed.")


def variants(lattice, steps, theory, batch, peer):
    """name -> (side, training step)."""
    rk4 = Ours(lattice, steps, peer, solver=CF4())
    stored = Ours(lattice, steps, peer, solver=CF4(), checkpoint=False)
    default = Ours(lattice, steps, peer)
    chosen = {"trivmap RK4": (rk4, training_step), "trivmap RK4, stored": (stored, training_step)}
    if peer is not None:
        chosen["bijx RK4"] = (peer, training_step)
    chosen["trivmap default"] = (default, default_step)
    return {name: (side, step(side, theory, batch)) for name, (side, step) in chosen.items()}


def case(side, function) -> timing.Case:
    return timing.Case(function, (side.parameters, OPTIMISER.init(side.parameters), jax.random.key(2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lattice", type=int, nargs="+", default=[8, 8])
    parser.add_argument("--lam", type=float, default=6.008)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="4x4 lattice, one repetition")
    parser.add_argument("--only", help="one call of one variant, to see its memory")
    args = parser.parse_args()
    if args.smoke:
        args.lattice, args.steps, args.batch, args.repeats = [4, 4], 3, 4, 1
    lattice = tuple(args.lattice)
    theory = Phi4Action(lattice, -4.0, args.lam)
    if args.only is not None:
        peer = Peer(lattice, args.steps) if args.only.startswith("bijx") else None
        side, function = variants(lattice, args.steps, theory, args.batch, peer)[args.only]
        timing.compiled(function, *case(side, function).arguments)[0]()
        print(timing.peak_memory())
        return
    peer = Peer(lattice, args.steps)
    timing.header(f"phi^4 {'x'.join(map(str, lattice))}, lambda {args.lam}, RK4 x {args.steps}, batch {args.batch}")
    sides = variants(lattice, args.steps, theory, args.batch, peer)
    check(sides["trivmap RK4"][0], peer, lattice)
    z = jax.random.normal(jax.random.key(2), (args.batch, *lattice))
    samples = {
        name: timing.Case(side.flow, (side.parameters, z), args.batch)
        for name, (side, _) in sides.items()
        if "stored" not in name
    }
    jobs = {"sample, per configuration": samples, "training step": {name: case(*pair) for name, pair in sides.items()}}
    ratios = []
    for job, cases in jobs.items():
        timings = timing.measure(cases, args.repeats)
        print(job)
        for name, value in timings.items():
            print(f"  {name:20s}{value}\n    {timing.memory_line(value)}")
        target = 5 if job == "training step" and not args.smoke else None
        ratios.append(
            timing.ratio_line(f"{job.split(',')[0]}, bijx / trivmap", timings["bijx RK4"], timings["trivmap RK4"], target)
        )
    print(*ratios, sep="\n")
    options = ["--lattice", *map(str, lattice), "--steps", str(args.steps), "--batch", str(args.batch)]
    for name in sides:
        peak = timing.subprocess_peak("--only", name, *options)
        print(f"peak memory of a process, training step, {name}: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
