"""Checkpoints: any pytree in one checked file.

Layout: 8 bytes magic, 32 bytes SHA-256 of all that follows, 8 bytes length of the header (little endian), the header in
JSON, and the leaves as written by `equinox.tree_serialise_leaves`.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
from jaxtyping import PyTree

from .._parameters import trainable
from ._atomic import write_bytes
from ._content import file_bytes, npy_record, parse_json
from ._json import encode_json
from ._structure import StructureError, describe, rebuild
from ._versions import versions

_MAGIC = b"TRIVMAP\x01"
_PREAMBLE = len(_MAGIC) + 32 + 8
_STRUCTURE = "structure"
_RESERVED = ("versions", "leaves", _STRUCTURE)


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another structure than expected."""


def write_checkpoint(path: str | os.PathLike, tree: PyTree, header: dict[str, Any] | None = None) -> None:
    """Write the leaves of a pytree and a JSON header, atomically.

    **Arguments:**

    - `path`: the file; an existing one is replaced only once the new one is complete.
    - `tree`: arrays, typed keys and Python numbers are stored; functions and static fields are not.
    - `header`: anything JSON can hold, e.g. configuration and step. Versions and the structure of `tree` are added.

        >>> tm.io.write_checkpoint(folder / "m.ckpt", model, {"step": 100})
    """
    full = dict(header or {}) | {"versions": versions(), "leaves": _describe(tree)}
    encoded = encode_json(full).encode()
    payload = io.BytesIO()
    eqx.tree_serialise_leaves(payload, jax.tree.map(_without_key, tree))
    body = (len(encoded).to_bytes(8, "little"), encoded, payload.getbuffer())
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    write_bytes(path, _MAGIC, digest.digest(), *body)


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """The header of a checkpoint, after verifying the whole file.

    **Raises:** `CheckpointError` if the file is missing, is not a checkpoint, or was changed since it was written.
    """
    return _read(path)[0]


