"""Signals that end a command: what was computed is saved, and the process ends within two seconds.

SIGINT, SIGTERM (by which batch systems announce the end of a job) and SIGHUP become a `KeyboardInterrupt` in the main
thread, held back while files are written. Python delivers it only when the main thread returns to the interpreter, which a
compilation by XLA can delay by minutes; therefore a second thread ends the process where the command has not ended by
itself. Commands save chunk by chunk, so that there is nothing left to save then. XLA's own threads do not survive the exit
handlers of C++ while they compile: an interrupted program leaves without them.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

INTERRUPTED = 130
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
_GRACE = 1.0  # seconds in which a command ends by itself
_COPY = 0.3  # seconds within which a second signal is a copy of the first: shells and launchers pass on what terminals send
_stop = threading.Event()
# Held to begin or end a section that writes, and to leave: nobody leaves while others write.
_gate = threading.Lock()
_writing = 0
_message: Callable[[], str] | None = None


def on_interrupt(message: Callable[[], str]) -> None:
    """What an interrupted command tells its user; asked when it happens, perhaps by another thread."""
    global _message
    _message = message


def farewell() -> str:
    with suppress(Exception):
        return "interrupted" if _message is None else f"interrupted; {_message()}"
    return "interrupted"


@contextmanager
def interruptible() -> Iterator[None]:
    """Signals end the command that runs in this block."""
    global _message
    _message = None
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread only
        return
    # SIGINT always, since shells start background jobs with it ignored; nohup ignores SIGHUP on purpose.
    numbers = [n for n in _SIGNALS if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    read, write = os.pipe()
    os.set_blocking(write, False)
    former = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(read, set(numbers)), daemon=True, name="signals")
    watcher.start()
    hook, sys.unraisablehook = sys.unraisablehook, _unraisable(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(former)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(write)  # ends the watcher, which closes the other end


def ignore_signals() -> None:
    """For the end of a program whose work is done: a signal there stops nothing, and would make a failure of a success."""
    with suppress(ValueError):  # not the main thread, which gets no signals
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def leave(status: int = INTERRUPTED) -> None:
    """End the process without the exit handlers of the libraries, some of which crash while XLA compiles."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


def _watch(read: int, numbers: set[int]) -> None:
    """Ends the process some time after a signal, unless the command has ended before; at once after a second one."""
    began = None
    while True:
        if began is None or select.select([read], [], [], 0.02)[0]:
            received = os.read(read, 64)
            if not received:
                os.close(read)
                return
            if not numbers & set(received):
                continue
            if began is not None and time.monotonic() - began > _COPY:
                _leave_now()
            began = time.monotonic() if began is None else began
        elif time.monotonic() - began > _GRACE:
            with _gate:
                if not _writing:
                    _leave_now()


def _unraisable(hook: Callable) -> Callable:
    """A `KeyboardInterrupt` in a callback, from which Python would go on, ends the process all the same."""

    def leave_or(arguments: Any) -> None:
        if isinstance(arguments.exc_value, KeyboardInterrupt):
            _leave_now()
        hook(arguments)

    return leave_or


def _leave_now() -> None:
    # Past Python's buffers: the thread that holds their locks may be the one that does not come back.
    with suppress(OSError):
        os.write(2, f"\ntrivmap: {farewell()}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Files written in this block stay consistent with each other: a signal takes effect at its end."""
    if threading.current_thread() is not threading.main_thread():
        with _counted():
            yield
        if _stop.is_set():
            raise KeyboardInterrupt
        return
    received: list[int] = []
    caught = [number for number in _SIGNALS if callable(signal.getsignal(number)) or number == signal.SIGINT]
    handlers = {number: signal.signal(number, lambda number, _: received.append(number)) for number in caught}
    try:
        with _counted():
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt


@contextmanager
def _counted() -> Iterator[None]:
    global _writing
    with _gate:
        _writing += 1
    try:
        yield
    finally:
        with _gate:
            _writing -= 1


@contextmanager
def stopped_workers() -> Iterator[Callable[[], None]]:
    """Yields a function by which the main thread interrupts its workers, each when its `interrupts_deferred` ends."""
    try:
        yield _stop.set
    finally:
        _stop.clear()
