"""The held-out part: labels and a seed in, two sets of row numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._draws import SPLIT, check_seed, permutation


def stratified_split(
    labels: NDArray[Any], seed: int = 0, parts: int = 5
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """labels (N,) integers -> rows to train on, rows held out, each int64 in increasing order.

    Of every class with n rows, n / parts rounded half up are held out, drawn by ``seed``: the same
    rows on every platform and numpy version. ValueError where none would be held out or left.
    """
    seed = check_seed(seed, "stratified_split")
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise TypeError("stratified_split: labels must be an array of integers of shape (N,)")
    if parts < 2:
        raise ValueError(f"stratified_split: parts is {parts}; pass 2 or more")
    held = np.zeros(len(labels), dtype=bool)
    for place, label in enumerate(np.unique(labels)):
        rows = np.flatnonzero(labels == label)
        count = (2 * len(rows) + parts) // (2 * parts)
        held[rows[permutation(len(rows), seed, SPLIT, place)[:count]]] = True
    if not held.any() or held.all():
        raise ValueError(
            f"stratified_split: {len(labels)} rows in {len(np.unique(labels))} classes are too few "
            f"to hold out one in {parts} of each class"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)
