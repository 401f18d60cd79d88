"""C (m, n) = epilogue(A (m, k) · B (k, n)): brought into one form, then the path for its shape.

The form (args.Gemm): the output has unit stride along n, and the epilogue is resolved (relu on
registers, another activation from Z to Y behind the tile). Every path is a kernel of that form:
    few_rows.py        few rows, or few columns: the other operand passes by once
    turned.py          narrow, with A along m: the transposed product, and back
    split_k.py         long k, small C: blocks of k side by side
    inner_product.py   a row times a column
    blocked.py         everything else: packed blocks
    parts.py           the same, in parts for several threads
and small products go to one task of macrokernel.py at once. The bits are the same from all; k is
always cut at multiples of KC (the contract). A product that is a task of a job compiles nothing:
what it may take is there before the job (``ensured``), other paths are not taken.
"""

from __future__ import annotations

from typing import Any

from ..codegen.calls import call, inlined, nth
from ..codegen.integers import pick
from ..codegen.structs import load, on_stack
from ..formulas.activations import RELU
from ..runtime.pool_kernels import ensure, is_compiled, run_task, threads_in_force
from ..runtime.registry import Floats, kernel
from ..runtime.table import OK
from . import thresholds
from .args import IN_JOB, BlockPlan, Epilogue, Gemm, Matrix, Panels, Product, Rows
from .blocked import blocked
from .elementwise import VALUE
from .few_rows import few_rows, may_be_few, runs
from .inner_product import inner_product
from .macrokernel import macrokernel
from .panels import holds_all_of, panels_of
from .parts import parts
from .row_dots import most_rows
from .split_k import split_k
from .turned import may_be_turned, turned, turned_part

# Paths, as ``path_of`` says them
_BLOCKED, _PARTS, _FEW_ROWS, _TURNED, _SPLIT_K, _INNER, _DIRECT = range(7)


def _path_of(t: Floats) -> Any:
    size, kc, holds_all = t.size, t.kc, holds_all_of(t)
    rows_of_dots = 2 * most_rows(t.isa)
    rows_kernel, rows_task, turning, turning_task = (
        t[few_rows], t[runs], t[turned], t[turned_part],
    )  # fmt: skip

    @inlined
    def path_of(p, alone):  # type: ignore[no-untyped-def]
        """By shape and strides; the number of threads is decided here as well."""
        m, n, k, a, b, e = p.m, p.n, p.k, p.a, p.b, p.epilogue
        b_dense, b_along_k = b.column == size, b.row == size and b.column != size
        plain = e.bias == 0 and e.y.data == 0 and e.relu == 0
        if m * n == 1 and k > kc and a.column == size and b.row == size and alone == 0 and plain:
            return _INNER
        fmas = m * n * k
        long = (
            fmas * size >= 4 * thresholds.FORK_FMAS
            or (m * n + n * k + m * k) * size >= thresholds.FORK_BYTES
        )
        if long and alone == 0:
            p.threads = threads_in_force()
        in_job = alone == IN_JOB
        if may_be_few(m, n) != 0 and (
            not in_job or (is_compiled(rows_kernel) != 0 and is_compiled(rows_task) != 0)
        ):
            least_b = thresholds.ROW_ELEMENTS if m == 1 else thresholds.FEW_ROWS_ELEMENTS
            large, wide = n * k >= least_b, n >= thresholds.FEW_ROWS_COLUMNS
            if b_dense and holds_all(m, n, k) != 0:
                large = False
            if m <= thresholds.FEW_ROWS and (b_along_k or (large and (wide or not b_dense))):
                return _FEW_ROWS
            if m <= rows_of_dots and b_along_k and large:
                return _FEW_ROWS
            if e.y.data == 0 and m * k >= thresholds.FEW_COLUMNS_ELEMENTS:
                tall = m >= thresholds.FEW_ROWS_COLUMNS or (n <= 4 and m >= 16)
                gathered = n * size <= 4 * thresholds.GATHER_ROWS
                if tall and (gathered or (n <= thresholds.FEW_ROWS and a.row == size)):
                    return _FEW_ROWS
        long_k = k > 2 * p.threads * kc and m * n * size <= thresholds.SPLIT_K_BYTES
        if p.threads > 1 and long_k and b_dense and plain:
            return _SPLIT_K
        a_along_m = a.row == size and a.column != size
        if may_be_turned(m, n, k, size) != 0 and b_dense and a_along_m and plain:
            if not in_job or (is_compiled(turning) != 0 and is_compiled(turning_task) != 0):
                return _TURNED
        if p.threads == 1 and fmas <= thresholds.DIRECT_FMAS and (b_dense or n == 1):
            return _DIRECT
        return _PARTS if p.threads > 1 else _BLOCKED

    return path_of


