"""The .npz files of strangers: a path in, plain arrays or one clear ValueError out.

numpy.load reads them, without pickle. What it would trust is compared first: the sizes in the
archive's directory with a bound, the shape in an array's header with the size of its member.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections import Counter
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ._ops.numbers import brief

MAX_BYTES = 1 << 30  # of all arrays read from one file: a bound on memory whatever the file claims
_MAX_HEADER = 500  # bytes; numpy writes 118 for any plain array. Python's parser, even of literals,
# overflows a thread's small stack where one is nested deep
_MAX_READ = 1 << 21  # bytes at once; the list of members is read at once, about 80 bytes each
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack in pieces of any size


class _File(io.BufferedReader):
    """zipfile keeps about 1 KB for each member that a file lists, and reads the list in one piece:
    refusing large pieces bounds both."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # zipfile: the last 22 bytes
            size = _MAX_READ
        if size > _MAX_READ:
            raise ValueError(f"a list of members of {size} bytes; {_MAX_READ} is the limit")
        return super().read(size)


class NpzReader:
    """``with NpzReader(path) as f: f.names; f.read(name)``. Every failure is a ValueError, but
    for a file that is not there or may not be read: that is open's own OSError."""

    def __init__(self, source: str | os.PathLike[str] | IO[bytes], max_bytes: int = MAX_BYTES):
        self._left = self._limit = max_bytes
        self._own = None
        if isinstance(source, str | os.PathLike):
            self._own = source = _File(io.FileIO(source))
        try:
            zipfile.ZipFile(source).close()  # numpy takes what is no archive for an array
            source.seek(0)
            self._arrays = np.load(source, allow_pickle=False, max_header_size=_MAX_HEADER)
            self._zip: zipfile.ZipFile = self._arrays.zip
        except Exception as error:
            if self._own is not None:
                self._own.close()
            if isinstance(error, OSError | MemoryError):
                raise
            raise ValueError(f"not a whole .npz file ({brief(str(error), 100)})") from None
        names = Counter(self._zip.namelist())
        self._count = {name[:-4]: n for name, n in names.items() if name.endswith(".npy")}
        self.names = list(self._count)

    def __enter__(self) -> NpzReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._arrays.close()
        if self._own is not None:
            self._own.close()

    def read(self, name: str, limit: int | None = None, texts: bool = False) -> NDArray[Any]:
        """The array ``name``, C-contiguous, in the machine's byte order; up to ``limit`` bytes.
        texts: it may be of str or bytes."""
        count = self._count.get(name, 0)
        if count != 1:
            found = brief(", ".join(sorted(self.names)[:8])) or "nothing"
            words = f"no array named {name!r} (it holds {found})"
            raise ValueError(f"{count} arrays named {name!r}" if count else words)
        info = self._zip.getinfo(name + ".npy")
        if info.compress_type not in _PACKED:
            method = info.compress_type
            raise ValueError(f"array {name!r} is packed by method {method}; numpy writes 0 or 8")
        for most, of in ((self._left, " of a file"), (limit, "")):
            if most is not None and info.file_size > most:
                bound = self._limit if of else limit
                raise ValueError(
                    f"array {name!r} has {info.file_size} bytes; {bound} is the limit{of}"
                )
        self._left -= info.file_size
        try:
            with self._zip.open(info) as member:
                _check_header(member, info.file_size, texts)
            array = np.asarray(self._arrays[name + ".npy"])
        except MemoryError:
            raise
        except ValueError as error:
            raise ValueError(f"array {name!r}: {brief(str(error), 150)}") from None
        except Exception as error:  # zlib, EOF, encryption, a check sum: all a damaged file
            words = brief(f"{type(error).__name__}: {error}", 100)
            raise ValueError(f"array {name!r} is damaged ({words})") from None
        return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def _check_header(member: IO[bytes], size: int, texts: bool) -> None:
    """Before numpy makes an array of the shape that a header claims."""
    try:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):  # version 3 differs from 2 in names of fields, of which we have none
            read = np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member, max_header_size=_MAX_HEADER)
        start = member.tell()
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError("its header cannot be read") from None
    is_text = texts and dtype.kind in "US" and dtype.itemsize
    if not is_text and (dtype.kind not in "biuf" or dtype.itemsize > 8):
        words = brief(repr(np.lib.format.dtype_to_descr(dtype)))
        raise ValueError(f"holds {words}, not plain numbers; save it as integers or floats")
    if len(shape) > 32 or start + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(
            f"its header says {dtype.name} of shape {brief(str(shape))}, "
            f"but {size - start} bytes follow"
        )
