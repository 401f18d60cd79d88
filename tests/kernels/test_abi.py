"""Builtins read Python's objects only where their fields have been verified; else they refuse."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import abi, builtins, step_builtin
from fastgrad._kernels.runtime import compiler
from fastgrad._kernels.runtime.table import TABLE

OFFSETS = ("TYPE", "DATA", "NDIM", "LENGTHS", "STRIDES", "DTYPE", "FLAGS", "FORMAT")


def _verify() -> bool:
    """What a process that has not looked yet would find."""
    return abi.verify.__wrapped__()


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Entries as in a process that has not made them."""
    made = {name: vars(builtins).pop(name) for name in builtins.NAMES if name in vars(builtins)}
    yield
    for name in builtins.NAMES:
        vars(builtins).pop(name, None)
    vars(builtins).update(made)


def test_this_python_and_numpy_are_as_assumed() -> None:
    assert _verify()


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("by", [-8, 8])
def test_another_place_of_a_field_is_noticed(
    name: str, by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abi, name, getattr(abi, name) + by)
    assert not _verify()


@pytest.mark.parametrize("bit", [0x1, 0x100, 0x800])
def test_another_flag_is_noticed(bit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi, "WRITEABLE", bit)
    assert not _verify()


def test_a_missing_symbol_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi, "FUNCTIONS", ("Py_NoSuchFunction", *abi.FUNCTIONS[-3:]))
    monkeypatch.setitem(abi.FUNCTION, "Py_NoSuchFunction", abi.FUNCTION["Py_IncRef"])
    assert not _verify()


def test_another_abi_of_numpy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abi, "_ABI", (0x3000000,))
    assert not _verify()


def test_entries_are_builtins(forgotten: None) -> None:
    for name in builtins.NAMES:
        assert name not in vars(builtins)
        assert type(getattr(builtins, name)) is types.BuiltinFunctionType
        assert getattr(builtins, name) is vars(builtins)[name]
    with pytest.raises(AttributeError, match="no_such_entry"):
        builtins.no_such_entry  # noqa: B018


def test_machine_code_is_of_this_layout(forgotten: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache knows a function by its name and the sources."""
    seen = []
    address_of = compiler.address_of
    monkeypatch.setattr(
        compiler, "address_of", lambda name, f: (seen.append(name), address_of(name, f))[1]
    )
    for name in builtins.NAMES:
        getattr(builtins, name)
    assert len(seen) == len(builtins.NAMES) and len(set(seen)) == len(builtins._CODES)
    assert all(name.endswith(f".{abi.HEADER}") for name in seen)


def test_without_verification_all_calls_are_checked(
    forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abi, "verify", lambda: False)
    for name in builtins.NAMES:
        assert getattr(builtins, name) is builtins.refuse
    assert step_builtin.of_table("train_step", np.zeros(1)) is builtins.refuse
    x, w = np.arange(6, dtype="f4").reshape(2, 3), np.ones((3, 2), "f4")
    z = np.matmul(x, w)
    stack = np.stack([x, -x])
    y = fastgrad.linear_forward(x, w, w[0], "relu")
    grads = fastgrad.linear_backward(y, x, w, "relu", output=y)
    assert (fastgrad.matmul(x, w) == z).all() and (fastgrad.matmul_nt(x, w.T) == z).all()
    assert (fastgrad.matmul_tn(x.T, w) == z).all() and (y == z + 1).all()
    assert (fastgrad.matmul(stack, w[None]) == np.matmul(stack, w)).all()
    assert type(grads) is fastgrad.LinearGrads and (grads.weight == x.T @ y).all()
    assert grads.bias is not None and grads.bias.tolist() == y.sum(0).tolist()
    assert fastgrad.mse(x, x)[0] == 0 and fastgrad.mse(x, x + 1)[0] == 1
    fastgrad.sgd_step(w, w.copy(), 0.5)
    assert (w == 0.5).all()


def test_the_table_is_filled() -> None:
    abi.verify()
    for name, one in abi._OBJECTS.items():
        assert TABLE[abi.OBJECT[name]] == id(one)
    known = [TABLE[abi.FORMATS[name]] for name in ("float32", "float64", "int64")]
    words: dict[Any, int] = {
        d: ctypes.c_int64.from_address(id(d) + abi.FORMAT).value
        for d in (np.dtype("f4"), np.dtype("f8"), np.dtype("i8"))
    }
    assert [*words.values()] == known and len(set(known)) == 3
