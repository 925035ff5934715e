"""Entry point of the command line."""

import os
import sys

# All that is heavy is imported in functions: signals are caught before.
from ._interrupt import INTERRUPTED, farewell, ignore_signals, interruptible, leave


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Exit status 0 for success; 1 for a failure after work has begun (training diverged, disk full); 2 for input that is
    refused: options, files, folders; 130 for an interrupt by SIGINT, SIGTERM or SIGHUP; 141 when the reader of the output has
    gone.
    """
    with interruptible():
        try:
            status = _run(arguments)
        except KeyboardInterrupt:
            print(f"trivmap: {farewell()}", file=sys.stderr, flush=True)
            if arguments is None:  # the program, not a function called by another one
                leave()
            return INTERRUPTED
    if arguments is None:
        ignore_signals()
    return status


def _run(arguments: list[str] | None) -> int:
    import warnings

    import jax

    from ..io import CheckpointError, EnsembleFileError, GaugeFileError
    from ._config import parse
    from ._info import require_backend
    from ._report import complain
    from ._run_folder import CommandError

    try:
        command = parse(arguments)
        # Exact weights need float64 sums; the library leaves this to programs, and this is one.
        jax.config.update("jax_enable_x64", True)
        if command.computes:
            require_backend()
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: complain(f"caution! {message}")
            return command.execute()
    except CommandError as error:
        complain(str(error))
        return error.status
    except (CheckpointError, EnsembleFileError, GaugeFileError) as error:
        complain(str(error))
        return 2
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; without this Python complains once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
        complain(_failure(error))
        return 1
    except Exception as error:
        if os.environ.get("TRIVMAP_TRACEBACK"):
            raise
        complain(f"unexpected {_failure(error)} TRIVMAP_TRACEBACK=1 shows where it comes from.")
        return 1


def _failure(error: Exception) -> str:
    """What stopped a command, in one line. Whatever was saved before stays: all files are complete or absent."""
    if isinstance(error, OSError) and error.strerror:
        place = f" {error.filename}" if error.filename else ""
        what = f"{error.strerror}:{place}" if place else error.strerror
        return f"{what}. What was saved before is complete."
    text = _reason(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return "out of memory: take a smaller lattice, or smaller --batch-size, --chains. What was saved before is complete."
    return f"{type(error).__name__}: {text[:400]}. What was saved before is complete."


def _reason(error: BaseException) -> str:
    """The first line of a message, or the last one below a traceback, where a compiled program called Python: a solve that
    does not converge."""
    lines = str(error).strip().split("\n")
    return lines[-1 if "Traceback (most recent call last)" in lines[0] else 0].strip().rstrip(".")
