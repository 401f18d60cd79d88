"""The generator of one register tile: C (rows, columns) = or += A (rows, k) . B (k, columns).

A tile keeps rows x vectors accumulators in registers through the whole loop over k: each is the
chain of the contract, started at +0.0. A is read one element at a time (any strides), B one row
of vectors at a time (unit stride along columns, any stride along k), so packed panels and users'
memory are the same to it. A packing tile also stores the rows of B that it has read, one behind the
other: the tiles below read that copy. The epilogue stores the chains or, if there is more to do,
adds what was in C, then the bias, then applies relu, all on registers: where one of these is not
wanted it adds -0.0 or compares with NaN, which change nothing, and so one piece of code serves
every case.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..codegen import structs
from ..codegen.simd import FLOAT, I64, Simd, Value, at_most, i64, keep_rolled, new_function
from ..codegen.target import Isa, current
from .args import Matrix, Rows


class Tile(NamedTuple):
    """What every tile is given."""

    kc: int  # steps of k, may be 0
    a: Matrix  # (rows, kc)
    b: Rows  # (kc, columns)
    c: Rows
    old: Rows  # where the old C is read: c, or zeros (-0.0) of row 0 to start anew
    bias: int  # one row of columns, or zeros
    relu: int  # 1 or 0
    plain: int  # 1: no old C, bias or relu
    tail: int  # columns in the last vector of a masked tile
    copy: int  # where a packing tile copies B to, vectors without a gap
    ahead: Rows  # what packing and fetching tiles ask for, a line a step


ONE_TILE_ROWS = range(5, 9)
LINE = 64  # bytes of a cache line
_ROWS_PER_POINTER = (
    4  # rows addressed as p, p+s, p+2s, p+3s: 12 pointers would not fit the registers
)


@intrinsic(prefer_literal=True)
def call_tile(typing_context: Any, itemsize: Any, index: Any, args: Any) -> Any:
    """The ``index``-th tile of the target's table: see tile_index."""
    kind = structs.argument_type(args, Tile)

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        table = emit_tile_table(b.module, current().isa, signature.args[0].literal_value)
        function = b.load(b.gep(table, [i64(0), values[1]]))
        b.call(function, structs.flat(b, signature.args[2], values[2]))
        return context.get_dummy_value()

    return types.void(itemsize, types.intp, kind), codegen


