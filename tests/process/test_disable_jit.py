"""NUMBA_DISABLE_JIT=1: the public functions run on fastgrad.reference, with the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

from fastgrad._kernels.codegen.target import current
from support import without_jit
from support.programs import environment

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT or not current().isa.fma,
    reason="compares with compiled kernels, which give the contract's bits where there is FMA",
)

FIRST = """
import numpy as np, fastgrad
x = np.ones((2, 2))
y = np.zeros((2, 2))
try:
    fastgrad.matmul(x, x, y)
except RuntimeWarning as warning:
    assert str(warning).startswith("fastgrad: NUMBA_DISABLE_JIT is set"), warning
    assert not y.any()
assert (fastgrad.matmul(x, x, y) == 2).all() and y.all()
fastgrad.warmup()
fastgrad.show_config()
"""


def run(cache: Path, *command: str) -> str:
    env = environment(NUMBA_DISABLE_JIT="1", NUMBA_CACHE_DIR=str(cache))
    done = subprocess.run(
        [sys.executable, *command], env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cache = tmp_path_factory.mktemp("cache")
    result = json.loads(run(cache, without_jit.__file__))
    assert not list(cache.rglob("*.nb?"))  # nothing was compiled
    return result


def test_the_bits_are_those_of_compiled_code(found: Any) -> None:
    compiled = without_jit.digests()
    assert len(compiled) > 150 and found["digests"].keys() == compiled.keys()
    assert [case for case in compiled if found["digests"][case] != compiled[case]] == []


def test_it_is_said_once_and_where(found: Any) -> None:
    ((category, file, message),) = found["warnings"]
    assert category == "RuntimeWarning" and file == without_jit.__file__
    assert "\n" not in message and "fastgrad.reference" in message


def test_import_says_nothing_and_a_first_call_that_raises_writes_nothing(tmp_path: Path) -> None:
    printed = run(tmp_path, "-W", "error", "-c", FIRST)
    assert "cache        none: NUMBA_DISABLE_JIT is set" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_main_job_prints_the_digest_it_always_prints(tmp_path: Path) -> None:
    printed = run(tmp_path, "-W", "ignore", "-m", "fastgrad")
    assert "5c0a33b9d0a3e40a" in printed
