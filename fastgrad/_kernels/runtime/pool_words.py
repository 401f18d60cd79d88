"""The pool's words in the table: what its compiled part, its policy and Python's part share.

A line each for what different threads write.
"""

from __future__ import annotations

from .table import LINE, POOL, WORDS

MAX_THREADS = 64
TICKET = POOL  # job number << 32 | threads that may take part; then the range of the caller
DONE = POOL + LINE  # tasks finished
BUSY = POOL + 2 * LINE  # 1 while a job runs; then demand, which the caller keeps
LAST_END, GAP, OWED = range(BUSY + 1, BUSY + 4)  # of the last job, see demand.py
CALLERS = BUSY + 4  # with a job for several threads, at this moment
JOB = POOL + 3 * LINE
SLOT, PLAN, TASKS, STEP, CONTROL, STATUS, SPIN = range(JOB, JOB + 7)
SETTINGS = POOL + 4 * LINE
(THREADS, STARTED, REFUSED, STOP, ACQUIRE, RELEASE, YIELD, CLOCK, CLOCK_ID, START) = range(
    SETTINGS, SETTINGS + 10
)
CPU, GET_MASK, SET_MASK = range(SETTINGS + 10, SETTINGS + 13)  # 0 where there are none
WORKERS = POOL + 5 * LINE  # for each worker a line: its state and so on
LOCK, RANGE, THREAD, MOVED, MASK = 1, 2, 3, 4, 8  # words of such a line
MASK_WORDS = LINE - MASK  # of 64 CPUs each
RUNNING, ASLEEP = 0, 1
assert WORKERS + MAX_THREADS * LINE <= WORDS