def read_checkpoint(path: str | os.PathLike, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read a checkpoint into the structure of `like`.

    **Arguments:**

    - `path`: a file of `write_checkpoint`.
    - `like`: a pytree of the same structure: arrays, or `jax.ShapeDtypeStruct` as made by `equinox.filter_eval_shape`.

    **Returns:** the tree, bit for bit as written, and the header. Frozen numbers of `like` that the file lacks stay as they
    are: earlier versions did not write the couplings of fields.

    **Raises:** `CheckpointError` as `read_header`, and if `like` has other leaves, shapes or dtypes than the file.

        >>> tm.io.write_checkpoint(folder / "m.ckpt", model)
        >>> again, header = tm.io.read_checkpoint(folder / "m.ckpt", like=model)
    """
    header, payload = _read(path)
    like, added = _partition(like, header["leaves"])
    expected = _describe(like)
    _check_structure(path, header["leaves"], expected)
    try:
        _check_payload(payload, len(expected))
        raw = eqx.tree_deserialise_leaves(io.BytesIO(payload), jax.tree.map(_without_key, like))
    except Exception as error:
        raise CheckpointError(f"{path}: the stored leaves do not fit the expected ones: {error}") from error
    return eqx.combine(jax.tree.map(_with_key, raw, like), added), header


def save(path: str | os.PathLike, tree: PyTree, **header: Any) -> None:
    """Save a model, or any other pytree of the library, with all that `load` needs to make it again.

    The numbers are those of `write_checkpoint`, bit for bit; the structure (classes, lattice, static values) is described
    beside them, so that no code and no pickle is stored.

    **Arguments:** `path`; `tree`: any pytree whose classes and functions have a name in their modules; `header`: further JSON
    values to keep, such as a configuration, for `read_header`.

    **Raises:** `TypeError` for a part without such a name (a lambda, say), which `write_checkpoint` can store.

        >>> tm.save(folder / "model.tm", model, step=1000)
        >>> again = tm.load(folder / "model.tm")
    """
    if taken := set(header) & set(_RESERVED):
        raise ValueError(f"the header already has {sorted(taken)}; choose other names for extra values")
    try:
        described = describe(tree)
    except StructureError as error:
        raise TypeError(
            f"save: {error}. Or use write_checkpoint and read_checkpoint, to which you give the structure."
        ) from None
    write_checkpoint(path, tree, header | {_STRUCTURE: described})


def load(path: str | os.PathLike, classes: Iterable[Any] = ()) -> PyTree:
    """Load what `save` wrote: the same tree, bit for bit.

    **Arguments:** `path`; `classes`: classes and functions of your own that are part of the tree; those of this package, of
    JAX and of its relatives are known. Nothing that the file says is run.

    **Raises:** `CheckpointError` if the file is missing or damaged, was written without its structure, or holds a class that
    is unknown or has other fields in this version.

        >>> tm.save(folder / "model.tm", model)
        >>> again = tm.load(folder / "model.tm")  # with classes of your own: classes=[MyField]
    """
    header = read_header(path)
    if _STRUCTURE not in header:
        raise CheckpointError(f"{path}: holds numbers without their structure; read it with read_checkpoint(path, like)")
    try:
        like = rebuild(header[_STRUCTURE], classes)
    except StructureError as error:
        raise CheckpointError(f"{path}: cannot be loaded: {error}") from None
    return read_checkpoint(path, like)[0]


def structure(path: str | os.PathLike, build: Callable[[], PyTree]) -> PyTree:
    """What `build` makes, without its numbers. **Raises:** `CheckpointError` where it fails on what the file says."""
    try:
        return eqx.filter_eval_shape(build)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{path}: nothing can be built from the stored configuration ({why})") from error


class _Header(msgspec.Struct):
    """What every header has, beside the entries of the user."""

    versions: dict[str, str]
    leaves: list[tuple[str, list[int], str]]


def _read(path: str | os.PathLike) -> tuple[dict[str, Any], memoryview]:
    try:
        data = file_bytes(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot read the checkpoint: {error.strerror}") from error
    if not data.startswith(_MAGIC):
        raise CheckpointError(f"{path}: not a trivmap checkpoint (it does not start with the right bytes)")
    digest, body = data[len(_MAGIC) : len(_MAGIC) + 32], memoryview(data)[len(_MAGIC) + 32 :]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(
            f"{path}: the checkpoint is damaged (its checksum is wrong: cut short, or changed after writing). "
            "Nothing was loaded; use an earlier checkpoint or a copy."
        )
    stop = 8 + int.from_bytes(body[:8], "little")
    try:
        text = bytes(body[8:stop])
        parse_json(text, _Header)
        return parse_json(text, dict[str, Any]), body[stop:]
    except ValueError as error:
        raise CheckpointError(f"{path}: the header of the checkpoint is not one of trivmap: {error}") from error


def _check_payload(payload: memoryview, leaves: int) -> None:
    """**Raises:** `ValueError` unless as many arrays as leaves are there, in full and without anything behind them."""
    position = 0
    for _ in range(leaves):
        position = npy_record(payload, position).stop
    if position != len(payload):
        raise ValueError(f"{len(payload) - position} bytes follow the last one")


def _partition(like: PyTree, stored: list[list[Any]]) -> tuple[PyTree, PyTree]:
    """The tree without the frozen numbers that the file lacks, and these alone."""
    names = {leaf[0] for leaf in stored}

    def held(path: Any, leaf: Any, learned: bool) -> bool:
        return learned or not eqx.is_inexact_array(leaf) or jax.tree_util.keystr(path) in names

    return eqx.partition(like, jax.tree_util.tree_map_with_path(held, like, trainable(like)))


def _is_struct(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct)


def _is_key(x: Any) -> bool:
    return (eqx.is_array(x) or _is_struct(x)) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _without_key(x: Any) -> Any:
    """Equinox cannot store typed keys: store the integers inside."""
    if not _is_key(x):
        return x
    return jax.eval_shape(jax.random.key_data, x) if _is_struct(x) else jax.random.key_data(x)


def _with_key(x: Any, like: Any) -> Any:
    return jax.random.wrap_key_data(x, impl=_implementation(like)) if _is_key(like) else x


def _implementation(key: Any) -> str:
    """Name of the generator of a typed key, which an abstract key reveals only to a trace."""
    names = []
    jax.eval_shape(lambda k: names.append(str(jax.random.key_impl(k))), key)
    return names[0]


def _describe(tree: PyTree) -> list[list[Any]]:
    """Path, shape and dtype of every leaf that is stored; for typed keys the dtype names the implementation."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    described = []
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        if _is_struct(leaf) or eqx.is_array_like(leaf):
            shape = list(leaf.shape) if hasattr(leaf, "shape") else []
            described.append([name, shape, _dtype_name(leaf)])
    return described


def _dtype_name(leaf: Any) -> str:
    if _is_key(leaf):
        return f"key<{_implementation(leaf)}>"
    return str(leaf.dtype) if hasattr(leaf, "dtype") else type(leaf).__name__


def _check_structure(path: str | os.PathLike, stored: list[list[Any]], expected: list[list[Any]]) -> None:
    if stored == expected:
        return
    for found, wanted in zip(stored, expected, strict=False):
        if found != wanted:
            break
    else:
        found = stored[len(expected)] if len(stored) > len(expected) else ["nothing", "", ""]
        wanted = expected[len(stored)] if len(expected) > len(stored) else ["nothing", "", ""]
    precision = found[:2] == wanted[:2] and {found[2], wanted[2]} in ({"float32", "float64"}, {"complex64", "complex128"})
    cure = (
        "Switch x64 on or off as it was when the checkpoint was written: jax.config.update('jax_enable_x64', ...)."
        if precision
        else "Build the expected tree from the configuration that was used for training (it is in the header)."
    )
    raise CheckpointError(
        f"{path}: the checkpoint holds another structure than expected ({len(stored)} leaves, expected {len(expected)}). "
        f"First difference: stored {_show(found)}, expected {_show(wanted)}. {cure}"
    )


def _show(leaf: list[Any]) -> str:
    name, shape, dtype = leaf
    return f"{name or 'the root'} {dtype}{shape}" if dtype else name
