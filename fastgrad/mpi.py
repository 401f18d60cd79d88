"""Ranks of MPI at one job: gradients of blocks in, their sum in the order of blocks out, on all.

What ``MLP.fit(comm=...)`` is made of; docs/distributed.md says when it pays. Needs mpi4py, the
extra ``mpi``. A ``Team`` is a communicator whose ranks fail together; a ``BlockSum`` adds what they
computed, to the same bits for any number of them: ((B0 + B1) + B2) + ..., each + rounded once.
MPI is called on the main thread alone.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from ._ops.numbers import brief, shown
from .threads import free_cores, is_chosen, num_threads

__all__ = ["BlockSum", "Team"]

Array = NDArray[Any]
T = TypeVar("T")
GRACE = 3.0  # seconds in which an error that is everybody's has reached everybody
_NAP = 0.01  # seconds between looks at a request that may take long


class Team:
    """``with Team(caller, comm) as team``: the ranks of an intracommunicator of mpi4py.

    ``comm`` is a duplicate of it, ``rank`` and ``size`` are its own. All methods are collective.
    Where a rank leaves the block with an error that the others do not have within seconds, it
    prints its traceback and ends all ranks (MPI_Abort, code 1). caller: opens messages.

    TypeError for another comm; RuntimeError on another thread than the main one.
    """

    def __init__(self, caller: str, comm: Any) -> None:
        if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
            raise TypeError(
                f"{caller}: comm is {shown(comm)}; pass an intracommunicator of mpi4py, as "
                f"MPI.COMM_WORLD"
            )
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(f"{caller}: comm is given on a thread; call it on the main thread")
        self._caller = caller
        self.comm: MPI.Intracomm = comm.Dup()
        self._exit: MPI.Intracomm = comm.Dup()  # no other call may come between on this one
        self.rank, self.size = self.comm.rank, self.comm.size

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not _within(self._exit.Ibarrier(), GRACE):
            print(f"{self._caller}: rank {self.rank} of {self.size} ends all ranks:",
                  file=sys.stderr)  # fmt: skip
            traceback.print_exception(kind, error, trace)
            sys.stderr.flush()
            self._exit.Abort(1)
        self._exit.Free()
        self.comm.Free()

    def every(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on this rank; an error of any rank is raised on all of them."""
        error: BaseException | None = None
        try:
            found = work()
        except Exception as mine:
            error = mine
        self.raise_any(error)
        return found

    def first(self, work: Callable[[], T], long: bool = False) -> T:
        """What ``work`` gives on rank 0, where alone it is called, or its error: on all ranks.

        long: the others sleep meanwhile, they do not spin.
        """
        if self.rank:
            if long:
                _within(self.comm.Ibarrier(), math.inf)
            error, found = self.comm.bcast(None)
            if error is not None:
                raise pickle.loads(error)
            return found
        error = None
        try:
            found = work()
        except Exception as mine:
            error, found = mine, None
        if long:
            self.comm.Ibarrier().Wait()  # no Barrier: that is another collective
        self.comm.bcast((None if error is None else _pickled(error), found))
        if error is not None:
            raise error
        return found

    def raise_any(self, error: BaseException | None) -> None:
        """Nothing, where error is None on all ranks; else the lowest rank's, on all of them."""
        errors = self.comm.allgather(None if error is None else _pickled(error))
        which = next((i for i, found in enumerate(errors) if found is not None), None)
        if which is None:
            return
        if which == self.rank:
            assert error is not None
            raise error if len(set(errors)) == 1 else _on(error, which, self.size)
        found = pickle.loads(errors[which])
        raise found if len(set(errors)) == 1 else _on(found, which, self.size)

    def compare(self, facts: Mapping[str, object]) -> None:
        """ValueError on all ranks that names the first of the facts that differs, and a rank."""
        everybody = self.comm.allgather({name: repr(value) for name, value in facts.items()})
        for name in dict.fromkeys(name for each in everybody for name in each):
            values = [each.get(name, "not there") for each in everybody]
            other = next((i for i, value in enumerate(values) if value != values[0]), None)
            if other is not None:
                raise ValueError(
                    f"{self._caller}: {name} is {brief(values[0])} on rank 0 but "
                    f"{brief(values[other])} on rank {other}; pass the same on all ranks"
                )

    def compare_shares(self, digests: NDArray[np.uint64], mine: NDArray[np.bool_]) -> int | None:
        """digests (n,), those where ``mine`` are this rank's -> the first that another rank has
        otherwise, or None."""
        low = np.where(mine, digests, np.uint64(2**64 - 1))
        high = np.where(mine, digests, np.uint64(0))
        self.comm.Allreduce(MPI.IN_PLACE, low, MPI.MIN)
        self.comm.Allreduce(MPI.IN_PLACE, high, MPI.MAX)
        differ = low != high
        return int(np.argmax(differ)) if differ.any() else None

    def gather_rows(self, work: Callable[[Array], Array], x: Array) -> Array:
        """work(x), where row i of it depends on row i of x (N, ...) alone, the rows shared out."""
        bounds = [len(x) * i // self.size for i in range(self.size + 1)]
        own = np.ascontiguousarray(work(x[bounds[self.rank] : bounds[self.rank + 1]]))
        found = np.empty((len(x), *own.shape[1:]), own.dtype)
        width = math.prod(own.shape[1:])
        starts = np.array(bounds) * width
        kind = MPI.Datatype.fromcode(own.dtype.char)
        self.comm.Allgatherv(own, [found, np.diff(starts), starts[:-1], kind])
        return found

    def threads(self) -> AbstractContextManager[None]:
        """Within it a call uses this rank's share of the cores, unless a number was asked for.

        The cores that its affinity lets it run on, divided by the ranks of its node whose affinity
        has some of these.
        """
        node = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        everybody = node.allgather(_cpus())
        node.Free()
        if is_chosen():
            return nullcontext()
        sharing = sum(not cpus.isdisjoint(_cpus()) for cpus in everybody)
        return num_threads(max(1, free_cores() // max(1, sharing)))


class BlockSum:
    """The sum of arrays that a team's ranks compute in turn, in the order of blocks.

    values (size,): what ``work`` leaves this rank's block in, and where the sum is in the end.
    Block i is computed by rank i mod ranks. Each rank adds a piece of all blocks: in a turn every
    rank sends each other one its piece (Alltoallv), in the end all send theirs (Allgatherv).
    Memory: values once more, and a piece.
    """

    def __init__(self, team: Team, values: Array) -> None:
        self._team, self._values = team, values
        self.rank, self.size = team.rank, team.size
        line = 64 // values.itemsize
        piece = -(-values.size // (self.size * line)) * line  # whole cache lines
        starts = np.minimum(np.arange(self.size + 1) * piece, values.size)
        self._starts, self._counts = starts[:-1].tolist(), np.diff(starts).tolist()
        self._nothing = [0] * self.size
        self._received = np.empty((self.size, self._counts[self.rank]), values.dtype)
        self._sum = np.empty(self._counts[self.rank], values.dtype)
        self._type = MPI.Datatype.fromcode(values.dtype.char)
        self._losses: list[float] = []
        self._error: BaseException | None = None

    def turn(self, work: Callable[[], float] | None, done: int, blocks: int) -> None:
        """Add the blocks ``done`` and following, one a rank. work: computes its own -> loss."""
        if work is not None and self._error is None:
            try:
                self._losses.append(work())
            except BaseException as error:  # told to all in ``finish``; they wait here until then
                self._error = error
        present, own = min(self.size, blocks - done), len(self._sum)
        sent = self._nothing if work is None else self._counts
        received = [own if i < present else 0 for i in range(self.size)]
        places = [own * i for i in range(self.size)]
        self._team.comm.Alltoallv(
            [self._values, sent, self._starts, self._type],
            [self._received, received, places, self._type],
        )
        for i in range(present):
            if done + i == 0:
                self._sum[...] = self._received[0]
            else:
                np.add(self._sum, self._received[i], self._sum)

    def finish(self, blocks: int) -> list[float]:
        """The losses of all blocks in their order; the sum is in values. Errors are everybody's."""
        comm = self._team.comm
        comm.Allgatherv(self._sum, [self._values, self._counts, self._starts, self._type])
        turns = -(-blocks // self.size)
        own, everybody = np.zeros(1 + turns), np.empty((self.size, 1 + turns))
        own[0] = self._error is not None
        own[1 : 1 + len(self._losses)] = self._losses
        comm.Allgather(own, everybody)
        error, self._error, self._losses = self._error, None, []
        if everybody[:, 0].any():
            self._team.raise_any(error)
        return everybody[:, 1:].T.reshape(-1)[:blocks].tolist()


def _within(request: MPI.Request, seconds: float) -> bool:
    """Whether it was done before these were over."""
    limit = time.monotonic() + seconds
    while not request.Test():
        if time.monotonic() > limit:
            return False
        time.sleep(_NAP)
    return True


def _pickled(error: BaseException) -> bytes:
    """The error, or one that says what it was."""
    try:
        found = pickle.dumps(error)
        pickle.loads(found)
        return found
    except Exception:
        return pickle.dumps(RuntimeError(brief(f"{type(error).__name__}: {error}", 400)))


def _on(error: BaseException, rank: int, size: int) -> BaseException:
    """It, saying where it came from."""
    where = f" (on rank {rank} of {size})"
    if isinstance(error, OSError) and error.strerror is not None:
        error.strerror += where
    elif len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (error.args[0] + where,)
    return error


def _cpus() -> frozenset[int]:
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return frozenset(range(os.cpu_count() or 1))
