"""`trivmap info`."""

import os
import shutil
from pathlib import Path

from ..io import versions
from ._report import say
from ._run_folder import git_revision


def info() -> int:
    """Print what computes here, and one line of advice where a GPU is left idle."""
    import jax

    devices = jax.devices()
    rows = [[name, version] for name, version in versions().items()]
    rows += [
        ["revision", git_revision() or "none (installed package)"],
        ["backend", jax.default_backend()],
        ["devices", ", ".join(f"{d.device_kind} {d.id}" for d in devices)],
        ["cpus", str(os.cpu_count())],
        ["x64", "on (switched on by the command line)" if jax.config.values["jax_enable_x64"] else "off"],
        ["compilation cache", _cache()],
    ]
    for name, value in rows:
        say(f"{name:<18} {value}")
    if advice := gpu_advice(jax.default_backend(), gpu_present()):
        say(advice)
    return 0


def gpu_present() -> bool:
    """Whether the machine shows an NVIDIA GPU, whatever JAX makes of it."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def gpu_advice(backend: str, present: bool) -> str | None:
    """One line that cures a silent fall-back to the CPU."""
    if backend != "cpu" or not present:
        return None
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return "A GPU is present but JAX_PLATFORMS=cpu keeps JAX off it: unset JAX_PLATFORMS."
    return 'A GPU is present but JAX runs on the CPU: pip install "trivmap[cuda12]" (or [cuda13], to match the driver).'


def _cache() -> str:
    import jax

    folder = jax.config.values["jax_compilation_cache_dir"]
    return folder or "off (set JAX_COMPILATION_CACHE_DIR to keep compiled programs)"
