"""Kernels that are wrong on purpose: an edit of the source, and the test that must notice.

Each edit is (file in fastgrad/, text that occurs in it exactly once, what stands there instead).
"""

from __future__ import annotations

from typing import NamedTuple

TILE, GEMM, BLOCK = (
    "_kernels/gemm/microkernel.py",
    "_kernels/gemm/dispatch.py",
    "_kernels/gemm/macrokernel.py",
)
SIMD, REDUCE, BACKWARD = (
    "_kernels/codegen/simd.py",
    "_kernels/gemm/reduce.py",
    "_kernels/layer/backward.py",
)
BLOCKED, PARTS = "_kernels/gemm/blocked.py", "_kernels/gemm/parts.py"
DOTS = "_kernels/gemm/row_dots.py"
STEPS, POOL = "_kernels/gemm/row_steps.py", "_kernels/runtime/pool_kernels.py"

FORMULA = "contract/test_formula.py::"
BIAS = FORMULA + "test_forward[float32-KC+1-None]"
LAYERS = "api/test_layer_stack.py::test_every_way[(50, 33, 32, 31)-True-f4]"
RELU = "api/test_linear.py::test_relu_at_its_kink[float32-1-False]"


def product(depth: str) -> str:
    return f"{FORMULA}test_small_product[float32-{depth}]"


def shared(test: str) -> str:
    return f"contract/test_promise_1_threads.py::{test}]"


class Mutant(NamedTuple):
    killer: str
    edits: tuple[tuple[str, str, str], ...]


