"""What a pytree is made of, as JSON: classes, fields and static values beside the numbers of a checkpoint.

Reading never runs what a file says: classes and functions are looked up by their address in this package, in JAX and its
relatives, or among those that the caller gives; objects are made field by field, without their constructors.
"""

import base64
import dataclasses
import functools
import importlib
import math
import types
import zlib
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_HOMES = ("trivmap", "jax", "diffrax", "optax", "equinox", "optimistix", "lineax")
# Where the public name of a function of JAX is found, whose own module is a private one.
_JAX = ("jax.nn", "jax.numpy", "jax.lax", "jax")
_PLAIN = (bool, int, str, type(None))


class StructureError(ValueError):
    """A part of a tree that cannot be described, or a description that fits no class."""


def describe(tree: Any, path: str = "the tree", static: bool = False) -> Any:
    """The structure of a tree as a JSON value; arrays among its leaves by shape and dtype only.

    **Arguments:** `path`: what the tree is called in errors; `static`: whether arrays belong to the structure, with their
    values. **Raises:** `StructureError` for what has no address, such as a function inside of another one.
    """
    inner = functools.partial(describe, static=static)
    whole: Any = tree  # tests of kinds would narrow its type beyond use
    if type(tree) in _PLAIN:
        return tree
    if isinstance(tree, float | complex):
        return {"number": [type(tree).__name__, repr(tree)]}
    if _is_array(tree):
        return _array(tree, static, path)
    if isinstance(tree, np.dtype):
        return {"dtype": tree.str}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {"class": _address(type(tree), path), "fields": _fields(tree, path, static)}
    if isinstance(tree, dict):
        return {"dict": [[inner(k, path, static=True), inner(v, f"{path}[{k!r}]")] for k, v in tree.items()]}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        parts = [inner(v, f"{path}.{name}") for name, v in zip(whole._fields, whole, strict=True)]
        return {"named": _address(type(tree), path), "parts": parts}
    for kind in (tuple, list):
        if type(tree) is kind:
            return {kind.__name__: [inner(v, f"{path}[{i}]") for i, v in enumerate(whole)]}
    if type(tree) in (frozenset, set):
        return {type(tree).__name__: [describe(v, f"an entry of {path}", static=True) for v in whole]}
    if isinstance(tree, functools.partial):
        # For JAX a partial of the standard library is one leaf, its own kind a tree.
        kind = _address(type(tree), path)
        leaf = static or kind == "functools:partial"
        return {"partial": kind, "parts": [describe(p, path, leaf) for p in (tree.func, tree.args, tree.keywords)]}
    if isinstance(tree, slice):
        return {"slice": [tree.start, tree.stop, tree.step]}
    if callable(tree):
        return {"name": _address(tree, path)}
    raise StructureError(f"{path} is a {type(tree).__name__}, which has no description in a file")


def rebuild(description: Any, classes: Iterable[Any] = ()) -> Any:
    """The tree of a description, with `jax.ShapeDtypeStruct` in the place of arrays.

    **Arguments:** `classes`: classes and functions from outside of the package that may be part of it.
    **Raises:** `StructureError` for an address that is not found or not allowed, and for classes with other fields.
    """
    own = {_own_address(given): given for given in classes}
    try:
        return _rebuilt(description, own)
    except StructureError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StructureError(f"the description is none ({type(error).__name__}: {error})") from error


def _rebuilt(node: Any, own: dict[str, Any]) -> Any:
    if type(node) in _PLAIN:
        return node
    if not isinstance(node, dict) or not node or (kind := next(iter(node))) not in _READERS:
        raise StructureError(f"{node!r:.80} describes nothing")
    return _READERS[kind](node, functools.partial(_rebuilt, own=own), own)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic | jax.Array | jax.ShapeDtypeStruct)


def _array(value: Any, static: bool, path: str) -> Any:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        if static:
            raise StructureError(f"{path} is a key among static values")
        return {"key": str(jax.random.key_impl(value)), "shape": list(value.shape)}
    if static:
        data = np.ascontiguousarray(value)
        text = base64.b64encode(zlib.compress(data.tobytes())).decode()
        return {"constant": text, "dtype": data.dtype.str, "shape": list(data.shape)}
    host = isinstance(value, np.ndarray)
    return {"host" if host else "array": str(np.dtype(value.dtype)), "shape": list(value.shape)}


def _fields(module: Any, path: str, static: bool) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(module):
        if field.name in vars(module):  # others are attributes of the class
            inner = static or bool(field.metadata.get("static")) or not isinstance(module, eqx.Module)
            found[field.name] = describe(getattr(module, field.name), f"{path}.{field.name}", inner)
    return found


