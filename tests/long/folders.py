"""What is in a run folder, for comparison with another one."""

import json
from pathlib import Path

import numpy as np

from trivmap.io import file_kind, read_chain, read_ensemble, read_header

# What depends on the clock or names the process.
TIMES = {
    *("seconds", "compile_seconds", "compile", "total", "training", "sampling", "cost", "spent", "memory", "why", "sha256"),
    *("compile_spread", "training_spread", "sampling_spread", "cost_spread", "memory_spread", "break_even", "versions"),
}


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(entry) for name, entry in value.items() if name not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def contents(folder: str) -> dict:
    """All numbers in the files of a folder, less timings; temporaries and locks are named by `left`."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".h5":
            data, about = (read_ensemble if file_kind(path) == "ensemble" else read_chain)(path)
            arrays = {n: getattr(data, n, None) for n in ("configurations", "log_weights", "accepted", "delta_h")}
            arrays |= data.observables
            found[name] = (without_times(about), {n: np.asarray(a).tolist() for n, a in arrays.items() if a is not None})
        elif path.suffix == ".ckpt":
            data = path.read_bytes()
            start = 48 + int.from_bytes(data[40:48], "little")
            found[name] = (without_times(read_header(path)), data[start:])
        elif path.suffix == ".jsonl":
            found[name] = [without_times(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".json" and path.name != "environment.json":
            found[name] = without_times(json.loads(path.read_text()))
        elif path.is_file() and path.suffix == ".png":
            found[name] = path.read_bytes()
    return json.loads(json.dumps(found, default=repr))  # NaN and infinity as text, which equals itself
