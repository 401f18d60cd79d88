"""Compiled kernels of one formula: the bits of reference.lanes in every lane, mask and width."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastgrad._kernels.codegen import calls, target
from fastgrad._kernels.gemm import elementwise
from fastgrad._kernels.runtime.callbacks import KERNEL_TYPE
from support import applied, edges
from support.assembly import fresh
from support.oracles import assert_same_bits
from support.programs import environment
from support.slots import replaced

DTYPES = ["float32", "float64"]
FORMULAS = list(elementwise.FORMULAS)
FEW = ["log", "erfc", "gelu_tanh", "gelu_backward"]  # all operations there are
WIDTHS = [16, 32, 64]  # bytes of a vector: 4, 8 and 16 float32, 2, 4 and 8 float64
AVX2 = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2,+f16c"}

needs_fma = pytest.mark.skipif(not edges.ISA.fma, reason="the contract's bits need FMA")


@needs_fma
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_kernel_has_the_bits_of_lanes(name: str, dtype: str) -> None:
    assert_same_bits(
        applied.apply(name, *applied.operands(name, dtype, 20_000)),
        applied.on_lanes(name, *applied.operands(name, dtype, 20_000)),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMULAS)
def test_lane_and_mask_make_no_difference(name: str, dtype: str) -> None:
    """Every run of 1 to 2·lanes + 1 elements from every place, unaligned, and nothing beside it."""
    lanes = edges.lanes(dtype)
    arrays = applied.operands(name, dtype, 3 * lanes + 1)
    whole = applied.apply(name, *arrays)
    for n in range(1, 2 * lanes + 2):
        for start in range(lanes):
            out = np.full(n + 2, 7.25, dtype)
            applied.apply(name, *(a[start : start + n] for a in arrays), out=out[1:-1])
            assert_same_bits(out[1:-1], whole[start : start + n], f"{start} + {n}")
            assert out[0] == out[-1] == 7.25, (start, n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FEW)
def test_rows_far_apart(name: str, dtype: str) -> None:
    columns = edges.lanes(dtype) + 3
    arrays = [a.reshape(5, -1) for a in applied.operands(name, dtype, 5 * (columns + 4))]
    out = np.full((5, columns + 2), 7.25, dtype)
    applied.apply(name, *(a[:, 2 : columns + 2] for a in arrays), out=out[:, :columns])
    whole = applied.apply(name, *arrays)
    assert_same_bits(out[:, :columns], whole[:, 2 : columns + 2])
    assert (out[:, columns:] == 7.25).all()


def with_vectors_of(width: int, name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kernel as it would be on a CPU whose vectors have that many bytes."""
    isa = dataclasses.replace(target.current().isa, vector_bytes=width)
    monkeypatch.setattr(calls, "current", lambda: SimpleNamespace(isa=isa))
    kernel = fresh(elementwise.KERNELS[name], dtype)
    kind = "float" if dtype == "float32" else "double"
    found = set(re.findall(rf"<(\d+) x {kind}>", kernel.inspect_llvm()))
    assert found == {str(width // edges.itemsize(dtype))}
    return kernel


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name",
    [*FEW, *(pytest.param(n, marks=pytest.mark.slow) for n in FORMULAS if n not in FEW)],
)
def test_width_of_the_vectors_makes_no_difference(
    name: str, dtype: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = applied.operands(name, dtype, 5003)
    kernel = with_vectors_of(width, name, dtype, monkeypatch)
    inner, called = KERNEL_TYPE(kernel.address), []

    def spy(address: int) -> int:
        called.append(address)
        return int(inner(address))

    expected = applied.apply(name, *arrays)
    with replaced(elementwise.KERNELS[name].slot(dtype), by=spy):
        found = applied.apply(name, *arrays)
    assert len(called) == 1
    assert_same_bits(found, expected)


@needs_fma
@pytest.mark.skipif(edges.ISA.name != "AVX-512", reason="the host itself is no AVX-512 CPU")
@pytest.mark.slow  # tests/contract/test_promise_4_cpus.py has the activations in layers
def test_avx2_has_the_same_bits(warm_cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, applied.__file__, *FORMULAS],
        env=environment(**AVX2, NUMBA_CACHE_DIR=str(warm_cache)),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("isa") == "AVX2"
    assert found == applied.digests(FORMULAS)
