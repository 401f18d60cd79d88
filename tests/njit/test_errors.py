"""Wrong calls from compiled code: the words of the same call from Python, nothing written."""

from __future__ import annotations

import inspect
import re
import resource
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import types
from numba.core.errors import NumbaError, TypingError

import fastgrad
from support import compiled
from support.wrong_calls import Written, arguments, cases

FUNCTIONS = (
    "matmul", "matmul_nt", "matmul_tn", "linear_forward", "linear_backward",
    "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse", "sgd_step", "adam_step",
    "set_num_threads",
)  # fmt: skip
_NUMBERS = {
    "lr",
    "momentum",
    "weight_decay",
    "eps",
    "label_smoothing",
    "denominator",
}  # float64: 1 is 1.0
_FAILS: dict[str, str] = {}


# Where types say less than values do, or where compiled code says it in other words.
_OTHERWISE = {
    "matmul([[1.0]], ones(4, 5))":
        "matmul: a is list, expected a numpy.ndarray; pass np.asarray(a)",
    "matmul_nt(2.0, ones(5, 4))":
        "matmul_nt: a is float, expected a numpy.ndarray; pass np.asarray(a)",
    "matmul(np.float32(1), ones(4, 5))":
        "matmul: a is a numpy.float32, expected a numpy.ndarray; pass np.asarray(a)",
    'linear_forward(ones(3, 4), ones(4, 5), ("a", "b", "c", "d", "e"))':
        "linear_forward: bias is tuple, expected a numpy.ndarray; pass np.asarray(bias)",
    "linear_forward(ones(3, 4), ones(4, 5), bias=0.0)":
        "linear_forward: bias is float, expected a numpy.ndarray; pass np.asarray(bias)",
    "linear_backward(1, ones(3, 4), ones(4, 5))":
        "linear_backward: grad_output is int, expected a numpy.ndarray; pass np.asarray(grad_outp",
    'linear_backward(ones(3, 5), ones(3, 4), ones(4, 5), activation="relu", output=[0.0])':
        "linear_backward: output is list, expected a numpy.ndarray; pass np.asarray(output)",
    "softmax_cross_entropy(ones(3, 4), [0, 1, None])":
        "softmax_cross_entropy: labels is list, expected a numpy.ndarray; pass np.asarray(labels)",
    "matmul_nt(ones(3, 4), memoryview(ones(5, 3)))":
        "matmul_nt: b is a numba.memoryview(float32, 2d, C), expected a numpy.ndarray; "
        "pass np.asarray(b)",
    "matmul_nt(ones(3, 4), ones(5, 4), ones(3, 5), accumulate=np.ones(1, bool))":
        "matmul_nt: accumulate is a numpy.ndarray array([], dtype=bool), expected True or False",
    'linear_forward(ones(3, 4), ones(4, 5), activation=b"relu")':
        "linear_forward: activation is a numba.readonly bytes(uint8, 1d, C), expected None, 'relu'",
    'softmax_cross_entropy(ones(3, 4), np.array(["cat", "dog", "cat"]))':
        "softmax_cross_entropy: labels has dtype <U3, expected float32, float64, an integer",
    "sgd_step([1.0], [1.0], 0.1)":
        "sgd_step: param is list, expected a numpy.ndarray; pass np.asarray(param)",
    "sgd_step(ones(3), ones(3), 0.1, [0.0, 0.0, 0.0], 0.9)":
        "sgd_step: velocity is list, expected a numpy.ndarray; pass np.asarray(velocity)",
    'sgd_step(ones(3), ones(3), 0.1, ones(3), 0.9, nesterov="no")':
        "sgd_step: nesterov is '', not a number",
    "adam_step(ones(3, dtype=np.float16), ones(3), ones(3), ones(3), 1)":
        "adam_step: param has dtype float16, expected float32, float64, an integer or bool",
    'adam_step(ones(3), ones(3), ones(3), ones(3), 1, betas="ab")':
        "adam_step: betas is ''; pass two numbers",
}  # fmt: skip
_UNKNOWN = "..."


