"""Signals while the program `trivmap` is being imported, which takes seconds: it ends. A library touches no signals."""

import os
import signal
import sys


def end_on_signals() -> None:
    """Replace the tracebacks of an interrupted import by exit status 130, if this process is the program.

    `trivmap.cli.main` puts handlers of its own in the place of these.
    """
    if not _is_program():
        return
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _end)


def _is_program() -> bool:
    if sys.argv[:1] == ["-m"]:  # `python -m trivmap`, before `__main__` runs
        return any(pair == ("-m", __package__) for pair in zip(sys.orig_argv, sys.orig_argv[1:], strict=False))
    return os.path.basename(sys.argv[0] if sys.argv else "").removesuffix(".exe") == __package__


def _end(number: int, frame: object) -> None:
    os.write(2, b"trivmap: interrupted\n")
    os._exit(130)


end_on_signals()
