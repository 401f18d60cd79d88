"""A few rows of a matrix <-> a panel whose lanes are the rows: (columns, lanes), dense.

Where the columns of the matrix have unit stride, some of them are moved for all rows at a time:
16 bytes of each row, or 8, and a transpose of small blocks. The last group overlaps the one before
it. Anything else goes through pack.copy.
"""

from __future__ import annotations

from llvmlite import ir

from ..codegen.memory import emit_call
from ..codegen.simd import I32, Simd, Value, for_range, i64, new_function
from ..codegen.target import current
from ..gemm.packing import COPY, transpose_block
from ..runtime.jit import slot

_DTYPE = {4: "float32", 8: "float64"}


def emit_read(module: ir.Module, itemsize: int) -> ir.Function:
    """f(rows, columns, source, source_row, source_column, panel).

    Lanes past the rows hold some number of the source, or +0.0.
    """
    name = f"fastgrad_read_panel_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 6)
    isa = current().isa
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    rows, columns, source, row, column, panel = function.args
    unit = b.icmp_signed("==", column, i64(ops.itemsize))
    for part in _parts(ops):
        with b.if_then(b.and_(unit, b.icmp_signed(">=", columns, i64(part)))):
            starts = _starts(ops, rows, source, row)
            with for_range(b, columns, part) as j:
                c = _overlapping(b, j, columns, part)
                at = b.mul(c, i64(ops.itemsize))
                places = [b.add(start, at) for start in starts]
                blocks = [ops.load_parts(places[s::part], 0) for s in range(part)]
                to = b.add(panel, b.mul(c, i64(ops.bytes)))
                for i, x in enumerate(transpose_block(ops, blocks)):
                    ops.store(x, to, i * ops.bytes)
            b.ret_void()
    copy = i64(slot(COPY, _DTYPE[ops.itemsize]))
    with b.if_then(b.icmp_signed("<", rows, i64(ops.lanes))), for_range(b, columns) as j:
        ops.store(ops.constant(0.0), b.add(panel, b.mul(j, i64(ops.bytes))))
    emit_call(b, copy, [columns, rows, source, column, row, panel, i64(ops.bytes)])
    b.ret_void()
    return function


def emit_write(module: ir.Module, itemsize: int) -> ir.Function:
    """f(rows, columns, panel, to, to_row): the columns of ``to`` have unit stride."""
    name = f"fastgrad_write_panel_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, 5)
    isa = current().isa
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    rows, columns, panel, to, row = function.args
    for part in _parts(ops):
        with b.if_then(b.icmp_signed(">=", columns, i64(part))):
            starts = _starts(ops, rows, to, row)
            with for_range(b, columns, part) as j:
                c = _overlapping(b, j, columns, part)
                source = b.add(panel, b.mul(c, i64(ops.bytes)))
                blocks = [ops.load(source, i * ops.bytes) for i in range(part)]
                blocks = transpose_block(ops, blocks)
                at = b.mul(c, i64(ops.itemsize))
                # lanes past the rows go where the last row goes after them
                for i in reversed(range(ops.lanes)):
                    _store_part(ops, blocks[i % part], i // part * part, part, b.add(starts[i], at))
            b.ret_void()
    # one column
    copy = i64(slot(COPY, _DTYPE[ops.itemsize]))
    dense = b.icmp_signed("==", row, i64(ops.itemsize))
    with b.if_then(dense):
        emit_call(b, copy, [i64(1), rows, panel, i64(0), i64(ops.itemsize), to, i64(0)])
        b.ret_void()
    emit_call(b, copy, [rows, i64(1), panel, i64(ops.itemsize), i64(ops.bytes), to, row])
    b.ret_void()
    return function


def _parts(ops: Simd) -> list[int]:
    """Elements of a row that are moved at a time, most first."""
    return [part for part in (16 // ops.itemsize, 8 // ops.itemsize) if 1 < part <= ops.lanes]


def _starts(ops: Simd, rows: ir.Value, base: ir.Value, row: ir.Value) -> list[ir.Value]:
    """Where the rows of the lanes start; past the rows it is the last one."""
    b = ops.builder
    last = b.sub(rows, i64(1))
    inside = [b.select(b.icmp_signed("<", i64(i), last), i64(i), last) for i in range(ops.lanes)]
    return [b.add(base, b.mul(i, row)) for i in inside]


def _overlapping(b: ir.IRBuilder, j: ir.Value, columns: ir.Value, part: int) -> ir.Value:
    last = b.sub(columns, i64(part))
    return b.select(b.icmp_signed("<", j, last), j, last)


def _store_part(ops: Simd, x: Value, first: int, count: int, to: ir.Value) -> None:
    b = ops.builder
    lanes = ir.Constant(ir.VectorType(I32, count), list(range(first, first + count)))
    part = b.shuffle_vector(x.ir, x.ir, lanes)
    pointer = ops.pointer(to, 0, ir.VectorType(ops.float.element, count))
    b.store(part, pointer, align=ops.itemsize)
