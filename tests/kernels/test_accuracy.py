"""The bounds of our functions, in parts of what support/accuracy.py runs, and that it can fail."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import accuracy, exact, sweep

NAMES = list(accuracy.BOUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_float32_every_97th(name: str) -> None:
    tried, worst, at = sweep.sweep(name, 0, 1 << 32, 97)
    assert tried > 10_000_000
    assert 0.5 < worst <= accuracy.BOUNDS[name], at  # under 0.5 nothing would have been rounded


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_float64_against_mpmath(name: str) -> None:
    tried, worst, at = accuracy.step64(name, 0, 20_000, mpmath=True)
    assert tried == 20_000
    assert 0.5 < worst <= accuracy.BOUNDS[name], at


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_oracles_agree_with_mpmath(name: str) -> None:
    assert "the C library within" in accuracy.check(name, 2000)


@pytest.mark.parametrize("name", ["exp", "gelu_backward"])
def test_flat_stretches_leave_out_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in (0x30000000, 0x42B00000, 0xB0000000, 0xC2D00000):
        quick = sweep.sweep(name, start, start + 4 * sweep.CHUNK)
        with monkeypatch.context() as patch:
            patch.setattr(sweep, "_flat", lambda *arrays: False)
            tried, worst, _ = sweep.sweep(name, start, start + 4 * sweep.CHUNK)
        assert quick[0] == tried and abs(quick[1] - worst) < 1e-7


def off_by(ulps: int, real: Any) -> Any:
    """apply, with a result that many floats too large."""

    def wrong(*args: Any) -> Any:
        y = real(*args)
        return (y.view(f"i{y.itemsize}") + ulps).view(y.dtype)

    return wrong


def test_float32_errors_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    start = 0x40000000  # [2, 2.008)
    assert sweep.sweep("exp", start, start + sweep.CHUNK)[1] < 1
    monkeypatch.setattr(sweep, "apply", off_by(3, sweep.apply))
    assert 3 < sweep.sweep("exp", start, start + sweep.CHUNK)[1] < 4
    monkeypatch.setattr(sweep, "apply", lambda name, x: np.full_like(x, np.nan))
    assert sweep.sweep("exp", start, start + sweep.CHUNK)[1] == math.inf


@pytest.mark.parametrize("name", ["exp", "gelu", "gelu_tanh_backward"])
def test_float64_errors_are_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, g = np.linspace(0.5, 4, 100), np.ones(100)
    right = accuracy.errors64(name, x, g)
    real = accuracy.apply
    monkeypatch.setattr(accuracy, "apply", off_by(1000, real))
    wrong = accuracy.errors64(name, x, g)
    assert (wrong > right + (900 if name == "exp" else 20)).all()
    monkeypatch.setattr(accuracy, "apply", lambda *args: np.full(100, np.nan))
    assert (accuracy.errors64(name, x, g) == math.inf).all()


def test_an_infinite_gap_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Overflow where the result is finite, zero where it is not small, and the other way round."""
    x = np.array([700.0, 700.0, 720.0, -800.0, -9999.0])
    monkeypatch.setattr(accuracy, "apply", lambda *a: np.array([np.inf, 0, 1e300, 1e-300, 1e-300]))
    assert (accuracy.errors64("exp", x, x) > 1e6).all()
    monkeypatch.undo()
    assert (accuracy.errors64("exp", x, x) <= 1).all()  # Inf and 0 are right at the last three


def test_units_in_the_last_place() -> None:
    high = np.array([1.0, 1.0, -1.0, 1.5, 5e-324, 0.0, 2.0**1023])
    low = np.array([1e-20, -1e-20, 1e-20, 0.0, 0.0, 0.0, 0.0])
    expected = [2.0**-52, 2.0**-53, 2.0**-53, 2.0**-52, 2.0**-1074, 2.0**-1074, 2.0**971]
    assert accuracy._ulp(high, low, 2.0**-1074).tolist() == expected
    for value, ulp in ((1.0, -23), (0.99999999, -24), (-1e-45, -149), (0.0, -149), (1e39, 104)):
        assert sweep._per_ulp(value) == 2.0**-ulp


def test_oracle_is_two_floats_and_far_closer() -> None:
    high, low, size = exact.evaluate("exp", np.array([1.0]), None, 0, mpmath=True)
    assert (high[0], size[0]) == (math.e, math.e)
    assert abs(low[0] - 1.4456468917292502e-16) < 1e-31  # e - math.e


def test_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accuracy.STEP, "float64", 40)
    path = tmp_path / "results.json"
    whole = accuracy.run("tanh", "float64", 1, 100, tmp_path / "other.json")
    accuracy.run("tanh", "float64", 1, 40, path)
    tried = []
    step = accuracy.step64
    monkeypatch.setattr(accuracy, "step64", lambda *a: tried.append(a[1:3]) or step(*a))
    assert accuracy.run("tanh", "float64", 1, 100, path) == whole
    assert tried == [(1, 40), (2, 20)]
    accuracy.run("tanh", "float64", 1, 100, path)
    assert len(tried) == 2
    table = accuracy.table(json.loads(path.read_text()))
    assert f"| `tanh` | 2 ulp |  |  |  | {whole['worst']:.3f} | {whole['at']} | 100 |" in table
