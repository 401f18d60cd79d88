"""fastgrad bench: what it prints and refuses to time; its timer. No test asserts a speed."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import fastgrad
from fastgrad import _bench
from fastgrad.cli import bench, main

Capture = pytest.CaptureFixture[str]
OPS = ("matmul", "matmul_nt", "matmul_tn", "linear_forward", "linear_backward")
STEP = bench.Cell("train_step", 3, 5, 4)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [bench.Cell(op, 3, 5, 4, d) for op in OPS for d in ("float32", "float64")]
    monkeypatch.setattr(bench, "CELLS", (*cells, STEP))
    monkeypatch.setattr(bench, "SAMPLE", 1e-4)
    # threadpoolctl is no dependency of the tests, and nothing here needs a quiet numpy
    monkeypatch.setattr(bench, "blas_threads", lambda threads: fastgrad.num_threads(1))


def test_the_table(capsys: Capture) -> None:
    before = fastgrad.get_num_threads()
    assert main(["bench"]) == 0
    assert fastgrad.get_num_threads() == before
    out, err = capsys.readouterr()
    head, _, _, _, names, *rows, _, last = out.splitlines()
    assert err == "" and head.startswith("fastgrad ") and f"numpy {np.__version__}" in head
    assert len(rows) == len(bench.CELLS)
    ratios = []
    for row, cell in zip(rows, bench.CELLS, strict=True):
        found = re.fullmatch(r"(.*) +(\S+) [mun]?s +(\S+) [mun]?s +(\S+) \((\S+)-(\S+)\)", row)
        assert found and found[1].startswith(str(cell))
        ours, theirs, ratio, low, high = map(float, found.groups()[1:])
        assert ours > 0 and theirs > 0 and low <= ratio <= high
        assert row.index(" (", 50) == rows[0].index(" (", 50), "columns line up"
        assert len(row.rpartition(" (")[0]) <= 68  # and the interval, so that 80 columns do
        ratios.append(ratio)
    assert names.split()[:2] == ["fastgrad", "numpy"]
    figures = re.match(r"geometric mean (\S+), lowest (\S+); above 1: fastgrad is faster$", last)
    assert figures and float(figures[2]) == min(ratios)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    assert float(figures[1]) == pytest.approx(mean, abs=0.02)


@pytest.mark.parametrize("op", OPS)
def test_a_wrong_result_is_not_timed(op: str, capsys: Capture, monkeypatch) -> None:
    real = getattr(fastgrad, op)

    def wrong(*args, **kwargs):
        result = real(*args, **kwargs)
        array = result.weight if op == "linear_backward" else result
        array[-1, -1] += np.float32(1e-3)
        return result

    monkeypatch.setattr(fastgrad, op, wrong)
    assert main(["bench"]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith(f"fastgrad bench: {op} ")
    assert "differs from numpy's result by 0.001" in err
    assert not any(line.startswith(f"{op} ") for line in out.splitlines())


@pytest.mark.parametrize("op", OPS)
def test_what_is_not_written_is_wrong(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastgrad, op, lambda *args, **kwargs: None)
    assert "by nan" in bench.prepare(bench.Cell(op, 3, 5, 4))[2]


def test_a_step_with_another_loss_is_not_timed(capsys: Capture, monkeypatch) -> None:
    monkeypatch.setattr(fastgrad.MLP, "train_step", lambda *args: 7.0)
    assert main(["bench"]) == 1
    assert re.search(
        r"train_step .*: the first loss is 7 but [\d.]+ in plain numpy", capsys.readouterr().err
    )


def test_without_threadpoolctl_it_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the fixture's
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    given = {}

    def call(command: list[str], env: dict[str, str]) -> int:
        given.update(env, command=command)
        return 7

    monkeypatch.setattr(subprocess, "call", call)
    assert main(["bench"]) == 7
    assert given["command"] == [sys.executable, "-m", "fastgrad", "bench", "--threads", "1"]
    for name in bench.VARIABLES:
        assert given[f"{name}_NUM_THREADS"] == "1"
        monkeypatch.setenv(f"{name}_NUM_THREADS", "1")
    assert bench.blas_threads(1) is not None  # so that the new process goes on
    assert bench.blas_threads(2) is None
    assert main(["bench", "3,4,5", "6x7x8", "--threads", "2", "--dtype", "float64"]) == 7
    words = "3,4,5 6,7,8 --threads 2 --dtype float64"
    assert given["command"][4:] == words.split() and given["OMP_NUM_THREADS"] == "2"


def test_shapes_of_ones_own(capsys: Capture) -> None:
    assert main(["bench", "3,4,5", "1,7,2", "--dtype", "float64", "--threads", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    rows = [line for line in out if line.startswith(("matmul", "linear"))]
    assert out[1].startswith("2 threads each, ") and len(rows) == 10
    assert rows[0].startswith("matmul          3x4 by 4x5 ")
    assert rows[9].startswith("linear_backward 7-2, batch 1 ") and " float64 " in rows[9]
    assert main(["bench", "3,4,5"]) == 0
    assert capsys.readouterr().out.count("float32") == 5 + 1  # and in the line of the CPU


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("3,4", "argument M,K,N: '3,4': give three sizes M,K,N such as 128,784,512"),
        ("3,0,5", "argument M,K,N: '3,0,5': give three sizes"),
        ("--dtype int8", "--dtype int8: unknown; choose from float32, float64"),
        ("--threads 0", "argument --threads: '0': give a whole number of 1 or more"),
        ("900000,900000,900000", "900000,900000,900000: takes about "),
    ],
)
def test_mistakes(words: str, message: str, capsys: Capture) -> None:
    assert main(["bench", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err


# --- the timer


@pytest.mark.parametrize("n", [6, 9, 15, 40])
def test_the_interval_is_of_95_percent(n: int) -> None:
    """Between the r-th value from each end lies the median with probability 1 - 2·P(X < r)."""
    low, high = _bench.interval(range(1, n + 1))
    assert low + high == n + 1
    outside = [2 * sum(math.comb(n, i) for i in range(r)) / 2**n for r in (low, low + 1)]
    assert outside[0] <= 0.05 < outside[1]


def test_intervals_of_few() -> None:
    assert _bench.interval(range(1, 10)) == (2, 8)
    assert [_bench.interval(range(n)) for n in (1, 2, 5)] == [(0, 0), (0, 1), (0, 4)]


def test_summary() -> None:
    found = _bench.summarize([(1.0, 2.0), (1.0, 3.0), (2.0, 2.0)])
    assert found == _bench.Comparison(ratio=2.0, low=1.0, high=3.0, ours=1.0, theirs=2.0)
    assert _bench.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_turns() -> None:
    calls: list[str] = []

    def ours() -> None:
        calls.append("A")
        time.sleep(0.002)

    def theirs() -> None:
        calls.append("B")
        time.sleep(0.006)

    found = _bench.compare(ours, theirs, rounds=2, sample=1e-3)
    assert "".join(calls[-8:]) == "ABBAABBA"  # a call fills a sample
    assert found.ours >= 0.002 and found.theirs >= 0.006 and found.ratio > 1


def test_calls_fill_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def call() -> None:
        clock[0] += 1e-4

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert _bench.calls_to_fill(call, 1e-5) == 1
    assert 10 <= _bench.calls_to_fill(call, 1e-3) <= 12
    assert 5000 <= _bench.calls_to_fill(call, 0.5) <= 5600


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.9996, "1 s"), (0.0456, "45.6 ms"), (7e-7, "700 ns"), (0.0, "0 ns")],
)
def test_duration(seconds: float, text: str) -> None:
    assert _bench.duration(seconds) == text
