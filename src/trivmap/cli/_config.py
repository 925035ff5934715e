"""What the commands can be told: frozen dataclasses, each field an option.

The types of the fields, with their bounds, hold for the command line, for TOML files and for the config.json of run folders.
"""

import dataclasses
import functools
import math
from typing import Annotated, Any, Literal, TypeAlias

import tyro
from msgspec import Meta
from tyro.conf import FlagCreatePairsOff, Positional, arg, subcommand

from ._errors import CommandError
from ._reading import Naming, in_file, option, read_fields, typed

# Counters are 32-bit integers in the compiled programs.
_MOST = 2**31 - 1
# Fields and actions of numbers up to here are finite in single precision.
_LARGEST = 1e12
# 128^4, beyond what one process can hold of any field.
_MOST_SITES = 2**28

Count: TypeAlias = Annotated[int, Meta(ge=1, le=_MOST)]
CountOrZero: TypeAlias = Annotated[int, Meta(ge=0, le=_MOST)]
Samples: TypeAlias = Annotated[int, Meta(ge=2, le=_MOST)]  # a standard error needs two
Trajectories: TypeAlias = Annotated[int, Meta(ge=4, le=_MOST)]  # an autocorrelation needs four
Real: TypeAlias = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=_LARGEST)]
NonNegative: TypeAlias = Annotated[float, Meta(ge=0, le=_LARGEST)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
# Repetitions count up from a seed, and JAX takes 63 bits.
Seed: TypeAlias = Annotated[int, Meta(ge=0, lt=2**62)]
Sign: TypeAlias = Literal[-1, 1]
Seeds: TypeAlias = Annotated[int, Meta(ge=1, le=10_000)]
Lattice: TypeAlias = Annotated[tuple[Annotated[int, Meta(ge=1, le=2**20)], ...], Meta(min_length=1, max_length=8)]
FileName: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00]+$")]
# A switch that is off by default has one form; the others have two, and their help must be right for both.
Switch: TypeAlias = Annotated[bool, FlagCreatePairsOff]

FieldName = Literal["auto", "gated", "convolution", "loops"]
PriorName = Literal["auto", "haar", "gaussian"]
SolverName = Literal["lscfrk4", "lscfrk3w7", "luescher-w3", "cf4", "ees27"]
ObjectiveName = Literal["reverse-kl", "log-variance"]
HMCIntegratorName = Literal["leapfrog", "omf2", "omf4"]
Precision = Literal["float32", "float64"]


@dataclasses.dataclass(frozen=True)
class U1Config:
    """U(1) gauge theory, weight exp(beta sum cos theta_p)."""

    lattice: Lattice = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    beta: Real = 2.0
    """Inverse coupling."""


@dataclasses.dataclass(frozen=True)
class SUConfig:
    """SU(N) gauge theory, weight exp(beta/N sum Re tr P)."""

    n: Annotated[int, Meta(ge=2, le=64)] = 3
    """Number of colours."""
    lattice: Lattice = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    beta: Real = 4.0
    """Inverse coupling."""


@dataclasses.dataclass(frozen=True)
class Phi4Config:
    """phi^4, S = sum (d phi)^2 + m2 phi^2 + lam phi^4."""

    lattice: Lattice = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    m2: Real = -4.0
    """Bare mass squared."""
    lam: NonNegative = 8.0
    """Bare quartic coupling."""


@dataclasses.dataclass(frozen=True)
class SchwingerConfig:
    """Schwinger model: 2D U(1) with Wilson quarks, exact determinant."""

    lattice: Lattice = (8, 8)
    """Extents of the periodic lattice; axis 0 is time."""
    beta: Real = 2.0
    """Inverse coupling of the gauge fields."""
    kappa: Real = 0.24
    """Hopping parameter; free quarks are massless at 1/4, those of beta = 2 near
    0.276."""
    flavours: Count = 2
    """Number of quarks of this mass; even."""
    boundary: tuple[Sign, Sign] = (-1, 1)
    """Signs of the quarks across the boundary of time and space, -1 is
    antiperiodic."""


class _Command:
    """A subcommand: its options are the fields of a frozen dataclass.

    `execute()` imports what it needs and returns the exit status: `trivmap info` and mistakes answer at once.
    """

    @property
    def computes(self) -> bool:
        """Whether it runs programs of JAX in this process; lists and citations do not."""
        return True


