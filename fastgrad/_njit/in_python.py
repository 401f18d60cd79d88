"""The checked path of a call from compiled code: records -> numpy arrays -> the public function."""

from __future__ import annotations

import ctypes
import inspect
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import threads
from .._kernels.bind import gateway, records
from .._kernels.bind.records import (
    CHECKED,
    FRESH,
    FUNCTIONS,
    KIND_BEFORE,
    LAYOUT,
    READ_ONLY,
    SCALAR,
    TEXT,
    WANTED,
    Descriptor,
    Record,
)
from .._kernels.codegen import structs
from .._kernels.runtime import registry
from .._kernels.runtime.table import GATEWAY, TABLE
from .._ops import clipping, elementwise, linear, losses, optimizers
from .._ops import matmul as _matmul
from . import failures

Array = NDArray[Any]


@cache
def _words(n: int) -> Any:
    """The type of n words: to make one anew takes 20 us."""
    return ctypes.c_int64 * n


class _Memory:
    """What numpy makes a view of."""

    def __init__(
        self, place: tuple[int, bool], shape: tuple[int, ...], strides: tuple[int, ...], kind: str
    ) -> None:
        self.__array_interface__ = {
            "data": place, "shape": shape, "strides": strides, "typestr": kind, "version": 3,
        }  # fmt: skip


class Operand:
    """A record as Python has it."""

    def __init__(self, address: int) -> None:
        self.record = Record(*_words(len(Record._fields)).from_address(address))
        ndim, after = self.record.ndim, address + structs.size(Record)
        self.lengths = _words(ndim).from_address(after)
        self.strides = tuple(_words(ndim).from_address(after + 8 * ndim))

    def has(self, flag: int) -> bool:
        return bool(self.record.flags & flag)

    def array(self) -> Array:
        """A view of the memory, which is the caller's."""
        place = self.record.data, self.has(READ_ONLY)
        dtype = _dtype(self.record.kind)
        a: Array = np.asarray(_Memory(place, tuple(self.lengths), self.strides, dtype.str))
        before = self.record.flags >> KIND_BEFORE
        if before:
            a = a.astype(_dtype(before))
            a.flags.writeable = not self.has(READ_ONLY)
        return a

    def value(self) -> Any:
        """What the argument was: an array, a number, a str; None for a result to be made."""
        if self.has(WANTED):
            return None
        if self.has(TEXT):
            width = self.record.kind & 255
            text = ctypes.string_at(self.record.data, self.lengths[0] * width)
            return text.decode({1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width])
        return self.array()[()].item() if self.has(SCALAR) else self.array()


@cache
def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(f"{chr(kind >> 8)}{kind & 255}")


class Call:
    """A descriptor as Python has it."""

    def __init__(self, descriptor: int) -> None:
        words = _words(len(Descriptor._fields)).from_address(descriptor)
        layout, number, count = Descriptor(*words)
        if layout != LAYOUT or not 1 <= number <= len(FUNCTIONS):
            raise RuntimeError(STALE)
        self.function = FUNCTIONS[number - 1]
        after = descriptor + structs.size(Descriptor)
        self.words = _words(count).from_address(after)

    def operand(self, i: int) -> Operand | None:
        return Operand(self.words[i]) if self.words[i] else None

    def value(self, i: int) -> Any:
        operand = self.operand(i)
        return None if operand is None else operand.value()

    def write(self, i: int, value: Any) -> None:
        """Into the array or number of an operand."""
        operand = self.operand(i)
        assert operand is not None
        operand.array()[...] = value

    def tell(self, i: int, result: Array) -> None:
        """The lengths of a result that the caller is to make; it then calls again."""
        operand = self.operand(i)
        assert operand is not None
        for axis, length in enumerate(np.shape(result)):
            operand.lengths[axis] = length

    def is_fresh(self, i: int) -> bool:
        operand = self.operand(i)
        return operand is not None and operand.has(FRESH)

    def is_wanted(self, i: int) -> bool:
        operand = self.operand(i)
        return operand is not None and operand.has(WANTED)


STALE = (
    "fastgrad: this function was compiled with another version of fastgrad; "
    "clear the numba cache it comes from (its __pycache__, or NUMBA_CACHE_DIR)"
)


