"""Calls in random memory, by each way to the kernels: builtins, records, the checked path.

A case is a call whose arrays are views of one block of memory, anywhere in it, so that the same
call can be made again in a block of the same bytes. All bytes are of 3f, 40, bf and c0: whatever
floats are read from them, at whatever offset, are normal and not large.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

import fastgrad
from fastgrad._kernels.bind import builtins, gateway, records
from fastgrad._kernels.bind.records import FRESH, READ_ONLY, SCALAR, TEXT, WANTED
from fastgrad._kernels.runtime.callbacks import KERNEL_TYPE
from fastgrad._kernels.runtime.table import GATEWAY, TABLE
from fastgrad._njit import failures
from fastgrad._ops import layer_stack
from support.oracles import assert_same_bits
from support.small import Odd

Array = np.ndarray[Any, Any]
Draw = Callable[[Any], Any]
SIZE = 1 << 16  # bytes of the block
NAMES = (None, "relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu")
FLOATS = ("f4", "f8")
OTHERS = ("f4", "f8", "i4", "i8", "u1", "i2", ">f4", ">f8", "f2", "c8")


@functools.cache
def _bytes(seed: int) -> Array:
    few = np.array([0x3F, 0x40, 0xBF, 0xC0], np.uint8)
    return few[np.random.default_rng(seed).integers(0, 4, SIZE)]


def block(seed: int) -> Array:
    return _bytes(seed).copy()


class Place(NamedTuple):
    """Where an array lies in the block."""

    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    writeable: bool = True
    fill: str = ""  # what is written there before the call
    kind: str = ""  # another type of object

    def extent(self) -> tuple[int, int]:
        """First byte, and one past the last."""
        reach = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        if 0 in self.shape:
            return self.offset, self.offset
        low = self.offset + sum(min(r, 0) for r in reach)
        return low, self.offset + sum(max(r, 0) for r in reach) + np.dtype(self.dtype).itemsize

    def view(self, memory: Array) -> Any:
        a: Array = np.ndarray(self.shape, self.dtype, memory.data, self.offset, self.strides)
        if self.fill:
            count = np.arange(a.size).reshape(self.shape)
            labels = {"label": count % 3, "bad label": count * 5 - 1, "share": count % 5 / 4,
                      "bad share": count % 5 / 3, "positive": 1 + count % 7}  # fmt: skip
            a[...] = labels[self.fill]
        a.flags.writeable = self.writeable
        if self.kind == "subclass":
            return a.view(Odd)
        return a.tolist() if self.kind == "list" else a


class Case(NamedTuple):
    function: str
    seed: int
    arguments: dict[str, Any]  # in order; Place, or tuples of them, stand for arrays
    written: tuple[str, ...]  # those of outputs

    def bound(self, memory: Array) -> dict[str, Any]:
        return {name: _bound(value, memory) for name, value in self.arguments.items()}

    def outputs(self) -> list[Place]:
        found = [_flat(self.arguments[name]) for name in self.written]
        return [place for places in found for place in places if isinstance(place, Place)]

    def is_plain(self) -> bool:
        """Whether a compiled function can be given it."""
        flags = [
            self.arguments[n]
            for n in ("accumulate", "nesterov", "needs", "decoupled")
            if n in self.arguments
        ]
        if any(type(flag) is not bool for value in flags for flag in _flat(value)):
            return False
        if not isinstance(self.arguments.get("activation"), str | None):
            return False
        numbers = ("lr", "momentum", "weight_decay", "step", "betas", "eps", "label_smoothing")
        if any(type(n) not in (bool, int, float) or abs(n) >= 1 << 63
               for name in numbers for n in _flat(self.arguments.get(name, 0))):  # fmt: skip
            return False
        for value in self.arguments.values():
            if type(value) is list:
                return False
            for one in _flat(value):
                if isinstance(one, Place) and (one.kind or not np.dtype(one.dtype).isnative):
                    return False
                if type(one) not in (Place, bool, int, float, str, type(None)):
                    return False
        return True


def _bound(value: Any, memory: Array) -> Any:
    if isinstance(value, Place):
        return value.view(memory)
    kind = type(value)
    return kind(_bound(v, memory) for v in value) if kind in (tuple, list) else value


def _flat(value: Any) -> list[Any]:
    return [*value] if type(value) in (tuple, list) else [value]


# what comes of a call ----------------------------------------------------------------------------


class Outcome(NamedTuple):
    result: Any  # None where it was refused
    error: BaseException | None
    memory: Array

    def said(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


def made(case: Case, call: Callable[..., Any]) -> Outcome:
    memory = block(case.seed)
    arguments = case.bound(memory)
    try:
        return Outcome(call(**arguments), None, memory)
    except (TypeError, ValueError, MemoryError, SystemError, RuntimeError) as error:
        return Outcome(None, error, memory)


def untouched(case: Case, memory: Array) -> bool:
    before = block(case.seed)
    case.bound(before)  # which fills some
    return bool((memory == before).all())


def assert_same(case: Case, one: Outcome, other: Outcome, what: str) -> None:
    """Results to the bit, all of the block, and errors with their words."""
    what = f"{what}: {case}"
    if one.error is not None or other.error is not None:
        assert one.said() == other.said(), f"{one.said()}, {other.said()}: {what}"
    else:
        ones, others = _flat_results(one.result), _flat_results(other.result)
        assert len(ones) == len(others), what
        for x, y in zip(ones, others, strict=True):
            assert (x is None) == (y is None), what
            if x is not None:
                assert_same_bits(x, y, what)
    blocks = one.memory.copy(), other.memory.copy()
    for place in case.outputs():  # one NaN is as good as another
        if not place.kind and np.dtype(place.dtype).kind == "f":
            views = [place._replace(fill="", writeable=True).view(m) for m in blocks]
            assert_same_bits(*views, what)
            for view in views:
                view[...] = 0
    assert (blocks[0] == blocks[1]).all(), what


def _flat_results(result: Any) -> list[Any]:
    return [*result] if isinstance(result, tuple) else [result]


@contextmanager
def checked_path() -> Iterator[None]:
    """Public functions with builtins that refuse everything."""
    with mock.patch.multiple(builtins, **dict.fromkeys(builtins.NAMES, builtins.refuse)):
        yield


def by_checked_path(case: Case) -> Outcome:
    with checked_path():
        return made(case, getattr(fastgrad, case.function))


def by_python(case: Case) -> Outcome:
    return made(case, getattr(fastgrad, case.function))


def by_builtin(case: Case) -> Outcome:
    """Those that stand behind the function, in turn."""

    def call(**arguments: Any) -> Any:
        values = [*arguments.values()]
        if case.function == "adam_step":
            values[6:7] = [*arguments["betas"]]
        found = getattr(builtins, case.function)(*values)
        if found is None and case.function.startswith(("matmul", "linear")):
            found = getattr(builtins, case.function + "_stack")(*values)
        return None if found is True else found if found is not None else NotImplemented

    return made(case, call)


# by records --------------------------------------------------------------------------------------


def _record(dtype: Any, data: int, shape: Any, strides: Any, flags: int) -> Any:
    d = np.dtype(dtype)
    words = [data, records.kind_code(d.kind, d.itemsize), len(shape), flags, *shape, *strides]
    return (ctypes.c_int64 * len(words))(*words)


class Descriptor:
    """A call as a user's compiled function makes it: see emit.py."""

    def __init__(self, function: str) -> None:
        self.function = function
        self.words: list[int] = []
        self.kept: list[Any] = []
        self.wanted: list[tuple[Any, Any]] = []  # records, dtypes

    def record(self, *args: Any) -> Any:
        record = _record(*args)
        self.kept.append(record)
        self.words.append(ctypes.addressof(record))
        return record

    def array(self, a: Array | None, flags: int = 0) -> None:
        if a is None:
            self.words.append(0)
            return
        self.kept.append(a)
        flags |= 0 if a.flags.writeable else READ_ONLY
        self.record(a.dtype, a.__array_interface__["data"][0], a.shape, a.strides, flags)

    def want(self, dtype: Any, ndim: int) -> None:
        nothing = [0] * ndim
        self.wanted.append((self.record(dtype, 0, nothing, nothing, WANTED), dtype))

    def number(self, value: Any, flags: int = SCALAR) -> Array:
        place = np.array(value)
        self.kept.append(place)
        self.record(place.dtype, place.ctypes.data, (), (), flags)
        return place

    def text(self, name: str | None) -> None:
        if name is None:
            self.words.append(0)
            return
        data = ctypes.create_string_buffer(name.encode())
        self.kept.append(data)
        record = self.record("U", ctypes.addressof(data), (len(name),), (1,), TEXT)
        record[1] = records.LETTERS

    def call(self) -> list[Array]:
        """The arrays that were wanted; raises what the function raises."""
        function = "any_adam_step" if self.function == "adam_step" else self.function
        head = (records.LAYOUT, records.NUMBER[function], len(self.words))
        words = (ctypes.c_int64 * (3 + len(self.words)))(*head, *self.words)
        if self.wanted:
            self._go(words)
        arrays = []
        for record, dtype in self.wanted:
            ndim = record[2]
            a = np.full([*record[4 : 4 + ndim]], -7, dtype)
            record[0], record[3] = a.ctypes.data, FRESH
            record[4 + ndim : 4 + 2 * ndim] = a.strides
            arrays.append(a)
        self._go(words)
        return arrays

    def _go(self, words: Any) -> None:
        status = KERNEL_TYPE(TABLE[GATEWAY])(ctypes.addressof(words))
        if status != records.DONE:
            raise failures._kept.pop(threading.get_ident())


