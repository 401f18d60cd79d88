"""Readers of users' data: a .npz file or a table in, rows of floats and class numbers out.

Whatever is wrong with a file is a DataError of one line: the file, where in it, what, the remedy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._files import path_text
from .._npz import MAX_BYTES, NpzReader
from .._ops.checks import float_dtype
from .._ops.numbers import shown
from ..tables.errors import DataError, printable

MAX_LABEL = 65_535  # a network has one output for every class up to the largest label
_PIECE = 1 << 20  # numbers

Data = tuple[NDArray[Any], NDArray[np.int64]]
Where = Callable[[int, int | None], str]  # row, column (None: the label) -> the place, for people


def load_data(
    path: str | os.PathLike[str], dtype: DTypeLike = np.float32, label: str | None = None
) -> Data:
    """The reader that the suffix of ``path`` names: load_npz, or load_csv for any table."""
    from ..tables import is_table

    text = path_text("load_data", "path", path)
    if is_table(text):
        return load_csv(path, dtype, label)
    name = printable(text)
    if not text.lower().endswith(".npz"):
        raise DataError(f"{name}: neither .npz nor a table such as .csv; save it as one of them")
    if label is not None:
        raise DataError(f"{name}: a label column belongs to a table; in .npz it is array y")
    return load_npz(path, dtype)


def load_npz(path: str | os.PathLike[str], dtype: DTypeLike = np.float32) -> Data:
    """x (N, K) of ``dtype`` and y (N,) int64 from the arrays x (N, ...) and y (N,) of a .npz file.

    Further dims of x are joined into K. At most 1 GiB, unpacked and as ``dtype``; never a pickle.
    """
    found = float_dtype("load_npz", dtype)
    x, y = read_npz(path, found)
    name = printable(path_text("load_npz", "path", path))
    return x, _class_numbers(name, y, lambda row, column: f"y[{row}]")


def read_npz(
    path: str | os.PathLike[str], dtype: np.dtype[Any], needs_y: bool = True
) -> tuple[NDArray[Any], NDArray[Any]]:
    """x (N, K) of ``dtype``, checked, and y (N,) as it is: numbers or texts. Without needs_y, y may
    be absent, and is () then."""
    from ..tables.source import checked_file

    text = checked_file(path_text("load_npz", "path", path), MAX_BYTES)
    name = printable(text)
    try:
        with NpzReader(text, MAX_BYTES) as file:
            x = file.read("x")
            y: NDArray[Any] = np.zeros(0)
            if needs_y or "y" in file.names:
                y = file.read("y", texts=True)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    if y.dtype.kind in "US":
        try:
            y = np.array([v.decode() if isinstance(v, bytes) else v for v in y.reshape(-1).tolist()]
                         ).reshape(y.shape)  # fmt: skip
        except ValueError:
            raise DataError(f"{name}: y holds what is no text") from None
    if x.ndim < 2:
        raise DataError(f"{name}: x has shape {x.shape}; it must be (rows, columns)")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise DataError(f"{name}: y has shape {y.shape}; it must be (rows,), a class number a row")
    if (needs_y or len(y)) and len(x) != len(y):
        raise DataError(f"{name}: x has {len(x)} rows but y has {len(y)}")
    if x.size == 0:
        raise DataError(f"{name}: x has shape {x.shape}; there is nothing to train on")
    size = x.size * dtype.itemsize
    if size > MAX_BYTES:
        raise DataError(
            f"{name}: x {x.shape} is {size} bytes as {dtype.name}; the limit is {MAX_BYTES}"
        )
    x = x.reshape(len(x), -1)
    return _rows(name, x, dtype, lambda row, column: f"x row {row}, column {column}"), y


def load_csv(
    path: str | os.PathLike[str], dtype: DTypeLike = np.float32, label: str | None = None
) -> Data:
    """x (N, K) of ``dtype`` and y (N,) int64 from a table of numbers, as they are in the file.

    The labels are in the column ``label``; without that argument in the one called target, label,
    labels, class or y (in any case), or else in the last. pandas reads it (``pip install
    pandas``), a .tsv, .gz, .zip, .parquet or .feather as well. For texts, missing
    values and numbers to be learned see ``fastgrad train`` and ``fastgrad.tables``.
    """
    from ..tables import learn as tables
    from ..tables import read_table

    found = float_dtype("load_csv", dtype)
    read = read_table(path)
    choice = tables.choose(read, label, None, (), last=True)
    columns = [_numbers(read.name, c, read.frame[c], read.where) for c in choice.inputs]
    y = _numbers(read.name, choice.target, read.frame[choice.target], read.where)

    def where(row: int, column: int | None) -> str:
        title = choice.target if column is None else choice.inputs[column]
        return f"{read.where(row)}, column {shown(title)}"

    x = _rows(read.name, np.stack(columns, axis=1), found, where)
    return x, _class_numbers(read.name, y, where)


def _numbers(name: str, title: str, series: Any, where: Callable[[int], str]) -> NDArray[Any]:
    from ..tables import values as _values

    found = _values.as_numbers(_values.of(series))
    if isinstance(found, str):
        row = int(np.argmax(series.astype(str).to_numpy() == found))
        raise DataError(
            f"{name}: {where(row)}, column {shown(title)}: {shown(found)} is not a number"
        )
    return found.values


def _rows(name: str, x: NDArray[Any], dtype: np.dtype[Any], where: Where) -> NDArray[Any]:
    """x (N, K), N and K of 1 or more, converted, every value finite."""
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype)
    bad = _first_not_finite(rows)
    if bad is not None:
        row, column = bad
        value = x[row, column]
        reason = f"too large for {dtype.name}" if np.isfinite(value) else "not a finite number"
        raise DataError(f"{name}: {where(row, column)}: {value} is {reason}")
    return rows


def _class_numbers(name: str, y: NDArray[Any], where: Where) -> NDArray[np.int64]:
    if y.dtype.kind not in "biuf":
        raise DataError(f"{name}: y holds {y.dtype.str!r}; save class numbers, or train on it")
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
    return y.astype(np.int64)


def _first_not_finite(x: NDArray[Any]) -> tuple[int, int] | None:
    """Its place in x (N, K); a piece at a time, as masks of it all would be large."""
    step = max(1, _PIECE // x.shape[1])
    for start in range(0, len(x), step):
        ok = np.isfinite(x[start : start + step])
        if not ok.all():
            row, column = divmod(int(np.argmin(ok)), x.shape[1])
            return start + row, column
    return None
