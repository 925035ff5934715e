"""From configurations to the objects of the library."""

import functools
from functools import partial
from typing import Any

import jax
import optax
from jaxtyping import Array, Key

from ..fields import AbstractVectorField, ConvolutionField, GatedConvolutionField, GradientField, LoopPotential
from ..flows import ContinuousFlow
from ..groups import SU, U1
from ..kernels import AbstractKernel, HolonomyRotation, KernelSequence, WindingHit
from ..manifolds import AbstractManifold
from ..models import Model
from ..priors import AbstractPrior, GaussianPrior, HaarPrior
from ..solvers import CF4, EES27, LSCFRK3W7, LSCFRK4, LuescherW3
from ..theories import AbstractTheory, Phi4Action, SchwingerAction, WilsonAction
from ..training import default_optimiser, log_variance, reverse_kl
from ._config import ModelConfig, Phi4Config, ReadTheory, SchwingerConfig, SUConfig, TrainCommand, U1Config
from ._kinds import kind_of
from ._run_folder import CommandError

SOLVERS = {"lscfrk4": LSCFRK4, "lscfrk3w7": LSCFRK3W7, "luescher-w3": LuescherW3, "cf4": CF4, "ees27": EES27}
OBJECTIVES = {"reverse-kl": reverse_kl, "log-variance": log_variance}


def build_theory(config: ReadTheory | AbstractTheory) -> AbstractTheory:
    """The theory of a configuration, or one that is built already.

    **Raises:** `CommandError` with the library's message for impossible lattices etc.
    """
    try:
        return _built(config)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error


@functools.singledispatch
def _built(config: Any) -> AbstractTheory:
    return config


@_built.register
def _(config: Phi4Config) -> AbstractTheory:
    return Phi4Action(config.lattice, m2=config.m2, lam=config.lam)


@_built.register
def _(config: U1Config) -> AbstractTheory:
    # pyright takes equinox's abstract fields, here properties, for arguments.
    return WilsonAction(U1(), config.lattice, beta=config.beta)  # pyright: ignore[reportCallIssue]


@_built.register
def _(config: SUConfig) -> AbstractTheory:
    return WilsonAction(SU(config.n), config.lattice, beta=config.beta)  # pyright: ignore[reportCallIssue]


@_built.register
def _(config: SchwingerConfig) -> AbstractTheory:
    if config.flavours % 2:
        raise CommandError(
            f"--flavours: got {config.flavours}, expected an even number: of an odd one det D gives weights of both signs, "
            "which commands do not know. In Python tm.SchwingerAction has them, and expectation divides by the mean sign."
        )
    return SchwingerAction(config.lattice, config.beta, config.kappa, config.flavours, config.boundary)


def with_hits(kernel: AbstractKernel) -> KernelSequence:
    """The kernel, then a winding hit and a rotation of the holonomies: two-dimensional U(1) only."""
    return KernelSequence(kernel, WindingHit(), HolonomyRotation())


def build_model(config: ModelConfig, manifold: AbstractManifold, key: Key[Array, ""]) -> Model:
    """An untrained flow. **Raises:** `CommandError` for parts that do not fit the manifold."""
    try:
        field = _field(config, manifold, key)
        solver = SOLVERS[config.solver]()
        flow = ContinuousFlow(field, steps=config.integration_steps, solver=solver, checkpoint=config.recompute)
        return Model(_prior(config, manifold), flow)
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error


def build_optimiser(config: TrainCommand) -> optax.GradientTransformation:
    return default_optimiser(config.steps, config.learning_rate)


def with_integration_steps(model: Model, steps: int | None) -> Model:
    """The same flow with another number of solver steps."""
    if steps is None:
        return model
    flow: Any = model.transport
    return Model(model.prior, ContinuousFlow(flow.field, steps=steps, solver=flow.solver, checkpoint=flow.checkpoint))


def _field(config: ModelConfig, manifold: Any, key: Key[Array, ""]) -> AbstractVectorField:
    name = config.field
    if name == "auto":
        name = "gated" if kind_of(manifold) in ("scalar", "u1") else "loops"
    build = {
        "gated": partial(GatedConvolutionField, manifold),
        "convolution": lambda: ConvolutionField(key, manifold),
        "loops": lambda: GradientField(LoopPotential(manifold)),  # pyright: ignore[reportCallIssue]
    }[name]
    return build()


def _prior(config: ModelConfig, manifold: Any) -> AbstractPrior:
    scalar = kind_of(manifold) == "scalar"
    name = {"auto": "gaussian" if scalar else "haar"}.get(config.prior, config.prior)
    if name == "gaussian":
        return GaussianPrior(manifold, width=config.prior_width)
    if scalar:
        raise CommandError("The haar prior is for links; scalar fields need --prior gaussian.")
    return HaarPrior(manifold)


def keys_of(seed: int, *names: str) -> list[Key[Array, ""]]:
    """Independent keys from one seed."""
    return list(jax.random.split(jax.random.key(seed), len(names)))
