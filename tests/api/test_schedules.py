"""Learning rates by epoch: the formulas, the ends, and bits that no libm decides."""

from __future__ import annotations

import math

import mpmath
import pytest

from fastgrad._ops.schedules import _cos_pi, cosine_schedule, step_schedule


def test_cosine() -> None:
    rate = cosine_schedule(0.4, 8)
    for epoch in range(8):
        assert rate(epoch) == pytest.approx(0.2 * (1 + math.cos(math.pi * epoch / 8)), rel=1e-14)
    assert rate(0) == 0.4 and rate(4) == 0.2 and 0 < rate(7) < 0.02
    assert rate(8) == rate(100) == 0.0


def test_warmup() -> None:
    rate = cosine_schedule(0.3, 7, warmup=2)
    assert [rate(e) for e in range(2)] == pytest.approx([0.1, 0.2])
    assert rate(2) == 0.3 and rate(3) < 0.3
    assert rate(4) == pytest.approx(0.15 * (1 + math.cos(math.pi * 2 / 5)))
    assert cosine_schedule(1, 2, 1)(1) == 1.0


def test_the_cosine_is_that_of_mathematics() -> None:
    """Within two units in the last place of the values up to 1."""
    with mpmath.workdps(30):
        worst = max(
            abs(mpmath.cos(mpmath.pi * mpmath.mpf(t)) - _cos_pi(t))
            for t in (i / 1000 for i in range(1001))
        )
    assert worst <= 2 * 2.0**-53
    assert _cos_pi(0.5) == 0.0 and _cos_pi(1 / 3) == pytest.approx(0.5)


def test_bits_are_frozen() -> None:
    rate = cosine_schedule(0.003, 60, 5)
    assert [rate(e).hex() for e in (0, 17, 42, 59)] == [
        "0x1.0624dd2f1a9fcp-11",
        "0x1.5ccf7896a81fep-9",
        "0x1.7c520d09cca5dp-11",
        "0x1.4857be5ce6d0ep-19",
    ]


def test_steps() -> None:
    rate = step_schedule(0.8, 3, 0.5)
    assert [rate(e) for e in range(8)] == [0.8] * 3 + [0.4] * 3 + [0.2] * 2
    assert step_schedule(1.0, 1)(2) == 0.1 * 0.1
    assert step_schedule(1.0, 1)(10**9) == 0.0 and step_schedule(2, 1, 1)(10**9) == 2.0  # at once


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: cosine_schedule(-1, 3), ValueError, "cosine_schedule: lr is -1; it must be 0"),
        (lambda: cosine_schedule("1", 3), TypeError, "cosine_schedule: lr is '1', not a number"),
        (lambda: cosine_schedule(1, 0), ValueError, "cosine_schedule: epochs is 0; it must be 1"),
        (lambda: cosine_schedule(1, 2.5), TypeError, "cosine_schedule: epochs is 2.5; pass an"),
        (lambda: cosine_schedule(1, 3, 3), ValueError, "warmup is 3; it must be below epochs, 3"),
        (lambda: cosine_schedule(1, 3, -1), ValueError, "warmup is -1; it must be 0 or more"),
        (lambda: step_schedule(math.nan, 3), ValueError, "step_schedule: lr is nan"),
        (lambda: step_schedule(1, 0), ValueError, "step_schedule: every is 0"),
        (lambda: step_schedule(1, 1, math.inf), ValueError, "step_schedule: factor is inf"),
    ],
)
def test_errors(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()
