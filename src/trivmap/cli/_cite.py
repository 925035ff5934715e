"""`trivmap cite`."""

from pathlib import Path
from typing import Any, NamedTuple

from ..io import versions
from ._config import CiteCommand
from ._report import say
from ._run_folder import CommandError, RunFolder


class _Work(NamedTuple):
    authors: str
    title: str
    eprint: str


WORKS = {
    "Luscher2009": _Work("Luscher, Martin", "Trivializing maps, the Wilson flow and the HMC algorithm", "0907.5491"),
    "Bacchio2022": _Work(
        "Bacchio, Simone and Kessel, Pan and Schaefer, Stefan and Vaitl, Lorenz",
        "Learning trivializing gradient flows for lattice gauge theories",
        "2212.08469",
    ),
    "Gerdes2022": _Work(
        "Gerdes, Mathis and de Haan, Pim and Rainone, Corrado and Bondesan, Roberto and Cheng, Miranda C. N.",
        "Learning lattice quantum field theories with equivariant continuous flows",
        "2207.00283",
    ),
    "Albergo2019": _Work(
        "Albergo, Michael S. and Kanwar, Gurtej and Shanahan, Phiala E.",
        "Flow-based generative models for Markov chain Monte Carlo in lattice field theory",
        "1904.12072",
    ),
    "Kanwar2020": _Work(
        "Kanwar, Gurtej and others",
        "Equivariant flow-based sampling for lattice gauge theory",
        "2003.06413",
    ),
    "Boyda2020": _Work("Boyda, Denis and others", "Sampling using SU(N) gauge equivariant flows", "2008.05456"),
    "Nicoli2020": _Work(
        "Nicoli, Kim A. and others",
        "Estimation of thermodynamic observables in lattice field theories with deep generative models",
        "2007.07115",
    ),
    "Wu2020": _Work("Wu, Hao and Kohler, Jonas and Noe, Frank", "Stochastic normalizing flows", "2002.06707"),
    "Caselle2022": _Work(
        "Caselle, Michele and Cellini, Elia and Nada, Alessandro and Panero, Marco",
        "Stochastic normalizing flows as non-equilibrium transformations",
        "2201.08862",
    ),
    "Vaitl2022": _Work(
        "Vaitl, Lorenz and Nicoli, Kim A. and Nakajima, Shinichi and Kessel, Pan",
        "Gradients should stay on path: better estimators of the reverse- and forward KL divergence for normalizing flows",
        "2207.08219",
    ),
    "Wolff2003": _Work("Wolff, Ulli", "Monte Carlo errors with less errors", "hep-lat/0306017"),
}
_FLOW = {"Luscher2009", "Albergo2019", "Nicoli2020"}


def cite(command: CiteCommand) -> int:
    """Print BibTeX of the software and of the methods, all or those of a run folder."""
    names = WORKS if command.run is None else used(_entries(Path(command.run)))
    say(_software())
    for name in WORKS:
        if name in names:
            say(_bibtex(name, WORKS[name]))
    return 0


def used(entries: dict[str, dict[str, Any]]) -> set[str]:
    """Names of the works that the commands of a run folder rest on."""
    names: set[str] = set()
    for entry, config in entries.items():
        if entry == "compare":
            return set(WORKS)
        if entry in ("hmc", "quickstart"):
            names.add("Wolff2003")
        if entry in ("train", "quickstart"):
            names |= _FLOW | {_of_field(config)}
    return names


def _of_field(config: dict[str, Any]) -> str:
    """Gradients of loops, or convolutions; by default loops are for SU(N), see `build_model`."""
    field = config.get("model", {}).get("field", "auto")
    if field == "auto":
        field = "loops" if config.get("theory", {}).get("kind") == "su" else "gated"
    return "Bacchio2022" if field == "loops" else "Gerdes2022"


def _entries(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_dir():
        raise CommandError(f"{path} is not a folder; give a run folder, or no argument for all works.")
    known = RunFolder(path).configs()
    if not known:
        raise CommandError(f"{path} is not a run folder (no config.json); give one, or no argument for all works.")
    return known


def _software() -> str:
    return (
        "@software{trivmap,\n  author  = {{The trivmap authors}},\n"
        "  title   = {trivmap: sampling lattice field theories with generative flows},\n"
        f"  version = {{{versions()['trivmap']}}}\n}}"
    )


def _bibtex(name: str, work: _Work) -> str:
    return (
        f"@misc{{{name},\n  author = {{{work.authors}}},\n  title  = {{{work.title}}},\n"
        f"  eprint = {{{work.eprint}}},\n  archivePrefix = {{arXiv}}\n}}"
    )
