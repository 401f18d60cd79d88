"""Who trains: this process alone, or the ranks of a communicator; the loop in fit.py is one.

A Team's methods are called by all of its ranks, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from .._ops.numbers import brief, shown
from .blocks import Adder, OneProcess
from .finite import check_finite

Array = NDArray[Any]
T = TypeVar("T")


class Team(Protocol):
    rank: int
    size: int
    comm: Any  # None, or a communicator, also of one rank

    def __enter__(self) -> Team: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def every(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on this rank; an error of any rank is raised on all."""

    def first(self, work: Callable[[], T], long: bool = False) -> T:
        """What ``work`` gives on rank 0, or its error, on all; meanwhile, if it takes long, the
        others sleep."""

    def look(self, caller: str, finite: bool, **arrays: Array) -> None:
        """Note data of all ranks; where ``finite``, NaN and Inf are a ValueError, now or in
        ``compare_data``."""

    def agree(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """ValueError where they differ between ranks."""

    def compare_data(self) -> None:
        """ValueError where the data that were looked at differ between ranks."""

    def rows(self, forward: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """forward, whose row i depends on row i alone, with its rows shared out."""

    def adder(self, grads: Array) -> Adder: ...

    def threads(self) -> AbstractContextManager[None]: ...


class Alone:
    """A team of one, for which all of this is nothing."""

    rank, size, comm = 0, 1, None

    def __enter__(self) -> Alone:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def every(self, work: Callable[[], T]) -> T:
        return work()

    def first(self, work: Callable[[], T], long: bool = False) -> T:
        return work()

    def look(self, caller: str, finite: bool, **arrays: Array) -> None:
        if finite:
            check_finite(caller, **arrays)

    def agree(self, facts: Callable[[], Mapping[str, object]]) -> None:
        pass

    def compare_data(self) -> None:
        pass

    def rows(self, forward: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return forward

    def adder(self, grads: Array) -> Adder:
        return OneProcess(grads)

    def threads(self) -> AbstractContextManager[None]:
        return nullcontext()


def team_of(caller: str, comm: Any) -> Team:
    """comm: None, or an intracommunicator of mpi4py."""
    if comm is None:
        return Alone()
    try:
        from .ranks import Ranks
    except (ImportError, RuntimeError) as error:  # no mpi4py; one without an MPI
        raise TypeError(
            f"{caller}: comm is {shown(comm)}, and mpi4py cannot be imported "
            f"({brief(str(error))}); pass None, or pip install 'fastgrad[mpi]' with an MPI, and "
            f"pass MPI.COMM_WORLD"
        ) from None
    return Ranks(caller, comm)
