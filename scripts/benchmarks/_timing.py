"""What the benchmarks share: compile time apart, medians with quartiles, memory, lines of at most 80 columns.

Every number is the median over repetitions in one process, after compilation and a warm-up call. A repetition of a fast
function is a loop over calls that fills about 20 ms, and repetitions of the things compared take turns. CPU time, summed
over threads, is printed beside wall time because it hardly depends on what else the machine does.
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax

_SHORTEST = 0.02  # seconds per repetition


@dataclasses.dataclass(frozen=True)
class Timing:
    """Wall and CPU seconds per unit (a call, or one of the configurations of a call), compile time, XLA's buffers."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    compile_seconds: float = 0.0
    buffers: int = 0

    @property
    def quartiles(self) -> tuple[float, float, float]:
        if len(self.wall) == 1:
            return (self.wall[0],) * 3
        low, middle, high = statistics.quantiles(self.wall, n=4, method="inclusive")
        return low, middle, high

    @property
    def median(self) -> float:
        return self.quartiles[1]

    @property
    def cpu_median(self) -> float:
        return statistics.median(self.cpu)

    def scaled(self, factor: float) -> "Timing":
        wall, cpu = (tuple(factor * s for s in seconds) for seconds in (self.wall, self.cpu))
        return dataclasses.replace(self, wall=wall, cpu=cpu)

    def __str__(self) -> str:
        low, middle, high = (1e3 * s for s in self.quartiles)
        return f"{middle:9.4g} ms ({low:.4g} - {high:.4g}), CPU {1e3 * self.cpu_median:.4g}"


def time_calls(calls: dict[str, Callable[[], Any]], repeats: int = 9) -> dict[str, Timing]:
    """Times of each call, after a warm-up; repetitions are interleaved so that all calls see the same load."""

    def run(call: Callable[[], Any], count: int) -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            jax.block_until_ready(call())
        return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count

    counts, seconds = {}, {name: [] for name in calls}
    for name, call in calls.items():
        # The first call pays for allocation; the second one says how many fill a repetition.
        run(call, 1)
        counts[name] = 1 if repeats == 1 else max(1, round(_SHORTEST / run(call, 1)[0]))
    for _ in range(repeats):
        for name, call in calls.items():
            seconds[name].append(run(call, counts[name]))
    return {name: Timing(*map(tuple, zip(*pairs, strict=True))) for name, pairs in seconds.items()}


def compiled(function: Callable, *args: Any) -> tuple[Callable[[], Any], float, int]:
    """The compiled call `function(*args)`, seconds to trace and compile it, and bytes of its temporary buffers."""
    arrays, static = eqx.partition(args, eqx.is_array)
    begin = time.perf_counter()
    program = jax.jit(lambda arrays: function(*eqx.combine(arrays, static))).lower(arrays).compile()
    seconds = time.perf_counter() - begin
    analysis = program.memory_analysis()
    return lambda: program(arrays), seconds, 0 if analysis is None else analysis.temp_size_in_bytes


class Case(NamedTuple):
    """A function to compile and time on arguments, `units` (configurations, say) in one call."""

    function: Callable
    arguments: tuple
    units: int = 1


def measure(cases: dict[str, Case], repeats: int = 9) -> dict[str, Timing]:
    """Timings per unit of all cases, each compiled apart, runs interleaved."""
    programs = {name: compiled(case.function, *case.arguments) for name, case in cases.items()}
    timings = time_calls({name: program[0] for name, program in programs.items()}, repeats)
    for name, case in cases.items():
        _, seconds, buffers = programs[name]
        timings[name] = dataclasses.replace(timings[name].scaled(1 / case.units), compile_seconds=seconds, buffers=buffers)
    return timings


def ratio_line(name: str, slow: Timing, fast: Timing, target: float | None = None) -> str:
    """`slow`/`fast`: ratio of the median wall times, the range between opposite quartiles, ratio of CPU times."""
    low = slow.quartiles[0] / fast.quartiles[2]
    high = slow.quartiles[2] / fast.quartiles[0]
    ratio, cpu = slow.median / fast.median, slow.cpu_median / fast.cpu_median
    verdict = "" if target is None else f"\n  target {target:g}: {'reached' if ratio >= target else 'MISSED'}"
    return f"{name}: {ratio:.3g} ({low:.3g} - {high:.3g}), CPU {cpu:.3g}{verdict}"


def memory_line(timing: Timing) -> str:
    return f"compiled in {timing.compile_seconds:.1f} s, buffers {timing.buffers / 2**20:.1f} MiB"


def peak_memory() -> float:
    """Peak resident memory of this process in MiB."""
    try:
        # ru_maxrss of a child process starts at its parent's memory on Linux, VmHWM does not.
        with open("/proc/self/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmHWM"].split()[0]) / 2**10
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def subprocess_peak(*arguments: str) -> float:
    """Peak memory in MiB of this script run with other arguments, which make it print `peak_memory()` at its end."""
    child = subprocess.run([sys.executable, sys.argv[0], *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return float(child.stdout.split()[-1])


def header(title: str) -> None:
    precision = "float64" if jax.config.read("jax_enable_x64") else "float32"
    print(title)
    print(f"JAX {jax.__version__}, {jax.devices()[0].platform}, {os.cpu_count()} cores, {precision}")


def require_peer() -> Any:
    """The package bijx, or an exit with the way to install it."""
    try:
        import bijx
    except ImportError:
        sys.exit("This benchmark compares with bijx, which is not installed: pip install 'trivmap[peers]'.")
    return bijx
