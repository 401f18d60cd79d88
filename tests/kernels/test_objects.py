"""Builtins read Python's objects only where their fields have been verified, and else by hand."""

from __future__ import annotations

import ctypes
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.bind import builtins, by_hand, objects
from fastgrad._kernels.runtime import jit

OFFSETS = (
    "TYPE", "DATA", "NDIM", "LENGTHS", "STRIDES", "DTYPE", "FLAGS", "FORMAT", "SIZE", "ITEMS",
)  # fmt: skip


def _verify() -> bool:
    """What a process that has not looked yet would find."""
    return objects.verify.__wrapped__()


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
    monkeypatch.setattr(objects, name, getattr(objects, name) + by)
    assert not _verify()


@pytest.mark.parametrize("bit", [0x1, 0x100, 0x800])
def test_another_flag_is_noticed(bit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "WRITEABLE", bit)
    assert not _verify()


def test_a_missing_symbol_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "FUNCTIONS", ("Py_NoSuchFunction", "PyArray_Empty"))
    monkeypatch.setitem(objects.FUNCTION, "Py_NoSuchFunction", objects.FUNCTION["Py_IncRef"])
    assert not _verify()


def test_another_abi_of_numpy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_ABI", (0x3000000,))
    assert not _verify()


def test_entries_are_builtins(forgotten: None) -> None:
    for name in builtins.NAMES:
        assert name not in vars(builtins)
        assert type(getattr(builtins, name)) is types.BuiltinFunctionType
        assert getattr(builtins, name) is vars(builtins)[name]
    with pytest.raises(AttributeError, match="no_such_entry"):
        builtins.no_such_entry  # noqa: B018


def test_machine_code_is_of_these_sources_and_this_layout(
    forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numba's cache knows a function by its bytecode and its closure: see jit.stamp."""
    seen = []
    compiler = builtins.compile_callable
    monkeypatch.setattr(builtins, "compile_callable", lambda f: (seen.append(f), compiler(f))[1])
    for name in builtins.NAMES:
        getattr(builtins, name)
    assert len(seen) == len(builtins.NAMES)
    for function in seen:
        closure = [cell.cell_contents for cell in function.__closure__]
        assert jit.stamp() in closure and (objects.HEADER, objects.ITEMS) in closure


def test_without_verification_calls_go_by_hand(
    forgotten: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "verify", lambda: False)
    for name in builtins.NAMES:
        assert getattr(builtins, name) is getattr(by_hand, name)
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


def test_the_table_is_filled() -> None:
    objects.verify()
    table = objects.TABLE
    assert table[objects.NDARRAY] == id(np.ndarray) and table[objects.NONE] == id(None)
    known = (table[objects.FORMATS], table[objects.FORMATS + 1])
    words: dict[Any, int] = {
        d: ctypes.c_int64.from_address(id(d) + objects.FORMAT).value
        for d in (np.dtype("f4"), np.dtype("f8"))
    }
    assert tuple(words.values()) == known and known[0] != known[1]
