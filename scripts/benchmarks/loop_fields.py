"""Loop potentials on 2D SU(3): field with divergence against the plaquette force, training step against forward flows.

    python scripts/benchmarks/loop_fields.py [--extent 16] [--batch 64] [--train-extent 8]
    python scripts/benchmarks/loop_fields.py --memory-only

Model A has the 8 loop types of the next-to-leading trivializing potential (affine in t), model B 42 loop types (cubic
splines with 10 knots). A field evaluation gives velocity and exact divergence; `reverse mode` is the gradient of the same
loops by `jax.grad` of their sums, without a divergence. A training step is the reverse-KL value and gradient of a flow
with 20 steps of Luescher's three-stage scheme; its peak memory is that of a process of its own (16x16, batch 256). Ratios
are wall times, ratios of CPU times beside them.
"""

import argparse

import _timing as timing
import equinox as eqx
import jax
import jax.numpy as jnp

from trivmap.fields import GradientField, LoopPotential
from trivmap.flows import ContinuousFlow
from trivmap.gauge import family_values
from trivmap.groups import SU
from trivmap.solvers import LuescherW3
from trivmap.theories import WilsonAction

STEPS = 20


def configurations(theory, batch):
    return jax.vmap(theory.manifold.reference_sample)(jax.random.split(jax.random.key(0), batch))


def force(theory, x):
    return jax.vmap(theory.gradient)(x)


def velocity(field, t, x):
    return jax.vmap(field, in_axes=(None, 0))(t, x)


def reverse_mode(potential, coefficients, x):
    program = potential.family.program
    return jax.vmap(jax.grad(lambda y: coefficients @ family_values(program, y)))(x)


def loss(field, theory, z):
    flow = ContinuousFlow(field, steps=STEPS, solver=LuescherW3())
    x, log_det = jax.vmap(flow.forward_and_log_det)(z)
    return jnp.mean(jax.vmap(theory.action)(x) - log_det)


def models(theory, times):
    made = {"model A": LoopPotential.model_a(theory), f"model B, {times} knots": LoopPotential.model_b(theory, knots=times)}
    return {name: GradientField(potential) for name, potential in made.items()}


def at_most(name, slow, fast, limit):
    """`slow`/`fast`: ratio of the median wall times and of the CPU times."""
    wall, cpu = slow.median / fast.median, slow.cpu_median / fast.cpu_median
    verdict = "" if limit is None else f", at most {limit:g}: {'reached' if cpu <= limit else 'MISSED'} (CPU)"
    print(f"  {name}: {wall:.3g}, CPU {cpu:.3g}{verdict}")


def show(name, value):
    print(f"  {name:24s}{value}\n    {timing.memory_line(value)}", flush=True)


def fields(theory, batch, repeats, limits) -> None:
    x, t = configurations(theory, batch), jnp.asarray(0.3)
    cases = {"plaquette force": timing.Case(force, (theory, x), batch)}
    for name, field in models(theory, 10).items():
        family = field.potential.family
        print(f"  {name}: {family.given} terms, {len(family.terms)} with those of their Laplacians")
        cases[name] = timing.Case(velocity, (field, t, x), batch)
        coefficients = jnp.ones(len(family.terms))
        cases[f"{name}, reverse mode"] = timing.Case(reverse_mode, (field.potential, coefficients, x), batch)
    timings = timing.measure(cases, repeats)
    for name, value in timings.items():
        show(name, value)
    print("relative to the plaquette force")
    for name, value in timings.items():
        limit = next((limit for start, limit in limits.items() if name.startswith(start) and "reverse" not in name), None)
        if name != "plaquette force":
            at_most(name, value, timings["plaquette force"], limit)


def training(theory, batch, repeats, limit) -> None:
    z = configurations(theory, batch)
    for name, field in models(theory, 10).items():
        cases = {
            "forward flow": timing.Case(loss, (field, theory, z), batch),
            "training step": timing.Case(eqx.filter_value_and_grad(loss), (field, theory, z), batch),
        }
        timings = timing.measure(cases, repeats)
        print(name)
        for case, value in timings.items():
            show(case, value)
        at_most("training step / 3 forward flows", timings["training step"], timings["forward flow"].scaled(3), limit)


def memory(extent, batch, limit) -> None:
    """Peak memory of one training step, each model in a process of its own."""
    for name in models(WilsonAction(SU(3), (4, 4), 5.0), 10):
        options = ("--step-of", name, "--train-extent", str(extent), "--batch", str(batch))
        peak = timing.subprocess_peak(*options)
        verdict = "" if limit is None else f", below {limit} MiB: {'reached' if peak < limit else 'MISSED'}"
        print(f"training step of {name}, {extent}x{extent}, batch {batch}: peak memory {peak:.0f} MiB{verdict}", flush=True)


def one_step(name, extent, batch) -> None:
    theory = WilsonAction(SU(3), (extent, extent), 5.0)
    step = eqx.filter_jit(eqx.filter_value_and_grad(loss))
    jax.block_until_ready(step(models(theory, 10)[name], theory, configurations(theory, batch)))
    print(timing.peak_memory())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extent", type=int, default=16)
    parser.add_argument("--train-extent", type=int, default=8)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--train-repeats", type=int, default=3)
    parser.add_argument("--memory-only", action="store_true", help="only the peak memory of a training step")
    parser.add_argument("--step-of", metavar="MODEL", help="run one training step and print the peak memory (MiB)")
    parser.add_argument("--smoke", action="store_true", help="4x4 lattices, two configurations, one repetition")
    args = parser.parse_args()
    limits, limit = {"model A": 8, "model B": 40}, 2.5
    if args.smoke:
        args.extent, args.train_extent, args.batch, args.repeats, args.train_repeats = 4, 4, 2, 1, 1
        limits, limit = {}, None
    jax.config.update("jax_enable_x64", True)
    if args.step_of:
        one_step(args.step_of, args.train_extent, args.batch)
        return
    if args.memory_only:
        memory(16, 256, 4000)
        return
    timing.header(f"SU(3) {args.extent}x{args.extent}, batch {args.batch}, times per configuration")
    fields(WilsonAction(SU(3), (args.extent,) * 2, 5.0), args.batch, args.repeats, limits)
    timing.header(f"SU(3) {args.train_extent}x{args.train_extent}, batch {args.batch}, {STEPS} steps, per configuration")
    training(WilsonAction(SU(3), (args.train_extent,) * 2, 5.0), args.batch, args.train_repeats, limit)
    memory(*((4, 2, None) if args.smoke else (16, 256, 4000)))


if __name__ == "__main__":
    main()
