"""Numbers that cannot be meant are refused, by every function and constructor that takes them."""

import subprocess
import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import trivmap as tm
from trivmap import _checks
from trivmap.fields import NeuralPotential
from trivmap.solvers import integrate
from trivmap.stochastic import HeatKernelNoising
from trivmap.training import default_optimiser, gradient_noise
from trivmap.transforms import Affine, CircularSpline, Moebius, NonCompactProjection, RationalQuadraticSpline

NAN, INF = float("nan"), float("inf")
KEY = jax.random.key(0)
LINKS = tm.LinkField(tm.U1(), (4, 4))
SCALARS = tm.RealField((4, 4))
MATRICES = tm.LinkField(tm.SU(2), (2, 2))
THEORY = tm.WilsonAction(tm.U1(), (4, 4), beta=1.0)
PRIOR = tm.HaarPrior(LINKS)
MODEL = tm.Model(PRIOR, tm.ContinuousFlow(tm.GatedConvolutionField(LINKS), steps=1))
ANNEALED = tm.AnnealedFlow(PRIOR, THEORY, tm.kernels.HMCKernel(), 2)
DATA = np.arange(20.0)

NO_COUNT = (0, -1, 2.5, NAN, True, "4", None)
NO_COUNT_BUT_NONE = NO_COUNT[:-1]  # where None is the default
NO_STEPS = (-1, 2.5, NAN, True, "4")  # zero is one
NOT_POSITIVE = (0.0, -1.0, NAN, INF, "4")
NOT_FRACTION = (-0.1, 1.0, 1.5, NAN, INF)
NOT_CLOSED = (-0.1, 1.5, NAN, INF)