def _dtype(*arrays: Any) -> Any:
    """Of a result."""
    return np.result_type(*(a.dtype for a in arrays if a is not None), np.float32)


def _product(d: Descriptor, a: Any, b: Any, out: Any, accumulate: Any) -> Any:
    d.array(a)
    d.array(b)
    ndim = max(a.ndim, b.ndim, 2) - 2 + (a.ndim > 1) + (b.ndim > 1)
    number = None
    if out is not None:
        d.array(out)
    elif ndim == 0:
        number = d.number(_dtype(a, b).type(0), FRESH)
    else:
        d.want(_dtype(a, b), ndim)
    d.words.append(int(accumulate))
    arrays = d.call()
    return out if out is not None else arrays[0] if arrays else number[()]


def _forward(d: Descriptor, x: Any, weight: Any, bias: Any, activation: Any, out: Any,
             preactivation_out: Any) -> Any:  # fmt: skip
    for a in (x, weight, bias):
        d.array(a)
    d.text(activation)
    if out is None:
        d.want(_dtype(x, weight, bias), layer_stack.dimensions(x, weight)[0])
    else:
        d.array(out)
    d.array(preactivation_out)
    arrays = d.call()
    return arrays[0] if out is None else out


def _backward(d: Descriptor, grad_output: Any, x: Any, weight: Any, activation: Any, output: Any,
              preactivation: Any, needs: Any, out: Any, accumulate: Any) -> Any:  # fmt: skip
    for a in (grad_output, x, weight):
        d.array(a)
    d.text(activation)
    saved = {"relu": output, "sigmoid": output, "tanh": output, None: None}
    kept = saved.get(activation, preactivation)
    d.array(output if kept is output else None)
    d.array(preactivation if kept is not output else None)
    d.words += map(int, needs)
    dtype = _dtype(grad_output, x, weight, kept)
    for need, a, ndim in zip(needs, out, layer_stack.dimensions(x, weight)[1:], strict=True):
        if need and a is None:
            d.want(dtype, ndim)
        else:
            d.array(a)
    adds = accumulate if type(accumulate) is tuple else (accumulate,) * 3
    d.words += [*map(int, adds), int(any(a is not None for a in out))]
    arrays = iter(d.call())
    return tuple(
        (next(arrays) if a is None else a) if need else None
        for need, a in zip(needs, out, strict=True)
    )


