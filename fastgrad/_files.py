"""Files that are whole or not there: a path and a function that writes in, the file out.

The data go to a temporary file in the same folder, ``.NAME.XXXXXXXX.tmp``, which then takes the
name. Its writer holds a lock on it, so that what a killed one left can be told and removed. What is
replaced keeps its mode and owner; what is read-only, or no file, is refused.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

from ._ops.numbers import shown

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
    with _temporary(target) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if fcntl is None:
            file.close()  # Windows does not rename what is open
        os.replace(file.name, target)
    if hasattr(os, "O_DIRECTORY"):  # the new name itself: POSIX wants the folder synced as well
        folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)


def check_writable(path: Path) -> None:
    """OSError now if write_atomically(path) could not make its file: before hours of training.

    Removes the temporary files of writers of ``path`` that were killed.
    """
    target = os.path.realpath(path)
    with _temporary(target):
        pass
    folder, name = os.path.split(target)
    ours = re.compile(rf"\.{re.escape(name[:_KEPT])}\.[0-9a-f]{{8}}\.tmp")
    for left in filter(ours.fullmatch, os.listdir(folder)):
        with suppress(OSError), open(os.path.join(folder, left), "rb") as file:
            if _lock(file, wait=False):
                os.remove(file.name)


@contextmanager
def _temporary(target: str) -> Iterator[IO[bytes]]:
    """A new file beside ``target``, locked, with its mode; gone unless it has been renamed."""
    old = _replaceable(target)
    made: list[str] = []  # named before they are opened: an interrupt leaves none
    try:
        with _locked(target, made) as file:
            if old is not None:
                with suppress(OSError, AttributeError):  # another's owner; Windows
                    os.chown(file.name, old.st_uid, old.st_gid)
                os.chmod(file.name, stat.S_IMODE(old.st_mode))
            yield file
    finally:
        for name in made:
            with suppress(FileNotFoundError):
                os.remove(name)


def _locked(target: str, made: list[str]) -> IO[bytes]:
    """A new file beside ``target``, locked; made again if a clean-up was quicker than the lock."""
    folder, name = os.path.split(target)
    while True:
        made.append(os.path.join(folder, f".{name[:_KEPT]}.{secrets.token_hex(4)}.tmp"))
        file = open(made[-1], "xb")
        _lock(file, wait=True)
        if os.path.exists(file.name):
            return file
        file.close()


def _replaceable(target: str) -> os.stat_result | None:
    """The state of the file that is there; OSError for one that must not be replaced."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file", target)
    if not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "is a device or a pipe; give the name of a file", target)
    if not (old.st_mode & 0o222 and os.access(target, os.W_OK)):  # root may write to any
        raise PermissionError(errno.EACCES, "is read-only; allow writing or name another", target)
    return old


def _lock(file: IO[bytes], wait: bool) -> bool:
    """Whether the lock is ours now; it ends with the process."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (OSError, AttributeError):  # another's; a file system, or a platform, without locks
        return False
    return True


# paths as arguments -------------------------------------------------------------------------------


def path_text(caller: str, name: str, path: Path) -> str:
    text: object = path if isinstance(path, str) else None
    if isinstance(path, os.PathLike):
        text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{caller}: {name} is {shown(path)}; pass a str or a pathlib.Path")
    return text


def check_path(caller: str, name: str, path: Path) -> str:
    """The path as text that can be a file's."""
    text = path_text(caller, name, path)
    if not text or "\0" in text:
        raise ValueError(f"{caller}: {name} is {shown(path)}; pass the name of a file")
    return text


def check_place(caller: str, name: str, path: Path) -> str:
    """The path as text, of a file that is or could be. OSError for a folder, or for none around it,
    that names what was given, not a temporary file."""
    text = check_path(caller, name, path)
    if os.path.isdir(text):
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file", text)
    folder = os.path.dirname(os.path.realpath(text))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write in", folder)
    return text
