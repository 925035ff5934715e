"""Recipes: an ensemble stored as what draws it again."""

import os
import platform
import warnings
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import msgspec

from ..samplers import sample
from ..statistics import Ensemble
from ._checkpoint import CheckpointError, load, read_header, save
from ._versions import versions


class Recipe(eqx.Module):
    """Model, theory, key and number: all that is needed to draw the samples 0 ... n - 1 of `tm.sample` again.

    - `model`, `theory`, `key`, `n`, `batch_size`, `dtype`: as given to `tm.sample`. The batch size is part of the recipe:
      sample i has its own key, but its last bits may depend on its place in a vectorised batch.

        >>> recipe = tm.io.Recipe(model, theory, key, 1000)
        >>> recipe.sample(700, 720).log_weights.shape
    """

    model: Any
    theory: Any
    key: jax.Array
    n: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True, default=256)
    dtype: str | None = eqx.field(static=True, default=None)

    def sample(self, start: int = 0, stop: int | None = None, measure: Any = None) -> Ensemble:
        """The samples `start` ... `stop - 1` (by default to the end), bit for bit on the platform that drew them."""
        stop = self.n if stop is None else stop
        if not 0 <= start < stop <= self.n:
            raise ValueError(f"a recipe of {self.n} samples holds no range from {start} to {stop}")
        size = min(self.batch_size, self.n)
        first = start - start % size  # whole batches, each sample in its place
        count = -(-(stop - first) // size) * size
        dtype = None if self.dtype is None else jax.numpy.dtype(self.dtype)
        drawn = sample(self.key, self.model, self.theory, count, batch_size=size, measure=measure, dtype=dtype, first=first)
        part = slice(start - first, stop - first)
        return drawn[part]


class _Header(msgspec.Struct):
    versions: dict[str, str]
    platform: dict[str, str]


def write_recipe(path: str | os.PathLike, recipe: Recipe) -> None:
    """Write a recipe with the structure of model and theory, atomically and with a checksum, like `save`.

    >>> tm.io.write_recipe(folder / "r", tm.io.Recipe(model, theory, key, 1000))
    """
    save(path, recipe, platform=_platform())


def read_recipe(path: str | os.PathLike, classes: Iterable[Any] = ()) -> Recipe:
    """Read a recipe.

    **Arguments:** `path`; `classes`: classes of your own in model or theory, as for `load`.

    **Warns:** where versions or platform differ from those that wrote the recipe: samples may differ in the last bits.

    **Raises:** `CheckpointError` as `load`, and for a file that holds something else.

        >>> tm.io.write_recipe(folder / "r", tm.io.Recipe(model, theory, key, 1000))
        >>> some = tm.io.read_recipe(folder / "r").sample(0, 10)
    """
    try:
        stored = msgspec.convert(read_header(path), _Header)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: not a recipe: {error}") from error
    recipe = load(path, classes)
    if not (isinstance(recipe, Recipe) and type(recipe.n) is int and recipe.n > 0 and type(recipe.batch_size) is int):
        raise CheckpointError(f"{path}: not a recipe: it holds {recipe!r:.200}")
    now = versions() | _platform()
    then = stored.versions | stored.platform
    if changed := [name for name in then if then[name] != now.get(name)]:
        shown = ", ".join(f"{name} {then[name]} (now {now.get(name)})" for name in changed)
        warnings.warn(f"{path}: the recipe was written with {shown}: samples may differ in the last bits", stacklevel=2)
    return recipe


def _platform() -> dict[str, str]:
    return {"machine": platform.machine(), "system": platform.system(), "backend": jax.default_backend()}
