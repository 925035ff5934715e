"""Coupling flows against bijx and flowjax: training steps of flows of equal size, and compile time against depth.

    python scripts/benchmarks/couplings.py [--lattice 8 8] [--layers 16] [--batch 128] [--repeats 9]

Affine couplings, phi^4, checkerboard: bijx's `realnvp_conv_flow` has three convolutions of extent 3 with 8 channels (the
sizes of arXiv:2101.08176); ours has a convolution of reach 3 and two layers without reach, with as many channels and
layers. `more channels` are 24 and 16, as many parameters as bijx. Spline couplings: flowjax's `coupling_flow` moves half of
a vector by splines of 8 bins with a dense network (two hidden layers of 24, sixteen times the parameters); ours are a
convolution of reach 2 with 16 and 12 channels, which on 8x8 is as many multiplications, or with 24 and 24. `average` keeps
phi -> -phi exactly and evaluates the network twice.

A training step is prior sample, reverse-KL value and gradient, and Adam update, in float32. Ratios are wall times of a
step, peer / trivmap; above 1 means that trivmap is faster. Then gradients of the reverse KL: path gradients with the score
carried along, and through the inverse. The last part compiles the training step of 8 and of 64 layers.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import _timing as timing
import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from trivmap.flows import CouplingFlow, GaugeCouplingFlow
from trivmap.groups import U1
from trivmap.manifolds import LinkField, RealField
from trivmap.models import Model
from trivmap.priors import GaussianPrior
from trivmap.theories import Phi4Action, WilsonAction
from trivmap.training import path_gradient, reverse_kl, trainable
from trivmap.transforms import Affine, RationalQuadraticSpline

OPTIMISER = optax.adam(1e-3)


class Side(NamedTuple):
    """A flow as a function of its parameters: (parameters, batch of prior fields) -> (batch of fields, log-dets)."""

    parameters: Any
    flow: Callable

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.parameters) if eqx.is_inexact_array(leaf))


def ours(flow) -> Side:
    parameters, static = eqx.partition(flow, trainable(flow))
    return Side(parameters, lambda p, z: jax.vmap(eqx.combine(p, static).forward_and_log_det)(z))


def bijx_affine(lattice, layers) -> Side:
    bijx = timing.require_peer()
    from flax import nnx

    flow = bijx.architectures.realnvp_conv_flow(
        (*lattice, 1), n_coupling_layers=layers, hidden_channels=[8, 8], rngs=nnx.Rngs(0)
    )
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)

    def run(parameters, z):
        x, minus_log_det = nnx.merge(graph, parameters, rest).forward(z[..., None], jnp.zeros(len(z)))
        return x[..., 0], -minus_log_det

    return Side(parameters, run)


def flowjax_spline(lattice, layers) -> Side:
    try:
        from flowjax.bijections import RationalQuadraticSpline as Spline
        from flowjax.distributions import Normal
        from flowjax.flows import coupling_flow
    except ImportError:
        sys.exit("This benchmark compares with flowjax, which is not installed: pip install 'trivmap[peers]'.")
    size = lattice[0] * lattice[1]
    distribution = coupling_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(size)),
        transformer=Spline(knots=8, interval=3),
        flow_layers=layers,
        nn_width=24,
        nn_depth=2,
        invert=False,
    )
    parameters, static = eqx.partition(distribution.bijection, eqx.is_inexact_array)

    def run(parameters, z):
        import paramax

        bijection = paramax.unwrap(eqx.combine(parameters, static))
        x, log_det = jax.vmap(bijection.transform_and_log_det)(z.reshape(len(z), -1))
        return x.reshape(z.shape), log_det

    return Side(parameters, run)


def training_step(side: Side, action: Callable, prior: Callable, batch: int) -> timing.Case:
    """prior sample -> reverse KL (up to a constant) -> gradient -> Adam."""

    def loss(parameters, key):
        x, log_det = side.flow(parameters, jax.vmap(prior)(jax.random.split(key, batch)))
        return jnp.mean(jax.vmap(action)(x) - log_det)

    def step(parameters, state, key):
        value, gradient = jax.value_and_grad(loss)(parameters, key)
        updates, state = OPTIMISER.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    return timing.Case(step, (side.parameters, OPTIMISER.init(side.parameters), jax.random.key(2)))


def peers(lattice, layers, batch, repeats) -> None:
    key, manifold = jax.random.key(0), RealField(lattice)
    theory = Phi4Action(lattice, -4.0, 8.0)
    spline = RationalQuadraticSpline(8, (-3.0, 3.0))

    def coupling(transform, equivariance, hidden, reach):
        flow = CouplingFlow(key, manifold, layers, transform, hidden=hidden, reach=reach, equivariance=equivariance)
        return ours(flow)

    sides = {
        "affine": {
            "bijx": bijx_affine(lattice, layers),
            "trivmap": coupling(Affine(), "none", (8, 8), 3),
            "more channels": coupling(Affine(), "none", (24, 16), 3),
            "average": coupling(Affine(), "average", (24, 16), 3),
        },
        "spline": {
            "flowjax": flowjax_spline(lattice, layers),
            "trivmap": coupling(spline, "none", (16, 12), 2),
            "more channels": coupling(spline, "none", (24, 24), 2),
            "average": coupling(spline, "average", (24, 24), 2),
        },
    }
    for job, table in sides.items():
        cases = {name: training_step(side, theory.action, manifold.random_tangent, batch) for name, side in table.items()}
        timings = timing.measure(cases, repeats)
        print(f"training step, {job} couplings")
        for name, value in timings.items():
            print(f"  {name:14s}{value}, {table[name].size} parameters\n    {timing.memory_line(value)}")
        peer = next(iter(table))
        for name in list(table)[1:]:
            print(timing.ratio_line(f"  {peer} / {name}", timings[peer], timings[name]))


def path_through_inverse(key, model, theory, batch):
    """The path gradient in its textbook form: the fixed density at the moving sample."""
    fixed = jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, model)

    def one(key):
        x, _ = model.sample_and_log_prob(key)
        return fixed.log_prob(x) + theory.action(x)

    return jnp.mean(jax.vmap(one)(jax.random.split(key, batch))), None


def estimators(lattice, layers, batch, repeats) -> None:
    key, theory = jax.random.key(0), Phi4Action(lattice, -4.0, 8.0)
    flow = CouplingFlow(key, theory.manifold, layers, Affine(), hidden=(24, 16), reach=3)
    model = Model(GaussianPrior(theory.manifold), flow)
    parameters, static = eqx.partition(model, trainable(model))

    def case(objective):
        def loss(parameters, key):
            return objective(key, eqx.combine(parameters, static), theory, batch)[0]

        return timing.Case(jax.value_and_grad(loss), (parameters, jax.random.key(2)))

    objectives = {"reverse KL": reverse_kl, "path gradient": path_gradient, "path, inverse": path_through_inverse}
    timings = timing.measure({name: case(objective) for name, objective in objectives.items()}, repeats)
    print("gradients of a batch, affine couplings")
    for name, value in timings.items():
        print(f"  {name:14s}{value}\n    {timing.memory_line(value)}")
    print(timing.ratio_line("  path gradient / reverse KL", timings["path gradient"], timings["reverse KL"]))
    print(timing.ratio_line("  through the inverse / along the way", timings["path, inverse"], timings["path gradient"]))


def depth(lattice, batch) -> None:
    key, links = jax.random.key(0), LinkField(U1(), lattice)
    scalar, gauge = Phi4Action(lattice, -4.0, 8.0), WilsonAction(U1(), lattice, 2.0)
    builds = {
        "affine": (lambda n: CouplingFlow(key, scalar.manifold, n), scalar.action, scalar.manifold.random_tangent),
        "U(1)": (lambda n: GaugeCouplingFlow(key, links, n), gauge.action, links.reference_sample),
    }
    print("compile time of a training step")
    for name, (build, action, prior) in builds.items():
        seconds = {}
        for layers in (8, 64, 8, 64):
            case = training_step(ours(build(layers)), action, prior, batch)
            seconds.setdefault(layers, []).append(timing.compiled(case.function, *case.arguments)[1])
        shallow, deep = min(seconds[8]), min(seconds[64])
        verdict = "reached" if deep < 1.3 * shallow else "MISSED"
        print(
            f"  {name}: 8 layers {shallow:.2f} s, 64 layers {deep:.2f} s, ratio {deep / shallow:.2f} (target 1.3: {verdict})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lattice", type=int, nargs=2, default=[8, 8])
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="4x4 lattice, two layers, one repetition")
    args = parser.parse_args()
    if args.smoke:
        args.lattice, args.layers, args.batch, args.repeats = [4, 4], 2, 4, 1
    lattice = tuple(args.lattice)
    timing.header(f"Couplings, {'x'.join(map(str, lattice))}, {args.layers} layers, batch {args.batch}")
    peers(lattice, args.layers, args.batch, args.repeats)
    estimators(lattice, args.layers, args.batch, args.repeats)
    depth(lattice, args.batch)
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
