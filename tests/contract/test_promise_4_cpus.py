"""Promise 4: the same bits on AVX2 and AVX-512; without FMA promises 2 and 3 still hold.

Code for another CPU of the same family runs here: numba compiles for the one it is told. What each
process computes is compared with what the scalar formula gives, case by case.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import digest, fuzz
from support.programs import environment
from support.watch import WAYS

AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}
SKYLAKE = {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""}
ZEN4 = {"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": ""}
WITHOUT_FMA = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
CPUS = {"haswell": AVX2, "skylake-avx512": SKYLAKE, "znver4": ZEN4}
FUZZED = 300  # cases of each promise on each CPU

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not digest.edges.ISA.fma,
    reason="needs an x86-64 CPU with FMA",
)
needs_avx512 = pytest.mark.skipif(digest.edges.ISA.vector_bytes < 64, reason="needs AVX-512")
other_cpus = pytest.mark.parametrize(
    "cpu", ["haswell", *(pytest.param(c, marks=needs_avx512) for c in ("skylake-avx512", "znver4"))]
)


def _run(cpu: dict[str, str], cache: Path, module: Any, *arguments: str) -> dict[str, Any]:
    env = environment(**cpu, NUMBA_CACHE_DIR=str(cache))
    done = subprocess.run(
        [sys.executable, module.__file__, *arguments],
        env=env, capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _differ(found: dict[str, str], right: dict[str, str]) -> list[str]:
    assert found.keys() == right.keys()
    return [case for case in right if found[case] != right[case]]


def test_this_cpu_computes_the_formula() -> None:
    assert _differ(digest.results(), digest.expected()) == []
    assert digest.ways() == WAYS, f"not taken: {WAYS - digest.ways()}"


@pytest.mark.process
def test_avx2_computes_the_formula(warm_cache: Path) -> None:
    _check(AVX2, warm_cache, "AVX2")


@pytest.mark.slow
@needs_avx512
@pytest.mark.parametrize("cpu", ["skylake-avx512", "znver4"])
def test_other_cpus_compute_the_formula(cpu: str, warm_cache: Path) -> None:
    _check(CPUS[cpu], warm_cache, "AVX-512")


def _check(cpu: dict[str, str], cache: Path, isa: str) -> None:
    found = _run(cpu, cache, digest)
    assert found["isa"] == isa
    assert _differ(found["cases"], digest.expected()) == []
    assert found["digest"] == digest.digest()
    assert {*found["ways"]} == WAYS, f"not taken: {WAYS - {*found['ways']}}"
    assert found["layouts"] and found["batches"] and found["right"]


@pytest.mark.process
def test_without_fma_results_are_right_and_reproducible(warm_cache: Path) -> None:
    found = _run(WITHOUT_FMA, warm_cache, digest, "small")
    assert not found["fma"]
    assert found["layouts"] and found["batches"] and found["right"]


@pytest.mark.fuzz
@pytest.mark.slow
@other_cpus
def test_every_promise_on_other_cpus(
    cpu: str, warm_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for promise in fuzz.PROMISES:
        found = _run(CPUS[cpu], warm_cache, fuzz, promise, "0", str(FUZZED))
        ways = len(found["ways"])
        with capsys.disabled():
            print(f"\n{promise}, {cpu} ({found['isa']}): {found['cases']} cases, {ways} ways")
        assert found["cases"] == FUZZED and ways > len(WAYS) - 4


def test_results_that_differ_are_seen() -> None:
    """One bit of one case is enough."""
    right = digest.expected()
    case = next(iter(right))
    assert _differ({**right, case: "00000000"}, right) == [case]
