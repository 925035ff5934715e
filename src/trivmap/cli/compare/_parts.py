"""Samples in consecutive files, each with the seconds that it took: what is there is what counts."""

from collections.abc import Callable
from typing import Any, ClassVar

from ...io import read_chain, read_ensemble, write_chain, write_ensemble
from ...statistics import Chain, Ensemble, join_ensembles
from .._errors import CommandError
from .._hmc import join_chains
from .._interrupt import interrupts_deferred
from .._run_folder import RunFolder


class _Parts:
    """The files `part-000001.h5`, ... of a folder, in order; `limit`: no more than so many of them."""

    _read: ClassVar[Callable[..., Any]]
    _write: ClassVar[Callable[..., None]]

    def __init__(self, folder: RunFolder, limit: int | None = None):
        self._folder = folder
        self.pieces: list[Any] = []
        self.seconds = 0.0
        numbers = sorted(int(file.stem.split("-")[1]) for file in folder.path.glob("part-*.h5"))
        count = len(numbers) if limit is None else limit
        if numbers[:count] != list(range(1, count + 1)):
            missing = next(n for n in range(1, count + 2) if n not in numbers)
            raise CommandError(
                f"{folder / self._name(missing)} is missing: samples are lost. Remove {folder.path} to draw them again."
            )
        for number in numbers[:count]:
            data, attributes = self._read(folder / self._name(number))
            folder.check_config(self._name(number), attributes.get("about"), folder.about)
            self.pieces.append(data)
            self.seconds += attributes["seconds"]

    @property
    def count(self) -> int:
        return len(self.pieces)

    def unfinished(self, budget: float) -> bool:
        """Whether nothing was drawn, or seconds are left."""
        return not self.pieces or self.seconds < budget

    def add(self, piece: Any, seconds: float) -> None:
        with interrupts_deferred():
            attributes = {"seconds": seconds, "about": self._folder.about}
            self._write(self._folder / self._name(self.count + 1), piece, attributes)
            self.pieces.append(piece)
            self.seconds += seconds

    def _name(self, number: int) -> str:
        return f"part-{number:06d}.h5"


class WeightParts(_Parts):
    """Of an ensemble."""

    _read, _write = staticmethod(read_ensemble), staticmethod(write_ensemble)

    @property
    def samples(self) -> int:
        return sum(map(len, self.pieces))

    def joined(self) -> Ensemble:
        return join_ensembles(self.pieces)


class ChainParts(_Parts):
    """Of Markov chains."""

    _read, _write = staticmethod(read_chain), staticmethod(write_chain)

    def joined(self) -> Chain:
        return join_chains(self.pieces)
