"""Files that are whole or not there: a path and a function that writes in, the file out.

The data go to a temporary file in the same folder, ``.NAME.PID.XXXXXXXX.tmp``, which then takes
the name. Its writer holds a lock on it, so that what a killed one left can be told and removed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and what was left stays
    fcntl = None  # type: ignore[assignment]

Path = str | os.PathLike[str]
_KEPT = 100  # characters of the name in that of the temporary file


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a new file beside ``path``, then put it in place of ``path``.

    The data is on the disk before the name changes, so a crash leaves the old file or the new one;
    of several writers at once, one leaves its whole file.
    """
    target = os.path.realpath(path)  # a symbolic link goes on pointing at the file
    with _temporary(target) as (file, name):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if fcntl is None:
            file.close()  # Windows does not rename what is open
        os.replace(name, target)
    if hasattr(os, "O_DIRECTORY"):  # the new name itself: POSIX wants the folder synced as well
        folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(path: Path) -> None:
    """OSError now if write_atomically(path) could not make its file: before hours of training.

    Removes the temporary files of writers of ``path`` that were killed.
    """
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(21, "is a folder; give the name of a file", os.fspath(path))
    with _temporary(target):
        pass
    _sweep(target)


@contextmanager
def _temporary(target: str) -> Iterator[tuple[IO[bytes], str]]:
    """A new file in the folder of ``target``, open, locked, and its name; gone afterwards."""
    folder, name = os.path.split(target)
    while True:
        mark = f"{os.getpid()}.{secrets.token_hex(4)}"
        temporary = os.path.join(folder, f".{name[:_KEPT]}.{mark}.tmp")
        file = open(temporary, "xb")
        try:
            with file:
                held = _lock(file.fileno())
                if held is not False and os.path.exists(temporary):
                    yield file, temporary
                    return  # else _sweep of another process came between: another name
        finally:
            _remove(temporary)


def _sweep(target: str) -> None:
    folder, name = os.path.split(target)
    ours = re.compile(rf"\.{re.escape(name[:_KEPT])}\.\d+\.[0-9a-f]{{8}}\.tmp")
    for entry in os.listdir(folder) if fcntl is not None else ():
        if ours.fullmatch(entry):
            left = os.path.join(folder, entry)
            try:
                with open(left, "rb") as file:
                    if _lock(file.fileno()):
                        _remove(left)
            except OSError:  # gone meanwhile, or another user's
                pass


def _lock(descriptor: int) -> bool | None:
    """Whether the lock is ours now; it ends with the process. None: there are no locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass
