"""From compiled code: the bits of the same call from Python, for shapes, layouts, activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba.core.errors import TypingError

import fastgrad
from support import compiled, edges
from support.compiled import DTYPES, compile_for, fresh, read, written
from support.layouts import LAYOUTS, OUTPUTS, STACKS, laid_out, place
from support.oracles import assert_same_bits, floats

ACTIVATIONS = (None, *edges.ACTIVATIONS)
SHAPES = ((5, 7, 3), (1, 9, 1), (40, 33, 65), (2, 0, 3), (0, 4, 2), (3, 4, 0), (130, 600, 70))

NEEDS = (False, True, False)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_products(rng: np.random.Generator, dtype: str) -> None:
    compile_for(compiled.products, *[read(dtype, 2)] * 4)
    for m, k, n in [*SHAPES[:3], SHAPES[-1]]:
        a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
        for layout in LAYOUTS:
            args = [laid_out(values, layout) for values in (a, b, a.T, b.T)]
            expected = compiled.products.py_func(*args)
            for i, (actual, want) in enumerate(
                zip(compiled.products(*args), expected, strict=True)
            ):
                assert_same_bits(np.asarray(actual, dtype), want, f"{layout}, {i}, {(m, k, n)}")


def test_products_into(rng: np.random.Generator) -> None:
    """Any layout of out, written and added to; one that overlaps an input; read-only inputs."""
    f, dtype = compiled.product_into, "float32"
    compile_for(f, *[read(dtype, 2)] * 2, written(dtype, 2), compiled.types.boolean)
    a, b, c = (floats(rng, *shape) for shape in ((6, 5), (5, 7), (6, 7)))
    for layout in OUTPUTS:
        for accumulate in (False, True):
            to, expected = place(c, **OUTPUTS[layout]), fresh(c)
            fastgrad.matmul(a, b, expected, accumulate)
            result = f(laid_out(a, "F, read-only"), b, to.array, accumulate)
            assert_same_bits(result, expected, layout)
            assert result.ctypes.data == to.array.ctypes.data and to.intact()
    square, other = floats(rng, 6, 6), floats(rng, 6, 6)
    expected = fastgrad.matmul(square, other)
    assert_same_bits(f(square, other, square, False), expected, "out is an input")


@each_dtype
def test_forward(rng: np.random.Generator, dtype: str) -> None:
    f = compiled.layer
    compile_for(f, *[read(dtype, 2)] * 2, read(dtype, 1), compiled.types.unicode_type)
    for n, k, m in SHAPES:
        x, weight, bias = (floats(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,)))
        for layout in ("C", "F", "both reversed, strided", "read-only"):
            for activation in ACTIVATIONS[1:]:
                args = (laid_out(x, layout), laid_out(weight, layout), bias, activation)
                what = f"{activation}, {layout}, {(n, k, m)}"
                assert_same_bits(f(*args), fastgrad.linear_forward(*args), what)


def test_forward_into(rng: np.random.Generator) -> None:
    x, weight, bias = (floats(rng, *s) for s in ((4, 6), (6, 5), (5,)))
    for activation in ("gelu", "relu"):
        y, z, y2, z2 = (np.full((4, 5), np.nan, np.float32) for _ in range(4))
        result = compiled.layer_into(x, weight, bias, activation, y, z)
        fastgrad.linear_forward(x, weight, bias, activation, y2, z2)
        assert result.ctypes.data == y.ctypes.data
        assert_same_bits(y, y2)
        assert_same_bits(z, z2)


def test_dimensions_of_x(rng: np.random.Generator) -> None:
    """One row, stacks, a stack whose leading dimensions do not collapse; keywords, constants."""
    weight = floats(rng, 4, 3)
    x3 = floats(rng, 2, 5, 4)
    interleaved = place(x3, **STACKS["matrices interleaved"]).array
    for x in (x3[0, 0], x3, interleaved, x3[:, ::2, ::-1], x3[:, :0], x3[:0]):
        for actual, want in zip(
            compiled.constant_layers(x, weight),
            compiled.constant_layers.py_func(x, weight),
            strict=True,
        ):
            assert_same_bits(actual, want, f"{x.shape} {x.strides}")


@pytest.mark.parametrize("dtypes", [("int64", "float32"), ("bool", "int8"), ("float32", "float64")])
def test_other_dtypes(rng: np.random.Generator, dtypes: tuple[str, str]) -> None:
    """What is converted: np.result_type of the arrays and float32."""
    x, weight = (
        rng.integers(0, 3, shape).astype(d)
        for shape, d in zip(((3, 4), (4, 2)), dtypes, strict=True)
    )
    for actual, want in zip(
        compiled.constant_layers(x, weight),
        compiled.constant_layers.py_func(x, weight),
        strict=True,
    ):
        assert_same_bits(actual, want)


def test_backward(rng: np.random.Generator) -> None:
    f, dtype = compiled.gradients, "float32"
    matrix = read(dtype, 2)
    compile_for(f, *[matrix] * 3, compiled.types.unicode_type, *[matrix] * 2)
    for n, k, m in SHAPES:
        g, x, weight, y, z = (
            floats(rng, *s, dtype=dtype) for s in ((n, m), (n, k), (k, m), (n, m), (n, m))
        )
        for layout in ("C", "F", "columns reversed", "every other row, third column"):
            for activation in ACTIVATIONS[1:]:
                g2, x2, w2, y2, z2 = (laid_out(a, layout) for a in (g, x, weight, y, z))
                actual = f(g2, x2, w2, activation, y2, z2)
                want = fastgrad.linear_backward(g, x, weight, activation, y, z)
                assert type(actual) is fastgrad.LinearGrads
                for name in ("x", "weight", "bias"):
                    what = f"{name}, {activation}, {layout}, {(n, k, m)}"
                    assert_same_bits(getattr(actual, name), getattr(want, name), what)


@each_dtype
def test_some_gradients(rng: np.random.Generator, dtype: str) -> None:
    """needs, out and accumulate, each for some; of one row as well."""
    g, x, weight, y, dw, db = (
        floats(rng, *s, dtype=dtype) for s in ((8, 3), (8, 4), (4, 3), (8, 3), (4, 3), (3,))
    )
    for rows in (slice(None), 0) if dtype == "float32" else (slice(None),):
        for add in (False, True):
            to, expected = (fresh(dw), fresh(db)), (fresh(dw), fresh(db))
            actual = compiled.some_gradients(g[rows], x[rows], weight, y[rows], *to, add)
            want = compiled.some_gradients.py_func(
                g[rows], x[rows], weight, y[rows], *expected, add
            )
            assert actual[0].weight.ctypes.data == to[0].ctypes.data
            assert actual[3] is want[3] is True
            assert_same_bits(actual[0].x, want[0].x)
            pairs = zip(
                (*to, *actual[1:3], actual[4]), (*expected, *want[1:3], want[4]), strict=True
            )
            for one, other in pairs:
                assert_same_bits(one, other)


def test_stacks(rng: np.random.Generator) -> None:
    """Of both operands, broadcast: numpy's rules."""
    a, b = floats(rng, 3, 1, 4, 5), floats(rng, 2, 5, 6)

    @compiled.njit
    def f(a: Any, b: Any) -> Any:
        return fastgrad.matmul(a, b)

    assert_same_bits(f(a, b), fastgrad.matmul(a, b))
    assert_same_bits(f(a[:, 0], b[0]), fastgrad.matmul(a[:, 0], b[0]))


