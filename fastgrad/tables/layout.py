"""How a text file is laid out: its first lines in; separator, decimal mark, header out.

A comma is decimal where it separates nothing and no number has a point. The first row is no header
if it has a number or a gap in it, or if its texts are values of the columns below.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass

from .._ops.numbers import shown
from .errors import DataError, counted, listed

SEPARATORS = {"tab": "\t", "semicolon": ";", "pipe": "|", "comma": ",", "space": " "}
MISSING = frozenset(("", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>"))
_LINES = 200  # that the layout is found by
MAX_COLUMNS = 100_000
NO_HEADER = "no header"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.I)
_COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Layout:
    """names: of all columns; of a file without a header 1, 2, 3, ..."""

    separator: str
    decimal: str
    header: bool
    names: tuple[str, ...]
    remarks: tuple[str, ...] = ()  # what was found out and is not usual


def find(
    name: str,
    text: str,
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    least: int = 2,
    drop: Collection[str] = (),
    known: Collection[str] = (),
) -> Layout:
    """``text``: whole lines. What is not None is not looked for. least: columns of a table. drop:
    columns that will not be used; one without a name is called as pandas calls it. known: names
    that a header is known by."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{name}: empty; there is no table in it")
    remarks = list[str]()
    if separator is None:
        separator = _separator(lines[:_LINES])
        if separator != ",":
            word = next(key for key, value in SEPARATORS.items() if value == separator)
            remarks.append(f"separated by {word}s" if len(lines[0].split(separator)) > 1 else "")
    rows = _rows(text, separator)
    first = rows[0]
    if len(first) > MAX_COLUMNS:
        raise DataError(f"{name}: {len(first)} columns; {MAX_COLUMNS} is the limit")
    if len(first) < least:
        below = lines[1:_LINES]
        if below:  # the separator was looked for in line 1 too
            _check_first(name, [first, *_rows("\n".join(below), _separator(below))])
        raise DataError(
            f"{name}: one column, {first[0][:40]!r}; a table has a column to learn and one or more "
            f"to learn from (--separator says what is between them)"
        )
    _check_first(name, rows)
    if decimal is None:
        decimal = _decimal(rows, separator)
    if decimal != ".":
        remarks.append("decimal commas")
    if header is None and 2 * sum(cell in known for cell in first) > len(first):
        header = True
    if header is None:
        header = _is_header(name, rows, decimal)
    if not header:
        remarks.append(NO_HEADER)
        names = tuple(str(i + 1) for i in range(len(first)))
    else:
        names = _names(name, rows, drop)
    return Layout(separator, decimal, header, names, tuple(filter(None, remarks)))


def _rows(text: str, separator: str) -> list[list[str]]:
    lines = text.splitlines(keepends=True)[: 4 * _LINES]
    if separator == " ":
        return [line.split() for line in lines if line.strip()][:_LINES]
    try:
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        rows = [[cell.strip() for cell in row] for row in reader if any(map(str.strip, row))]
    except csv.Error:  # a cell of more than 131,072 characters: an unclosed quote, told later
        rows = []
    return rows[:_LINES] or [[cell.strip() for cell in lines[0].split(separator)]]


