"""Names of samples in a run folder: what `trivmap sample --name` may be called."""

import re

from ._errors import CommandError
from ._run_folder import RunFolder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,99}")
# Names of other files in run folders, or of those that a command may put there later; letters of any case, since some file
# systems do not tell them apart.
_TAKEN = {"config", "environment", "metrics", "checkpoint", "model", "summary", "hmc", "quickstart", "exact", "comparison"}
_ENDINGS = (".h5", ".json", ".jsonl", ".ckpt", ".tmp", ".lock", ".measure", ".partial", ".")


def check_name(name: str) -> None:
    """**Raises:** `CommandError` unless NAME.h5 and NAME.json are files in the run folder that belong to samples alone."""
    lower = name.lower()
    if not _NAME.fullmatch(name):
        why = "a name has at most 100 letters, digits and _ . + = -, and starts with a letter, a digit or _"
    elif lower in _TAKEN or re.fullmatch(r"part-\d+", lower):
        why = "other files of a run folder have this name"
    elif lower.endswith(_ENDINGS):
        why = f"names do not end in {lower[lower.rindex('.') :]}: the endings of the files are added to them"
    else:
        return
    raise CommandError(f"--name {name!r}: {why}. Choose another --name, such as samples or fine-10000.")


def check_foreign(folder: RunFolder, name: str) -> None:
    """**Raises:** `CommandError` if files of this name are there that no `trivmap sample` has written."""
    if f"sample:{name}" in folder.read_json("config.json", {}):
        return
    for file in (f"{name}.h5", f"{name}.json", partial_file(name)):
        if (folder / file).exists() or (folder / file).is_symlink():
            raise CommandError(f"{folder / file} is there, and was not written by `trivmap sample`. Choose another --name.")


def partial_file(name: str) -> str:
    """Samples of an ensemble that is not complete yet."""
    return f"{name}.partial.h5"
