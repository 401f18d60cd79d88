"""Tables that the command line trains on: frames of points, commands, lines of their output."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

from fastgrad.cli import main

Capture = pytest.CaptureFixture[str]
TRAIN = "train --data t.csv --target kind "


def points(rows: int = 120, seed: int = 0, apart: float = 3):
    """A frame of four columns of numbers and of a class 0, 1, 2 that they tell."""
    import pandas

    y = np.arange(rows) % 3
    x = np.random.default_rng(seed).standard_normal((rows, 4)) + apart * np.eye(3, 4)[y]
    return pandas.DataFrame(x.round(4), columns=list("abcd")).assign(kind=y)


def write(frame, name: str = "t.csv") -> None:
    frame.to_csv(name, index=False)


def run(words: str, capsys: Capture, code: int = 0) -> tuple[str, str]:
    """What was printed, and what on stderr but the progress."""
    capsys.readouterr()
    assert main(shlex.split(words)) == code
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("training:")]
    assert code == 0 or (len(lines) == 1 and "Traceback" not in err), err
    return out, "\n".join(lines)


def line(out: str, name: str) -> str:
    """The last line with such a name."""
    found = [text for text in out.splitlines() if text.startswith(f"{name} ")]
    return found[-1].removeprefix(name).strip() if found else ""


def accuracy(out: str) -> float:
    return float(line(out, "accuracy").split()[0])
