"""`trivmap info`."""

import os
import shutil
from pathlib import Path

from ..io import versions
from ._errors import CommandError
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


def require_backend() -> None:
    """**Raises:** `CommandError` where JAX finds no device, which else fails in the middle of a command."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # an AssertionError without a word for a CUDA plugin that is not installed
        platforms = os.environ.get("JAX_PLATFORMS")
        asked = f"JAX_PLATFORMS={platforms} asks for a backend that is not here" if platforms else "JAX finds no backend"
        cure = 'Set JAX_PLATFORMS=cpu, or pip install "trivmap[cuda12]" (or [cuda13], to match the driver) for a GPU.'
        said = str(error).split("\n")[0].rstrip(".")
        raise CommandError(f"{asked}{f' ({said})' if said else ''}. {cure}") from error


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
