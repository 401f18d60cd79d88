"""The fork-join pool, compiled part: a job is a task kernel called once for each of its tasks.

Workers sit inside one compiled loop, without the GIL; the caller of a job takes part. A job is
finished when its tasks are done, so nobody waits for a worker that holds none. A caller that finds
the pool busy, or no worker, does all tasks itself.

Tasks are dealt out in ranges, one a thread, so that a thread that does the same job again has the
same part of C in its cache. A range is one word: job number << 32 | end << 16 | begin. Its owner
claims from the front, who has nothing left steals from the back of another, each by
compare-and-swap of the whole word; the job's other words are read after a claim. A worker that
comes late finds another job number, and its swap fails.

When a worker is woken, and how long an idle one spins before it sleeps, follows demand: see
demand.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ..codegen import atomics
from ..codegen.calls import Slot, SlotType, call, inlined, kernel_at, subroutine
from ..codegen.integers import ceil_div, least, most, pick, quotient
from ..codegen.memory import emit_call, table, table_address, word_pointer
from ..codegen.simd import i64
from .demand import SHORT_SPIN_NS, note_demand, wake
from .pool_words import (
    ACQUIRE,
    ASLEEP,
    BUSY,
    CALLERS,
    CLOCK,
    CLOCK_ID,
    CONTROL,
    DONE,
    LAST_END,
    LOCK,
    MASK,
    MASK_WORDS,
    MOVED,
    PLAN,
    RANGE,
    REFUSED,
    RUNNING,
    SET_MASK,
    SLOT,
    SPIN,
    START,
    STARTED,
    STATUS,
    STEP,
    STOP,
    TASKS,
    THREADS,
    TICKET,
    WORKERS,
    YIELD,
)
from .registry import COMPILE, Floats, Task, Word, kernel
from .table import DTYPES, LINE, OK, READY, SLOTS

# Of a waiting caller, before it offers its CPU at each turn.
YIELD_NS = 20_000
MOST_CLAIMS = (1 << 16) - 1  # of a range

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
def is_compiled(typing_context: Any, kernel: Any) -> Any:
    """Whether calling it compiles nothing: for a choice within a task."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        ready = word_pointer(b, table_address(b), b.add(args[0], i64(READY - SLOTS)))
        return b.load_atomic(ready, "seq_cst", 8)

    return types.intp(kernel), codegen


@intrinsic
def now(typing_context: Any) -> Any:
    """Nanoseconds of a clock that does not jump; 0 where there is none, and so no worker."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        clock, found = b.load(at(b, CLOCK)), cgutils.alloca_once_value(b, i64(0))
        with b.if_then(b.icmp_signed("!=", clock, i64(0))):
            b.store(atomics.emit_nanoseconds(b, clock, b.load(at(b, CLOCK_ID))), found)
        return b.load(found)

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


@inlined
def share(task, plan, tasks, ns, alone):  # type: ignore[no-untyped-def]
    """All tasks: a job, or one after another on this thread."""
    if alone == 0 and tasks > 1:
        return fork_join(task, plan, tasks, ns)
    status = OK
    for one in range(tasks):
        status |= run_task(task, plan, one)
    return status


@inlined
def _range_of(thread):  # type: ignore[no-untyped-def]
    """The address of a thread's range; thread 0 is the caller."""
    base = table()
    if thread == 0:
        return base + 8 * (TICKET + 1)
    return base + 8 * (WORKERS + (thread - 1) * LINE + RANGE)


@inlined
def _run_claim(claim, any_task):  # type: ignore[no-untyped-def]
    """The tasks of a claim; their statuses, or-ed."""
    base = table()
    step, status = atomics.load(base + 8 * STEP), 0
    kernel = kernel_at(any_task, atomics.load(base + 8 * SLOT))
    plan = atomics.load(base + 8 * PLAN)
    for task in range(claim * step, least((claim + 1) * step, atomics.load(base + 8 * TASKS))):
        status |= call(kernel, Task(plan=plan, task=task))
    return status


@kernel(Word, dtypes=_ONE)
def take_tasks(t: Floats) -> Any:
    """Claim and do tasks of the running job until none is left; value: the thread, 0 the caller."""
    any_task = _ANY_TASK

    def body(p):  # type: ignore[no-untyped-def]
        thread = p.value
        base = table()
        ticket = atomics.load(base + 8 * TICKET)
        number, threads = ticket >> 32, ticket & 255
        done, status, owner = 0, 0, thread
        if thread >= threads:
            return OK
        for _turn in range(threads):
            at = _range_of(owner)
            while True:
                tasks = atomics.load(at)
                begin, end = tasks & MOST_CLAIMS, (tasks >> 16) & MOST_CLAIMS
                if tasks >> 32 != number or begin >= end:
                    break
                following = tasks + 1 if owner == thread else tasks - (1 << 16)
                if atomics.swap(at, tasks, following) == 0:
                    continue
                if done == 0 and thread != 0:
                    atomics.set_control_word(atomics.load(base + 8 * CONTROL))
                status |= _run_claim(pick(owner - thread, end - 1, begin), any_task)
                done += 1
            owner = pick(owner + 1 - threads, owner + 1, 0)
        if status != 0:
            atomics.set_bits(base + 8 * STATUS, status)
        if done != 0:
            atomics.add(base + 8 * DONE, done)
        return OK

    return body


