"""Exceptions of calls from compiled code: kept by thread, and raised by the code that called.

numba raises what is known when it compiles: a class, pickled into the user's function, by name.
Ours are called to be raised, and answer with the exception that was kept, whatever its type: it is
what the same call from Python raises. (In Python 3.10, sys.exc_info()[0] is still the class that
was called, which is why there are several.) These names are in users' caches, so they stay.
"""

from __future__ import annotations

import threading
from typing import Any

from .._kernels.bind import records

_kept: dict[int, BaseException] = {}  # by thread, the last one


def keep(error: BaseException) -> int:
    """What the caller is told; the exception waits for it."""
    # its frames hold arrays over memory that is not theirs
    error.__traceback__ = error.__context__ = error.__cause__ = None
    _kept[threading.get_ident()] = error
    if isinstance(error, ValueError):
        return records.WRONG
    return records.NO_MEMORY if isinstance(error, MemoryError) else records.BROKEN


class _Kept(type):
    """A class of exceptions whose instances are those that were kept."""

    def __call__(cls, *args: Any) -> Any:
        # called more than once for one raise, so it stays until the thread's next failure
        error = _kept.get(threading.get_ident())
        return (
            RuntimeError("fastgrad: a call from compiled code failed") if error is None else error
        )


class WrongCall(ValueError, metaclass=_Kept):
    """A ValueError."""


class NoMemory(MemoryError, metaclass=_Kept):
    """A MemoryError."""


class Broken(RuntimeError, metaclass=_Kept):
    """Whatever else: a kernel that does not compile, an interrupt."""


CLASSES: dict[int, type[BaseException]] = {
    records.WRONG: WrongCall,
    records.NO_MEMORY: NoMemory,
    records.BROKEN: Broken,
}
