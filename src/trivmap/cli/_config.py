"""What the commands can be told: frozen dataclasses, each field an option."""

import dataclasses
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg, subcommand

FieldName = Literal["auto", "gated", "convolution", "loops"]
PriorName = Literal["auto", "haar", "gaussian"]
SolverName = Literal["lscfrk4", "lscfrk3w7", "luescher-w3", "cf4", "ees27"]
ObjectiveName = Literal["reverse-kl", "log-variance"]
HMCIntegratorName = Literal["leapfrog", "omf2", "omf4"]
Precision = Literal["float32", "float64"]


@dataclasses.dataclass(frozen=True)
class U1Config:
    """U(1) gauge theory, weight exp(beta sum cos theta_p)."""

    lattice: tuple[int, ...] = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    beta: float = 2.0
    """Inverse coupling."""


@dataclasses.dataclass(frozen=True)
class SUConfig:
    """SU(N) gauge theory, weight exp(beta/N sum Re tr P)."""

    n: int = 3
    """Number of colours."""
    lattice: tuple[int, ...] = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    beta: float = 4.0
    """Inverse coupling."""


@dataclasses.dataclass(frozen=True)
class Phi4Config:
    """phi^4, S = sum (d phi)^2 + m2 phi^2 + lam phi^4."""

    lattice: tuple[int, ...] = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    m2: float = -4.0
    """Bare mass squared."""
    lam: float = 8.0
    """Bare quartic coupling."""


TheoryConfig = (
    Annotated[U1Config, subcommand("u1")] | Annotated[SUConfig, subcommand("su")] | Annotated[Phi4Config, subcommand("phi4")]
)
THEORY_CONFIGS = {"u1": U1Config, "su": SUConfig, "phi4": Phi4Config}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The flow."""

    field: FieldName = "auto"
    """Gated convolution (scalars, U(1)), convolution (scalars), or gradient of
    loops (links); auto is gated where that exists."""
    prior: PriorName = "auto"
    """Density that the flow starts from; auto takes haar for links."""
    prior_width: float = 0.5
    """Initial width of the gaussian prior."""
    solver: SolverName = "lscfrk4"
    """Runge-Kutta scheme on the group."""
    integration_steps: int = 8
    """Steps of the scheme from prior to theory."""
    recompute: bool = True
    """Recompute steps in gradients: memory for one step, nearly twice the time."""


@dataclasses.dataclass(frozen=True)
class TrainCommand:
    """Train a continuous flow for a theory."""

    theory: Annotated[TheoryConfig, arg(name="")]
    model: Annotated[ModelConfig, arg(name="")] = ModelConfig()
    steps: int = 1000
    """Updates of the parameters."""
    batch_size: int = 128
    """Configurations per update."""
    learning_rate: float = 1e-2
    """Of Adam, decaying to zero as a cosine."""
    objective: ObjectiveName = "reverse-kl"
    """What is minimised, next to the integration error."""
    clip: float = 5.0
    """Bound of the gradient norm."""
    ema: float | None = None
    """Decay per step of an average of the parameters, e.g. 0.99."""
    precision: Precision = "float32"
    """Of the fields in training; sums are in float64."""
    chunk: int = 50
    """Updates between metrics and checkpoints."""
    budget: float | None = None
    """Stop after so many seconds of wall clock."""
    seed: int = 0
    """Seed of all random numbers."""
    out: str | None = None
    """Run folder; by default runs/train-THEORY-HASH."""
    resume: bool = False
    """Continue an interrupted run, bit for bit."""


@dataclasses.dataclass(frozen=True)
class SampleCommand:
    """Draw weighted configurations from a trained flow."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """Run folder of `trivmap train`."""
    samples: int = 10_000
    """Number of configurations."""
    batch_size: int = 256
    """Configurations computed at once."""
    integration_steps: int | None = None
    """Steps of the solver; by default those of training."""
    precision: Precision = "float64"
    """Of the fields."""
    keep_configurations: bool = True
    """Store the configurations, not only the observables."""
    seed: int = 1
    """Seed of all random numbers."""
    name: str = "samples"
    """Results go to NAME.h5 and NAME.json in the run folder."""


@dataclasses.dataclass(frozen=True)
class HMCCommand:
    """Sample a theory by hybrid Monte Carlo."""

    theory: Annotated[TheoryConfig, arg(name="")]
    trajectories: int = 1000
    """Measured trajectories per chain."""
    warmup: int = 200
    """Trajectories before them."""
    chains: int = 8
    """Independent chains, run together."""
    trajectory_length: float = 1.0
    """Molecular dynamics time of a trajectory."""
    length_spread: float = 0.3
    """Trajectories are longer or shorter by up to this fraction, at random, so that no mode comes back to its start."""
    md_steps: int = 10
    """Integration steps of a trajectory."""
    integrator: HMCIntegratorName = "omf2"
    """Of the equations of motion."""
    precision: Precision = "float64"
    """Of the fields."""
    keep_configurations: bool = False
    """Store the configurations, not only the observables."""
    chunk: int = 250
    """Trajectories between two saved parts of the chain."""
    seed: int = 0
    """Seed of all random numbers."""
    out: str | None = None
    """Run folder; by default runs/hmc-THEORY-HASH."""
    resume: bool = False
    """Continue an interrupted run, bit for bit."""


@dataclasses.dataclass(frozen=True)
class MeasureCommand:
    """Estimate observables from stored samples."""

    path: Annotated[Positional[str], arg(metavar="PATH")]
    """A run folder, or a file of samples in it."""
    observables: tuple[str, ...] = ()
    """Names such as plaquette, wilson_2x3, chi2; by default all of the theory."""
    batch_size: int = 256
    """Configurations measured at once."""


@dataclasses.dataclass(frozen=True)
class QuickstartCommand:
    """2D U(1) on 8x8 at beta = 2 in a minute: flow, HMC, exact."""

    steps: int = 300
    """Updates of the parameters."""
    batch_size: int = 64
    """Configurations per update."""
    samples: int = 10_000
    """Configurations drawn from the flow."""
    trajectories: int = 1000
    """HMC trajectories per chain."""
    seed: int = 0
    """Seed of all random numbers."""
    out: str = "runs/quickstart"
    """Run folder; an earlier quickstart in it is replaced."""


@dataclasses.dataclass(frozen=True)
class CompareCommand:
    """Methods side by side on one theory, the same time for each."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = "u1-8x8"
    """A shipped comparison, a file NAME.toml, or "list" for what there is."""
    methods: tuple[str, ...] = ()
    """Only these methods; results of others in the folder stay."""
    budget: float | None = None
    """Seconds for a method, shared by training, sampling and seeds."""
    seeds: int | None = None
    """Independent repetitions of each method."""
    smoke: bool = False
    """A tiny lattice and seconds of work, to see that everything runs."""
    out: str | None = None
    """Run folder; by default runs/compare-NAME. A run there is continued."""


