"""The generator of one register tile: C (rows, columns) = or += A (rows, k) . B (k, columns).

A tile keeps rows x vectors accumulators in registers through the whole loop over k: each is the
chain of the contract, started at +0.0. A is read one element at a time (any strides), B one row
of vectors at a time (unit stride along columns, any stride along k), so packed panels and users'
memory are the same to it. The epilogue stores the chains or, if there is more to do, adds what was
in C, then the bias, then applies relu, all on registers: where one of these is not wanted it adds
-0.0 or compares with NaN, which change nothing, and so one piece of code serves every case.
"""

from __future__ import annotations

from llvmlite import ir

from ..codegen.simd import FLOAT, Simd, Value, i64, keep_rolled, new_function
from ..codegen.target import Isa

# Arguments of every tile, 64-bit integers; strides in bytes.
TILE_ARGS = (
    "kc",  # steps of k, may be 0
    "a",
    "a_row",
    "a_k",
    "b",
    "b_k",
    "c",
    "c_row",
    "old",  # where the old C is read: `c`, or `zeros` (-0.0) to start anew
    "old_row",  # c_row, or 0
    "bias",  # one row of columns, or `zeros`
    "relu",  # 1 or 0
    "plain",  # 1: no old C, bias or relu
    "tail",  # columns in the last vector of a masked tile
    "pace",  # lines / kc in units of 2^-32: how fast the prefetch of C moves down its rows
)

_ROWS_PER_POINTER = (
    4  # rows addressed as p, p+s, p+2s, p+3s: 12 pointers would not fit the registers
)


def tile_name(itemsize: int, rows: int, vectors: int, masked: bool) -> str:
    return f"fastgrad_tile_f{8 * itemsize}_{rows}x{vectors}{'_tail' if masked else ''}"


def emit_tile(
    module: ir.Module, isa: Isa, itemsize: int, rows: int, vectors: int, masked: bool
) -> ir.Function:
    """Emit the tile into ``module``. ``masked``: the last vector has ``tail`` columns."""
    name = tile_name(itemsize, rows, vectors, masked)
    function, b = new_function(module, name, len(TILE_ARGS))
    arg = dict(zip(TILE_ARGS, function.args, strict=True))
    ops = Simd(b, itemsize, isa.lanes(itemsize), isa.fma)
    masks = [None] * vectors
    if masked:
        masks[-1] = ops.first(arg["tail"])

    c_rows = [b.add(arg["c"], b.mul(arg["c_row"], i64(r))) for r in range(rows)]
    chains = _emit_chains(function, ops, arg, rows, vectors, masks, prefetch=not masked)

    with b.if_else(b.icmp_signed("!=", arg["plain"], i64(0))) as (then, otherwise):
        with then:
            for r in range(rows):
                for v in range(vectors):
                    ops.store(chains[r * vectors + v], c_rows[r], v * ops.bytes, masks[v])
        with otherwise:
            threshold = relu_threshold(ops, arg["relu"])
            biases = [ops.load(arg["bias"], v * ops.bytes, masks[v]) for v in range(vectors)]
            for r in range(rows):
                old = b.add(arg["old"], b.mul(arg["old_row"], i64(r)))
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
    arg: dict[str, ir.Value],
    rows: int,
    vectors: int,
    masks: list[ir.Value | None],
    prefetch: bool,
) -> list[Value]:
    """The loop over k; leaves the builder behind it and returns the accumulators.

    ``prefetch``: C is fetched on the way, a line each step, from the last row to the first. All of
    it before the loop would take the line fill buffers that A and B need: 5 % at 1024 x 1024.
    """
    b = ops.builder
    groups = [
        b.add(arg["a"], b.mul(arg["a_row"], i64(r))) for r in range(0, rows, _ROWS_PER_POINTER)
    ]
    steps = [i64(0), arg["a_row"], b.mul(arg["a_row"], i64(2)), b.mul(arg["a_row"], i64(3))]
    zero = ops.constant(0.0).ir
    before = b.block
    loop, after = function.append_basic_block("k"), function.append_basic_block("epilogue")
    b.cbranch(b.icmp_signed(">", arg["kc"], i64(0)), loop, after)

    b.position_at_end(loop)
    left = _phi(b, arg["kc"], before)
    a = [_phi(b, g, before) for g in groups]
    b_row = _phi(b, arg["b"], before)
    chains = [_phi(b, zero, before) for _ in range(rows * vectors)]
    columns = [ops.load(b_row, v * ops.bytes, masks[v]) for v in range(vectors)]
    if prefetch:
        row = b.lshr(b.mul(left, arg["pace"]), i64(32))
        line = b.and_(b.mul(left, i64(64)), i64(vectors * ops.bytes - 1))
        ops.prefetch(b.add(b.add(arg["c"], line), b.mul(row, arg["c_row"])))
    fused = []
    for r in range(rows):
        base = a[r // _ROWS_PER_POINTER]
        step = r % _ROWS_PER_POINTER
        x = ops.broadcast(b.add(base, steps[step]) if step else base)
        fused += [
            ops.fma(x, columns[v], Value(ops, chains[r * vectors + v])).ir for v in range(vectors)
        ]
    for phi, following in zip(
        [left, *a, b_row, *chains],
        [
            b.sub(left, i64(1)),
            *(b.add(p, arg["a_k"]) for p in a),
            b.add(b_row, arg["b_k"]),
            *fused,
        ],
        strict=True,
    ):
        phi.add_incoming(following, loop)
    keep_rolled(b.cbranch(b.icmp_signed(">", left, i64(1)), loop, after))

    b.position_at_end(after)
    results = []
    for x in fused:
        result = _phi(b, zero, before)
        result.add_incoming(x, loop)
        results.append(Value(ops, result))
    return results


def _phi(b: ir.IRBuilder, start: ir.Value, block: ir.Block) -> ir.PhiInstr:
    phi = b.phi(start.type)
    phi.add_incoming(start, block)
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
    """All tiles of a target as a constant array of functions: see tile_index.

    The widest and tallest comes with a twin that needs no mask and fetches C; for the others a full
    mask costs nothing worth its compile time.
    """
    name = f"fastgrad_tiles_f{8 * itemsize}"
    if name in module.globals:
        return module.globals[name]
    whole = emit_tile(module, isa, itemsize, isa.rows, isa.vectors, False)
    tiles = [whole] * tile_index(isa, isa.vectors + 1, 0)
    for v, heights in enumerate(isa.tile_rows, 1):
        for rows in heights:
            tiles[tile_index(isa, v, rows)] = emit_tile(module, isa, itemsize, rows, v, True)
    kind = ir.ArrayType(whole.type, len(tiles))
    table = ir.GlobalVariable(module, kind, name)
    table.linkage, table.global_constant = "internal", True
    table.initializer = ir.Constant(kind, tiles)
    return table


def tile_index(isa: Isa, vectors: int, rows: int) -> int:
    """Of a masked tile in the table; 0 is the whole tile that fetches C."""
    return (vectors - 1) * (isa.most_rows + 1) + rows
