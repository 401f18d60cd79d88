"""Readers of users' data: a .npz or .csv file in, rows of floats and class numbers out.

Whatever is wrong with a file is a DataError of one line: the file, where in it, what, the remedy.
"""

from __future__ import annotations

import array
import csv
import os
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._files import path_text
from .._npz import MAX_BYTES, NpzReader
from .._ops.checks import float_dtype
from .._ops.numbers import brief, shown

SUFFIXES = (".npz", ".csv")
LABEL_COLUMNS = ("label", "y", "target")
MAX_LABEL = 65_535  # a network has one output for every class up to the largest label
_MAX_LINE = 1 << 24  # characters, also of a row of several lines: cells take 30 times the memory
_PIECE = 1 << 20  # numbers

Data = tuple[NDArray[Any], NDArray[np.int64]]
Where = Callable[[int, int | None], str]  # row, column (None: the label) -> the place, for people


class DataError(ValueError):
    """A data file that cannot be used; the message is one line for the person who passed it."""


def load_data(
    path: str | os.PathLike[str], dtype: DTypeLike = np.float32, label: str | None = None
) -> Data:
    """The reader that the suffix of ``path`` names: load_npz or load_csv."""
    text = path_text("load_data", "path", path)
    suffix = os.path.splitext(text)[1].lower()
    if suffix == ".csv":
        return load_csv(path, dtype, label)
    name = _printable(text)
    if suffix != ".npz":
        raise DataError(f"{name}: neither .npz nor .csv; save the data as one of them")
    if label is not None:
        raise DataError(f"{name}: a label column belongs to .csv; in .npz it is array y")
    return load_npz(path, dtype)


