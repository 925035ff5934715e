"""What a comparison is told, and the comparisons that are shipped."""

import dataclasses
import functools
from typing import Any

from ...theories import AbstractTheory
from .._config import (
    PARTS,
    Count,
    Phi4Config,
    Positive,
    Precision,
    ReadTheory,
    SchwingerConfig,
    Seed,
    Seeds,
    SUConfig,
    U1Config,
    theory_as_json,
)
from .._errors import CommandError
from .._reading import Naming, in_file, read_fields, suggestion, toml_file
from ._methods import METHODS
from ._own_theory import own_theory_as_json

theory_as_json.register(AbstractTheory, own_theory_as_json)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods on equal terms: one theory, and the same seconds of training and of sampling for each method and seed.

    - `theory`: a `U1Config`, `SUConfig`, `Phi4Config` or `SchwingerConfig`, or any `AbstractTheory`;
    - `methods`: names of `trivmap compare list`; methods that do not apply to the theory are listed with the reason;
    - `training`, `sampling`: seconds of wall clock for each seed, compilation apart;
    - `seeds`: independent repetitions, with seeds `seed`, `seed` + 1, ...;
    - `batch_size`: of training; `sample_batch`: configurations drawn at once; `chains`: of Markov chains;
    - `precision`: of the fields; weights are summed in float64.
    """

    theory: ReadTheory | AbstractTheory
    methods: tuple[str, ...] = tuple(METHODS)
    training: Positive = 60.0
    sampling: Positive = 30.0
    seeds: Seeds = 2
    seed: Seed = 0
    batch_size: Count = 128
    sample_batch: Count = 256
    chains: Count = 16
    precision: Precision = "float64"

    def __post_init__(self):
        for name, value in read_fields(Comparison, vars(self), in_file("Comparison"), parts=_PARTS).items():
            object.__setattr__(self, name, value)  # 2 for a number is 2.0 in every file
        for name in self.methods:
            if name not in METHODS:
                raise CommandError(f"No method {name}{suggestion(name, METHODS)}.")
        if len(set(self.methods)) < len(self.methods) or not self.methods:
            raise CommandError(f"methods: got {', '.join(self.methods) or 'none'}, expected one or more different ones.")

    def identity(self) -> dict[str, Any]:
        """What the results of one method and seed depend on: further methods and seeds may join a folder later."""
        plain = {name: value for name, value in vars(self).items() if name not in ("methods", "seeds", "seed")}
        return plain | {"theory": theory_as_json(self.theory)}

    def within(self, budget: float) -> "Comparison":
        """So that a method takes `budget` seconds: two thirds for training, one for sampling, shared by the seeds."""
        return dataclasses.replace(self, training=2 * budget / 3 / self.seeds, sampling=budget / 3 / self.seeds)

    def small(self) -> "Comparison":
        """The same theory on a lattice of extent four, seconds of work.

        **Raises:** `CommandError` for a theory of one's own, which nobody here can put on another lattice.
        """
        return dataclasses.replace(
            self,
            theory=_on_small_lattice(self.theory),
            methods=tuple(name for name in self.methods if METHODS[name].in_smoke),
            training=3.0,
            sampling=1.0,
            seeds=1,
            batch_size=32,
            sample_batch=64,
            chains=4,
        )


@functools.singledispatch
def _on_small_lattice(theory: Any) -> Any:
    lattice = tuple(4 if len(theory.lattice) < 4 else 2 for _ in theory.lattice)
    return dataclasses.replace(theory, lattice=lattice)


@_on_small_lattice.register
def _(theory: AbstractTheory) -> Any:
    raise CommandError(f"{type(theory).__name__}: build the theory on a small lattice for a small comparison.")


def _read_theory(value: Any, name: Naming, at: tuple[str, ...]) -> Any:
    return value if isinstance(value, AbstractTheory) else PARTS["theory"](value, name, at)


_PARTS = PARTS | {"theory": _read_theory}


def _phi4(extent: int, lam: float) -> Comparison:
    return Comparison(Phi4Config((extent, extent), m2=-4.0, lam=lam))


def _schwinger(extent: int) -> Comparison:
    # Pseudofermion flows and exchange between values of kappa join here once they are methods.
    methods = ("gated", "quarks", "quenched", "hmc", "hits")
    return Comparison(SchwingerConfig((extent, extent), beta=2.0, kappa=0.263), methods, chains=8)


# Points of arXiv:1904.12072 (E1 to E5), 2101.08176, 2008.05456 and 2211.07541.
SHIPPED = {
    "phi4-8x8": _phi4(8, 8.0),
    "phi4-e1": _phi4(6, 6.975),
    "phi4-e2": _phi4(8, 6.008),
    "phi4-e3": _phi4(10, 5.55),
    "phi4-e4": _phi4(12, 5.276),
    "phi4-e5": _phi4(14, 5.113),
    "u1-8x8": Comparison(U1Config((8, 8), beta=2.0)),
    **{f"u1-16x16-beta{beta}": Comparison(U1Config((16, 16), beta=float(beta))) for beta in (1, 2, 3, 5, 7)},
    "u1-16x16": Comparison(U1Config((16, 16), beta=3.0)),
    **{f"schwinger-{n}x{n}": _schwinger(n) for n in (8, 16)},
    "su2-2d-8x8": Comparison(SUConfig(2, (8, 8), beta=2.2)),
    "su3-2d-8x8": Comparison(SUConfig(3, (8, 8), beta=5.0)),
    "su3-4d-4": Comparison(SUConfig(3, (4, 4, 4, 4), beta=1.0), sample_batch=64, batch_size=32),
}


def find_comparison(name: str) -> Comparison:
    """A shipped comparison, or that of a TOML file. **Raises:** `CommandError` for anything else."""
    if name in SHIPPED:
        return SHIPPED[name]
    if not name.endswith(".toml"):
        raise CommandError(f"No comparison {name!r}{suggestion(name, SHIPPED)}; or give a file NAME.toml.")
    return read_comparison(name)


def read_comparison(path: str) -> Comparison:
    """A comparison from a TOML file: the fields of `Comparison`, with a table `theory` that has a `kind`."""
    plain = toml_file(path)
    return Comparison(**read_fields(Comparison, plain, in_file(path), parts=PARTS))
