"""What parts of kernels take: words. A float would be cut to an integer without a word."""

from __future__ import annotations

import pytest
from numba import njit
from numba.core.errors import TypingError

from fastgrad._kernels.codegen.calls import subroutine
from fastgrad._kernels.codegen.integers import bits_of, double


@subroutine
def is_small(x):  # type: ignore[no-untyped-def]
    return 1 if double(x) < 1e-300 else 0


def test_a_subroutine_refuses_floats() -> None:
    by_bits = njit(lambda x: is_small(bits_of(x)))
    assert [by_bits(x) for x in (0.0, 2.0**-1022, 0.5)] == [1, 1, 0]
    with pytest.raises(TypingError, match=r"is_small takes views and integers; pass bits_of"):
        njit(lambda x: is_small(x))(0.5)
