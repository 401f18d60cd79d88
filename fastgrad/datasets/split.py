"""Rows kept apart: labels and a seed in, two sets of row numbers out."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._draws import SPLIT, VALIDATION, check_seed, permutation
from .._ops import checks as _checks
from .._ops import numbers as _numbers

Rows = NDArray[np.int64]


def stratified_split(labels: NDArray[Any], seed: int = 0, parts: int = 5) -> tuple[Rows, Rows]:
    """labels (N,) integers -> rows to train on, rows held out, each int64 in increasing order.

    Of every class with n rows, n / parts rounded half up are held out, drawn by ``seed``: the same
    rows on every platform and numpy version. Where that would be more than N / parts in all, as of
    60 classes of 3 rows, some classes have one less. ValueError where none would be held out or
    left.
    """
    caller = "stratified_split"
    seed, labels = check_seed(seed, caller), _check_labels(caller, labels)
    parts = _numbers.count(caller, "parts", parts, 2)
    return _split(caller, labels, (seed, SPLIT), Fraction(1, parts), f"one in {parts} of each")


def validation_split(
    labels: NDArray[Any], fraction: Fraction | float, seed: int = 0
) -> tuple[Rows, Rows]:
    """labels (N,) integers -> rows to train on, rows to validate with; draws of its own.

    As stratified_split, with n * fraction rows of a class. A Fraction is exact: the float 0.3 is a
    little less than 3/10, and half of 5 * 0.3 rows is rounded down.
    """
    caller = "validation_split"
    seed, labels = check_seed(seed, caller), _check_labels(caller, labels)
    number = _numbers.number(caller, "fraction", fraction)
    if not 0 < number < 1:
        _numbers.refuse(caller, "fraction", fraction, number, "pass a number between 0 and 1")
    share = fraction if isinstance(fraction, Fraction) else Fraction(number)
    return _split(caller, labels, (seed, VALIDATION), share, f"{float(share):g} of each")


def _split(
    caller: str, labels: NDArray[Any], key: tuple[int, int], share: Fraction, words: str
) -> tuple[Rows, Rows]:
    apart = np.zeros(len(labels), dtype=bool)
    classes, found = np.unique(labels, return_counts=True)
    sizes = found.tolist()
    counts = [_rounded(n * share) for n in sizes]
    if not 0 < sum(counts) < len(labels):
        raise ValueError(
            f"{caller}: {len(labels)} rows in {len(classes)} classes are too few "
            f"to hold out {words} class"
        )
    too_many = sum(counts) - max(1, _rounded(len(labels) * share))
    if too_many > 0:  # those that were rounded up most have one less, drawn among equals
        order = permutation(len(classes), *key, len(classes)).tolist()
        up = [(sizes[i] * share - counts[i], i) for i in order]
        for _, i in sorted(up, key=lambda pair: pair[0])[:too_many]:
            counts[i] -= 1
    for place, label in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        apart[rows[permutation(len(rows), *key, place)[: counts[place]]]] = True
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _rounded(number: Fraction) -> int:
    """Half up."""
    return (2 * number + 1) // 2


def _check_labels(caller: str, labels: NDArray[Any]) -> NDArray[Any]:
    labels = _checks.array(caller, "labels", labels)
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        what = f"dtype {labels.dtype}, shape {labels.shape}"
        raise TypeError(f"{caller}: labels has {what}, expected integers or bools (N,)")
    return labels
