"""The fork-join pool, compiled part: a job is a task kernel called once for each of its tasks.

Workers sit inside one compiled loop, without the GIL; the caller of a job takes part. A job is
finished when its tasks are done, so nobody waits for a worker that holds none. A caller that finds
the pool busy, or no worker, does all tasks itself.

The ticket is one word: job number << 32 | helpers << 24 | claims left. A task is claimed by
compare-and-swap of the whole word, and the job's other words are read after the claim: a worker
that comes late finds another job number, or no claims, and its swap fails.

Idle workers spin for SPIN_NS and then sleep on a lock of CPython's, which needs no GIL; the
sleeping ones are woken only for jobs that take WAKE_NS.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ..codegen import atomics
from ..codegen.calls import Slot, SlotType, call, kernel_at
from ..codegen.integers import ceil_div, least, most
from ..codegen.memory import emit_call, table, table_address, word_pointer
from ..codegen.simd import i64
from .registry import COMPILE, Floats, Task, Word, kernel
from .table import DTYPES, LINE, OK, POOL, READY, SLOTS, WORDS

MAX_THREADS = 64
SPIN_NS = 40_000  # of an idle worker before it sleeps
YIELD_NS = 20_000  # of a waiting caller before it offers its CPU at each turn
WAKE_NS = 200_000  # shortest job that a sleeping worker is woken for: waking takes up to 100 us

# Words of the table, a line each for what different threads write.
TICKET = POOL
DONE = POOL + LINE  # claims finished
BUSY = POOL + 2 * LINE  # 1 while a job runs
JOB = POOL + 3 * LINE
SLOT, PLAN, TASKS, CLAIMS, STEP, CONTROL, STATUS = range(JOB, JOB + 7)
SETTINGS = POOL + 4 * LINE
(THREADS, STARTED, REFUSED, STOP, ACQUIRE, RELEASE, YIELD, CLOCK, CLOCK_ID, START) = range(
    SETTINGS, SETTINGS + 10
)
WORKERS = POOL + 5 * LINE  # for each worker a line: its state, its lock
RUNNING, ASLEEP = 0, 1
MAX_CLAIMS = (1 << 24) - 1
assert WORKERS + MAX_THREADS * LINE <= WORDS

_ONE = DTYPES[:1]
_ANY_TASK = Slot(0, Task)  # stands for the kernel of whatever job runs


class Job(NamedTuple):
    slot: int  # of the task's kernel
    plan: int  # address
    tasks: int
    ns: int  # the job's time on one thread


def at(b: ir.IRBuilder, index: int) -> ir.Value:
    """A word of the table, for emitted code."""
    return word_pointer(b, table_address(b), i64(index))


@intrinsic
def threads_in_force(typing_context: Any) -> Any:
    """How many threads a job may have; the first one to ask starts them."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        with b.if_then(b.icmp_signed("==", b.load_atomic(at(b, THREADS), "seq_cst", 8), i64(0))):
            emit_call(b, b.load(at(b, START)), [])
        return b.load_atomic(at(b, THREADS), "seq_cst", 8)

    return types.intp(), codegen


@intrinsic
def ensure(typing_context: Any, kernel: Any) -> Any:
    """Compile a kernel, or what stands in a slot, if it is not; its status.

    Before a job whose tasks call it: a worker that compiled would want the GIL, and the caller,
    who waits for the worker, may hold it.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        status = cgutils.alloca_once_value(b, i64(OK))
        ready = word_pointer(b, table_address(b), b.add(args[0], i64(READY - SLOTS)))
        with b.if_then(b.icmp_signed("==", b.load_atomic(ready, "seq_cst", 8), i64(0))):
            b.store(emit_call(b, i64(COMPILE.index), [args[0]]), status)
        return b.load(status)

    return types.intp(kernel if isinstance(kernel, SlotType) else types.intp), codegen


@intrinsic
def now(typing_context: Any) -> Any:
    """Nanoseconds of a clock that does not jump."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return atomics.emit_nanoseconds(b, b.load(at(b, CLOCK)), b.load(at(b, CLOCK_ID)))

    return types.intp(), codegen


@intrinsic
def fork_join(typing_context: Any, task: Any, plan: Any, tasks: Any, ns: Any) -> Any:
    """A job of the task's kernel: its plan, a view; how many tasks; its time on one thread."""
    _check_plan(task, plan)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_call(b, i64(FORK_JOIN.slot(_ONE[0])), list(args))

    return types.intp(task, plan, types.intp, types.intp), codegen


@intrinsic
def run_task(typing_context: Any, task: Any, plan: Any, index: Any) -> Any:
    """One task on this thread."""
    _check_plan(task, plan)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_call(b, args[0], list(args[1:]))

    return types.intp(task, plan, types.intp), codegen


def _check_plan(task: Any, plan: Any) -> None:
    wanted, found = getattr(task, "plan", None), getattr(plan, "struct", None)
    if wanted is None or found is not wanted:
        raise TypingError(f"a task of {wanted} is given a plan that is {found or plan}")


