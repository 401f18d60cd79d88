"""Promise 1: the same bits for any number of threads, and from run to run.

Every way through the kernels is taken, and compared with the formula. Where a case has tasks, the
caller waits in its first one until a worker has come: what is compared is the work of both.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import control_word
import edges
import fuzz
import numpy as np
import pytest
from formula import contract_both, contract_product
from layouts import OUTPUTS, laid_out, place
from oracles import (
    Array,
    assert_same_bits,
    contract_activation,
    contract_backward_both,
    contract_forward,
    contract_h,
    floats,
    saved_for,
)
from watch import WAYS, Watch

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
from fastgrad._kernels import paths, scratch

THREADS = (1, 2, 3, 8)  # more than there are cores, too
TASKS = ("block", "part", "stream_task")  # of a product
by_dtype = pytest.mark.parametrize("dtype", edges.DTYPES)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = get_num_threads()
    yield
    set_num_threads(before)


def fork_fmas(dtype: str) -> int:
    return paths.FORK_FMAS * 4 // edges.itemsize(dtype)


def on_all(
    dtype: str, meet: tuple[str, ...], call: Callable[[], Any], check: Callable[[Any, str], None]
) -> set[str]:
    """Call and check with each number of threads: undisturbed, then watched. The ways taken.

    meet: tasks that are shared by threads; without any, nobody else may take part.
    """
    taken: set[str] = set()
    for threads in THREADS:
        with num_threads(threads):
            check(call(), f"{threads} threads")
            with Watch(dtype, *(meet if threads > 1 else ())) as watch:
                result = call()
            check(result, f"{threads} threads, watched")
            assert watch.met.is_set() == bool(meet and threads > 1), "no other thread took part"
            taken |= watch.ways()
    return taken


class Product:
    """A (m, k) · B (k, n), + C or not, and what the formula gives for some rows and columns."""

    def __init__(self, m: int, n: int, k: int, dtype: str, rng: np.random.Generator) -> None:
        self.a, self.b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
        self.old = floats(rng, m, n, dtype=dtype)
        self.dtype, self.what = dtype, f"{(m, n, k)}"
        rows, columns = np.arange(m), np.arange(n)
        if m * n * k > 4_000_000:
            rows = edges.sample(rng, m, edges.ISA.rows, edges.block_rows(dtype), m // 2)
            columns = edges.sample(rng, n, edges.tile_columns(dtype), n // 2, n // 3)
        self.some = np.ix_(rows, columns)
        a, b = self.a[rows], self.b[:, columns]
        self.expected = contract_both(a, b, self.old[self.some])
        self.first: list[Array | None] = [None, None]

    def run(self, left: str, right: str, out: str, meet: tuple[str, ...]) -> set[str]:
        """Written and accumulated, operands and output in the given layouts."""
        a, b = laid_out(self.a, left), laid_out(self.b, right)
        taken: set[str] = set()
        for accumulate in (False, True):
            start = self.old if accumulate else np.full_like(self.old, np.nan)

            def call(start: Array = start, accumulate: bool = accumulate) -> Any:
                placed = place(start, **OUTPUTS[out])
                matmul(a, b, placed.array, accumulate)
                return placed

            def check(placed: Any, how: str, accumulate: bool = accumulate) -> None:
                what = f"{self.what}, {left} · {right} -> {out}, accumulate={accumulate}, {how}"
                c = placed.array
                assert_same_bits(c[self.some], self.expected[accumulate], what)
                if self.first[accumulate] is None:
                    self.first[accumulate] = c.copy()
                assert_same_bits(c, self.first[accumulate], what)
                assert placed.intact(), what

            taken |= on_all(self.dtype, meet, call, check)
        return taken


# Streams ----------------------------------------------------------------------------------------

ODD = "both reversed, strided"


def _long(rows: int, k: int, dtype: str) -> int:
    """Columns of a stream for so many rows that is long enough for two threads and is no multiple
    of anything."""
    least = max(
        2 * paths.STREAM_COLUMNS,
        fork_fmas(dtype) // (rows * k),
        paths.STREAM_FORK_NS * paths.BYTES_PER_NS // (k * edges.itemsize(dtype)),
        (paths.STREAM_FAR_BYTES if rows > paths.STREAM_ROWS else 0) // (k * edges.itemsize(dtype)),
    )
    return least + edges.lanes(dtype) + 3


FEW = (*range(1, paths.STREAM_ROWS + 1), paths.STREAM_FAR_ROWS - 1, paths.STREAM_FAR_ROWS)
ROWS_STREAM = {"rows stream", "stream in tasks", "as it lies", "transposed", "gathered"}
COLUMNS_STREAM = {"columns stream", "stream in tasks", "as it lies", "transposed", "gathered",
                  "C gathered"}  # fmt: skip


@pytest.mark.parametrize("rows", FEW)
@by_dtype
def test_few_rows(dtype: str, rows: int, rng: np.random.Generator) -> None:
    """B by rows, by columns, and odd; from one block of the contract into the next."""
    k = edges.KC[dtype] + edges.lanes(dtype) + 3
    product = Product(rows, _long(rows, k, dtype), k, dtype, rng)
    taken, ways = product.run("C", "C", "C", ("stream_task",)), ROWS_STREAM
    if rows > paths.STREAM_ROWS:
        ways = ways - {"transposed", "gathered"}
    else:
        taken |= product.run("F", "F", "padded rows", ("stream_task",))
        taken |= product.run(ODD, ODD, "C", ("stream_task",))
    assert ways <= taken, f"not taken: {ways - taken}"


@pytest.mark.parametrize("columns", range(1, paths.STREAM_ROWS + 1))
@by_dtype
def test_few_columns(dtype: str, columns: int, rng: np.random.Generator) -> None:
    """The same with A and B, and rows and columns, in each other's place."""
    k = edges.KC[dtype] + edges.lanes(dtype) + 3
    product = Product(_long(columns, k, dtype), columns, k, dtype, rng)
    taken, ways = product.run("F", "C", "C", ("stream_task",)), COLUMNS_STREAM
    if columns > paths.GATHER_ROWS * 4 // edges.itemsize(dtype):
        ways = ways - {"transposed", "gathered", "C gathered"}
    else:
        taken |= product.run("C", "F", "C", ("stream_task",))
        taken |= product.run(ODD, ODD, "padded rows", ("stream_task",))
    assert ways <= taken, f"not taken: {ways - taken}"


