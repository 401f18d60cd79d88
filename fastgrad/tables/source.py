"""The bytes of a text file: a path in; its text in UTF-8, checked, out.

.gz and .zip are unpacked, UTF-16 and line ends of old Macs translated. One pass over the bytes
finds what pandas would read in silence, or report for another line: NUL, text that is no UTF-8, a
quote that is never closed, rows with fewer or more cells than the others.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .._files import path_text
from .errors import DataError, counted, printable

STDIN = "-"  # as a path: text from standard input
MAX_BYTES = 1 << 30  # of text, unpacked
MAX_LINE = 1 << 24  # characters, also of a row of several lines: cells take 30 times the memory
_PIECE = 1 << 20
_HEAD = 1 << 18  # bytes at the beginning that separator and header are found by
_BLANK = frozenset(b" \t\r\n")


class Source:
    """The text of a file. ``open()``: a new stream of it, in UTF-8 without a byte order mark."""

    def __init__(self, path: str | os.PathLike[str]):
        text = path_text("read_table", "path", path)
        self.name = named(text)
        self.path = checked_file(text, MAX_BYTES)
        self.encoding = "UTF-8"
        self._data: bytes | None = None
        self._skip = 0
        suffix = os.path.splitext(text)[1].lower()
        try:
            if text == STDIN:
                self._data = _bounded(self.name, nullcontext(sys.stdin.buffer))
            elif suffix == ".gz":
                self._data = _bounded(self.name, gzip.open(text))
            elif suffix == ".zip":
                self._data = self._unzipped()
            self._translate()
        except OSError as error:
            words = error.strerror or f"not a whole {suffix} file ({error})"
            raise DataError(f"{self.name}: {words}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as bad:
            raise DataError(f"{self.name}: not a whole {suffix} file ({bad})") from None

    @property
    def size(self) -> int:
        """Bytes."""
        return os.path.getsize(self.path) if self._data is None else len(self._data)

    def open(self) -> IO[bytes]:
        stream: IO[bytes] = open(self.path, "rb") if self._data is None else io.BytesIO(self._data)
        stream.seek(self._skip)
        return stream

    def head(self) -> str:
        """Whole lines at the beginning."""
        with self.open() as stream:
            data = stream.read(_HEAD)
            if stream.read(1) and b"\n" in data:
                data = data[: data.rindex(b"\n") + 1]
        return data.decode("utf-8", "replace")

    def pieces(self, size: int) -> Iterator[bytes]:
        """Whole lines, about ``size`` bytes of them at a time; a last line may have no end. One
        that is too long is the last."""
        with self.open() as stream:
            while piece := stream.read(size):
                if not piece.endswith(b"\n"):
                    piece += stream.readline(MAX_LINE)
                yield piece
                if len(piece) >= MAX_LINE:
                    break

    def _unzipped(self) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            members = [
                info for info in archive.infolist()
                if not info.is_dir() and not info.filename.startswith("__MACOSX")
            ]  # fmt: skip
            if len(members) != 1:
                raise DataError(f"{self.name}: holds {len(members)} files; it must be one")
            return _bounded(self.name, archive.open(members[0]))

    def _translate(self) -> None:
        with self.open() as stream:
            data = stream.read(_PIECE)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            whole = self._whole()
            try:
                self._data = whole.decode("utf-16").encode()
            except UnicodeError:
                raise DataError(
                    f"{self.name}: begins as UTF-16 but is none; save it as UTF-8"
                ) from None
            self.encoding = "UTF-16"
        elif data.startswith(codecs.BOM_UTF8):
            self._skip = len(codecs.BOM_UTF8)
        if b"\r" in data and b"\n" not in data:
            self._data = self._whole()[self._skip :].replace(b"\r", b"\n")
            self._skip = 0

    def _whole(self) -> bytes:
        if self._data is None:
            with open(self.path, "rb") as stream:
                return stream.read()
        return self._data

    # what is checked of all of it ---------------------------------------------------------------

    def count_rows(self, separator: str, columns: int, has_quotes: bool) -> int:
        """How many rows of ``columns`` cells there are, a header included; else a DataError."""
        if has_quotes or separator == " ":
            rows = 0
            for line, text in self.records(separator):
                self._check_width(line, _cells(text, separator), columns)
                rows += 1
            return rows
        return self._check_plain(separator, columns)

    def check_bytes(self) -> bool:
        """NUL, UTF-8, the length of lines -> whether there is a quote."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        has_quotes, length, lines = False, 0, 0
        with self.open() as stream:
            while piece := stream.read(_PIECE):
                nul = piece.find(b"\0")
                if nul >= 0:
                    line = lines + piece.count(b"\n", 0, nul) + 1
                    raise DataError(
                        f"{self.name}: line {line} holds a NUL byte; "
                        f"not a text file, or one that is damaged"
                    )
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError as error:
                    line = lines + piece.count(b"\n", 0, error.start) + 1
                    raise DataError(
                        f"{self.name}: line {line} is not text in UTF-8; save it as UTF-8 "
                        f"(of Windows: iconv -f cp1252 -t utf-8 FILE > NEW)"
                    ) from None
                has_quotes = has_quotes or b'"' in piece
                first = piece.find(b"\n")
                length += len(piece) if first < 0 else first
                if length >= MAX_LINE:
                    raise DataError(
                        f"{self.name}: line {lines + 1} is longer than {MAX_LINE} characters"
                    )
                if first >= 0:
                    length = len(piece) - piece.rindex(b"\n") - 1
                    lines += piece.count(b"\n")
        return has_quotes

    def _check_plain(self, separator: str, columns: int) -> int:
        """Without quotes: separators between line ends are counted, a piece at a time."""
        rows = lines = 0
        for piece in self.pieces(_PIECE):
            rows += self._count_rows(piece, separator, columns, lines)
            lines += piece.count(b"\n")
        return rows

    def _count_rows(self, piece: bytes, separator: str, columns: int, before: int) -> int:
        found = widths(piece, separator)
        assert found is not None
        ends, marks = found
        starts = np.concatenate([[0], ends[:-1] + 1])
        rows = len(ends)
        for i in np.flatnonzero(marks != columns - 1):
            text = piece[starts[i] : ends[i]]
            if _BLANK.issuperset(text):
                rows -= 1
            else:
                self._check_width(before + int(i) + 1, int(marks[i]) + 1, columns)
        if columns == 1:
            rows -= sum(_BLANK.issuperset(piece[s:e]) for s, e in zip(starts, ends, strict=True))
        return rows

    def _check_width(self, line: int, cells: int, columns: int) -> None:
        if cells != columns:
            raise DataError(
                f"{self.name}: line {line} has {counted(cells, 'column')} but the first row has "
                f"{columns}"
            )

    def records(self, separator: str) -> Iterator[tuple[int, str]]:
        """(number of its first line, text) of every row that is not blank; a quoted cell may go on
        over lines."""
        opened, parts = 0, list[str]()
        with self.open() as stream:
            for number, data in enumerate(stream, 1):
                line = data.decode("utf-8", "replace")
                if not opened and line.count('"') % 2 == 0:
                    if line.strip(" \t\r\n" if separator != "\t" else " \r\n"):
                        yield number, line
                    continue
                start = opened or number
                parts.append(line)
                if self._is_open(line, separator, bool(opened), start, number):
                    opened = start
                    if sum(map(len, parts)) >= MAX_LINE:
                        raise DataError(
                            f"{self.name}: line {start} begins a row longer than {MAX_LINE} "
                            f"characters: is a quote never closed?"
                        )
                    continue
                yield start, "".join(parts)
                opened, parts = 0, []
        if opened:
            raise DataError(f"{self.name}: line {opened}: {_UNCLOSED}")

    def _is_open(self, line: str, separator: str, inside: bool, start: int, number: int) -> bool:
        """Whether a quoted cell goes on after this line, which may begin in one."""
        text, at = line.rstrip("\r\n"), 0
        stops = separator + " \t"
        while (at := text.find('"', at)) >= 0:
            if not inside:
                before = text[:at].rstrip(" ")
                inside = not before or before[-1] == separator
            elif text[at + 1 : at + 2] == '"':
                at += 1
            else:
                inside = False
                if start != number and at + 1 < len(text) and text[at + 1] not in stops:
                    raise DataError(f"{self.name}: line {start}: {_UNCLOSED}")
                start = number
            at += 1
        return inside

    def line_of(self, row: int, separator: str, header: bool) -> int:
        """The number of the line that row ``row`` begins in."""
        for i, (line, _) in enumerate(self.records(separator)):
            if i == row + header:
                return line
        return 0


