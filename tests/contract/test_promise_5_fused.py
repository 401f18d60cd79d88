"""Promise 5: linear_backward equals its calls with one `needs` at a time, and its parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from support import control_word, edges, fuzz
from support.layouts import laid_out
from support.oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_backward_both,
    contract_h,
    contract_product,
    floats,
    saved_for,
)

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)
by_activation = pytest.mark.parametrize("activation", [None, *edges.ACTIVATIONS])
SUBSETS = [*itertools.product((False, True), repeat=3)]


def _layer(dtype: str, rng: np.random.Generator) -> tuple[Array, ...]:
    """g, x, w, z with two blocks down the batch and along the outputs."""
    kc = edges.KC[dtype]
    n, k, m = kc + 3, edges.tile_columns(dtype) + 1, kc + 5
    return tuple(floats(rng, *s, dtype=dtype) for s in ((n, m), (n, k), (k, m), (n, m)))


@by_activation
@by_dtype
def test_backward_of_each_alone(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    g, x, w, z = _layer(dtype, rng)
    saved = saved_for(activation, contract_activation(activation, z), z)
    old = (x + 1, w + 1, g[0] + 1)

    def run(g: Array, needs: tuple[bool, ...], accumulate: bool) -> list[Array | None]:
        out = tuple(v.copy() for v in old)
        keywords: dict[str, Any] = {"needs": needs, "out": out, "accumulate": accumulate}
        return list(linear_backward(g, x, w, activation, **saved, **keywords))

    h = contract_h(g, activation, next(iter(saved.values()), None))
    for accumulate, expected in enumerate(contract_backward_both(h, x, w, old)):
        for layout in ("C", "F"):
            gl = laid_out(g, layout)
            for needs in SUBSETS:
                for i, alone in enumerate(run(gl, needs, bool(accumulate))):
                    if needs[i]:
                        assert_same_bits(alone, expected[i], f"entry {i} of {needs}, {layout}")
                    else:
                        assert alone is None


@by_activation
@by_dtype
def test_backward_from_its_parts(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    g, x, w, z = _layer(dtype, rng)
    saved = saved_for(activation, contract_activation(activation, z), z)
    h = contract_h(g, activation, next(iter(saved.values()), None))
    grads = linear_backward(g, x, w, activation, **saved)
    assert_same_bits(grads.x, matmul_nt(h, w), "dX = H·Wᵀ")
    assert_same_bits(grads.weight, matmul_tn(x, h), "dW = Xᵀ·H")
    ones = np.ones(len(h), dtype)
    assert_same_bits(grads.bias, matmul(ones, h), "db = 1ᵀ·H")


@by_activation
@by_dtype
def test_forward_from_its_parts(dtype: str, activation: Any, rng: np.random.Generator) -> None:
    g, x, w, _ = _layer(dtype, rng)
    bias = g[0]
    product = matmul(x, w)
    assert_same_bits(product, contract_product(x, w), "the product")
    y = contract_activation(activation, product + bias)
    assert_same_bits(linear_forward(x, w, bias, activation), y, "bias and activation")
    plain = linear_forward(x, w, None, activation)
    assert_same_bits(plain, contract_activation(activation, product), "activation")


@by_dtype
def test_bias_does_not_touch_the_other_gradients(dtype: str, rng: np.random.Generator) -> None:
    g, x, w, _ = _layer(dtype, rng)
    with_bias, without = (
        linear_backward(g, x, w),
        linear_backward(g, x, w, needs=(True, True, False)),
    )
    assert_same_bits(with_bias.x, without.x, "dX")
    assert_same_bits(with_bias.weight, without.weight, "dW")


def test_anything() -> None:
    fuzz.some("fused")


@pytest.mark.skipif(not control_word.KNOWN, reason="which bits are they here?")
def test_anything_flushing_to_zero() -> None:
    """The gradients together, and some of them."""
    fuzz.run("fused", range(26), flush=True)


@pytest.mark.fuzz
def test_anything_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.many("fused", capsys)
