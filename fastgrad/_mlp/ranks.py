"""The ranks of a communicator as a team: what a fit is given on each of them in, agreement out.

Data are compared by digests of fixed chunks. Of the first EVERYBODY chunks every rank reads its
own; of the rest each chunk is read by two ranks, which also look for NaN and Inf in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mpi
from .blocks import Adder, OneProcess
from .finite import check_rows

Array = NDArray[Any]
_CHUNK, EVERYBODY = 1 << 20, 64  # bytes of an array; chunks


class Ranks(mpi.Team):
    """See team.Team."""

    def __init__(self, caller: str, comm: Any) -> None:
        super().__init__(caller, comm)
        self._looked_at: list[tuple[str, bool, dict[str, Array]]] = []

    def __enter__(self) -> Ranks:
        return self

    def look(self, caller: str, finite: bool, **arrays: Array) -> None:
        self._looked_at.append((caller, finite, arrays))

    def agree(self, facts: Callable[[], Mapping[str, object]]) -> None:
        self.compare(self.every(facts))

    def compare_data(self) -> None:
        chunks = list(self._chunks())
        digests, mine = np.zeros(len(chunks), np.uint64), np.zeros(len(chunks), bool)

        def read() -> None:
            for i, (caller, finite, name, array, start, stop) in enumerate(chunks):
                readers = self.size if i < EVERYBODY else 2
                if (self.rank - i) % self.size < readers:
                    if finite:
                        check_rows(caller, name, array, start, stop)
                    mine[i], digests[i] = True, _digest(array[start:stop])

        self.every(read)
        self._looked_at.clear()
        other = self.compare_shares(digests, mine)
        if other is not None:
            caller, _, name, _, start, stop = chunks[other]
            raise ValueError(
                f"{caller}: {name}[{start}:{stop}] is not the same on all ranks; pass the same "
                f"arrays on all of them"
            )

    def _chunks(self) -> Iterator[tuple[str, bool, str, Array, int, int]]:
        """caller, whether to look for NaN, name, array, first row, row after the last."""
        for caller, finite, arrays in self._looked_at:
            for name, array in arrays.items():
                rows = max(1, _CHUNK // max(1, array[:1].nbytes))
                for start in range(0, len(array), rows):
                    stop = min(start + rows, len(array))
                    yield caller, finite, name, array, start, stop

    def rows(self, forward: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda x: self.gather_rows(forward, x)

    def adder(self, grads: Array) -> Adder:
        return OneProcess(grads) if self.size == 1 else mpi.BlockSum(self, grads)


def _digest(rows: Array) -> np.uint64:
    found = hashlib.blake2b(np.ascontiguousarray(rows).data.cast("B"), digest_size=8).digest()
    return np.uint64(int.from_bytes(found, "little"))
