"""Machine code on disk: what numba made of a function in, a file out, and back in another process.

numba's cache trusts its files: half a file, or a full disk, is an exception in the user's call, and
two processes that save two kernels of one name at once can leave the one under the other's key (its
index and its data are two files). Here a kernel is a file: SHA-256 of key and data, then the data;
the name holds a hash of the key. What is damaged is compiled again. What cannot be written is not.
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
from collections.abc import Callable
from typing import Any

import llvmlite
import numba
from numba.core import caching
from numba.core.serialize import dumps

from .source_hash import are_unchanged, stamp

_FILE = re.compile(r"fastgrad-([0-9a-f]{14})-.*\.nbc(\.tmp\.\w+)?")
_VERSIONS = 4  # of the sources, whose kernels are kept in one folder
_LEFT = 3600.0  # seconds after which a file that is half written is that of a killed process
_warned = _pruned = False

_HOUSE = str(pathlib.Path(__file__).parents[1] / "__init__.py")  # kernels of all folders: one cache


def _of_house(locator: Any) -> Any:
    class OfHouse(locator):  # type: ignore[misc, valid-type]
        @classmethod
        def from_function(cls, function: Any, file: str) -> Any:
            return super().from_function(function, _HOUSE)

    OfHouse.__name__ = locator.__name__
    return OfHouse


# of folders, in the order of trial
_LOCATORS = [_of_house(locator) for locator in caching.CompileResultCacheImpl._locator_classes]
(_USER_WIDE,) = (locator for locator in _LOCATORS if "UserWide" in locator.__name__)


class _Home(_USER_WIDE):  # type: ignore[misc, valid-type]
    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        """Not without a home, or the folder would be one called ~ in the current one."""
        there = os.path.isabs(cls(function, _HOUSE).get_cache_path())
        return super().from_function(function, file) if there else None


def _reading(locator: Any) -> Any:
    """A locator of a folder that need not be writable: kernels compiled when an image was made."""

    class Reading(locator):  # type: ignore[misc, valid-type]
        def ensure_cache_path(self) -> None:
            os.scandir(self.get_cache_path()).close()

    return Reading


class _Code(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [
        *(_Home if locator is _USER_WIDE else locator for locator in _LOCATORS),
        *map(_reading, _LOCATORS[:2]),  # NUMBA_CACHE_DIR, and __pycache__ beside the source
    ]


class DiskCache(caching.FunctionCache):  # type: ignore[misc]
    """The cache of one function, as numba's CFunc asks it. No fault of a disk is an error."""

    _impl_class = _Code
    name: str

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        target_context.refresh()
        key, path = self._place(sig, target_context.codegen())
        try:
            with open(path, "rb") as file:
                content = memoryview(file.read())
            if content[:32] != _checksum(key, content[32:]):
                return None
            return self._impl.rebuild(target_context, pickle.loads(content[32:]))
        except Exception:  # whatever is wrong with it, it can be compiled anew
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        if not (self._impl.check_cachable(data) and are_unchanged()):
            return
        key, path = self._place(sig, data.codegen)
        content = dumps(self._impl.reduce(data))
        try:
            os.makedirs(self._cache_path, exist_ok=True)
            with self._cache_file._open_for_write(path) as file:
                file.write(_checksum(key, content))
                file.write(content)
        except OSError as error:
            if not os.path.exists(path):  # Windows does not replace what others have open
                warn(f"{error.strerror or error}: {self._cache_path}")
        _prune_once(self._cache_path)

    def _place(self, sig: Any, codegen: Any) -> tuple[bytes, str]:
        """What the machine code follows from, and the path of its file."""
        _, cpu, _ = self._index_key(sig, codegen)
        versions = (numba.__version__, llvmlite.__version__, sys.version)
        name, source = self.name, stamp()
        key = repr((name, source, str(sig), cpu, versions)).encode()
        short = hashlib.sha256(key).hexdigest()[:24]
        return key, os.path.join(self._cache_path, f"fastgrad-{source:014x}-{name}-{short}.nbc")


def cache_of(function: Callable[..., Any], name: str) -> DiskCache | None:
    """Under a name that no other kernel has. None: there is no folder to write to."""
    try:
        cache = DiskCache(function)
        cache.name = name
        return cache
    except OSError:  # its source is gone
        return None
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return None


def warn(why: str) -> None:
    """Once a process, that it compiles what the next one will compile again."""
    global _warned
    if not _warned:
        _warned = True
        with contextlib.suppress(RuntimeWarning):  # the call it comes from has not failed
            warnings.warn(
                f"fastgrad: compiled kernels cannot be kept ({why}), so that every process "
                f"compiles them; set NUMBA_CACHE_DIR to a folder that can be written to",
                RuntimeWarning,
                stacklevel=2,
            )


def _checksum(key: bytes, data: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(key)
    digest.update(data)
    return digest.digest()


def _prune_once(folder: str) -> None:
    global _pruned
    if not _pruned:
        _pruned = True
        with contextlib.suppress(OSError):
            _prune(folder)


def _prune(folder: str) -> None:
    """Remove the kernels of old sources, and what was left by processes killed while writing."""
    files: dict[str, list[str]] = {}
    used: dict[str, float] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            found = _FILE.fullmatch(entry.name)
            if found is None:
                continue
            version, half = found.groups()
            changed = entry.stat().st_mtime
            if half is None:
                files.setdefault(version, []).append(entry.path)
                used[version] = max(changed, used.get(version, 0.0))
            elif changed < time.time() - _LEFT:
                _remove(entry.path)
    for version in sorted(used, key=used.__getitem__, reverse=True)[_VERSIONS:]:
        for path in files[version]:
            _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)
