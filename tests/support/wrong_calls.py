"""Wrong calls, with the error and the exact message of each: data for api/test_validate.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn

F4, F8 = np.float32, np.float64


def ones(*shape: int, dtype: Any = F4) -> Any:
    return np.ones(shape, dtype)


def overlapping(rows: int, columns: int) -> Any:
    """Every row is the one before, moved by one element."""
    return np.lib.stride_tricks.as_strided(ones(rows + columns), (rows, columns), (4, 4))


def read_only(*shape: int) -> Any:
    a = ones(*shape)
    a.flags.writeable = False
    return a


# The right arguments of each function; a case replaces some of them.
RIGHT: dict[Callable[..., Any], dict[str, Any]] = {
    matmul: {"a": ones(3, 4), "b": ones(4, 5)},
    matmul_nt: {"a": ones(3, 4), "b": ones(5, 4)},
    matmul_tn: {"a": ones(4, 3), "b": ones(4, 5)},
    linear_forward: {"x": ones(3, 4), "weight": ones(4, 5), "bias": ones(5)},
    linear_backward: {"grad_output": ones(3, 5), "x": ones(3, 4), "weight": ones(4, 5)},
}
NAMES = "None, 'relu', 'sigmoid', 'tanh', 'gelu', 'gelu_tanh', 'silu'"

# function, arguments that are wrong, error, message without the function's name
CASES: list[tuple[Callable[..., Any], dict[str, Any], type[Exception], str]] = [
    # what is not an array of real numbers
    (matmul, {"a": [[1.0]]}, TypeError, "a is list, expected a numpy.ndarray; pass np.asarray(a)"),
    (matmul, {"b": None}, TypeError, "b is None, expected a numpy.ndarray"),
    (matmul_nt, {"a": 2.0}, TypeError, "a is float, expected a numpy.ndarray; pass np.asarray(a)"),
    (
        matmul,
        {"a": F4(1)},
        TypeError,
        "a is a numpy.float32, expected a numpy.ndarray; pass np.asarray(a)",
    ),
    (
        matmul,
        {"a": np.ma.ones((3, 4), F4)},
        TypeError,
        "a is a numpy.MaskedArray, expected a numpy.ndarray; pass np.asarray(a)",
    ),
    (
        linear_forward,
        {"x": ones(3, 4).view(np.recarray)},
        TypeError,
        "x is a numpy.recarray, expected a numpy.ndarray; pass np.asarray(x)",
    ),
    (
        linear_forward,
        {"bias": (1, 2, 3, 4, 5)},
        TypeError,
        "bias is tuple, expected a numpy.ndarray; pass np.asarray(bias)",
    ),
    (
        linear_backward,
        {"grad_output": 1},
        TypeError,
        "grad_output is int, expected a numpy.ndarray; pass np.asarray(grad_output)",
    ),
    (
        linear_backward,
        {"activation": "relu", "output": [0.0]},
        TypeError,
        "output is list, expected a numpy.ndarray; pass np.asarray(output)",
    ),
    # dtypes
    (
        matmul,
        {"a": ones(3, 4, dtype=np.float16)},
        TypeError,
        "a has dtype float16, expected float32, float64, an integer or bool; "
        "convert it with a.astype(np.float32)",
    ),
    (
        matmul,
        {"b": ones(4, 5, dtype=np.longdouble)},
        TypeError,
        f"b has dtype {np.dtype(np.longdouble)}, expected float32, float64, an integer or bool; "
        "convert it with b.astype(np.float64)",
    ),
    (
        matmul_tn,
        {"a": ones(4, 3, dtype=np.complex64)},
        TypeError,
        "a has dtype complex64, expected float32, float64, an integer or bool; "
        "pass a.real and a.imag separately",
    ),
    (
        linear_forward,
        {"weight": ones(4, 5, dtype=object)},
        TypeError,
        "weight has dtype object, expected float32, float64, an integer or bool; "
        "convert it to numbers with weight.astype(np.float32)",
    ),
    (
        linear_backward,
        {"x": np.full((3, 4), "1")},
        TypeError,
        "x has dtype <U1, expected float32, float64, an integer or bool; "
        "convert it to numbers with x.astype(np.float32)",
    ),
    # shapes of products
    (
        matmul,
        {"a": np.array(1.0, F4)},
        ValueError,
        "a is 0-dimensional, expected 1 dimension or more; use a * b for a scalar",
    ),
    (
        matmul_nt,
        {"b": np.array(1.0)},
        ValueError,
        "b is 0-dimensional, expected 1 dimension or more; use a * b for a scalar",
    ),
    (
        matmul,
        {"b": ones(5, 4)},
        ValueError,
        "a has 4 columns but b has 5 rows (a (3, 4), b (5, 4), float32); "
        "if b is stored transposed, pass b.T, or use matmul_nt",
    ),
    (
        matmul,
        {"a": ones(3)},
        ValueError,
        "a has 3 elements but b has 4 rows (a (3,), b (4, 5), float32); "
        "if b is stored transposed, pass b.T, or use matmul_nt",
    ),
    (
        matmul_nt,
        {"b": ones(4, 5)},
        ValueError,
        "a has 4 columns but b has 5 columns (a (3, 4), b (4, 5), float32); "
        "if b is stored transposed, pass b.T, or use matmul",
    ),
    (
        matmul_tn,
        {"a": ones(3, 4, dtype=F8)},
        ValueError,
        "a has 3 rows but b has 4 rows (a (3, 4), b (4, 5), float32 and float64); "
        "pass a.T, or use matmul",
    ),
    (
        matmul,
        {"a": ones(2, 3, 4), "b": ones(6, 4, 5)},
        ValueError,
        "the stacks (2,) of a and (6,) of b do not broadcast (a (2, 3, 4), b (6, 4, 5), float32); "
        "make their leading dimensions equal or 1",
    ),
    # shapes of layers
    (
        linear_forward,
        {"weight": ones(7, 5)},
        ValueError,
        "x has 4 columns but weight has 7 rows (x (3, 4), weight (7, 5), float32); "
        "if weight is stored (out, in), pass weight.T",
    ),
    (
        linear_forward,
        {"weight": ones(4)},
        ValueError,
        "weight has 1 dimensions (4,), expected 2, (in, out)",
    ),
    (
        linear_forward,
        {"x": np.array(1.0, F4)},
        ValueError,
        "x is 0-dimensional, expected 1 dimension or more: (..., in)",
    ),
    (
        linear_forward,
        {"bias": ones(4)},
        ValueError,
        "bias has shape (4,) but weight has 5 columns (bias (4,), weight (4, 5), float32); "
        "pass a bias of shape (5,)",
    ),
    (
        linear_forward,
        {"bias": ones(1, 5)},
        ValueError,
        "bias has shape (1, 5) but weight has 5 columns (bias (1, 5), weight (4, 5), float32); "
        "pass a bias of shape (5,)",
    ),
    (
        linear_backward,
        {"grad_output": ones(3, 4)},
        ValueError,
        "grad_output has shape (3, 4) but the layer's output has shape (3, 5) "
        "(grad_output (3, 4), x (3, 4), weight (4, 5), float32); pass grad_output of shape (3, 5)",
    ),
    (
        linear_backward,
        {"activation": "tanh", "output": ones(5)},
        ValueError,
        "output has shape (5,) but the layer's output has shape (3, 5) "
        "(output (5,), x (3, 4), weight (4, 5), float32); pass output of shape (3, 5)",
    ),
    (
        linear_backward,
        {"x": ones(3, 6)},
        ValueError,
        "x has 6 columns but weight has 4 rows (x (3, 6), weight (4, 5), float32); "
        "if weight is stored (out, in), pass weight.T",
    ),
    # activations
    (
        linear_forward,
        {"activation": "Relu"},
        ValueError,
        f"activation 'Relu' is not known; expected {NAMES}",
    ),
    (
        linear_forward,
        {"activation": np.tanh},
        TypeError,
        f"activation is a numpy.ufunc, expected {NAMES}",
    ),
    (linear_backward, {"activation": 1}, TypeError, f"activation is int, expected {NAMES}"),
    (
        linear_backward,
        {"activation": "relu", "preactivation": ones(3, 5)},
        ValueError,
        "output is None but activation 'relu' needs it; pass output=y of linear_forward",
    ),
    (
        linear_backward,
        {"activation": "gelu", "output": ones(3, 5)},
        ValueError,
        "preactivation is None but activation 'gelu' needs it; "
        "pass preactivation=what preactivation_out received of linear_forward",
    ),
    # accumulate and needs
    (
        matmul,
        {"accumulate": True},
        ValueError,
        "accumulate=True adds to out, but out is None; pass out",
    ),
    (matmul, {"accumulate": 1}, TypeError, "accumulate is int 1, expected True or False"),
    (matmul_tn, {"accumulate": None}, TypeError, "accumulate is None, expected True or False"),
    (
        linear_backward,
        {"accumulate": True},
        ValueError,
        "accumulate adds to out, but no out is given; pass out=(x, weight, bias)",
    ),
    (
        linear_backward,
        {"accumulate": (True, False)},
        ValueError,
        "accumulate has 2 entries, expected a tuple of three bools, for x, weight and bias",
    ),
    (
        linear_backward,
        {"accumulate": "yes"},
        TypeError,
        "accumulate is str 'yes', expected True or False",
    ),
    (
        linear_backward,
        {"needs": True},
        TypeError,
        "needs is bool, expected a tuple of three bools, for x, weight and bias",
    ),
    (
        linear_backward,
        {"needs": (True, True)},
        ValueError,
        "needs has 2 entries, expected a tuple of three bools, for x, weight and bias",
    ),
    (
        linear_backward,
        {"needs": (True, 0, True)},
        TypeError,
        "needs is int 0, expected True or False",
    ),
    (
        linear_backward,
        {"out": ones(3, 4)},
        TypeError,
        "out is a numpy.ndarray, expected a tuple of three arrays or None, for x, weight and bias",
    ),
    # outputs
    (
        matmul,
        {"out": [[0.0] * 5] * 3},
        TypeError,
        "out is list, expected a numpy.ndarray to write; "
        "allocate it with np.empty((3, 5), np.float32)",
    ),
    (
        matmul,
        {"out": ones(3, 5, dtype=F8)},
        TypeError,
        "out has dtype float64 but the result is float32; "
        "allocate it with np.empty((3, 5), np.float32)",
    ),
    (
        linear_forward,
        {"preactivation_out": ones(3, 5, dtype=int)},
        TypeError,
        "preactivation_out has dtype int64 but the result is float32; "
        "allocate it with np.empty((3, 5), np.float32)",
    ),
    (
        matmul_nt,
        {"out": ones(5, 3)},
        ValueError,
        "out has shape (5, 3) but the result has shape (3, 5); "
        "allocate it with np.empty((3, 5), np.float32)",
    ),
    (
        matmul,
        {"out": read_only(3, 5)},
        ValueError,
        "out (3, 5) is read-only; pass an array that can be written",
    ),
    (
        matmul,
        {"out": np.broadcast_to(ones(5), (3, 5))},
        ValueError,
        "out (3, 5) is read-only; pass an array that can be written",
    ),
    (
        matmul,
        {"out": overlapping(3, 5)},
        ValueError,
        "elements of out (3, 5) share memory (strides (4, 4)); "
        "pass an array whose elements are distinct, such as out.copy()",
    ),
    (
        linear_backward,
        {"out": (None, overlapping(4, 5), None)},
        ValueError,
        "elements of out[1] (weight) (4, 5) share memory (strides (4, 4)); "
        "pass an array whose elements are distinct, such as out[1] (weight).copy()",
    ),
    (
        linear_backward,
        {"out": (None, None, ones(4))},
        ValueError,
        "out[2] (bias) has shape (4,) but the result has shape (5,); "
        "allocate it with np.empty((5,), np.float32)",
    ),
]
