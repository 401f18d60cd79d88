"""Not one byte outside of the operands is read or written: see guards.py.

In a process of its own, which a read of a guard page ends. Writes into gaps between elements are
found by the rogue bytes there, reads by .ci/valgrind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.programs import environment
from support.watch import WAYS

PROGRAM = Path(__file__).with_name("guards.py")
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}
QUICK, LONG, LONG_AVX2 = 90, 6000, 3000  # cases

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="guard pages are made by mmap and mprotect"
)


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(**variables), capture_output=True, text=True, timeout=3000,
    )  # fmt: skip


def _cases(count: int, *arguments: str, **variables: str) -> dict[str, Any]:
    done = _run(str(PROGRAM), "0", str(count), *arguments, **variables)
    *_, last = done.stdout.splitlines() or [""]
    assert done.returncode == 0, f"exit code {done.returncode} in {last}\n{done.stderr}"
    found: dict[str, Any] = json.loads(last)
    assert sum(found["cases"].values()) == count
    return found


def test_nothing_outside_of_operands_is_touched() -> None:
    found = _cases(QUICK)
    usual = {
        "A in place", "A in panels", "B packed before", "B packed on the way",
        "rows in several blocks", "k in several blocks", "copies found again",
        "panels found again", "C gathered", "H by columns", "transposed",
    }  # fmt: skip
    assert usual <= {*found["ways"]}, usual - {*found["ways"]}


@pytest.mark.fuzz
@pytest.mark.slow
def test_nothing_outside_of_operands_is_touched_on_any_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = _cases(LONG, "long")
    with capsys.disabled():
        print(f"\nguard pages, {found['isa']}: {found['cases']}")
    assert WAYS == {*found["ways"]}


@pytest.mark.fuzz
@pytest.mark.slow
def test_nothing_outside_of_operands_is_touched_on_avx2(
    warm_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastgrad._kernels.codegen import target

    if target.current().isa.name not in ("AVX2", "AVX-512"):
        pytest.skip("AVX2 code cannot run here")
    found = _cases(LONG_AVX2, "long", NUMBA_CACHE_DIR=str(warm_cache), **AVX2)
    with capsys.disabled():
        print(f"\nguard pages, {found['isa']}: {found['cases']}")
    assert found["isa"] == "AVX2" and WAYS == {*found["ways"]}


TOUCH = """
import ctypes
import numpy as np
from support.guarded import guard
a = guard(np.arange(6, dtype=np.float32)[::-1], upper={upper}).array
first = min(a.ctypes.data, a[-1:].ctypes.data)
at = first + {offset}
assert (ctypes.string_at(first, 24) == a[::-1].tobytes())
print("to be touched", flush=True)
{touch}
print("touched")
"""
READ, WRITE = "ctypes.string_at(at, 1)", "ctypes.memset(at, 0, 1)"


@pytest.mark.parametrize("touch", [READ, WRITE])
@pytest.mark.parametrize(("upper", "offset"), [(True, 24), (False, -1)])
def test_a_byte_beside_an_array_ends_the_process(upper: bool, offset: int, touch: str) -> None:
    done = _run("-c", TOUCH.format(upper=upper, offset=offset, touch=touch))
    assert done.returncode < 0 and done.stdout == "to be touched\n", done.stderr
