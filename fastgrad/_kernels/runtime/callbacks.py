"""Python functions that compiled code calls, entered so that no exception gets lost.

An exception cannot pass through compiled frames: ctypes prints what its callback raises, and
returns whatever is in memory. A try inside the callback comes too late for a signal that is pending
when it is called, since the interpreter raises at a function's first instruction. So what ctypes
calls is the send of a generator that is already suspended inside its try; before that, all is C.

Nor must a status get lost: a callback that compiles a kernel and calls it would raise what came
while the kernel ran, after it has changed the caller's memory. So the generator's last step is that
call, by way of a map and of yield from: from the kernel to whoever called, too, all is C, and the
signal stays pending until the interpreter goes on.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable, Generator, Iterator
from typing import Any

KERNEL_TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
_KEPT = 4  # generators: as many threads may enter before the first of them has come to its refill


class _Entry(list[Callable[[int], int]]):
    """A callable of one word: each call takes one of the sends that it consists of."""

    __call__ = property(operator.methodcaller("pop"))


def entry(function: Callable[[int], Any], caught: Callable[[BaseException], int]) -> Any:
    """For C: function(word), or what ``caught`` makes of the exception that it raises.

    Where function(word) is a function itself, a kernel: what that one makes of the word.
    """
    sends = _Entry()

    def refill() -> None:
        while len(sends) < _KEPT:
            call = one_call()
            next(call)
            sends.append(call.send)

    def one_call() -> Generator[int, int, None]:
        status, word = 0, None
        kernel: Iterator[int] | None = None
        try:
            try:
                word = yield status
                refill()
                status = function(word)
                if callable(status):
                    kernel = map(status, (word,))
            except BaseException as error:
                if word is None and isinstance(error, GeneratorExit):
                    return  # nobody will call it
                status = caught(error)
        except BaseException as error:  # the second, which came while the first was kept
            status = caught(error)
        if kernel is None:
            yield status
        else:
            yield from kernel

    refill()
    return KERNEL_TYPE(sends)
