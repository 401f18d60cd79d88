"""One test a row of the derivation in fastgrad.reference, then its activations and the contract.

Data are small integers unless a test says otherwise, so every sum is exact and == is the test.
"""

from __future__ import annotations

import doctest
import math
import re
from fractions import Fraction

import numpy as np
import pytest

from fastgrad import reference as ref
from fastgrad.reference.fma import fma

N, K, M = 4, 3, 5


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def ints(rng, *shape, dtype=np.float64):
    return rng.integers(-9, 10, shape).astype(dtype)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_docstring_examples():
    result = doctest.testmod(ref)
    assert result.attempted >= 8 and result.failed == 0


# --- the rows -----------------------------------------------------------------------------------


def test_row_1_row_of_x_meets_column_of_w(rng):
    x, w = ints(rng, N, K), ints(rng, K, M)
    z = ref.matmul(x, w)
    for i in range(N):
        for j in range(M):
            assert z[i, j] == sum(int(x[i, k]) * int(w[k, j]) for k in range(K))
    assert np.array_equal(ref.matmul_nt(x, w.T), z)
    assert np.array_equal(ref.matmul_tn(x.T, w), z)
    for bad in ((x, w.T), (x, w[:2]), (x[0], w[:, 0, None][:2]), (x, 1.0)):
        with pytest.raises(ValueError, match="do not conform"):
            ref.matmul(*bad)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3,), (3,)),
        ((3,), (3, 5)),
        ((4, 3), (3,)),
        ((2, 4, 3), (3, 5)),
        ((3,), (2, 3, 5)),
        ((2, 1, 4, 3), (6, 3, 5)),
        ((2, 4, 3), (3,)),
        ((0, 3), (3, 5)),
        ((4, 0), (0, 5)),
        ((0,), (0,)),
    ],
)
def test_row_1_shapes_are_those_of_numpy(rng, shapes):
    a, b = (ints(rng, *s) for s in shapes)
    assert np.array_equal(ref.matmul(a, b), np.matmul(a, b))
    assert np.shape(ref.matmul(a, b)) == np.shape(np.matmul(a, b))


def test_row_1_transposed_products_of_stacks(rng):
    a, b = ints(rng, 2, 1, N, K), ints(rng, 3, K, M)
    assert np.array_equal(ref.matmul_nt(a, b.swapaxes(1, 2)), a @ b)
    assert np.array_equal(ref.matmul_tn(a.swapaxes(2, 3), b), a @ b)
    assert np.array_equal(ref.matmul_nt(a, b[0, :, 0]), a @ b[0, :, 0])


def test_row_1_fractions_are_exact_and_integers_become_floats():
    third = np.array([[Fraction(1, 3)] * 3], dtype=object)
    assert ref.matmul(third, third.T)[0, 0] == Fraction(1, 3)
    assert ref.matmul(np.eye(2, dtype=np.int64), np.eye(2, dtype=np.int64)).dtype == np.float64


def test_row_2_derivative_of_a_dot_product_is_the_other_vector(rng):
    x, w, h = ints(rng, K), ints(rng, K), ints(rng, K)
    assert ref.matmul(x, w) == np.dot(x, w)
    assert ref.matmul(x + h, w) - ref.matmul(x, w) == np.dot(h, w)
    grads = ref.linear_backward(np.ones(1), x, w[:, None])
    assert np.array_equal(grads.x, w) and np.array_equal(grads.weight[:, 0], x)
    # one sample, several outputs: db = G, dW = outer(x, G)
    g, weight = ints(rng, M), ints(rng, K, M)
    grads = ref.linear_backward(g, x, weight)
    assert np.array_equal(grads.bias, g) and np.array_equal(grads.weight, np.outer(x, g))
    assert np.array_equal(grads.x, weight @ g)


def test_row_3_sum_gives_ones_and_any_scalar_gives_its_derivative(rng):
    x, w = ints(rng, N, K), ints(rng, K, M)
    ones = np.broadcast_to(1.0, (N, M))
    assert ones.strides == (0, 0)
    grads = ref.linear_backward(ones, x, w)
    step = np.zeros((N, K))
    for i in range(N):
        for k in range(K):
            step[i, k] = 1.0
            assert np.sum((x + step) @ w) - np.sum(x @ w) == grads.x[i, k]
            step[i, k] = 0.0
    # F = ½ΣY²: G = Y, and a central difference of a quadratic is exact
    y = ref.linear_forward(x, w)
    d = ints(rng, K, M)
    up, down = (0.5 * np.sum((x @ (w + s * d)) ** 2) for s in (1, -1))
    assert (up - down) / 2 == np.sum(ref.linear_backward(y, x, w).weight * d)


