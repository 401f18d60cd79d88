"""The values of a column: a pandas Series in; numbers, texts or days out, whatever held them."""

from __future__ import annotations

import datetime
import math
import numbers
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DAY = 86_400.0  # seconds
WHOLE = 1e16  # floats from here on are written as floats, though all of them are whole numbers


@dataclass(frozen=True)
class Numbers:
    values: NDArray[Any]  # integers or floats; NaN: missing

    def take(self, rows: NDArray[np.int64]) -> Numbers:
        return Numbers(self.values[rows])

    def present(self) -> NDArray[Any]:
        if self.values.dtype.kind != "f":
            return self.values
        gaps = np.isnan(self.values)
        return self.values[~gaps] if gaps.any() else self.values


@dataclass(frozen=True)
class Texts:
    codes: NDArray[np.int64]  # the place in names; -1: missing
    names: tuple[str, ...]

    def take(self, rows: NDArray[np.int64]) -> Texts:
        return Texts(self.codes[rows], self.names)

    def counts(self) -> dict[str, int]:
        """How often each text is there, in the order of the texts; without those that are not."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        pairs = zip(self.names, found.tolist(), strict=True)
        return dict(sorted((name, n) for name, n in pairs if n))

    def first(self, code: int) -> int:
        return int(np.argmax(self.codes == code))


@dataclass(frozen=True)
class Days:
    values: NDArray[np.float64]  # since 1970-01-01; NaN: missing

    def take(self, rows: NDArray[np.int64]) -> Days:
        return Days(self.values[rows])


Values = Numbers | Texts | Days
# Texts that stand for a missing value where all others of the column are numbers
GAPS = frozenset(("-", "--", ".", "..", "*", "\\N", "missing", "unknown", "n.a.", "None", "NaT"))


def of(series: Any) -> Values:
    import pandas

    dtype = series.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.int64)
        return _of_unique(codes, list(series.cat.categories))
    kind = getattr(dtype, "kind", "O")
    if kind == "M":
        return Days(_days(series))
    if kind in "iuf" and isinstance(dtype, np.dtype):
        return Numbers(series.to_numpy())
    if kind == "b" and isinstance(dtype, np.dtype):
        return Texts(series.to_numpy().astype(np.int64), ("False", "True"))
    if kind in "iuf":  # pandas' and pyarrow's own types, which may have gaps
        if series.isna().any():
            return Numbers(series.to_numpy(np.float64, na_value=np.nan))
        return Numbers(series.to_numpy(np.dtype(f"{kind}8")))
    codes, unique = pandas.factorize(series)
    return _of_unique(codes.astype(np.int64), list(unique))


def _of_unique(codes: NDArray[np.int64], unique: list[Any]) -> Values:
    """codes (N,) into the values of ``unique``, of any type."""
    if (
        unique
        and all(isinstance(value, numbers.Number) for value in unique)
        and not all(isinstance(v, bool) for v in unique)
    ):
        return Numbers(np.append([float(value) for value in unique], np.nan)[codes])
    if unique and all(isinstance(value, datetime.date) for value in unique):
        import pandas

        days = _days(pandas.Series(pandas.to_datetime(unique)))
        return Days(np.append(days, np.nan)[codes])
    names = [str(value).strip() for value in unique]
    if not GAPS.isdisjoint(names) and not GAPS.issuperset(names):
        known = [math.nan if name in GAPS else number_of(name) for name in names]
        if None not in known:
            return Numbers(np.array([*known, math.nan], np.float64)[codes])
    places = {name: i for i, name in enumerate(dict.fromkeys(names))}
    lookup = np.array([*(places[name] for name in names), -1], np.int64)
    return Texts(lookup[codes], tuple(places))


def _days(series: Any) -> NDArray[np.float64]:
    if series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = series.to_numpy()
    whole = moments.astype("datetime64[D]")
    rest = (moments - whole) / np.timedelta64(1, "us")  # exact
    days = whole.astype(np.int64) + rest / (DAY * 1e6)
    return np.where(np.isnat(moments), np.nan, days).astype(np.float64)


def as_numbers(values: Values, gaps: bool = False) -> Numbers | str:
    """As numbers, where all texts are such; else the first text that is none. gaps: those of GAPS
    are missing values."""
    if not isinstance(values, Texts):
        return Numbers(values.values)
    found = list[float]()
    for name in values.names:
        number = math.nan if gaps and name in GAPS else number_of(name)
        if number is None:
            return name
        found.append(number)
    return Numbers(np.append(found, np.nan)[values.codes])


def number_of(text: str) -> float | None:
    """None for what is no number."""
    try:
        return None if "_" in text else float(text)  # Python's 1_000 is no number to others
    except ValueError:
        return None


_MARKED = re.compile(
    r"[-+]?[$€£¥]?\s*[-+]?\d{1,3}(?:[ ,.'\u00a0\u202f]\d{3})*\d*(?:[.,]\d+)?\s*[%$€£¥]?"
)


def marked(texts: Texts) -> str | None:
    """Where most cells are numbers, some with signs that people read, as in $1,000 or 12 %: the
    first such text."""
    counts = texts.counts()
    plain = {name for name in counts if number_of(name) is not None}
    found = [name for name in counts if name not in plain and _MARKED.fullmatch(name)]
    n = sum(counts[name] for name in (*plain, *found))
    return found[0] if found and 2 * n > sum(counts.values()) else None


def as_texts(values: Values) -> Texts:
    if isinstance(values, Texts):
        return values
    present = np.isfinite(values.values)
    unique, codes = np.unique(values.values[present], return_inverse=True)
    full = np.full(len(values.values), -1, np.int64)
    full[present] = codes.reshape(-1)
    return Texts(full, tuple(plain(value) for value in unique.tolist()))


def plain(value: float) -> str:
    """A number as people write it: 3, not 3.0."""
    return str(int(value)) if abs(value) < WHOLE and value == int(value) else repr(value)


# dates in texts -----------------------------------------------------------------------------------

_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%y", "%m/%d/%y",
          "%d/%m/%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y")  # fmt: skip
FORMATS = ("ISO8601", *(f"{d}{t}" for d in _DATES for t in ("", " %H:%M", " %H:%M:%S")))


def date_formats(texts: Texts) -> list[str]:
    """Those by which all texts are dates: one, or none, or two that differ in day and month."""
    names = [name for name in texts.counts() if name and name not in GAPS]
    if not names or not all(name[:1].isdigit() and len(name) >= 6 for name in names[:100]):
        return []
    if all(len(n) >= 10 and n[4] == "-" == n[7] for n in names):
        return [form for form in FORMATS[:1] if _are_dates(names, form)]
    return [f for f in FORMATS[1:] if _are_dates(names[:3], f) and _are_dates(names, f)]


def _are_dates(names: list[str], form: str) -> bool:
    import pandas

    try:
        pandas.to_datetime(names, format=form)
    except (ValueError, OverflowError, TypeError):
        return False
    return True


def as_days(values: Values, form: str) -> Days | str:
    """Texts as days by a format; else the first that is no such date."""
    import pandas

    if isinstance(values, Days):
        return values
    if isinstance(values, Numbers):
        return plain(float(values.values[0]))
    if not values.names:
        return Days(np.full(len(values.codes), np.nan))
    names = [None if name in GAPS else name for name in values.names]
    try:
        moments = pandas.to_datetime(names, utc=True, format=form)
    except (ValueError, OverflowError, TypeError):
        for name in names:
            if name is not None and not _are_dates([name], form):
                return name
        raise
    days = _days(pandas.Series(moments))
    return Days(np.append(days, np.nan)[values.codes])
