"""Signals that end a command: turned into `KeyboardInterrupt`, and held back while files are written."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_stop = threading.Event()


def raise_on_signals() -> None:
    """Treat SIGTERM, by which batch systems announce the end of a job, like Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:  # SIGINT too: shells start background jobs with it ignored
            signal.signal(number, signal.default_int_handler)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Files written in this block stay consistent with each other: a signal takes effect at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        if _stop.is_set():
            raise KeyboardInterrupt
        return
    received: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: received.append(number)) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt


@contextmanager
def stopped_workers() -> Iterator[Callable[[], None]]:
    """Yields a function by which the main thread interrupts its workers, each when its `interrupts_deferred` ends."""
    try:
        yield _stop.set
    finally:
        _stop.clear()
