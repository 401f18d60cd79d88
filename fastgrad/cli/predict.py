"""``fastgrad predict``: a saved model and a file in; its predictions, as a .csv, out.

Classes have their names, numbers the target's own unit. Where the file has the target as well, a
line on stderr says how good the predictions are.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._files import check_writable, write_atomically
from .._mlp import MLP
from ..datasets import DataError
from ..datasets.readers import read_npz
from ..tables import Table, is_table, read_table
from ..tables import learn as tables
from ..tables import table as _table
from ..tables import values as _values
from ..tables import weights as _weights
from ..tables.errors import counted, printable
from ..tables.layout import NO_HEADER
from ..tables.read import READABLE
from ..tables.target import REGRESSION
from ..tables.values import Numbers
from ..threads import num_threads
from . import _arguments, _data, _tables
from ._errors import UsageError
from ._job import user_errors

HELP = "what a model that train --save wrote says of the rows of a file"
Array = NDArray[Any]


class Rows(NamedTuple):
    """Of a file. truth: the target, where it is there, as the model learns it."""

    x: Array
    truth: Array | None
    weights: Array | None
    notes: list[str]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a file that train --save or MLP.save wrote")
    parser.add_argument("--data", required=True, metavar="FILE", help="a .npz with an array x, or "
                        "a table with the columns of the model's, in any order")  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="a .csv to write (default: stdout)")
    parser.add_argument("--proba", action="store_true", help="the probability of each class too")
    parser.add_argument("--threads", type=_arguments.positive, metavar="N",
                        help="that a call may use; changes no bit")  # fmt: skip
    _tables.configure(parser, is_training=False)


def run(args: argparse.Namespace) -> int:
    if args.threads is not None:
        with num_threads(args.threads):
            return _run(args)
    return _run(args)


def _run(args: argparse.Namespace) -> int:
    _check_output(args.output)
    model = _load(args.model)
    with user_errors():
        x, truth, weights, notes = _read(args, model)
        columns = _columns(model, x, args.proba)
    text = _csv(columns)
    if args.output is None:
        sys.stdout.write(text)
    else:
        try:
            write_atomically(args.output, lambda file: file.write(text.encode()))
        except OSError as error:
            raise UsageError(f"--output {args.output}: {error.strerror or error}") from None
        print(f"{args.output}: {counted(len(x), 'prediction')}")
    for note in notes:
        print(note, file=sys.stderr)
    if truth is not None:
        print(_score(model, x, truth, weights), file=sys.stderr)
    return 0


def _check_output(path: str | None) -> None:
    if path is None:
        return
    if os.path.splitext(path)[1].lower() not in (".csv", ".txt", ""):
        raise UsageError(f"--output {path}: a .csv is written; give it such a name")
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--output {path}: cannot be written: {reason}") from None


def _load(path: str) -> MLP:
    try:
        return MLP.load(path)
    except OSError as error:
        raise UsageError(f"{printable(path)}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(str(error).removeprefix("MLP.load: ")) from None


# rows ---------------------------------------------------------------------------------------------


def _read(args: argparse.Namespace, model: MLP) -> Rows:
    """x, what there is to compare with, and what is to be said."""
    table = model.table
    if table is not None and table.columns is not None:
        if not is_table(args.data):
            raise DataError(
                f"{printable(args.data)}: the model learned a table, whose columns have names: "
                f"{READABLE}"
            )
        return _of_table(args, model, table)
    if not is_table(args.data):
        x, y = read_npz(args.data, model.dtype, needs_y=False)
        truth, notes = _truth(model, _data.as_values(y)) if len(y) else (None, [])
    else:
        x, truth, notes = _numbers(args, model), None, []
    if x.shape[1] != model.sizes[0]:
        raise DataError(
            f"{printable(args.data)}: has {counted(x.shape[1], 'column')} but the model takes "
            f"{model.sizes[0]}"
        )
    return Rows(x, truth, None, notes)


def _numbers(args: argparse.Namespace, model: MLP) -> Array:
    """A table for a model of arrays: numbers, in their order."""
    read = read_table(
        args.data, separator=args.separator, decimal=args.decimal, header=args.header,
        drop=args.drop, least=min(2, model.sizes[0]),
    )  # fmt: skip
    columns = []
    for name in read.frame.columns:
        if str(name) in args.drop:
            continue
        found = _values.as_numbers(_values.of(read.frame[name]))
        if isinstance(found, str):
            raise DataError(f"{read.name}: column {name!r}: {found!r} is not a number")
        bad = ~np.isfinite(found.values.astype(np.float64))
        if bad.any():
            row = int(np.argmax(bad))
            raise DataError(
                f"{read.name}: {read.where(row)}, column {name!r}: {found.values[row]} is not a "
                f"finite number"
            )
        columns.append(found.values.astype(model.dtype))
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0), model.dtype)


def _of_table(args: argparse.Namespace, model: MLP, table: Table) -> Rows:
    names = _data.known(table)
    read = _data.named(_data.read_file(args, args.data, names, table.header), table)
    series = {str(name): read.frame[name] for name in read.frame.columns}
    read, truth, weights, more = replace(read, frame=None), None, None, list[str]()
    target, counts = series.get(table.target.name), series.get(table.weights or "")
    found = _data.find(table, read, series, args.drop, model.dtype)
    is_odd = any(table.header or remark != NO_HEADER for remark in read.remarks)
    notes = [read.title] if is_odd else []
    notes += [*tables.filled(found), *tables.unknown(found)]
    if target is not None:
        truth, more = _truth(model, _values.of(target), read.where)
        notes += more
    if truth is not None and counts is not None:
        try:
            weights = _weights.of(str(table.weights), _values.of(counts), read.where, model.dtype)
        except DataError as error:
            notes.append(f"all rows count alike: {error}")
    return Rows(_table.write(found, model.dtype), truth, weights, notes)


def _truth(
    model: MLP, values: _values.Values, where: Callable[[int], str] = "row {}".format
) -> tuple[Array | None, list[str]]:
    """The target in the file as the model learns it; or None, and why."""
    if model.table is not None:
        try:
            return model.table.target.encode(values, where), []
        except DataError as error:
            return None, [f"not compared with the target: {error}"]
    if model.loss != "softmax_cross_entropy" or not isinstance(values, Numbers):
        return None, []
    return values.values, []


# what is said of them -----------------------------------------------------------------------------


def _columns(model: MLP, x: Array, proba: bool) -> list[tuple[str, Array]]:
    table = model.table
    if proba and model.loss == "mse":
        raise UsageError("--proba: the model is a regression, which has no probabilities")
    predicted = model.predict(x)
    named = table.decode(predicted) if table is not None else predicted
    columns: list[tuple[str, Array]] = []
    if named.ndim == 1:
        columns.append(("prediction", named))
    else:
        columns += [(f"prediction {i}", named[:, i]) for i in range(named.shape[1])]
    if not proba:
        return columns
    p = model.predict_proba(x)
    p = p.reshape(len(p), -1)
    if table is not None and len(table.target.classes) == 2 and p.shape[1] == 1:
        p = np.concatenate([1 - p, p], axis=1)
    classes: Any = range(p.shape[1]) if table is None else table.target.classes
    columns += [(str(name), p[:, i]) for i, name in enumerate(classes)]
    return columns


def _csv(columns: list[tuple[str, Array]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(_plain(values) for _, values in columns), strict=True))
    return text.getvalue()


def _plain(values: Array) -> list[Any]:
    """float32 by the digits that tell it from others, not by those of the float64 it would be."""
    return (values.astype(str) if values.dtype == np.float32 else values).tolist()


def _score(model: MLP, x: Array, truth: Array, weights: Array | None) -> str:
    by = "" if weights is None else ", by weight"
    predicted = model.predict(x)
    if model.table is not None and model.table.target.task == REGRESSION:
        decode = model.table.decode
        error = decode(predicted) - decode(truth)
        return (
            f"error: {math.sqrt(np.average(error * error, weights=weights)):.4g} root mean square, "
            f"{np.average(np.abs(error), weights=weights):.4g} mean absolute{by}"
        )
    hits = predicted == truth
    right = int(np.count_nonzero(hits))
    share = 100 * np.average(hits, weights=weights)
    return f"accuracy: {share:.2f} %{by}, {right} of {len(truth)} right"