def widths(
    lines: bytes, separator: str, has_quotes: bool = False
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Of whole lines: where each ends, and how many separators it has outside of quotes. None where
    a line ends within quotes."""
    codes = np.frombuffer(lines, np.uint8)
    ends: NDArray[Any] = np.flatnonzero(codes == 10)
    if not lines.endswith(b"\n"):
        ends = np.append(ends, len(lines))
    found = np.flatnonzero(codes == ord(separator))
    if has_quotes:
        quotes = np.flatnonzero(codes == ord('"'))
        if (np.searchsorted(quotes, ends) % 2).any():
            return None
        found = found[np.searchsorted(quotes, found) % 2 == 0]
    marks = np.searchsorted(found, ends)
    marks[1:] -= marks[:-1].copy()
    return ends, marks


_UNCLOSED = "a quote is opened there and never closed"


def _cells(text: str, separator: str) -> int:
    if '"' in text:
        text = re.sub(rf'(^|(?<={re.escape(separator)})) *"(?:[^"]|"")*"', "x", text)
    return len(text.split()) if separator == " " else text.count(separator) + 1


def named(path: str) -> str:
    """A file, for people."""
    return "standard input" if path == STDIN else printable(path)


def checked_file(path: str, most: int) -> str:
    """A regular file within the limit: a pipe or a device might never end, but for STDIN."""
    if path == STDIN:
        return path
    name = printable(path)
    try:
        size = os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise DataError(f"{path!r}: {getattr(error, 'strerror', None) or error}") from None
    if not os.path.isfile(path):
        raise DataError(f"{name}: not a regular file")
    if size > most:
        raise DataError(f"{name}: {size} bytes; the limit is {most}")
    return path


def _bounded(name: str, opened: AbstractContextManager[Any]) -> bytes:
    with opened as stream:
        data: bytes = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"{name}: more than {MAX_BYTES} bytes unpacked; that is the limit")
    return data
