"""Kernels that are wrong on purpose: an edit of the source, and the test that must notice.

Each edit is (file in fastgrad/, text that occurs in it exactly once, what stands there instead).
"""

from __future__ import annotations

from typing import NamedTuple

TILE, GEMM = "_kernels/microkernel.py", "_kernels/gemm.py"
SIMD, REDUCE, BACKWARD = "_kernels/simd.py", "_kernels/reduce.py", "_kernels/backward.py"

FORMULA = "contract/test_formula.py::"
BIAS = FORMULA + "test_forward[float32-KC+1-None]"
RELU = "api/test_linear.py::test_relu_at_its_kink[float32-1-False]"


def product(depth: str) -> str:
    return f"{FORMULA}test_small_product[float32-{depth}]"


class Mutant(NamedTuple):
    killer: str
    edits: tuple[tuple[str, str, str], ...]


# The test that every mutant fails must pass without one.
MUTANTS: dict[str, Mutant] = {
    "last k dropped": Mutant(
        product("KC-1"),
        ((TILE, 'icmp_signed(">", left, i64(1))', 'icmp_signed(">", left, i64(2))'),),
    ),
    "edge read twice": Mutant(
        # packing by transposes: the column before the last stands in for the last
        product("KC-1"),
        (
            (
                "_kernels/pack.py",
                "b.sub(columns, i64(1))",
                "b.sub(columns, i64(2))",
            ),
        ),
    ),
    "tail column unmasked": Mutant(
        "api/test_matmul.py::test_every_width_up_to_three_tiles[float32]",
        ((TILE, 'masks[-1] = ops.first(arg["tail"])', "pass"),),
    ),
    "operand transposed": Mutant(
        "api/test_matmul.py::test_square_operands_are_not_transposed[float32-matmul-C]",
        (
            (
                GEMM,
                "b, b_k, b_column = word(d, 6), word(d, 7), word(d, 8)",
                "b, b_k, b_column = word(d, 6), word(d, 8), word(d, 7)",
            ),
        ),
    ),
    "bias skipped": Mutant(
        BIAS,
        ((GEMM, "bias + here if last and bias != 0 else zeros", "zeros"),),
    ),
    "bias doubled": Mutant(
        BIAS,
        ((GEMM, "bias + here if last and bias != 0", "bias + here if bias != 0"),),
    ),
    "accumulate ignored": Mutant(
        product("1"),
        ((GEMM, "add_old = k0 > 0 or accumulate != 0", "add_old = k0 > 0"),),
    ),
    "relu at 0": Mutant(
        # -0.0 stays
        RELU,
        ((TILE, "x <= threshold", "x < threshold"),),
    ),
    "relu at NaN": Mutant(
        # NaN becomes 0, as with max(0, x); the threshold is 0 where relu is wanted
        RELU,
        (
            (
                TILE,
                "ops.select(x <= threshold, 0.0, x)",
                "ops.select((x <= threshold) | ((x != x) & (threshold == 0.0)), 0.0, x)",
            ),
        ),
    ),
    "db misses the last block": Mutant(
        FORMULA + "test_column_sums[float32-KC+1]",
        ((REDUCE, "range(0, rows, kc_max)", "range(0, rows - kc_max, kc_max)"),),
    ),
    "chain started from C": Mutant(
        product("1"),
        (
            (
                TILE,
                "    before = b.block\n",
                '    old, step = arg["old"], arg["old_row"]\n'
                "    starts = [b.add(old, b.mul(step, i64(r))) for r in range(rows)]\n"
                "    starts = [ops.load(s, v * ops.bytes, masks[v]).ir"
                " for s in starts for v in range(vectors)]\n"
                "    before = b.block\n",
            ),
            (
                TILE,
                "chains = [_phi(b, zero, before) for _ in range(rows * vectors)]",
                "chains = [_phi(b, start, before) for start in starts]",
            ),
            (
                TILE,
                "ops.load(old, v * ops.bytes, masks[v]) + chains[r * vectors + v]",
                "chains[r * vectors + v]",
            ),
        ),
    ),
    "KC by shape": Mutant(
        product("KC"),
        (
            (
                GEMM,
                "kc = min(kc_max, k - k0)",
                "kc = min(kc_max if m > rows_max else kc_max // 2, k - k0)",
            ),
            (GEMM, "k0 += kc_max", "k0 += kc"),
        ),
    ),
    "mul+add for fma": Mutant(
        product("KC-1"),
        ((SIMD, "if not self.has_fma:", "if True:"),),
    ),
    "lanes summed": Mutant(
        # two partial sums, of even and of odd k, added at the end
        product("KC-1"),
        (
            (
                TILE,
                "    columns = [ops.load(b_row",
                "    others = [_phi(b, zero, before) for _ in chains]\n"
                "    columns = [ops.load(b_row",
            ),
            (
                TILE,
                "    for phi, following in zip(\n",
                "    sums = [b.fadd(x, y) for x, y in zip(fused, others)]\n"
                "    for phi, following in zip(\n",
            ),
            (TILE, "[left, *a, b_row, *chains],", "[left, *a, b_row, *chains, *others],"),
            (TILE, "            *fused,\n", "            *others,\n            *fused,\n"),
            (TILE, "    for x in fused:\n", "    for x in sums:\n"),
        ),
    ),
    "blocks out of order": Mutant(
        # the second and the third block change places
        product("5KC+3"),
        (
            (
                GEMM,
                "kc = min(kc_max, k - k0)",
                "kc = min(kc_max, k - k0)\n"
                "                from_k = k0 if k < 3 * kc_max or k0 == 0 or k0 > 2 * kc_max"
                " else 3 * kc_max - k0",
            ),
            (GEMM, "b + k0 * b_k", "b + from_k * b_k"),
            (
                GEMM,
                "a_from, ar, ak = a + i0 * a_row + k0 * a_k",
                "a_from, ar, ak = a + i0 * a_row + from_k * a_k",
            ),
        ),
    ),
    "k equalised": Mutant(
        product("KC+1"),
        (
            (
                GEMM,
                "kc = min(kc_max, k - k0)",
                "blocks = max((k + kc_max - 1) // kc_max, 1)\n"
                "                kc = min((k + blocks - 1) // blocks, k - k0)",
            ),
            (GEMM, "k0 += kc_max", "k0 += max(kc, 1)"),
        ),
    ),
    "relu backward at 0": Mutant(
        "api/test_linear.py::test_relu_backward_at_its_kink[float32]",
        (
            (
                "_kernels/activations.py",
                "ops.select(y <= 0.0, 0.0, g)",
                "ops.select(y < 0.0, 0.0, g)",
            ),
        ),
    ),
    "dX by W, not its transpose": Mutant(
        "api/test_linear.py::test_square_layer_is_not_transposed[float32]",
        ((BACKWARD, "w_column, w_row,\n", "w_row, w_column,\n"),),
    ),
    "H of the first block only": Mutant(
        FORMULA + "test_large_backward[float32-relu]",
        ((BACKWARD, "for r in range(0, n, height):", "for r in range(0, min(n, kc), height):"),),
    ),
}
