"""Promise 4: the same bits on AVX2 and AVX-512; without FMA promises 2 and 3 still hold.

Code for another CPU of the same family runs here: numba compiles for the one it is told.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import digest
import pytest

import fastgrad

AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}
WITHOUT_FMA = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not digest.edges.ISA.fma,
    reason="needs an x86-64 CPU with FMA",
)


def _run(cpu: dict[str, str], cache: Path) -> dict[str, Any]:
    package = str(Path(fastgrad.__file__).parents[1])
    env = {**os.environ, **cpu, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": package}
    done = subprocess.run(
        [sys.executable, digest.__file__], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_avx2_gives_the_same_bits(tmp_path: Path) -> None:
    found = _run(AVX2, tmp_path)
    assert found["isa"] == "AVX2"
    assert found["digest"] == digest.digest()
    assert found["layouts"] and found["batches"] and found["right"]


def test_without_fma_results_are_right_and_reproducible(tmp_path: Path) -> None:
    found = _run(WITHOUT_FMA, tmp_path)
    assert not found["fma"]
    assert found["layouts"] and found["batches"] and found["right"]
