"""One column of inputs: values of the training rows in; how it becomes numbers, and those, out.

number  (value - center) / scale in float64, a missing one filled
date    as days since 1970-01-01, likewise
text    one column a text, 1 where it is that; all 0 where it is missing, or unknown
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import shown
from . import values as _values
from .errors import DataError
from .sums import mean_and_deviation
from .values import Days, Numbers, Texts, Values

MAX_TEXTS = 100  # of a column that are one-hot encoded
ROWS = 20  # of which a column with a text of its own in most rows is taken to name them
NUMBER, DATE, TEXT = "number", "date", "text"
Where = Callable[[int], str]


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    center: float = 0.0
    scale: float = 1.0
    fill: float = 0.0  # what stands where a value is missing, of the column's own unit
    texts: tuple[str, ...] = ()
    format: str = ""  # of dates

    @property
    def width(self) -> int:
        return len(self.texts) if self.kind == TEXT else 1


@dataclass
class Found:
    """A column of some rows, as its Column reads it."""

    column: Column
    values: NDArray[Any]  # numbers; of texts the place in column.texts or -1
    missing: int = 0
    unknown: int = 0
    example: str = ""  # an unknown text
    is_written: bool = False  # values are those of x already
    note: str = ""  # what the user may want to know of the column

    def written(self, dtype: np.dtype[Any]) -> Found:
        """Floats as x will have them, of ``dtype``: half the memory of float64."""
        if self.column.kind == TEXT or self.values.dtype.kind != "f":
            return self
        with np.errstate(over="ignore"):
            values = _standardized(self.column, self.values).astype(dtype)
        return replace(self, values=values, is_written=True)


class TooManyTexts(Exception):
    """How many, and one of them: more than MAX_TEXTS, or nearly each in a row of its own."""


class Ambiguous(Exception):
    """A date whose day and month cannot be told apart, in any of the rows."""


def learn(
    name: str, values: Values, train: NDArray[np.int64], standardize: bool, dtype: np.dtype[Any]
) -> Column:
    """How a column is read; train: the rows that teach it."""
    if isinstance(values, Texts):
        values = values.take(train)
        forms = _values.date_formats(values)
        counts = values.counts()
        if len(forms) > 1:
            raise Ambiguous(next(iter(counts)))
        if not forms:
            single = sum(n == 1 for n in counts.values())
            if len(counts) > MAX_TEXTS or (len(counts) >= ROWS and 2 * single > len(values.codes)):
                raise TooManyTexts(len(counts), next(iter(counts)))
            return Column(name, TEXT, texts=tuple(counts))
        (form,) = forms
        days = _values.as_days(values, form)
        assert isinstance(days, Days)
        return _of_numbers(name, DATE, Numbers(days.values).present(), True, dtype, form)
    # one array of the training rows lives on: of a table with few columns it is a part of x
    present = Numbers(values.take(train).values).present()
    if isinstance(values, Days):
        return _of_numbers(name, DATE, present, True, dtype, "ISO8601")
    return _of_numbers(name, NUMBER, present, standardize, dtype)


def _of_numbers(
    name: str, kind: str, present: NDArray[Any], standardize: bool, dtype: np.dtype[Any],
    form: str = "",
) -> Column:  # fmt: skip
    if present.size == 0:  # in the training rows
        return Column(name, kind, format=form)
    mean, deviation = mean_and_deviation(present)
    if not (standardize or merges(present, dtype)):
        return Column(name, kind, fill=mean, format=form)
    return Column(name, kind, mean, deviation or 1.0, mean, format=form)


def merges(present: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether there are whole numbers that are different and would be the same in ``dtype``."""
    if dtype.itemsize == 8:
        return False
    if float(present.max()) < 2**24 and float(present.min()) > -(2**24):
        return False
    wide = np.unique(present.astype(np.float64))
    whole = present.dtype.kind in "iu" or bool(np.all(wide == np.floor(wide)))
    with np.errstate(over="ignore"):
        return whole and len(np.unique(wide.astype(dtype))) < len(wide)


def find(column: Column, values: Values, where: Where) -> Found:
    """The values of other rows as the column reads them; a DataError for what it cannot."""
    if column.kind == TEXT:
        return _places(column, _values.as_texts(values))
    if column.kind == DATE:
        days = _values.as_days(values, column.format)
        if isinstance(days, str):
            raise _bad(column, values, days, "a date as those that the model learned", where)
        return Found(column, days.values, int(np.isnan(days.values).sum()))
    found = _values.as_numbers(values, gaps=True)
    if isinstance(found, str):
        raise _bad(column, values, found, "a number", where)
    check_finite(column.name, found, where)
    return Found(column, found.values, len(found.values) - len(found.present()))


def check_finite(name: str, numbers: Numbers, where: Where) -> None:
    """Missing ones are allowed, infinite ones are not."""
    values = numbers.values
    if values.dtype.kind == "f":
        infinite = np.isinf(values)
        if infinite.any():
            row = int(np.argmax(infinite))
            raise DataError(
                f"{where(row)}, column {shown(name)}: {values[row]} is not a finite number"
            )


def _places(column: Column, texts: Texts) -> Found:
    known = {text: i for i, text in enumerate(column.texts)}
    lookup = np.array([*(known.get(name, -1) for name in texts.names), -1], np.int64)
    strange = {name: n for name, n in texts.counts().items() if name not in known}
    missing = int(np.count_nonzero(texts.codes < 0))
    return Found(
        column, lookup[texts.codes], missing, sum(strange.values()), next(iter(strange), "")
    )


def _bad(column: Column, values: Values, text: str, what: str, where: Where) -> DataError:
    row = values.first(values.names.index(text)) if isinstance(values, Texts) else 0
    return DataError(f"{where(row)}, column {shown(column.name)}: {shown(text)} is not {what}")


def write(found: Found, rows: NDArray[np.int64] | slice, out: NDArray[Any]) -> None:
    """The rows into out (rows, width), which is 0."""
    values, column = found.values[rows], found.column
    if column.kind == TEXT:
        known = np.flatnonzero(values >= 0)
        out[known, values[known]] = 1
        return
    out[:, 0] = values if found.is_written else _standardized(column, values)


def _standardized(column: Column, values: NDArray[Any]) -> NDArray[np.float64]:
    numbers = values.astype(np.float64)
    numbers[np.isnan(numbers)] = column.fill
    numbers -= column.center
    numbers /= column.scale
    return numbers
