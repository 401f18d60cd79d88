"""The values of train's options: text in, a checked value out, or argparse's one-line error."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction

from ..datasets.readers import SUFFIXES


def layers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if len(parts) < 2 or not all(_is_count(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: give two or more sizes such as 64,128,10")
    return tuple(map(int, parts))


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


def validation(text: str) -> Fraction | str:
    """A fraction of the rows, exactly as written, or the name of a file."""
    if re.fullmatch(r"0?\.[0-9]{1,9}", text) and Fraction(text) > 0:
        return Fraction(text)
    if not text.lower().endswith(SUFFIXES):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give a fraction of the rows such as 0.1, or a .npz or .csv file"
        )
    return text


def joined(sizes: tuple[int, ...]) -> str:
    """What ``layers`` reads."""
    return ",".join(map(str, sizes))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:10]) and len(text) < 10
