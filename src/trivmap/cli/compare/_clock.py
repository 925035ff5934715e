"""Peak memory of a part of a process."""

import re
from pathlib import Path

from ._devices import default_device, devices


def reset_peak() -> int:
    """Starts a measurement of peak memory; returns the bytes in use now, zero where they cannot be told."""
    if len(devices()) > 1:
        return 0  # methods share the process
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark becomes the present size
    except OSError:
        return 0
    return _status("VmRSS")


def peak_megabytes(start: int) -> float | None:
    """Memory above that at the start, at its peak: of the device where JAX reports it, of the process otherwise."""
    device = default_device()
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e6
    return max(_status("VmHWM") - start, 0) / 1e6 if start else None


def _status(name: str) -> int:
    match = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(match[1]) if match else 0
