"""Promise 1: the same bits for any number of threads, and from run to run.

Every way through the kernels is taken, and compared with the formula. Where a case has tasks, the
caller waits in its first one until a worker has come: what is compared is the work of both.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from fastgrad import (
    get_num_threads,
    linear_backward,
    linear_forward,
    matmul,
    matmul_nt,
    matmul_tn,
    num_threads,
    set_num_threads,
)
from fastgrad._kernels.gemm import thresholds
from fastgrad._kernels.gemm.few_rows import MOST_ROWS
from fastgrad._kernels.runtime import scratch
from support import control_word, edges, fuzz
from support.on_all_threads import THREADS, Product, on_all
from support.oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_backward_both,
    contract_both,
    contract_forward,
    contract_h,
    contract_product,
    floats,
    saved_for,
)
from support.thread_cases import (
    FEW,
    ODD,
    TASKS,
    WAYS_OF_FEW_COLUMNS,
    WAYS_OF_FEW_ROWS,
    cases,
    forward_shapes,
    layers,
    long_run,
)
from support.watch import WAYS, Watch

by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


# Few rows, few columns ---------------------------------------------------------------------------


@pytest.mark.parametrize("rows", FEW)
@by_dtype
def test_few_rows(dtype: str, rows: int, rng: np.random.Generator) -> None:
    """B by rows, by columns, and odd; from one block of the contract into the next."""
    k = edges.KC[dtype] + edges.lanes(dtype) + 3
    product = Product(rows, long_run(rows, k, dtype), k, dtype, rng)
    taken, ways = product.run("C", "C", "C", ("runs",)), WAYS_OF_FEW_ROWS
    taken |= product.run("F", "F", "padded rows", ("runs",))
    taken |= product.run(ODD, ODD, "C", ("runs",))
    assert ways <= taken, f"not taken: {ways - taken}"


@pytest.mark.parametrize("rows", (thresholds.FEW_ROWS + 1, 12, MOST_ROWS))
@pytest.mark.skipif(edges.ISA.registers < 32, reason="few registers: two groups of rows are 8")
@by_dtype
def test_rows_of_dots(dtype: str, rows: int, rng: np.random.Generator) -> None:
    """More rows are few where B lies along k: two groups of them."""
    k = edges.KC[dtype] + edges.lanes(dtype) + 3
    product = Product(rows, long_run(rows, k, dtype), k, dtype, rng)
    taken = product.run("C", "F", "C", ("runs",)) | product.run("F", "F", "padded rows", ("runs",))
    assert {"few rows", "transposed"} <= taken


@pytest.mark.parametrize("columns", range(1, thresholds.FEW_ROWS + 1))
@by_dtype
def test_few_columns(dtype: str, columns: int, rng: np.random.Generator) -> None:
    """The same with A and B, and rows and columns, in each other's place."""
    k = edges.KC[dtype] + edges.lanes(dtype) + 3
    product = Product(long_run(columns, k, dtype), columns, k, dtype, rng)
    taken, ways = product.run("F", "C", "C", ("runs",)), WAYS_OF_FEW_COLUMNS
    if columns > thresholds.GATHER_ROWS * 4 // edges.itemsize(dtype):
        ways = ways - {"transposed", "gathered", "C gathered"}
    else:
        taken |= product.run("C", "F", "C", ("runs",))
        taken |= product.run(ODD, ODD, "padded rows", ("runs",))
    assert ways <= taken, f"not taken: {ways - taken}"


# Products of every other kind --------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("float32"))
@by_dtype
def test_products(dtype: str, case: str, rng: np.random.Generator) -> None:
    shape, ways, layouts, meet = cases(dtype)[case]
    product = Product(*shape, dtype, rng)
    taken: set[str] = set()
    for layout in layouts:
        taken |= product.run(*layout, meet)
    assert ways <= taken, f"not taken: {ways - taken}"


