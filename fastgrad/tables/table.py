"""What a model knows of the table that it learned from: a frame in, x and y out; outputs back.

It lies in the model's file, as JSON, and is never changed. A model trained on arrays has one as
well where its y were no class numbers: ``columns`` is None then, and x are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .._ops.numbers import shown
from . import columns as _columns
from . import values as _values
from . import weights as _weights
from .columns import DATE, NUMBER, TEXT, Column, Found, Where
from .errors import DataError, listed, option
from .target import CLASSIFICATION, REGRESSION, TASKS, Target

_BLOCK = 4096  # rows that are encoded at a time


@dataclass(frozen=True)
class Table:
    """Of ``MLP.load(path).table``: the columns and the target of the table that was learned."""

    columns: tuple[Column, ...] | None
    target: Target
    dropped: tuple[str, ...] = ()  # columns of the table that are not used
    header: bool = True
    weights: str | None = None  # the column that says how much a row counts

    def encode(self, frame: Any, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """A pandas.DataFrame with the columns of the table, in any order -> x (N, inputs).

        Target, weights and dropped columns may be there or not; a missing or another one is a
        ValueError that names it. Unknown texts are 0 in all columns of their own. A model rounds
        float64 to its own dtype, to the bits that the command line computes with.
        """
        series = {str(name): frame[name] for name in frame.columns}
        return write(find(self, series, _row, np.dtype(dtype)), np.dtype(dtype))

    def encode_target(self, frame: Any) -> NDArray[Any]:
        """y (N,) as the model learns it: class numbers, or numbers standardised."""
        self._check_named()
        if self.target.name not in frame.columns:
            raise DataError(f"no column {shown(self.target.name)}, the target")
        return self.target.encode(_values.of(frame[self.target.name]), _row)

    def encode_weights(self, frame: Any, dtype: DTypeLike = np.float64) -> NDArray[np.float64]:
        """How much each row counts (N,), for a model of ``dtype``."""
        self._check_named()
        if self.weights is None:
            raise ValueError("the model was trained without weights")
        if self.weights not in frame.columns:
            raise DataError(f"no column {shown(self.weights)}, the weights")
        return _weights.of(self.weights, _values.of(frame[self.weights]), _row, np.dtype(dtype))

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """What ``MLP.predict`` returns, as names of classes (N,), or in the target's own unit."""
        return self.target.decode(outputs)

    def _check_named(self) -> None:
        if self.columns is None:
            raise ValueError("the model was trained on arrays: its columns have no names")

    @property
    def inputs(self) -> int | None:
        """Columns of x, or None where any will do."""
        return None if self.columns is None else sum(column.width for column in self.columns)


def find(
    table: Table, series: dict[str, Any], where: Where, dtype: np.dtype[Any],
    drop: Iterable[str] = (),
) -> list[Found]:  # fmt: skip
    """The columns of a frame as those of the table read them, for x of ``dtype``. series: pandas'
    by name, taken out one by one, so that their memory is free."""
    table._check_named()
    assert table.columns is not None
    names = [column.name for column in table.columns]
    missing = [name for name in names if name not in series]
    if missing:
        raise DataError(
            f"no column {listed(missing)}, which the model was trained with (columns: "
            f"{listed(series, 12)})"
        )
    known = {*names, table.target.name, table.weights, *table.dropped, *drop}
    extra = [name for name in series if name not in known]
    if extra:
        raise DataError(
            f"column {listed(extra)}: the model was trained without; leave it out "
            f"(--drop {option(extra)})"
        )
    return [
        _columns.find(column, _values.of(series.pop(column.name)), where).written(dtype)
        for column in table.columns
    ]


def _row(row: int) -> str:
    return f"row {row}"


def write(
    found: list[Found], dtype: np.dtype[Any], rows: NDArray[np.int64] | None = None
) -> NDArray[Any]:
    """x (N, inputs) of the rows, or of all."""
    n = len(found[0].values) if rows is None else len(rows)
    x = np.zeros((n, sum(f.column.width for f in found)), dtype)
    for start in range(0, n, _BLOCK):
        some = slice(start, start + _BLOCK)
        at = 0
        for f in found:
            part = x[some, at : at + f.column.width]
            with np.errstate(over="ignore"):
                _columns.write(f, some if rows is None else rows[some], part)
            at += f.column.width
    return x


# files --------------------------------------------------------------------------------------------


def to_plain(table: Table) -> dict[str, Any]:
    """For JSON."""
    columns = [
        [c.name, c.kind, c.center, c.scale, c.fill, list(c.texts), c.format]
        for c in table.columns or ()
    ]
    return {
        "columns": None if table.columns is None else columns,
        "target": asdict(table.target) | {"classes": list(table.target.classes)},
        "dropped": list(table.dropped),
        "header": table.header,
        "weights": table.weights,
    }


def from_plain(plain: dict[str, Any]) -> Table:
    """The reverse; ValueError, KeyError or TypeError for what to_plain did not write."""
    given = plain["columns"]
    columns = None if given is None else tuple(_column(values) for values in _list(given))
    if columns == ():
        raise ValueError("a table without columns")
    t = plain["target"]
    target = Target(
        _text(t["name"]), _text(t["task"]), _texts(t["classes"]), _text(t["kind"]),
        _number(t["center"]), _number(t["scale"]),
    )  # fmt: skip
    if target.task not in TASKS or (target.task == CLASSIFICATION) != (len(target.classes) > 1):
        raise ValueError(f"a target of {len(target.classes)} classes for {shown(target.task)}")
    if target.kind not in ("text", "integer", "number"):
        raise ValueError(f"classes of {shown(target.kind)}")
    if target.kind != "text":
        for name in target.classes:
            (int if target.kind == "integer" else float)(name)
    if type(plain["header"]) is not bool:
        raise TypeError(f"header is {shown(plain['header'])}")
    weights = None if plain["weights"] is None else _text(plain["weights"])
    return Table(columns, target, _texts(plain["dropped"]), plain["header"], weights)


def check(table: Table, inputs: int, outputs: int) -> None:
    """ValueError for a table that is not of a model of such sizes."""
    if table.inputs not in (None, inputs):
        raise ValueError(f"a table of {table.inputs} inputs for a model of {inputs}")
    needed = 1 if table.target.task == REGRESSION else len(table.target.classes)
    if outputs < needed and not (outputs == 1 and needed == 2):
        raise ValueError(f"a target of {needed} outputs for a model of {outputs}")


def _column(values: Any) -> Column:
    name, kind, center, scale, fill, texts, form = _list(values)
    if kind not in (NUMBER, DATE, TEXT):
        raise ValueError(f"a column of kind {shown(kind)}")
    found = Column(
        _text(name), kind, _number(center), _number(scale), _number(fill), _texts(texts),
        _text(form),
    )  # fmt: skip
    if not found.scale > 0:
        raise ValueError(f"a scale of {found.scale}")
    return found


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"{shown(value)} is no list")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{shown(value)} is no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(text) for text in _list(value))


def _number(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise TypeError(f"{shown(value)} is no number")
    return value