# The test that every mutant fails must pass without one.
MUTANTS: dict[str, Mutant] = {
    "last k dropped": Mutant(
        product("KC-1"),
        ((TILE, "rest, i64(0)), turns, behind", "rest, i64(2)), turns, behind"),),
    ),
    "odd last step dropped": Mutant(
        product("KC-1"),
        ((TILE, "count = b.sub(p.kc, count)", "count = i64(0)"),),
    ),
    "edge read twice": Mutant(
        # packing by transposes: the column before the last stands in for the last
        product("KC-1"),
        (
            (
                "_kernels/gemm/packing.py",
                "b.sub(columns, i64(1))",
                "b.sub(columns, i64(2))",
            ),
        ),
    ),
    "tail column unmasked": Mutant(
        "api/test_matmul.py::test_every_width_up_to_three_tiles[float32]",
        ((TILE, "masks[-1] = ops.first(p.tail)", "pass"),),
    ),
    "operand transposed": Mutant(
        "api/test_matmul.py::test_square_operands_are_not_transposed[float32-matmul-C]",
        (
            (
                GEMM,
                "m=m, n=n, k=p.k, a=a, b=b, to=",
                "m=m, n=n, k=p.k, a=a, b=Matrix(data=b.data, row=b.column, column=b.row), to=",
            ),
        ),
    ),
    "bias skipped": Mutant(
        BIAS,
        ((BLOCK, "pick(ends * bias, bias + j * size, zeros)", "zeros"),),
    ),
    "bias doubled": Mutant(
        BIAS,
        (
            (
                BLOCK,
                "pick(ends * bias, bias + j * size, zeros)",
                "pick(bias, bias + j * size, zeros)",
            ),
            (BLOCK, "ends * (bias | relu)", "(bias | relu)"),
        ),
    ),
    "accumulate ignored": Mutant(
        product("1"),
        ((GEMM, "pick(p.accumulate, 1, 0)", "0"),),
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
        (
            (
                BACKWARD,
                "range(0, plan.rows, kc)",
                "range(0, plan.rows - kc, kc)",
            ),
        ),
    ),
    "chain started from C": Mutant(
        product("1"),
        (
            (
                TILE,
                "    start = [*groups, p.b.data, p.copy, *([zero] * (rows * vectors))]\n",
                "    starts = [b.add(p.old.data, b.mul(p.old.row, i64(r))) for r in range(rows)]\n"
                "    starts = [ops.load(s, v * ops.bytes, masks[v]).ir"
                " for s in starts for v in range(vectors)]\n"
                "    start = [*groups, p.b.data, p.copy, *starts]\n",
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
                BLOCK,
                "kc = least(kc_max, depth - k)",
                "kc = least(kc_max if rows > whole_rows else kc_max // 2, depth - k)",
            ),
            (BLOCK, "k += kc_max", "k += kc"),
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
                "*([zero] * (rows * vectors))]",
                "*([zero] * (2 * rows * vectors))]",
            ),
            (
                TILE,
                "            state[-rows * vectors :],\n",
                "            state[-2 * rows * vectors :],\n",
            ),
            (
                TILE,
                "b.add(copy, i64(vectors * ops.bytes)), *fused]",
                "b.add(copy, i64(vectors * ops.bytes)), *chains[rows * vectors :], *fused]",
            ),
            (
                TILE,
                "        Value(ops, _phi(b, (x, behind), (y, single)))\n"
                "        for x, y in zip(state[chains], final[chains], strict=True)\n",
                "        Value(ops, _phi(b, (x, behind), (y, single)))"
                " + Value(ops, _phi(b, (v, behind), (w, single)))\n"
                "        for x, y, v, w in zip(state[chains], final[chains],\n"
                "            state[-2 * rows * vectors : -rows * vectors],"
                " final[-2 * rows * vectors : -rows * vectors])\n",
            ),
        ),
    ),
    "blocks out of order": Mutant(
        # the third and the fourth block change places
        product("5KC+3"),
        (
            (
                BLOCK,
                "kc = least(kc_max, depth - k)",
                "kc = least(kc_max, depth - k)\n"
                "                from_k = k if depth < 2 * kc_max else kc_max - k",
            ),
            (BLOCK, "panel + k * a_k", "panel + from_k * a_k"),
            (BLOCK, "b + k * b_row", "b + from_k * b_row"),
        ),
    ),
    "k equalised": Mutant(
        product("KC+1"),
        (
            (BLOCK, "integers import least, pick", "integers import least, most, pick"),
            (
                BLOCK,
                "kc = least(kc_max, depth - k)",
                "some = most((depth + kc_max - 1) // kc_max, 1)\n"
                "                kc = least((depth + some - 1) // some, depth - k)",
            ),
            (BLOCK, "k += kc_max", "k += most(kc, 1)"),
        ),
    ),
    "relu backward at 0": Mutant(
        "api/test_linear.py::test_relu_backward_at_its_kink[float32]",
        (
            (
                "_kernels/formulas/activations.py",
                "ops.select(y <= 0.0, 0.0, g)",
                "ops.select(y < 0.0, 0.0, g)",
            ),
        ),
    ),
    "dX by W, not its transpose": Mutant(
        "api/test_linear.py::test_square_layer_is_not_transposed[float32]",
        ((BACKWARD, "row=w.column, column=w.row", "row=w.row, column=w.column"),),
    ),
    "H of the first block only": Mutant(
        FORMULA + "test_large_backward[float32-relu]",
        ((BACKWARD, "in range(0, most(n, 1), height)", "in range(0, least(n, kc), height)"),),
    ),
    "few rows: last steps dropped": Mutant(
        shared("test_few_rows[float32-3"),
        ((STEPS, "with for_range(b, b.sub(p.k, whole)) as k:", "with for_range(b, i64(0)) as k:"),),
    ),
    "few rows: old C forgotten": Mutant(
        shared("test_few_rows[float32-7"),
        (
            (
                STEPS,
                "x = x + ops.load(b.add(p.chains, offset), 0, mask)",
                "x = ops.load(b.add(p.chains, offset), 0, mask)",
            ),
        ),
    ),
    "few rows: chain started anew": Mutant(
        # each piece of k a sum of its own, rounded when it is added
        shared("test_few_rows[float32-1"),
        (
            (
                STEPS,
                "chains = [ops.load(b.add(at, offset), 0, mask) for at in chains_at]",
                "chains = [ops.constant(0.0) for _ in chains_at]",
            ),
            (
                STEPS,
                "ops.store(chain, b.add(at, offset), 0, mask)",
                "before = ops.load(b.add(at, offset), 0, mask)\n"
                "                ops.store(before + chain, b.add(at, offset), 0, mask)",
            ),
        ),
    ),
    "dots: last column the one before": Mutant(
        shared("test_few_rows[float32-1"),
        (
            (
                DOTS,
                "column = at_most(b, b.add(j, i64(i)), last)",
                "column = b.add(j, i64(i))\n"
                '                inside = b.icmp_signed("<", column, last)\n'
                "                column = b.select(inside, column, b.sub(last, i64(1)))",
            ),
        ),
    ),
    "dots: last row the one before": Mutant(
        shared("test_few_rows[float32-3"),
        (
            (
                DOTS,
                "last_row, last = b.sub(p.rows, i64(1))",
                "last_row, last = b.sub(p.rows, i64(2))",
            ),
        ),
    ),
    "dots: second group of columns forgotten": Mutant(
        shared("test_few_rows[float32-1"),
        (
            (
                DOTS,
                "                for g in range(groups):\n",
                "                for g in range(1):\n",
            ),
        ),
    ),
    "turned: old C forgotten": Mutant(
        shared("test_products[float32-turned"),
        (
            (
                "_kernels/gemm/turned.py",
                "        if accumulate != 0:\n",
                "        if accumulate > 1:\n",
            ),
        ),
    ),
    "inner product: blocks side by side, one short": Mutant(
        shared("test_products[float32-inner product"),
        (
            (
                "_kernels/gemm/inner_product.py",
                "blocks=ceil_div(some, kc)",
                "blocks=quotient(some, kc)",
            ),
        ),
    ),
    "split k: old C forgotten": Mutant(
        shared("test_products[float32-split k"),
        (("_kernels/gemm/split_k.py", "pick(k0, 1, p.epilogue.accumulate)", "pick(k0, 1, 0)"),),
    ),
    "split k: buffers added backwards": Mutant(
        shared("test_products[float32-split k"),
        (
            (
                REDUCE,
                "b.mul(block, p.step)",
                "b.mul(b.sub(b.sub(p.blocks, i64(1)), block), p.step)",
            ),
        ),
    ),
    "pool: last task skipped": Mutant(
        shared("test_products[float32-parts"),
        (
            (
                POOL,
                "claims = ceil_div(job.tasks, step)",
                "claims = ceil_div(job.tasks, step) - 1",
            ),
        ),
    ),
    "pool: worker keeps its control word": Mutant(
        "contract/test_promise_1_threads.py::test_flush_to_zero_of_the_caller[float32]",
        ((POOL, "atomics.set_control_word(atomics.load(base + 8 * CONTROL))", "pass"),),
    ),
    "parts overlap": Mutant(
        shared("test_products[float32-parts"),
        (
            (
                PARTS,
                "i = quotient(p.task, plan.beside) * rows",
                "i = quotient(p.task, plan.beside) * (rows - 6)",
            ),
        ),
    ),
    "parts: bias of the first columns": Mutant(
        shared("test_forward[float32-chunks-None"),
        ((PARTS, "pick(e.bias, e.bias + j * size, 0)", "pick(e.bias, e.bias, 0)"),),
    ),
    "chunks: bias of the first columns": Mutant(
        shared("test_forward[float32-chunks-None"),
        ((BLOCKED, "pick(last * e.bias, e.bias + j * size, 0)", "last * e.bias"),),
    ),
    "copy of the micro-panel before": Mutant(
        shared("test_products[float32-chunks"),
        (
            (
                BLOCK,
                "packed = copy + quotient(j, width) * copy_step",
                "packed = copy + quotient(most(j - (i != 0) * width, 0), width) * copy_step",
            ),
            (BLOCK, "import least, pick", "import least, most, pick"),
        ),
    ),
    "copies share one place": Mutant(
        shared("test_products[float32-chunks"),
        ((BLOCKED, "copy_step=layout.b_step,", "copy_step=0,"),),
    ),
    "copies of the first block of k stay": Mutant(
        shared("test_products[float32-chunks"),
        (
            (
                BLOCKED,
                "first = 1 if i == 0 or layout.b_step == 0 else 0",
                "first = 1 if (i == 0 and k == 0) or layout.b_step == 0 else 0",
            ),
        ),
    ),
    "panels of the first block of rows overwritten": Mutant(
        shared("test_products[float32-chunks"),
        ((BLOCKED, "block.copy += layout.b_step", "block.copy += 0"),),
    ),
    "copy one vector short": Mutant(
        shared("test_products[float32-chunks"),
        (
            (
                TILE,
                "(vectors):\n                ops.store(columns[v], copy",
                "(vectors - 1):\n                ops.store(columns[v], copy",
            ),
        ),
    ),
    "A's panels of another height": Mutant(
        shared("test_products[float32-large parts"),
        (
            (
                BLOCKED,
                "height = next_rows(layout.row_plan, rows - i)",
                "height = next_rows(layout.row_plan, least(rows - i, 4))",
            ),
        ),
    ),
    "A of the first block of rows": Mutant(
        shared("test_products[float32-chunks"),
        (
            (
                BLOCKED,
                "block.a.data = a.data + i * a.row + block.step * a.column",
                "block.a.data = a.data + block.step * a.column",
            ),
        ),
    ),
    "stack: the first layer's bias for all": Mutant(
        LAYERS,
        (("_kernels/gemm/stack.py", "bias_step=pick(p.bias, plan.bias_step, 0)", "bias_step=0"),),
    ),
    "stack: dX of the last layer alone": Mutant(
        LAYERS,
        (
            (
                "_kernels/layer/stack.py",
                "if i > 0:\n                    add = 1",
                "if i < 0:\n                    add = 1",
            ),
        ),
    ),
    "stack: H of the first layer for all": Mutant(
        LAYERS,
        (("_kernels/layer/stack.py", "pick(h, h + j * h_step, 0)", "h"),),
    ),
}