def _loss(d: Descriptor, *arguments: Any) -> Any:
    z, t, *numbers = arguments
    d.array(z)
    d.array(t)
    for value in numbers:
        d.number(value)
    loss = d.number(0.0, FRESH)
    grad = np.full(z.shape, -7, _dtype(z))
    d.array(grad, FRESH)
    d.call()
    return float(loss), grad


def _step(d: Descriptor, *arguments: Any) -> None:
    for value in arguments:
        for one in _flat(value):
            if one is None or isinstance(one, np.ndarray):
                d.array(one)
            else:
                d.number(one)
    d.call()


_WAYS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("matmul", "matmul_nt", "matmul_tn"), _product),
    "linear_forward": _forward, "linear_backward": _backward,
    **dict.fromkeys(("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"), _loss),
    **dict.fromkeys(("sgd_step", "adam_step"), _step),
}  # fmt: skip


class ByRecords(NamedTuple):
    outcome: Outcome
    asked: bool  # whether Python was, for a call that the rules refuse
    touched: bool  # whether something had been written by then


def by_records(case: Case) -> ByRecords:
    asked: list[bool] = []
    memories: list[Array] = []
    python = gateway.python

    def noticed(descriptor: int, status: int) -> int:
        asked.append(not untouched(case, memories[0]))
        return python(descriptor, status)

    def call(**arguments: Any) -> Any:
        return _WAYS[case.function](Descriptor(case.function), *arguments.values())

    memory = block(case.seed)
    memories.append(memory)
    arguments = case.bound(memory)
    with mock.patch.object(gateway, "python", noticed):
        try:
            outcome = Outcome(call(**arguments), None, memory)
        except (TypeError, ValueError, MemoryError, SystemError, RuntimeError) as error:
            outcome = Outcome(None, error, memory)
    return ByRecords(outcome, bool(asked), any(asked))