def _separator(lines: list[str]) -> str:
    """The one that every line has as often; else the one that they have most of."""
    plain = [re.sub(r'"[^"]*"', "", line) for line in lines]
    best, most = ",", 0.0
    for separator in SEPARATORS.values():
        if separator == " ":
            continue
        counts = [line.count(separator) for line in plain]
        if counts[0] and min(counts) == max(counts):
            return separator
        common = sorted(counts)[len(counts) // 2]
        if counts[0] and common > most:
            best, most = separator, common
    if not most:
        words = [len(line.split()) for line in plain]
        if min(words) == max(words) > 1 and not any('"' in line for line in lines):
            return " "
    return best


def _decimal(rows: list[list[str]], separator: str) -> str:
    if separator == ",":
        return "."
    cells = [cell for row in rows for cell in row]
    if any(map(_POINT_NUMBER.fullmatch, cells)):
        return "."
    return "," if any(map(_COMMA_NUMBER.fullmatch, cells)) else "."


def _check_first(name: str, rows: list[list[str]]) -> None:
    """DataErrors for a first row that is no part of the table, or that lacks a name."""
    first, widths = rows[0], {len(row) for row in rows[1:]}
    if len(rows) < 3 or len(widths) != 1:
        return  # rows of other widths are told by line
    width = widths.pop()
    filled = [cell for cell in first if cell]
    above = len(first) < width or (width > 2 and all(rows[1]))
    if width > 1 and len(filled) == 1 and above:
        raise DataError(
            f"{name}: line 1 has one value, {shown(filled[0])}, but the lines below have {width} "
            f"columns; take out what stands above the table"
        )
    if width == len(first) + 1:
        what = "its last cell is empty: is there a separator too many at the end of lines?"
        if any(row[-1] for row in rows[1:]):
            what = "if the first column has the names of rows, give it a name in line 1 too"
        raise DataError(
            f"{name}: line 1 has {counted(len(first), 'column')} but the lines below have {width}; "
            f"{what}"
        )
    if len(first) > 1 and all(len(c) > 2 and c[0] == c[-1] == "'" for c in first):
        raise DataError(f"{name}: names are in single quotes; use double quotes, or none")


def is_number(cell: str, decimal: str = ".") -> bool:
    if decimal != ".":
        cell = cell.replace(decimal, ".")
    return _NUMBER.fullmatch(cell.strip()) is not None


def _is_header(name: str, rows: list[list[str]], decimal: str) -> bool:
    first, below = rows[0], rows[1:]
    gaps = [i for i, cell in enumerate(first) if cell in MISSING]
    numbers = [i for i, cell in enumerate(first) if is_number(cell, decimal)]
    columns = [[row[i] for row in below if len(row) > i] for i in range(len(first))]
    numeric = [
        all(is_number(c, decimal) or c in MISSING for c in column)
        and any(is_number(c, decimal) for c in column)
        for column in columns
    ]
    if len(gaps) == 1 and not numbers and gaps[0] in (0, len(first) - 1) and first[gaps[0]] == "":
        return True  # an index of pandas, or a comma too many: told with the names
    if gaps or numbers:
        _check_no_header(name, first, gaps + numbers, columns, numeric)
        return False
    if below and not any(numeric):
        known = sum(cell in column for cell, column in zip(first, columns, strict=True))
        return not known or 2 * known < len(first)
    return True


def _check_no_header(
    name: str, first: list[str], odd: list[int], columns: list[list[str]], numeric: list[bool]
) -> None:
    """A DataError where line 1, which has numbers or gaps in the columns ``odd``, may name them."""
    if not columns[0]:
        return
    what = repr(first[odd[0]]) if first[odd[0]] else "a gap"
    texts = [i for i in range(len(first)) if i not in odd]
    above = [i for i in texts if numeric[i]]
    if above:
        raise DataError(
            f"{name}: line 1 has {what} in it and so is no header, but {first[above[0]]!r} "
            f"above numbers in column {above[0] + 1}; if it names the columns, pass --header"
        )
    if len(first) > 2 and first in ([str(i + k) for i in range(len(first))] for k in (0, 1)):
        raise DataError(
            f"{name}: line 1 counts {first[0]} to {first[-1]}; pass --header if it names the "
            f"columns, --no-header if it is a row"
        )
    # texts that come again and again below, and none of which stands in line 1
    of_few = [i for i in texts if 2 * len(set(columns[i])) <= len(columns[i])]
    if of_few and not any(first[i] in columns[i] for i in texts):
        raise DataError(
            f"{name}: line 1 has {what} in it and so is no header, but {first[of_few[0]]!r} is no "
            f"value of column {of_few[0] + 1} below; pass --header if it names the columns, "
            f"--no-header if it is a row"
        )


def _names(name: str, rows: list[list[str]], drop: Collection[str]) -> tuple[str, ...]:
    below = rows[1:]
    first = [
        f"Unnamed: {i}" if not title and f"Unnamed: {i}" in drop else title
        for i, title in enumerate(rows[0])
    ]
    if not any(first):
        raise DataError(f"{name}: line 1 has no names in it; pass --no-header if it is a row")
    nameless = [i for i, title in enumerate(first) if not title]
    if nameless:
        i = nameless[0]
        what = f"column {i + 1} has no name"
        if all(not row[i] for row in below if len(row) > i):
            what += " and no values: is there a separator too many at the end of lines"
        elif i == 0:
            what = "the first column has no name: an index, as pandas' to_csv writes"
        raise DataError(f"{name}: {what}; leave it out with --drop 'Unnamed: {i}', or name it")
    twice = [title for title in dict.fromkeys(first) if first.count(title) > 1]
    if twice:
        places = [i + 1 for i, title in enumerate(first) if title == twice[0]][:2]
        more = f" ({counted(len(twice) - 1, 'more name')} likewise)" if len(twice) > 1 else ""
        raise DataError(
            f"{name}: columns {places[0]} and {places[1]} are both called {listed(twice[:1])}"
            f"{more}; rename one, or pass --no-header if line 1 is a row"
        )
    return tuple(first)
