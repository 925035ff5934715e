"""Interrupts that lose nothing."""

import contextlib
from collections.abc import Iterator
from typing import Any


class SamplingInterrupted(KeyboardInterrupt):
    """Raised in place of `KeyboardInterrupt` by samplers that had computed something; `partial` holds it.

    A `KeyboardInterrupt` still, so that scripts and commands stop as they would:

        try:
            ensemble = tm.sample(key, model, theory, 100_000)
        except tm.SamplingInterrupted as interrupt:
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
