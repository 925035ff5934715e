"""What the formats of gauge configurations share: layouts, averages on the host, and the checks after reading."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._content import file_bytes

PLAQUETTE_TOLERANCE = 1e-5  # as Grid: headers hold the averages in few digits
TRACE_TOLERANCE = 1e-6
# Rows and columns of three to five rounded numbers; a file in double precision that was converted from single has 1e-7.
UNITARITY_TOLERANCE = {32: 5e-6, 64: 1e-10}
# File order is t, z, y, x (x fastest), direction x, y, z, t, row, column; ours is direction, row, column, t, x, y, z with
# direction t first.
_TO_TRIVMAP = (4, 5, 6, 0, 3, 2, 1)
_TO_FILE = (3, 6, 5, 4, 0, 1, 2)
_DIRECTIONS_TO_TRIVMAP = [3, 0, 1, 2]
_DIRECTIONS_TO_FILE = [1, 2, 3, 0]


class GaugeFileError(ValueError):
    """A file of gauge links that is missing, damaged, or not what its header says."""


class GaugeFileWarning(UserWarning):
    """A file of gauge links whose checksums are right and whose comments are not."""


def source_bytes(source: str | os.PathLike | bytes) -> tuple[str, bytes]:
    """A name for messages and the content of a file, or of bytes that were read elsewhere."""
    if isinstance(source, bytes):
        return "gauge file", source
    try:
        return str(source), file_bytes(source)
    except OSError as error:
        raise GaugeFileError(f"{source}: cannot read the file: {error.strerror}") from error


def from_file_order(data: np.ndarray) -> np.ndarray:
    """Links (t, z, y, x, 4, rows, n) in the order of the files -> (4, rows, n, t, x, y, z), contiguous."""
    return np.ascontiguousarray(data.transpose(_TO_TRIVMAP)[_DIRECTIONS_TO_TRIVMAP])


def to_file_order(links: np.ndarray) -> np.ndarray:
    """The inverse of `from_file_order`."""
    return np.ascontiguousarray(links[_DIRECTIONS_TO_FILE].transpose(_TO_FILE))


def with_last_row(links: np.ndarray) -> np.ndarray:
    r"""SU(N) links from their first N - 1 rows `(4, n - 1, n, ...)`: the conjugate cofactors are the last row."""
    n = links.shape[2]
    last_axes = np.moveaxis(links, (1, 2), (-2, -1))
    row = np.stack([(-1) ** (n - 1 + j) * np.linalg.det(np.delete(last_axes, j, axis=-1)) for j in range(n)], axis=1)
    return np.concatenate([links, np.conj(row)[:, None]], axis=1)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a[:, :, None] * b[None], axis=1)


def dagger(a: np.ndarray) -> np.ndarray:
    return np.conj(np.swapaxes(a, 0, 1))


def mean_plaquette(links: np.ndarray) -> float:
    """Re tr U_P / N of links (d, n, n, *lattice), averaged over sites and planes, in double precision."""
    u = links.astype(np.complex128)
    dim, n = len(u), u.shape[1]
    total = 0.0
    for mu in range(dim):
        for nu in range(mu):
            forward = multiply(u[mu], np.roll(u[nu], -1, axis=2 + mu))
            backward = multiply(u[nu], np.roll(u[mu], -1, axis=2 + nu))
            total += float(np.sum(forward * np.conj(backward)).real)  # tr A B^dagger
    return total / (n * u[0, 0, 0].size * dim * (dim - 1) // 2)


def link_trace(links: np.ndarray) -> float:
    """Re tr U / N, averaged over links."""
    return float(np.trace(links.astype(np.complex128), axis1=1, axis2=2).real.mean() / links.shape[1])


def unitarity_defect(links: np.ndarray) -> float:
    """Largest element of U U^dagger - 1 and of det U - 1."""
    defect = 0.0
    for u in links.astype(np.complex128):
        identity = np.eye(len(u)).reshape(len(u), len(u), *[1] * (u.ndim - 2))
        determinant = np.linalg.det(np.moveaxis(u.reshape(*u.shape[:2], -1), 2, 0))
        for deviation in (multiply(u, dagger(u)) - identity, determinant - 1.0):
            defect = np.maximum(defect, np.abs(deviation).max())  # keeps nan, as max does not
    return float(defect)


def checked_links(links: Any, caller: str, precision: int | None) -> tuple[np.ndarray, int]:
    """Links fit for a file, on the host, and the precision in bits. **Raises:** `TypeError`, `ValueError`."""
    array = np.asarray(links)
    if not np.iscomplexobj(array):
        raise TypeError(f"{caller}: got {array.dtype} links, expected complex SU(N) matrices; angles go to write_ensemble")
    if array.ndim != 7 or array.shape[0] != 4 or array.shape[1] != array.shape[2]:
        raise ValueError(
            f"{caller}: got shape {array.shape}, expected (4, n, n, t, x, y, z): the format knows four dimensions. "
            "Other lattices go to write_ensemble"
        )
    precision = precision or (32 if array.dtype == np.complex64 else 64)
    if precision not in (32, 64):
        raise ValueError(f"{caller}: got precision={precision}, expected 32 or 64 bits")
    array = array.astype(np.complex64 if precision == 32 else np.complex128)
    _check_unitarity(caller, array, UNITARITY_TOLERANCE[precision], "project them first: theory.manifold.project(links)")
    return array, precision


def verify(name: str, links: np.ndarray, averages: Mapping[str, float | None], tolerance: float) -> None:
    """**Raises:** `GaugeFileError` if links are not unitary or their averages differ from those in the header."""
    hint = "the data are damaged, or rounded: pass max_defect= and project afterwards to accept rounded ones"
    try:
        _check_unitarity(name, links, tolerance, hint)
    except ValueError as error:
        other = links.byteswap()
        with np.errstate(all="ignore"):
            swapped = bool(np.all(np.abs(other) < 2.0)) and unitarity_defect(other) < tolerance
        why = "; in the other byte order they are unitary: the file was written with the wrong one" if swapped else ""
        raise GaugeFileError(f"{error}{why}. Nothing was loaded") from error
    functions = {"plaquette": (mean_plaquette, PLAQUETTE_TOLERANCE), "link trace": (link_trace, TRACE_TOLERANCE)}
    for what, expected in averages.items():
        if expected is None:
            continue
        function, allowed = functions[what]
        found = function(links)
        if not abs(found - expected) <= allowed:
            raise GaugeFileError(
                f"{name}: the {what} of the data is {found:.8f}, the header says {expected:.8f} (allowed {allowed:g}): "
                "data or extents are not those that were written. Nothing was loaded"
            )


def check_lattice(name: str, found: tuple[int, ...], expected: Sequence[int] | None) -> None:
    if expected is not None and tuple(expected) != found:
        raise GaugeFileError(f"{name}: holds links on a lattice {found} (t, x, y, z), expected {tuple(expected)}")


def check_size(name: str, found: int, expected: int, what: str) -> None:
    if found == expected:
        return
    how = "truncated" if found < expected else "followed by something else, or of other extents or precision"
    raise GaugeFileError(f"{name}: {found} bytes of links, expected {expected} for {what}: the data are {how}")


def _check_unitarity(name: str, links: np.ndarray, tolerance: float, hint: str) -> None:
    with np.errstate(all="ignore"):
        defect = unitarity_defect(links)
    if not defect <= tolerance:
        raise ValueError(f"{name}: the links are not in SU(N): defect {defect:.2g}, allowed {tolerance:g}; {hint}")
