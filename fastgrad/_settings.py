"""What an MLP is made with: settings in, plain values out, or an error of one line."""

from __future__ import annotations

import errno
import itertools
import operator
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ._atomic import Path
from ._ops import losses, numbers
from ._ops.numbers import shown

_MAX_SIZE = 2**58  # parameters: an array of them still has less than 2**63 bytes


def check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(
            f"MLP: sizes is {shown(sizes)}; pass integers, inputs first, e.g. (64, 10)"
        ) from None
    if len(checked) < 2 or min(checked) < 1:
        raise ValueError(f"MLP: sizes is {shown(checked)}; pass two or more sizes of 1 or more")
    if sum(a * b + b for a, b in itertools.pairwise(checked)) > _MAX_SIZE:
        raise ValueError(f"MLP: sizes is {shown(checked)}; no memory holds so many parameters")
    return checked


def check_dtype(dtype: DTypeLike, caller: str = "MLP") -> np.dtype[Any]:
    try:
        found: np.dtype[Any] = np.dtype("V" if dtype is None else dtype)  # None: numpy's default
    except Exception:  # ValueError, SyntaxError and more, for some kinds of text
        raise TypeError(f"{caller}: dtype is {shown(dtype)}; pass float32 or float64") from None
    if found.name not in ("float32", "float64"):
        what = shown(dtype) if dtype is None else numbers.brief(str(found))
        raise TypeError(f"{caller}: dtype is {what}; pass float32 or float64")
    native: np.dtype[Any] = np.dtype(found.name)
    return native


def check_name(argument: str, name: object, table: dict[Any, Any]) -> None:
    if not (name is None or isinstance(name, str)) or name not in table:
        known = ", ".join(repr(key) for key in table)
        raise ValueError(f"MLP: {argument} is {shown(name)}; pass one of {known}")


def check_number(name: str, value: float) -> float:
    return numbers.at_least_0("MLP", name, value)


def check_smoothing(value: float, loss: str) -> float:
    smoothing = losses.check_smoothing("MLP", value)
    if smoothing and loss != "softmax_cross_entropy":
        raise ValueError(f"MLP: label_smoothing is {smoothing}, but loss {loss!r} has no labels")
    return smoothing


def check_max_norm(value: float | None) -> float | None:
    norm = None if value is None else check_number("max_grad_norm", value)
    if norm == 0:
        raise ValueError("MLP: max_grad_norm is 0; it must be above 0, or None for no limit")
    return norm


def check_path(caller: str, name: str, path: Path) -> str:
    """The path as text that can be a file's."""
    text = path_text(caller, name, path)
    if not text or "\0" in text:
        raise ValueError(f"{caller}: {name} is {shown(path)}; pass the name of a file")
    return text


def check_place(caller: str, name: str, path: Path) -> str:
    """The path as text, of a file that is or could be. OSError for a folder, or for none around it,
    that names what was given, not a temporary file."""
    text = check_path(caller, name, path)
    if os.path.isdir(text):
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file", text)
    folder = os.path.dirname(os.path.realpath(text))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write in", folder)
    return text


def path_text(caller: str, name: str, path: Path) -> str:
    text: object = path if isinstance(path, str) else None
    if isinstance(path, os.PathLike):
        text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"{caller}: {name} is {shown(path)}; pass a str or a pathlib.Path")
    return text
