"""What a comparison is told, and the comparisons that are shipped."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from .._config import THEORY_CONFIGS, Phi4Config, SUConfig, U1Config, theory_as_json
from .._run_folder import CommandError
from ._methods import METHODS


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods on equal terms: one theory, and the same seconds of training and of sampling for each method and seed.

    - `theory`: a `U1Config`, `SUConfig` or `Phi4Config`;
    - `methods`: names of `trivmap compare list`; methods that do not apply to the theory are listed with the reason;
    - `training`, `sampling`: seconds of wall clock for each seed, compilation apart;
    - `seeds`: independent repetitions, with seeds `seed`, `seed` + 1, ...;
    - `batch_size`: of training; `sample_batch`: configurations drawn at once; `chains`: of Markov chains;
    - `precision`: of the fields; weights are summed in float64.
    """

    theory: U1Config | SUConfig | Phi4Config
    methods: tuple[str, ...] = tuple(METHODS)
    training: float = 60.0
    sampling: float = 30.0
    seeds: int = 2
    seed: int = 0
    batch_size: int = 128
    sample_batch: int = 256
    chains: int = 16
    precision: str = "float64"

    def __post_init__(self):
        if unknown := sorted(set(self.methods) - set(METHODS)):
            raise CommandError(f"No method {', '.join(unknown)}; there are {', '.join(METHODS)}.")
        for name in ("training", "sampling", "seeds", "batch_size", "sample_batch", "chains"):
            if not getattr(self, name) > 0:
                raise CommandError(f"{name} must be positive, but {getattr(self, name)} was given.")
        if self.precision not in ("float32", "float64"):
            raise CommandError(f"precision is float32 or float64, but {self.precision!r} was given.")

    def identity(self) -> dict[str, Any]:
        """What the results of one method and seed depend on: further methods and seeds may join a folder later."""
        plain = dataclasses.asdict(self) | {"theory": theory_as_json(self.theory)}
        return {name: value for name, value in plain.items() if name not in ("methods", "seeds", "seed")}

    def within(self, budget: float) -> "Comparison":
        """So that a method takes `budget` seconds: two thirds for training, one for sampling, shared by the seeds."""
        return dataclasses.replace(self, training=2 * budget / 3 / self.seeds, sampling=budget / 3 / self.seeds)

    def small(self) -> "Comparison":
        """The same theory on a lattice of extent four, seconds of work."""
        lattice = tuple(4 if len(self.theory.lattice) < 4 else 2 for _ in self.theory.lattice)
        return dataclasses.replace(
            self,
            theory=dataclasses.replace(self.theory, lattice=lattice),
            methods=tuple(name for name in self.methods if METHODS[name].in_smoke),
            training=3.0,
            sampling=1.0,
            seeds=1,
            batch_size=32,
            sample_batch=64,
            chains=4,
        )


def _phi4(extent: int, lam: float) -> Comparison:
    return Comparison(Phi4Config((extent, extent), m2=-4.0, lam=lam))


# Points of arXiv:1904.12072 (E1 to E5), 2101.08176 and 2008.05456.
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
    "su2-2d-8x8": Comparison(SUConfig(2, (8, 8), beta=2.2)),
    "su3-2d-8x8": Comparison(SUConfig(3, (8, 8), beta=5.0)),
    "su3-4d-4": Comparison(SUConfig(3, (4, 4, 4, 4), beta=1.0), sample_batch=64, batch_size=32),
}


def find_comparison(name: str) -> Comparison:
    """A shipped comparison, or that of a TOML file. **Raises:** `CommandError` for anything else."""
    if name in SHIPPED:
        return SHIPPED[name]
    if not name.endswith(".toml"):
        raise CommandError(f"No comparison {name!r}: there are {', '.join(SHIPPED)}; or give a file NAME.toml.")
    return read_comparison(name)


def read_comparison(path: str) -> Comparison:
    """A comparison from a TOML file: the fields of `Comparison`, with a table `theory` that has a `kind`."""
    try:
        plain = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise CommandError(f"{path}: cannot read the comparison: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path}: not TOML: {error}") from error
    theory = plain.pop("theory", None)
    if not isinstance(theory, dict) or theory.get("kind") not in THEORY_CONFIGS:
        raise CommandError(
            f"{path}: needs theory = {{ kind = ..., lattice = [...] }}, kind one of {', '.join(THEORY_CONFIGS)}"
        )
    kind = THEORY_CONFIGS[theory.pop("kind")]
    values = _typed(path, "theory", kind, theory)
    return Comparison(kind(**values), **_typed(path, "comparison", Comparison, plain))


def _typed(path: str, what: str, target: type, values: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(target)}
    if unknown := sorted(set(values) - known):
        raise CommandError(f"{path}: the {what} has no {', '.join(unknown)}; it knows {', '.join(sorted(known))}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