TheoryConfig = (
    Annotated[U1Config, subcommand("u1")]
    | Annotated[SUConfig, subcommand("su")]
    | Annotated[Phi4Config, subcommand("phi4")]
    | Annotated[SchwingerConfig, subcommand("schwinger")]
)
ReadTheory: TypeAlias = U1Config | SUConfig | Phi4Config | SchwingerConfig
TheoryKind = Literal["u1", "su", "phi4", "schwinger"]
THEORY_CONFIGS = {"u1": U1Config, "su": SUConfig, "phi4": Phi4Config, "schwinger": SchwingerConfig}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The flow."""

    field: FieldName = "auto"
    """Gated convolution (scalars, U(1)), convolution (scalars), or loops (links);
    auto is gated where that exists."""
    prior: PriorName = "auto"
    """Density that the flow starts from; auto takes haar for links."""
    prior_width: Positive = 0.5
    """Initial width of the gaussian prior."""
    solver: SolverName = "lscfrk4"
    """Runge-Kutta scheme on the group."""
    integration_steps: Count = 8
    """Steps of the scheme from prior to theory."""
    recompute: bool = True
    """Whether gradients recompute the steps (memory of one step, nearly twice the
    time) or keep them."""


@dataclasses.dataclass(frozen=True)
class TrainCommand(_Command):
    """Train a continuous flow for a theory."""

    theory: Annotated[TheoryConfig, arg(name="")]
    model: Annotated[ModelConfig, arg(name="")] = ModelConfig()
    steps: Count = 1000
    """Updates of the parameters."""
    batch_size: Count = 128
    """Configurations per update."""
    learning_rate: Positive = 1e-2
    """Learning rate of Adam, decaying to zero as a cosine."""
    objective: ObjectiveName = "reverse-kl"
    """What is minimised, next to the integration error."""
    clip: Positive = 5.0
    """Bound of the gradient norm."""
    ema: Fraction | None = None
    """Decay per step of an average of the parameters, e.g. 0.99; by default there
    is no average."""
    precision: Precision = "float32"
    """Precision of the fields in training; sums are in float64."""
    chunk: Count = 50
    """Updates between metrics and checkpoints."""
    budget: NonNegative | None = None
    """Stop after so many seconds of wall clock; by default there is no limit."""
    finish: CountOrZero = 0
    """Steps of Gauss-Newton on the variance of log w at the end."""
    seed: Seed = 0
    """Seed of all random numbers."""
    out: FileName | None = None
    """Run folder; by default runs/train-THEORY-HASH."""
    resume: Switch = False
    """Continue an interrupted run, bit for bit."""

    def execute(self) -> int:
        from ._train import train

        return train(self)


@dataclasses.dataclass(frozen=True)
class SampleCommand(_Command):
    """Draw weighted configurations from a trained flow."""

    run: Annotated[Positional[FileName], arg(metavar="RUN")]
    """Run folder of `trivmap train`."""
    samples: Samples = 10_000
    """Number of configurations."""
    batch_size: Count = 256
    """Configurations computed at once."""
    integration_steps: Count | None = None
    """Steps of the solver; by default those of training."""
    precision: Precision = "float64"
    """Precision of the fields."""
    keep_configurations: bool = True
    """Whether configurations are stored besides the observables."""
    seed: Seed = 1
    """Seed of all random numbers."""
    name: str = "samples"
    """Results go to NAME.h5 and NAME.json in the run folder."""

    def execute(self) -> int:
        from ._sample import sample_command

        return sample_command(self)


@dataclasses.dataclass(frozen=True)
class HMCCommand(_Command):
    """Sample a theory by hybrid Monte Carlo."""

    theory: Annotated[TheoryConfig, arg(name="")]
    trajectories: Trajectories = 1000
    """Measured trajectories per chain."""
    warmup: CountOrZero = 200
    """Trajectories before the first measured one."""
    chains: Count = 8
    """Independent chains, run together."""
    trajectory_length: Positive = 1.0
    """Molecular dynamics time of a trajectory, from which adaptation starts."""
    target_acceptance: Fraction = 0.8
    """Accepted fraction of trajectories to which warmup adapts their length, and with it the step size; 0 for
    no adaptation."""
    length_spread: Fraction = 0.3
    """Trajectories are longer or shorter by up to this fraction, at random, so that no mode comes back to its start."""
    md_steps: Count = 10
    """Integration steps of a trajectory."""
    integrator: HMCIntegratorName = "omf2"
    """Integrator of the equations of motion."""
    hits: Switch = False
    """Winding hits and rotations of the holonomies after every trajectory (U(1) in
    two dimensions): they change the charge, also across zeros of det D."""
    precision: Precision = "float64"
    """Precision of the fields."""
    keep_configurations: Switch = False
    """Store the configurations besides the observables."""
    chunk: Count = 250
    """Trajectories between two saved parts of the chain."""
    seed: Seed = 0
    """Seed of all random numbers."""
    out: FileName | None = None
    """Run folder; by default runs/hmc-THEORY-HASH."""
    resume: Switch = False
    """Continue an interrupted run, bit for bit."""

    def execute(self) -> int:
        from ._hmc import hmc_command

        return hmc_command(self)


@dataclasses.dataclass(frozen=True)
class MeasureCommand(_Command):
    """Estimate observables from stored samples."""

    path: Annotated[Positional[FileName], arg(metavar="PATH")]
    """A run folder, or a file of samples in it."""
    observables: tuple[str, ...] = ()
    """Names such as plaquette, wilson_2x3, susceptibility; by default all of the theory."""
    batch_size: Count = 256
    """Configurations measured at once."""

    def execute(self) -> int:
        from ._measure import measure_command

        return measure_command(self)


@dataclasses.dataclass(frozen=True)
class ExactCommand(_Command):
    """Exact values of a theory; with quarks, exact samples without them, weighted."""

    theory: Annotated[TheoryConfig, arg(name="")]
    observables: tuple[str, ...] = ()
    """Names such as plaquette, wilson_2x3; by default all of the theory."""
    samples: Samples = 10_000
    """Schwinger model: independent configurations of the gauge theory, which
    det D reweights."""
    seed: Seed = 0
    """Seed of these."""

    def execute(self) -> int:
        from ._exact_command import exact_command

        return exact_command(self)


@dataclasses.dataclass(frozen=True)
class QuickstartCommand(_Command):
    """2D U(1) on 8x8 at beta = 2 in a minute: flow, HMC, exact."""

    steps: Count = 150
    """Updates of the parameters by Adam."""
    finish: CountOrZero = 8
    """Steps of Gauss-Newton on the variance of log w behind them."""
    batch_size: Count = 64
    """Configurations per update."""
    samples: Samples = 10_000
    """Configurations drawn from the flow."""
    trajectories: Trajectories = 1000
    """HMC trajectories per chain."""
    seed: Seed = 0
    """Seed of all random numbers."""
    out: FileName = "runs/quickstart"
    """Run folder; an earlier quickstart in it is replaced."""

    def execute(self) -> int:
        from ._quickstart import quickstart

        return quickstart(self)


@dataclasses.dataclass(frozen=True)
class CompareCommand(_Command):
    """Methods side by side on one theory, the same time for each."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = "u1-8x8"
    """A shipped comparison, a file NAME.toml, or "list" for what there is."""
    methods: tuple[str, ...] = ()
    """Only these methods, by default those of the comparison; results of others
    in the folder stay."""
    budget: Positive | None = None
    """Seconds for a method, shared by training, sampling and seeds; by default
    those of the comparison."""
    seeds: Seeds | None = None
    """Independent repetitions of each method; by default those of the comparison."""
    smoke: Switch = False
    """A tiny lattice and seconds of work, to see that everything runs."""
    out: FileName | None = None
    """Run folder; by default runs/compare-NAME. A run there is continued."""

    @property
    def computes(self) -> bool:
        return self.name != "list"

    def execute(self) -> int:
        from .compare import compare_command

        return compare_command(self)


