"""All tests of this folder are slow; prints at the end what they counted, by `record_property(name, value)`."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter):
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    rows = [(r.nodeid.split("/")[-1], *entry) for r in reports if r.when == "call" for entry in r.user_properties]
    if rows:
        terminalreporter.section("counted")
    for test, name, value in sorted(rows, key=str):
        terminalreporter.write_line(f"{test}  {name}: {value}")