def test_row_4_change_of_both_factors_isolates_dx_and_dw(rng):
    x, w, dx, dw, h = (ints(rng, *s) for s in ((N, K), (K, M), (N, K), (K, M), (N, M)))
    dz = ref.matmul(x + dx, w + dw) - ref.matmul(x, w) - ref.matmul(dx, dw)
    assert np.array_equal(dz, dx @ w + x @ dw)
    grads = ref.linear_backward(h, x, w)
    assert np.sum(h * (dx @ w)) == np.sum(grads.x * dx)
    assert np.sum(h * (x @ dw)) == np.sum(grads.weight * dw)
    assert np.array_equal(grads.x, np.einsum("ij,kj->ik", h, w))
    assert np.array_equal(grads.weight, np.einsum("ik,ij->kj", x, h))


def test_row_5_two_by_two_known_answer():
    x, w = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    h = np.array([[1.0, 10.0], [100.0, 1000.0]])
    assert ref.matmul(x, w).tolist() == [[19, 22], [43, 50]]
    grads = ref.linear_backward(h, x, w)
    assert grads.x.tolist() == [[1 * 5 + 10 * 6, 1 * 7 + 10 * 8], [6500, 8700]]
    assert grads.weight.tolist() == [[1 + 300, 10 + 3000], [2 + 400, 20 + 4000]]
    assert grads.bias.tolist() == [101, 1010]


def test_row_6_indices_of_one_weight_of_a_deeper_layer(rng):
    z, w, grad_a = ints(rng, N, K), ints(rng, K, M), ints(rng, N, M)
    grad_w = ref.linear_backward(grad_a, z, w).weight
    assert grad_w[0, 1] == sum(grad_a[i, 1] * z[i, 0] for i in range(N))
    assert grad_w[0, 1] != sum(grad_a[i, 0] * z[i, 1] for i in range(N))
    assert grad_w.shape == (K, M) and z.T.shape == (K, N)


def test_row_7_bias_gradient_is_column_sums_and_moves_no_other_bit(rng):
    x, w, b, g = (rng.standard_normal(s) for s in ((N, K), (K, M), M, (N, M)))
    z = ref.linear_forward(x, w, b)
    assert np.array_equal(z, np.stack([row + b for row in ref.matmul(x, w)]))
    with_bias = ref.linear_backward(g, x, w)
    without = ref.linear_backward(g, x, w, needs=(True, True, False))
    assert without.bias is None
    assert same_bits(with_bias.x, without.x) and same_bits(with_bias.weight, without.weight)
    exact = [sum(map(Fraction, column)) for column in g.T.tolist()]
    assert np.all(np.abs(with_bias.bias - [float(v) for v in exact]) <= 1e-15 * np.abs(g).sum(0))


def test_row_8_jacobians_are_what_unit_steps_give(rng):
    x, w, g = ints(rng, N, K), ints(rng, K, M), ints(rng, N, M)
    jx, jw = ref.jacobian_x(x, w), ref.jacobian_weight(x, w)
    assert jx.shape == (N, M, N, K) and jw.shape == (N, M, K, M)
    for m in range(K):
        for n in range(M):
            e_mn = np.zeros((K, M))
            e_mn[m, n] = 1.0
            assert np.array_equal(jw[:, :, m, n], x @ (w + e_mn) - x @ w)
            assert np.array_equal(jw[:, :, m, n], x @ e_mn)
    for m in range(N):
        for n in range(K):
            step = np.zeros((N, K))
            step[m, n] = 1.0
            assert np.array_equal(jx[:, :, m, n], (x + step) @ w - x @ w)
    grads = ref.linear_backward(g, x, w)
    assert np.array_equal(np.einsum("ij,ijmn->mn", g, jx), grads.x)
    assert np.array_equal(np.einsum("ij,ijmn->mn", g, jw), grads.weight)


