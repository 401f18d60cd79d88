"""Tables: a path in; a pandas DataFrame, and how it was found in the file, out.

pandas reads; it is imported here when a table is read, and by nothing else of fastgrad's. Text is
read some rows at a time, every column is kept in the smallest type that holds it exactly, and one
that is numbers in one part of the file and texts in another is read again as texts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import path_text
from .._ops.numbers import brief
from . import layout
from .errors import DataError, counted, printable
from .source import MAX_BYTES, Source, checked_file

TEXT = (".csv", ".tsv", ".txt", ".data")
BINARY = (".parquet", ".feather")
PACKED = (".gz", ".zip")  # of one text file
SUFFIXES = (*TEXT, *PACKED, *BINARY)
_CELLS, _ROWS = 1 << 20, 4096  # of text that are read at once; each part costs 50 us a column
Where = Callable[[int], str]  # a row -> the place, for people


@dataclass(frozen=True)
class Read:
    """A table and where it came from. frame: a pandas.DataFrame; title: what was found, as a line;
    where: a row -> its place in the file, for people; header: whether there was one."""

    frame: Any
    name: str
    title: str
    where: Where
    header: bool = True


def is_table(path: str) -> bool:
    """Whether the name of a file is that of a table."""
    return path.lower().endswith(SUFFIXES)


def read_table(
    path: str | os.PathLike[str],
    *,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    drop: Collection[str] = (),
    least: int = 2,
    known: Collection[str] = (),
) -> Read:
    """The table in a .csv, .tsv, .txt, .data, .parquet, .feather file, or a .gz or .zip of text.

    What is None is found out. A file that cannot be read, or only wrongly, is a DataError.
    separator: one character, " " for any blanks. decimal: "." or ",". header: whether line 1 names
    the columns; else they are called 1, 2, 3, ... drop: of columns that will not be used, so that
    they need no name. least: columns, fewer are an error. known: names that a header is known by.
    """
    text = path_text("read_table", "path", path)
    name = printable(text)
    if not is_table(text):
        raise DataError(f"{name}: no table; {', '.join(SUFFIXES)} can be read")
    binary = text.lower().endswith(BINARY)
    checked_file(text, MAX_BYTES)
    pandas = _pandas(name)
    if binary:
        return _read_binary(pandas, text, name)
    source = Source(path)
    has_quotes = source.check_bytes()
    found = layout.find(name, source.head(), separator, decimal, header, least, drop, known)
    rows = source.count_rows(found.separator, len(found.names), has_quotes) - found.header
    if rows < 1:
        raise DataError(f"{name}: no rows below the header; there is nothing to learn from")
    frame = _read_text(pandas, source, found, rows)
    remarks = list(found.remarks)
    if source.encoding != "UTF-8":
        remarks.append(source.encoding)
    return Read(
        frame, name, _title(name, frame, remarks),
        lambda row: f"line {source.line_of(row, found.separator, found.header)}",
        found.header,
    )  # fmt: skip


def _title(name: str, frame: Any, remarks: list[str]) -> str:
    rows, columns = frame.shape
    return ", ".join([f"{name}: {counted(rows, 'row')}", counted(columns, "column"), *remarks])


def _pandas(name: str) -> Any:
    try:
        import pandas
    except ImportError:
        raise DataError(f"{name}: to read tables takes pandas: pip install pandas") from None
    return pandas


def _read_binary(pandas: Any, path: str, name: str) -> Read:
    suffix = os.path.splitext(path)[1].lower()
    try:
        frame = (pandas.read_parquet if suffix == ".parquet" else pandas.read_feather)(path)
    except ImportError:
        raise DataError(f"{name}: to read {suffix} takes pyarrow: pip install pyarrow") from None
    except MemoryError:
        raise
    except Exception as error:  # pyarrow has its own
        raise DataError(f"{name}: not a whole {suffix} file ({brief(str(error), 100)})") from None
    frame.columns = [str(column) for column in frame.columns]
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{name}: two columns are called {twice!r}; rename one")
    if not frame.size:
        raise DataError(f"{name}: {frame.shape[0]} rows and {frame.shape[1]} columns; no table")
    return Read(frame, name, _title(name, frame, []), lambda row: f"row {row}")


# text ---------------------------------------------------------------------------------------------


def _read_text(pandas: Any, source: Source, found: layout.Layout, rows: int) -> Any:
    columns = _columns(pandas, source, found, rows, {})
    mixed = {name: str for name, column in columns.items() if len(column.kinds) > 1}
    if mixed:
        del columns
        columns = _columns(pandas, source, found, rows, mixed)
    return pandas.DataFrame({n: c.values(pandas) for n, c in columns.items()}, copy=False)


class _Column:
    """Values that come in parts; numbers in an array of all rows, or it would be there twice."""

    def __init__(self, rows: int) -> None:
        self.kinds = set[str]()  # "number", "bool", "text"
        self._rows, self._done = rows, 0
        self._places: dict[str, int] = {}
        self._array: NDArray[Any] = np.zeros(0, np.uint8)

    def add(self, kind: str, part: Any) -> None:
        """kind "": no value in it. part: numbers, or a pandas.Categorical."""
        if kind:
            self.kinds.add(kind)
        is_text = kind in ("bool", "text")
        if is_text:
            names = [str(text) for text in part.categories]
            own = [self._places.setdefault(name, len(self._places)) for name in names]
            part = np.array([*own, -1], np.int32)[part.codes]
        if self._places:  # what came before has no value, or the column will be read again
            part = part if is_text else np.full(len(part), -1, np.int32)
            if self._array.dtype != np.int32:
                self._array = np.full(self._rows, -1, np.int32)
        elif not self._done:
            self._array = np.empty(self._rows, part.dtype)
        else:
            wide = np.promote_types(self._array.dtype, part.dtype)
            self._array = self._array.astype(wide, copy=False)
        end = self._done + len(part)
        self._array[self._done : end] = part
        self._done = end

    def values(self, pandas: Any) -> Any:
        if not self._places:
            return self._array
        texts = pandas.Index(list(self._places), dtype=object)
        return pandas.Categorical.from_codes(self._array, categories=texts)


def _columns(
    pandas: Any, source: Source, found: layout.Layout, rows: int, types: dict[str, Any]
) -> dict[str, _Column]:
    names = list(found.names)
    columns = {name: _Column(rows) for name in names}
    try:
        with (
            source.open() as stream,
            pandas.read_csv(
                stream,
                sep=r"\s+" if found.separator == " " else found.separator,
                decimal=found.decimal,
                header=0 if found.header else None,
                names=names,
                index_col=False,
                dtype=types,
                na_values=["?"],
                skipinitialspace=True,
                **_exact_floats(pandas),
                encoding="utf-8",
                low_memory=False,
                chunksize=max(_ROWS, _CELLS // len(names)),
            ) as reader,
        ):
            for frame in reader:
                for name, series in frame.items():
                    columns[name].add(*_part(pandas, series))
    except MemoryError:
        raise
    except (pandas.errors.ParserError, ValueError, OverflowError) as error:
        words = re.sub(r"^Error tokenizing data\. C error: ", "", str(error))
        raise DataError(f"{source.name}: not a table ({brief(words, 150)})") from None
    return columns


def _exact_floats(pandas: Any) -> dict[str, str]:
    """What makes numbers those that Python's float reads: since 3.1 they are anyway."""
    version = tuple(int(part) for part in pandas.__version__.split(".")[:2])
    return {} if version >= (3, 1) else {"float_precision": "round_trip"}


def _part(pandas: Any, series: Any) -> tuple[str, Any]:
    kind = series.dtype.kind
    if kind in "iu":
        return "number", _small(series.to_numpy())
    if kind == "f":
        values = series.to_numpy()
        return ("" if np.isnan(values).all() else "number"), values
    if kind == "b":
        return "bool", pandas.Categorical(series.astype(str))
    if series.isna().all():
        return "", np.full(len(series), np.nan)
    values = series.astype("category")
    if all(isinstance(value, bool) for value in values.cat.categories):
        return "bool", pandas.Categorical(values.cat.rename_categories(str))
    return "text", pandas.Categorical(values)


def _small(values: NDArray[Any]) -> NDArray[Any]:
    """Integers in the smallest type that holds them."""
    low, high = int(values.min()), int(values.max())
    for dtype in (np.uint8, np.int16, np.int32, np.int64, np.uint64):
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return values.astype(dtype)
    return values