# Products of every other kind --------------------------------------------------------------------


class Case(NamedTuple):
    shape: tuple[int, int, int]
    ways: set[str]  # that are taken, among others
    layouts: tuple[tuple[str, str, str], ...] = (("C", "C", "C"), ("F", "C", "C"), ("C", "F", "C"))
    meet: tuple[str, ...] = TASKS


def _cases(dtype: str) -> dict[str, Case]:
    kc, lanes, columns = edges.KC[dtype], edges.lanes(dtype), edges.tile_columns(dtype)
    chains, blocks, rows = edges.ISA.block_chains, edges.block_columns(dtype), edges.ISA.rows
    shared = paths.PARTS_FMAS * 4 // edges.itemsize(dtype)
    ring = 8 * paths.RING_OF_A_THREAD  # blocks of k: of 8 threads
    wide, deep = blocks + columns + lanes + 1, (chains + 1) * kc + 5
    odd = ((ODD, ODD, "F"), ("C", "C", "padded columns"))
    return {
        "direct": Case((7, 70, 90), {"direct", "A in place"}, meet=()),
        "dot": Case((1, 1, (2 * lanes + 3) * kc + 7), {"dot"},
                    (("C", "C", "C"), ("F", "F", "F")), ()),
        "outer product": Case((700, 800, 2), {"parts", "A by k"}),
        "parts": Case((65, 131, kc + 40), {"parts", "several chains in a tile", "B in place",
                                           "B packed"}),
        "parts, odd": Case((65, 131, kc + 40), {"parts", "B packed"}, odd),
        "large parts": Case(
            (10 * rows, 12 * columns + 5, 2 * kc + 3), {"parts", "A by rows", "A by k", "B packed"},
        ),
        "blocks by rows": Case(
            (11 * rows + 300, wide, deep),
            {"blocks", "blocks by rows", "columns in several blocks", "k in several blocks",
             "B packed", "A by rows", "A by k"},
        ),
        "blocks by columns": Case(
            (7 * rows, wide, shared // (7 * rows * wide) + kc),
            {"blocks", "blocks by columns", "columns in several blocks"},
        ),
        "blocks of B": Case((11 * rows + 300, wide, deep), {"blocks", "B packed"}, odd,
                            ("pack_b",)),
        "blocks, A in place": Case(
            (shared // (2 * columns * kc) + 5, 2 * columns - 1, kc + 1), {"blocks", "A in place"},
            (("C", "C", "C"),),
        ),
        "tall": Case(
            (9, 7, (ring + 1) * kc + 3), {"tall", "ring used again"},
            (("C", "C", "C"), ("F", "C", "C"), ("F", "C", "F")),
        ),
        "tall, several tiles": Case(
            (2 * rows + 33, columns + 1, 17 * kc + 1), {"tall"},
            (("F", "C", "C"), (ODD, "C", "padded rows")),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", _cases("float32"))
@by_dtype
def test_products(dtype: str, case: str, rng: np.random.Generator) -> None:
    shape, ways, layouts, meet = _cases(dtype)[case]
    product = Product(*shape, dtype, rng)
    taken: set[str] = set()
    for layout in layouts:
        taken |= product.run(*layout, meet)
    assert ways <= taken, f"not taken: {ways - taken}"


@by_dtype
def test_runs_of_a_stream(dtype: str, rng: np.random.Generator) -> None:
    """Columns around the ends of a run, and of two."""
    for m in (1, 3, 16):
        vectors = paths.RUN_BYTES // (edges.itemsize(dtype) * m * edges.lanes(dtype))
        run = max(paths.RUN_COLUMNS, vectors * edges.lanes(dtype))
        for n in edges.around(run, 2 * run):
            k = max(paths.STREAM_ELEMENTS // n + 1, 3)
            a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
            with num_threads(1), Watch(dtype) as watch:
                c = matmul(a, b)
            assert_same_bits(c, contract_product(a, b), f"{(m, n, k)}")
            assert "rows stream" in watch.ways()
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
    m, n = 128, paths.TALL_BYTES // (128 * edges.itemsize(dtype))
    room = (scratch.ARENA_BYTES - scratch.HEADER) // paths.TALL_BYTES
    k, threads = (room + 2) * edges.KC[dtype] + 3, room // 2
    assert paths.RING_OF_A_THREAD * threads > room
    a, b = floats(rng, k, m, dtype=dtype).T, floats(rng, k, n, dtype=dtype)
    old = floats(rng, m, n, dtype=dtype)
    written, added = contract_both(a, b, old)
    with num_threads(threads), Watch(dtype) as watch:
        assert_same_bits(matmul(a, b), written, "written")
        assert_same_bits(matmul(a, b, old, True), added, "added")
    folds = [call.words["count"] for call in watch.calls if call.kernel == "fold"]
    assert folds == [room, 3, room, 3]


# Layers -----------------------------------------------------------------------------------------


def _forward_shapes(dtype: str) -> dict[str, tuple[tuple[int, int, int], set[str]]]:
    """name -> (n, k, m), ways"""
    kc, columns, rows = edges.KC[dtype], edges.tile_columns(dtype), edges.ISA.rows
    shared = paths.PARTS_FMAS * 4 // edges.itemsize(dtype)
    return {
        "few rows": ((3, kc + 1, _long(3, kc, dtype)), {"rows stream"}),
        "rows from afar": ((paths.STREAM_FAR_ROWS, kc + 1, _long(32, kc, dtype)), {"rows stream"}),
        "few columns": ((_long(2, kc, dtype), kc + 1, 2), set()),
        "parts": ((65, kc + 1, 131), {"parts"}),
        "blocks": (
            (11 * rows + 300, kc + 1, max(shared // (366 * kc), columns) + 7), {"blocks"},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("activation", [None, *edges.ACTIVATIONS])
@pytest.mark.parametrize("shape", _forward_shapes("float32"))
@by_dtype
def test_forward(dtype: str, shape: str, activation: Any, rng: np.random.Generator) -> None:
    (n, k, m), ways = _forward_shapes(dtype)[shape]
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


class Layer(NamedTuple):
    shape: tuple[int, int, int]  # n, k, m
    ways: set[str]
    meet: tuple[str, ...]
    activations: tuple[str | None, ...] = (None, "relu", "silu")


def _layers(dtype: str) -> dict[str, Layer]:
    kc = edges.KC[dtype]
    pair = ("some_products",)
    return {
        "pair": Layer((65, 70, 131), {"dX beside dW", "H in place"}, pair,
                      (None, *edges.ACTIVATIONS)),
        "pair of streams": Layer((5, 300, 400), {"dX beside dW", "rows stream"}, pair),
        "pair, one sample": Layer((1, 700, 900), {"dX beside dW"}, pair, (None, "relu")),
        "pair, one output": Layer((900, 700, 1), {"dX beside dW"}, pair, (None, "relu")),
        "pair, deep batch": Layer((9 * kc + 3, 9, 7), {"dX beside dW"}, pair, (None, "relu")),
        "H by columns": Layer((70, 60, 2 * kc + 17), {"H by columns", "H in tasks"}, ("form_h",)),
        "H by rows": Layer((2 * kc + 3, 20, kc + 17), {"H by rows", "H in tasks"}, ("form_h",)),
        "one after the other": Layer((170, 160, 156), {"parts"}, ("part",), (None, "relu")),
        "tall dW": Layer((17 * kc + 3, 22, 24), {"tall"}, ("block",), (None,)),
    }  # fmt: skip


@pytest.mark.parametrize("layer", _layers("float32"))
@by_dtype
def test_backward(dtype: str, layer: str, rng: np.random.Generator) -> None:
    (n, k, m), ways, meet, activations = _layers(dtype)[layer]
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
    taken = ROWS_STREAM | COLUMNS_STREAM | {"several runs"}
    for dtype in edges.DTYPES:
        for case in (*_cases(dtype).values(), *_layers(dtype).values()):
            taken |= case.ways
    assert taken == WAYS


# Anything ---------------------------------------------------------------------------------------


def test_anything() -> None:
    fuzz.some("threads")


@pytest.mark.slow
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
            for meet in ("part", "some_products"):
                results = compute(True, meet)
                flushed = flushed or results
                for actual, right in zip(results, flushed, strict=True):
                    assert not ((actual != 0) & (np.abs(actual) < tiny)).any(), "a subnormal"
                    assert_same_bits(actual, right, f"flushed, {threads} threads")
                results = compute(False, meet)
                for actual, right in zip(results, kept, strict=True):
                    assert_same_bits(actual, right, f"kept, {threads} threads")
    assert (kept[0] != flushed[0]).mean() > 0.1, "nothing was flushed"
