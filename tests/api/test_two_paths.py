"""The fast path and the checked one: what the one takes, the other takes with the same bits.

What the checked path refuses, the fast path refuses with nothing written, from Python and from
users' compiled functions: it reads and writes memory by its own judgement of the arguments.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

from fastgrad import num_threads
from support.two_paths import (
    FUNCTIONS,
    Case,
    assert_same,
    by_builtin,
    by_checked_path,
    by_python,
    by_records,
    cases,
    untouched,
)

EXAMPLES = 10 * settings.default.max_examples
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
