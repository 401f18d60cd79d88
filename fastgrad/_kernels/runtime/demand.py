"""When a worker is woken, where, and how long an idle one spins: the policy of the pool.

A worker that sleeps costs nothing, and a job may wait WAKE_NS for it; one that spins takes part at
once, and costs a core. Which is cheaper depends on the jobs that come, which nobody knows ahead. So
the pool follows demand:

- Waking. A job of LONG_NS or more wakes the sleeping ones it has tasks for. Shorter ones add up:
  each of t ns that is done without s sleeping workers could have saved t - t / (s + 1). When that
  has reached WAKE_NS, a wake-up would have paid for itself, and the job at hand does it: as with
  skis that are rented until the rent has paid for a pair, it costs at most twice what foresight
  would have. After a gap of more than OFTEN_NS what was added up is forgotten: such jobs are rare,
  and a worker would sleep again before the next one.
- Spinning. GAP is the time between jobs, lately: a mean to which each gap adds a quarter. Where it
  is OFTEN_NS or less, an idle worker spins for GAPS of it, SHORT_SPIN_NS at least and LONG_SPIN_NS
  at most; else for SHORT_SPIN_NS. So an idle pool is asleep 1.5 ms after its last job, and one that
  has a job every 10 ms spins for 0.4 % of a core a worker.
- Where. Linux may wake a worker on the CPU of who wakes it: see ``_move``.

In: a job's begin, its time on one thread and its number of helpers, from the caller that holds the
pool (BUSY), who alone reads and writes LAST_END, GAP and OWED. Out: SPIN, and workers awake.
"""

from __future__ import annotations

from ..codegen import atomics
from ..codegen.calls import subroutine
from ..codegen.integers import least, most, quotient
from ..codegen.memory import table
from .pool_words import (
    ASLEEP,
    CPU,
    GAP,
    GET_MASK,
    LAST_END,
    LOCK,
    MASK,
    MASK_WORDS,
    MOVED,
    OWED,
    RELEASE,
    RUNNING,
    SET_MASK,
    SPIN,
    THREAD,
    WORKERS,
)
from .table import LINE, OK

# In ns; benchmarks/compare/forkjoin.py measures a wake-up.
WAKE_NS = 100_000  # until a sleeping worker is at work, at worst
LONG_NS = 2 * WAKE_NS  # a job for which a worker is woken whatever came before
OFTEN_NS = 700_000  # between jobs that come often
GAPS = 4  # that an idle worker spins for, where they do, ...
LONG_SPIN_NS = 1_500_000  # ... at most
SHORT_SPIN_NS = 40_000  # where they do not, and at least


@subroutine
def note_demand(start):  # type: ignore[no-untyped-def]
    """A job begins: how long after the last one? How long an idle worker spins follows."""
    base = table()
    gap = start - atomics.load(base + 8 * LAST_END)
    often = (3 * atomics.load(base + 8 * GAP) + least(gap, 4 * OFTEN_NS)) >> 2
    atomics.put(base + 8 * GAP, often)
    spin = SHORT_SPIN_NS
    if often <= OFTEN_NS:
        spin = most(least(GAPS * often, LONG_SPIN_NS), SHORT_SPIN_NS)
    atomics.put(base + 8 * SPIN, spin)
    if gap > OFTEN_NS:
        atomics.put(base + 8 * OWED, 0)
    return OK


@subroutine
def _pays(ns, sleeping):  # type: ignore[no-untyped-def]
    """Whether sleeping workers are woken for a job that takes one thread so many ns.

    A long job is worth it. Of short ones that come often it is known only afterwards: what they
    could have saved adds up, and when it has paid for a wake-up, the worker is woken: as with skis
    that are rented until the rent has paid for a pair.
    """
    base = table()
    if ns >= LONG_NS:
        atomics.put(base + 8 * OWED, 0)
        return 1
    owed = atomics.load(base + 8 * OWED) + ns - quotient(ns, sleeping + 1)
    if owed < WAKE_NS:
        atomics.put(base + 8 * OWED, owed)
        return 0
    atomics.put(base + 8 * OWED, 0)
    return 1


@subroutine
def _move(state):  # type: ignore[no-untyped-def]
    """A worker that is about to be woken may not run on this thread's CPU, until it is awake.

    Where CPUs share no cache, as on many virtual machines, Linux wakes a thread on the CPU of who
    wakes it, though another is idle; there it would wait until the job is done.
    """
    base = table()
    mask, size = state + 8 * MASK, 8 * MASK_WORDS
    thread, get_mask = atomics.load(state + 8 * THREAD), atomics.load(base + 8 * GET_MASK)
    if get_mask == 0 or atomics.call_affinity(get_mask, thread, size, mask) != 0:
        return OK
    cpu = atomics.call_number(atomics.load(base + 8 * CPU))
    if cpu < 0 or cpu >= 8 * size:
        return OK
    here, others = mask + 8 * (cpu >> 6), 0
    allowed = atomics.load(here)
    atomics.put(here, allowed & ~(1 << (cpu & 63)))
    for i in range(MASK_WORDS):
        others |= atomics.load(mask + 8 * i)
    if others != 0 and others != allowed:
        set_mask = atomics.load(base + 8 * SET_MASK)
        if atomics.call_affinity(set_mask, thread, size, mask) == 0:
            atomics.put(state + 8 * MOVED, 1)
    atomics.put(here, allowed)
    return OK


@subroutine
def wake(helpers, ns):  # type: ignore[no-untyped-def]
    """The sleeping ones of the first helpers, if that pays."""
    base = table()
    sleeping = 0
    for helper in range(helpers):
        if atomics.load(base + 8 * (WORKERS + helper * LINE)) == ASLEEP:
            sleeping += 1
    if sleeping == 0 or _pays(ns, sleeping) == 0:
        return OK
    for helper in range(helpers):
        state = base + 8 * (WORKERS + helper * LINE)
        if atomics.load(state) == ASLEEP and atomics.exchange(state, RUNNING) == ASLEEP:
            _move(state)
            atomics.call_lock(atomics.load(base + 8 * RELEASE), atomics.load(state + 8 * LOCK))
    return OK
