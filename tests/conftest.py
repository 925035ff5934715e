"""Strict numerics for every test. The package itself never touches these settings."""

import os
import signal
import zlib
from pathlib import Path

# Before JAX is imported, and for the commands that tests start: the numbers of the tests are those of a CPU, and many tests
# compile the same programs.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# XLA reports its own tuning flags as missing machine features when it loads from this cache.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest

# The last resort of `trivmap.cli.main` makes one line of what nobody foresaw; tests must see it.
os.environ["TRIVMAP_TRACEBACK"] = "1"
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--share", default="0/1", help="K/N: the K-th of N parts of the tests (K from 0), by a hash of their names"
    )


def pytest_collection_modifyitems(config, items):
    """A part of the tests that does not change from run to run, nor when others are added."""
    part, parts = map(int, config.getoption("--share").split("/"))
    left_out = [item for item in items if zlib.crc32(item.nodeid.encode()) % parts != part]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if zlib.crc32(item.nodeid.encode()) % parts == part]


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def as_in_the_foreground():
    """Commands that a test starts take SIGINT and SIGHUP as usual, also where the tests run in the background or under nohup.

    A shell starts such jobs with these signals ignored, and processes inherit that.
    """
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True, scope="module")
def forget_compilations():
    """Compiled programs of a finished file would otherwise pile up to many gigabytes over the suite."""
    yield
    jax.clear_caches()


def pytest_terminal_summary(terminalreporter):
    """Prints what tests counted, by `record_property(name, value)`."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    rows = [(r.nodeid.split("/")[-1], *entry) for r in reports if r.when == "call" for entry in r.user_properties]
    if rows:
        terminalreporter.section("counted")
    for test, name, value in sorted(rows, key=str):
        terminalreporter.write_line(f"{test}  {name}: {value}")