@by_dtype
def test_runs_of_few_rows(dtype: str, rng: np.random.Generator) -> None:
    """Columns around the ends of a run, and of two."""
    for m in (1, 3, 4):  # more rows may be one tile
        vectors = thresholds.RUN_BYTES // (edges.itemsize(dtype) * m * edges.lanes(dtype))
        run = max(thresholds.RUN_COLUMNS, vectors * edges.lanes(dtype))
        for n in edges.around(run, 2 * run):
            k = max(thresholds.FEW_ROWS_ELEMENTS // n + 1, 3)
            a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
            with num_threads(1), Watch(dtype) as watch:
                c = matmul(a, b)
            assert_same_bits(c, contract_product(a, b), f"{(m, n, k)}")
            assert "few rows" in watch.ways()
            assert ("several runs" in watch.ways()) == (n > run)


@by_dtype
def test_names(dtype: str, rng: np.random.Generator) -> None:
    """matmul_nt and matmul_tn."""
    a, b = floats(rng, 70, 300, dtype=dtype), floats(rng, 300, 90, dtype=dtype)
    expected = contract_product(a, b)
    at, bt = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)

    def check(results: tuple[Array, Array], how: str) -> None:
        for c, name in zip(results, ("nt", "tn"), strict=True):
            assert_same_bits(c, expected, f"{name}, {how}")

    on_all(dtype, TASKS, lambda: (matmul_nt(a, bt), matmul_tn(at, b)), check)


@pytest.mark.slow
@by_dtype
def test_ring_as_large_as_its_arena(dtype: str, rng: np.random.Generator) -> None:
    """The largest C whose blocks of k lie side by side, and more threads than there is room for."""
    m, n = 128, thresholds.SPLIT_K_BYTES // (128 * edges.itemsize(dtype))
    room = (scratch.ARENA_BYTES - scratch.HEADER) // thresholds.SPLIT_K_BYTES
    k, threads = (room + 2) * edges.KC[dtype] + 3, room // 2
    assert thresholds.RING_OF_A_THREAD * threads > room
    a, b = floats(rng, k, m, dtype=dtype).T, floats(rng, k, n, dtype=dtype)
    old = floats(rng, m, n, dtype=dtype)
    written, added = contract_both(a, b, old)
    with num_threads(threads), Watch(dtype) as watch:
        assert_same_bits(matmul(a, b), written, "written")
        assert_same_bits(matmul(a, b, old, True), added, "added")
    folds = [call.words["blocks"] for call in watch.calls if call.kernel == "fold"]
    assert folds == [room, 3, room, 3]


# Layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, *edges.ACTIVATIONS])
@pytest.mark.parametrize("shape", forward_shapes("float32"))
@by_dtype
def test_forward(dtype: str, shape: str, activation: Any, rng: np.random.Generator) -> None:
    (n, k, m), ways = forward_shapes(dtype)[shape]
    x = floats(rng, n, k, dtype=dtype) / np.array(np.sqrt(k), dtype)
    w, bias = floats(rng, k, m, dtype=dtype), floats(rng, m, dtype=dtype)
    rows, columns = np.arange(n), np.arange(m)
    if n * k * m > 4_000_000:
        rows, columns = edges.sample(rng, n, n // 2), edges.sample(rng, m, m // 2)
    some = np.ix_(rows, columns)
    y, z = contract_forward(x[rows], w[:, columns], bias[columns], activation)
    kept = np.empty((n, m), dtype)
    taken: set[str] = set()
    for weight in (w, np.asfortranarray(w)):

        def alone(weight: Array = weight) -> Any:
            return linear_forward(x, weight, bias, activation), None

        def beside_z(weight: Array = weight) -> Any:
            kept[...] = np.nan
            return linear_forward(x, weight, bias, activation, preactivation_out=kept), kept

        def check(result: tuple[Array, Array | None], how: str) -> None:
            assert_same_bits(result[0][some], y, f"y, {how}")
            if result[1] is not None:
                assert_same_bits(result[1][some], z, f"z, {how}")

        taken |= on_all(dtype, TASKS, alone, check) | on_all(dtype, TASKS, beside_z, check)
    assert ways <= taken


@pytest.mark.parametrize("layer", layers("float32"))
@by_dtype
def test_backward(dtype: str, layer: str, rng: np.random.Generator) -> None:
    (n, k, m), ways, meet, activations = layers(dtype)[layer]
    x, w = floats(rng, n, k, dtype=dtype), floats(rng, k, m, dtype=dtype)
    g, z = floats(rng, n, m, dtype=dtype), floats(rng, n, m, dtype=dtype)
    old = tuple(floats(rng, *s, dtype=dtype) for s in ((n, k), (k, m), (m,)))
    taken: set[str] = set()
    for activation in activations:
        saved = saved_for(activation, contract_activation(activation, z), z)
        h = contract_h(g, activation, next(iter(saved.values()), None))
        for accumulate, expected in enumerate(contract_backward_both(h, x, w, old)):

            def call(
                activation: Any = activation,
                saved: Any = saved,
                accumulate: bool = bool(accumulate),
            ) -> Any:
                out = tuple(v.copy() if accumulate else np.full_like(v, np.nan) for v in old)
                linear_backward(g, x, w, activation, **saved, out=out, accumulate=accumulate)
                return out

            def check(
                out: Any, how: str, expected: Any = expected, activation: Any = activation
            ) -> None:
                for name, actual, right in zip("xwb", out, expected, strict=True):
                    assert_same_bits(actual, right, f"d{name}, {activation}, {how}")

            taken |= on_all(dtype, meet, call, check)
    assert ways <= taken, f"not taken: {ways - taken}"


def test_together_they_take_every_way() -> None:
    taken = WAYS_OF_FEW_ROWS | WAYS_OF_FEW_COLUMNS | {"several runs"}
    for dtype in edges.DTYPES:
        for case in (*cases(dtype).values(), *layers(dtype).values()):
            taken |= case.ways
    assert taken == WAYS


# Anything ---------------------------------------------------------------------------------------


def test_anything() -> None:
    fuzz.some("threads")


@pytest.mark.fuzz
def test_anything_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    fuzz.many("threads", capsys)


def test_callers_side_by_side(rng: np.random.Generator) -> None:
    """Python threads that call at the same time: one has the workers, the others work alone."""
    shapes = ((65, 131, 300), (5, 900, 400), (9, 7, 20000), (150, 160, 140))
    products = [(floats(rng, m, k), floats(rng, k, n)) for m, n, k in shapes]
    expected = [contract_product(a, b) for a, b in products]
    wrong: list[str] = []

    def caller(i: int) -> None:
        (a, b), right = products[i], expected[i].view(np.uint32)
        for _ in range(200):
            if (matmul(a, b).view(np.uint32) != right).any():
                wrong.append(f"{shapes[i]}")

    with num_threads(3):
        callers = [threading.Thread(target=caller, args=(i,)) for i in range(len(shapes))]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
    assert not wrong, wrong[:5]


# Flush to zero ----------------------------------------------------------------------------------


@pytest.mark.skipif(not control_word.KNOWN, reason="which bits are they here?")
@by_dtype
def test_flush_to_zero_of_the_caller(dtype: str, rng: np.random.Generator) -> None:
    """Set by another library, say: workers take the caller's control word, whatever they had."""
    tiny = np.finfo(dtype).smallest_normal
    scale = np.array(np.sqrt(tiny) / 16, dtype)
    a, b = (floats(rng, *s, dtype=dtype) * scale for s in ((65, 200), (200, 131)))
    g = floats(rng, 65, 131, dtype=dtype) * scale
    with num_threads(1):
        kept = (matmul(a, b), *linear_backward(g, a, b))
    assert_same_bits(kept[0][:2, :2], contract_product(a[:2], b[:, :2]), "subnormals")
    flushed: Any = None

    def compute(flush: bool, meet: str) -> tuple[Array, ...]:
        shared = get_num_threads() > 1
        with Watch(dtype, *((meet,) if shared else ())) as watch:
            with control_word.flushing() if flush else nullcontext():
                results = (matmul(a, b), *linear_backward(g, a, b))
        assert watch.met.is_set() == shared
        return results

    for threads in THREADS:
        with num_threads(threads):
            for meet in ("part", "product_of_pair"):
                results = compute(True, meet)
                flushed = flushed or results
                for actual, right in zip(results, flushed, strict=True):
                    assert not ((actual != 0) & (np.abs(actual) < tiny)).any(), "a subnormal"
                    assert_same_bits(actual, right, f"flushed, {threads} threads")
                results = compute(False, meet)
                for actual, right in zip(results, kept, strict=True):
                    assert_same_bits(actual, right, f"kept, {threads} threads")
    assert (kept[0] != flushed[0]).mean() > 0.1, "nothing was flushed"