def _directly(t: Floats) -> Any:
    lanes, block, (_, vectors_of, row_plan_of) = t.lanes, t[macrokernel], panels_of(t)

    @inlined
    def directly(p):  # type: ignore[no-untyped-def]
        """One task of the macro-kernel, on operands where they lie."""
        m, n, k, b = p.m, p.n, p.k, p.b
        width = vectors_of(m, n, k) * lanes
        plan = on_stack(BlockPlan(
            m=m, n=n, k=k, a=p.a, b=Panels(data=b.data, row=b.row, panel=width * b.column),
            to=p.to, to_chunk=0, epilogue=p.epilogue, a_panels=0, copy=0, copy_step=0, copies=0,
            rows=m, row_blocks=1, columns=n, column_groups=1, depth=k, width=width,
            row_plan=row_plan_of(m, n, k),
        ))  # fmt: skip
        return run_task(block, plan, 0)

    return directly


@kernel(Product)
def gemm(t: Floats) -> Any:
    size, relu = t.size, RELU
    path_of, directly = _path_of(t), _directly(t)
    value, by_blocks, by_rows = t[VALUE], t[blocked], t[few_rows]
    by_chunks, by_lanes, by_parts = t[split_k], t[inner_product], t[parts]
    by_turning = t[turned]

    def body(p):  # type: ignore[no-untyped-def]
        m, n, a, b, c_row = p.m, p.n, load(p.a), load(p.b), p.c.row
        accumulate = pick(p.accumulate, 1, 0)
        if m == 0 or n == 0 or (p.k == 0 and accumulate != 0):
            return OK
        if p.c.column != size and n > 1:  # C has unit stride along m: the transposed product
            m, n, c_row = n, m, p.c.column
            a = Matrix(data=p.b.data, row=p.b.column, column=p.b.row)
            b = Matrix(data=p.a.data, row=p.a.column, column=p.a.row)
        to, to_row, y = p.c.data, c_row, 0
        in_tile = 1 if p.activation == relu and p.z.data == 0 else 0
        if p.z.data != 0:
            to, to_row = p.z.data, p.z.row
        if in_tile == 0 and (p.activation != 0 or p.z.data != 0):
            y = p.c.data
            status = ensure(nth(value, p.activation))
            if status != OK:
                return status
        form = on_stack(Gemm(
            m=m, n=n, k=p.k, a=a, b=b, to=Rows(data=to, row=to_row),
            epilogue=Epilogue(accumulate=accumulate, bias=p.bias, relu=in_tile,
                              y=Rows(data=y, row=c_row), activation=p.activation),
            threads=1,
        ))  # fmt: skip
        path = path_of(form, p.alone)
        if path == _DIRECT:
            return directly(form)
        if path == _FEW_ROWS:
            return call(by_rows, form)
        if path == _TURNED:
            return call(by_turning, form)
        if path == _SPLIT_K:
            return call(by_chunks, form)
        if path == _INNER:
            return call(by_lanes, form)
        if path == _PARTS:
            return call(by_parts, form)
        return call(by_blocks, form)

    return body


def ensured(t: Floats) -> Any:
    """For a job whose tasks are products, or have some: ``ensure_product(m, n, k)`` before it."""
    product, block, blocks = t[gemm], t[macrokernel], t[blocked]
    rows, rows_task, turning, turning_task = t[few_rows], t[runs], t[turned], t[turned_part]
    size = t.size

    @inlined
    def ensure_product(m, n, k):  # type: ignore[no-untyped-def]
        """Compile what a product of these sizes may take, for strides of a layer."""
        status = ensure(product) | ensure(block) | ensure(blocks)
        if may_be_few(m, n) != 0:
            status |= ensure(rows) | ensure(rows_task)
        if may_be_turned(m, n, k, size) != 0:
            status |= ensure(turning) | ensure(turning_task)
        return status

    return ensure_product
