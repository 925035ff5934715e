"""Prints at the end what the tests counted, by `record_property(name, value)`."""


def pytest_terminal_summary(terminalreporter):
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    rows = [(r.nodeid.split("/")[-1], *entry) for r in reports if r.when == "call" for entry in r.user_properties]
    if rows:
        terminalreporter.section("counted")
    for test, name, value in sorted(rows, key=str):
        terminalreporter.write_line(f"{test}  {name}: {value}")
