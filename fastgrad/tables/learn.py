"""What a table teaches: a table that was read and the user's wishes in; target, columns out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import shown
from . import columns as _columns
from . import target as _target
from . import values as _values
from .columns import DATE, MAX_TEXTS, NUMBER, TEXT, Column, Found, TooManyTexts
from .errors import DataError, counted, listed, option
from .read import Read
from .values import Numbers, Texts, Values

_INDEX = (
    "id",
    "index",
    "row",
    "rowid",
    "row_id",
    "unnamed: 0",
)  # names of columns that number rows
_ROWS = 20  # of which a column that counts 1, 2, 3, ... is taken for such a one


@dataclass(frozen=True)
class Choice:
    """Which column is learned, from which, and which are left out."""

    target: str
    inputs: tuple[str, ...]
    dropped: tuple[str, ...]


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
        absent = [name for name in given if name not in names]
        if absent:
            raise DataError(
                f"{read.name}: {option_name}: no column named {listed(absent)} "
                f"(columns: {listed(names)})"
            )
    for option_name, named in (("--columns", columns), ("--drop", drop), ("--target", (target,))):
        if weights is not None and weights in (named or ()):
            raise DataError(
                f"{read.name}: column {shown(weights)} is both in --weights and in {option_name}"
            )
    left = [name for name in names if name not in (*drop, weights)]
    classy = [] if target is not None else left[-1:] if last else _classy(read, left)
    found = _target.choose(read.name, left, target, classy)
    wanted = left if columns is None else list(columns)
    inputs = tuple(name for name in left if name in wanted and name != found)
    if not inputs:
        raise DataError(f"{read.name}: no column is left to learn from beside {shown(found)}")
    if columns is None:
        _refuse_indices(read, inputs)
    used = {*inputs, found, weights}
    return Choice(found, inputs, tuple(name for name in names if name not in used))


def _classy(read: Read, names: list[str]) -> list[str]:
    if any(name.lower() in known for name in names for known in _target.NAMES):
        return []  # not needed
    return [name for name in names if _target.is_classy(_values.of(read.frame[name]))]


def _refuse_indices(read: Read, inputs: tuple[str, ...]) -> None:
    """A column that only numbers the rows would be learned by heart."""
    for name in inputs:
        if getattr(read.frame[name].dtype, "kind", "O") not in "iuf":
            continue
        values = _values.of(read.frame[name])
        numbers = values.values if isinstance(values, Numbers) else np.zeros(0)
        if len(numbers) == 0 or not np.all(np.isfinite(numbers) & (numbers == np.floor(numbers))):
            continue
        if name.lower() in _INDEX:
            is_index = len(np.unique(numbers)) == len(numbers)
        else:
            counts = numbers[0] in (0, 1) and bool(np.all(np.diff(numbers.astype(float)) == 1))
            is_index = counts and len(numbers) >= _ROWS
        if is_index:
            raise DataError(
                f"{read.name}: column {shown(name)} numbers the rows, and says nothing of other "
                f"rows; leave it out (--drop {option([name])}), or name all inputs with --columns"
            )


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
            column = _columns.learn(name, values.take(train), standardize, dtype)
        except TooManyTexts as error:
            many.append((name, error.args[0]))
            continue
        read_as = _columns.find(column, values, lambda row: f"{read.name}: {read.where(row)}")
        if not standardize:
            _check_range(read, read_as, dtype)
        found.append(read_as.written(dtype))
    if many:
        names = [name for name, _ in many]
        raise DataError(
            f"{read.name}: column {listed(names)}: {max(n for _, n in many)} different texts; up "
            f"to {MAX_TEXTS} are one-hot encoded; leave out what names rows "
            f"(--drop {option(names)})"
        )
    return found


def _check(read: Read, name: str, values: Values) -> None:
    """Columns without any value, texts among numbers, numbers that are infinite."""
    if isinstance(values, Texts):
        counts = values.counts()
        empty = not counts
        numbers = {text for text in counts if _is_number(text)}
        if 2 * sum(counts[text] for text in numbers) > sum(counts.values()) > 0:
            strange = [code for code, text in enumerate(values.names) if text in counts]
            bad = [code for code in strange if values.names[code] not in numbers]
            if bad:
                row = min(values.first(code) for code in bad)
                text = values.names[values.codes[row]]
                raise DataError(
                    f"{read.name}: {read.where(row)}, column {shown(name)}: {shown(text)} is not a "
                    f"number, as others there are; leave the cell empty if it is missing, or the "
                    f"column out (--drop {option([name])})"
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


def _is_number(text: str) -> bool:
    return isinstance(_values.as_numbers(Texts(np.zeros(1, np.int64), (text,))), Numbers)


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
