"""NUMBA_DISABLE_JIT=1: users' functions are interpreted, and call the same compiled kernels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from fastgrad._kernels.codegen.target import current
from support import programs, without_jit
from support.programs import environment

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT or not current().isa.fma,
    reason="compares with a process that compiles users' functions; digests are of CPUs with FMA",
)

FIRST = """
import numpy as np, fastgrad
x = np.ones((2, 2))
y = np.zeros((2, 2))
assert (fastgrad.matmul(x, x, y) == 2).all() and y.all()
fastgrad.show_config()
"""
POOL = """
import jobs, fastgrad
fastgrad.set_num_threads(3)
assert jobs.all_meet(3) and len(jobs.workers()) == 2
assert jobs.threads_of(jobs.doers(50)) <= 3
"""


def run(*command: str, **more: str) -> str:
    env = environment(NUMBA_DISABLE_JIT="1", **more)
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=programs.FOLDER,
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found() -> Any:
    return json.loads(run(without_jit.__file__))


def test_the_bits_are_the_same(found: Any) -> None:
    compiled = without_jit.digests()
    assert len(compiled) > 150 and found["digests"].keys() == compiled.keys()
    assert [case for case in compiled if found["digests"][case] != compiled[case]] == []


def test_nothing_is_said(found: Any) -> None:
    assert found["warnings"] == []


def test_kernels_are_compiled_and_kept(tmp_path: Path) -> None:
    printed = run("-W", "error", "-c", FIRST, NUMBA_CACHE_DIR=str(tmp_path))
    (line,) = (line for line in printed.splitlines() if line.startswith("cache "))
    assert str(tmp_path) in line
    assert [path.name for path in tmp_path.rglob("*.nbc") if "gemm.float64" in path.name]


def test_threads_take_part() -> None:
    """The pool's loops are kernels as well."""
    assert run("-W", "error", "-c", POOL) == ""


def test_the_main_job_prints_the_digest_it_always_prints() -> None:
    assert run("-W", "error", "-m", "fastgrad").count("dd63c946363641b6") == 2


def test_check_finds_the_bits_it_always_finds() -> None:
    """On one thread and on several."""
    printed = run("-W", "error", "-m", "fastgrad", "check", "--bits")
    assert "\nall passed\n" in printed and "FAIL" not in printed
    assert printed.endswith("bits 2: e8e1d153119b5c01\n")