def test_row_9_traces_and_the_identity_gradient(rng):
    a, b = ints(rng, N, K), ints(rng, N, K)
    assert np.sum(a * b) == np.trace(ref.matmul_tn(a, b))
    x, w = ints(rng, N, K), ints(rng, K, N)
    assert np.trace(ref.matmul(x, w)) == np.trace(ref.matmul(w, x))
    x, w = rng.standard_normal((N, K)), rng.standard_normal((K, N))
    grads = ref.linear_backward(np.eye(N), x, w)
    assert np.array_equal(grads.weight, x.T) and np.array_equal(grads.x, w.T)


def test_row_10_quadratic_form_from_two_calls(rng):
    root = ints(rng, K, K)
    x, a = ints(rng, K), root + root.T
    a -= np.diag(np.diag(a))
    a[:, 0] = a[0, :] = 0.0  # singular: no inverse anywhere
    column = x[:, None]
    z = ref.matmul(a, column)  # z = A·x, x the weight
    outer = ref.linear_backward(np.ones((1, 1)), column.T, z)  # f = xᵀ·z, z the weight
    inner = ref.linear_backward(outer.weight, a, column)
    assert np.array_equal(outer.x[0] + inner.weight[:, 0], 2 * a @ x)


# --- the layer and its activations ----------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, *ref.ACTIVATIONS])
@pytest.mark.parametrize("lead", [(), (7,), (2, 3), (0,)])
def test_layer_backward_is_the_complex_step_of_forward(rng, activation, lead):
    x, w, b, g = (rng.standard_normal(s) for s in ((*lead, K), (K, M), M, (*lead, M)))
    z = ref.linear_forward(x, w, b)
    y = ref.linear_forward(x, w, b, activation)
    grads = ref.linear_backward(g, x, w, activation, output=y, preactivation=z)
    h = 2.0**-100
    for i, grad in enumerate(grads):
        args = [x, w, b]
        d = rng.standard_normal(args[i].shape)
        args[i] = args[i] + 1j * h * d
        left = np.sum(ref.linear_forward(*args, activation).imag / h * g)
        assert grad.shape == d.shape
        assert abs(left - np.sum(grad * d)) <= 1e-13 * (1 + np.abs(grad * d).sum())


def test_needs_and_what_backward_must_be_given(rng):
    x, w, g = ints(rng, N, K), ints(rng, K, M), ints(rng, N, M)
    full = ref.linear_backward(g, x, w)
    for i, field in enumerate(full._fields):
        only = ref.linear_backward(g, x, w, needs=tuple(j == i for j in range(3)))
        assert [v is not None for v in only] == [j == i for j in range(3)]
        assert np.array_equal(getattr(only, field), getattr(full, field))
    assert full._fields == ("x", "weight", "bias")
    with pytest.raises(ValueError, match="'tanh' needs output="):
        ref.linear_backward(g, x, w, "tanh", preactivation=g)
    with pytest.raises(ValueError, match="'silu' needs preactivation="):
        ref.linear_backward(g, x, w, "silu", output=g)
    with pytest.raises(ValueError, match="'softplus' is not one of relu"):
        ref.linear_forward(x, w, None, "softplus")


GRID = np.concatenate([np.linspace(-38, 38, 2001), np.linspace(-3, 3, 1201), [1e-300, 0.0]])


@pytest.mark.parametrize("name", list(ref.ACTIVATIONS))
def test_derivative_is_the_complex_step_of_the_value(name):
    h = 2.0**-100
    value = ref.activation_value(name, GRID + 1j * h)
    slope = ref.activation_derivative(name, GRID)
    assert np.all(np.abs(value.imag / h - slope) <= 4e-14 * np.abs(slope) + 1e-14)
    # exp(-z²) multiplies the rounding of z² by z², and complex z² is rounded in another order
    limit = 1e-15 * (1 + GRID**2) * np.abs(value.real) + h * h
    assert np.all(np.abs(value.real - ref.activation_value(name, GRID)) <= limit)


def test_values_at_known_points():
    one = {
        "relu": 1.0,
        "sigmoid": 1 / (1 + math.exp(-1)),
        "tanh": math.tanh(1),
        "gelu": 0.5 * (1 + math.erf(math.sqrt(0.5))),
        "gelu_tanh": 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715)),
        "silu": 1 / (1 + math.exp(-1)),
    }
    assert set(one) == set(ref.ACTIVATIONS)
    for name, value in one.items():
        assert math.isclose(ref.activation_value(name, 1.0), value, rel_tol=1e-15)
        assert np.isnan(ref.activation_value(name, np.nan))
        assert ref.activation_value(name, np.float32([1, -2])).dtype == np.float32
        assert ref.activation_derivative(name, np.float32([1, -2])).dtype == np.float32


