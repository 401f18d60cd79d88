"""The column that is learned: which it is, whether its values are classes or numbers; y, and back.

Classes are known to a model by their numbers in the order of their names; numbers of a regression
are standardised as inputs are, and given back in their own unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._ops.numbers import shown
from . import values as _values
from .columns import Where
from .errors import DataError, counted, listed, no_column
from .sums import mean_and_deviation
from .values import Days, Numbers, Texts, Values

CLASSIFICATION, REGRESSION = "classification", "regression"
TASKS = (CLASSIFICATION, REGRESSION)
# Names that say it, those of one line being as good as each other
NAMES = (("target", "label", "labels", "class"), ("y",))
FEW = 20  # whole numbers of up to so many different values are classes
ROWS = 50  # of more values they are, where each has so many rows on average
MAX_CLASSES = 65_536


@dataclass(frozen=True)
class Target:
    """kind of classes: "integer" (Python's int), "number" (float) or "text"."""

    name: str
    task: str
    classes: tuple[str, ...] = ()
    kind: str = "text"
    center: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Of a network that learns it."""
        return max(2, len(self.classes)) if self.task == CLASSIFICATION else 1

    def encode(self, values: Values, where: Where) -> NDArray[Any]:
        """Class numbers (N,) int64, or standardised numbers (N,) float64."""
        if self.task == REGRESSION:
            numbers = _full(self.name, _numbers(self.name, values, where), where)
            return (numbers.astype(np.float64) - self.center) / self.scale
        texts = _values.as_texts(values)
        known = {name: i for i, name in enumerate(self.classes)}
        lookup = np.array([known.get(name, -1) for name in _same(texts.names, self.kind)], np.int64)
        _check_full(self.name, texts.codes < 0, where)
        classes: NDArray[np.int64] = lookup[texts.codes]
        if (classes < 0).any():
            row = int(np.argmin(classes))
            raise DataError(
                f"{where(row)}, {_title(self.name)}: {shown(texts.names[texts.codes[row]])} "
                f"is none of the model's classes ({listed(self.classes)})"
            )
        return classes

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """What a model predicts, (N,) or (N, 1), as the names of classes or in the own unit."""
        flat = np.asarray(outputs).reshape(len(outputs), -1)[:, 0]
        if self.task == REGRESSION:
            return flat.astype(np.float64) * self.scale + self.center
        convert: Any = {"integer": int, "number": float}.get(self.kind, str)
        return np.array([convert(name) for name in self.classes])[flat.astype(np.int64)]

    def described(self) -> str:
        if self.task == REGRESSION:
            return ""
        n = len(self.classes)
        words = f"{n} classes" if n != 1 else "1 class"
        if n <= 6 and self.kind == "text":
            return f"{words}: {', '.join(map(_brief, self.classes))}"
        return f"{words}, {_brief(self.classes[0])} to {_brief(self.classes[-1])}"


def _number(value: float) -> str:
    return _values.plain(value) if value == int(value) else f"{value:.6g}"


def _title(name: str) -> str:
    """Of a table's column; of an array, which has no name."""
    return f"column {shown(name)}" if name else "y"


def _brief(name: str) -> str:
    return shown(name)[1:-1]


def choose(
    name: str, columns: list[str], given: str | None, classy: list[str] | None
) -> tuple[str, str]:
    """The target of ``columns``, and why, if that was a guess. classy: of the columns, those whose
    values could be classes; None: the last will do. One that stands in the middle is not guessed,
    as classes stand first or last; and y beside x may be no more than where a thing is."""
    if given is not None:
        if given not in columns:
            raise DataError(f"{name}: {no_column(given, columns)}")
        return given, ""
    for names in NAMES:
        found = [column for column in columns if column.lower() in names]
        if found and classy is not None and names == ("y",) and is_place(columns):
            classy, found = [*found, *(c for c in classy if c not in found)], []
        if len(found) > 1:
            places = " or ".join(f"{shown(c)} (column {columns.index(c) + 1})" for c in found[:2])
            raise DataError(f"{name}: to learn is {places}; say which with --target COLUMN")
        if found:
            return found[0], ""
    if classy is None:
        return columns[-1], ""
    if len(classy) == 1 and classy[0] in (columns[0], columns[-1]):
        return classy[0], "the one column that looks like classes; --target chooses another"
    what = f"{listed(classy)} could each be it" if len(classy) > 1 else "none looks like classes"
    if len(classy) == 1:
        what = f"{listed(classy)}, which could be it, stands neither first nor last"
    raise DataError(
        f"{name}: no column is called {', '.join(sum(NAMES, ()))}, and {what}; say which "
        f"is to be learned with --target COLUMN (columns: {listed(columns, 12)})"
    )


def is_place(columns: list[str]) -> bool:
    """Whether y is likely the second coordinate: there is an x, and y is not the last column."""
    return any(name.lower() == "x" for name in columns) and columns[-1].lower() != "y"


def is_classy(values: Values) -> bool:
    """Whether the values look like classes: texts, or few whole numbers."""
    if isinstance(values, Texts):
        n = len(values.counts())
        return 2 <= n <= max(2, len(values.codes) // 2) and not _values.date_formats(values)
    if isinstance(values, Days):
        return False
    return _few_whole(values) is not None


def learn(
    file: str,
    name: str,
    values: Values,
    task: str | None,
    where: Where,
    train: NDArray[np.int64] | None = None,
) -> tuple[Target, str]:
    """The target and how to say it. train: rows that numbers are standardised by; None: all."""
    title = _title(name)
    if task is None:
        texts = isinstance(values, Texts) and isinstance(_values.as_numbers(values), str)
        task = CLASSIFICATION if texts or _few_whole(values) is not None else REGRESSION
    if task == CLASSIFICATION:
        target = _classes(name, f"{file}: {title}", values, where)
        return target, f"{title}, {target.described()}"
    numbers = _full(name, _numbers(name, values, where), where)
    learned = numbers if train is None else numbers[train]
    mean, deviation = mean_and_deviation(learned)
    if not deviation:
        raise DataError(
            f"{file}: {title}: is {_values.plain(mean)} in every row; nothing can be learned"
        )
    target = Target(name, REGRESSION, center=mean, scale=deviation)
    low, high = (_number(float(v)) for v in (numbers.min(), numbers.max()))
    text = f"{title}, numbers from {low} to {high}: a regression"
    return target, text


def _classes(name: str, title: str, values: Values, where: Where) -> Target:
    if isinstance(values, Days):
        raise DataError(f"{title}: dates are no classes; choose another --target")
    numbers = values.present() if isinstance(values, Numbers) else np.zeros(0)
    kind = "text"
    if isinstance(values, Numbers):
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            raise DataError(f"{title}: holds an infinite number; it can be no class")
        whole = numbers.dtype.kind in "iu" or bool(
            np.all((numbers == np.floor(numbers)) & (np.abs(numbers) < _values.WHOLE))
        )
        kind = "integer" if whole else "number"
    texts = _values.as_texts(values)
    _check_full(name, texts.codes < 0, where)
    counts = texts.counts()
    if isinstance(values, Numbers):
        counts = {key: counts[key] for key in sorted(counts, key=float)}
    if len(counts) == 1:
        only = shown(next(iter(counts)))
        raise DataError(f"{title}: is {only} in every row; nothing can be learned")
    single = sum(n == 1 for n in counts.values())
    if single > 2 and 2 * single > len(counts):
        what = f"{single} of {len(counts)} classes have one row"
        way = "choose another --target COLUMN"
        if isinstance(values, Texts) and (marked := _values.marked(values)) is not None:
            way = f"{shown(marked)} is no plain number: write it as 1234.5"
        if kind != "text":
            way = "for a number to be learned pass --task regression"
        raise DataError(f"{title}: {what}; {way}")
    if len(counts) > MAX_CLASSES:
        raise DataError(f"{title}: {len(counts)} classes; {MAX_CLASSES} is the limit")
    return Target(name, CLASSIFICATION, tuple(counts), kind)


def _same(names: tuple[str, ...], kind: str) -> list[str]:
    """Names of classes as the target has them, where a file has 1.0 for 1."""
    if kind == "text":
        return list(names)
    found = []
    for name in names:
        number = None if name.lstrip("-").isdigit() else _values.number_of(name)
        found.append(name if number is None or not math.isfinite(number) else _values.plain(number))
    return found


def _few_whole(values: Values) -> int | None:
    """How many different whole numbers there are, if few enough to be classes; else None."""
    if not isinstance(values, Numbers):
        return None
    present = values.present()
    if present.size == 0 or not np.isfinite(present).all():
        return None
    if present.dtype.kind == "f" and not np.all(present == np.floor(present)):
        return None
    n = len(np.unique(present))
    if n <= FEW or n * ROWS <= present.size:
        return n
    counts_up = present.min() == 0 and present.max() == n - 1  # 0, 1, 2, ...: class numbers
    return n if counts_up and 5 * n <= present.size else None


def _numbers(name: str, values: Values, where: Where) -> NDArray[Any]:
    found = _values.as_numbers(values)
    if isinstance(found, str):
        row = values.first(values.names.index(found)) if isinstance(values, Texts) else 0
        raise DataError(
            f"{where(row)}, {_title(name)}: {shown(found)} is not a number, as a regression "
            f"needs; --task classification learns texts"
        )
    if found.values.dtype.kind == "f" and np.isinf(found.values).any():
        row = int(np.argmax(np.isinf(found.values)))
        value = found.values[row]
        raise DataError(f"{where(row)}, {_title(name)}: {value} is not a finite number")
    return found.values


def _full(name: str, numbers: NDArray[Any], where: Where) -> NDArray[Any]:
    if numbers.dtype.kind == "f":
        _check_full(name, np.isnan(numbers), where)
    return numbers


def _check_full(name: str, gaps: NDArray[np.bool_], where: Where) -> None:
    if gaps.any():
        row, n = int(np.argmax(gaps)), int(gaps.sum())
        raise DataError(
            f"{where(row)}, {_title(name)}: no value, and so in {counted(n, 'row')}; what is to be "
            f"learned must be there: leave these rows out of the file"
        )