@intrinsic
def one_tile(typing_context: Any, rows: Any) -> Any:
    """Vectors of the tile that holds a few rows, as wide as there is one; 0: see Isa.one_tile."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        found = i64(0)
        for height in ONE_TILE_ROWS:
            is_so_high = b.icmp_signed("==", args[0], i64(height))
            found = b.select(is_so_high, i64(current().isa.one_tile(height)), found)
        return found

    return types.intp(types.intp), codegen


@intrinsic
def next_rows(typing_context: Any, plan: Any, left: Any) -> Any:
    """Rows of the tile to take next, of ``left``: by the plan for tiles of ``plan`` vectors."""

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        isa = current().isa
        rows = [[0] * (2 * isa.most_rows + 1), *([*isa.next_rows(v), isa.tile_rows[v - 1][0]]
                for v in range(1, isa.vectors + 1))]  # fmt: skip
        one = ir.ArrayType(I64, len(rows[0]))
        table = b.module.globals.get("fastgrad_next_rows")
        if table is None:
            table = ir.GlobalVariable(b.module, ir.ArrayType(one, len(rows)), "fastgrad_next_rows")
            table.linkage, table.global_constant = "internal", True
            table.initializer = ir.Constant(table.value_type, [ir.Constant(one, r) for r in rows])
        left = at_most(b, args[1], one.count - 1)
        return b.load(b.gep(table, [i64(0), args[0], left]))

    return types.intp(types.intp, types.intp), codegen


@intrinsic(prefer_literal=True)
def minus_zeros(typing_context: Any, itemsize: Any) -> Any:
    """Address of one tile row of -0.0: x + -0.0 has the bits of x, also for x = -0.0.

    So where there is no old C or no bias, the same addition adds nothing.
    """

    def codegen(context: Any, b: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        size = signature.args[0].literal_value
        name = f"fastgrad_minus_zeros_f{8 * size}"
        found = b.module.globals.get(name)
        if found is None:
            kind = ir.ArrayType(FLOAT[size], current().isa.columns(size))
            found = ir.GlobalVariable(b.module, kind, name)
            found.linkage, found.global_constant, found.align = "internal", True, 64
            found.initializer = ir.Constant(kind, [-0.0] * kind.count)
        return b.ptrtoint(found, I64)

    return types.intp(itemsize), codegen


# What a tile does beside its product. WHOLE: no vector is masked, and C is fetched on the way.
WHOLE, MASKED, PACKING, FETCHING = "whole", "masked", "packing", "fetching"


def tile_name(itemsize: int, rows: int, vectors: int, kind: str) -> str:
    return f"fastgrad_tile_f{8 * itemsize}_{rows}x{vectors}_{kind}"


def emit_tile(
    module: ir.Module, isa: Isa, itemsize: int, rows: int, vectors: int, kind: str
) -> ir.Function:
    """Emit the tile into ``module``. The last vector has ``tail`` columns unless it is WHOLE."""
    name = tile_name(itemsize, rows, vectors, kind)
    function, b = new_function(module, name, len(structs.names(Tile)))
    p = structs.built(Tile, iter(function.args))
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    masks = [None] * vectors
    if kind != WHOLE:
        masks[-1] = ops.first(p.tail)

    c_rows = [b.add(p.c.data, b.mul(p.c.row, i64(r))) for r in range(rows)]
    chains = _emit_chains(function, ops, p, rows, vectors, masks, kind, isa.registers)

    with b.if_else(b.icmp_signed("!=", p.plain, i64(0))) as (then, otherwise):
        with then:
            for r in range(rows):
                for v in range(vectors):
                    ops.store(chains[r * vectors + v], c_rows[r], v * ops.bytes, masks[v])
        with otherwise:
            threshold = relu_threshold(ops, p.relu)
            biases = [ops.load(p.bias, v * ops.bytes, masks[v]) for v in range(vectors)]
            for r in range(rows):
                old = b.add(p.old.data, b.mul(p.old.row, i64(r)))
                for v in range(vectors):
                    x = ops.load(old, v * ops.bytes, masks[v]) + chains[r * vectors + v]
                    x = x + biases[v]
                    x = ops.select(x <= threshold, 0.0, x)
                    ops.store(x, c_rows[r], v * ops.bytes, masks[v])
    b.ret_void()
    return function


def _emit_chains(
    function: ir.Function,
    ops: Simd,
    p: Tile,
    rows: int,
    vectors: int,
    masks: list[ir.Value | None],
    kind: str,
    registers: int,
) -> list[Value]:
    """The loop over k; leaves the builder behind it and returns the accumulators.

    Some steps a turn, and what is left of them one by one: with one step a turn, counting takes
    issue slots from the FMAs, 8 % of a 6 x 4 tile whose operands come from L2. A
    WHOLE tile fetches C on the way, from the last row to the first: all of it before the loop would
    take the line fill buffers that B needs, 5 % at 1024 x 1024.
    """
    b = ops.builder
    groups = [b.add(p.a.data, b.mul(p.a.row, i64(r))) for r in range(0, rows, _ROWS_PER_POINTER)]
    steps = [i64(0), p.a.row, b.mul(p.a.row, i64(2)), b.mul(p.a.row, i64(3))]
    zero = ops.constant(0.0).ir
    start = [*groups, p.b.data, p.copy, p.ahead.data, *([zero] * (rows * vectors))]

    # where accumulators leave few registers free, loads wait for their turn; such tiles are small,
    # and have more steps a turn
    used = rows * vectors + vectors + 1
    tight = used == registers - 1

    def step(state: list[ir.Value]) -> list[ir.Value]:
        a, b_row, copy, ahead, chains = (
            state[: len(groups)],
            *state[len(groups) :][:3],
            state[-rows * vectors :],
        )
        columns = [ops.load(b_row, v * ops.bytes, masks[v]) for v in range(vectors)]
        if kind == PACKING:
            for v in range(vectors):
                ops.store(columns[v], copy, v * ops.bytes)
        if kind in (PACKING, FETCHING):
            ops.prefetch(ahead, write=False)
        fused: list[ir.Value] = []
        for r in range(rows):
            group, part = r // _ROWS_PER_POINTER, r % _ROWS_PER_POINTER
            if tight and fused:
                fused[-vectors:], a[group] = ops.in_turn(fused[-vectors:], a[group])
            x = ops.broadcast(b.add(a[group], steps[part]) if part else a[group])
            fused += [
                ops.fma(x, columns[v], Value(ops, chains[r * vectors + v])).ir
                for v in range(vectors)
            ]
        b_row = b.add(b_row, p.b.row)
        if tight:
            fused[-vectors:], b_row = ops.in_turn(fused[-vectors:], b_row)
        following = [b.add(group, p.a.column) for group in a]
        copied = b.add(copy, i64(vectors * ops.bytes))
        return [*following, b_row, copied, b.add(ahead, p.ahead.row), *fused]

    # rows / kc in units of 2^-32: how fast the prefetch moves over the rows of C
    pace = b.udiv(i64(rows << 32), b.or_(p.kc, i64(1))) if kind == WHOLE else None
    before = b.block
    # a mask takes the register that a second step would need
    steps_of_turn = 4 if tight else 1 if used == registers - 2 else 2
    turns, behind, single, after = (
        function.append_basic_block(name) for name in ("turns", "behind", "single", "epilogue")
    )
    count = b.and_(p.kc, i64(-steps_of_turn))
    b.cbranch(b.icmp_signed(">", count, i64(0)), turns, behind)

    b.position_at_end(turns)
    left = _phi(b, (count, before))
    state = [_phi(b, (x, before)) for x in start]
    if pace is not None:
        row = b.lshr(b.mul(left, pace), i64(32))
        line = b.and_(b.mul(left, i64(64 // steps_of_turn)), i64(vectors * ops.bytes - 1))
        ops.prefetch(b.add(b.add(p.c.data, line), b.mul(row, p.c.row)), write=True)
    turned = state
    for _ in range(steps_of_turn):
        turned = step(turned)
    rest = b.sub(left, i64(steps_of_turn))
    for phi, following in zip([left, *state], [rest, *turned], strict=True):
        phi.add_incoming(following, turns)
    keep_rolled(b.cbranch(b.icmp_signed(">", rest, i64(0)), turns, behind))

    b.position_at_end(behind)
    state = [_phi(b, (x, before), (y, turns)) for x, y in zip(start, turned, strict=True)]
    count = b.sub(p.kc, count)
    b.cbranch(b.icmp_signed(">", count, i64(0)), single, after)
    b.position_at_end(single)
    left = _phi(b, (count, behind))
    singly = [_phi(b, (x, behind)) for x in state]
    final = step(singly)
    rest = b.sub(left, i64(1))
    for phi, following in zip([left, *singly], [rest, *final], strict=True):
        phi.add_incoming(following, single)
    keep_rolled(b.cbranch(b.icmp_signed(">", rest, i64(0)), single, after))

    b.position_at_end(after)
    chains = slice(-rows * vectors, None)
    return [
        Value(ops, _phi(b, (x, behind), (y, single)))
        for x, y in zip(state[chains], final[chains], strict=True)
    ]


def _phi(b: ir.IRBuilder, *sources: tuple[ir.Value, ir.Block]) -> ir.PhiInstr:
    phi = b.phi(sources[0][0].type)
    for value, block in sources:
        phi.add_incoming(value, block)
    return phi


def relu_threshold(ops: Simd, relu: ir.Value) -> Value:
    """0.0 for relu (x <= 0 becomes +0.0), NaN otherwise (no x is <= NaN)."""
    b = ops.builder
    kind = FLOAT[ops.itemsize]
    scalar = b.select(
        b.icmp_signed("!=", relu, i64(0)), ir.Constant(kind, 0.0), ir.Constant(kind, float("nan"))
    )
    return Value(ops, ops.spread(scalar))


def emit_tile_table(module: ir.Module, isa: Isa, itemsize: int) -> ir.GlobalVariable:
    """All tiles of a target as a constant array of functions: see tile_index, packing_index.

    The widest and tallest comes with a twin that needs no mask and fetches C; for the others a full
    mask costs nothing worth its compile time.
    """
    name = f"fastgrad_tiles_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    whole = emit_tile(module, isa, itemsize, isa.rows, isa.vectors, WHOLE)
    tiles = [whole] * fetching_index(isa, isa.vectors + 1)
    for v, heights in enumerate(isa.tile_rows, 1):
        for rows in heights:
            tiles[tile_index(isa, v, rows)] = emit_tile(module, isa, itemsize, rows, v, MASKED)
    for v in range(isa.packing_vectors, isa.vectors + 1):
        tiles[packing_index(isa, v)] = emit_tile(module, isa, itemsize, isa.rows, v, PACKING)
        if v * isa.vector_bytes > LINE:  # others have fetched all in the packing tile
            tiles[fetching_index(isa, v)] = emit_tile(module, isa, itemsize, isa.rows, v, FETCHING)
    kind = ir.ArrayType(whole.type, len(tiles))
    table = ir.GlobalVariable(module, kind, name)
    table.linkage, table.global_constant = "internal", True
    table.initializer = ir.Constant(kind, tiles)
    return table


def tile_index(isa: Isa, vectors: int, rows: int) -> int:
    """Of a masked tile in the table; 0 is the whole tile that fetches C."""
    return (vectors - 1) * (isa.most_rows + 1) + rows


def packing_index(isa: Isa, vectors: int) -> int:
    """Of the packing tile that wide, isa.rows high."""
    return tile_index(isa, isa.vectors + 1, 0) + vectors - isa.packing_vectors


def fetching_index(isa: Isa, vectors: int) -> int:
    """Likewise."""
    return packing_index(isa, isa.vectors + 1) + vectors - isa.packing_vectors
