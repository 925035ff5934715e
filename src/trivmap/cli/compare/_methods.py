"""The methods of a comparison: one line each, and how each is built for a theory."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from ...fields import (
    ChargeGatedField,
    GatedConvolutionField,
    GradientField,
    HolonomyField,
    LadderField,
    LoopPotential,
    NeighbourPotential,
    SumField,
    WindowField,
)
from ...flows import (
    ContinuousFlow,
    CouplingFlow,
    DefectRepair,
    FlowSequence,
    FourierFlow,
    GaugeCouplingFlow,
    ResidualFlow,
    SpectralCouplingFlow,
)
from ...kernels import HMCKernel
from ...models import Model
from ...priors import GaussianPrior, HaarPrior
from ...stochastic import (
    AnnealedFlow,
    HeatKernelNoising,
    LangevinFlow,
    ScoreDiffusion,
    VariancePreserving,
    stack_layers,
)
from ...theories import SchwingerAction, WeightedWilsonAction, WilsonAction
from ...training import FlowMatching, ScoreMatching, continuity_residual, reverse_kl
from ...transforms import Affine, Composition, RationalQuadraticSpline
from .._kinds import Kind, kind_of


@dataclasses.dataclass(frozen=True)
class Method:
    """- `label`: for people; `run`: how it samples: "weights" of a model that is trained, "noisy" ones by pseudofermions,
      populations of "smc", exact samples "quenched" of quarks, or the name of a chain.
    - `build`: from key and theory to a model (chains: `None`); `rate`: learning rate, zero for nothing to learn.
    - `refuses`: the reason why it does not apply to a theory, or `None`.
    - `objective`: of training; `matches` instead, for methods that learn from configurations of HMC, whose seconds count as
      training: from the chain to the objective.
    - `finish`: a last step after training, from key, model and chain to the model.
    """

    label: str
    run: Literal[
        "weights", "noisy", "smc", "quenched", "hmc", "hits", "trivialised", "heatbath", "boxes", "exchange", "t-rex"
    ]
    build: Callable[[jax.Array, Any], Any] | None = None
    rate: float = 0.0
    refuses: Callable[[Any], str | None] = lambda theory: None
    in_smoke: bool = True
    objective: Callable = reverse_kl
    matches: Callable[[Any], Callable] | None = None
    finish: Callable[[jax.Array, Model, Any], Model] = lambda key, model, chain: model

    @property
    def weighted(self) -> bool:
        """Whether it gives weighted samples, instead of a chain."""
        return self.run in ("weights", "noisy", "smc", "quenched")


def _has_quarks(theory: Any) -> bool:
    return isinstance(theory, SchwingerAction)


def _is_wilson(theory: Any) -> bool:
    return isinstance(theory, WilsonAction)


def _only(*kinds: Kind, why: str) -> Callable[[Any], str | None]:
    return lambda theory: None if kind_of(theory.manifold) in kinds else why


def _prior(theory: Any) -> Any:
    return GaussianPrior(theory.manifold, width=0.5) if kind_of(theory.manifold) == "scalar" else HaarPrior(theory.manifold)


def _gated(key: jax.Array, theory: Any) -> Model:
    return Model(_prior(theory), ContinuousFlow(GatedConvolutionField(theory.manifold), steps=6))


def _quarks(key: jax.Array, theory: Any) -> Model:
    """The closed form of the gauge theory, which stays, and beside it what quarks add, from zero."""
    manifold, beta = theory.manifold, float(theory.beta)
    small = GatedConvolutionField(manifold, features=2, gates=2, times=3)
    field = SumField(
        GatedConvolutionField.trivializing(manifold, beta),
        GatedConvolutionField(manifold),
        ChargeGatedField(small),
        HolonomyField(key, manifold, times=2, boundary=theory.determinant.dirac.boundary),
    )
    return Model(HaarPrior(manifold), ContinuousFlow(field, steps=6))


def _loops(key: jax.Array, theory: Any) -> Model:
    known = len(theory.lattice) == 2 and _is_wilson(theory)
    potential = LoopPotential.model_a(theory) if known else LoopPotential(theory.manifold, coefficient=0.0)
    field = GradientField(potential)  # pyright: ignore[reportCallIssue]
    return Model(_prior(theory), ContinuousFlow(field, steps=5))


def _ladder(key: jax.Array, theory: Any) -> Model:
    # It starts next to the optimum: with fewer steps training learns the error of the solver, at a higher rate it gets worse.
    field = LadderField(theory.manifold, theory.beta, reach=1)
    return Model(_prior(theory), ContinuousFlow(field, steps=10))


def _residual(key: jax.Array, theory: Any) -> Model:
    if kind_of(theory.manifold) == "scalar":
        flow = FlowSequence(
            FourierFlow(theory.manifold), ResidualFlow(NeighbourPotential(key, theory.manifold), 4, checkpoint=False)
        )
        return Model(GaussianPrior(theory.manifold), flow)
    potential = LoopPotential(theory.manifold, coefficient=0.0, time="constant")
    return Model(_prior(theory), ResidualFlow(potential, 6, checkpoint=False))


def _coupling(key: jax.Array, theory: Any) -> Model:
    manifold = theory.manifold
    if kind_of(theory.manifold) == "scalar":
        transform = Composition(RationalQuadraticSpline(8, (-2.0, 2.0)), Affine())  # pyright: ignore[reportCallIssue]
        couplings = CouplingFlow(key, manifold, 4, transform, hidden=(24, 24))
        return Model(GaussianPrior(manifold), FlowSequence(FourierFlow(manifold), couplings))
    if kind_of(theory.manifold) == "u1":
        return Model(_prior(theory), GaugeCouplingFlow(key, manifold, 16, hidden=(24, 24)))
    return Model(_prior(theory), SpectralCouplingFlow(key, manifold, 2, reach=0 if min(manifold.lattice) < 5 else 1))


def _refuses_coupling(theory: Any) -> str | None:
    if why := _FIELDS(theory):
        return why
    kind, lattice = kind_of(theory.manifold), theory.lattice
    if kind == "scalar" and any(extent % 2 for extent in lattice):
        return "the checkerboard needs even extents"
    if kind == "u1" and any(extent % 4 for extent in lattice):
        return "the masks need extents that are multiples of four"
    if kind == "su" and len(lattice) != 2:
        return "spectral couplings are built for two dimensions"
    return None


def _refuses_ladder(theory: Any) -> str | None:
    known = kind_of(theory.manifold) == "su" and len(theory.lattice) == 2 and _is_wilson(theory)
    return None if known else "the ladder of plaquettes is for SU(N) in two dimensions, with Wilson's action"


def _refuses_hits(theory: Any) -> str | None:
    known = kind_of(theory.manifold) == "u1" and len(theory.lattice) == 2
    return None if known else "winding hits are for U(1) in two dimensions"


def _refuses_quarks(theory: Any) -> str | None:
    return None if _has_quarks(theory) else "it is for the Schwinger model"


def _refuses_halves(theory: Any) -> str | None:
    even = all(extent % 2 == 0 for extent in theory.lattice)
    return _refuses_quarks(theory) or (None if even else "pseudofermions live on half of the sites, which needs even extents")


def _refuses_boxes(theory: Any) -> str | None:
    known = _is_wilson(theory) and kind_of(theory.manifold) == "u1" and len(theory.lattice) == 2
    return None if known else "boxes are drawn for U(1) in two dimensions, with Wilson's action"


def _refuses_exchange(theory: Any) -> str | None:
    known = _refuses_boxes(theory) is None and float(theory.beta) > 0
    return None if known else "the maps between its rungs are for U(1) in two dimensions, with Wilson's action"


def repaired_defect(theory: Any) -> dict[str, Any]:
    """Two rungs, the first without the coupling of one plaquette, and the exact map between them."""
    beta = float(theory.beta)
    ladder = [WeightedWilsonAction.with_defect(theory.group, theory.lattice, beta, defect) for defect in (0.0, beta)]
    flow = DefectRepair(theory.manifold, source=0.0, target=beta, patch=min(theory.lattice))
    return {"theories": ladder, "flows": [flow], "translate": (1,), "tolerance": None}


def carried_coupling(theory: Any) -> dict[str, Any]:
    """Two rungs at 3/7 of beta and at beta, and the closed form of the gated field between them."""
    beta, start = float(theory.beta), 3.0 / 7.0
    field = WindowField(GatedConvolutionField.trivializing(theory.manifold, beta), start)
    ladder = [WilsonAction(theory.group, theory.lattice, start * beta), theory]  # pyright: ignore[reportCallIssue]
    return {"theories": ladder, "flows": [ContinuousFlow(field, steps=8)], "tolerance": 1e-2}


def _refuses_heatbath(theory: Any) -> str | None:
    return None if _is_wilson(theory) else "the heatbath knows Wilson's action only"


def _step(theory: Any) -> float:
    """Of Langevin noise, in units of 1/force^2."""
    return 0.02 if kind_of(theory.manifold) == "scalar" else 0.1 / max(float(getattr(theory, "beta", 1.0)), 1.0)


def _langevin(key: jax.Array, theory: Any) -> Model:
    prior = _prior(theory)
    return Model(prior, LangevinFlow(prior, theory, 20, step_size=_step(theory)))


def _kernel(theory: Any) -> HMCKernel:
    return HMCKernel(length=jnp.sqrt(2 * _step(theory)) * 3, steps=3)


def _snf(key: jax.Array, theory: Any) -> Model:
    prior, levels = _prior(theory), 8
    if kind_of(theory.manifold) == "scalar":
        layers = [CouplingFlow(k, theory.manifold, 2, Affine(), hidden=(8,)) for k in jax.random.split(key, levels)]  # pyright: ignore[reportCallIssue]
    else:
        potential = LoopPotential(theory.manifold, coefficient=0.0, time="constant")
        layers = [ResidualFlow(potential, 1) for _ in range(levels)]
    return Model(prior, AnnealedFlow(prior, theory, _kernel(theory), levels, layers=stack_layers(layers)))


def _annealed(key: jax.Array, theory: Any) -> Model:
    prior = _prior(theory)
    return Model(prior, AnnealedFlow(prior, theory, _kernel(theory), 20))


def _nets(key: jax.Array, theory: Any) -> Model:
    prior = _prior(theory)
    return Model(prior, LangevinFlow(prior, theory, 20, step_size=_step(theory), drift=_field(theory)))


def _diffusion(key: jax.Array, theory: Any) -> Model:
    noising = (VariancePreserving if kind_of(theory.manifold) == "scalar" else HeatKernelNoising)(theory.manifold)
    return Model(noising.prior, ScoreDiffusion(noising, _field(theory), 32))


def _calibrated(key: jax.Array, model: Model, chain: Any) -> Model:
    """With the variances of the steps that suit the score, from two hundred configurations."""
    diffusion: Any = model.transport
    some = chain.configurations.reshape(-1, *model.manifold.shape)
    return Model(model.prior, diffusion.calibrated(key, jnp.asarray(some[:: max(len(some) // 200, 1)])))


def _matched(key: jax.Array, theory: Any) -> Model:
    return Model(_prior(theory), ContinuousFlow(_field(theory), steps=12))


def _field(theory: Any) -> Any:
    """A drift, score or velocity to start from: zero."""
    if kind_of(theory.manifold) == "su":
        return GradientField(LoopPotential(theory.manifold, coefficient=0.0, time="spline", times=6))  # pyright: ignore[reportCallIssue]
    return GatedConvolutionField(theory.manifold)


_FIELDS = _only("scalar", "u1", "su", why="its priors are of real fields and of links")
_LINKS = _only("u1", "su", why="loops need gauge links")
_ABELIAN = _only("scalar", "u1", why="the gated convolution is for scalars and U(1)")

# A line adds a method.
METHODS = {
    "gated": Method("continuous flow, gated convolution", "weights", _gated, 3e-2, _ABELIAN),
    "quarks": Method("continuous flow, closed form and charges", "weights", _quarks, 1e-2, _refuses_quarks, in_smoke=False),
    "pseudofermions": Method(
        "that flow, weights by eight pseudofermions", "noisy", _quarks, 1e-2, _refuses_halves, in_smoke=False
    ),
    "loops": Method("continuous flow, potential of loops", "weights", _loops, 1e-2, _LINKS, in_smoke=False),
    "ladder": Method("continuous flow, ladder of plaquettes", "weights", _ladder, 1e-3, _refuses_ladder),
    "residual": Method("residual flow", "weights", _residual, 1e-2, _FIELDS),
    "coupling": Method("coupling flow (splines; spectral for SU(N))", "weights", _coupling, 3e-3, _refuses_coupling),
    "langevin": Method("Langevin paths with exact weights", "weights", _langevin, 1e-2, _FIELDS, in_smoke=False),
    "snf": Method("stochastic flow: layers and HMC updates", "weights", _snf, 3e-3, _FIELDS, in_smoke=False),
    "nets": Method(
        "Langevin paths, drift by continuity (NETS)",
        "weights",
        _nets,
        1e-2,
        _FIELDS,
        in_smoke=False,
        objective=functools.partial(continuity_residual, chosen=5),
    ),
    "diffusion": Method(
        "score diffusion, calibrated reverse steps",
        "weights",
        _diffusion,
        1e-2,
        _FIELDS,
        in_smoke=False,
        matches=ScoreMatching,
        finish=_calibrated,
    ),
    "matching": Method(
        "continuous flow matched to HMC", "weights", _matched, 1e-2, _FIELDS, in_smoke=False, matches=FlowMatching
    ),
    "smc": Method("sequential Monte Carlo, no learning", "smc", _annealed, refuses=_FIELDS),
    "quenched": Method("exact gauge fields, weight of the quarks", "quenched", refuses=_refuses_quarks),
    "hmc": Method("hybrid Monte Carlo, tuned", "hmc"),
    "hits": Method("hybrid Monte Carlo, winding hits", "hits", refuses=_refuses_hits, in_smoke=False),
    "trivialised": Method(
        "hybrid Monte Carlo in a coupling flow", "trivialised", _coupling, 3e-3, _refuses_coupling, in_smoke=False
    ),
    "heatbath": Method("heatbath and overrelaxation", "heatbath", refuses=_refuses_heatbath),
    "boxes": Method("heatbath of whole boxes", "boxes", refuses=_refuses_boxes, in_smoke=False),
    "exchange": Method("exchange with an open plaquette, repaired", "exchange", refuses=_refuses_exchange, in_smoke=False),
    "t-rex": Method("exchange with a weaker coupling, by a flow", "t-rex", refuses=_refuses_exchange, in_smoke=False),
}