# Function of the argument, name of the argument, and what it cannot be.
NONSENSE = {
    "hmc": [
        (lambda **k: tm.hmc(KEY, THEORY, **{"n": 4} | k), name, values)
        for name, values in {
            "n": NO_COUNT, "steps": NO_COUNT, "chains": NO_COUNT, "thin": NO_COUNT, "chunk": NO_COUNT,
            "trajectory_length": NOT_POSITIVE, "length_spread": NOT_FRACTION, "thermalisation": NO_STEPS,
        }.items()
    ],
    "heatbath": [
        (lambda **k: tm.heatbath(KEY, THEORY, **{"n": 4} | k), name, values)
        for name, values in {
            "n": NO_COUNT, "chains": NO_COUNT, "thin": NO_COUNT, "chunk": NO_COUNT, "attempts": NO_COUNT,
            "overrelaxation": NO_STEPS, "thermalisation": NO_STEPS,
        }.items()
    ],
    "sample": [
        (lambda **k: tm.sample(KEY, MODEL, THEORY, **{"n": 4} | k), name, values)
        for name, values in {"n": NO_COUNT, "batch_size": NO_COUNT, "first": (*NO_STEPS, 2**32, 2**32 - 3, 2**64)}.items()
    ],
    "smc": [
        (lambda **k: tm.smc(KEY, tm.Model(PRIOR, ANNEALED), THEORY, **{"n": 2} | k), name, values)
        for name, values in {
            "n": (*NO_COUNT, 2**32), "particles": NO_COUNT, "resample_below": NOT_CLOSED,
        }.items()
    ],
    "craft": [
        (lambda **k: tm.objectives.craft(KEY, tm.Model(PRIOR, ANNEALED), THEORY, 4, **k), "resample_below", NOT_CLOSED),
    ],
    "fit": [
        (lambda **k: tm.fit(KEY, MODEL, THEORY, progress=False, **k), name, values)
        for name, values in {
            "steps": NO_COUNT, "batch_size": NO_COUNT, "chunk": NO_COUNT, "ema": NOT_FRACTION, "clip": NOT_POSITIVE,
        }.items()
    ],
    "gauss_newton": [
        (lambda **k: tm.gauss_newton(KEY, MODEL, THEORY, parameters=lambda m: m.transport.field.smoothing, **k), name, values)
        for name, values in {
            "steps": NO_STEPS, "samples": NO_COUNT_BUT_NONE, "batch_size": NO_COUNT_BUT_NONE, "damping": (-1.0, NAN, INF),
            "floor": NOT_CLOSED, "power": NOT_CLOSED, "shift": (-1.0, NAN, INF),
        }.items()
    ],
    "gradient_noise": [
        (lambda **k: gradient_noise(KEY, MODEL, THEORY, {"kl": tm.reverse_kl}, **k), name, values)
        for name, values in {"batch_size": NO_COUNT, "repeats": (1, *NO_COUNT)}.items()
    ],
    "default_optimiser": [
        (lambda steps=1, rate=0.1: default_optimiser(steps, rate), "steps", NO_COUNT),
        (lambda steps=1, rate=0.1: default_optimiser(steps, rate), "rate", NOT_POSITIVE),
    ],
    "deepen": [(lambda layers: tm.training.deepen(KEY, MODEL, layers), "layers", NO_COUNT)],
    "annealing of couplings": [
        (lambda fraction: tm.training.AnnealedTheory(THEORY, THEORY, fraction), "fraction", (0.0, 1.5, NAN))
    ],
    "conditional": [
        (lambda **k: tm.ConditionalModel(lambda t: MODEL, THEORY, **{"low": 0.5, "high": 1.0} | k), name, values)
        for name, values in {"low": (NAN, -INF, 2.0), "high": (NAN, INF), "degree": NO_STEPS}.items()
    ],
    "updates": [
        (tm.kernels.HMCKernel, "length", (*NOT_POSITIVE, np.array([1.0, NAN]))),
        (tm.kernels.HMCKernel, "steps", NO_COUNT),
        (tm.kernels.HeatbathKernel, "attempts", NO_COUNT),
        (tm.kernels.OverrelaxationKernel, "sweeps", NO_COUNT),
    ],
    "priors": [
        (lambda width: tm.GaussianPrior(SCALARS, width), "width", NOT_POSITIVE),
        (lambda log_z: tm.EnsemblePrior(THEORY, np.zeros((3, 2, 4, 4)), log_z), "log_z", (NAN, INF)),
    ],
    "schedules": [
        (
            tm.stochastic.Schedule,
            "steps",
            (0, -1, 2.5, True, (0.0, NAN, 1.0), (0.0, 0.7, 0.3, 1.0), (0.0,), (0.1, 1.0), (NAN, 1.0)),
        ),
    ],
    "stochastic flows": [
        (lambda **k: tm.LangevinFlow(PRIOR, THEORY, 2, **k), "step_size", (*NOT_POSITIVE, np.array([0.1, NAN]))),
        (lambda **k: tm.AnnealedFlow(PRIOR, THEORY, tm.kernels.HMCKernel(), 2, **k), "repeats", NO_COUNT),
        (lambda **k: tm.ScoreDiffusion(HeatKernelNoising(LINKS), MODEL.transport.field, 2, **k), "corrections", NO_STEPS),
        (
            lambda **k: tm.ScoreDiffusion(HeatKernelNoising(LINKS), MODEL.transport.field, 2, **k),
            "correction_size",
            NOT_POSITIVE,
        ),
        (lambda **k: tm.objectives.ScoreMatching(np.zeros((3, 2, 4, 4)), **k), "anchor", (-1.0, NAN, INF)),
    ],
    "noise": [
        (lambda **k: tm.stochastic.VariancePreserving(SCALARS, **k), "data_width", NOT_POSITIVE),
        (lambda **k: tm.stochastic.VariancePreserving(SCALARS, **k), "rates", ((0.0, 1.0), (1.0, NAN), (1.0, INF))),
        (lambda **k: tm.stochastic.SubVariancePreserving(SCALARS, **k), "data_width", NOT_POSITIVE),
        (lambda **k: tm.stochastic.VarianceExploding(SCALARS, **k), "sigma", NOT_POSITIVE),
        (lambda **k: tm.stochastic.VarianceExploding(SCALARS, **k), "ratio", (1.0, 0.5, NAN, INF)),
        (lambda **k: tm.stochastic.HeatKernelNoising(LINKS, **k), "remainder", (0.0, 1.0, NAN)),
        (lambda **k: tm.stochastic.HeatKernelNoising(LINKS, **k), "walk", NO_COUNT),
    ],
    "flows": [
        (lambda **k: tm.ContinuousFlow(MODEL.transport.field, **k), "steps", NO_COUNT),
        (lambda **k: tm.ContinuousFlow(MODEL.transport.field, steps=1, **k), "max_steps", NO_COUNT),
        (lambda **k: tm.ResidualFlow(tm.fields.NeighbourPotential(KEY, SCALARS), **k), "sweeps", NO_COUNT),
        (lambda **k: tm.ResidualFlow(tm.fields.NeighbourPotential(KEY, SCALARS), 1, **k), "bound", (0.0, 1.0, NAN)),
        (lambda **k: tm.ResidualFlow(tm.fields.NeighbourPotential(KEY, SCALARS), 1, **k), "curvature", NOT_POSITIVE),
        (lambda **k: tm.CouplingFlow(KEY, SCALARS, **k), "layers", NO_COUNT),
        (lambda **k: tm.CouplingFlow(KEY, SCALARS, **k), "reach", NO_COUNT),
        (lambda **k: tm.CouplingFlow(KEY, SCALARS, **k), "hidden", ((0,), (-1, 2), (2.5,))),
        (lambda **k: tm.GaugeCouplingFlow(KEY, LINKS, **k), "layers", NO_COUNT),
        (lambda **k: tm.SpectralCouplingFlow(KEY, MATRICES, **k), "sweeps", NO_COUNT),
        (lambda **k: tm.SpectralCouplingFlow(KEY, MATRICES, **k), "reach", NO_STEPS),
        (lambda **k: tm.flows.FourierFlow(SCALARS, **k), "mass", NOT_POSITIVE),
        (lambda **k: tm.flows.FourierFlow(SCALARS, **k), "knots", (1, *NO_COUNT)),
    ],
    "transforms": [
        (Affine, "limit", NOT_POSITIVE),
        (NonCompactProjection, "mixtures", NO_COUNT),
        (lambda **k: NonCompactProjection(2, **k), "limit", NOT_POSITIVE),
        (Moebius, "mixtures", NO_COUNT),
        (lambda **k: Moebius(2, **k), "limit", (0.0, 1.0, NAN)),
        (RationalQuadraticSpline, "bins", (1, 10**6, *NO_COUNT)),
        (lambda **k: RationalQuadraticSpline(4, **k), "interval", ((0.0, 0.0), (0.0, NAN), (-INF, INF))),
        (CircularSpline, "bins", (1, *NO_COUNT)),
    ],
    "fields": [
        (lambda **k: tm.ConvolutionField(KEY, SCALARS, **k), "sines", NO_COUNT),
        (lambda **k: tm.GatedConvolutionField(LINKS, **k), "gates", NO_COUNT),
        (lambda **k: tm.GatedConvolutionField(SCALARS, **k), "frequency_range", ((0.5, NAN), (0.5, INF))),
        (lambda **k: tm.fields.NeighbourPotential(KEY, SCALARS, **k), "bonds", NO_COUNT),
        (lambda **k: NeuralPotential(KEY, MATRICES, **k), "hidden", ((), (0,))),
        (lambda **k: NeuralPotential(KEY, MATRICES, **k), "stencil", (-1, NAN)),
        (lambda **k: tm.fields.CovariantConvolutionField(MATRICES, **k), "mass", NOT_POSITIVE),
        (lambda **k: tm.fields.CovariantConvolutionField(MATRICES, **k), "radius", NO_STEPS),
        (lambda **k: tm.fields.CovariantUNet(KEY, MATRICES, **k), "levels", NO_COUNT),
        (lambda beta: tm.LadderField(MATRICES, beta), "beta", NOT_POSITIVE),
        (lambda **k: tm.LadderField(MATRICES, 1.0, **k), "gates", NO_STEPS),
        (lambda **k: tm.LoopPotential(MATRICES, time="spline", **k), "times", (1, *NO_COUNT)),
    ],
    "integration": [
        (lambda **k: integrate(MODEL.transport.field, LINKS, jnp.zeros((2, 4, 4)), **k), "steps", NO_COUNT),
        (lambda **k: integrate(MODEL.transport.field, LINKS, jnp.zeros((2, 4, 4)), steps=1, **k), "t1", (NAN, INF)),
        *(
            (
                lambda **k: integrate(
                    MODEL.transport.field,
                    LINKS,
                    jnp.zeros((2, 4, 4)),
                    solver=tm.solvers.RKMK(diffrax.Tsit5(), LINKS),
                    controller=diffrax.PIDController(**{"rtol": 1e-3, "atol": 1e-3} | k),
                ),
                name,
                (-1.0, NAN, INF),
            )
            for name in ("rtol", "atol")
        ),
    ],
    "resampling": [
        (lambda **k: tm.statistics.jackknife(DATA, **k), "bins", (0, 1, -1, 21, 2.5, NAN, True)),
        (lambda **k: tm.statistics.bootstrap(KEY, DATA, **k), "resamples", (1, *NO_COUNT)),
        (lambda **k: tm.statistics.bootstrap(KEY, DATA, **k), "block", (15, *NO_STEPS, 0)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("group", NONSENSE)
def test_numbers_that_cannot_be_meant(group):
    accepted = []
    for function, name, values in NONSENSE[group]:
        for value in values:
            try:
                function(**{name: value})
            except (ValueError, TypeError) as error:
                if "trivmap._checks" not in str(error):  # beartype refuses what the checks themselves are given
                    continue
            accepted.append((name, value))
    assert not accepted


def test_messages_say_what_was_given_and_what_is_expected():
    with pytest.raises(ValueError, match=r"^hmc: trajectory_length: got nan, expected a positive finite number\.$"):
        tm.hmc(KEY, THEORY, 4, trajectory_length=NAN)
    with pytest.raises(ValueError, match=r"^sample: got first = 4294967296 and n = 1, .* Take another key"):
        tm.sample(KEY, MODEL, THEORY, 1, first=2**32)


def test_last_sample_of_a_key():
    """Its index fits into 32 bits, those of the padding behind it do not."""
    last = tm.sample(KEY, MODEL, THEORY, 2, batch_size=2, first=2**32 - 2)
    alone = tm.sample(KEY, MODEL, THEORY, 1, first=2**32 - 1)
    np.testing.assert_allclose(last.log_weights[1], alone.log_weights[0], rtol=1e-12)
    padded = tm.sample(KEY, MODEL, THEORY, 3, batch_size=2, first=2**32 - 3)
    np.testing.assert_allclose(padded.log_weights[1:], last.log_weights, rtol=1e-12)


@pytest.mark.parametrize("value", [1, np.int32(1), np.asarray(1), jnp.asarray(1), jnp.ones(()), np.float32(1), 1.0])
def test_numbers_of_all_kinds_are_taken(value):
    _checks.positive("x", value)
    _checks.finite("x", value)
    if np.issubdtype(np.asarray(value).dtype, np.integer):
        _checks.integer("x", value, 1, 2)


def test_traced_numbers_pass():
    """Constructors stay usable under `jax.jit` and `jax.vmap`."""
    lengths = jnp.asarray([0.5, 2.0])
    np.testing.assert_array_equal(jax.vmap(lambda length: tm.kernels.HMCKernel(length).length)(lengths), lengths)
    assert jax.jit(lambda length: tm.kernels.HMCKernel(length).length)(0.7) == 0.7


_SINGLE = """
import warnings, jax, trivmap as tm
from trivmap.lattice import _precision
theory = tm.theories.FreeScalarAction((2, 2), m2=1.0)
model = tm.Model(tm.GaussianPrior(theory.manifold), tm.flows.FourierFlow(theory.manifold))
key = jax.random.key(0)
calls = {
    "sample": lambda: tm.sample(key, model, theory, 2),
    "hmc": lambda: tm.hmc(key, theory, 2, steps=1, thermalisation=0),
    "fit": lambda: tm.fit(key, model, theory, steps=1, batch_size=2, chunk=1, progress=False),
}
for name, call in calls.items():
    _precision._said = False
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        call()
        call()
    print(name, [(str(w.message).split(":")[0], w.filename) for w in said if w.category is tm.lattice.PrecisionWarning])
jax.config.update("jax_enable_x64", True)
_precision._said = False
warnings.simplefilter("error")
tm.hmc(key, tm.theories.FreeScalarAction((2, 2), m2=1.0), 2, steps=1, thermalisation=0, dtype="float32")
print("quiet")
"""


def test_single_precision_is_said_once():
    """By each function that sums over the lattice, at the line of its caller; fields in float32 alone are fine."""
    done = subprocess.run([sys.executable, "-c", _SINGLE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = [f"{name} {[(name, '<string>')]}" for name in ("sample", "hmc", "fit")]
    assert done.stdout.splitlines() == [*expected, "quiet"]