@kernel(Word, dtypes=_ONE, uses=(take_tasks,))
def pool_worker(t: Floats) -> Any:
    """The loop of a worker; value: its number, from 0. Returns when the pool stops."""
    take = t[take_tasks]

    def body(p):  # type: ignore[no-untyped-def]
        base = table()
        state = base + 8 * (WORKERS + p.value * LINE)
        acquire, thread = atomics.load(base + 8 * ACQUIRE), Word(value=p.value + 1)
        seen = 0
        while True:
            end = now() + SHORT_SPIN_NS
            turns = 0
            while True:
                ticket = atomics.load(base + 8 * TICKET)
                if ticket != seen:
                    seen = ticket
                    call(take, thread)
                    end = now() + atomics.load(base + 8 * SPIN)
                atomics.pause()
                turns += 1
                if turns & 15 == 0 and now() > end:
                    break
            atomics.store(state, ASLEEP)
            # A job that came before this word was seen: stay, or take the wake-up on its way.
            missed = atomics.load(base + 8 * TICKET) != seen or atomics.load(base + 8 * STOP) != 0
            if not missed or atomics.exchange(state, RUNNING) != ASLEEP:
                atomics.call_lock(acquire, atomics.load(state + 8 * LOCK))
                if atomics.load(state + 8 * MOVED) != 0:  # any CPU will do now; see ``_move``
                    set_mask = atomics.load(base + 8 * SET_MASK)
                    atomics.call_affinity(set_mask, 0, 8 * MASK_WORDS, state + 8 * MASK)
                    atomics.put(state + 8 * MOVED, 0)
            if atomics.load(base + 8 * STOP) != 0:
                return OK

    return body


@subroutine
def _publish(job, threads):  # type: ignore[no-untyped-def]
    """Deal the tasks out, a range a thread; the ticket last. The number of claims."""
    base = table()
    step = most(ceil_div(job.tasks, MOST_CLAIMS), 1)
    claims = ceil_div(job.tasks, step)
    atomics.put(base + 8 * SLOT, job.slot)
    atomics.put(base + 8 * PLAN, job.plan)
    atomics.put(base + 8 * TASKS, job.tasks)
    atomics.put(base + 8 * STEP, step)
    atomics.put(base + 8 * CONTROL, atomics.control_word())
    atomics.put(base + 8 * STATUS, OK)
    atomics.put(base + 8 * DONE, 0)
    number = ((atomics.load(base + 8 * TICKET) >> 32) + 1) & 0x7FFFFFFF
    for thread in range(threads):
        begin, end = quotient(claims * thread, threads), quotient(claims * (thread + 1), threads)
        atomics.put(_range_of(thread), (number << 32) | (end << 16) | begin)
    atomics.store(base + 8 * TICKET, (number << 32) | threads)
    return claims


@kernel(Job, dtypes=_ONE, uses=(take_tasks,))
def join_job(t: Floats) -> Any:
    """All tasks of a job, in any order. Returns their statuses, or-ed."""
    take, any_task = t[take_tasks], _ANY_TASK

    def body(p):  # type: ignore[no-untyped-def]
        base = table()
        status = ensure(p.slot)
        if status != OK:
            return status
        helpers = least(atomics.load(base + 8 * THREADS), p.tasks) - 1
        if helpers > atomics.load(base + 8 * STARTED) and atomics.load(base + 8 * REFUSED) == 0:
            status = _start_workers()
            if status != OK:
                return status
        helpers = least(helpers, atomics.load(base + 8 * STARTED))
        others = 0
        if helpers > 0:
            others = atomics.add(base + 8 * CALLERS, 1)
        # as many callers as threads keep the cores busy without a worker
        alone = helpers <= 0 or others + 1 >= atomics.load(base + 8 * THREADS)
        if alone or atomics.swap(base + 8 * BUSY, 0, 1) == 0:
            for task in range(p.tasks):
                status |= call(kernel_at(any_task, p.slot), Task(plan=p.plan, task=task))
            if helpers > 0:
                atomics.add(base + 8 * CALLERS, -1)
            return status

        note_demand(now())
        claims = _publish(p, helpers + 1)
        wake(helpers, p.ns)
        call(take, Word(value=0))
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
        atomics.put(base + 8 * LAST_END, now())
        atomics.store(base + 8 * BUSY, 0)
        atomics.add(base + 8 * CALLERS, -1)
        return status

    return body


@intrinsic
def _start_workers(typing_context: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return emit_call(b, b.load(at(b, START)), [])

    return types.intp(), codegen


FORK_JOIN = join_job