@dataclasses.dataclass(frozen=True)
class FigureCommand:
    """A figure of the field from one command."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = "list"
    """A figure, or "list" for what there is."""
    smoke: bool = False
    """At its smallest size."""
    out: str | None = None
    """Folder for picture and numbers; by default runs/figures."""


@dataclasses.dataclass(frozen=True)
class InfoCommand:
    """Versions, devices, precision, and what to do if the GPU is not used."""


@dataclasses.dataclass(frozen=True)
class CiteCommand:
    """BibTeX entries: the software and the methods it rests on."""

    run: Annotated[Positional[str | None], arg(metavar="RUN")] = None
    """Only the methods of this run folder."""


Command = (
    Annotated[InfoCommand, subcommand("info")]
    | Annotated[QuickstartCommand, subcommand("quickstart")]
    | Annotated[TrainCommand, subcommand("train")]
    | Annotated[SampleCommand, subcommand("sample")]
    | Annotated[HMCCommand, subcommand("hmc")]
    | Annotated[MeasureCommand, subcommand("measure")]
    | Annotated[CompareCommand, subcommand("compare")]
    | Annotated[FigureCommand, subcommand("figure")]
    | Annotated[CiteCommand, subcommand("cite")]
)


def parse(arguments: list[str] | None) -> Command:
    """A command from the words of the command line; exits with status 2 and a message if they are not understood."""
    return tyro.cli(
        Command,
        prog="trivmap",
        description="Sample lattice field theories with generative flows, exactly weighted.",
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs, tyro.conf.FlagCreatePairsOff),
    )


# Where a run is kept and how far it is carried do not change what it computes.
_NOT_HASHED = {"out", "resume", "budget", "run", "name"}


def as_json(command: Command) -> dict:
    """The configuration as JSON, without what does not change the numbers; the kind of theory is a key of its own."""
    plain = {k: v for k, v in dataclasses.asdict(command).items() if k not in _NOT_HASHED}
    theory = getattr(command, "theory", None)
    if theory is not None:
        plain["theory"] = theory_as_json(theory)
    return plain


def theory_as_json(theory: U1Config | SUConfig | Phi4Config) -> dict:
    kind = next(name for name, kind in THEORY_CONFIGS.items() if isinstance(theory, kind))
    return {"kind": kind} | dataclasses.asdict(theory) | {"lattice": list(theory.lattice)}


def theory_from_json(plain: dict) -> U1Config | SUConfig | Phi4Config:
    values = {k: v for k, v in plain.items() if k != "kind"}
    return THEORY_CONFIGS[plain["kind"]](**values | {"lattice": tuple(values["lattice"])})


def model_from_json(plain: dict) -> ModelConfig:
    return ModelConfig(**plain)
