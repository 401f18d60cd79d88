"""The fork-join pool: a job is a kernel called once for each of its tasks, by several threads.

Workers are daemon Python threads inside one compiled loop, without the GIL; the caller of a job
takes part. Tasks are claimed by compare-and-swap on one word, the ticket (job number, helpers,
claims left), and the job's words are read after a claim: a late worker finds another number and
claims nothing. A job is finished when its tasks are done, so nobody waits for a worker that holds
none. Idle workers spin for SPIN_NS and then sleep on a lock of CPython's, which needs no GIL; the
sleeping ones are woken only for jobs that take WAKE_NS. A caller that finds the pool busy, or no
worker, does all tasks itself.

The pool's words stand in the table, so there is one pool a process, whoever asks for it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from ..codegen import atomics
from ..codegen.integers import ceil_div, least, most
from ..codegen.memory import call_kernel, emit_call, table, table_address, word, word_pointer
from ..codegen.simd import i64
from . import jit
from .jit import COMPILE, LINE, OK, POOL, READY, SLOTS, TABLE, register, slot, stamp

MAX_THREADS = 64
SPIN_NS = 40_000  # of an idle worker before it sleeps
YIELD_NS = 20_000  # of a waiting caller before it offers its CPU at each turn
WAKE_NS = 200_000  # shortest job that a sleeping worker is woken for: waking takes up to 100 us

# Words, a line each for what different threads write.
TICKET = POOL  # job number << 32 | helpers << 24 | claims left
DONE = POOL + LINE  # claims finished
BUSY = POOL + 2 * LINE  # 1 while a job runs
JOB = POOL + 3 * LINE
SLOT, DESCRIPTOR, TASKS, CLAIMS, STEP, CONTROL, STATUS = range(JOB, JOB + 7)
SETTINGS = POOL + 4 * LINE
THREADS, STARTED, REFUSED, STOP, ACQUIRE, RELEASE, YIELD, CLOCK, CLOCK_ID = range(
    SETTINGS, SETTINGS + 9
)
WORKERS = POOL + 5 * LINE  # for each worker a line: its state, its lock
RUNNING, ASLEEP = 0, 1
_MAX_CLAIMS = (1 << 24) - 1
assert WORKERS + MAX_THREADS * LINE <= POOL + (jit.TABLE_WORDS - POOL)


@intrinsic
def threads_in_force(typing_context: Any) -> Any:
    """How many threads a job may have; the first one to ask starts them."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        count = word_pointer(b, table_address(b), i64(THREADS))
        with b.if_then(b.icmp_signed("==", b.load_atomic(count, "seq_cst", 8), i64(0))):
            emit_call(b, i64(START), [])
        return b.load_atomic(count, "seq_cst", 8)

    return types.intp(), codegen


@intrinsic
def ensure(typing_context: Any, number: Any) -> Any:
    """Compile the kernel in a slot if it is not; its status.

    Before a job whose tasks call it: a worker that compiled would want the GIL, and the caller,
    who waits for the worker, may hold it.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        status = cgutils.alloca_once_value(b, i64(OK))
        index = b.add(args[0], i64(READY - SLOTS))
        ready = b.load_atomic(word_pointer(b, table_address(b), index), "seq_cst", 8)
        with b.if_then(b.icmp_signed("==", ready, i64(0))):
            b.store(emit_call(b, i64(COMPILE), [args[0]]), status)
        return b.load(status)

    return types.intp(types.intp), codegen


@intrinsic
def now(typing_context: Any) -> Any:
    """Nanoseconds of a clock that does not jump."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function, clock = (
            b.load(word_pointer(b, table_address(b), i64(index))) for index in (CLOCK, CLOCK_ID)
        )
        return atomics.emit_nanoseconds(b, function, clock)

    return types.intp(), codegen


def take_tasks(dtype: str) -> Any:
    """Claim and do tasks of the running job until none is left; descriptor: helper, or -1."""
    version = stamp()

    def kernel_take_tasks(d):  # type: ignore[no-untyped-def]
        _ = version
        helper = word(d, 0)
        base = table()
        while True:
            ticket = atomics.load(base + 8 * TICKET)
            left = ticket & _MAX_CLAIMS
            if left == 0 or (ticket >> 24) & 255 <= helper:
                return OK
            if atomics.swap(base + 8 * TICKET, ticket, ticket - 1) == 0:
                continue
            if helper >= 0:
                atomics.set_control_word(atomics.load(base + 8 * CONTROL))
            number, job = atomics.load(base + 8 * SLOT), atomics.load(base + 8 * DESCRIPTOR)
            step = atomics.load(base + 8 * STEP)
            first = (atomics.load(base + 8 * CLAIMS) - left) * step
            status = 0
            for task in range(first, least(first + step, atomics.load(base + 8 * TASKS))):
                status |= call_kernel(number, (job, task))
            if status != 0:
                atomics.set_bits(base + 8 * STATUS, status)
            atomics.add(base + 8 * DONE, 1)

    return kernel_take_tasks


