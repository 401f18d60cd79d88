"""Wrong calls from compiled code: the words of the same call from Python, nothing written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # compiled

import compiled
import numba
import numpy as np
import pytest
from numba.core.errors import NumbaError, TypingError
from wrong_calls import CASES, RIGHT

import fastgrad

_REST = {"out": None, "accumulate": False, "activation": None, "bias": None, "needs": None}


def _arguments(function: Any, given: dict[str, Any]) -> tuple[Any, ...]:
    """Those of the function of compiled.py, in order."""
    known = {**RIGHT[function], **given}
    if function is fastgrad.linear_backward and "out" not in given:
        known["out"] = (None, None, None)
    return tuple(known.get(name, _REST.get(name)) for name in compiled.NAMES[function.__name__])


def _is_known_to_numba(value: Any) -> bool:
    """Others it refuses by itself; and it takes a recarray for an ndarray."""
    try:
        return type(value) is not np.recarray and numba.typeof(value).is_precise()
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
