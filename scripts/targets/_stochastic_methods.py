"""The stochastic flows that `stochastic.py` measures: theories, and for each method how its model is made and trained."""

import functools
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)

import trivmap as tm  # noqa: E402

THEORIES = {
    "phi4_8x8": lambda: tm.Phi4Action((8, 8), m2=-4.0, lam=8.0),
    "phi4_16x16": lambda: tm.Phi4Action((16, 16), m2=-4.0, lam=8.0),
    "u1_8x8_beta2": lambda: tm.WilsonAction(tm.U1(), (8, 8), beta=2.0),
    "u1_8x8_beta4": lambda: tm.WilsonAction(tm.U1(), (8, 8), beta=4.0),
    "su2_8x8": lambda: tm.WilsonAction(tm.SU(2), (8, 8), beta=2.2),
    "su3_8x8": lambda: tm.WilsonAction(tm.SU(3), (8, 8), beta=4.0),
}


def prior_of(theory, width: float | None = 0.5) -> tm.priors.AbstractPrior:
    return tm.GaussianPrior(theory.manifold, width=width) if is_scalar(theory) else tm.HaarPrior(theory.manifold)


def is_scalar(theory) -> bool:
    return isinstance(theory.manifold, tm.RealField)


def is_angular(theory) -> bool:
    return not is_scalar(theory) and theory.group.n == 1


def update_of(theory) -> tm.kernels.AbstractKernel:
    if not is_scalar(theory) and not is_angular(theory):
        return tm.kernels.HeatbathKernel()
    return tm.kernels.HMCKernel(length=0.3 if is_scalar(theory) else 0.6 / float(theory.beta) ** 0.5, steps=3)


def field_of(theory, **options) -> tm.fields.AbstractVectorField:
    if is_scalar(theory) or is_angular(theory):
        return tm.GatedConvolutionField(theory.manifold, dtype=jnp.float32, **options)
    return tm.GradientField(tm.LoopPotential.model_a(theory, dtype=jnp.float32))


@functools.cache
def ensemble_of(name: str, smoke: bool):
    """Configurations of HMC for matching, and the seconds they took."""
    theory = THEORIES[name]()
    start = time.perf_counter()
    options = {"steps": 10, "chains": 16, "thin": 4, "dtype": jnp.float32}
    chain = tm.hmc(jax.random.key(3), theory, 10 if smoke else 400, trajectory_length=0.6, **options)
    return chain, time.perf_counter() - start


