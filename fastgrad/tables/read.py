"""Tables: a path in; a pandas DataFrame, and how it was found in the file, out.

pandas reads; it is imported here when a table is read, and by nothing else of fastgrad's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from .._files import path_text
from .._ops.numbers import brief
from . import layout
from . import text as _text
from .errors import DataError, counted
from .source import MAX_BYTES, STDIN, Source, checked_file, named

TEXT = (".csv", ".tsv", ".txt", ".data")
BINARY = (".parquet", ".feather")
PACKED = (".gz", ".zip")  # of one text file
SUFFIXES = (*TEXT, *PACKED, *BINARY)
READABLE = f"{', '.join(SUFFIXES)} can be read, or - for text from standard input"
Where = Callable[[int], str]  # a row -> the place, for people


@dataclass(frozen=True)
class Read:
    """A table and where it came from. frame: a pandas.DataFrame; title: what was found, as a line;
    where: a row -> its place in the file, for people; header: whether there was one; remarks: what
    was found and is not usual, which the title has as well."""

    frame: Any
    name: str
    title: str
    where: Where
    header: bool = True
    remarks: tuple[str, ...] = ()


def is_table(path: str) -> bool:
    """Whether the name of a file is that of a table."""
    return path == STDIN or path.lower().endswith(SUFFIXES)


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
    """The table in a .csv, .tsv, .txt, .data, .parquet, .feather file, or a .gz or .zip of text;
    "-": text from standard input.

    What is None is found out. A file that cannot be read, or only wrongly, is a DataError.
    separator: one character, " " for any blanks. decimal: "." or ",". header: whether line 1 names
    the columns; else they are called 1, 2, 3, ... drop: of columns that will not be used, so that
    they need no name. least: columns, fewer are an error. known: names that a header is known by.
    """
    text = path_text("read_table", "path", path)
    name = named(text)
    if not is_table(text):
        raise DataError(f"{name}: no table; {READABLE}")
    binary = text.lower().endswith(BINARY)
    checked_file(text, MAX_BYTES)
    pandas = _pandas(name)
    if binary:
        return _read_binary(pandas, text, name)
    source = Source(path)
    try:
        found = layout.find(name, source.head(), separator, decimal, header, least, drop, known)
    except DataError:
        source.check_bytes()  # what is no text is told first
        raise
    frame = _text.read(pandas, source, found)
    remarks = list(found.remarks)
    if source.encoding != "UTF-8":
        remarks.append(source.encoding)
    return Read(
        frame, name, _title(name, frame, remarks),
        lambda row: f"line {source.line_of(row, found.separator, found.header)}",
        found.header, tuple(remarks),
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
    if frame.index.names != [None] and not isinstance(frame.index, pandas.RangeIndex):
        frame = frame.reset_index()  # columns that pandas was told to index rows by
    frame.columns = [str(column) for column in frame.columns]
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{name}: two columns are called {twice!r}; rename one")
    if not frame.size:
        raise DataError(f"{name}: {frame.shape[0]} rows and {frame.shape[1]} columns; no table")
    return Read(frame, name, _title(name, frame, []), lambda row: f"row {row}")
