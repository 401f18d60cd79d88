"""Vectors and dense stacks take the fast path, with the bits of the checked one."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pytest

import fastgrad
from fastgrad._ops import linear
from fastgrad._ops import matmul as _matmul

Array = np.ndarray[Any, Any]
PRODUCTS = {
    "matmul": [((5,), (5,)), ((5,), (5, 3)), ((4, 5), (5,)), ((2, 4, 5), (5, 3))],
    "matmul_nt": [((5,), (5,)), ((5,), (3, 5)), ((4, 5), (5,)), ((2, 2, 4, 5), (3, 5))],
    "matmul_tn": [((5,), (5,)), ((5,), (5, 3)), ((5, 4), (5,))],
}
CASES = [(name, a, b) for name, shapes in PRODUCTS.items() for a, b in shapes]


def _refuse(*args: object, **named: object) -> NoReturn:
    raise AssertionError("the checked path was taken")


def _normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def _equal(one: Any, other: Any) -> bool:
    same_kind = type(one) is type(other) and np.shape(one) == np.shape(other)
    return same_kind and np.array_equal(one, other)


@pytest.mark.parametrize(("name", "a_shape", "b_shape"), CASES)
def test_products(name: str, a_shape: Any, b_shape: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = _normal(*a_shape), _normal(*b_shape, seed=1)
    function = getattr(fastgrad, name)
    expected = _matmul._checked(name, a, b, None, False)
    monkeypatch.setattr(_matmul, "_checked", _refuse)
    assert _equal(function(a, b), expected)
    out = np.full(np.shape(expected), 2.0)
    assert function(a, b, out) is out and np.array_equal(out, expected)
    assert function(a, b, out, True) is out and np.array_equal(out, expected + expected)


@pytest.mark.parametrize("lead", [(), (1,), (2, 3), (2, 1, 4)])
def test_layers(lead: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, bias, g = _normal(*lead, 5), _normal(5, 3), _normal(3), _normal(*lead, 3, seed=2)
    expected = linear._checked_forward(x, w, bias, "tanh", None, None)
    arguments: Any = (g, x, w, "tanh", expected, None)
    whole = linear._checked_backward(*arguments, (True,) * 3, (None,) * 3, False)
    monkeypatch.setattr(linear, "_checked_forward", _refuse)
    monkeypatch.setattr(linear, "_checked_backward", _refuse)
    z, y = np.empty_like(expected), np.empty_like(expected)
    assert _equal(fastgrad.linear_forward(x, w, bias, "tanh"), expected)
    assert fastgrad.linear_forward(x, w, bias, "tanh", y, z) is y and _equal(y, expected)
    assert _equal(z, np.asarray(fastgrad.linear_forward(x, w, bias)))
    found = fastgrad.linear_backward(*arguments)
    assert all(_equal(one, other) for one, other in zip(found, whole, strict=True))
    dx = np.ones_like(x)
    part = fastgrad.linear_backward(*arguments, (True, False, True), (dx, None, None), True)
    assert part.x is dx and part.weight is None and part.bias is not None
    assert np.array_equal(dx, 1.0 + whole.x) and _equal(part.bias, whole.bias)


def test_what_does_not_collapse_takes_the_checked_path(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = _normal(4, 3, 5)[:, ::2], _normal(5, 2)
    expected = fastgrad.linear_forward(np.ascontiguousarray(x), w)
    assert _equal(fastgrad.linear_forward(x, w), expected)
    monkeypatch.setattr(linear, "_checked_forward", _refuse)
    with pytest.raises(AssertionError, match="checked"):
        fastgrad.linear_forward(x, w)


def test_overlap_is_as_if_read_first() -> None:
    x = _normal(2, 3, 4)
    w = _normal(4, 4)
    expected = fastgrad.linear_forward(x, w)
    assert fastgrad.linear_forward(x, w, out=x) is x and _equal(x, expected)
    v = _normal(4)
    product = fastgrad.matmul(v, w)
    assert fastgrad.matmul(v, w, out=v) is v and _equal(v, product)
