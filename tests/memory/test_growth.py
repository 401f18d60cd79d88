"""Thousands of calls leave nothing behind, from Python and from compiled code: see growth.py."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.programs import environment

PROGRAM = Path(__file__).with_name("growth.py")
QUICK, LONG = 5_000, 100_000  # calls
LEAKS = ("leak_of_malloc", "leak_of_references", "leak_of_objects")
PYTHON = ("products", "large_products", "careful_products", "layers", "losses", "optimizers",
          "training", "errors")  # fmt: skip
ERRORS = ("compiled_errors", "errors_of_numba")
COMPILED = ("compiled", "compiled_products")
SLOW = ("models", "threads")  # each call makes one

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="reads what glibc and Linux say of memory"
)


def _measure(calls: int, *names: str) -> dict[str, dict[str, int]]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(calls), *names],
        env=environment(), capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("name"): line for line in lines}


# What a call may leave on average, the least that malloc gives out being 24 bytes; the resident set
# is noise up to this many bytes.
ALLOWED = {"malloc": 12, "blocks": 0.5, "arrays": 0.5, "references": 0.5, "kept": 0}
RESIDENT = 3_000_000


def _grown(found: dict[str, int], calls: int) -> list[str]:
    grown = [name for name, allowed in ALLOWED.items() if found[name] > allowed * calls]
    grown += ["resident"] if found["resident"] > RESIDENT else []
    return [f"{name} by {found[name]}" for name in grown]


@pytest.fixture(scope="module")
def quick() -> dict[str, dict[str, int]]:
    return _measure(QUICK, *PYTHON, *COMPILED, *ERRORS, *LEAKS)


def test_calls_leave_nothing_behind(quick: dict[str, dict[str, int]]) -> None:
    grown = {name: _grown(quick[name], QUICK) for name in (*PYTHON, *COMPILED)}
    assert not any(grown.values()), grown


def test_errors_of_compiled_code_leave_no_more_than_numba_does(
    quick: dict[str, dict[str, int]],
) -> None:
    ours, numbas = (quick[name] for name in ERRORS)
    assert numbas["arrays"] > 0, "numba has mended it: ask for nothing to be left"
    assert not _grown({k: ours[k] - numbas[k] for k in ours}, QUICK)


def test_leaks_are_seen(quick: dict[str, dict[str, int]]) -> None:
    grown = [" and ".join(_grown(quick[name], QUICK)) for name in LEAKS]
    assert "malloc" in grown[0] and "references" in grown[1] and "blocks" in grown[2], grown


@pytest.mark.slow
def test_a_hundred_thousand_calls_leave_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    found = _measure(LONG, *PYTHON, *COMPILED, *ERRORS)
    found |= _measure(LONG // 10, *SLOW)
    with capsys.disabled():
        print()
        for name, f in found.items():
            print(f"{name}: {f}")
    ours, numbas = (found.pop(name) for name in ERRORS)
    assert not _grown({k: ours[k] - numbas[k] for k in ours}, LONG)
    slow = {name: found.pop(name) for name in SLOW}
    assert {name: grown for name, f in slow.items() if (grown := _grown(f, LONG // 10))} == {}
    assert {name: grown for name, f in found.items() if (grown := _grown(f, LONG // 10))} == {}
