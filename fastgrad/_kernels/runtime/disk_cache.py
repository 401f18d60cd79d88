"""Machine code on disk: what numba made of a function in, a file out, and back in another process.

numba's cache trusts its files. Here a kernel is a file: SHA-256 of key and data, then the data. It
is looked for in every folder, also those that root filled when an image was made, and written to
the first that can be. What is damaged is compiled again; what cannot be written is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import pickle
import re
import sys
import time
import warnings
from typing import Any

import llvmlite
import numba
from numba.core import caching, compiler
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

from .source_hash import are_unchanged, stamp

_HOUSE = pathlib.Path(__file__).parents[1]  # _kernels/: the kernels of all its folders are together
_FILE = re.compile(r"fastgrad-([0-9a-f]{14})-.*\.nbc(\.tmp\.\w+)?")
_VERSIONS = 4  # of the sources, whose kernels are kept in one folder
_LEFT = 3600.0  # seconds after which a file that is half written is that of a killed process
_warned = _pruned = False


class DiskCache:
    """The cache of one kernel, as numba's CFunc asks it. No fault of a disk is an error."""

    def __init__(self, name: str, folders: list[str]) -> None:
        self._name, self._folders = name, folders
        self.cache_path = folders[0]  # where it is written to, if it can be

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        key, name = self._key(sig, target_context.codegen())
        for folder in self._folders:
            with contextlib.suppress(Exception):  # whatever is wrong, it can be compiled anew
                content = pathlib.Path(folder, name).read_bytes()
                if content[:32] == hashlib.sha256(key + content[32:]).digest():
                    reduced = pickle.loads(content[32:])
                    return compiler.CompileResult._rebuild(target_context, *reduced)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if data.lifted or data.library.has_dynamic_globals or not are_unchanged():
            return
        key, name = self._key(sig, data.codegen)
        content, path = dumps(data._reduce()), os.path.join(self.cache_path, name)
        half = f"{path}.tmp.{os.urandom(8).hex()}"
        try:
            os.makedirs(self.cache_path, exist_ok=True)
            with open(half, "wb") as file:
                file.write(hashlib.sha256(key + content).digest() + content)
            os.replace(half, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.remove(half)
            if not os.path.exists(path):  # Windows does not replace what others have open
                warn(f"{error.strerror or error}: {self.cache_path}")
        _prune_once(self.cache_path)

    def _key(self, sig: Any, codegen: Any) -> tuple[bytes, str]:
        """What the machine code follows from, and the name of its file."""
        name = f"fastgrad-{stamp():014x}-{self._name}"
        versions = (numba.__version__, llvmlite.__version__, sys.version)
        key = repr((name, str(sig), codegen.magic_tuple(), versions)).encode()
        return key, f"{name}-{hashlib.sha256(key).hexdigest()[:24]}.nbc"


def cache_of(name: str) -> DiskCache | None:
    """Of the kernel that alone has this name: the sources and the name say what is in it.

    None: there is no folder to write to, nor one to read from. The order is numba's.
    """
    below = caching._CacheLocator.get_suitable_cache_subpath(str(_HOUSE / "__init__.py"))
    given = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    places = [os.path.join(given, below)] if given else []
    home = AppDirs("numba", appauthor=False).user_cache_dir  # a folder called ~ where there is none
    places += [str(_HOUSE / "__pycache__"), *([os.path.join(home, below)] * os.path.isabs(home))]
    written = next(filter(_is_writable, places), None)
    folders = sorted(filter(os.path.isdir, places), key=lambda place: place != written)
    return DiskCache(name, folders) if folders else None


def _is_writable(folder: str) -> bool:
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
    return os.access(folder, os.W_OK)


def warn(why: str) -> None:
    """Once a process, that it compiles what the next one will compile again."""
    global _warned
    text = (
        f"fastgrad: compiled kernels cannot be kept ({why}), so that every process compiles them; "
        "set NUMBA_CACHE_DIR to a folder that can be written to"
    )
    if not _warned:
        _warned = True
        with contextlib.suppress(RuntimeWarning):  # the call it comes from has not failed
            warnings.warn(text, RuntimeWarning, stacklevel=2)


def _prune_once(folder: str) -> None:
    """Remove the kernels of old sources, and what was left by processes killed while writing."""
    global _pruned
    files: dict[str, list[tuple[float, str]]] = {}
    for entry in () if _pruned or not os.path.isdir(folder) else os.scandir(folder):
        if found := _FILE.fullmatch(entry.name):
            kind = found[1] if found[2] is None else ""
            with contextlib.suppress(OSError):  # gone meanwhile
                files.setdefault(kind, []).append((entry.stat().st_mtime, entry.path))
    _pruned = True
    half = [path for changed, path in files.pop("", []) if changed < time.time() - _LEFT]
    old = sorted(files.values(), key=max, reverse=True)[_VERSIONS:]
    for path in [*half, *(path for kernels in old for _, path in kernels)]:
        with contextlib.suppress(OSError):
            os.remove(path)