class Training:
    """`fit` with common options; the seconds it took."""

    def __init__(self, smoke: bool):
        self.smoke, self.seconds = smoke, 0.0

    def __call__(self, model, theory, objective, steps: int, rate: float = 3e-3, batch_size: int = 128):
        steps, batch_size = (4, 8) if self.smoke else (steps, batch_size)
        start = time.perf_counter()
        model, _ = tm.fit(
            jax.random.key(0),
            model,
            theory,
            objective=objective,
            steps=steps,
            batch_size=batch_size,
            optimiser=optax.adam(optax.cosine_decay_schedule(rate, steps)),
            dtype=jnp.float32,
            chunk=max(1, steps // 4),
            progress=False,
        )
        self.seconds += time.perf_counter() - start
        return model


def jarzynski(theory, name, train):
    prior = prior_of(theory)
    return tm.Model(prior, tm.AnnealedFlow(prior, theory, update_of(theory), 30))


def layered(theory) -> tm.Model:
    """Ten annealing steps with a layer each."""
    prior, levels = prior_of(theory), 10
    if is_scalar(theory):
        keys = jax.random.split(jax.random.key(5), levels)
        layers = [
            tm.CouplingFlow(k, theory.manifold, 2, tm.transforms.Affine(), hidden=(12,), dtype=jnp.float32) for k in keys
        ]
    elif is_angular(theory):
        layers = [tm.ContinuousFlow(field_of(theory, times=1), steps=1) for _ in range(levels)]
    else:
        start = tm.fields.trivializing_potential(theory, 0, dtype=jnp.float32)
        potential = tm.LoopPotential(
            theory.manifold, coefficients=start.coefficients / levels, time="constant", dtype=jnp.float32
        )
        layers = [tm.ContinuousFlow(tm.GradientField(potential), steps=1, solver=tm.solvers.LuescherW3())] * levels
    return tm.Model(
        prior, tm.AnnealedFlow(prior, theory, update_of(theory), levels, layers=tm.stochastic.stack_layers(layers))
    )


def snf(theory, name, train):
    return train(layered(theory), theory, tm.reverse_kl, 300 if is_scalar(theory) or is_angular(theory) else 100)


def craft(theory, name, train):
    """The layers of the SNF, trained and used inside of populations that are resampled."""
    return train(layered(theory), theory, tm.objectives.craft, 300 if is_scalar(theory) or is_angular(theory) else 100)


def nets(theory, name, train):
    """By the continuity residual; gradients of loops on SU(N) by action matching, which needs no divergence."""
    prior = prior_of(theory)
    step = 0.02 if is_scalar(theory) else 0.05 / float(theory.beta)
    drift = field_of(theory)
    objective, updates = (tm.objectives.continuity_residual, 600)
    if isinstance(drift, tm.GradientField):
        objective, updates = (tm.objectives.action_matching, 200)
    model = tm.Model(prior, tm.LangevinFlow(prior, theory, 20, step_size=step, drift=drift))
    return train(model, theory, functools.partial(objective, chosen=5), updates, 1e-2)


def score_of(theory, noising) -> tm.fields.AbstractVectorField:
    if is_scalar(theory):
        return field_of(theory)
    if is_angular(theory):
        return tm.stochastic.plaquette_score(noising, theory, features=6, gates=4, times=6, dtype=jnp.float32)
    # The share of the plaquette that is left times minus the gradient of the action: right at both ends.
    terms = tm.LoopPotential.model_a(theory).terms
    return tm.GradientField(
        tm.LoopPotential(theory.manifold, terms, coefficient=float(theory.beta), times=6, dtype=jnp.float32)
    )


def diffusion_of(theory) -> tm.Model:
    noising = (
        tm.stochastic.VariancePreserving(theory.manifold)
        if is_scalar(theory)
        else tm.stochastic.HeatKernelNoising(theory.manifold)
    )
    steps = 32 if is_scalar(theory) else 64
    return tm.Model(noising.prior, tm.ScoreDiffusion(noising, score_of(theory, noising), steps))


@functools.cache
def matched(name: str, smoke: bool):
    """The diffusion after score matching, its data, and the seconds of both."""
    theory, train = THEORIES[name](), Training(smoke)
    chain, train.seconds = ensemble_of(name, smoke)
    updates, rate = (2000, 1e-2) if is_scalar(theory) else (400, 3e-3)
    model = train(diffusion_of(theory), theory, tm.objectives.ScoreMatching(chain, "denoising"), updates, rate)
    return model, chain, train.seconds


def diffusion_sde(theory, name, train):
    model, chain, train.seconds = matched(name, train.smoke)
    return calibrated(model, chain)


def calibrated(model: tm.Model, chain: tm.Chain) -> tm.Model:
    some = jnp.asarray(np.asarray(chain.configurations).reshape(-1, *model.transport.manifold.shape)[:200])
    some = some.astype(jnp.complex64 if jnp.iscomplexobj(some) else jnp.float32)
    return tm.Model(model.prior, model.transport.calibrated(jax.random.key(6), some))


def diffusion_corrected(theory, name, train):
    """Predictor and corrector: a Langevin step by the same score after each step."""
    model = diffusion_sde(theory, name, train)
    diffusion = model.transport
    new = tm.ScoreDiffusion(diffusion.noising, diffusion.field, diffusion.schedule, corrections=1)
    return tm.Model(model.prior, eqx.tree_at(lambda d: d.log_variance_factors, new, diffusion.log_variance_factors))


def annealed_mala(theory, name, train):
    """Metropolis-adjusted Langevin updates of the theory at the end of the diffusion."""
    model = diffusion_sde(theory, name, train)
    update = tm.kernels.HMCKernel(length=0.1 if is_scalar(theory) else 0.2 / float(theory.beta) ** 0.5, steps=1)
    return tm.Model(
        model.prior, tm.stochastic.StochasticSequence(model.transport, tm.stochastic.KernelFlow(theory, update, 20))
    )


def diffusion_unet(theory, name, train):
    """The reverse SDE with a covariant U-Net as score, from minus the gradient of the action at both ends."""
    chain, train.seconds = ensemble_of(name, train.smoke)
    manifold, noising = theory.manifold, tm.stochastic.HeatKernelNoising(theory.manifold)
    network = tm.fields.CovariantUNet(jax.random.key(7), manifold, theory=theory, dtype=jnp.float32)
    field = tm.fields.LocalField(network, manifold, network.reach, check=False)
    model = tm.Model(noising.prior, tm.ScoreDiffusion(noising, field, 64))
    model = train(model, theory, tm.objectives.ScoreMatching(chain, "denoising"), 400, 3e-3, batch_size=64)
    return calibrated(model, chain)


def diffusion_ode(theory, name, train):
    model, _, train.seconds = matched(name, train.smoke)
    return tm.Model(model.prior, model.transport.probability_flow(steps=16 if is_scalar(theory) else 8))


def diffusion_closed(theory, name, train):
    """The probability flow of the closed form, nothing learned."""
    model = diffusion_of(theory)
    return tm.Model(model.prior, model.transport.probability_flow(steps=8))


def kernels_of(field):
    return field.convolution.linear, field.convolution.gate


def moved_score(start: tm.ScoreDiffusion, betas: tuple[float, float], rule: str = "closed form") -> tm.ScoreDiffusion:
    """The score of the first coupling, for the second one; fields are linear in their kernels."""
    noising, old = start.noising, kernels_of(start.field)
    if rule == "action":
        new = tuple(a * (betas[1] / betas[0]) for a in old)
    else:
        theories = (tm.WilsonAction(tm.U1(), noising.manifold.lattice, beta=float(beta)) for beta in betas)
        closed = (kernels_of(score_of(theory, noising)) for theory in theories)
        new = tuple(a - b + c for a, b, c in zip(old, *closed, strict=True))
    return eqx.tree_at(lambda d: kernels_of(d.field), start, new)


@functools.cache
def corrected(beta: float, smoke: bool) -> tuple[tm.ScoreDiffusion, float]:
    """The closed form for U(1) after Gauss-Newton steps on the weights of its probability flow, and their seconds.

    At beta = 2, 3, ... one after the other: far from the theory the weights are no linear function of the kernels.
    """
    theory, before, spent = tm.WilsonAction(tm.U1(), (8, 8), beta=beta), max(beta - 1, 2.0), 0.0
    diffusion = diffusion_of(theory).transport
    if beta > 2:
        diffusion, spent = corrected(before, smoke)
        diffusion = moved_score(diffusion, (before, beta))
    start = time.perf_counter()
    model, _ = tm.gauss_newton(
        jax.random.fold_in(jax.random.key(0), int(beta)),
        tm.Model(diffusion.noising.prior, diffusion.probability_flow(steps=2 if smoke else 10)),
        theory,
        parameters=lambda m: kernels_of(m.transport.field.field)[: 1 if smoke else 2],
        steps=1 if smoke else 4,
        samples=1200 if smoke else 16384,
        batch_size=256,
        reverse=True,
        damping=1e-2,
        floor=0.05,
        dtype=jnp.float32,
        progress=False,
    )
    diffusion = eqx.tree_at(lambda d: d.field, diffusion, model.transport.field.field)
    return diffusion, spent + time.perf_counter() - start


def diffusion_tuned(theory, name, train):
    """The probability flow trained by its own weights, from the closed form (U(1)) or the matched score."""
    if is_angular(theory):
        diffusion, train.seconds = corrected(float(theory.beta), train.smoke)
        return tm.Model(diffusion.noising.prior, diffusion.probability_flow(steps=10))
    model, _, train.seconds = matched(name, train.smoke)
    model = tm.Model(model.prior, model.transport.probability_flow(steps=4))
    model = train(model, theory, tm.reverse_kl, 300, 1e-2, batch_size=64)
    return tm.Model(model.prior, model.transport.refined())


def flow_matching(theory, name, train, noise: float = 0.0):
    chain, seconds = ensemble_of(name, train.smoke)
    train.seconds += seconds
    prior = prior_of(theory)
    model = tm.Model(prior, tm.ContinuousFlow(field_of(theory), steps=12))
    return train(model, theory, tm.objectives.FlowMatching(chain, noise), 2000, 1e-2)


def interpolant(theory, name, train):
    """Flow matching along paths with noise, of the size of the fluctuations of phi^4 and a tenth of the circle."""
    return flow_matching(theory, name, train, noise=0.3)


METHODS = {
    "jarzynski": jarzynski,
    "snf": snf,
    "smc": jarzynski,
    "craft": craft,
    "nets": nets,
    "diffusion_sde": diffusion_sde,
    "diffusion_corrected": diffusion_corrected,
    "annealed_mala": annealed_mala,
    "diffusion_unet": diffusion_unet,
    "diffusion_ode": diffusion_ode,
    "diffusion_closed": diffusion_closed,
    "diffusion_tuned": diffusion_tuned,
    "flow_matching": flow_matching,
    "interpolant": interpolant,
}