@kernel(Word, dtypes=_ONE)
def take_tasks(t: Floats) -> Any:
    """Claim and do tasks of the running job until none is left; value: the helper, or -1."""
    any_task = _ANY_TASK

    def body(p):  # type: ignore[no-untyped-def]
        helper = p.value
        base = table()
        while True:
            ticket = atomics.load(base + 8 * TICKET)
            left = ticket & MAX_CLAIMS
            if left == 0 or (ticket >> 24) & 255 <= helper:
                return OK
            if atomics.swap(base + 8 * TICKET, ticket, ticket - 1) == 0:
                continue
            if helper >= 0:
                atomics.set_control_word(atomics.load(base + 8 * CONTROL))
            number, plan = atomics.load(base + 8 * SLOT), atomics.load(base + 8 * PLAN)
            step = atomics.load(base + 8 * STEP)
            first = (atomics.load(base + 8 * CLAIMS) - left) * step
            status = 0
            for index in range(first, least(first + step, atomics.load(base + 8 * TASKS))):
                status |= call(kernel_at(any_task, number), Task(plan=plan, task=index))
            if status != 0:
                atomics.set_bits(base + 8 * STATUS, status)
            atomics.add(base + 8 * DONE, 1)

    return body


@kernel(Word, dtypes=_ONE, uses=(take_tasks,))
def pool_worker(t: Floats) -> Any:
    """The loop of a worker; value: its number, from 0. Returns when the pool stops."""
    take = t[take_tasks]

    def body(p):  # type: ignore[no-untyped-def]
        helper = p.value
        base = table()
        state = base + 8 * (WORKERS + helper * LINE)
        acquire = atomics.load(base + 8 * ACQUIRE)
        while True:
            end = now() + SPIN_NS
            turns = 0
            while True:
                ticket = atomics.load(base + 8 * TICKET)
                if ticket & MAX_CLAIMS != 0 and (ticket >> 24) & 255 > helper:
                    call(take, Word(value=helper))
                    end = now() + SPIN_NS
                atomics.pause()
                turns += 1
                if turns & 15 == 0 and now() > end:
                    break
            atomics.store(state, ASLEEP)
            # A job that came before this word was seen: stay, or take the wake-up on its way.
            ticket = atomics.load(base + 8 * TICKET)
            missed = ticket & MAX_CLAIMS != 0 and (ticket >> 24) & 255 > helper
            missed = missed or atomics.load(base + 8 * STOP) != 0
            if not missed or atomics.exchange(state, RUNNING) != ASLEEP:
                atomics.call_lock(acquire, atomics.load(state + 8))
            if atomics.load(base + 8 * STOP) != 0:
                return OK

    return body


@kernel(Job, dtypes=_ONE, uses=(take_tasks,))
def join_job(t: Floats) -> Any:
    """All tasks of a job, from 0 in any order; a task may wait for tasks below it.

    Returns the statuses of all tasks, or-ed.
    """
    take, any_task = t[take_tasks], _ANY_TASK

    def body(p):  # type: ignore[no-untyped-def]
        plan, tasks = p.plan, p.tasks
        base = table()
        status = ensure(p.slot)
        if status != OK:
            return status
        helpers = least(atomics.load(base + 8 * THREADS), tasks) - 1
        if helpers > atomics.load(base + 8 * STARTED) and atomics.load(base + 8 * REFUSED) == 0:
            status = _start_workers()
            if status != OK:
                return status
        helpers = least(helpers, atomics.load(base + 8 * STARTED))
        if helpers <= 0 or atomics.swap(base + 8 * BUSY, 0, 1) == 0:
            for index in range(tasks):
                status |= call(kernel_at(any_task, p.slot), Task(plan=plan, task=index))
            return status

        step = ceil_div(tasks, MAX_CLAIMS)
        claims = ceil_div(tasks, most(step, 1))
        atomics.store(base + 8 * SLOT, p.slot)
        atomics.store(base + 8 * PLAN, plan)
        atomics.store(base + 8 * TASKS, tasks)
        atomics.store(base + 8 * CLAIMS, claims)
        atomics.store(base + 8 * STEP, step)
        atomics.store(base + 8 * CONTROL, atomics.control_word())
        atomics.store(base + 8 * STATUS, OK)
        atomics.store(base + 8 * DONE, 0)
        job_number = (atomics.load(base + 8 * TICKET) >> 32) + 1
        atomics.store(base + 8 * TICKET, (job_number << 32) | (helpers << 24) | claims)
        if p.ns >= WAKE_NS:
            for helper in range(helpers):
                state = base + 8 * (WORKERS + helper * LINE)
                if atomics.load(state) == ASLEEP and atomics.exchange(state, RUNNING) == ASLEEP:
                    atomics.call_lock(atomics.load(base + 8 * RELEASE), atomics.load(state + 8))
        call(take, Word(value=-1))
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

    return body


@intrinsic
def _start_workers(typing_context: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_call(b, b.load(at(b, START)), [])

    return types.intp(), codegen


FORK_JOIN = join_job