@dataclasses.dataclass(frozen=True)
class FigureCommand(_Command):
    """A figure of the field from one command."""

    name: Annotated[Positional[str], arg(metavar="NAME")] = "list"
    """A figure, or "list" for what there is."""
    smoke: Switch = False
    """At its smallest size."""
    out: FileName | None = None
    """Folder for picture and numbers; by default runs/figures."""

    @property
    def computes(self) -> bool:
        return False

    def execute(self) -> int:
        from ._figure import figure_command

        return figure_command(self)


@dataclasses.dataclass(frozen=True)
class InfoCommand(_Command):
    """Versions, devices, precision, and what to do if the GPU is not used."""

    def execute(self) -> int:
        from ._info import info

        return info()


@dataclasses.dataclass(frozen=True)
class CiteCommand(_Command):
    """BibTeX entries: the software and the methods it rests on."""

    run: Annotated[Positional[FileName | None], arg(metavar="RUN")] = None
    """Only the methods of this run folder."""

    @property
    def computes(self) -> bool:
        return False

    def execute(self) -> int:
        from ._cite import cite

        return cite(self)


Command = (
    Annotated[InfoCommand, subcommand("info")]
    | Annotated[QuickstartCommand, subcommand("quickstart")]
    | Annotated[TrainCommand, subcommand("train")]
    | Annotated[SampleCommand, subcommand("sample")]
    | Annotated[HMCCommand, subcommand("hmc")]
    | Annotated[MeasureCommand, subcommand("measure")]
    | Annotated[ExactCommand, subcommand("exact")]
    | Annotated[CompareCommand, subcommand("compare")]
    | Annotated[FigureCommand, subcommand("figure")]
    | Annotated[CiteCommand, subcommand("cite")]
)