def _product(call: Call) -> None:
    a, b, out = (call.value(i) for i in range(3))
    function = getattr(_matmul, call.function)
    add = bool(call.words[3])
    to_nothing = add and call.is_fresh(2)  # that was None: an error
    if call.is_wanted(2):
        call.tell(2, function(a, b, None, add))
    else:
        function(a, b, None if to_nothing else out, add)


def _forward(call: Call) -> None:
    if call.is_wanted(4):
        call.tell(4, linear.linear_forward(*(call.value(i) for i in range(4))))
    else:
        linear.linear_forward(*(call.value(i) for i in range(6)))


def _backward(call: Call) -> None:
    """Where results are wanted, one more time for their lengths, with nothing written."""
    arrays = [call.value(i) for i in range(6)]
    needs = tuple(bool(call.words[i]) for i in (6, 7, 8))
    function: Any = linear.linear_backward
    wanted = [call.is_wanted(i) for i in (9, 10, 11)]
    if any(call.words[12:15]) and not call.words[15]:
        function(*arrays, needs, (None, None, None), True)  # to add to nothing is an error
    if any(wanted):
        for i, is_wanted, grad in zip((9, 10, 11), wanted, function(*arrays, needs), strict=True):
            if is_wanted:
                call.tell(i, grad)
        return
    outs = tuple(call.value(i) for i in (9, 10, 11))
    fresh = [call.is_fresh(i) for i in (9, 10, 11)]
    adds = tuple(
        bool(call.words[i]) and not new for i, new in zip((12, 13, 14), fresh, strict=True)
    )
    function(*arrays, needs, outs, adds)


def _loss(call: Call) -> None:
    *args, loss, grad = range(len(call.words))
    values = getattr(losses, call.function)(*(call.value(i) for i in args))
    for i, value in zip((loss, grad), values, strict=True):
        call.write(i, value)


@cache
def _names(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _any_loss(call: Call) -> None:
    """With its options, by position; the keywords of Python."""
    *args, loss, grad = range(len(call.words))
    function = getattr(losses, call.function.removeprefix("weighted_"))
    values = [call.value(i) for i in args]
    results = function(**dict(zip(_names(function), values, strict=True)))
    for i, value in zip((loss, grad), results, strict=True):
        call.write(i, value)


def _step(call: Call) -> None:
    values = [call.value(i) for i in range(len(call.words))]
    if call.function == "sgd_step":
        optimizers.sgd_step(*values)
        return
    if call.function == "adam_step":  # of 0.1
        values.append(True)
    values[6:8] = [tuple(values[6:8])]
    optimizers.adam_step(*values)


def _clip(call: Call) -> None:
    arrays = [call.value(i) for i in range(2, len(call.words))]
    call.write(1, clipping.clip_grad_norm(arrays, call.value(0)))


def _softmax(call: Call) -> None:
    call.write(1, losses.softmax(call.value(0)))


def _activation(call: Call) -> None:
    call.write(2, elementwise.activation(call.value(0), call.value(1)))


def _threads(call: Call) -> None:
    if call.function == "set_num_threads":
        threads.set_num_threads(call.value(0))
    else:
        call.write(0, threads.get_num_threads())


_WAYS = {
    "linear_forward": _forward,
    "linear_backward": _backward,
    **dict.fromkeys(("matmul", "matmul_nt", "matmul_tn"), _product),
    **dict.fromkeys(("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"), _loss),
    **dict.fromkeys(("sgd_step", "adam_step", "any_adam_step"), _step),
    **dict.fromkeys([name for name in FUNCTIONS if name.startswith("weighted_")], _any_loss),
    "clip_grad_norm": _clip,
    "softmax": _softmax,
    "activation": _activation,
    **dict.fromkeys(("set_num_threads", "get_num_threads"), _threads),
}


def do(descriptor: int, status: int) -> int:
    """See gateway.python."""
    if status != CHECKED:
        registry.raise_status(status)
    call = Call(descriptor)
    _WAYS[call.function](call)
    return records.DONE


gateway.python, gateway.keep = do, failures.keep
assert TABLE[GATEWAY]
