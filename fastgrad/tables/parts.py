"""A column that is read in parts: numbers or texts of some rows in, those of all rows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = tuple[str, Any]  # kind, values: see Column.add


class Column:
    """Values that come in parts; numbers in an array of all rows, or it would be there twice."""

    def __init__(self, rows: int) -> None:
        """rows: how many are expected."""
        self.kinds = set[str]()  # "number", "bool", "text"
        self.rows, self._room = 0, rows
        self._places: dict[str, int] = {}
        self._array: NDArray[Any] = np.zeros(0, np.uint8)

    def add(self, kind: str, part: Any) -> None:
        """kind "": no value in it. part: numbers, or a pandas.Categorical."""
        if kind:
            self.kinds.add(kind)
        is_text = kind in ("bool", "text")
        if is_text:
            names = [str(text) for text in part.categories]
            own = [self._places.setdefault(name, len(self._places)) for name in names]
            part = np.array([*own, -1], np.int32)[part.codes]
        dtype = part.dtype
        if self._places:  # what came before has no value, or the column will be read again
            part = part if is_text else np.full(len(part), -1, np.int32)
            dtype = np.dtype(np.int32)
        elif self.rows:
            dtype = np.promote_types(self._array.dtype, dtype)
        end = self.rows + len(part)
        self._make_room(end, dtype)
        self._array[self.rows : end] = part
        self.rows = end

    def _make_room(self, rows: int, dtype: np.dtype[Any]) -> None:
        if rows <= len(self._array) and dtype == self._array.dtype:
            return
        if rows > self._room:
            self._room = rows + rows // 4
        old = self._array[: self.rows]
        self._array = np.empty(self._room, dtype)  # of which no page is touched yet
        self._array[: self.rows] = -1 if self._places and old.dtype != dtype else old

    def rename(self, change: Callable[[str], str]) -> None:
        """Other words for the texts; those that are the same then are one."""
        places: dict[str, int] = {}
        lookup = [places.setdefault(change(text), len(places)) for text in self._places]
        if lookup:
            self._array = np.array([*lookup, -1], np.int32)[self._array[: self.rows]]
            self._places = places

    def values(self, pandas: Any) -> Any:
        array = self._array[: self.rows]
        if not self._places:
            return array
        texts = pandas.Index(list(self._places), dtype=object)
        return pandas.Categorical.from_codes(array, categories=texts)


def parts_of(pandas: Any, frame: Any) -> dict[str, Part]:
    """Of every column of some rows."""
    if (frame.dtypes == np.int64).all():  # pixels: at once, and 8 times as fast
        rows = frame.to_numpy()
        ranges = zip(rows.min(axis=0).tolist(), rows.max(axis=0).tolist(), strict=True)
        types = [_smallest(low, high) for low, high in ranges]
        columns = zip(frame.columns, rows.T, types, strict=True)
        return {name: ("number", values.astype(dtype)) for name, values, dtype in columns}
    return {name: _part(pandas, series) for name, series in frame.items()}


def _part(pandas: Any, series: Any) -> Part:
    kind = series.dtype.kind
    if kind in "iu":
        return "number", _small(series.to_numpy())
    if kind == "f":
        values = series.to_numpy()
        return ("" if np.isnan(values).all() else "number"), values
    if kind == "b":
        return "bool", pandas.Categorical(series.astype(str))
    if series.isna().all():
        return "", np.full(len(series), np.nan)
    values = series.astype("category")
    if all(isinstance(value, bool) for value in values.cat.categories):
        return "bool", pandas.Categorical(values.cat.rename_categories(str))
    return "text", pandas.Categorical(values)


def _small(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(_smallest(int(values.min()), int(values.max())), copy=False)


def _smallest(low: int, high: int) -> type[np.integer[Any]]:
    """The type of integers that holds them in the fewest bytes."""
    for dtype in (np.uint8, np.int16, np.int32, np.int64):
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            return dtype
    return np.uint64
