"""The size of L2: what the system says, shared or not, what the user says, and the bits of all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastgrad import matmul, num_threads
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.runtime import caches
from fastgrad._kernels.runtime.table import L2_BYTES, TABLE
from support import edges
from support.layouts import laid_out
from support.oracles import assert_same_bits, contract_product, floats
from support.programs import environment

KB = 1 << 10
Cpu = Callable[..., Path]


@pytest.fixture
def cpu(tmp_path: Path) -> Cpu:
    """A folder of one CPU, as Linux shows it: ``siblings``, and each cache's (level, type, size,
    shared_cpu_list)."""

    def make(siblings: str, *found: tuple[str, str, str, str]) -> Path:
        (tmp_path / "topology").mkdir()
        (tmp_path / "topology/thread_siblings_list").write_text(f"{siblings}\n")
        for i, values in enumerate(found):
            folder = tmp_path / f"cache/index{i}"
            folder.mkdir(parents=True)
            for name, value in zip(("level", "type", "size", "shared_cpu_list"), values,
                                   strict=True):  # fmt: skip
                (folder / name).write_text(f"{value}\n")
        return tmp_path

    return make


L1 = (("1", "Data", "48K", "0-1"), ("1", "Instruction", "32K", "0-1"))
L3 = ("3", "Unified", "36864K", "0-23")


@pytest.mark.parametrize(
    ("siblings", "size", "shared", "expected"),
    [
        ("0", "512K", "0", 512 * KB),
        ("0-1", "2048K", "0-1", 2048 * KB),  # hyper-threads of one core
        ("0,24", "1024K", "0,24", 1024 * KB),
        ("0", "2M", "0-3", 512 * KB),  # four cores
        ("0,8", "4M", "0-3,8-11", 1024 * KB),  # four cores of two threads
        ("0-1", "1M", "0", 1024 * KB),  # fewer than a core's threads
    ],
)
def test_linux(cpu: Cpu, siblings: str, size: str, shared: str, expected: int) -> None:
    found = cpu(siblings, *L1, ("2", "Unified", size, shared), L3)
    assert caches._linux(found) == expected


def test_linux_of_data_and_instructions_apart(cpu: Cpu) -> None:
    two = (("2", "Instruction", "1M", "0"), ("2", "Data", "256K", "0"))
    assert caches._linux(cpu("0", *L1, *two)) == 256 * KB


def test_linux_without_l2(cpu: Cpu) -> None:
    assert caches._linux(cpu("0", *L1, L3)) == 0


def _ask(monkeypatch: pytest.MonkeyPatch, folder: Path, given: str | None = None) -> int:
    """l2_bytes() of a machine whose CPU has that folder."""
    linux = caches._linux
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(caches, "_linux", lambda path: linux(folder))
    monkeypatch.delenv(caches.VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(caches.VARIABLE, given)
    return caches.l2_bytes()


def test_asked(monkeypatch: pytest.MonkeyPatch, cpu: Cpu) -> None:
    assert _ask(monkeypatch, cpu("0", ("2", "Unified", "768K", "0"))) == 768 * KB


@pytest.mark.parametrize(
    "size", ["", "K", "many", "-1K", "512", "512T", "0K", "5 12K"], ids=lambda s: repr(s)
)
def test_garbage_is_a_guess(monkeypatch: pytest.MonkeyPatch, cpu: Cpu, size: str) -> None:
    """A size without or with another unit, and none: never an error, and never a silly block."""
    found = _ask(monkeypatch, cpu("0", ("2", "Unified", size, "0")))
    assert found in (caches.GUESS, caches.LEAST_L2_BYTES)
    assert found == caches.GUESS or size == "-1K"


@pytest.mark.parametrize("name", ["level", "type", "size", "shared_cpu_list"])
def test_missing_files(monkeypatch: pytest.MonkeyPatch, cpu: Cpu, name: str) -> None:
    found = cpu("0", ("2", "Unified", "768K", "0"))
    (found / "cache/index0" / name).unlink()
    assert _ask(monkeypatch, found) == caches.GUESS


@pytest.mark.parametrize("listed", ["", "x", "0-", "0-1-"])
def test_lists_that_are_none(monkeypatch: pytest.MonkeyPatch, cpu: Cpu, listed: str) -> None:
    found = cpu("0", ("2", "Unified", "768K", listed))
    assert _ask(monkeypatch, found) == caches.GUESS


def test_nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _ask(monkeypatch, tmp_path) == caches.GUESS


@pytest.mark.parametrize(("size", "expected"), [("64K", 128 * KB), ("16M", 4096 * KB)])
def test_bounds(monkeypatch: pytest.MonkeyPatch, cpu: Cpu, size: str, expected: int) -> None:
    assert _ask(monkeypatch, cpu("0", ("2", "Unified", size, "0"))) == expected


def test_other_systems_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delenv(caches.VARIABLE, raising=False)
    assert caches.l2_bytes() == caches.GUESS


# The variable -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", 768), ("300000", 300_000 / KB), (" 1048576 ", 1024), ("1", 128), (str(1 << 40), 4096)],
)
def test_variable(monkeypatch: pytest.MonkeyPatch, cpu: Cpu, given: str, expected: float) -> None:
    """In bytes, within bounds."""
    found = _ask(monkeypatch, cpu("0", ("2", "Unified", "768K", "0")), given)
    assert found == expected * KB


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "512K", "two", "9" * 5000])
def test_a_wrong_variable_is_told(monkeypatch: pytest.MonkeyPatch, cpu: Cpu, given: str) -> None:
    """As of FASTGRAD_NUM_THREADS: a warning, and what would have been without it."""
    message = f"FASTGRAD_L2_BYTES is '{given}', expected a whole number of 1 or more; it is ignored"
    with pytest.warns(RuntimeWarning, match=message) as caught:
        found = _ask(monkeypatch, cpu("0", ("2", "Unified", "768K", "0")), given)
    assert found == 768 * KB and len(caught) == 1


def test_it_is_read_by_import_and_shown() -> None:
    env = environment(FASTGRAD_L2_BYTES=str(300 * KB))
    done = subprocess.run(
        [sys.executable, "-m", "fastgrad", "info"],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("L2 "))
    assert "300 kB" in line


def test_of_this_process() -> None:
    if caches.VARIABLE not in os.environ:
        assert TABLE[L2_BYTES] == caches.l2_bytes()
    assert caches.LEAST_L2_BYTES <= TABLE[L2_BYTES] <= caches.MOST_L2_BYTES


# The bits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", edges.DTYPES)
def test_bits_do_not_depend_on_it(dtype: str, rng: np.random.Generator) -> None:
    """Of every way of packing, from one block of rows to many."""
    kc, columns = edges.KC[dtype], edges.tile_columns(dtype)
    small = edges.block_rows(dtype)  # of the smallest L2
    shapes = (
        (2 * small + 5, columns + 3, kc + 7),
        (5 * small + 1, thresholds.DIRECT_ROW_PANELS * columns + 3, kc + 1),
        (9 * small + 1, thresholds.GROUP_COLUMNS + columns + 1, thresholds.OUTER_K),
    )
    for m, n, k in shapes:
        a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
        expected = contract_product(a, b)
        for left, right in (("C", "C"), ("F", "C"), ("C", "F"), ("F", "F")):
            placed = laid_out(a, left), laid_out(b, right)
            for size in (128, 200, 333, 512, 1024, 2048, 4096):
                for threads in (1, 2):
                    with edges.l2(size * KB), num_threads(threads):
                        c = matmul(*placed)
                    what = f"{(m, n, k)}, {left} · {right}, L2 of {size} kB, {threads} threads"
                    assert_same_bits(c, expected, what)