def _without_values(text: str) -> str:
    """What a TypingError says in place of a message: no lengths and no values are known."""
    text = re.sub(r"np\.empty\(\([\d, ]*\), ", "np.empty(shape, ", text)
    text = re.sub(r", shape \([\d, ]*\)", "", text)
    text = re.sub(r" is (int|str) [^,]+,", r" is \1,", text)
    return re.sub(r"^(\w+: \w+ is ).*(, not a number|; pass .*)$", rf"\1{_UNKNOWN}\2", text)


def _is_known_to_numba(value: Any) -> bool:
    """Others it refuses by itself; and it takes subclasses for an ndarray."""
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        return False
    try:
        return numba.typeof(value).is_precise()
    except (ValueError, NumbaError):
        return False


def _values(call: str, used: Written) -> tuple[str, list[Any]]:
    """The function and its arguments in order, defaults included, numbers as float64."""
    name, found = arguments(call, used)
    given: dict[str, Any] = {}
    for key, parameter in inspect.signature(getattr(fastgrad, name)).parameters.items():
        value = found.get(key, parameter.default)
        if key == "out" and name == "linear_backward":
            value = tuple(value) if isinstance(value, list) else value
        if type(value) is int and key in _NUMBERS and abs(value) < 2**53:
            value = float(value)
        if key != "needs":  # a constant of the code
            given[key] = value
    return name, list(given.values())


def _of_compiled_code() -> list[Any]:
    """The wrong calls that compiled code can make."""
    used = Written(Path())
    chosen = []
    for call, message in cases():
        if call.partition("(")[0] in FUNCTIONS and "needs=" not in call:
            _, values = _values(call, used)
            if all(map(_is_known_to_numba, values)):
                why = _FAILS.get(call)
                marks = [pytest.mark.xfail(reason=why)] if why else []
                chosen.append(pytest.param(call, message, id=call[:90], marks=marks))
    return chosen


TABLE = _of_compiled_code()


@pytest.mark.parametrize(("call", "expected"), TABLE)
def test_wrong_calls(call: str, expected: str) -> None:
    used = Written(Path())
    name, values = _values(call, used)
    before = fastgrad.get_num_threads()
    with pytest.raises((ValueError, TypeError, TypingError)) as caught:
        getattr(compiled, f"any_{name}")(*values)
    if type(caught.value) is TypingError:  # of what is known when it is compiled
        text = _OTHERWISE.get(call) or _without_values(expected.partition(": ")[2])
        for words in text.split(_UNKNOWN):
            assert words in str(caught.value)
    else:
        # numbers are float64 and are shown as such
        text = expected.replace(" is 1; it must be 0 or more", " is 1.0; it must be 0 or more")
        assert f"{type(caught.value).__name__}: {caught.value}" == text
        assert caught.value.args == (text.partition(": ")[2],)
    assert used.is_nothing() and fastgrad.get_num_threads() == before


def test_there_are_cases() -> None:
    kinds = [case.values[1].partition(":")[0] for case in TABLE]
    assert kinds.count("ValueError") >= 95 and kinds.count("TypeError") >= 60


# No memory for a result --------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="where Linux tells them")
def test_results_are_given_back_where_there_is_no_memory_for_the_next() -> None:
    """dX is made, of 32 MB of addresses; dW would be of 2**48 bytes, which no process has."""

    def addresses() -> int:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

    n, calls = 1 << 23, 10
    row, square = (np.broadcast_to(np.float32(0), shape) for shape in ((1, n), (n, n)))
    matrix = compiled.read("float32", 2)
    kinds = (matrix, matrix, matrix, types.unicode_type, matrix, matrix)
    compiled.compile_for(compiled.gradients, *kinds)
    seen = []
    for _ in range(1 + calls):
        with pytest.raises(MemoryError):
            compiled.gradients(row, row, square, "relu", row, row)
        seen.append(addresses())
    assert seen[-1] - seen[0] < calls * row.size * 4 / 2


def test_a_result_whose_size_in_bytes_is_no_number() -> None:
    vector, matrix = (compiled.read("float32", ndim) for ndim in (1, 2))
    compiled.compile_for(compiled.layer, matrix, matrix, vector, types.unicode_type)
    n = 1 << 40
    args = [np.broadcast_to(np.float32(0), shape) for shape in ((n, 1), (1, n), (n,))]
    with pytest.raises(ValueError, match="array is too big"):
        compiled.layer(*args, "relu")
