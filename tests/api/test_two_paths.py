"""The fast path and the checked one: what the one takes, the other takes with the same bits.

What the checked path refuses, the fast path refuses with nothing written, from Python and from
users' compiled functions: it reads and writes memory by its own judgement of the arguments.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numba import njit, types

from fastgrad import num_threads
from support import compiled
from support.two_paths import (
    FUNCTIONS,
    Case,
    assert_same,
    by_builtin,
    by_checked_path,
    by_python,
    by_records,
    cases,
    made,
    untouched,
)

EXAMPLES = 5 * settings.default.max_examples
functions = pytest.mark.parametrize("function", FUNCTIONS)
SEEN: Counter[str] = Counter()


def check(case: Case) -> None:
    SEEN[case.function] += 1
    checked = by_checked_path(case)
    if checked.error is not None:
        assert untouched(case, checked.memory), f"refused, but written: {case}"
    fast = by_builtin(case)
    assert fast.error is None, f"{fast.said()}: {case}"
    if fast.result is NotImplemented:
        assert untouched(case, fast.memory), f"left to the checked path, but written: {case}"
    else:
        SEEN[f"{case.function}, fast"] += 1
        assert_same(case, fast, checked, "builtin, checked path")
    assert_same(case, by_python(case), checked, "from Python, checked path")
    if case.is_plain():
        outcome, asked, touched = by_records(case)
        assert not touched, f"left to Python, but written: {case}"
        if not asked:
            SEEN[f"{case.function}, by records"] += 1
        assert_same(case, outcome, checked, f"by records (Python asked: {asked}), checked path")


@functions
def test_two_paths(function: str) -> None:
    @settings(max_examples=EXAMPLES)
    @given(cases(function))
    def paths(case: Case) -> None:
        check(case)

    SEEN.clear()
    with num_threads(1):
        paths()
    for kind in (f"{function}, fast", f"{function}, by records"):
        share = SEEN[kind] / SEEN[function]
        assert 0.1 < share < 0.95, f"{kind}: {SEEN}"  # both answers are looked at


# The same from a user's function: of two dimensions, of one dtype, outputs and all else given.

R, W = (lambda n: compiled.read("float32", n)), (lambda n: compiled.written("float32", n))
TEXT, FLAG, FLOAT = types.unicode_type, types.boolean, types.float64
LABELS = types.Array(types.int64, 1, "A", readonly=True)
TYPES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("matmul", "matmul_nt", "matmul_tn"), (R(2), R(2), W(2), FLAG)),
    "linear_forward": (R(2), R(2), R(1), TEXT, W(2), W(2)),
    "linear_backward": (
        *(R(2), R(2), R(2), TEXT, R(2), R(2)),
        types.Tuple((W(2), W(2), W(1))), types.UniTuple(FLAG, 3),
    ),
    "softmax_cross_entropy": (R(2), LABELS, FLOAT, *[types.none] * 3),
    "binary_cross_entropy_with_logits": (R(2), R(2), *[types.none] * 3),
    "mse": (R(2), R(2), types.none, types.none),
    "sgd_step": (W(2), R(2), FLOAT, W(2), FLOAT, FLAG, FLOAT),
    "adam_step": (
        W(2), R(2), W(2), W(2), types.int64, FLOAT, types.UniTuple(FLOAT, 2), FLOAT, FLOAT,
        FLAG,
    ),
}  # fmt: skip


@functions
def test_from_compiled_code(function: str) -> None:
    user = njit(getattr(compiled, f"any_{function}").py_func)
    compiled.compile_for(user, *TYPES[function])

    def call(**arguments: Any) -> Any:
        arguments.pop("needs", None)
        options = len(TYPES[function]) - len(arguments) if function != "linear_backward" else 0
        return user(*arguments.values(), *[None] * options)

    @settings(max_examples=EXAMPLES)
    @given(cases(function, plain=True))
    def paths(case: Case) -> None:
        outcome = made(case, call)
        if isinstance(outcome.error, TypeError):  # numba's: an output that cannot be written
            assert untouched(case, outcome.memory)
            assert isinstance(by_python(case).error, ValueError)
            return
        SEEN["wrong" if outcome.error else "right"] += 1
        assert_same(case, outcome, by_python(case), "compiled, from Python")

    SEEN.clear()
    with num_threads(1), np.errstate(all="ignore"):
        paths()
    assert SEEN["right"] > EXAMPLES / 10 and SEEN["wrong"] > EXAMPLES / 100, SEEN
