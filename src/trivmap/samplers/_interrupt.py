"""Interrupts that lose nothing."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np


class SamplingInterrupted(KeyboardInterrupt):
    """Raised in place of `KeyboardInterrupt` by samplers that had computed something; `partial` holds it.

    A `KeyboardInterrupt` still, so that scripts and commands stop as they would:

        try:
            ensemble = tm.sample(key, model, theory, 100_000)
        except tm.samplers.SamplingInterrupted as interrupt:
            ensemble = interrupt.partial

    At a prompt it is found in `sys.last_value.partial`.
    """

    def __init__(self, partial: Any, done: int, total: int):
        self.partial = partial
        super().__init__(f"interrupted after {done} of {total}; nothing is lost, see the attribute `partial`")


@contextlib.contextmanager
def progress_bar(total: int, description: str, show: bool) -> Iterator[Any]:
    """Yields a function that advances a bar; tqdm is imported only where a bar is wanted."""
    if not show:
        yield lambda count: None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=description, leave=False) as bar:
        yield bar.update


def in_batches(
    name: str, batch: Callable[[int], Any], n: int, size: int, assemble: Callable[[Any], Any], progress: bool
) -> Any:
    """`assemble` of `n` results, found `size` at a time: `batch(start)` computes those from `start` on, with a leading axis.

    The last batch is computed whole and cut. Assembled is also what there is at an interrupt.
    """
    parts: list[Any] = []
    joined = lambda: assemble(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))  # noqa: E731
    with progress_bar(n, name, progress) as advance:
        try:
            for start in range(0, n, size):
                count = min(size, n - start)
                parts.append(jax.tree.map(lambda a, c=count: np.asarray(a)[:c], batch(start)))
                advance(count)
        except KeyboardInterrupt as interrupt:
            if not parts:
                raise
            partial = joined()
            raise SamplingInterrupted(partial, len(partial), n) from interrupt
    return joined()
