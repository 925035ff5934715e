"""What should stand beside stored configurations."""

from typing import Any

import jax
import numpy as np

from ..manifolds import LinkField, SphereField
from ..observables import plaquette
from ..statistics import Chain, Ensemble, expectation
from ..theories import AbstractTheory


def ensemble_attributes(
    theory: AbstractTheory, data: Ensemble | Chain | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Attributes for `write_ensemble`, `append_ensemble` and `write_chain`: theory, seed, mean plaquette of links.

    The versions of trivmap and of the packages below it are added to every file by itself.

    **Arguments:** `theory`: its class, lattice, group or number of components, and couplings are noted; `data`: where given
    and made of links, the plaquette of its configurations (or of the stored measurement `plaquette`) is; `seed`.

        >>> tm.write_ensemble(folder / "e.h5", ensemble, tm.io.ensemble_attributes(theory, ensemble, seed=0))
    """
    manifold = theory.manifold
    described: dict[str, Any] = {"name": type(theory).__name__, "lattice": list(theory.lattice)}
    if isinstance(manifold, LinkField):
        described["group"] = manifold.group.name
    if isinstance(manifold, SphereField):
        described["components"] = manifold.n
    described |= {_name(path): float(x) for path, x in jax.tree_util.tree_leaves_with_path(theory) if np.ndim(x) == 0}
    attributes: dict[str, Any] = {"theory": described, "seed": seed}
    if data is not None and isinstance(manifold, LinkField):
        source = "plaquette" if "plaquette" in data.observables else plaquette
        attributes["plaquette"] = float(expectation(data, source).value)
    return attributes


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).lstrip(".")
