"""Strided memory -> rows of unit stride, for panels and gathered blocks: ``copy`` (rows, columns).

Three loops, chosen by the source's strides: unit stride along columns is moved by vectors, unit
stride along rows goes through transposes in registers, anything else goes element by element.
Nothing outside the source is read, not even by a masked-off lane.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..codegen.memory import emit_call, word
from ..codegen.simd import FLOAT, Simd, Value, for_range, i64, new_function
from ..codegen.target import Isa, current
from ..runtime.jit import OK, register, slot, stamp

COPY_ARGS = ("rows", "columns", "source", "source_row", "source_column", "to", "to_row")


def emit_copy(module: ir.Module, isa: Isa, itemsize: int) -> ir.Function:
    """to[r, c] = source[r, c]; strides in bytes; the columns of ``to`` have unit stride."""
    name = f"fastgrad_copy_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    function, b = new_function(module, name, len(COPY_ARGS))
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    arg = dict(zip(COPY_ARGS, function.args, strict=True))
    one = i64(itemsize)
    # A single row or column may have any stride: prefer the vector moves.
    with b.if_then(b.icmp_signed("==", arg["source_column"], one)):
        _copy_rows(ops, arg)
        b.ret_void()
    with b.if_then(b.icmp_signed("==", arg["source_row"], one)):
        _transpose(ops, arg)
        b.ret_void()
    _copy_elements(ops, arg)
    b.ret_void()
    return function


def _copy_rows(ops: Simd, arg: dict[str, ir.Value]) -> None:
    b, lanes = ops.builder, ops.lanes
    whole = b.and_(arg["columns"], i64(-lanes))
    rest = b.sub(arg["columns"], whole)
    mask = ops.first(rest)
    has_rest = b.icmp_signed("!=", rest, i64(0))
    with for_range(b, arg["rows"]) as r:
        source = b.add(arg["source"], b.mul(r, arg["source_row"]))
        to = b.add(arg["to"], b.mul(r, arg["to_row"]))
        with for_range(b, whole, lanes) as c:
            offset = b.mul(c, i64(ops.itemsize))
            ops.store(ops.load(b.add(source, offset)), b.add(to, offset))
        with b.if_then(has_rest):
            offset = b.mul(whole, i64(ops.itemsize))
            ops.store(ops.load(b.add(source, offset), 0, mask), b.add(to, offset), 0, mask)


def _transpose(ops: Simd, arg: dict[str, ir.Value]) -> None:
    """Blocks of lanes x lanes: full ones with plain moves, those at an edge masked."""
    b, lanes = ops.builder, ops.lanes
    size = i64(ops.itemsize)
    with for_range(b, arg["columns"], lanes) as c, for_range(b, arg["rows"], lanes) as r:
        source = b.add(arg["source"], b.add(b.mul(r, size), b.mul(c, arg["source_column"])))
        to = b.add(arg["to"], b.add(b.mul(r, arg["to_row"]), b.mul(c, size)))
        rows, columns = b.sub(arg["rows"], r), b.sub(arg["columns"], c)
        full = b.and_(
            b.icmp_signed(">=", rows, i64(lanes)), b.icmp_signed(">=", columns, i64(lanes))
        )
        with b.if_else(full) as (then, otherwise):
            with then:
                step = arg["source_column"]
                block = [b.add(source, b.mul(step, i64(i))) for i in range(lanes)]
                for i, x in enumerate(load_transposed(ops, block)):
                    ops.store(x, b.add(to, b.mul(arg["to_row"], i64(i))))
            with otherwise:
                rows, columns = (_at_most(b, n, lanes) for n in (rows, columns))
                read, write = ops.first(rows), ops.first(columns)
                block = []
                for i in range(lanes):
                    # a column past the edge is the last one again: read twice, never stored
                    inside = _at_most(b, i64(i), b.sub(columns, i64(1)))
                    address = b.add(source, b.mul(inside, arg["source_column"]))
                    block.append(ops.load(address, 0, read))
                for i, x in enumerate(transpose_block(ops, block)):
                    with b.if_then(b.icmp_signed("<", i64(i), rows)):
                        ops.store(x, b.add(to, b.mul(arg["to_row"], i64(i))), 0, write)


def load_transposed(ops: Simd, addresses: list[ir.Value]) -> list[Value]:
    """The transpose of lanes x lanes elements, a row at each address.

    The rows are loaded 16 bytes at a time, so that loads do what would take the longer exchanges:
    half of all shuffles, of which a CPU does one a cycle.
    """
    part = 16 // ops.itemsize
    columns = []
    for c in range(0, ops.lanes, part):
        rows = [ops.load_parts(addresses[s::part], c * ops.itemsize) for s in range(part)]
        columns += transpose_block(ops, rows)
    return columns


def transpose_block(ops: Simd, rows: list[Value]) -> list[Value]:
    """n rows -> the transpose of each n x n block of theirs, by exchanging halves of 1, 2, 4 ..."""
    lanes = ops.lanes
    width = 1
    while width < len(rows):
        low = [q if not q & width else lanes + (q ^ width) for q in range(lanes)]
        high = [q | width if not q & width else lanes + q for q in range(lanes)]
        swapped = list(rows)
        for i in range(len(rows)):
            if not i & width:
                x, y = rows[i], rows[i | width]
                swapped[i] = ops.shuffle(x, y, low)
                swapped[i | width] = ops.shuffle(x, y, high)
        rows = swapped
        width *= 2
    return rows


def _copy_elements(ops: Simd, arg: dict[str, ir.Value]) -> None:
    b = ops.builder
    kind = FLOAT[ops.itemsize]
    with for_range(b, arg["rows"]) as r:
        source = b.add(arg["source"], b.mul(r, arg["source_row"]))
        to = b.add(arg["to"], b.mul(r, arg["to_row"]))
        with for_range(b, arg["columns"]) as c:
            x = b.load(
                ops.pointer(b.add(source, b.mul(c, arg["source_column"])), 0, kind),
                align=ops.itemsize,
            )
            b.store(
                x,
                ops.pointer(b.add(to, b.mul(c, i64(ops.itemsize))), 0, kind),
                align=ops.itemsize,
            )


def _at_most(b: ir.IRBuilder, x: ir.Value, limit: int | ir.Value) -> ir.Value:
    limit = i64(limit) if isinstance(limit, int) else limit
    return b.select(b.icmp_signed("<", x, limit), x, limit)


@intrinsic(prefer_literal=True)
def _copy_here(typing_context: Any, itemsize: Any, words: Any) -> Any:
    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = emit_copy(b.module, current().isa, signature.args[0].literal_value)
        b.call(function, cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, len(COPY_ARGS))), codegen


def build_copy(dtype: str) -> Any:
    version = stamp()
    size = 4 if dtype == "float32" else 8

    def kernel_copy(d):  # type: ignore[no-untyped-def]
        _ = version
        _copy_here(size, (word(d, 0), word(d, 1), word(d, 2), word(d, 3), word(d, 4),
                          word(d, 5), word(d, 6)))  # fmt: skip
        return OK

    return kernel_copy


COPY = register("copy", build_copy)


@intrinsic(prefer_literal=True)
def copy(typing_context: Any, itemsize: Any, words: Any) -> Any:
    """``copy(itemsize, COPY_ARGS)``: calls the kernel, which compiles once for all that copy."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        dtype = {4: "float32", 8: "float64"}[signature.args[0].literal_value]
        emit_call(b, i64(slot(COPY, dtype)), cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(itemsize, types.UniTuple(types.intp, len(COPY_ARGS))), codegen
