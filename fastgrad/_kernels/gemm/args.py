"""What the kernels of a product are given: structs of 64-bit words. Strides are in bytes."""

from __future__ import annotations

from typing import NamedTuple


class Matrix(NamedTuple):
    """Of any strides."""

    data: int
    row: int  # from one row to the next
    column: int  # from one column to the next


class Rows(NamedTuple):
    """A matrix whose columns have unit stride."""

    data: int  # 0: none
    row: int


# A product on this thread only; and one that is a task of a job, and so compiles nothing.
ALONE, IN_JOB = 1, 2


class Product(NamedTuple):
    """C (m, n) = or += A (m, k) · B (k, n), + bias, activated; see dispatch.py."""

    m: int
    n: int
    k: int
    a: Matrix  # (m, k)
    b: Matrix  # (k, n)
    # (m, n); c and z have unit stride along n or, without bias, activation and z, along m
    c: Matrix
    z: Rows  # (m, n), the pre-activation
    bias: int  # (n,), unit stride; 0: none
    activation: int  # its code, see formulas/activations.py
    accumulate: int  # 0: C is written; else it is added to
    alone: int  # 0, ALONE or IN_JOB


class Epilogue(NamedTuple):
    """What is done with a sum over k when it is complete, and what is there before it."""

    accumulate: int  # 1: added to what is in the output, by the first block of k
    bias: int  # unit stride along n; 0: none
    relu: int  # 1 or 0, on registers
    y: Rows  # another activation goes from the output to y behind the tile; y.data 0: none
    activation: int


class Gemm(NamedTuple):
    """A product in the form that each path takes: ``to`` has unit stride along n."""

    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    to: Rows
    epilogue: Epilogue
    threads: int


class Panels(NamedTuple):
    """B as micro-panels: each a tile wide, its rows (steps of k) of unit stride."""

    data: int
    row: int  # from one step of k to the next
    panel: int  # from one micro-panel to the next


class BlockPlan(NamedTuple):
    """A job of macro-kernels. Task t has the rows, columns and chunk of k with

    t = (chunk * row_blocks + row) * column_groups + column.
    """

    m: int
    n: int
    k: int
    a: Matrix
    b: Panels
    to: Rows
    to_chunk: int  # from the output of one chunk of k to that of the next
    epilogue: Epilogue
    a_panels: int  # 1: A lies in packed panels, each as high as the tile that reads it, k-major
    copy: int  # of the first micro-panel of B, which the tiles below the first read; 0: none
    copy_step: int  # to that of the next; 0: they share one place
    copies: int  # 1: the first tiles make the copies; 0: they are there
    rows: int  # of a task
    row_blocks: int
    columns: int  # of a task
    column_groups: int
    depth: int  # steps of k in a chunk
    width: int  # columns of a micro-panel: a tile's
    row_plan: int  # vectors of the tiles that rows are cut for


class PartPlan(NamedTuple):
    """A job of parts of C, each a product that one thread does alone."""

    whole: Gemm
    rows: int  # of a part
    columns: int
    beside: int  # parts side by side


class RunsPlan(NamedTuple):
    """A job of the few-rows path; task t has columns t * columns ..."""

    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    to: Matrix
    accumulate: int
    bias: Matrix  # one of the strides is 0; data 0: none
    relu: int
    y: Rows
    activation: int
    columns: int


class Copy(NamedTuple):
    """to[r, c] = source[r, c]"""

    rows: int
    columns: int
    source: Matrix
    to: Rows


class Formula(NamedTuple):
    """y (rows, columns) = a formula of x."""

    rows: int
    columns: int
    x: Rows
    y: Rows


class Fold(NamedTuple):
    """to (rows, columns) = or += dense blocks of that shape, added in order."""

    rows: int
    columns: int
    blocks: int  # how many
    first: int  # the first one
    step: int  # from one to the next
    to: Rows
    accumulate: int
