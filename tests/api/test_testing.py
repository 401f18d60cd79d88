"""The checkers pass right gradients within the stated tolerance and fail each planted error."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fastgrad import reference as ref
from fastgrad.testing import check_adjoint, check_grads

N, K, M = 6, 5, 5  # K = M, so that a transposed operand keeps its shape
DTYPES = (np.float32, np.float64)


def arrays(dtype, seed=3, n=N, k=K, m=M):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in ((n, k), (k, m), (m,))]


def forward(x, w, b):
    return ref.linear_forward(x, w, b)


def backward(g, x, w, b):
    return ref.linear_backward(g, x, w)


WRONG = {
    "0 weight transposed": lambda g, x, w, b: backward(g, x, w.T, b),
    "1 gradient transposed": lambda g, x, w, b: (g @ w.T, (x.T @ g).T, g.sum(0)),
    "1 swapped with the output": lambda g, x, w, b: (g @ w.T, x.T @ (x @ w), g.sum(0)),
    "2 bias missing": lambda g, x, w, b: (g @ w.T, x.T @ g, np.zeros_like(b)),
    "2 bias of one row": lambda g, x, w, b: (g @ w.T, x.T @ g, g[0]),
    "2 bias is the mean": lambda g, x, w, b: (g @ w.T, x.T @ g, g.mean(0)),
    "0 scaled": lambda g, x, w, b: (g @ w.T * b.dtype.type(1 + 1e-4), x.T @ g, g.sum(0)),
    "1 scaled": lambda g, x, w, b: (g @ w.T, x.T @ g * b.dtype.type(1 + 1e-4), g.sum(0)),
    "2 scaled": lambda g, x, w, b: (g @ w.T, x.T @ g, g.sum(0) * b.dtype.type(1 + 1e-4)),
    "0 zero": lambda g, x, w, b: (np.zeros_like(x), x.T @ g, g.sum(0)),
    "1 last row dropped": lambda g, x, w, b: (g @ w.T, x[:-1].T @ g[:-1], g.sum(0)),
    "1 NaN": lambda g, x, w, b: (g @ w.T, np.full_like(w, np.nan), g.sum(0)),
    "0 sign": lambda g, x, w, b: (-(g @ w.T), x.T @ g, g.sum(0)),
}


# --- check_adjoint --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_adjoint_of_a_right_layer_is_exact(dtype):
    assert check_adjoint(forward, backward, *arrays(dtype)) == 0.0
    x, w, _ = arrays(dtype, n=40, k=300, m=20)
    assert check_adjoint(np.matmul, lambda g, a, b: (g @ b.T, a.T @ g), x, w) == 0.0
    assert check_adjoint(lambda a: a[:, ::2], lambda g, a: backward_of_slice(g, a), x) == 0.0


def backward_of_slice(g, a):
    out = np.zeros_like(a)
    out[:, ::2] = g
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WRONG)
def test_adjoint_names_the_array_of_each_wrong_gradient(dtype, name):
    with pytest.raises(AssertionError) as error:
        check_adjoint(forward, WRONG[name], *arrays(dtype))
    message = str(error.value)
    assert message.startswith(f"check_adjoint: gradient of array {name[0]} (")
    assert "\n" not in message and "> 0, seed 0)" in message


@pytest.mark.parametrize("entry", [(0, 0), (4, 4), (2, 3)])
def test_adjoint_sees_one_wrong_entry(entry):
    def wrong(g, x, w, b):
        grad = x.T @ g
        grad[entry] += 1
        return g @ w.T, grad, g.sum(0)

    for seed in range(20):
        with pytest.raises(AssertionError, match="gradient of array 1"):
            check_adjoint(forward, wrong, *arrays(np.float32), seed=seed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adjoint_with_inexact_coefficients_uses_a_tolerance(dtype):
    x, w, _ = arrays(dtype, n=50, k=60, m=40)
    c = np.random.default_rng(0).standard_normal((50, 40)).astype(dtype)

    def weighted(x, w):
        return c * (x @ w)

    def right(g, x, w):
        return (c * g) @ w.T, x.T @ (c * g)

    def scaled(g, x, w):
        return right(g, x, w)[0] * dtype(1 + 1e-4), None

    worst = check_adjoint(weighted, right, x, w)
    assert 0 < worst <= 4 * np.finfo(dtype).eps * np.sqrt(60)
    with pytest.raises(AssertionError, match="mismatch"):
        check_adjoint(weighted, right, x, w, tol=worst / 2)
    with pytest.raises(AssertionError, match=r"mismatch 0.0001 >"):
        check_adjoint(weighted, scaled, x, w)


def test_adjoint_ignores_the_values_and_keeps_the_arguments():
    x, w, b = arrays(np.float32)
    x[...], w[...] = np.nan, 0.0
    x.flags.writeable = w.flags.writeable = False
    assert check_adjoint(forward, backward, np.asfortranarray(x), w, b) == 0.0
    with pytest.raises(AssertionError, match="array 1"):
        check_adjoint(forward, WRONG["1 scaled"], x, w, b)


@pytest.mark.parametrize("check", [check_adjoint, check_grads])
def test_shapes_and_counts_of_gradients(check):
    x, w, b = arrays(np.float64)
    with pytest.raises(AssertionError, match="2 gradients for 3 arrays"):
        check(forward, lambda g, x, w, b: (g @ w.T, x.T @ g), x, w, b)
    with pytest.raises(AssertionError, match="3 gradients for 2 arrays"):
        check(np.matmul, lambda g, x, w: ref.linear_backward(g, x, w), x, w)
    needs = (True, True, False)
    check(np.matmul, lambda g, x, w: ref.linear_backward(g, x, w, needs=needs), x, w)
    with pytest.raises(AssertionError, match=r"array 2 \(5,\) float64 has shape \(6, 5\)"):
        check(forward, lambda g, x, w, b: (None, None, g), x, w, b)
    with pytest.raises(AssertionError, match="array 1"):  # the entry not skipped is still checked
        check(forward, lambda g, *a: (None, *WRONG["1 scaled"](g, *a)[1:]), x, w, b)


@pytest.mark.parametrize("check", [check_adjoint, check_grads])
def test_empty_arrays_and_integers(check):
    assert check(forward, backward, *arrays(np.float32, n=0)) == 0.0
    assert check(forward, backward, *arrays(np.float64, k=0)) == 0.0
    x, w, b = (a.astype(np.int64) for a in arrays(np.float64))
    assert check(forward, backward, x, w, b) <= 1e-14


# --- check_grads ----------------------------------------------------------------------------------


def layer(activation):
    def function(x, w, b):
        return ref.linear_forward(x, w, b, activation)

    def vjp(g, x, w, b, wrong=None):
        z = ref.linear_forward(x, w, b)
        y = function(x, w, b)
        return ref.linear_backward(g, x, w, wrong or activation, output=y, preactivation=z)

    return function, vjp


def real_only(function):
    """What a compiled function does: TypeError for complex."""

    def wrapped(*args):
        if any(np.iscomplexobj(a) for a in args):
            raise TypeError("float32 or float64")
        return function(*args)

    return wrapped


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, *ref.ACTIVATIONS])
def test_grads_of_right_layers_by_the_complex_step(dtype, activation):
    function, vjp = layer(activation)
    for seed, (n, k, m) in enumerate([(6, 5, 5), (1, 1, 1), (64, 100, 10), (40, 3, 200)]):
        args = arrays(dtype, seed, n, k, m)
        args[1] /= dtype(np.sqrt(k))
        limit = 4 * np.finfo(dtype).eps * np.sqrt(max(n, k, m))
        assert check_grads(function, vjp, *args, seed=seed) <= limit
        assert check_grads(real_only(function), vjp, *args, seed=seed, reference=function) <= limit


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [None, "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"])
def test_grads_of_right_layers_by_differences(dtype, activation):
    function, vjp = layer(activation)
    for seed, (n, k, m) in enumerate([(6, 5, 5), (20, 256, 10)]):
        args = arrays(dtype, seed, n, k, m)
        args[1] /= dtype(np.sqrt(k))
        worst = check_grads(real_only(function), vjp, *args, seed=seed)
        assert worst <= max(1e-8, 4 * np.finfo(dtype).eps * np.sqrt(max(n, k)))
    if dtype is np.float64 and activation is None:
        assert worst <= 1e-14  # exact to rounding for a product


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["complex", "reference", "differences"])
@pytest.mark.parametrize("name", WRONG)
def test_grads_names_the_array_of_each_wrong_gradient(dtype, how, name):
    function = forward if how == "complex" else real_only(forward)
    reference = forward if how == "reference" else None
    with pytest.raises(AssertionError) as error:
        check_grads(function, WRONG[name], *arrays(dtype), reference=reference)
    message = str(error.value)
    assert message.startswith(f"check_grads: gradient of array {name[0]} (")
    assert "\n" not in message
    assert ("where the difference of" if how == "differences" else "complex step") in message


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "right, wrong",
    [
        ("relu", "sigmoid"),
        ("sigmoid", "tanh"),
        ("tanh", "relu"),
        ("gelu", "gelu_tanh"),
        ("gelu_tanh", "gelu"),
        ("silu", "gelu"),
        ("gelu", "silu"),
    ],
)
def test_grads_fails_on_the_derivative_of_another_activation(dtype, right, wrong):
    function, vjp = layer(right)
    args = arrays(dtype)

    def planted(g, *a):
        return vjp(g, *a, wrong)

    with pytest.raises(AssertionError, match="gradient of array 0"):
        check_grads(function, planted, *args)
    with pytest.raises(AssertionError, match="gradient of array 0"):
        check_grads(real_only(function), planted, *args, reference=function)
    if right != "relu":
        with pytest.raises(AssertionError, match="gradient of array 0"):
            check_grads(real_only(function), planted, *args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", list(ref.ACTIVATIONS))
def test_grads_fails_on_an_activation_derivative_scaled_or_forgotten(dtype, activation):
    function, vjp = layer(activation)
    args = arrays(dtype)
    scale = dtype(1 + 1e-4)
    with pytest.raises(AssertionError, match=r"mismatch 0.0001 >"):
        check_grads(function, lambda g, *a: vjp(g * scale, *a), *args)
    with pytest.raises(AssertionError, match="array 0"):
        check_grads(function, backward, *args)
    with pytest.raises(AssertionError, match="gives 0 along"):
        check_grads(function, lambda g, *a: [np.zeros_like(v) for v in a], *args)


def test_grads_checks_that_reference_is_the_same_function():
    function, vjp = layer("tanh")
    with pytest.raises(AssertionError, match=r"reference .* and function .* differ by"):
        check_grads(real_only(function), vjp, *arrays(np.float32), reference=layer("gelu")[0])
    with pytest.raises(ValueError, match="reference returned real numbers"):
        check_grads(function, vjp, *arrays(np.float64), reference=lambda *a: function(*a).real)


def test_grads_refuses_differences_in_float32():
    function, vjp = layer("tanh")

    def narrow(*args):
        return real_only(function)(*args).astype(np.float32)

    with pytest.raises(ValueError, match="pass reference="):
        check_grads(narrow, vjp, *arrays(np.float32))
    assert check_grads(narrow, vjp, *arrays(np.float32), reference=function) < 1e-6


def test_grads_of_a_function_that_throws_the_imaginary_part_away():
    """It takes complex without an error; the complex step would find a derivative of zero."""

    def function(x):
        out = np.empty(x.shape)
        out[...] = np.sin(x)
        return out

    x = arrays(np.float64)[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert check_grads(function, lambda g, x: (g * np.cos(x),), x) <= 1e-8
    assert not caught
    assert (
        check_grads(lambda x: np.abs(x) ** 3, lambda g, x: (3 * g * x * np.abs(x),), x + 9) < 1e-8
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_grads_of_a_scalar_loss(dtype):
    x, w, _ = arrays(dtype)

    def loss(x, w):
        return float(np.mean(np.tanh(x @ w) ** 2))

    def vjp(g, x, w):
        y = np.tanh(x @ w)
        h = (g * 2 / y.size * y * (1 - y * y)).astype(dtype)
        return h @ w.T, x.T @ h

    assert check_grads(loss, vjp, x, w) <= max(1e-8, 4 * np.finfo(dtype).eps * np.sqrt(6))
    with pytest.raises(AssertionError, match="array 0"):
        check_grads(loss, lambda g, x, w: [2 * v for v in vjp(g, x, w)], x, w)


@pytest.mark.parametrize("check", [check_adjoint, check_grads])
def test_functions_see_the_dtypes_of_the_arrays(check):
    seen = []

    def function(x, w):
        seen.append((x.dtype, w.dtype))
        return x @ w

    def vjp(g, x, w):
        assert g.dtype == x.dtype == w.dtype == np.float32
        return np.float64(g) @ w.T, x.T @ np.float64(g)  # as from a vjp that computes in float64

    x, w, _ = arrays(np.float32)
    reference = {"reference": np.matmul} if check is check_grads else {}
    check(function, vjp, x, w, **reference)
    assert set(seen) == {(np.dtype(np.float32), np.dtype(np.float32))}


def test_seed_repeats_and_changes_the_probes():
    def wrong(g, x, w, b):
        return g @ w.T, x.T @ g * 1.5, g.sum(0)

    messages = []
    for seed in (1, 1, 2):
        with pytest.raises(AssertionError) as error:
            check_adjoint(forward, wrong, *arrays(np.float64), seed=seed)
        messages.append(str(error.value).split(" (mismatch")[0])
    assert messages[0] == messages[1] != messages[2]


def test_small_gradients_are_judged_by_their_absolute_error() -> None:
    def cube(x):
        return x**3

    def real_cube(x):
        return np.real(x) ** 3

    for function in (cube, real_cube):
        check_grads(function, lambda g, x: (3 * x**2 * g,), np.zeros(3))
        check_grads(function, lambda g, x: (3 * x**2 * g,), np.array([1e-5, 2.0, 0.0]))
        with pytest.raises(AssertionError, match="is wrong"):
            check_grads(function, lambda g, x: (3 * x**2 * g + 1e-4 * g,), np.zeros(3))


@pytest.mark.parametrize("check", [check_adjoint, check_grads])
def test_functions_may_compute_in_the_memory_that_they_are_given(check) -> None:
    def doubled(x):
        x *= 2
        return x

    assert check(doubled, lambda g, x: doubled(g), np.arange(3.0)) == 0
    with pytest.raises(AssertionError, match="is wrong"):
        check(doubled, lambda g, x: doubled(doubled(g)), np.arange(3.0))


@pytest.mark.parametrize("check", [check_adjoint, check_grads])
def test_arguments_that_are_refused(check) -> None:
    def double(x):
        return 2 * x

    def grad(g, x):
        return 2 * g

    one, name = np.ones(2), check.__name__
    with pytest.raises(TypeError, match=f"^{name}: array 0 is complex128, expected real numbers"):
        check(double, grad, one * 1j)
    with pytest.raises(TypeError, match=f"^{name}: the result is complex128"):
        check(lambda x: x * 1j, grad, one)
    with pytest.raises(AssertionError, match=r"has shape \(2,\), dtype complex128"):
        check(double, lambda g, x: 2j * g, one)
    with pytest.raises(ValueError, match=f"^{name}: tol is -1; it must be 0 or more"):
        check(double, grad, one, tol=-1)
    with pytest.raises(TypeError, match=f"^{name}: tol is 'a', not a number"):
        check(double, grad, one, tol="a")


def test_to_check_nothing_is_an_error() -> None:
    one, two = np.ones(2), np.full(2, 3.0)
    with pytest.raises(AssertionError, match="every gradient is None"):
        check_grads(lambda x, y: x * y, lambda g, x, y: (None, None), one, two)
    check_grads(lambda x, y: x * y, lambda g, x, y: (None, g * x), one, two)
    for check in (check_grads, check_adjoint):
        with pytest.raises(AssertionError, match="every gradient is None"):
            check(lambda x: 2 * x, lambda g, x: None, one)
        with pytest.raises(AssertionError, match="no arrays are given"):
            check(lambda: np.ones(2), lambda g: ())
