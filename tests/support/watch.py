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

from fastgrad._kernels.codegen import atomics, structs
from fastgrad._kernels.codegen.memory import table
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.gemm.args import IN_JOB
from fastgrad._kernels.gemm.blocked import blocked
from fastgrad._kernels.gemm.dispatch import gemm
from fastgrad._kernels.gemm.few_rows import few_rows, runs
from fastgrad._kernels.gemm.inner_product import inner_product
from fastgrad._kernels.gemm.macrokernel import macrokernel
from fastgrad._kernels.gemm.parts import part, parts
from fastgrad._kernels.gemm.reduce import fold
from fastgrad._kernels.gemm.split_k import split_k
from fastgrad._kernels.gemm.turned import turned, turned_part
from fastgrad._kernels.layer.backward import (
    activation_gradient,
    linear_backward,
    product_of_pair,
)
from fastgrad._kernels.runtime import pool_words, registry
from fastgrad._kernels.runtime.callbacks import KERNEL_TYPE
from fastgrad._kernels.runtime.registry import Kernel, Task
from fastgrad._kernels.runtime.table import LINE, TABLE
from support import edges
from support.slots import address_of, put

PATIENCE = 20.0  # seconds that a caller waits for a worker to come

# Kernels of a product, or of a layer, and tasks.
KERNELS: tuple[Kernel, ...] = (
    gemm, blocked, parts, few_rows, turned, split_k, inner_product, fold, linear_backward,
    macrokernel, runs, turned_part, part, activation_gradient, product_of_pair,
)  # fmt: skip


class Call(NamedTuple):
    kernel: str
    words: dict[str, int]  # of its struct, or of a task's plan, and "task"
    thread: int


def _read(address: int, struct: Any) -> dict[str, int]:
    names = structs.names(struct)
    return dict(zip(names, (ctypes.c_int64 * len(names)).from_address(address), strict=True))


@numba.njit(types.intp())  # type: ignore[untyped-decorator]
def _wake() -> Any:
    """Wake every worker that sleeps, as the pool does for a long job."""
    base = table()
    for helper in range(atomics.load(base + 8 * pool_words.STARTED)):
        state = base + 8 * (pool_words.WORKERS + helper * LINE)
        if atomics.load(state) == pool_words.ASLEEP:
            if atomics.exchange(state, pool_words.RUNNING) == pool_words.ASLEEP:
                atomics.call_lock(
                    atomics.load(base + 8 * pool_words.RELEASE), atomics.load(state + 8)
                )
    return 0


