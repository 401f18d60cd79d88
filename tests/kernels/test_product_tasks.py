"""A product that is a task of a job calls no kernel that is not compiled yet.

A worker that compiled would want the GIL, while the caller, who waits for the worker, may hold it:
a user's compiled function does. So linear_backward compiles ahead whatever its two products reach.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.programs import environment

SCRIPT = """
import itertools
import json

import numpy as np

import fastgrad
from fastgrad._kernels.codegen import structs
from fastgrad._kernels.gemm.args import IN_JOB, Product
from fastgrad._kernels.layer.args import ActivationGradientPlan, PairPlan
from fastgrad._kernels.layer.backward import product_of_pair
from fastgrad._kernels.runtime.registry import Task
from fastgrad._kernels.runtime.table import POOL, READY, TABLE
from fastgrad._ops.kernel_call import NO_ROWS, matrix, run

fastgrad.set_num_threads(2)
rng = np.random.default_rng(0)
g, x, weight = (rng.standard_normal(s).astype(np.float32) for s in ((600, 60), (600, 50), (50, 60)))
fastgrad.linear_backward(g, x, weight)  # both products side by side: it compiles for all shapes

late = []
for n, k, m in SHAPES:
    g, x, weight = (np.ones(s, np.float32) for s in ((n, m), (n, k), (k, m)))
    dx, dw = np.empty_like(x), np.empty_like(weight)
    of_dx = Product(n, k, m, matrix(g), matrix(weight.T), matrix(dx), NO_ROWS, 0, 0, 0, IN_JOB)
    of_dw = Product(k, m, n, matrix(x.T), matrix(g), matrix(dw), NO_ROWS, 0, 0, 0, IN_JOB)
    no_h = structs.built(ActivationGradientPlan, itertools.repeat(0))
    plan = np.array([*structs.words(PairPlan(of_dx, of_dw, 0, no_h))], np.int64)
    before = TABLE[READY:POOL]
    for task in range(2):
        run(product_of_pair, np.dtype(np.float32), Task(plan.ctypes.data, task))
    assert (dx == m).all() and (dw == n).all()
    late += [[n, k, m, i] for i, (a, b) in enumerate(zip(before, TABLE[READY:POOL])) if a != b]
print(json.dumps(late))
"""
# one shape of each path, and of each condition that chooses between them
SHAPES = (
    (1 << 18, 1, 1), (1, 512, 512), (4000, 1, 64), (4000, 64, 1), (200_000, 3, 2), (9, 300, 300),
    (300, 9, 100), (300, 100, 9), (150, 150, 150), (30, 20, 10), (3, 1000, 700), (1, 2000, 1),
    (1, 1, 2000), (600, 601, 2), (300, 700, 9),
)  # fmt: skip


def test_nothing_is_compiled_in_a_task() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("SHAPES", repr(SHAPES))],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []  # n, k, m and the slot of the kernel that came too late


FIRST = """
import numpy as np

import fastgrad
from fastgrad._kernels.runtime import registry
from fastgrad._kernels.runtime.pool_words import BUSY
from fastgrad._kernels.runtime.table import TABLE

late, compile_slot = [], registry.compile_slot


def noted(index):
    if index not in registry._compiled and TABLE[BUSY]:
        late.append(registry._of_slot[index][0].name)
    return compile_slot(index)


registry.compile_slot = noted
fastgrad.set_num_threads(2)
a = np.ones(SHAPE, np.float32)
CALL
print(late)
"""
# operands that have to be packed or transposed first
CALLS = {
    "product": ((512, 512), "fastgrad.matmul_nt(a, a)"),
    "stack": ((300, 24, 24), "fastgrad.matmul_nt(a, a)"),
    "layers": ((300, 24, 24), "fastgrad.linear_forward(a, a.swapaxes(1, 2), None, 'gelu')"),
    "layers backward": ((300, 24, 24), "fastgrad.linear_backward(a, a, a, 'gelu', None, a)"),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_first_call_compiles_nothing_in_its_job(name: str) -> None:
    """matmul_nt of 512 x 512 from compiled code that held the GIL never returned, on two threads,
    where no call before had copied an operand."""
    shape, call = CALLS[name]
    script = FIRST.replace("SHAPE", repr(shape)).replace("CALL", call)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


ONE_THREAD = """
import numpy as np

import fastgrad
from fastgrad._kernels.gemm.few_rows import runs
from fastgrad._kernels.gemm.turned import turned_part
from fastgrad._kernels.runtime.table import TABLE, ready

fastgrad.set_num_threads(1)
model = fastgrad.MLP((300, 10, 2))
x = np.ones((256, 300), np.float32)
model.train_step(x, np.zeros(256, np.int64))
print([int(TABLE[ready(kernel.slot("float32"))]) for kernel in (runs, turned_part)])
"""


def test_a_step_on_one_thread_takes_every_path() -> None:
    """It is no job: what its products take is compiled in its first step, not when another call
    happens to want it."""
    done = subprocess.run(
        [sys.executable, "-c", ONE_THREAD],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[1, 1]"
