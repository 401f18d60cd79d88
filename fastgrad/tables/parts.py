"""A column that is read in parts: numbers or texts of some rows in, those of all rows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = tuple[str, Any]  # kind, values: see Column.add
WAITING = 1 << 17  # texts: to number them takes longer with each time, memory with each text


class Column:
    """Values that come in parts, in an array of all rows: numbers, or of texts the number of each
    among those that came so far."""

    def __init__(self, rows: int) -> None:
        """rows: how many are expected."""
        self.kinds = set[str]()  # "number", "bool", "text"
        self.rows, self._room = 0, rows
        self._array: NDArray[Any] = np.zeros(0, np.uint8)
        self._texts: Any = None  # a pandas.Index
        self._waiting: list[tuple[int, Any]] = []  # (row, Categorical) not yet in the array
        self._done = 0  # rows of texts that are in it
        self._change: Callable[[str], str] = str

    def add(self, kind: str, part: Any) -> None:
        """kind "": no value in it. part: numbers, or a pandas.Categorical; of both, what came
        before has no value, or the column will be read again."""
        if kind:
            self.kinds.add(kind)
        start, self.rows = self.rows, self.rows + len(part)
        if kind in ("bool", "text"):
            if self._texts is None:
                self._texts, self._array = part.categories[:0], np.zeros(0, np.int8)
            self._waiting.append((start, part))
            if sum(len(part.categories) for _, part in self._waiting) > WAITING:
                self._number()
        elif self._texts is None:
            dtype = np.promote_types(self._array.dtype, part.dtype) if start else part.dtype
            self._make_room(start, dtype)[start : self.rows] = part

    def _make_room(self, used: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of the dtype for all rows, with those that are used."""
        if self.rows > len(self._array) or dtype != self._array.dtype:
            if self.rows > self._room:
                self._room = self.rows + self.rows // 4
            old = self._array[:used]
            self._array = np.empty(self._room, dtype)  # of which no page is touched yet
            self._array[:used] = old
        return self._array

    def _number(self) -> None:
        """The texts that wait, each as its place among all."""
        waiting, self._waiting = self._waiting, []
        at = len(self._texts)
        names = self._texts.append([part.categories for _, part in waiting])
        places, self._texts = names.factorize()
        dtype = np.promote_types(np.min_scalar_type(-len(self._texts) - 1), self._array.dtype)
        done = self._done
        codes = self._make_room(done, dtype)
        for row, part in waiting:
            codes[done:row] = -1  # rows without a text
            lookup = np.append(places[at : at + len(part.categories)], -1).astype(dtype)
            done = row + len(part)
            lookup.take(part.codes, mode="wrap", out=codes[row:done])
            at += len(part.categories)
        self._done = done

    def rename(self, change: Callable[[str], str]) -> None:
        """Other words for the texts; those that are the same then are one."""
        self._change = change

    def values(self, pandas: Any) -> Any:
        """Numbers (N,), or a pandas.Categorical of texts in the order in which they came."""
        if self._texts is None:
            return self._array[: self.rows]
        self._number()
        codes = self._array[: self.rows]
        codes[self._done :] = -1
        texts = [self._change(str(name)) for name in self._texts.tolist()]
        once = {name: i for i, name in enumerate(dict.fromkeys(texts))}
        if len(once) < len(texts):
            codes = np.array([*(once[name] for name in texts), -1], codes.dtype)[codes]
        return pandas.Categorical.from_codes(codes, pandas.Index(list(once), dtype=object))


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
