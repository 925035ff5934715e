"""Langevin flows: a step against a force evaluation, and the scan integrator against diffrax with a Brownian tree.

    python scripts/benchmarks/stochastic.py [--batch 64] [--steps 32] [--repeats 9]

A step of `LangevinFlow` computes one force, the noise and the weight; beside it stand as many forces, and as many forces
and draws of the noise, in one scan each. The same annealed Langevin equation by `solve_langevin` (Euler-Maruyama of
diffrax, fixed steps, no weight) takes its noise from a `VirtualBrownianTree`. Ratios are wall times per configuration and
step. At the end the buffers of a gradient through many steps, with and without recomputing them in the backward pass, and
what the recomputation costs in time.
"""

import argparse

import _timing as timing
import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

import trivmap as tm


def forces(theory, steps, x):
    return jax.lax.scan(lambda x, _: (x - 1e-3 * theory.gradient(x), None), x, None, length=steps)[0]


def forces_and_noise(theory, steps, x, key):
    manifold = theory.manifold

    def step(x, key):
        noise = manifold.random_tangent(key, jnp.real(x).dtype)
        return manifold.exp(1e-3 * theory.gradient(x) + 1e-2 * noise, x), None

    return jax.lax.scan(step, x, jax.random.split(key, steps))[0]


def langevin(flow, x, key):
    return flow.forward_and_log_weight(key, x)


def with_diffrax(flow, x, key):
    steps = flow.schedule.steps
    shape = (flow.manifold.dimension,)
    path = diffrax.VirtualBrownianTree(0.0, float(steps), tol=0.5, shape=shape, key=key)
    return tm.stochastic.solve_langevin(flow, x, path).ys[0]


def gradient_case(prior, theory, steps: int, keys, *, checkpoint: bool) -> timing.Case:
    """The gradient of the mean log weight of a batch."""
    drift = tm.GatedConvolutionField(theory.manifold) if theory.manifold.shape == theory.lattice else None
    flow = tm.LangevinFlow(prior, theory, steps, step_size=0.01, drift=drift, checkpoint=checkpoint)

    def loss(flow, keys):
        return -jnp.mean(jax.vmap(lambda key: flow.forward_and_log_weight(key, prior.sample(key))[1])(keys))

    return timing.Case(eqx.filter_jit(eqx.filter_grad(loss)), (flow, keys), len(keys) * steps)


def batched(function):
    """Static arguments in front, configuration and key mapped over."""

    @eqx.filter_jit
    def run(fixed, x, keys):
        return jax.vmap(lambda x, key: function(*fixed, x, key))(x, keys)

    return run


def gradient_report(prior, theory, keys, args) -> None:
    """Buffers beside arguments and results by number of steps, and times per step at the first number."""
    counts = (2, 4) if args.smoke else (25, 100, 400)
    cases = {}
    for name, checkpoint in (("recomputed", True), ("stored", False)):
        found = [gradient_case(prior, theory, n, keys, checkpoint=checkpoint) for n in counts]
        buffers = [timing.compiled(case.function, *case.arguments)[2] / 2**20 for case in found]
        print(f"  gradient, {name}: " + ", ".join(f"{n} steps {b:.1f} MiB" for n, b in zip(counts, buffers, strict=True)))
        cases[name] = found[0]
    timings = timing.measure(cases, args.repeats)
    print(timing.ratio_line(f"gradient of {counts[0]} steps, recomputed / stored", timings["recomputed"], timings["stored"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--smoke", action="store_true", help="4x4, two configurations, one repetition")
    args = parser.parse_args()
    if args.smoke:
        args.batch, args.steps, args.repeats = 2, 4, 1
    jax.config.update("jax_enable_x64", True)
    extents = (4, 4) if args.smoke else (8, 8)
    theories = {
        "phi4": tm.Phi4Action(extents, m2=-4.0, lam=8.0),
        "SU(3)": tm.WilsonAction(tm.SU(3), extents, beta=4.0),
    }
    keys = jax.random.split(jax.random.key(0), args.batch)
    units = args.batch * args.steps
    for name, theory in theories.items():
        prior = tm.GaussianPrior(theory.manifold, width=0.5) if name == "phi4" else tm.HaarPrior(theory.manifold)
        x = jax.vmap(prior.sample)(keys)
        flow = tm.LangevinFlow(prior, theory, args.steps, step_size=0.01)
        cases = {
            "force": timing.Case(batched(lambda t, n, x, key: forces(t, n, x)), ((theory, args.steps), x, keys), units),
            "force and noise": timing.Case(batched(forces_and_noise), ((theory, args.steps), x, keys), units),
            "Langevin step": timing.Case(batched(langevin), ((flow,), x, keys), units),
        }
        cases["diffrax, Brownian tree"] = timing.Case(batched(with_diffrax), ((flow,), x, keys), units)
        timing.header(
            f"{name} {extents[0]}x{extents[1]}, batch {args.batch}, {args.steps} steps: time per step and configuration"
        )
        timings = timing.measure(cases, args.repeats)
        for case, value in timings.items():
            print(f"  {case:24s}{value}\n    {timing.memory_line(value)}")
        step = timings["Langevin step"]
        print(timing.ratio_line("Langevin step / force", step, timings["force"]))
        print(timing.ratio_line("Langevin step / force and noise", step, timings["force and noise"]))
        print(timing.ratio_line("diffrax / Langevin step", timings["diffrax, Brownian tree"], step))
        gradient_report(prior, theory, keys, args)
    print(f"peak memory {timing.peak_memory():.0f} MiB")


if __name__ == "__main__":
    main()
