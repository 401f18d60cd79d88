"""Checks of what losses are given; `caller` opens the one-line message. Shared with the model."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import checks, numbers

Array = NDArray[Any]


class How(NamedTuple):
    """How the losses of rows are added, checked."""

    weights: Array | None = None  # (N,) float64
    denominator: float = 0.0  # 0: the sum of weights
    ignored: int | None = None
    positive: Array | None = None  # (M,) or () of the logits' dtype


def as_float(caller: str, name: str, value: Array) -> Array:
    """The array as float32 or float64; integers and bools become what float32 promotes them to."""
    checked = checks.array(caller, name, value)
    return checks.cast(checked, checks.result_dtype(checked))


def check_labels(
    caller: str,
    labels: Array,
    rows: int,
    classes: int,
    inputs: str = "logits",
    any_range: bool = False,
) -> Array:
    """labels: (rows,) integers below classes, or bools, or (rows, classes) probabilities.

    inputs: what has the rows; a model's x, which has targets y. any_range: whether integers are
    from 0 to classes - 1 is left to the kernel.
    """
    name = "labels" if inputs == "logits" else "y"
    expected = "expected integers (rows,) or probabilities (rows, classes)"
    if type(labels) is np.ndarray and labels.dtype.kind in "OSTU":
        raise TypeError(
            f"{caller}: {name} has dtype {labels.dtype}, shape {labels.shape}, {expected}; "
            f"number the classes with np.unique({name}, return_inverse=True)[1]"
        )
    labels = checks.array(caller, name, labels)
    if labels.ndim == 2:
        if labels.shape == (rows, 1) and classes > 1 and labels.dtype.kind in "biu":
            raise ValueError(
                f"{caller}: {name} has shape {labels.shape}, expected integers ({rows},); "
                f"pass {name}[:, 0]"
            )
        of = inputs if inputs == "logits" else "the output"
        check_targets(caller, of, (rows, classes), labels, name)
        check_probabilities(caller, name, labels)
        sums = np.add.reduce(labels, axis=1, dtype=np.float64)
        if 1 - sums.min() > 1e-3 or sums.max() - 1 > 1e-3:
            off = np.abs(sums - 1) > 1e-3
            row = int(np.argmax(off))
            raise ValueError(f"{caller}: {name} row {row} sums to {sums[row]:.6g}; it must be 1")
        return labels
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"{caller}: {name} has dtype {labels.dtype}, shape {labels.shape}, {expected}; "
            f"pass {name}.astype(np.int64)"
        )
    if labels.shape != (rows,):
        raise ValueError(
            f"{caller}: {name} has shape {labels.shape} but {inputs} has {rows} rows; "
            f"pass {name} of shape ({rows},)"
        )
    if not (any_range or (labels.min() >= 0 and labels.max() < classes)):
        refuse_label(caller, labels, classes, inputs)
    return labels


def check_labels_of(
    caller: str,
    labels: Any,
    lead: tuple[int, ...],
    classes: int,
    ignored: int | None,
    has_divisor: bool,
) -> Array:
    """labels of logits (*lead, classes): (rows,) integers, or (rows, classes) probabilities.

    Whether those that count are from 0 to classes - 1 is left to the kernel.
    """
    rows = math.prod(lead)
    if len(lead) != 1:
        labels = checks.array(caller, "labels", labels)
        if labels.shape not in (lead, (*lead, classes)):
            raise ValueError(
                f"{caller}: labels has shape {labels.shape} but logits has {(*lead, classes)}; "
                f"pass integers {lead} or probabilities {(*lead, classes)}"
            )
        labels = labels.reshape(rows, *labels.shape[len(lead) :])
    labels = check_labels(caller, labels, rows, classes, any_range=True)
    if ignored is None:
        return labels
    if labels.ndim == 2:
        raise ValueError(f"{caller}: ignore_index needs integer labels; give rows a weight of 0")
    counts = labels != ignored
    wrong = counts & ((labels < 0) | (labels >= classes))
    if wrong.any():
        refuse_label(caller, np.where(counts, labels, 0), classes)
    if not counts.any() and not has_divisor:
        raise ValueError(f"{caller}: no row counts: all labels are {ignored}, ignore_index")
    return labels.astype(np.int64)


def check_ignored(caller: str, value: Any) -> int | None:
    if value is None:
        return None
    try:
        found = operator.index(value)
    except TypeError:
        words = f"ignore_index is {numbers.shown(value)}; pass an integer"
        raise TypeError(f"{caller}: {words}") from None
    if not -(2**63) <= found < 2**63:
        raise ValueError(f"{caller}: ignore_index is {numbers.shown(found)}; pass one of 64 bits")
    return found


def check_how(
    caller: str,
    weights: Any,
    shape: tuple[int, ...],
    denominator: Any,
    ignored: int | None = None,
) -> How:
    """weights of rows, of this shape, or None."""
    found: Array | None = None
    if weights is not None:
        given = checks.array(caller, "weights", weights)
        if given.shape != shape:
            raise ValueError(
                f"{caller}: weights has shape {given.shape}, expected one a row; "
                f"pass weights of shape {shape}"
            )
        found = given.astype(np.float64).reshape(-1)
        wrong = ~((found >= 0) & (found < np.inf))
        if wrong.any():
            i = int(np.argmax(wrong))
            place = [int(j) for j in np.unravel_index(i, shape)] if shape else ""
            raise ValueError(
                f"{caller}: weights{place} is {found[i]}; it must be 0 or more and finite"
            )
    divisor = 0.0
    if denominator is not None:
        divisor = numbers.number(caller, "denominator", denominator)
        if not 0 < divisor < math.inf:
            words = "it must be above 0 and finite"
            numbers.refuse(caller, "denominator", denominator, divisor, words)
    elif found is not None:
        if not found.any():
            raise ValueError(f"{caller}: weights are all 0; a mean needs 1 row that counts")
        with np.errstate(over="ignore"):
            total = float(found.sum())
        if total == math.inf:
            raise ValueError(f"{caller}: the sum of weights is inf; pass smaller ones")
    return How(found, divisor, ignored)


def check_pos_weight(caller: str, value: Any, z: Array) -> Array | None:
    if value is None:
        return None
    name, row = "pos_weight", z.shape[1:]
    given = checks.array(caller, name, value)
    if given.ndim and given.shape not in (row, (math.prod(row),)):
        raise ValueError(
            f"{caller}: {name} has shape {given.shape}; pass a number or one an output, "
            f"of shape {(math.prod(row),)}"
        )
    with np.errstate(over="ignore"):
        found: Array = given.astype(z.dtype)
    wrong = ~((found >= 0) & (found < np.inf))
    if wrong.any():
        worst = found.reshape(-1)[int(np.argmax(wrong.reshape(-1)))]
        raise ValueError(f"{caller}: {name} has a {worst}; it must be 0 or more and finite")
    return found.reshape(-1) if found.ndim else found


def refuse_label(caller: str, labels: Array, classes: int, inputs: str = "logits") -> NoReturn:
    row = int(np.argmax((labels < 0) | (labels >= classes)))
    name, has = "labels", f"logits has {classes} columns"
    if inputs != "logits":
        name, has = "y", f"the model has {classes} outputs"
    raise ValueError(
        f"{caller}: {name}[{row}] is {labels[row]} but {has}; labels run from 0 to {classes - 1}"
    )


def check_smoothing(caller: str, value: float) -> float:
    """label_smoothing: a number from 0 to 1."""
    return numbers.from_0_to_1(caller, "label_smoothing", value)


def check_targets(
    caller: str, other: str, shape: tuple[int, ...], target: Array, name: str | None = None
) -> Array:
    """The target is an array of numbers of exactly the shape of ``other``, not empty."""
    name = name or ("target" if other == "prediction" else "targets")
    target = checks.array(caller, name, target)
    if target.shape != shape:
        raise ValueError(
            f"{caller}: {name} has shape {target.shape} but {other} has {shape}; "
            f"pass {name} of shape {shape}"
        )
    if 0 in shape:
        raise ValueError(f"{caller}: {other} has shape {shape}; a mean needs 1 element or more")
    return target


def check_probabilities(caller: str, name: str, values: Array) -> None:
    if not (values.min() >= 0 and values.max() <= 1):  # also NaN
        ok = (values >= 0) & (values <= 1)
        place = tuple(int(i) for i in np.argwhere(~ok)[0])
        raise ValueError(
            f"{caller}: {name}{list(place)} is {values[place]}; it must be from 0 to 1"
        )
