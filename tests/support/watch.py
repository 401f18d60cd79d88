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

from fastgrad._kernels.codegen import atomics
from fastgrad._kernels.codegen.memory import table
from fastgrad._kernels.gemm import (
    blocked,
    dispatch,
    inner_product,
    macrokernel,
    reduce,
    split_k,
    thresholds,
)
from fastgrad._kernels.gemm import few_rows as streams
from fastgrad._kernels.layer import backward
from fastgrad._kernels.runtime import jit, thread_pool
from support import edges

PATIENCE = 20.0  # seconds that a caller waits for a worker to come

# Kernels of a product, or of a layer; and tasks, whose descriptor is (address of a plan, number).
CALLS: dict[str, tuple[int, tuple[str, ...]]] = {
    "product": (dispatch.GEMM, dispatch.DESCRIPTOR),
    "blocks": (blocked.BLOCKS, dispatch.DESCRIPTOR),
    "stream": (streams.STREAM, dispatch.DESCRIPTOR),
    "tall": (split_k.TALL, dispatch.DESCRIPTOR),
    "dot": (inner_product.DOT, dispatch.DESCRIPTOR),
    "fold": (reduce.FOLD, ("rows", "columns", "count")),
    "backward": (backward.BACKWARD_KERNEL, backward.DESCRIPTOR),
}
TASKS: dict[str, tuple[int, tuple[str, ...]]] = {
    "block": (macrokernel.BLOCK, macrokernel.PLAN),
    "pack_b": (macrokernel.PACK_B, macrokernel.PACK_PLAN),
    "stream_task": (streams.STREAM_TASK, streams.PLAN),
    "part": (blocked.PART, (*dispatch.DESCRIPTOR, "rows", "columns", "beside")),
    "form_h": (backward.FORM_H, backward.PLAN),
    "some_products": (backward.SOME_PRODUCTS, dispatch.DESCRIPTOR),
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
    for helper in range(atomics.load(base + 8 * thread_pool.STARTED)):
        state = base + 8 * (thread_pool.WORKERS + helper * jit.LINE)
        if atomics.load(state) == thread_pool.ASLEEP:
            if atomics.exchange(state, thread_pool.RUNNING) == thread_pool.ASLEEP:
                atomics.call_lock(
                    atomics.load(base + 8 * thread_pool.RELEASE), atomics.load(state + 8)
                )
    return 0


class Watch:
    """``with Watch(dtype, "part", "block") as watch:`` notes the calls of the kernels of a dtype.

    meet: tasks, of which the calling thread does none to its end before another thread has come to
    do one: what then comes out is the work of both.
    """

    def __init__(self, dtype: str, *meet: str) -> None:
        self.dtype, self.meet = dtype, meet
        self.calls: list[Call] = []
        self.met = threading.Event()

    def __enter__(self) -> Watch:
        self.caller = threading.get_ident()
        self.before: dict[int, int] = {}
        self.spies: list[Any] = []
        for kernel, (number, names) in CALLS.items():
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
            if kernel in self.meet:
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

    def ways(self) -> set[str]:
        """The ways through the kernels that were taken: those of WAYS."""
        found = {*_of_all(self.calls)}
        for call in self.calls:
            found |= {*_of_one(call, self.dtype)}
        assert found <= WAYS, found - WAYS
        return found


# Tests together are to take all of them: see contract/test_promise_1_threads.py.
WAYS = frozenset({
    "direct", "dot", "parts", "blocks", "tall", "ring used again",
    "A in place", "A by rows", "A by k", "B in place", "B packed",
    "blocks by rows", "blocks by columns", "columns in several blocks", "k in several blocks",
    "several chains in a tile",
    "rows stream", "columns stream", "as it lies", "transposed", "gathered",
    "stream in tasks", "several runs", "C gathered",
    "dX beside dW", "H in tasks", "H by rows", "H by columns", "H in place",
})  # fmt: skip


def _of_all(calls: list[Call]) -> Iterable[str]:
    kernels = [call.kernel for call in calls]
    if "block" in kernels and not {"blocks", "tall", "dot"} & {*kernels}:
        yield "direct"
    yield from {"blocks", "dot", "tall"} & {*kernels}
    if kernels.count("tall") == 1 and kernels.count("fold") > 1:
        yield "ring used again"
    if "blocks" in kernels:
        yield "B packed" if "pack_b" in kernels else "B in place"
    if kernels.count("blocks") == 1:
        (whole,) = (call.words for call in calls if call.kernel == "blocks")
        some = [call.words for call in calls if call.kernel == "block"]
        yield from {"columns in several blocks"} if min(w["n"] for w in some) < whole["n"] else ()
        yield from {"k in several blocks"} if min(w["k"] for w in some) < whole["k"] else ()
    if kernels.count("backward") == 1:
        (layer,) = (call.words for call in calls if call.kernel == "backward")
        some = [call.words for call in calls if call.kernel == "form_h"]
        yield from {"H by rows"} if any(w["rows"] < layer["n"] for w in some) else ()
        yield from {"H by columns"} if any(w["columns"] < layer["m"] for w in some) else ()


def _of_one(call: Call, dtype: str) -> Iterable[str]:
    w, size = call.words, edges.itemsize(dtype)
    if call.kernel == "part":
        yield "parts"
    elif call.kernel == "block" and w["depth"]:
        yield ("A in place", "A by rows", "A by k")[w["pack_a"]]
        tests = {
            "blocks by rows": w["row_blocks"] > 1,
            "blocks by columns": w["column_groups"] > 1,
            "several chains in a tile": w["depth"] > edges.KC[dtype],
        }
        yield from (way for way, taken in tests.items() if taken)
    elif call.kernel == "stream_task":
        whole_vectors = thresholds.RUN_BYTES // (size * w["m"] * edges.lanes(dtype))
        run = max(thresholds.RUN_COLUMNS, whole_vectors * edges.lanes(dtype))
        lies = w["b_column"] == size
        tests = {
            "rows stream": w["bias_row"] == 0,
            "columns stream": w["bias_row"] != 0,
            "as it lies": lies,
            "transposed": not lies and w["b_k"] == size,
            "gathered": not lies and w["b_k"] != size,
            "C gathered": w["to_column"] != size,
            "stream in tasks": w["task"] > 0,
            "several runs": lies and min(w["columns"], w["n"]) > run,
        }
        yield from (way for way, taken in tests.items() if taken)
    elif call.kernel == "some_products" and w["alone"]:
        yield "dX beside dW"
    elif call.kernel == "form_h":
        tests = {"H in tasks": w["task"] > 0, "H in place": w["h"] == 0}
        yield from (way for way, taken in tests.items() if taken)
