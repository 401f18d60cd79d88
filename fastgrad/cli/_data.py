"""The user's data for training: arguments in; rows to learn from and what is said of them, out.

Digits and .npz are arrays, taken as they are; everything else is a table, whose columns are read
as the rows that are trained on teach.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import DataError, load_digits
from ..datasets.readers import read_npz
from ..tables import Read, Table, is_table, read_table
from ..tables import learn as tables
from ..tables import table as _table
from ..tables import target as _target
from ..tables import values as _values
from ..tables import weights as _weights
from ..tables.columns import Found
from ..tables.errors import counted, listed, no_column, printable
from ..tables.read import READABLE
from ..tables.target import CLASSIFICATION, REGRESSION, Target
from ..tables.values import Numbers, Texts, Values
from ._errors import UsageError

Array = NDArray[Any]
Rows = NDArray[np.int64]
Part = tuple[Array, Array, Array | None]  # x (N, K), y (N,), weights (N,)
OF_TABLES = (  # options, and what they are when they are not given
    ("target", None), ("weights", None), ("columns", None), ("drop", ()), ("separator", None),
    ("decimal", None), ("header", None), ("no_standardize", False),
)  # fmt: skip


class Data:
    """``strata``: the class of each row, or 0. First fit(train), then part(rows), validation."""

    target: Target
    table: Table | None
    strata: NDArray[Any]  # integers
    inputs: int

    def fit(self, train: Rows) -> None:
        """Learn from the rows that are trained on."""

    def part(self, rows: Rows) -> Part:
        """y: class numbers, or standardised numbers."""
        raise NotImplementedError

    def validation(self, path: str) -> Part:
        """Likewise, of another file."""
        raise NotImplementedError

    def first_lines(self) -> Iterator[str]:
        """What the file is."""
        yield from ()

    def lines(self) -> Iterator[str]:
        """What is learned, and from what, after fit."""
        yield from ()


def read(args: argparse.Namespace, dtype: np.dtype[Any]) -> Data:
    if args.data is not None and is_table(args.data):
        return _OfTable(args, dtype)
    if args.data is None or args.data.lower().endswith(".npz"):
        for name, default in OF_TABLES:
            if getattr(args, name) != default:
                refuse_option(name, args.data)
    if args.data is None:
        return _Digits(args, dtype)
    return _OfArrays(args, dtype)


def refuse_option(name: str, path: str | None) -> None:
    shown = "--no-header" if name == "header" else "--" + name.replace("_", "-")
    what = "names a column of" if name in ("target", "weights") else "is for"
    more = "give one with --data" if path is None else f"{printable(path)} holds arrays x and y"
    raise UsageError(f"{shown} {what} a table such as a .csv file; {more}")


class _OfArrays(Data):
    def __init__(self, args: argparse.Namespace, dtype: np.dtype[Any]):
        self._args, self._dtype, self._x = args, dtype, np.zeros((0, 0))
        self._labels: Values = Numbers(np.zeros(0))
        self.table = None
        self._load()
        self.inputs = self._x.shape[1]
        self.target, self._title = _target.learn(
            self._name, "", self._labels, args.task, self._where
        )
        self._y = self.target.encode(self._labels, self._where)
        self._use()

    def _load(self) -> None:
        path = self._args.data
        if not path.lower().endswith(".npz"):
            raise DataError(f"{printable(path)}: neither .npz nor a table: {READABLE}")
        self._name = printable(path)
        self._x, y = read_npz(path, self._dtype)
        self._labels = as_values(y)

    def _where(self, row: int) -> str:
        return f"{self._name}: row {row}"

    def _use(self) -> None:
        is_classes = self.target.task == CLASSIFICATION
        self.strata = self._y if is_classes else np.zeros(len(self._y), np.int64)
        numbers = tuple(map(str, range(len(self.target.classes))))
        if not is_classes or self.target.classes != numbers or self.target.kind != "integer":
            self.table = Table(None, self.target)

    def fit(self, train: Rows) -> None:
        if self.target.task == REGRESSION:
            self.target, self._title = _target.learn(
                self._name, "", self._labels, self.target.task, self._where, train
            )
            self._y = self.target.encode(self._labels, self._where)
            self._use()

    def part(self, rows: Rows) -> Part:
        return self._x[rows], self._y[rows], None

    def validation(self, path: str) -> Part:
        if is_table(path):
            what = "the digits" if self._args.data is None else f"{self._name}"
            raise DataError(f"{printable(path)}: is a table, but {what} are arrays; use a .npz")
        x, y = read_npz(path, self._dtype)
        name = printable(path)
        if x.shape[1] != self.inputs:
            raise DataError(
                f"{name}: has {x.shape[1]} columns of inputs but the data has {self.inputs}"
            )
        return x, self.target.encode(as_values(y), lambda row: f"{name}: row {row}"), None

    def lines(self) -> Iterator[str]:
        yield f"target: {self._title}"


class _Digits(_OfArrays):
    def _load(self) -> None:
        self._name = "digits"
        images, labels = load_digits()
        self._x, self._labels = images.astype(self._dtype, copy=False), Numbers(labels)

    def lines(self) -> Iterator[str]:
        yield from ()


def as_values(y: Array) -> Values:
    if y.dtype.kind == "b":
        return Texts(y.astype(np.int64), ("False", "True"))
    if y.dtype.kind == "U":
        names, codes = np.unique(y, return_inverse=True)
        return Texts(codes.reshape(-1).astype(np.int64), tuple(names.tolist()))
    return Numbers(y)


class _OfTable(Data):
    def __init__(self, args: argparse.Namespace, dtype: np.dtype[Any]):
        self._args, self._dtype = args, dtype
        self._read = read_file(args, args.data, ())
        drop = args.drop
        if isinstance(args.validation, str):  # which may have columns to leave out of its own
            drop = [name for name in drop if name in self._read.frame.columns]
        self._choice = tables.choose(
            self._read, args.target, args.columns, drop, weights=args.weights
        )
        self._labels = self._values(self._choice.target)
        self.target, self._title = _target.learn(
            self._read.name, self._choice.target, self._labels, args.task, self._where
        )
        is_classes = self.target.task == CLASSIFICATION
        self.strata = np.zeros(len(self._read.frame), np.uint8)
        if is_classes:
            self.strata = self.target.encode(self._labels, self._where)
        self._weights: Array | None = None
        if args.weights is not None:
            values = self._values(args.weights)
            self._weights = _weights.of(args.weights, values, self._where, dtype)
        self._found = list[Found]()
        self._strange = list[str]()

    def _values(self, name: str) -> Values:
        return _values.of(self._read.frame[name])

    def _where(self, row: int) -> str:
        return f"{self._read.name}: {self._read.where(row)}"

    def fit(self, train: Rows) -> None:
        standardize = not self._args.no_standardize
        series = {name: self._read.frame[name] for name in self._choice.inputs}
        self._read = replace(self._read, frame=None)
        self._found = tables.columns(self._read, series, train, standardize, self._dtype)
        if self.target.task == REGRESSION:
            self.target, self._title = _target.learn(
                self._read.name, self._choice.target, self._labels, REGRESSION, self._where, train
            )
        columns = tuple(f.column for f in self._found)
        self.table = Table(
            columns, self.target, self._choice.dropped, self._read.header, self._args.weights
        )
        self.inputs = self.table.inputs or 0
        if not self.inputs:
            raise DataError(f"{self._read.name}: the inputs hold no value to learn from")
        self._y = self.strata
        if self.target.task == REGRESSION:
            self._y = self.target.encode(self._labels, self._where).astype(self._dtype)
        del self._labels

    def part(self, rows: Rows) -> Part:
        weights = None if self._weights is None else self._weights[rows]
        return _table.write(self._found, self._dtype, rows), self._y[rows], weights

    def validation(self, path: str) -> Part:
        assert self.table is not None
        if not is_table(path):
            raise DataError(
                f"{printable(path)}: its columns have no names, but those of "
                f"{self._read.name} have; use a table"
            )
        read = named(read_file(self._args, path, known(self.table), self.table.header), self.table)
        target = self.target.name
        for name in self._args.drop:
            if name not in (*self._choice.dropped, *read.frame.columns):
                raise DataError(f"{read.name}: {no_column(name, read.frame.columns, '--drop')}")
        if target not in read.frame.columns:
            raise DataError(f"{read.name}: no column {target!r}, the target")
        series = {str(name): read.frame[name] for name in read.frame.columns}
        found = find(self.table, read, series, self._args.drop, self._dtype)
        self._strange += [read.title, *tables.unknown(found)]
        where, weights = (lambda row: f"{read.name}: {read.where(row)}"), None
        y = self.target.encode(_values.of(read.frame[target]), where)
        if self.table.weights is not None:
            if self.table.weights not in read.frame.columns:
                raise DataError(f"{read.name}: no column {self.table.weights!r}, the weights")
            values = _values.of(read.frame[self.table.weights])
            weights = _weights.of(self.table.weights, values, where, self._dtype)
        return _table.write(found, self._dtype), y, weights

    def first_lines(self) -> Iterator[str]:
        yield self._read.title

    def lines(self) -> Iterator[str]:
        yield f"target: {self._title}" + (f" ({guess})" if (guess := self._choice.guess) else "")
        if self._weights is not None:
            yield f"weights: {_weights.described(self._args.weights, self._weights)}"
        yield from tables.described(
            self._found, self._choice.dropped, not self._args.no_standardize
        )
        yield from tables.unknown(self._found)
        yield from (f"--validation: {line}" for line in self._strange)


# tables of a known kind ---------------------------------------------------------------------------


def read_file(
    args: argparse.Namespace, path: str, names: tuple[str, ...], has_header: bool = True
) -> Read:
    """names: what a header is known by. has_header: False where there is none in such files."""
    header = args.header if has_header or args.header is not None else False
    return read_table(
        path, separator=args.separator, decimal=args.decimal, header=header,
        drop=[*args.drop, *(name for name in names if name.startswith("Unnamed: "))],
        known=names, least=2 if len(names) != 2 else 1,
    )  # fmt: skip


def known(table: Table) -> tuple[str, ...]:
    """Names of all columns that the table had."""
    count = () if table.weights is None else (table.weights,)
    return (*(c.name for c in table.columns or ()), table.target.name, *count, *table.dropped)


def named(read: Read, table: Table) -> Read:
    """A file without header and without the target, and the weights if there are such: its columns
    get the names of the others."""
    if not table.header and not read.header:
        names = sorted(known(table), key=int)
        left = [name for name in names if name not in (table.target.name, table.weights)]
        for some in (names, left):
            if len(read.frame.columns) == len(some):
                read.frame.columns = some
                return read
        if table.weights is not None:
            raise DataError(
                f"{read.name}: has no header and {counted(len(read.frame.columns), 'column')}; the "
                f"model's table has {len(names)}, or {len(left)} without target and weights"
            )
    elif table.header and not read.header:
        raise DataError(
            f"{read.name}: has no header, but that of the model's table names the columns "
            f"({listed(known(table))}); add one"
        )
    return read


def find(
    table: Table, read: Read, series: dict[str, Any], drop: tuple[str, ...], dtype: np.dtype[Any]
) -> list[Found]:
    """series: those of the frame of what was read, taken out one by one."""
    try:
        return _table.find(table, series, read.where, dtype, drop)
    except DataError as error:
        raise DataError(f"{read.name}: {error}") from None


def rare(data: Data, held: Rows) -> Iterator[str]:
    """Which classes have no row among those held out."""
    counts = np.bincount(data.strata, minlength=1).tolist()
    there = np.bincount(data.strata[held], minlength=len(counts)).tolist()
    few = [i for i, n in enumerate(counts) if 0 < n and not there[i]]
    if few and data.target.task == CLASSIFICATION:
        names = listed(data.target.classes[i] for i in few)
        most = max(counts[i] for i in few)
        yield f"rare: no row of class {names} is held out: they have {most} or fewer"
