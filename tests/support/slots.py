"""Other functions in kernels' slots of the table, for as long as a test wants them there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastgrad._kernels.runtime.callbacks import KERNEL_TYPE
from fastgrad._kernels.runtime.table import TABLE
from fastgrad._ops import kernel_call


def address_of(function: Callable[[int], int]) -> int:
    """Of a kernel made of a Python function; to be kept by whoever uses it."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def put(index: int, address: int) -> None:
    """Callers from Python, who keep what they have once found, look it up anew."""
    TABLE[index] = address
    kernel_call._function.cache_clear()


@contextmanager
def replaced(*slots: int, by: Callable[[int], int] | int) -> Iterator[None]:
    """By a Python function of the address of a struct, or by what is at an address."""
    kept = by if isinstance(by, int) else KERNEL_TYPE(by)
    address = kept if isinstance(kept, int) else address_of(kept)
    before = [TABLE[index] for index in slots]
    try:
        for index in slots:
            put(index, address)
        yield
    finally:
        for index, own in zip(slots, before, strict=True):
            put(index, own)
