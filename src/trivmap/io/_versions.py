"""Versions of what computed a number."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("trivmap", "jax", "jaxlib", "diffrax", "equinox", "optax", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python, trivmap and the packages that its numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
