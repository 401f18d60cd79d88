"""What a table teaches: a table that was read and the user's wishes in; target, columns out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import shown
from . import columns as _columns
from . import target as _target
from . import values as _values
from .columns import DATE, MAX_TEXTS, NUMBER, TEXT, Ambiguous, Column, Found, TooManyTexts
from .errors import DataError, counted, listed, no_column, option
from .read import Read
from .values import Numbers, Texts, Values

# Names of columns that name rows: ID, customer_id, PassengerId, row, Unnamed: 0
_INDEX = re.compile(r"((.*[^a-z])?(id|index|nr|no|number)|row|rowid|unnamed: 0)")
_ROWS = 20  # of which a column of whole numbers one after another is taken for such a one
_ODD = (99, 999, 9999, 99999, 999999)  # that stand for a missing value in many files, or less 0


@dataclass(frozen=True)
class Choice:
    """Which column is learned, from which, and which are left out. guess: why that one, if nobody
    said."""

    target: str
    inputs: tuple[str, ...]
    dropped: tuple[str, ...]
    guess: str = ""


def choose(
    read: Read,
    target: str | None,
    columns: Iterable[str] | None,
    drop: Iterable[str],
    last: bool = False,
    weights: str | None = None,
) -> Choice:
    """last: where no name says which is the target, it is the last. weights: a column of them."""
    names = [str(name) for name in read.frame.columns]
    drop = tuple(drop)
    count = () if weights is None else (weights,)
    for option_name, given in (
        ("--columns", columns or ()),
        ("--drop", drop),
        ("--weights", count),
    ):
        for name in given:
            if name not in names:
                raise DataError(f"{read.name}: {no_column(name, names, option_name)}")
    for option_name, named in (("--columns", columns), ("--drop", drop), ("--target", (target,))):
        if weights is not None and weights in (named or ()):
            raise DataError(
                f"{read.name}: column {shown(weights)} is both in --weights and in {option_name}"
            )
    left = [name for name in names if name not in (*drop, weights)]
    classy = [] if target is not None else None if last else _classy(read, left)
    found, guess = _target.choose(read.name, left, target, classy)
    wanted = left if columns is None else list(columns)
    inputs = tuple(name for name in left if name in wanted and name != found)
    if not inputs:
        raise DataError(f"{read.name}: no column is left to learn from beside {shown(found)}")
    if columns is None:
        _refuse_indices(read, inputs)
    used = {*inputs, found, weights}
    return Choice(found, inputs, tuple(name for name in names if name not in used), guess)


def _classy(read: Read, names: list[str]) -> list[str]:
    known = sum(_target.NAMES[: 1 if _target.is_place(names) else 2], ())
    if any(name.lower() in known for name in names):
        return []  # not needed
    return [name for name in names if _target.is_classy(_values.of(read.frame[name]))]


def _refuse_indices(read: Read, inputs: tuple[str, ...]) -> None:
    """A column that only numbers the rows would be learned by heart."""
    for name in inputs:
        if getattr(read.frame[name].dtype, "kind", "O") not in "iuf":
            continue
        values = _values.of(read.frame[name])
        if not isinstance(values, Numbers) or not _all_different(values.values):
            continue
        numbers = values.values
        span = int(numbers.max()) - int(numbers.min())
        in_turn = len(numbers) >= _ROWS and span == len(numbers) - 1
        if in_turn or _INDEX.fullmatch(_words(name)):
            raise DataError(
                f"{read.name}: column {shown(name)} numbers the rows, and says nothing of other "
                f"rows; leave it out (--drop {option([name])}), or name all inputs with --columns"
            )


def _all_different(numbers: NDArray[Any]) -> bool:
    """Whether they are whole, and no two the same."""
    n = len(numbers)
    if numbers.dtype.kind == "f" and not np.all(np.isfinite(numbers)):
        return False
    if n == 0 or int(numbers.max()) - int(numbers.min()) < n - 1:
        return False
    return bool(np.all(numbers == np.floor(numbers))) and len(np.unique(numbers)) == n


def _words(name: str) -> str:
    """PassengerId -> passenger_id"""
    return re.sub(r"([a-z])(I[dD]|N[or])$", r"\1_\2", name).lower()


def columns(
    read: Read,
    series: dict[str, Any],
    train: NDArray[np.int64],
    standardize: bool,
    dtype: np.dtype[Any],
) -> list[Found]:
    """The inputs of all rows, as the training rows teach to read them. series: pandas' by name,
    taken out one by one, so that their memory is free."""
    found, many = list[Found](), list[tuple[str, int]]()
    for name in list(series):
        values = _values.of(series.pop(name))
        _check(read, name, values)
        try:
            column = _columns.learn(name, values, train, standardize, dtype)
        except TooManyTexts as error:
            many.append((name, error.args[0]))
            continue
        except Ambiguous as error:
            raise DataError(
                f"{read.name}: column {shown(name)}: which is the day and which the month of "
                f"{shown(error.args[0])} cannot be told; write it as 2024-12-31, or leave it out "
                f"(--drop {option([name])})"
            ) from None
        read_as = _columns.find(column, values, lambda row: f"{read.name}: {read.where(row)}")
        if not standardize:
            _check_range(read, read_as, dtype)
        read_as.note = _note(name, values)
        found.append(read_as.written(dtype))
    if many:
        names, most = [name for name, _ in many], max(n for _, n in many)
        what = f"up to {MAX_TEXTS} are one-hot encoded"
        if most <= MAX_TEXTS:
            what = "nearly every row has its own"
        raise DataError(
            f"{read.name}: column {listed(names)}: {most} different texts; {what}; leave out what "
            f"names rows (--drop {option(names)})"
        )
    return found


def _note(name: str, values: Values) -> str:
    """Of numbers that may be none."""
    if not isinstance(values, Numbers) or not len(present := values.present()):
        return ""
    if len(present) >= _ROWS and present.dtype.kind in "iu" and _all_different(present):
        return (
            f"{shown(name)} is a different whole number in every row; if it names rows, leave it "
            f"out (--drop {option([name])})"
        )
    for odd in (float(present.min()), float(present.max())):
        if abs(odd) in _ODD:
            rest = present[present != odd]
            rows = len(present) - len(rest)
            if rows > 1 and len(rest) and abs(odd) > 3 * float(np.abs(rest).max()):
                return (
                    f"{shown(name)} is {_values.plain(odd)} in {rows} rows, far from all others; "
                    f"if that stands for no value, leave these cells empty"
                )
    return ""


def _check(read: Read, name: str, values: Values) -> None:
    """Columns without any value, texts among numbers, numbers that are infinite."""
    if isinstance(values, Texts):
        counts = values.counts()
        empty = not counts
        numbers = {text for text in counts if _values.number_of(text) is not None}
        marked = _values.marked(values)
        if marked is not None:
            row = values.first(values.names.index(marked))
            raise DataError(
                f"{read.name}: {read.where(row)}, column {shown(name)}: {shown(marked)} is no "
                f"plain number; write it as 1234.5, or leave the column out "
                f"(--drop {option([name])})"
                f"{_of_comma(marked)}"
            )
        if 2 * sum(counts[text] for text in numbers) > sum(counts.values()) > 0:
            strange = [code for code, text in enumerate(values.names) if text in counts]
            bad = [code for code in strange if values.names[code] not in numbers]
            if bad:
                row = min(values.first(code) for code in bad)
                text = values.names[values.codes[row]]
                raise DataError(
                    f"{read.name}: {read.where(row)}, column {shown(name)}: {shown(text)} is not a "
                    f"number, as others there are; leave the cell empty if it is missing, or the "
                    f"column out (--drop {option([name])}){_of_comma(text)}"
                )
    else:
        numbers_there = values.values
        empty = numbers_there.dtype.kind == "f" and bool(np.isnan(numbers_there).all())
        if isinstance(values, Numbers):
            _columns.check_finite(name, values, lambda row: f"{read.name}: {read.where(row)}")
    if empty:
        raise DataError(
            f"{read.name}: column {shown(name)} is empty; leave it out (--drop {option([name])})"
        )


def _of_comma(text: str) -> str:
    is_comma = re.fullmatch(r"[-+]?\d*,\d+", text) is not None
    return "; if its comma is the decimal mark, pass --decimal comma" if is_comma else ""


def _check_range(read: Read, found: Found, dtype: np.dtype[Any]) -> None:
    column = found.column
    if column.kind == NUMBER and not _is_standardized(column):
        large = np.abs(found.values.astype(np.float64)) > float(np.finfo(dtype).max)
        if large.any():
            row = int(np.argmax(large))
            raise DataError(
                f"{read.name}: {read.where(row)}, column {shown(column.name)}: "
                f"{found.values[row]} is too large for {dtype.name}; leave --no-standardize out"
            )


# what is said -------------------------------------------------------------------------------------


def described(found: list[Found], dropped: Iterable[str], standardize: bool) -> list[str]:
    """A line for everything that was done to the inputs."""
    columns = [f.column for f in found]
    width = sum(column.width for column in columns)
    numbers = [column for column in columns if column.kind == NUMBER]
    texts = [column for column in columns if column.kind == TEXT]
    dates = [column for column in columns if column.kind == DATE]
    lines = [f"inputs: {counted(len(columns), 'column')} as {counted(width, 'number')}"]
    if numbers and standardize:
        lines.append(
            f"standardised: {counted(len(numbers), 'column')} of numbers, by mean and deviation of "
            f"the training rows (--no-standardize leaves them as they are)"
        )
    elif any(_is_standardized(column) for column in numbers):
        names = listed(column.name for column in numbers if _is_standardized(column))
        lines.append(f"standardised all the same: {names}, whose numbers float32 would merge")
    if texts:
        parts = ", ".join(f"{shown(column.name)} {column.width}" for column in texts[:8])
        more = f" and {len(texts) - 8} more" if len(texts) > 8 else ""
        lines.append(f"one-hot: {parts}{more} texts (up to {MAX_TEXTS} a column)")
    if dates:
        names = listed(column.name for column in dates)
        lines.append(f"dates: {names}, as days since 1970-01-01, standardised")
    lines += filled(found)
    lines += [f"note: {f.note}" for f in found if f.note][:8]
    dropped = list(dropped)
    if dropped:
        lines.append(f"left out: {listed(dropped)}")
    return lines


def _is_standardized(column: Column) -> bool:
    return column.center != 0.0 or column.scale != 1.0


def filled(found: list[Found]) -> list[str]:
    lines = []
    gaps = [f for f in found if f.missing and f.column.kind != TEXT]
    if gaps:
        parts = [f"{shown(f.column.name)} {f.missing} by {f.column.fill:.6g}" for f in gaps[:5]]
        more = f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
        lines.append(f"filled: missing values by the mean, {', '.join(parts)}{more}")
    gaps = [f for f in found if f.missing and f.column.kind == TEXT]
    if gaps:
        parts = [f"{shown(f.column.name)} {f.missing}" for f in gaps[:5]]
        more = f" and {len(gaps) - 5} more" if len(gaps) > 5 else ""
        lines.append(f"missing texts: {', '.join(parts)}{more}, are 0 in all of their columns")
    return lines


def unknown(found: list[Found], rows: NDArray[np.int64] | None = None) -> list[str]:
    """What the training rows had not; ``rows``: of these alone."""
    some = [f for f in found if f.unknown]
    if not some:
        return []
    n = sum(f.unknown for f in some)
    example = f"{shown(some[0].example)} in {shown(some[0].column.name)}"
    return [f"unknown: {counted(n, 'text')} that the training rows have not, such as {example}"]