def parse(arguments: list[str] | None) -> Command:
    """A command from the words of the command line; exits with status 2 and a message if they are not understood.

    **Raises:** `CommandError` for values out of bounds.
    """
    command = tyro.cli(
        Command,
        prog="trivmap",
        description="Sample lattice field theories with generative flows, exactly weighted.",
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs,),
    )
    return type(command)(**read_fields(type(command), vars(command), option, parts=PARTS))


def read_theory(value: Any, name: Naming, at: tuple[str, ...]) -> ReadTheory:
    """A theory from a table with its `kind`, or from options. **Raises:** `CommandError`."""
    if isinstance(value, tuple(THEORY_CONFIGS.values())):
        kind, plain = type(value), vars(value)
    else:
        plain = dict(typed(dict, value, name(at)))
        if "kind" not in plain:
            raise CommandError(f"{name((*at, 'kind'))}: missing, expected one of {', '.join(THEORY_CONFIGS)}.")
        kind = THEORY_CONFIGS[typed(TheoryKind, plain.pop("kind"), name((*at, "kind")))]
    read = kind(**read_fields(kind, plain, name, at))
    if math.prod(read.lattice) > _MOST_SITES:
        raise CommandError(f"{name((*at, 'lattice'))}: got {math.prod(read.lattice)} sites, expected at most {_MOST_SITES}.")
    return read


def read_model(value: Any, name: Naming, at: tuple[str, ...]) -> ModelConfig:
    """A flow from a table, or from options. **Raises:** `CommandError`."""
    return ModelConfig(**read_fields(ModelConfig, vars(value) if isinstance(value, ModelConfig) else value, name, at))


# Fields that are tables of their own.
PARTS = {"theory": read_theory, "model": read_model}

# Where a run is kept and how far it is carried do not change what it computes.
_NOT_HASHED = {"out", "resume", "budget", "run", "name"}
_STORED = {"train": TrainCommand, "sample": SampleCommand, "hmc": HMCCommand, "quickstart": QuickstartCommand}


def as_json(command: Command) -> dict:
    """The configuration as JSON, without what does not change the numbers; the kind of theory is a key of its own."""
    plain = {k: v for k, v in dataclasses.asdict(command).items() if k not in _NOT_HASHED}
    theory = getattr(command, "theory", None)
    if theory is not None:
        plain["theory"] = theory_as_json(theory)
    return plain


def check_stored(entry: str, plain: Any, source: Any) -> None:
    """**Raises:** `CommandError` where an entry of config.json is not what `as_json` makes of its command."""
    kind = _STORED.get(entry.split(":")[0])
    at = (entry,)
    if kind is None:
        typed(dict, plain, in_file(source)(at))
    else:
        read_fields(kind, plain, in_file(source), at, parts=PARTS, without=_NOT_HASHED)


def completed(entry: str, plain: dict[str, Any]) -> dict[str, Any]:
    """An entry of config.json with the defaults of options that it is older than."""
    kind = _STORED.get(entry.split(":")[0])
    if kind is None:
        return plain
    fields = [field for field in dataclasses.fields(kind) if field.name not in _NOT_HASHED]
    known = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    known = {key: dataclasses.asdict(value) if isinstance(value, ModelConfig) else value for key, value in known.items()}
    return known | {key: known.get(key, {}) | value if isinstance(value, dict) else value for key, value in plain.items()}


@functools.singledispatch
def theory_as_json(theory: Any) -> dict:
    """What files say about a theory; registered for those that are not built by one of `THEORY_CONFIGS`."""
    kind = {kind: name for name, kind in THEORY_CONFIGS.items()}[type(theory)]
    plain = dataclasses.asdict(theory)
    return {"kind": kind} | {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def theory_from_json(plain: Any, source: Any) -> ReadTheory:
    """The theory that a file of ours holds. **Raises:** `CommandError`, which names the source."""
    return read_theory(plain, in_file(source), ("theory",))


def model_from_json(plain: Any, source: Any) -> ModelConfig:
    """The flow that a file of ours holds. **Raises:** `CommandError`, which names the source."""
    return read_model(plain, in_file(source), ("model",))