def worker(dtype: str) -> Any:
    """The loop of a worker; descriptor: its number, from 0. Returns when the pool stops."""
    version = stamp()

    def kernel_pool_worker(d):  # type: ignore[no-untyped-def]
        _ = version
        helper = word(d, 0)
        base = table()
        state = base + 8 * (WORKERS + helper * LINE)
        acquire = atomics.load(base + 8 * ACQUIRE)
        while True:
            end = now() + SPIN_NS
            turns = 0
            while True:
                ticket = atomics.load(base + 8 * TICKET)
                if ticket & _MAX_CLAIMS != 0 and (ticket >> 24) & 255 > helper:
                    call_kernel(TAKE, (helper,))
                    end = now() + SPIN_NS
                atomics.pause()
                turns += 1
                if turns & 15 == 0 and now() > end:
                    break
            atomics.store(state, ASLEEP)
            # A job that came before this word was seen: stay, or take the wake-up on its way.
            ticket = atomics.load(base + 8 * TICKET)
            missed = ticket & _MAX_CLAIMS != 0 and (ticket >> 24) & 255 > helper
            missed = missed or atomics.load(base + 8 * STOP) != 0
            if not missed or atomics.exchange(state, RUNNING) != ASLEEP:
                atomics.call_lock(acquire, atomics.load(state + 8))
            if atomics.load(base + 8 * STOP) != 0:
                return OK

    return kernel_pool_worker


def fork_join(dtype: str) -> Any:
    """Descriptor: slot of the task's kernel, its argument, tasks, the job's time alone in ns.

    The kernel is called with (argument, task) for each task from 0, in any order; a task may wait
    for tasks below it. Returns the statuses of all tasks, or-ed.
    """
    version = stamp()

    def kernel_fork_join(d):  # type: ignore[no-untyped-def]
        _ = version
        number, job, tasks, estimate = word(d, 0), word(d, 1), word(d, 2), word(d, 3)
        base = table()
        status = ensure(number)
        if status != OK:
            return status
        helpers = least(atomics.load(base + 8 * THREADS), tasks) - 1
        if helpers > atomics.load(base + 8 * STARTED) and atomics.load(base + 8 * REFUSED) == 0:
            status = call_kernel(START, (0,))
            if status != OK:
                return status
        helpers = least(helpers, atomics.load(base + 8 * STARTED))
        if helpers <= 0 or atomics.swap(base + 8 * BUSY, 0, 1) == 0:
            status = OK
            for task in range(tasks):
                status |= call_kernel(number, (job, task))
            return status

        step = ceil_div(tasks, _MAX_CLAIMS)
        claims = ceil_div(tasks, most(step, 1))
        atomics.store(base + 8 * SLOT, number)
        atomics.store(base + 8 * DESCRIPTOR, job)
        atomics.store(base + 8 * TASKS, tasks)
        atomics.store(base + 8 * CLAIMS, claims)
        atomics.store(base + 8 * STEP, step)
        atomics.store(base + 8 * CONTROL, atomics.control_word())
        atomics.store(base + 8 * STATUS, OK)
        atomics.store(base + 8 * DONE, 0)
        job_number = (atomics.load(base + 8 * TICKET) >> 32) + 1
        atomics.store(base + 8 * TICKET, (job_number << 32) | (helpers << 24) | claims)
        if estimate >= WAKE_NS:
            for helper in range(helpers):
                state = base + 8 * (WORKERS + helper * LINE)
                if atomics.load(state) == ASLEEP and atomics.exchange(state, RUNNING) == ASLEEP:
                    atomics.call_lock(atomics.load(base + 8 * RELEASE), atomics.load(state + 8))
        call_kernel(TAKE, (-1,))
        turns, patience = 0, 0
        while atomics.load(base + 8 * DONE) != claims:
            atomics.pause()
            turns += 1
            if turns & 63 == 0:
                time_now = now()
                if patience == 0:
                    patience = time_now + YIELD_NS
                elif time_now > patience:
                    atomics.call_void(atomics.load(base + 8 * YIELD))
        status = atomics.load(base + 8 * STATUS)
        atomics.store(base + 8 * BUSY, 0)
        return status

    return kernel_fork_join


# Python's part: how many threads, starting and stopping them ------------------------------------