def test_arguments_that_may_be_none(rng: np.random.Generator) -> None:
    """Known when it runs: bias, activation and what the backward is given."""
    x, weight, bias, g = (floats(rng, *s) for s in ((3, 4), (4, 2), (2,), (3, 2)))

    @compiled.njit
    def f(x: Any, weight: Any, bias: Any, name: Any, g: Any, with_them: Any) -> Any:
        row, act, kept = None, None, None
        if with_them:
            row, act, kept = bias, name, g
        y = fastgrad.linear_forward(x, weight, row, act)
        return y, fastgrad.linear_backward(g, x, weight, act, output=kept).weight

    for with_them in (False, True):
        args = (x, weight, bias, "sigmoid", g, with_them)
        for actual, want in zip(f(*args), f.py_func(*args), strict=True):
            assert_same_bits(actual, want)


def test_needs_is_a_constant(rng: np.random.Generator) -> None:
    g, x, weight = (floats(rng, *s) for s in ((3, 2), (3, 4), (4, 2)))

    @compiled.njit
    def of_a_global(g: Any, x: Any, weight: Any) -> Any:
        return fastgrad.linear_backward(g, x, weight, needs=NEEDS)

    @compiled.njit
    def of_an_argument(g: Any, x: Any, weight: Any, needs: Any) -> Any:
        return fastgrad.linear_backward(g, x, weight, needs=needs)

    grads = of_a_global(g, x, weight)
    assert grads.x is None and grads.bias is None
    assert_same_bits(grads.weight, fastgrad.linear_backward(g, x, weight).weight)
    with pytest.raises(TypingError, match="linear_backward: needs is not a constant"):
        of_an_argument(g, x, weight, NEEDS)
