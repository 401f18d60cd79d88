"""Wrong calls from compiled code: the words of the same call from Python, nothing written."""

from __future__ import annotations

import inspect
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import types
from numba.core.errors import NumbaError, TypingError

import fastgrad
from support import compiled
from support.wrong_calls import CASES, RIGHT
from support.wrong_calls_page import Written, arguments, cases

_REST = {"out": None, "accumulate": False, "activation": None, "bias": None, "needs": None}


def _arguments(function: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    """Those of the function of compiled.py, in order."""
    known = {**RIGHT[function], **given}
    if function is fastgrad.linear_backward and "out" not in given:
        known["out"] = (None, None, None)
    return tuple(known.get(name, _REST.get(name)) for name in compiled.NAMES[function.__name__])


def _is_known_to_numba(value: Any) -> bool:
    """Others it refuses by itself; and it takes subclasses for an ndarray."""
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        return False
    try:
        return numba.typeof(value).is_precise()
    except (ValueError, NumbaError):
        return False


def _cases(error: type[Exception]) -> list[Any]:
    return [
        pytest.param(function, args, message, id=f"{function.__name__} {message[:60]}")
        for function, args, kind, message in CASES
        if kind is error
        and set(args) <= set(compiled.NAMES[function.__name__])
        and all(_is_known_to_numba(value) for value in args.values())
    ]


@pytest.mark.parametrize(("function", "given", "message"), _cases(ValueError))
def test_value_errors(function: Any, given: dict[str, Any], message: str) -> None:
    wrapper = getattr(compiled, f"any_{function.__name__}")
    with pytest.raises((ValueError, TypingError)) as caught:
        wrapper(*_arguments(function, given))
    text = f"{function.__name__}: {message}"
    if type(caught.value) is TypingError:  # of what is known when it is compiled
        assert text in str(caught.value) and " entries, " in text
    else:
        assert type(caught.value) is ValueError and str(caught.value) == text
        assert caught.value.args == (text,)


@pytest.mark.parametrize(("function", "given", "message"), _cases(TypeError))
def test_type_errors(function: Any, given: dict[str, Any], message: str) -> None:
    wrapper = getattr(compiled, f"any_{function.__name__}")
    with pytest.raises(TypingError) as caught:
        wrapper(*_arguments(function, given))
    words = message.replace("np.empty((3, 5),", "np.empty(shape,")
    words = words.replace("is int 1,", "is int,").replace("is str 'yes',", "is str,")
    assert f"{function.__name__}: {words}" in str(caught.value)


def test_there_are_cases() -> None:
    assert len(_cases(ValueError)) >= 25 and len(_cases(TypeError)) >= 12


# The page of wrong calls: those of functions that compiled code can call ------------------------

FUNCTIONS = (
    "matmul", "matmul_nt", "matmul_tn", "linear_forward", "linear_backward",
    "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse", "sgd_step", "adam_step",
    "set_num_threads",
)  # fmt: skip
_WHOLE = {"step", "n", "nesterov"}  # of these an integer is not a float
_LEAST = 3  # calls of the same types that are worth compiling for in the usual run


def _values(call: str, used: Written) -> tuple[str, list[Any]]:
    """The function and all its arguments in order, defaults included, numbers as float64."""
    name, found = arguments(call, used)
    given: dict[str, Any] = {}
    for key, parameter in inspect.signature(getattr(fastgrad, name)).parameters.items():
        value = found.get(key, parameter.default)
        if key == "out" and name == "linear_backward":
            value = tuple(value) if isinstance(value, list) else value
        if type(value) is int and key not in _WHOLE and abs(value) < 2**53:
            value = float(value)
        given[key] = value
    return name, list(given.values())


def _of_compiled_code() -> list[Any]:
    """(call, message), slow where too few calls have the types of its arguments."""
    used = Written(Path())
    names = [c for c in cases() if c[0].partition("(")[0] in FUNCTIONS]
    kinds: dict[str, str] = {}
    for call, _ in names:
        name, values = _values(call, used)
        if all(map(_is_known_to_numba, values)) and "needs=" not in call:
            kinds[call] = f"{name}{[numba.typeof(v) for v in values]}"
    common = {k for k, n in Counter(kinds.values()).items() if n >= _LEAST}
    chosen = []
    for call, message in names:
        if call in kinds:
            is_quick = message.startswith("ValueError") and kinds[call] in common
            is_quick |= " has dtype " in message
            marks = () if is_quick else pytest.mark.slow
            chosen.append(pytest.param(call, message, id=call[:90], marks=marks))
    return chosen


PAGE = _of_compiled_code()


@pytest.mark.parametrize(("call", "expected"), PAGE)
def test_the_page(call: str, expected: str) -> None:
    used = Written(Path())
    name, values = _values(call, used)
    before = fastgrad.get_num_threads()
    wrapper = getattr(compiled, f"any_{name}")
    with pytest.raises((ValueError, TypeError, TypingError)) as caught:
        wrapper(*_without_needs(name, values))
    kind, _, text = expected.partition(": ")
    if type(caught.value) is not TypingError:
        assert f"{type(caught.value).__name__}: {caught.value}" == _as_float(expected)
    elif " has dtype " in text:
        words = text.partition(", shape (")[0]  # lengths are not known
        words = words.partition("np.empty((")[0].partition(", expected float32")[0]
        assert words in str(caught.value)
    else:  # nor are values
        assert kind == "TypeError" or " entries, " in text or "betas" in text
        assert text.partition(" is ")[0].partition("betas[")[0] in str(caught.value)
    assert used.is_nothing() and fastgrad.get_num_threads() == before


def _without_needs(name: str, values: list[Any]) -> list[Any]:
    return values[:6] + values[7:] if name == "linear_backward" else values


def _as_float(expected: str) -> str:
    """Numbers reach it as float64, and are shown as such."""
    return expected.replace(" is 1; it must be 0 or more", " is 1.0; it must be 0 or more")


def test_there_are_cases_of_the_page() -> None:
    quick = [case for case in PAGE if not case.marks]
    assert len(PAGE) >= 90 and len(quick) >= 35


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
