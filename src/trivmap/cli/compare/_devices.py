"""Methods of a comparison on all devices of a process."""

import queue
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

import jax

from .._interrupt import stopped_workers


def devices() -> list[Any]:
    """The devices a comparison may use."""
    return jax.local_devices()


def default_device() -> Any:
    """The device on which this thread computes."""
    return jax.config.jax_default_device or devices()[0]  # pyright: ignore[reportAttributeAccessIssue]


def on_devices(function: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
    """`function(name)` for all names, one at a time on every device; results in the order of the names.

    An interrupt stops them all once their next files are written.
    """
    if len(devices()) == 1:
        return [_alone(function, name) for name in names]
    free: queue.SimpleQueue = queue.SimpleQueue()
    for device in devices():
        free.put(device)

    def work(name: str) -> Any:
        device = free.get()
        try:
            with jax.default_device(device):
                return function(name)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices())) as pool, stopped_workers() as stop:
        running = [pool.submit(work, name) for name in names]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
            return [future.result() for future in running if future.done()]
        except KeyboardInterrupt:
            stop()
            pool.shutdown(cancel_futures=True)
            raise


def _alone(function: Callable[[str], Any], name: str) -> Any:
    result = function(name)
    jax.clear_caches()  # the next method compiles its own programs
    return result
