"""The sources that the kernels are generated from: a number, of the files as they were imported.

numba's cache key holds a function's bytecode and closure, not the intrinsics that it calls. Every
kernel closes over this number, so that an upgrade never runs yesterday's machine code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pathlib
import struct

_FOLDER = pathlib.Path(__file__).parents[1]  # _kernels/


def fingerprint(folder: pathlib.Path = _FOLDER) -> int:
    """Hash of the sources in ``folder``, as Python would import them now."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + _older_code(path))
    return int.from_bytes(digest.digest()[:7], "little")


def _older_code(path: pathlib.Path) -> bytes:
    """Bytecode that Python runs in place of a source that has changed since it was made.

    It does if time and length of the source are those that the .pyc notes: after an edit within the
    same second, or by a tool that sets all times to one.
    """
    try:
        pyc = pathlib.Path(importlib.util.cache_from_source(str(path)))
        source, code = path.stat(), pyc.stat()
        if source.st_ctime_ns <= code.st_ctime_ns:
            return b""
        data = pyc.read_bytes()
        flags, time, length = struct.unpack_from("<III", data, 4)
    except (OSError, NotImplementedError, struct.error):
        return b""
    noted = time == int(source.st_mtime) & 0xFFFFFFFF and length == source.st_size & 0xFFFFFFFF
    return data[16:] if flags == 1 or (flags == 0 and noted) else b""


# Taken when the package is imported, before the modules that it is about.
_imported = fingerprint()


def stamp() -> int:
    """The fingerprint of the sources that this process runs."""
    return _imported


def are_unchanged() -> bool:
    """Whether the files are still those that this process runs: not after an upgrade under it."""
    try:
        return fingerprint() == _imported
    except OSError:  # in the middle of one
        return False
