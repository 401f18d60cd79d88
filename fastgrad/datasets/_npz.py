"""The .npz files of strangers: a path in, plain arrays or one clear ValueError out.

numpy.load trusts the shape that a header states and allocates it before reading; here the header
is parsed by hand, must agree with the size of its member, and nothing above a limit is read.
No pickle, no structured or object types.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zipfile
from collections import Counter
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import brief

MAX_BYTES = 1 << 30  # of all arrays read from one file: a bound on memory whatever the file claims
_MAX_HEADER = 10_000  # bytes; numpy writes 118 for any plain array
_CHUNK = 1 << 20
_MAX_READ = 1 << 21  # bytes at once; the list of members is read at once, about 80 bytes each
_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


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
        self._left = max_bytes
        self._limit = max_bytes
        self._file = None
        if isinstance(source, str | os.PathLike):
            self._file = source = _File(io.FileIO(source))
        try:
            self._zip = zipfile.ZipFile(source)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            self._close()
            raise ValueError(f"not a whole .npz file ({brief(str(error), 100)})") from None
        except BaseException:
            self._close()
            raise
        self.names = [n[:-4] for n in self._zip.namelist() if n.endswith(".npy")]
        self._count = Counter(self.names)

    def __enter__(self) -> NpzReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, name: str, limit: int | None = None) -> NDArray[Any]:
        """The array ``name``, C-contiguous, in the machine's byte order; up to ``limit`` bytes."""
        if self._count[name] != 1:
            if self._count[name]:
                raise ValueError(f"{self._count[name]} arrays named {name!r}")
            found = brief(", ".join(sorted(self.names)[:8])) or "nothing"
            raise ValueError(f"no array named {name!r} (it holds {found})")
        info = self._zip.getinfo(name + ".npy")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks whole pieces of the others, a megabyte of bzip2 into gigabytes
            method = info.compress_type
            raise ValueError(f"array {name!r} is packed by method {method}; numpy writes 0 or 8")
        if info.file_size > self._left:
            raise ValueError(
                f"array {name!r} has {info.file_size} bytes; {self._limit} is the limit of a file"
            )
        if limit is not None and info.file_size > limit:
            raise ValueError(f"array {name!r} has {info.file_size} bytes; {limit} is the limit")
        self._left -= info.file_size
        try:
            with self._zip.open(info) as member:
                return _read_npy(member, info.file_size)
        except MemoryError:
            raise
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from None
        except Exception as error:  # zlib, struct, EOF, encryption: all a damaged file
            kind = type(error).__name__
            words = brief(f"{kind}: {error}", 100)
            raise ValueError(f"array {name!r} is damaged ({words})") from None


def _read_npy(member: IO[bytes], size: int) -> NDArray[Any]:
    dtype, fortran, shape, start = _read_header(member)
    nbytes = math.prod(shape) * dtype.itemsize
    if start + nbytes != size:
        raise ValueError(
            f"its header says {dtype.name} of shape {shape}, {nbytes} bytes, "
            f"but {size - start} bytes follow"
        )
    data = bytearray()
    # Grows with what is there, not with what the header says; the last byte of a member makes
    # zipfile compare its check sum.
    while len(data) < nbytes:
        chunk = member.read(min(_CHUNK, nbytes - len(data)))
        if not chunk:
            raise ValueError(f"ends after {len(data)} of {nbytes} bytes")
        data += chunk
    flat = np.frombuffer(data, dtype)
    array = flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)


# The dictionary that numpy writes (NEP 1: .npy versions 1 to 3), its three keys in any order.
# ast.literal_eval reads it too, but a header that is nested deep overflows a thread's small stack.
_ENTRY = re.compile(
    r"""\s*(?P<quote>['"])(?P<key>\w+)(?P=quote)\s*:\s*"""
    r"""(?P<value>'[^']*'|"[^"]*"|True|False|\([^()]*\)|\[.*?\](?=\s*[,}]))\s*(?:,|(?=\}))"""
)
_SHAPE = re.compile(r"\((?:\s*\d{1,15}L?\s*,)*\s*(?:\d{1,15}L?\s*)?\)")  # L: Python 2


def _read_header(member: IO[bytes]) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """dtype, Fortran order, shape, bytes read so far."""
    magic = member.read(8)
    if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
        raise ValueError("not in numpy's .npy format")
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(member.read(width), "little")
    if not 0 < length <= _MAX_HEADER:
        raise ValueError(f"its header claims {length} bytes")
    entries = _parse(member.read(length).decode("latin-1").strip())
    descr, order, sizes = (entries.get(name, "") for name in ("descr", "fortran_order", "shape"))
    if order not in ("True", "False") or not descr or sizes[:1] != "(":
        raise ValueError("its header cannot be read")
    if descr[0] not in "'\"" or not _PLAIN.fullmatch(descr[1:-1]):
        raise ValueError(f"holds {brief(descr)}, not plain numbers; save it as integers or floats")
    shape = tuple(map(int, re.findall(r"\d+", sizes)))
    is_tuple = _SHAPE.fullmatch(sizes) and (len(shape) != 1 or "," in sizes)
    if not is_tuple or len(shape) > 32 or not all(n < 1 << 48 for n in shape):
        raise ValueError(f"its header says shape {brief(sizes)}")
    return np.dtype(descr[1:-1]), order == "True", shape, 8 + width + length


def _parse(header: str) -> dict[str, str]:
    """The values of the keys, as they are written; nothing where it is no such dictionary."""
    found: dict[str, str] = {}
    place = 1
    while entry := _ENTRY.match(header, place):
        found[entry["key"]] = entry["value"]
        place = entry.end()
    return found if header[:1] == "{" and header[place:].strip() == "}" else {}
