"""fastgrad check, and check --bits: what passes, and that each wrong result fails by its name."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad.cli import check, main
from fastgrad.reference import cases, contract_matmul, oracle, promises
from support import edges
from support.programs import environment
from support.watch import WAYS, Watch

Capture = pytest.CaptureFixture[str]
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}
WITHOUT_FMA = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not edges.ISA.fma,
    reason="needs an x86-64 CPU with FMA",
)
LAST = re.compile(rf"bits {fastgrad.BITS_VERSION}: ([0-9a-f]{{16}})")


def test_check_passes(capsys: Capture) -> None:
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("checking on ") and lines[-1] == "all passed"
    assert len(lines) == 2 + 2 * (1 + len(edges.ACTIVATIONS) + 3) + 2 * 3
    assert all(line.startswith("PASS  ") for line in lines[1:-1])


@pytest.mark.parametrize("name", ["matmul_nt", "linear_backward", "mse"])
def test_check_fails_where_a_function_is_wrong(name: str, capsys: Capture, monkeypatch) -> None:
    real = getattr(fastgrad, name)

    def wrong(*args, **kwargs):
        result = real(*args, **kwargs)
        if name == "matmul_nt":
            return np.nextafter(result, np.inf, dtype=result.dtype)  # one bit
        if name == "mse":
            return result[0], result[1] * np.float32(1.001)
        result.weight[-1, -1] = 0
        return result

    monkeypatch.setattr(fastgrad, name, wrong)
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("FAIL")]
    subject = "linear" if name == "linear_backward" else name
    assert failed and all(subject in line for line in failed)
    assert lines[-1] == f"{len(failed)} failed"


# --- check --bits


@pytest.fixture
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for every check to find something."""
    monkeypatch.setattr(cases, "DTYPES", ("float32",))
    shapes, names = ((5, 600, 9), (3, 40, 70)), (None, "relu")
    products = tuple(cases.Product("float32", *shape) for shape in shapes)
    layers = tuple(cases.Layer("float32", 33, 9, 20, name) for name in names)
    monkeypatch.setattr(cases, "products", lambda dtype: products)
    monkeypatch.setattr(cases, "layers", lambda dtype: layers)


def test_bits_pass(few_cases: None, capsys: Capture) -> None:
    before = fastgrad.get_num_threads()
    assert main(["check", "--bits"]) == 0
    assert fastgrad.get_num_threads() == before
    first, *rows, verdict, machine, last = capsys.readouterr().out.splitlines()
    assert first.startswith("checking on ") and verdict == "all passed"
    assert [row.split("  ")[1] for row in rows] == [row[6:].split("  ")[0] for row in rows]
    assert len(rows) == 6 and all(row.startswith("PASS  ") for row in rows)
    assert edges.ISA.name in machine and np.__version__ in machine
    assert LAST.fullmatch(last)


def _next(a: Any) -> None:
    a.flat[-1] = np.nextafter(a.flat[-1], a.dtype.type(np.inf))


