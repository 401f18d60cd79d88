"""Numbers as arguments: any type of number in, Python's float or int out, or an error of one line.

What is checked is the float that will be used: 1 - 1e-20 of a wider type is not below 1.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NoReturn

import numpy as np

_LENGTH = 60  # characters of a value in a message


def shown(value: object) -> str:
    """The value as one line of a message, whatever it is."""
    try:
        return brief(repr(value))
    except Exception:  # an int of more digits than Python prints, a broken __repr__
        return f"<{type(value).__qualname__}>"


def brief(text: str, length: int = _LENGTH) -> str:
    """A text of strangers as part of a line: printable, and not long."""
    text = text[: 4 * length]
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= length else line[: length - 3] + "..."


def number(caller: str, name: str, value: Any) -> float:
    """A real number; infinite where it is an integer beyond float64."""
    if type(value) is float:
        return value
    try:
        if not _may_be_number(value):
            raise TypeError
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # float() may call whatever the type of the value has
        raise TypeError(f"{caller}: {name} is {shown(value)}, not a number") from None


def _may_be_number(value: Any) -> bool:
    """Not text, nor an array of one element, nor a complex number: float() takes some of those."""
    if isinstance(value, np.generic | np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "biuf"
    return not isinstance(value, str | bytes | bytearray) and not getattr(value, "ndim", 0)


def at_least_0(caller: str, name: str, value: Any, below: float = math.inf) -> float:
    """A number from 0 to ``below``, which is not allowed itself."""
    found = number(caller, name, value)
    if not 0 <= found < below:
        limit = "finite" if below == math.inf else f"below {below}"
        refuse(caller, name, value, found, f"it must be 0 or more and {limit}")
    return found


def from_0_to_1(caller: str, name: str, value: Any) -> float:
    found = number(caller, name, value)
    if not 0 <= found <= 1:
        refuse(caller, name, value, found, "it must be from 0 to 1")
    return found


def refuse(caller: str, name: str, value: Any, found: float, words: str) -> NoReturn:
    """An integer is shown as such, other numbers as the float that they are."""
    what = shown(value) if isinstance(value, int) else repr(found)
    raise ValueError(f"{caller}: {name} is {what}; {words}")


def count(caller: str, name: str, value: Any, least: int = 1) -> int:
    """An integer of ``least`` or more, of any type that Python takes as an index."""
    try:
        found = operator.index(value)
    except Exception:
        words = f"pass an integer of {least} or more"
        raise TypeError(f"{caller}: {name} is {shown(value)}; {words}") from None
    if found < least:
        raise ValueError(f"{caller}: {name} is {shown(found)}; it must be {least} or more")
    return found
