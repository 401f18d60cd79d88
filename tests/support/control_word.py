"""The floating-point control word of a thread: rounding, flush-to-zero, denormals-are-zero."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numba

from fastgrad._kernels.codegen import atomics

FLUSH = {"x86_64": 0x8040, "AMD64": 0x8040, "aarch64": 1 << 24, "arm64": 1 << 24}
KNOWN = platform.machine() in FLUSH
_RAISED = 0x3F  # flags that operations leave in x86's word


@numba.njit  # type: ignore[untyped-decorator]
def _exchange(value):  # type: ignore[no-untyped-def]
    """The thread's word, which becomes ``value`` if that is not negative."""
    old = atomics.control_word()
    if value >= 0:
        atomics.set_control_word(value)
    return old


def word() -> int:
    """Of this thread, without the flags."""
    return int(_exchange(-1)) & ~_RAISED


@contextmanager
def flushing() -> Iterator[int]:
    """Subnormal results become zeros, and subnormal operands count as zeros: the word for it."""
    usual = word()
    flush = usual | FLUSH[platform.machine()]
    _exchange(flush)
    try:
        yield flush
        assert word() == flush, "the caller's own word was changed"
    finally:
        _exchange(usual)