class Watch:
    """``with Watch(dtype, "part", "runs") as watch:`` notes the calls of the kernels of a dtype.

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
        for kernel in KERNELS:
            self._spy(kernel)
        return self

    def __exit__(self, *error: object) -> None:
        for index, address in self.before.items():
            put(index, address)

    def _spy(self, kernel: Kernel) -> None:
        index = kernel.slot(self.dtype)
        registry.compile_slot(index)
        self.before[index] = TABLE[index]
        go_on = registry.function_in(index)

        def spy(address: int) -> int:
            words = _read(address, kernel.struct)
            if kernel.struct is Task:
                words |= _read(words["plan"], kernel.plan)
            self.calls.append(Call(kernel.name, words, threading.get_ident()))
            if kernel.name in self.meet:
                self._meet()
            return int(go_on(address))

        self.spies.append(KERNEL_TYPE(spy))
        put(index, address_of(self.spies[-1]))

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
    "direct", "inner product", "turned", "turned in tasks", "parts", "more parts", "blocks",
    "split k", "ring used again",
    "A in place", "A in panels", "B in place", "B packed before", "B packed on the way",
    "panel by panel", "rows in several blocks", "columns in several chunks", "k in several blocks",
    "panels found again", "copies found again", "several chains in a tile",
    "few rows", "few columns", "as it lies", "transposed", "gathered",
    "runs in tasks", "several runs", "C gathered",
    "dX beside dW", "H in tasks", "H by rows", "H by columns", "H in place",
})  # fmt: skip


def _of_all(calls: list[Call]) -> Iterable[str]:
    kernels = [call.kernel for call in calls]
    paths = {"parts": "parts", "inner_product": "inner product", "split_k": "split k",
             "turned": "turned"}  # fmt: skip
    if "macrokernel" in kernels and not {*paths, "blocked"} & {*kernels}:
        yield "direct"
    yield from (way for kernel, way in paths.items() if kernel in kernels)
    if "blocked" in kernels and "parts" not in kernels:
        yield "blocks"
    if kernels.count("parts") == 1:
        (whole,) = (call.words for call in calls if call.kernel == "parts")
        few = thresholds.PARTS_OF_A_THREAD * whole["threads"]
        yield from {"more parts"} if kernels.count("part") > few else ()
    product: dict[int, dict[str, int]] = {}  # that a thread is at
    for call in calls:
        if call.kernel == "blocked":
            product[call.thread] = call.words
        elif call.kernel == "macrokernel" and call.thread in product:
            yield from _of_block(product[call.thread], call.words)
        elif call.kernel in ("gemm", *paths):
            product.pop(call.thread, None)
    if kernels.count("split_k") == 1 and kernels.count("fold") > 1:
        yield "ring used again"
    if kernels.count("linear_backward") == 1:
        (layer,) = (call.words for call in calls if call.kernel == "linear_backward")
        some = [call.words for call in calls if call.kernel == "activation_gradient"]
        yield from {"H by rows"} if any(w["rows"] < layer["n"] for w in some) else ()
        yield from {"H by columns"} if any(w["columns"] < layer["m"] for w in some) else ()


def _of_block(whole: dict[str, int], w: dict[str, int]) -> Iterable[str]:
    """Of a block of blocked.py: the product, and the plan of a block of it."""
    ends = [whole["b.data"] + (whole["k"] - 1) * whole["b.row"] * i
            + (whole["n"] - 1) * whole["b.column"] * j for i in (0, 1) for j in (0, 1)]  # fmt: skip
    before = not min(ends) <= w["b.data"] <= max(ends)
    packed = "before" if before else "on the way"
    yield f"B packed {packed}" if before or w["copy"] else "B in place"
    tests = {
        "panel by panel": w["n"] <= w["width"] < whole["n"],
        "rows in several blocks": w["m"] < whole["m"],
        "columns in several chunks": w["width"] < w["n"] < whole["n"],
        "k in several blocks": w["k"] < whole["k"],
        "copies found again": w["copy"] and not w["copies"],
        "panels found again": before and not w["copies"],
    }
    yield from (way for way, taken in tests.items() if taken)


def _of_one(call: Call, dtype: str) -> Iterable[str]:
    w, size = call.words, edges.itemsize(dtype)
    if call.kernel == "macrokernel" and w["depth"]:
        yield "A in panels" if w["a_panels"] else "A in place"
        yield from {"several chains in a tile"} if w["depth"] > edges.KC[dtype] else ()
    elif call.kernel == "runs":
        whole_vectors = thresholds.RUN_BYTES // (size * w["m"] * edges.lanes(dtype))
        run = max(thresholds.RUN_COLUMNS, whole_vectors * edges.lanes(dtype))
        lies = w["b.column"] == size
        tests = {
            "few rows": w["bias.row"] == 0,
            "few columns": w["bias.row"] != 0,
            "as it lies": lies,
            "transposed": not lies and w["b.row"] == size,
            "gathered": not lies and w["b.row"] != size,
            "C gathered": w["to.column"] != size,
            "runs in tasks": w["task"] > 0,
            "several runs": lies and min(w["columns"], w["n"]) > run,
        }
        yield from (way for way, taken in tests.items() if taken)
    elif call.kernel == "turned_part" and w["task"] > 0:
        yield "turned in tasks"
    elif call.kernel == "product_of_pair" and w["dx.alone"] == IN_JOB:
        yield "dX beside dW"
    elif call.kernel == "activation_gradient":
        tests = {"H in tasks": w["task"] > 0, "H in place": w["h.data"] == 0}
        yield from (way for way, taken in tests.items() if taken)
