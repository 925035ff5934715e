"""Samples that are being drawn: stored piece by piece beside the complete ones."""

import dataclasses
import hashlib
from typing import Any

from ..io import EnsembleFileError, append_ensemble, read_ensemble, write_ensemble
from ..statistics import Ensemble, join_ensembles
from ._config import SampleCommand
from ._interrupt import interrupts_deferred
from ._report import say
from ._run_folder import RunFolder
from ._sample_names import partial_file
from ._train import MODEL


class PartialEnsemble:
    """The samples of an ensemble that is not complete: NAME.partial.h5 in the run folder."""

    def __init__(self, folder: RunFolder, command: SampleCommand, attributes: dict[str, Any]):
        self.file, self.target = folder / partial_file(command.name), folder / f"{command.name}.h5"
        self.n, self.attributes = command.samples, attributes
        self.keep = command.keep_configurations
        # Samples of another model, though of the same configuration and step, are other samples.
        model = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()[:16]
        self.marked = attributes | {"partial": command.samples, "model": model}
        self.pieces = self._stored()
        self.done = sum(map(len, self.pieces))

    def _stored(self) -> list[Ensemble]:
        if not self.file.exists():
            return []
        try:
            ensemble, found = read_ensemble(self.file)
        except EnsembleFileError as error:
            say(f"{error} Drawing from the start.")
        else:
            if all(found.get(name) == value for name, value in self.marked.items()):
                say(f"continuing after sample {len(ensemble)}")
                return [ensemble]
        self.file.unlink()
        return []

    def add(self, piece: Ensemble, store: bool = False) -> None:
        """Samples that follow on those that are there; what goes beyond the last one is dropped.

        The last piece is stored by `finish`, or here with `store`.
        """
        piece = _part(piece, self.n - self.done)
        if not self.keep:
            piece = dataclasses.replace(piece, configurations=None)
        with interrupts_deferred():
            if store or self.done + len(piece) < self.n:
                append_ensemble(self.file, piece, self.marked)
            self.pieces.append(piece)
            self.done += len(piece)

    def finish(self) -> Ensemble:
        """Write the complete file in place of an earlier one."""
        ensemble = join_ensembles(self.pieces)
        with interrupts_deferred():
            write_ensemble(self.target, ensemble, self.attributes)
            self.file.unlink(missing_ok=True)
        return ensemble


def _part(ensemble: Ensemble, n: int) -> Ensemble:
    """The first `n` samples."""
    if len(ensemble) <= n:
        return ensemble
    return ensemble[:n]
