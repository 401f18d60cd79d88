"""The cases of guards.py under Valgrind: ``valgrind python memcheck.py FIRST LAST``.

.ci/valgrind runs it.

What guard pages cannot see: reads of the gaps between the elements of an operand, and results that
depend on memory which nobody has written. Everything around and between elements is made
unaddressable, and memcheck is asked after each case how many errors it has found: none are allowed.
Without Valgrind the cases run as well, which compiles what they call.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from typing import Any

import guards
import numpy as np
from guards import KINDS, Guarded, draw

from fastgrad import num_threads
from fastgrad._kernels.codegen import target
from support.layouts import Placed, place
from support.oracles import Array, assert_same_bits

# Requests to Valgrind, of valgrind.h and memcheck.h
RUNNING, ERRORS = 0x1001, 0x1201
_TOOL = ord("M") << 24 | ord("C") << 16
NO_ACCESS, DEFINED, CHECK_DEFINED = _TOOL, _TOOL + 2, _TOOL + 5
# mov rax, rdi; xor edx, edx; what Valgrind knows a request by, which changes nothing (rol rdi by 3,
# 13, 61 and 51; xchg rbx, rbx); mov rax, rdx; ret
CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
PEEK = bytes.fromhex("0fb607 c3")  # movzx eax, byte [rdi]; ret
SIZES = ("small", "empty", "deep", "few rows", "few columns", "narrow", "dot", "tall", "outer",
         "parts", "packed")  # fmt: skip
MOST_RUNS = 3000  # of bytes of an operand: beyond, only its surroundings are closed
MARGIN = 2048  # bytes: half of what place leaves

_page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
_page.write(CODE + PEEK)
_function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
_address = np.frombuffer(_page, np.uint8).ctypes.data
_code, _peek = _function(_address), _function(_address + len(CODE))


def request(*words: int) -> int:
    """Valgrind's answer; 0 without it."""
    return int(_code((ctypes.c_uint64 * 6)(*words)))


class Span:
    """The bytes of an array, from the first to the last."""

    def __init__(self, a: Array) -> None:
        offsets = np.zeros((), np.int64)
        for n, step in zip(a.shape, a.strides, strict=True):
            offsets = np.add.outer(offsets, step * np.arange(n if step else min(n, 1)))
        places = np.unique(offsets) + a.ctypes.data
        self.empty = places.size == 0
        if not self.empty:
            ends = np.flatnonzero(np.diff(places) > a.itemsize)
            self.firsts = places[np.r_[0, ends + 1]]
            self.lasts = places[np.r_[ends, -1]] + a.itemsize

    def ask(self, what: int) -> int:
        """For each run of bytes; the last answer that is not 0."""
        answer = 0
        for first, last in zip(self.firsts.tolist(), self.lasts.tolist(), strict=True):
            answer = request(what, first, last - first) or answer
        return answer

    def close_around(self) -> None:
        low, high = int(self.firsts[0]), int(self.lasts[-1])
        if len(self.firsts) > MOST_RUNS:
            request(NO_ACCESS, low - MARGIN, MARGIN)
            request(NO_ACCESS, high, MARGIN)
        else:
            request(NO_ACCESS, low - MARGIN, high - low + 2 * MARGIN)
            self.ask(DEFINED)


class Closed(Placed):
    """An array whose surroundings are unaddressable until ``intact`` looks at them."""

    def intact(self) -> bool:
        request(DEFINED, self.memory.ctypes.data, len(self.memory))
        return super().intact()


def _memory(a: Any) -> Any:
    while a.base is not None:
        a = a.base
    return a


class Shadowed(Guarded):
    def between(self, a: Array) -> Placed:
        memory = _memory(a)
        if memory.dtype != np.uint8 or memory.ndim != 1:  # not of place
            a = place(a).array
            memory = _memory(a)
        span = Span(a)
        if not span.empty:
            span.close_around()
        return Closed(a, memory)

    def call(self, function: Any, *args: Any, **keywords: Any) -> Any:
        with num_threads(min(self.threads, 2)):
            return function(*args, **keywords)

    def same(self, actual: Any, expected: Any, what: str) -> None:
        assert_written(actual, expected, f"{what}; {self.log}")


def assert_written(actual: Any, expected: Any, what: str = "") -> None:
    """The same bits, and no bit of them comes from memory that nobody has written."""
    span = Span(np.asarray(actual))
    if not span.empty and len(span.firsts) <= MOST_RUNS:
        assert not span.ask(CHECK_DEFINED), f"{what} depends on what nobody wrote"
    assert_same_bits(actual, expected, what)


def sees_gaps() -> bool:
    """Whether a read of the byte behind a row, by code that is in no file, is an error."""
    a = place(np.zeros((2, 3), np.float32), pad=1).array
    Span(a).close_around()
    before = request(ERRORS)
    _peek(a.ctypes.data + a.shape[1] * a.itemsize)
    return request(ERRORS) == before + 1


def run(first: int, last: int) -> list[str]:
    """What was found."""
    guards.assert_same_bits = assert_written
    found = []
    for number in range(first, last):
        check = KINDS[number % len(KINDS)]
        before = request(ERRORS)
        case = draw(number, KINDS, SIZES, Shadowed)
        case.flush = True  # results are compared with those of plain operands, not the formula
        try:
            check(case)
        except AssertionError as error:
            found.append(f"case {number}, {check.__name__}: {error}")
        if request(ERRORS) != before:
            found.append(f"case {number}, {check.__name__}: memcheck; {', '.join(case.log)}")
        print(f"case {number}: {check.__name__}, {request(ERRORS) - before} errors", flush=True)
    return found


if __name__ == "__main__":
    under = bool(request(RUNNING))
    assert not under or sees_gaps(), "memcheck does not see what it is to see"
    found = run(int(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps({"valgrind": under, "isa": target.current().isa.name, "found": found}))
    sys.exit(bool(found))
