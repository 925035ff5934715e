"""The command line that the scripts of points share: names, number of samples, a JSON file that keeps what it has."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_points(
    doc: str, points: dict[str, Any], run: Callable[..., dict], samples: int | None, *, models: bool = False
) -> None:
    """`run(name, samples, smoke)` for the points asked for; `samples` is the default, `None` for the number of the point.

    With `models` there is an option for a folder of trained models, the fourth argument of `run`.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"points to run, of {', '.join(points)}; all by default")
    parser.add_argument("--samples", type=int, default=samples, help="samples of every point")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file, keeping other points in it")
    parser.add_argument("--smoke", action="store_true")
    if models:
        parser.add_argument("--models", type=Path, help="folder in which trained models are kept, and found again")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(points)
    if unknown:
        parser.error(f"unknown points {sorted(unknown)}; choose from {', '.join(points)}")
    folder = (arguments.models,) if models else ()
    results = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    for name in arguments.names or points:
        results[name] = run(name, 64 if arguments.smoke else arguments.samples, arguments.smoke, *folder)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