# promise -> (function, when its result is wrong: (args, kwargs) -> bool)
SLIPS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "formula": ("matmul", lambda args, named: args[0].shape[-1] in (600, 40)),
    "threads": ("matmul", lambda args, named: fastgrad.get_num_threads() == 2),
    "layouts": ("matmul", lambda args, named: args[1].flags.f_contiguous),
    "batches": ("linear_forward", lambda args, named: len(args[0]) == 7),
    "fused": (
        "linear_backward",
        lambda args, named: named.get("needs") == (False, True, False),
    ),
    "micro-batches": (
        "linear_backward", lambda args, named: named.get("accumulate") is True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("promise", SLIPS)
def test_a_broken_promise_is_named(
    promise: str, few_cases: None, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, is_wrong = SLIPS[promise]
    real = getattr(fastgrad, name)

    def slip(*args: Any, **named: Any) -> Any:
        result = real(*args, **named)
        if is_wrong(args, named):
            _next(result.weight if name == "linear_backward" else result)
        return result

    if promise == "formula":  # wrong in the same way everywhere, so that only the formula tells
        for twin in ("matmul_nt", "matmul_tn"):
            monkeypatch.setattr(fastgrad, twin, lambda a, b, t=twin: slip(*_plain(t, a, b)))
    monkeypatch.setattr(fastgrad, name, slip)
    with fastgrad.num_threads(1):
        assert main(["check", "--bits"]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.startswith("FAIL")]
    assert len(failed) == 1 and failed[0].startswith(f"FAIL  {promises.TITLES[promise]}, float32")
    assert "1 elements differ" in failed[0] and "1 failed" in lines


def _plain(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    return (a, b.T) if name == "matmul_nt" else (a.T, b)


@pytest.mark.parametrize("dtype", edges.DTYPES)
def test_every_way_is_taken(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the cases that are compared with the formula; by other layouts, what they leave out."""
    ways: set[str] = set()

    def watched(name: str) -> None:
        real = getattr(fastgrad, name)

        def call(*args: Any, **named: Any) -> Any:
            with Watch(dtype) as watch:
                result = real(*args, **named)
            ways.update(watch.ways())
            return result

        monkeypatch.setattr(fastgrad, name, call)

    for name in ("matmul", "linear_forward", "linear_backward"):
        watched(name)
    with fastgrad.num_threads(2), edges.l2():
        promises.check_threads(fastgrad, dtype)
        assert WAYS - ways <= {"gathered"}
        promises.check_layouts(fastgrad, dtype)
        assert ways == WAYS


def test_the_digest_sees_every_bit() -> None:
    found = {"x": np.array([[0.0, np.nan], [1.0, -2.0]], np.float32)}
    first = cases.digest(found)
    other_nan = found["x"].copy()
    other_nan.view(np.uint32)[0, 1] = 0xFFC12345
    assert np.isnan(other_nan[0, 1]) and cases.digest({"x": other_nan}) == first
    for changed in (
        np.nextafter(found["x"], np.float32(9)),
        np.where(found["x"] == 0, np.float32(-0.0), found["x"]),
        found["x"].astype(np.float64),
        found["x"].reshape(1, 4),
    ):
        assert cases.digest({"x": changed}) != first
    assert cases.digest({"y": found["x"]}) != first


def test_same() -> None:
    a = np.array([0.0, np.nan, 1.0], np.float32)
    b = a.copy()
    b.view(np.uint32)[1] ^= 1
    promises.same(a, b, "x")
    for wrong in (a.astype(float), a[:2], np.array([-0.0, np.nan, 1.0], np.float32)):
        with pytest.raises(AssertionError, match=r"^x: "):
            promises.same(a, wrong, "x")


def test_the_formula_without_fma(monkeypatch: pytest.MonkeyPatch, rng: Any) -> None:
    """One element by plain Python: a product, a sum, each rounded."""
    a, b, old = rng.standard_normal((2, 300)), rng.standard_normal((300, 1)), np.ones((2, 1))
    fused = oracle.product(a, b, old)
    if oracle.has_fma():
        assert np.array_equal(fused[0], contract_matmul(a, b))
        assert np.array_equal(fused[1], contract_matmul(a, b, c_old=old))
    monkeypatch.setattr(oracle, "has_fma", lambda: False)
    blocks = []
    for k in (range(256), range(256, 300)):
        total = 0.0
        for i in k:
            total = float(a[0, i]) * float(b[i, 0]) + total
        blocks.append(total)
    written, added = oracle.product(a, b, old)
    assert written[0, 0] == blocks[0] + blocks[1]
    assert added[0, 0] == (1.0 + blocks[0]) + blocks[1]
    z = np.linspace(-3, 3, 1001)
    unfused = oracle.value("tanh", z)
    np.testing.assert_allclose(unfused, np.tanh(z), rtol=1e-14)
    monkeypatch.setattr(oracle, "has_fma", lambda: True)
    assert (unfused != oracle.value("tanh", z)).any()


def _in_a_process(cpu: dict[str, str], cache: Path, *command: str) -> str:
    env = environment(**cpu, NUMBA_CACHE_DIR=str(cache))
    done = subprocess.run(
        [sys.executable, *command], env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("cpu", [AVX2, WITHOUT_FMA])
@x86
def test_another_cpu_passes(cpu: dict[str, str], warm_cache: Path) -> None:
    """With the same digest, where it has fused multiply-add."""
    out = _in_a_process(cpu, warm_cache, "-m", "fastgrad", "check", "--bits")
    assert "\nall passed\n" in out
    found = LAST.search(out)
    assert found and (found[1] == check.digest()) == (cpu is AVX2)
    assert ("no fused multiply-add" in out) == (cpu is WITHOUT_FMA)