def test_relu_at_zero_infinity_and_nan():
    z = np.array([-np.inf, -1.0, -0.0, 0.0, 2.0, np.inf, np.nan])
    y = ref.activation_value("relu", z)
    assert np.array_equal(y, [0, 0, 0, 0, 2, np.inf, np.nan], equal_nan=True)
    assert not np.signbit(y[:4]).any()
    h = ref.ACTIVATIONS["relu"].backward(np.full(7, np.inf), y)
    assert np.array_equal(h, [0, 0, 0, 0, np.inf, np.inf, np.inf])


def test_erf_and_erfc_against_the_c_library():
    z = np.concatenate([np.linspace(-6, 26, 3001), np.linspace(-1.1, 1.1, 1001)])
    erf, erfc = (np.array([f(v) for v in z]) for f in (math.erf, math.erfc))
    eps = np.finfo(np.float64).eps
    assert np.all(np.abs(ref.erf(z) - erf) <= 4 * eps * np.abs(erf))
    assert np.all(np.abs(ref.erfc(z) - erfc) <= 8 * eps * (1 + z * z) * erfc)
    h = 2.0**-100
    z = z[z < 20]  # beyond, h times the slope is subnormal
    slope = 2 / math.sqrt(math.pi) * np.exp(-z * z)
    found = ref.erf(z + 1j * h).imag / h
    assert np.all(np.abs(found - slope) <= 1e-14 * (1 + z * z) * slope)
    limits = ref.erf(np.array([np.inf, -np.inf, np.nan]))
    assert np.array_equal(limits, [1, -1, np.nan], equal_nan=True)


# --- the contract of bits -------------------------------------------------------------------------


def by_hand(a, b, kc, bias, c_old):
    """The contract, one element at a time."""
    dtype = a.dtype.type
    out = np.empty((a.shape[0], b.shape[1]), dtype)
    for i, j in np.ndindex(*out.shape):
        blocks = []
        for k in range(a.shape[1]):
            if k % kc == 0:
                blocks.append(dtype(0))
            blocks[-1] = fma(a[i, k], b[k, j], blocks[-1])
        terms = ([] if c_old is None else [c_old[i, j]]) + blocks
        total = terms[0] if terms else dtype(0)
        for term in terms[1:]:
            total = total + term
        out[i, j] = total if bias is None else total + bias[j]
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth", [0, 1, 3, 4, 5, 8, 9, 23])
def test_contract_matmul_element_by_element(rng, dtype, depth):
    a, b = (rng.standard_normal(s).astype(dtype) for s in ((3, depth), (depth, 5)))
    bias, c_old = rng.standard_normal(5).astype(dtype), rng.standard_normal((3, 5)).astype(dtype)
    for bias_, old in ((None, None), (bias, None), (None, c_old), (bias, c_old)):
        got = ref.contract_matmul(a, b, kc=4, bias=bias_, c_old=old)
        assert same_bits(got, by_hand(a, b, 4, bias_, old))
    assert not np.shares_memory(ref.contract_matmul(a, b, kc=4, c_old=c_old), c_old)


def test_contract_is_told_from_its_neighbours(rng):
    """Each variant that the contract rules out gives other bits on this data."""
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((16, 40), (40, 16)))
    old = rng.standard_normal((16, 16)).astype(np.float32)
    got = ref.contract_matmul(a, b, kc=16)
    assert not np.array_equal(got, ref.contract_matmul(a, b, kc=40))  # one chain
    assert not np.array_equal(got, ref.contract_matmul(a, b, kc=14))  # k equalised
    assert not np.array_equal(got, ref.contract_matmul(a[:, ::-1], b[::-1], kc=16))  # k backwards
    assert not np.array_equal(got, ref.matmul(a, b))  # mul and add
    accumulated = ref.contract_matmul(a, b, kc=16, c_old=old)
    assert not np.array_equal(accumulated, old + got)  # blocks first, C last
    chain = old
    for k in range(16):
        chain = fma(a[:, k, None], b[None, k], chain)
    late = ref.contract_matmul(a[:, 16:], b[16:], kc=16, c_old=chain)
    assert not np.array_equal(accumulated, late)  # chain started from C


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contract_signed_zeros(dtype):
    zero = np.zeros((1, 1), dtype)
    negative = ref.contract_matmul(-zero, zero + 1, kc=4)
    assert same_bits(negative, zero)  # fma(-0, 1, +0.0) = +0.0
    tiny = np.full((1, 1), np.finfo(dtype).smallest_subnormal)
    assert same_bits(ref.contract_matmul(-tiny, tiny, kc=4), -zero)  # the chain underflows to -0.0
    assert same_bits(ref.contract_matmul(zero[:, :0], zero[:0], kc=4), zero)  # no block
    assert same_bits(ref.contract_matmul(-tiny, tiny, kc=4, bias=zero[0]), zero)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 4, 11])