default: Callable[[], int] = lambda: 1  # noqa: E731  set from above: fastgrad/threads.py
_lock = threading.Lock()
_held: tuple[Any, ...] = ()  # locks, during a fork
_workers: list[threading.Thread] = []


def threads() -> int:
    """The number of threads that calls use, the caller among them."""
    if TABLE[THREADS] == 0:
        TABLE[THREADS] = max(1, min(default(), MAX_THREADS))
    return int(TABLE[THREADS])


def set_threads(n: int) -> None:
    """Takes effect at the next job. Threads are started when a job wants them, and kept."""
    TABLE[THREADS] = n
    TABLE[REFUSED] = 0


def _start(descriptor: int) -> int:
    """Decide the number of threads if nobody has, and start those that are missing."""
    with _lock:
        wanted = threads() - 1
        if wanted > TABLE[STARTED] and not TABLE[STOP] and not TABLE[REFUSED]:
            try:
                _find_primitives()
                jit.compile_slot(WORKER)
                for helper in range(TABLE[STARTED], wanted):
                    _start_worker(helper)
            except (AttributeError, OSError, RuntimeError, TypeError):
                TABLE[REFUSED] = 1  # no such primitive, no thread to be had: fewer do the work
    return OK


def _find_primitives() -> None:
    """Addresses of what the loop calls; raises where the platform lacks one."""
    api, libc = ctypes.pythonapi, ctypes.CDLL(None)
    api.PyThread_allocate_lock.restype = ctypes.c_void_p
    TABLE[CLOCK_ID] = time.CLOCK_MONOTONIC
    for index, function in (
        (ACQUIRE, api.PyThread_acquire_lock),
        (RELEASE, api.PyThread_release_lock),
        (YIELD, libc.sched_yield),
        (CLOCK, libc.clock_gettime),
    ):
        TABLE[index] = ctypes.cast(function, ctypes.c_void_p).value or 0


def _start_worker(helper: int) -> None:
    state = WORKERS + helper * LINE
    TABLE[state] = RUNNING
    TABLE[state + 1] = ctypes.pythonapi.PyThread_allocate_lock()
    ctypes.pythonapi.PyThread_acquire_lock(ctypes.c_void_p(TABLE[state + 1]), 1)
    thread = threading.Thread(target=_run, args=(helper,), name=f"fastgrad-{helper}", daemon=True)
    try:
        thread.start()
    finally:  # an interrupt comes out of start() while it waits for a thread that exists
        if thread in threading.enumerate():
            _workers.append(thread)
            TABLE[STARTED] = helper + 1


def _run(helper: int) -> None:
    descriptor = ctypes.c_int64(helper)
    jit.KERNEL_TYPE(TABLE[WORKER])(ctypes.addressof(descriptor))


def stop() -> None:
    """At exit: wake every worker and wait until it has left the loop."""
    TABLE[STOP] = 1
    for helper in range(TABLE[STARTED]):
        ctypes.pythonapi.PyThread_release_lock(ctypes.c_void_p(TABLE[WORKERS + helper * LINE + 1]))
    TABLE[STARTED] = 0
    for thread in _workers:
        if thread.ident is not None:
            thread.join(timeout=1.0)


def _wait_for_compiling() -> None:
    """Before a fork: whoever compiles holds locks, ours and numba's, that a child would find held
    by nobody. Both at a time, or none while waiting: others take them in either order."""
    global _held
    ours, numbas = jit._lock, global_compiler_lock._lock
    while True:
        ours.acquire()
        if numbas.acquire(blocking=False):
            break
        ours.release()
        time.sleep(0.001)
    _held = (ours, numbas)


def _go_on_compiling() -> None:
    for lock in _held:
        lock.release()


def _forget_after_fork() -> None:
    """A forked child has none of the workers, and perhaps a job that nobody will finish."""
    global _lock
    _lock = threading.Lock()
    _workers.clear()
    TABLE[STARTED] = TABLE[REFUSED] = TABLE[BUSY] = 0
    TABLE[TICKET] &= ~_MAX_CLAIMS
    _go_on_compiling()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_wait_for_compiling,
        after_in_parent=_go_on_compiling,
        after_in_child=_forget_after_fork,
    )
atexit.register(stop)

_ONE = jit.DTYPES[:1]
_TAKE = register("take_tasks", take_tasks, _ONE)
_FORK_JOIN = register("fork_join", fork_join, _ONE, uses=(_TAKE,))
_WORKER = register("pool_worker", worker, _ONE, uses=(_TAKE,))
TAKE, FORK_JOIN, WORKER = (slot(number, _ONE[0]) for number in (_TAKE, _FORK_JOIN, _WORKER))
START = jit.register_callback("pool_start", _start)