def _address(thing: Any, path: str) -> str:
    """The shortest name under which a class or function is public, else that of its own module."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", getattr(thing, "__name__", None))
    if not isinstance(module, str) or not isinstance(name, str):
        raise StructureError(f"{path} is {thing!r:.80}, which has no name")
    parts = module.split(".")
    homes = [".".join(parts[:i]) for i in range(1, len(parts) + 1) if not any(p.startswith("_") for p in parts[:i])]
    if parts[0] in ("jax", "jaxlib", "numpy"):
        homes = [*_JAX, *homes]
    for home in [*homes, module]:
        if _lookup(home, name) is thing:
            return f"{home}:{name}"
    raise StructureError(
        f"{path} is {module}.{name}, which cannot be found again by this name; use a class or a function of a module, not a "
        "lambda or one that is defined inside of a function"
    )


def _own_address(thing: Any) -> str:
    return _address(thing, f"classes: {thing!r:.80}")


def _lookup(module: str, name: str) -> Any:
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None


def _resolved(address: str, own: dict[str, Any]) -> Any:
    if address in own:
        return own[address]
    module, _, name = address.partition(":")
    if module.split(".")[0] not in _HOMES:
        short = name.split(".")[0]
        raise StructureError(f"it holds {module}.{name}, which is not of this package: give load(..., classes=[{short}])")
    found = _lookup(module, name)
    if found is None or isinstance(found, types.ModuleType):
        raise StructureError(f"it holds {module}.{name}, which this version does not have")
    return found


def _class(node: Any, inner: Any, own: dict[str, Any]) -> Any:
    kind = _resolved(node["class"], own)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise StructureError(f"{node['class']} is no class with fields")
    known = {field.name for field in dataclasses.fields(kind)}
    if set(node["fields"]) != {name for name in known if name in node["fields"] or not hasattr(kind, name)}:
        raise StructureError(f"{node['class']} has the fields {sorted(known)}, the file {sorted(node['fields'])}")
    made = object.__new__(kind)
    for name, value in node["fields"].items():
        object.__setattr__(made, name, inner(value))
    return made


def _constant(node: Any, inner: Any, own: dict[str, Any]) -> np.ndarray:
    shape, dtype = tuple(node["shape"]), np.dtype(node["dtype"])
    size = math.prod(shape) * dtype.itemsize
    # No more than the array may have: a few bytes can unpack to gigabytes.
    data = zlib.decompressobj().decompress(base64.b64decode(node["constant"]), max(size, 1))
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _key(node: Any, inner: Any, own: dict[str, Any]) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jnp.broadcast_to(jax.random.key(0, impl=node["key"]), tuple(node["shape"])))


def _number(node: Any, inner: Any, own: dict[str, Any]) -> float | complex:
    kind, text = node["number"]
    return {"float": float, "complex": complex}[kind](text)


def _named(node: Any, inner: Any, own: dict[str, Any]) -> tuple:
    kind = _resolved(node["named"], own)
    if not (isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")):
        raise StructureError(f"{node['named']} is no named tuple")
    return kind(*(inner(v) for v in node["parts"]))


def _partial(node: Any, inner: Any, own: dict[str, Any]) -> Any:
    kind = _resolved(node["partial"], own) if node["partial"] != "functools:partial" else functools.partial
    function, arguments, keywords = (inner(part) for part in node["parts"])
    if not issubclass(kind, functools.partial):
        raise StructureError(f"{node['partial']} is no kind of partial")
    return kind(function, *arguments, **keywords)


_READERS = {
    "number": _number,
    "array": lambda node, inner, own: jax.ShapeDtypeStruct(tuple(node["shape"]), jnp.dtype(node["array"])),
    "host": lambda node, inner, own: np.broadcast_to(np.zeros((), np.dtype(node["host"])), tuple(node["shape"])),
    "key": _key,
    "constant": _constant,
    "dtype": lambda node, inner, own: np.dtype(node["dtype"]),
    "class": _class,
    "dict": lambda node, inner, own: {inner(k): inner(v) for k, v in node["dict"]},
    "named": _named,
    "tuple": lambda node, inner, own: tuple(inner(v) for v in node["tuple"]),
    "list": lambda node, inner, own: [inner(v) for v in node["list"]],
    "frozenset": lambda node, inner, own: frozenset(inner(v) for v in node["frozenset"]),
    "set": lambda node, inner, own: {inner(v) for v in node["set"]},
    "partial": _partial,
    "slice": lambda node, inner, own: slice(*node["slice"]),
    "name": lambda node, inner, own: _resolved(node["name"], own),
}