# drawing -----------------------------------------------------------------------------------------


class Memory:
    """Places arrays, some of them over others."""

    def __init__(self, draw: Draw, plain: bool) -> None:
        self.draw, self.plain = draw, plain
        self.end = 256
        self.placed: list[Place] = []
        self.dtype = "f4" if plain else draw(st.sampled_from(FLOATS))

    def chance(self, of: int) -> bool:
        return bool(self.draw(st.integers(0, of - 1)) == of - 1)

    def array(
        self, *shape: int, dtype: str | None = None, fill: str = "", is_output: bool = False
    ) -> Any:
        draw = self.draw
        if dtype is None:
            dtype = self.dtype
            if self.chance(25) and not self.plain:
                dtype = draw(st.sampled_from(OTHERS))
        if self.chance(40) and not self.plain:
            shape = self._another(shape)
        strides = self._strides(shape, np.dtype(dtype).itemsize)
        place = Place(0, shape, strides, dtype, fill=fill)
        low, high = place.extent()
        itemsize, length = np.dtype(dtype).itemsize, high - low
        start = self.end
        if self.placed and self.chance(8):  # over another one, or just beside it
            other = draw(st.sampled_from(self.placed)).extent()
            steps = (other[1] - other[0] + length) // itemsize
            start = other[0] - length + itemsize * draw(st.integers(0, max(steps, 0)))
            start = max(start, 0)
        elif self.chance(12):
            start += draw(st.integers(1, 7))  # off alignment
        place = place._replace(offset=start - low)
        self.end = -(-max(self.end, start + length + 8) // 8) * 8
        assume(self.end < SIZE)
        if self.chance(4 if not is_output else 30):
            place = place._replace(writeable=False)
        if self.chance(40) and not self.plain:
            kinds = ("subclass",) if is_output else ("subclass", "list")
            place = place._replace(kind=draw(st.sampled_from(kinds)))
        self.placed.append(place)
        return place

    def _another(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        shapes = [(*shape, 1), (1, *shape), shape[1:], shape[:-1], (2, *shape)]
        if shape:
            shapes += [(shape[0] + 1, *shape[1:]), (*shape[:-1], max(shape[-1] - 1, 0))]
            shapes += [(1, *shape[1:]), shape[::-1]]
        return self.draw(st.sampled_from(shapes))  # type: ignore[no-any-return]

    def _strides(self, shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
        draw, ndim = self.draw, len(shape)
        order = list(range(ndim))
        if self.chance(3):
            order = draw(st.permutations(order))
        strides, step = [0] * ndim, itemsize
        for axis in reversed(order):
            strides[axis] = step
            if self.chance(12):
                strides[axis] = step * 2
            step = strides[axis] * max(shape[axis], 1)
            if self.chance(8):
                step += itemsize * draw(st.integers(1, 3))
        for axis in range(ndim):
            odd = draw(st.integers(0, 49))
            if shape[axis] <= 1 and odd < 15:  # nobody takes such a step
                strides[axis] = draw(st.sampled_from((0, 1, -itemsize, 3 * itemsize, 1 << 40)))
            elif odd == 0:
                strides[axis] = 0
            elif odd == 1:
                strides[axis] //= 2  # elements, or rows, share bytes
            elif odd == 2:
                strides[axis] += draw(st.integers(1, itemsize))
            elif odd in (3, 4, 5):
                strides[axis] = -strides[axis]
        return tuple(strides)

    def maybe(self, *shape: int, **keywords: Any) -> Any:
        """An array, or None."""
        return None if self.chance(2) and not self.plain else self.array(*shape, **keywords)

    def flag(self) -> Any:
        if self.plain or not self.chance(15):
            return self.draw(st.booleans())
        return self.draw(st.sampled_from((np.True_, np.False_, 1, 0, None, "yes")))

    def flags(self) -> Any:
        three = (self.flag(), self.flag(), self.flag())
        return three if self.plain or not self.chance(20) else [*three]

    def number(self, *right: float, wrong: tuple[Any, ...] = ()) -> Any:
        if self.plain or not self.chance(20):
            return self.draw(st.sampled_from(right))
        others = (1, True, np.float64(0.5), np.float32(0.5), -0.0, float("nan"), -1.0, None, "1")
        return self.draw(st.sampled_from((*others, *wrong)))

    def lead(self) -> tuple[int, ...]:
        if self.plain:
            return (self.draw(SIZES),)
        return tuple(self.draw(st.lists(st.integers(0, 3), max_size=3)))


SIZES = st.sampled_from((0, 1, 1, 2, 3, 4, 5, 17))


def _draw_product(m: Memory, function: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    draw = m.draw
    k, n = draw(SIZES), draw(SIZES)
    kinds = ["rows"] if m.plain else ["rows", "vector", "stack", "one for all", "both vectors"]
    kind = draw(st.sampled_from(kinds))
    lead = m.lead()
    left: tuple[int, ...] = (*lead, k)
    right: tuple[int, ...] = (k, n)
    if kind in ("vector", "both vectors"):
        right = (k,)
        left = (k,) if kind == "both vectors" else left
    elif kind == "stack":
        left, right = (*lead, draw(SIZES), k), (*lead, k, n)
    elif kind == "one for all":
        left, right = (draw(SIZES), k), (*lead, k, n)
    try:
        shape = np.matmul(np.broadcast_to(0.0, left), np.broadcast_to(0.0, right)).shape
    except ValueError:
        shape = (n,)
    if function == "matmul_nt" and len(right) > 1:
        right = (*right[:-2], right[-1], right[-2])
    if function == "matmul_tn" and len(left) > 1:
        left = (*left[:-2], left[-1], left[-2])
    a, b = m.array(*left), m.array(*right)
    out = m.maybe(*shape, is_output=True)
    return {"a": a, "b": b, "out": out, "accumulate": m.flag()}, ("out",)


def _draw_lead(m: Memory) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """What comes before the columns of x, those of y, and a layer's weight and bias."""
    lead = m.lead()
    if m.plain or not m.chance(3):
        return lead, lead, ()
    layers = (m.draw(SIZES),)
    if len(lead) == 1 and m.chance(2):
        return lead, (*layers, *lead), layers
    return (*layers, *lead), (*layers, *lead), layers


def _draw_forward(m: Memory, function: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    of_x, lead, layers = _draw_lead(m)
    k, n = m.draw(SIZES), m.draw(SIZES)
    return {
        "x": m.array(*of_x, k), "weight": m.array(*layers, k, n), "bias": m.maybe(*layers, n),
        "activation": m.draw(st.sampled_from(NAMES[1:] if m.plain else (*NAMES, "Relu", 3))),
        "out": m.maybe(*lead, n, is_output=True),
        "preactivation_out": m.maybe(*lead, n, is_output=True),
    }, ("out", "preactivation_out")  # fmt: skip


def _draw_backward(m: Memory, function: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    of_x, lead, layers = _draw_lead(m)
    k, n = m.draw(SIZES), m.draw(SIZES)
    activation = m.draw(st.sampled_from(NAMES[1:] if m.plain else NAMES))
    return {
        "grad_output": m.array(*lead, n), "x": m.array(*of_x, k),
        "weight": m.array(*layers, k, n),
        "activation": activation,
        "output": m.array(*lead, n) if m.plain or not m.chance(9) else None,
        "preactivation": m.array(*lead, n) if m.plain or not m.chance(9) else None,
        "needs": (True,) * 3 if m.plain else m.flags(),
        "out": (m.maybe(*of_x, k, is_output=True), m.maybe(*layers, k, n, is_output=True),
                m.maybe(*layers, n, is_output=True)),
        "accumulate": m.flags() if m.plain or m.chance(2) else m.flag(),
    }, ("out",)  # fmt: skip


def _draw_loss(m: Memory, function: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    lead, n = m.lead(), m.draw(SIZES)
    if function == "softmax_cross_entropy":
        rows = m.draw(SIZES)
        fill, dtype = m.draw(st.sampled_from(("label", "label", "bad label"))), "i8"
        if not m.plain:
            dtype = m.draw(st.sampled_from(("i8", "i8", "i8", "i4", "u1", ">i8", "u8", "f4")))
        n = max(n, 3) if fill == "label" else n
        return {
            "logits": m.array(rows, n), "labels": m.array(rows, dtype=dtype, fill=fill),
            "label_smoothing": m.number(0.0, 0.25, 1.0),
        }, ()  # fmt: skip
    names = ("prediction", "target") if function == "mse" else ("logits", "targets")
    fill = "" if function == "mse" else m.draw(st.sampled_from(("share", "share", "bad share")))
    shape = (*lead, n) if m.plain or m.chance(2) else lead
    return {names[0]: m.array(*shape), names[1]: m.array(*shape, fill=fill)}, ()


def _draw_step(m: Memory, function: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    shape = (*m.lead(), m.draw(SIZES)) if m.plain else m.lead()
    arrays = {"param": m.array(*shape, is_output=True), "grad": m.array(*shape)}
    if function == "sgd_step":
        return {
            **arrays, "lr": m.number(0.1, 0.0), "velocity": m.maybe(*shape, is_output=True),
            "momentum": m.number(0.9, 0.0, 0.5, wrong=(1.0,)), "nesterov": m.flag(),
            "weight_decay": m.number(0.1, 0.0, wrong=(float("inf"),)),
        }, ("param", "velocity")  # fmt: skip
    return {
        **arrays, "m": m.array(*shape, is_output=True),
        "v": m.array(*shape, is_output=True, fill="positive"),
        "step": m.number(1, 7, 2**40, wrong=(0, -3, 2**63 - 1, np.int64(2), 1.0)),
        "lr": m.number(0.1, 0.0), "betas": (m.number(0.9, 0.0, wrong=(1.0,)), m.number(0.5, 0.99)),
        "eps": m.number(1e-8, 0.0, 0.5), "weight_decay": m.number(0.1, 0.0),
        "decoupled": m.flag(),
    }, ("param", "m", "v")  # fmt: skip


_DRAWN: dict[str, Callable[[Memory, str], tuple[dict[str, Any], tuple[str, ...]]]] = {
    **dict.fromkeys(("matmul", "matmul_nt", "matmul_tn"), _draw_product),
    "linear_forward": _draw_forward, "linear_backward": _draw_backward,
    **dict.fromkeys(
        ("softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"), _draw_loss
    ),
    **dict.fromkeys(("sgd_step", "adam_step"), _draw_step),
}  # fmt: skip
FUNCTIONS = tuple(_DRAWN)


@st.composite
def cases(draw: Draw, function: str, plain: bool = False) -> Case:
    """plain: of two dimensions and one dtype, with all outputs given, none of a type of its own."""
    memory = Memory(draw, plain)
    arguments, written = _DRAWN[function](memory, function)
    return Case(function, draw(st.integers(0, 3)), arguments, written)
