"""Stacks of layers: the bits of one call for each, shapes, outs and errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

import fastgrad
from support.oracles import assert_same_bits

RNG = np.random.default_rng(0)
ACTIVATIONS = (None, "relu", "gelu")


def array(*shape: int, dtype: str = "f4") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


@given(
    layers=st.integers(0, 4), rows=st.sampled_from([(), (1,), (5,), (2, 3)]), k=st.integers(0, 6),
    m=st.integers(0, 6), activation=st.sampled_from(ACTIVATIONS), shared=st.booleans(),
    biased=st.booleans(), dtypes=st.tuples(*[st.sampled_from(["f4", "f8"])] * 2),
    accumulate=st.booleans(), outs=st.booleans(), needs=st.tuples(*[st.booleans()] * 3),
)  # fmt: skip
def test_layer_by_layer(  # type: ignore[no-untyped-def]
    layers, rows, k, m, activation, shared, biased, dtypes, accumulate, outs, needs
) -> None:
    if len(rows) == (2 if shared else 0):
        return  # x of two dimensions is one for all, of three one for each
    x = array(*(rows if shared else (layers, *rows)), k, dtype=dtypes[0])
    weight, bias = array(layers, k, m, dtype=dtypes[1]), array(layers, m) if biased else None
    each = [(x if shared else x[s], weight[s]) for s in range(layers)]
    dtype = np.result_type(*dtypes)
    z = np.full((layers, *rows, m), np.nan, dtype)
    y = fastgrad.linear_forward(x, weight, bias, activation, preactivation_out=z)
    assert y.shape == (layers, *rows, m) and y.dtype == dtype
    for s, (one, w) in enumerate(each):
        wanted_z = np.empty_like(y[s])
        wanted = fastgrad.linear_forward(
            one, w, None if bias is None else bias[s], activation, preactivation_out=wanted_z
        )
        assert_same_bits(y[s], wanted)
        assert_same_bits(z[s], wanted_z)

    g = array(*y.shape)
    shapes = (x.shape, weight.shape, (layers, m))
    given_outs = [array(*shape, dtype=dtype.str) if outs else None for shape in shapes]
    wanted_outs = [None if a is None else a.copy() for a in given_outs]
    add = accumulate and outs
    found = fastgrad.linear_backward(
        g, x, weight, activation, y, z, needs, tuple(given_outs), accumulate=add
    )
    if not outs:
        wanted_outs = [np.zeros(shape, dtype) for shape in shapes]
    for s, (one, w) in enumerate(each):
        places = [wanted_outs[0] if shared else wanted_outs[0][s], *(a[s] for a in wanted_outs[1:])]
        adds = (add or (shared and s > 0), add, add)
        fastgrad.linear_backward(
            g[s], one, w, activation, y[s], z[s], (True,) * 3, tuple(places), adds
        )
    if layers == 0 and shared and outs and not add:
        wanted_outs[0][...] = 0
    for to, values, wanted, need in zip(given_outs, found, wanted_outs, needs, strict=True):
        if not need:
            assert values is None
            continue
        assert to is None or values is to
        assert_same_bits(values, wanted)


def test_outs_may_overlap_inputs() -> None:
    x, weight = array(3, 4, 5), array(3, 5, 5)
    wanted = fastgrad.linear_forward(x, weight)
    fastgrad.linear_forward(x, weight, out=x)
    assert_same_bits(x, wanted)
    x, g = array(3, 4, 5), array(3, 4, 5)
    wanted = fastgrad.linear_backward(g, x, weight)
    found = fastgrad.linear_backward(g, x, weight, out=(g, weight, None))
    for one, other in zip(found, wanted, strict=True):
        assert_same_bits(one, other)


WRONG = {
    "x has 4 columns but each weight has 5 rows": lambda: (array(3, 2, 4), array(3, 5, 6)),
    "x is of 2 layers but weight of 3": lambda: (array(2, 4, 5), array(3, 5, 6)),
    "bias has shape (6,), expected (3, 6)": lambda: (array(3, 4, 5), array(3, 5, 6), array(6)),
    "x is 0-dimensional": lambda: (array(), array(3, 5, 6)),
    "activation 'rely' is not known": lambda: (array(3, 4, 5), array(3, 5, 6), None, "rely"),
    "out has shape (4, 6)": lambda: (array(4, 5), array(3, 5, 6), None, None, array(4, 6)),
}


@pytest.mark.parametrize("words", WRONG)
def test_errors_of_forward(words: str) -> None:
    with pytest.raises(ValueError) as error:
        fastgrad.linear_forward(*WRONG[words]())
    assert words in str(error.value)


def test_errors_of_backward_write_nothing() -> None:
    g, x, weight, out = array(3, 4, 6), array(3, 4, 5), array(3, 5, 6), np.zeros((3, 4, 5), "f4")
    for wrong, words in (
        ({"grad_output": g[:2]}, "grad_output has shape (2, 4, 6), expected (3, 4, 6)"),
        ({"activation": "relu"}, "output is None"),
        ({"activation": "relu", "output": x}, "output has shape (3, 4, 5)"),
        ({"out": (out, x, None)}, "out[1] (weight)"),
    ):
        arguments = {"grad_output": g, "x": x, "weight": weight, "out": (out, None, None), **wrong}
        with pytest.raises(ValueError) as error:
            fastgrad.linear_backward(**arguments)
        assert words in str(error.value) and not out.any()


def test_from_compiled_code() -> None:
    """By way of Python, with results of the right dimensions."""

    @njit
    def step(x, weight, bias):  # type: ignore[no-untyped-def]
        y = fastgrad.linear_forward(x, weight, bias, "relu")
        return y, fastgrad.linear_backward(y, x, weight, "relu", y)

    weight, bias = array(3, 5, 6), array(3, 6)
    for x in (array(5), array(4, 5), array(3, 4, 5)):
        y, grads = step(x, weight, bias)
        assert_same_bits(y, fastgrad.linear_forward(x, weight, bias, "relu"))
        for one, other in zip(
            grads, fastgrad.linear_backward(y, x, weight, "relu", y), strict=True
        ):
            assert_same_bits(one, other)
