"""The values of train's options: text in, a checked value out, or argparse's one-line error."""

from __future__ import annotations

import argparse
import csv
import re
from fractions import Fraction

from ..tables import is_table
from ..tables.layout import SEPARATORS


def layers(text: str) -> tuple[int, ...]:
    """Sizes; () for none."""
    parts = text.split(",")
    if text == "none":
        return ()
    if not all(_is_count(part) for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give sizes of hidden layers such as 128,64, or none"
        )
    return tuple(map(int, parts))


def shape(text: str) -> tuple[int, int, int]:
    parts = re.split("[,x]", text)
    if len(parts) != 3 or not all(_is_count(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give three sizes M,K,N such as 128,784,512")
    m, k, n = map(int, parts)
    return m, k, n


def names(text: str) -> tuple[str, ...]:
    """Names of columns; one with a comma in it stands in double quotes."""
    found = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text!r}: give names of columns such as age,sex")
    return found


def separator(text: str) -> str:
    """A character, or its name."""
    found = SEPARATORS.get(text, "\t" if text == "\\t" else text)
    if len(found) != 1 or not found.isascii() or found.isalnum() or found in "\"'.\r\n\0+-":
        known = ", ".join(SEPARATORS)
        raise argparse.ArgumentTypeError(f"{text!r}: give one character, or one of {known}")
    return found


def decimal(text: str) -> str:
    found = {"point": ".", "comma": ","}.get(text, text)
    if found not in (".", ","):
        raise argparse.ArgumentTypeError(f"{text!r}: give point or comma")
    return found


def positive(text: str) -> int:
    if not _is_count(text):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 1 or more")
    return int(text)


def seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of 0 or more")
    return int(text)


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


def amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number of 0 or more")
    return value


def validation(text: str) -> Fraction | str:
    """A fraction of the rows, exactly as written, or the name of a file."""
    if re.fullmatch(r"0?\.[0-9]{1,9}", text) and Fraction(text) > 0:
        return Fraction(text)
    if not (is_table(text) or text.lower().endswith(".npz")):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a fraction of the rows such as 0.1, or a .npz or .csv file"
        )
    return text


def joined(sizes: tuple[int, ...]) -> str:
    """What ``layers`` reads."""
    return ",".join(map(str, sizes))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:10]) and len(text) < 10
