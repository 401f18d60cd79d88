"""How a text file is laid out: its first lines in; separator, decimal mark, header out.

A comma is decimal where it separates nothing and no number has a point. The first row is no header
if it has a number or a gap in it, or if its texts are values of the columns below.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass

from .errors import DataError, counted, listed

SEPARATORS = {"tab": "\t", "semicolon": ";", "pipe": "|", "comma": ",", "space": " "}
MISSING = frozenset(("", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>"))
_LINES = 200  # that the layout is found by
MAX_COLUMNS = 100_000
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
        raise DataError(f"{name}: empty; there is nothing to learn from")
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
        raise DataError(
            f"{name}: one column, {first[0][:40]!r}; a table has a column to learn and one or more "
            f"to learn from (--separator says what is between them)"
        )
    if decimal is None:
        decimal = _decimal(rows, separator)
    if decimal != ".":
        remarks.append("decimal commas")
    if header is None and 2 * sum(cell in known for cell in first) > len(first):
        header = True
    if header is None:
        header = _is_header(name, rows, decimal)
    if not header:
        remarks.append("no header")
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
        texts = [i for i in range(len(first)) if i not in (*gaps, *numbers) and numeric[i]]
        if texts and below:
            what = repr(first[numbers[0]]) if numbers else "a gap"
            raise DataError(
                f"{name}: line 1 has {what} in it and so is no header, but {first[texts[0]]!r} "
                f"above numbers in column {texts[0] + 1}; if it names the columns, pass --header"
            )
        return False
    if below and not any(numeric):
        known = sum(cell in column for cell, column in zip(first, columns, strict=True))
        return not known or 2 * known < len(first)
    return True


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