def load_npz(path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> Data:
    """x (N, K) of ``dtype`` and y (N,) int64 from the arrays x (N, ...) and y (N,) of a .npz file.

    Further dims of x are joined into K. At most 1 GiB, unpacked and as ``dtype``; never a pickle.
    """
    found = float_dtype("load_npz", dtype)
    text, name = _checked("load_npz", path)
    try:
        with NpzReader(text, MAX_BYTES) as file:
            x, y = file.read("x"), file.read("y")
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    if x.ndim < 2:
        raise DataError(f"{name}: x has shape {x.shape}; it must be (rows, columns)")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{name}: y has shape {y.shape}; it must be (rows,), a class number a row")
    if len(x) != len(y):
        raise DataError(f"{name}: x has {len(x)} rows but y has {len(y)}")
    if x.size == 0:
        raise DataError(f"{name}: x has shape {x.shape}; there is nothing to train on")
    size = x.size * found.itemsize
    if size > MAX_BYTES:
        raise DataError(
            f"{name}: x {x.shape} is {size} bytes as {found.name}; the limit is {MAX_BYTES}"
        )
    return _finish(
        name,
        x.reshape(len(x), -1),
        y,
        found,
        lambda row, column: f"y[{row}]" if column is None else f"x row {row}, column {column}",
    )


def load_csv(
    path: str | os.PathLike[str], dtype: DTypeLike = np.float32, label: str | None = None
) -> Data:
    """x (N, K) of ``dtype`` and y (N,) int64 from a comma-separated text file with a header row.

    The labels are in the column named ``label``; without that argument in the column called
    label, y or target (in any case), or else in the last. At most 1 GiB of text.
    """
    found = float_dtype("load_csv", dtype)
    text, name = _checked("load_csv", path)
    try:
        with open(text, encoding="utf-8-sig", newline="") as file:
            header, target, cells, lines = _parse(name, file, label)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from None
    except csv.Error as error:
        raise DataError(f"{name}: not a .csv file ({error})") from None
    except UnicodeDecodeError:
        raise DataError(f"{name}: not a text file in UTF-8") from None
    if not lines:
        raise DataError(f"{name}: no rows below the header; there is nothing to train on")
    table = np.frombuffer(cells, np.float64).reshape(len(lines), len(header))
    inputs = [i for i in range(len(header)) if i != target]

    def where(row: int, column: int | None) -> str:
        title = header[target if column is None else inputs[column]]
        return f"line {lines[row]}, column {shown(title)}"

    return _finish(name, table[:, inputs], table[:, target], found, where)


def _checked(caller: str, path: str | os.PathLike[str]) -> tuple[str, str]:
    """The path as text, also as that of a message, of a regular file within the limit: a pipe or a
    device might never end."""
    text = path_text(caller, "path", path)
    name = _printable(text)
    try:
        size = os.stat(text).st_size
    except (OSError, ValueError) as error:
        raise DataError(f"{text!r}: {getattr(error, 'strerror', None) or error}") from None
    if not os.path.isfile(text):
        raise DataError(f"{name}: not a regular file")
    if size > MAX_BYTES:
        raise DataError(f"{name}: {size} bytes; the limit is {MAX_BYTES}")
    return text, name


def _printable(path: str) -> str:
    return path if path.isprintable() else repr(path)


def _parse(
    name: str, file: IO[str], label: str | None
) -> tuple[list[str], int, array.array[float], array.array[int]]:
    """Header, place of the label column, all cells row by row, the line number of each row."""
    read = _Lines(name, file)
    reader = csv.reader(read)
    header = [cell.strip() for cell in next(reader, [])]
    if not any(header):
        raise DataError(f"{name}: empty; the first line must name the columns")
    if all(_is_number(cell) for cell in header):
        raise DataError(f"{name}: line 1 holds numbers; the first line must name the columns")
    if len(header) < 2:
        raise DataError(f"{name}: one column, {header[0][:40]!r}; are the columns split by commas?")
    target = _label_column(name, header, label)
    read.begin()
    cells, lines = array.array("d"), array.array("q")
    for row in reader:
        if not row:
            continue
        place = f"{name}: line {reader.line_num}"
        if len(row) != len(header):
            raise DataError(f"{place} has {len(row)} columns but the header has {len(header)}")
        try:
            if read.has_underscore and any("_" in cell for cell in row):
                raise ValueError
            cells.extend([float(cell) for cell in row])
        except ValueError:
            bad = next(i for i, cell in enumerate(row) if not _is_number(cell))
            what = "a class number 0, 1, 2, ..." if bad == target else "a number"
            raise DataError(
                f"{place}, column {shown(header[bad])}: {row[bad][:40]!r} is not {what}"
            ) from None
        lines.append(reader.line_num)
        read.begin()
    return header, target, cells, lines


class _Lines:
    """The lines of a file, each row of which, of one or more of them, is announced by ``begin``."""

    def __init__(self, name: str, file: IO[str]):
        self._name, self._file, self._number = name, file, 0
        self.begin()

    def begin(self) -> None:
        self._length, self.has_underscore = 0, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(_MAX_LINE)
        if not line:
            raise StopIteration
        self._number += 1
        self._length += len(line)
        if self._length >= _MAX_LINE:
            what = "is" if len(line) >= _MAX_LINE else "ends a row that is"
            raise DataError(
                f"{self._name}: line {self._number} {what} longer than {_MAX_LINE} characters"
            )
        self.has_underscore |= "_" in line
        return line


def _is_number(cell: str) -> bool:
    """As in other programs: Python's 1_000 is none."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _label_column(name: str, header: list[str], label: str | None) -> int:
    if label is not None:
        found = [i for i, title in enumerate(header) if title == label]
        if not found:
            titles = brief(", ".join(header[:12]) + (", ..." if len(header) > 12 else ""), 200)
            raise DataError(f"{name}: no column named {shown(label)} (columns: {titles})")
    else:
        found = [i for i, title in enumerate(header) if title.lower() in LABEL_COLUMNS]
    if len(found) > 1:
        titles = " and ".join(f"{shown(header[i])} (column {i + 1})" for i in found[:2])
        raise DataError(f"{name}: labels could be {titles}; rename one, or name the label column")
    return found[0] if found else len(header) - 1


def _finish(
    name: str, x: NDArray[Any], y: NDArray[Any], dtype: np.dtype[Any], where: Where
) -> Data:
    """Check every value and convert; x (N, K), y (N,), N and K of 1 or more."""
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype)
    bad = _first_not_finite(rows)
    if bad is not None:
        row, column = bad
        value = x[row, column]
        reason = f"too large for {dtype.name}" if np.isfinite(value) else "not a finite number"
        raise DataError(f"{name}: {where(row, column)}: {value} is {reason}")
    if y.dtype.kind == "b":
        y = y.astype(np.int64)
    with np.errstate(invalid="ignore"):
        wrong = ~((y >= 0) & (y <= MAX_LABEL))
        if y.dtype.kind == "f":
            wrong |= y != np.floor(y)
    if wrong.any():
        row = int(np.argmax(wrong))
        remedy = f"labels are whole numbers from 0 to {MAX_LABEL}, one a class"
        raise DataError(f"{name}: {where(row, None)}: label {y[row]}; {remedy}")
    return rows, y.astype(np.int64)


def _first_not_finite(x: NDArray[Any]) -> tuple[int, int] | None:
    """Its place in x (N, K); a piece at a time, as masks of it all would be large."""
    step = max(1, _PIECE // x.shape[1])
    for start in range(0, len(x), step):
        ok = np.isfinite(x[start : start + step])
        if not ok.all():
            row, column = divmod(int(np.argmin(ok)), x.shape[1])
            return start + row, column
    return None