def test_contract_colsum_is_a_product_with_ones(rng, dtype, rows):
    h, old = rng.standard_normal((rows, 6)).astype(dtype), rng.standard_normal(6).astype(dtype)
    blocks = []
    for start in range(0, rows, 4):
        s = np.zeros(6, dtype)
        for row in h[start : start + 4]:
            s = s + row
        blocks.append(s)
    want = sum(blocks[1:], blocks[0]) if blocks else np.zeros(6, dtype)
    assert same_bits(ref.contract_colsum(h, kc=4), want)
    assert same_bits(ref.contract_colsum(h, kc=4, c_old=old), sum(blocks, old))


@pytest.mark.parametrize("dtype, kc", [(np.float32, 512), (np.float64, 256)])
def test_contract_takes_kc_of_the_package(rng, dtype, kc):
    a, b = (rng.standard_normal(s).astype(dtype) for s in ((8, 2 * kc + 1), (2 * kc + 1, 8)))
    assert same_bits(ref.contract_matmul(a, b), ref.contract_matmul(a, b, kc=kc))
    assert not same_bits(ref.contract_matmul(a, b), ref.contract_matmul(a, b, kc=kc // 2))
    assert same_bits(ref.contract_colsum(b), ref.contract_colsum(b, kc=kc))


def test_contract_refuses_mixed_and_other_dtypes():
    a = np.ones((2, 2))
    for bad in (a.astype(np.float32), a.astype(np.int64), a.astype(np.float16)):
        with pytest.raises(TypeError, match="contract_matmul: arrays have dtypes"):
            ref.contract_matmul(a, bad, kc=4)


A, B = np.ones((3, 4)), np.ones((4, 2))
WRONG = {
    "x and weight": (lambda: ref.jacobian_weight(A, A), "jacobian_weight: x (3, 4) and weight"),
    "vector": (lambda: ref.jacobian_x(A[0], B), "jacobian_x: x has shape (4,), expected (N, K)"),
    "bias": (lambda: ref.linear_forward(A, B, np.ones((3, 1))), "bias has shape (3, 1), expected"),
    "rows": (
        lambda: ref.linear_backward(np.ones((5, 2)), A, B, needs=(True, False, False)),
        "linear_backward: grad_output has shape (5, 2), expected (3, 2)",
    ),
    "saved": (
        lambda: ref.linear_backward(np.ones((3, 2)), A, B, "relu", np.ones(2)),
        "linear_backward: output has shape (2,), expected (3, 2)",
    ),
    "needs": (lambda: ref.linear_backward(A @ B, A, B, needs=(True,)), "needs has 1 entries"),
    "product": (lambda: ref.contract_matmul(A, np.ones((5, 2))), "a (3, 4) and b (5, 2) are not"),
    "row": (lambda: ref.contract_matmul(A[0], B), "a (4,) and b (4, 2) are not (M, K) and (K, N)"),
    "old": (lambda: ref.contract_matmul(A, B, c_old=np.ones(2)), "c_old has shape (2,), expected"),
    "kc": (lambda: ref.contract_matmul(A, B, kc=-1), "contract_matmul: kc is -1; it must be 1 or"),
    "sums": (lambda: ref.contract_colsum(A[0]), "contract_colsum: h (4,) are not (N, M) and (M,)"),
    "no blocks": (lambda: ref.contract_block_sum([]), "contract_block_sum: blocks have shapes []"),
    "blocks": (lambda: ref.contract_block_sum([A, A[:1]]), "blocks have shapes [(1, 4), (3, 4)]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_shapes_that_do_not_conform_are_an_error(case):
    call, words = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_the_contract_is_of_arrays():
    with pytest.raises(TypeError, match=r"an argument is no numpy\.ndarray; its dtype"):
        ref.contract_matmul(A.tolist(), B)
