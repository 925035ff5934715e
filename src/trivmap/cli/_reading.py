"""Strict reading of options, TOML and JSON: types and bounds are those that the fields of a dataclass declare.

msgspec converts every field by itself (`int` takes no 2.5, `float` no true, bounds by `msgspec.Meta`); the rest of this file
names the field that is wrong as its owner wrote it: `--batch-size`, or `mine.toml: theory.beta`.
"""

import dataclasses
import difflib
import json
import math
import os
import re
import reprlib
import stat
import tomllib
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ._errors import CommandError

# From the names that lead to a field to the words for a message.
Naming = Callable[[tuple[str, ...]], str]
# Reads one field that is a table: from its value, `Naming` and the names that lead to it.
Part = Callable[[Any, Naming, tuple[str, ...]], Any]

_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}
# Configurations are a page of text; what is larger is something else.
_LARGEST = 2**24


def option(names: tuple[str, ...]) -> str:
    """A field as an option of the command line, or as one of the words that stand without."""
    last = "".join(names[-1:])
    return last.upper() if last in ("run", "path") else "--" + last.replace("_", "-")


def in_file(path: str | os.PathLike) -> Naming:
    """A field of a file as a dotted path."""
    return lambda names: f"{path}: {'.'.join(names)}" if names else str(path)


def read_fields(
    kind: type,
    plain: Any,
    name: Naming,
    at: tuple[str, ...] = (),
    *,
    parts: Mapping[str, Part] = {},  # noqa: B006 (never written)
    without: Collection[str] = (),
) -> dict[str, Any]:
    """Values of the fields of a dataclass, each of the type and within the bounds that the field declares.

    **Arguments:** `plain`: the values by name; `name`, `at`: for messages; `parts`: readers of fields that are tables;
    `without`: fields that `plain` cannot have.

    **Raises:** `CommandError` for a wrong type or value, an unknown name, a missing field without default.
    """
    typed(dict, plain, name(at))
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in without}
    hints = typing.get_type_hints(kind, include_extras=True)
    for key in plain:
        if key not in fields:
            raise CommandError(f"{name((*at, key))}: not known{suggestion(key, fields)}.")
    required = [key for key, field in fields.items() if field.default is dataclasses.MISSING]
    for key in required:
        if key not in plain:
            raise CommandError(f"{name((*at, key))}: missing, and there is no default.")
    of_type = lambda key: lambda value, name, names: typed(hints[key], value, name(names))  # noqa: E731
    return {key: parts.get(key, of_type(key))(value, name, (*at, key)) for key, value in plain.items()}


def typed(kind: Any, value: Any, name: str) -> Any:
    """The value, if it is of a type within its bounds. **Raises:** `CommandError`, which starts with `name`."""
    try:
        return msgspec.convert(value, kind, strict=True)
    except UnicodeEncodeError as error:  # half a character: from JSON escapes, or options that are not UTF-8
        raise CommandError(f"{name}: got {shown(value)}, expected text in UTF-8.") from error
    except msgspec.DecodeError as error:
        text, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`")
        inner = _at(value, place)
        raise CommandError(f"{name}{place}: got {shown(inner)}, expected {_expected(kind, text, inner)}.") from error


def suggestion(key: Any, known: Iterable[str]) -> str:
    """`; did you mean NEAREST?` where a name is near, and the names that there are."""
    names = list(known)
    near = difflib.get_close_matches(str(key), names, 1)
    return (f"; did you mean {near[0]}?" if near else ".") + f" There are {', '.join(names)}"


def shown(value: Any) -> str:
    """A value as short text, whatever it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a very long integer"


def toml_file(path: str | os.PathLike) -> dict[str, Any]:
    """The tables of a TOML file. **Raises:** `CommandError` where it cannot be read or is not TOML."""
    text = _text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path}: not TOML: {error}") from error


def json_file(path: str | os.PathLike) -> Any:
    """The value in a JSON file. **Raises:** `CommandError` where it cannot be read, is not JSON, or repeats a name."""
    return parse_json(_text(path), path)


def parse_json(text: str, source: Any) -> Any:
    """JSON without repeated names, of which Python would keep the last. **Raises:** `CommandError` that names the source."""
    try:
        return json.loads(text, object_pairs_hook=_table)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{source} is damaged (not JSON: {error}); restore it or choose another folder.") from error


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in table if names.count(key) > 1)!r} stands there twice")
    return table


def _text(path: str | os.PathLike) -> str:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise CommandError(f"{path}: not a file, expected one of text.")
        if status.st_size > _LARGEST:
            raise CommandError(f"{path}: {status.st_size} bytes, expected a file of text of a few thousand.")
        return Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise CommandError(f"{path}: cannot read it: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is damaged or no text: {error}.") from error
    except ValueError as error:  # a path that no system can have
        raise CommandError(f"{shown(str(path))}: cannot read it: {error}.") from error


def _at(value: Any, place: str) -> Any:
    for index in re.findall(r"\[(\d+)\]", place):
        value = value[int(index)]
    return value


def _expected(kind: Any, text: str, value: Any) -> str:
    """The expectation in an error message of msgspec, in words."""
    if isinstance(value, float) and not math.isfinite(value) and text.startswith("Expected `float`"):
        return "a finite number"
    if text.startswith("Invalid enum value"):
        choices = dict.fromkeys(choice for part in (kind, *typing.get_args(kind)) for choice in typing.get_args(part))
        return "one of " + ", ".join(str(choice) for choice in choices if isinstance(choice, str | int))
    if not text.startswith("Expected "):
        return f"another value ({text[0].lower()}{text[1:]})"
    words = lambda match: " or ".join(_WORDS.get(word, word) for word in str(match[1]).split(" | "))  # noqa: E731
    return re.sub(r"`([^`]*)`", words, text.removeprefix("Expected ").split(", got ")[0])
