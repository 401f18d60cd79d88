"""Who does what inside a call: every kernel that is called, what of, and on which thread.

The slots of the table hold addresses; while a `Watch` is open they hold spies that note the call
and go on to the kernel.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import numba
from numba import types

from fastgrad._kernels import atomic, backward, block, blocks, dot, gemm, jit, pool, reduce
from fastgrad._kernels import stream as streams
from fastgrad._kernels import tall
from fastgrad._kernels.lowlevel import table

PATIENCE = 20.0  # seconds that a caller waits for a worker to come

# Kernels of a product; and tasks, whose descriptor is (address of a plan, number of the task).
PRODUCTS = {
    "product": gemm.GEMM,
    "blocks": blocks.BLOCKS,
    "stream": streams.STREAM,
    "tall": tall.TALL,
    "dot": dot.DOT,
}
FOLD = ("rows", "columns", "blocks")
TASKS: dict[str, tuple[int, tuple[str, ...]]] = {
    "block": (block.BLOCK, block.PLAN),
    "pack_b": (block.PACK_B, block.PACK_PLAN),
    "stream_task": (streams.STREAM_TASK, streams.PLAN),
    "part": (blocks.PART, (*gemm.DESCRIPTOR, "rows", "columns", "beside")),
    "form_h": (backward.FORM_H, backward.PLAN),
    "some_products": (backward.SOME_PRODUCTS, ()),
}


class Call(NamedTuple):
    kernel: str
    words: dict[str, int]  # of its descriptor, or of the plan and "task"
    thread: int


def _read(address: int, names: tuple[str, ...]) -> dict[str, int]:
    return dict(zip(names, (ctypes.c_int64 * len(names)).from_address(address), strict=True))


@numba.njit(types.intp())  # type: ignore[untyped-decorator]
def _wake() -> Any:
    """Wake every worker that sleeps, as the pool does for a long job."""
    base = table()
    for helper in range(atomic.load(base + 8 * pool.STARTED)):
        state = base + 8 * (pool.WORKERS + helper * jit.LINE)
        if atomic.load(state) == pool.ASLEEP:
            if atomic.exchange(state, pool.RUNNING) == pool.ASLEEP:
                atomic.call_lock(atomic.load(base + 8 * pool.RELEASE), atomic.load(state + 8))
    return 0


class Watch:
    """``with Watch(dtype, meet="part") as watch:`` notes the calls of the kernels of one dtype.

    meet: a task, of which the calling thread does none to its end before another thread has come
    to do one: what then comes out is the work of both.
    """

    def __init__(self, dtype: str, meet: str | None = None) -> None:
        self.dtype, self.meet = dtype, meet
        self.calls: list[Call] = []
        self.met = threading.Event()

    def __enter__(self) -> Watch:
        self.caller = threading.get_ident()
        self.before: dict[int, int] = {}
        self.spies: list[Any] = []
        for kernel, number in (*PRODUCTS.items(), ("fold", reduce.FOLD)):
            names = FOLD if kernel == "fold" else gemm.DESCRIPTOR
            self._spy(kernel, number, names, is_task=False)
        for kernel, (number, names) in TASKS.items():
            self._spy(kernel, number, names, is_task=True)
        return self

    def __exit__(self, *error: object) -> None:
        for index, address in self.before.items():
            jit.TABLE[index] = address

    def _spy(self, kernel: str, number: int, names: tuple[str, ...], is_task: bool) -> None:
        index = jit.slot(number, self.dtype)
        jit.compile_slot(index)
        self.before[index] = jit.TABLE[index]
        go_on = jit.KERNEL_TYPE(jit.TABLE[index])

        def spy(descriptor: int) -> int:
            if is_task:
                found = _read(descriptor, ("plan", "task"))
                words = {**_read(found["plan"], names), "task": found["task"]}
            else:
                words = _read(descriptor, names)
            self.calls.append(Call(kernel, words, threading.get_ident()))
            if kernel == self.meet:
                self._meet()
            return int(go_on(descriptor))

        self.spies.append(jit.KERNEL_TYPE(spy))
        jit.TABLE[index] = ctypes.cast(self.spies[-1], ctypes.c_void_p).value or 0

    def _meet(self) -> None:
        if threading.get_ident() != self.caller:
            self.met.set()
        elif not self.met.is_set():
            _wake()
            self.met.wait(PATIENCE)

    def of(self, kernel: str) -> list[dict[str, int]]:
        return [call.words for call in self.calls if call.kernel == kernel]

    def ways(self) -> set[str]:
        """The ways through the kernels that were taken, in words."""
        return set(_ways(self.calls, 4 if self.dtype == "float32" else 8))


# All of them: tests together are to reach each.
WAYS = frozenset({
    "direct", "dot", "parts", "blocks", "tall", "ring used again",
    "A in place", "A by rows", "A by k", "B in place", "B packed",
    "blocks by rows", "blocks by columns", "several blocks of k", "several chains in a tile",
    "several blocks of columns",
    "rows stream", "columns stream", "stream as it lies", "stream transposed", "stream gathered",
    "stream in tasks", "stream to strided C", "several runs",
    "dX beside dW", "H in tasks", "H by rows", "H by columns", "G in place",
})  # fmt: skip


def _ways(calls: Iterable[Call], size: int) -> Iterable[str]:
    kernels = {call.kernel for call in calls}
    if "block" in kernels and not kernels & {"blocks", "tall", "dot"}:
        yield "direct"
    yield from {"dot", "tall"} & kernels
    yield from {"parts"} if "part" in kernels else {"blocks"} & kernels
    if "tall" in kernels and sum(call.kernel == "fold" for call in calls) > 1:
        yield "ring used again"
    if "blocks" in kernels:
        yield "B packed" if "pack_b" in kernels else "B in place"
    for kernel, w, _ in calls:
        if kernel == "block" and "blocks" in kernels:
            yield ("A in place", "A by rows", "A by k")[w["pack_a"]]
            if w["row_blocks"] > 1:
                yield "blocks by rows"
            if w["column_groups"] > 1:
                yield "blocks by columns"
            if w["add_old"]:
                yield "several blocks of k"
            if w["k"] > jit_kc(size):
                yield "several chains in a tile"
        elif kernel == "stream_task":
            yield "rows stream" if w["bias_row"] == 0 else "columns stream"
            lies = w["b_column"] == size
            yield "stream as it lies" if lies else (
                "stream transposed" if w["b_k"] == size else "stream gathered"
            )
            if w["task"]:
                yield "stream in tasks"
            if w["to_column"] != size:
                yield "stream to strided C"
        elif kernel == "some_products":
            pass
