"""Wrong calls: the type, the one line that says what came and what to do, and nothing written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad import linear_backward, linear_forward, matmul, matmul_nt, matmul_tn
from support import wrong_calls
from support.small import read_only
from support.wrong_calls import Written

TABLE = wrong_calls.cases()
F4, F8 = np.float32, np.float64


def ones(*shape: int, dtype: Any = F4) -> Any:
    return np.ones(shape, dtype)


# The right arguments of each function; a case replaces some of them.
RIGHT: dict[Callable[..., Any], dict[str, Any]] = {
    matmul: {"a": ones(3, 4), "b": ones(4, 5)},
    matmul_nt: {"a": ones(3, 4), "b": ones(5, 4)},
    matmul_tn: {"a": ones(4, 3), "b": ones(4, 5)},
    linear_forward: {"x": ones(3, 4), "weight": ones(4, 5), "bias": ones(5)},
    linear_backward: {"grad_output": ones(3, 5), "x": ones(3, 4), "weight": ones(4, 5)},
}


@pytest.mark.parametrize(("call", "expected"), TABLE, ids=[call[:80] for call, _ in TABLE])
def test_wrong_calls(call: str, expected: str, tmp_path: Path) -> None:
    """Every call of the table raises what it says, and changes nothing."""
    used = Written(tmp_path)
    assert wrong_calls.said(call, used) == expected
    assert used.is_nothing()


# Wrong in one place, with outputs given: they are checked, and left as they are.
OUTS: list[tuple[Callable[..., Any], dict[str, Any], dict[str, tuple[int, ...]]]] = [
    (matmul, {"b": ones(5, 5)}, {"out": (3, 5)}),
    (matmul, {"b": [1]}, {"out": (3, 5)}),
    (matmul, {"a": ones(3, 4, dtype=F8)}, {"out": (3, 5)}),
    (matmul_nt, {"accumulate": "no"}, {"out": (3, 5)}),
    (matmul_tn, {"a": ones(4, 3, dtype=complex)}, {"out": (3, 5)}),
    (matmul, {"a": ones(2, 3, 4)}, {"out": (3, 5)}),
    (linear_forward, {"bias": ones(6)}, {"out": (3, 5), "preactivation_out": (3, 5)}),
    (linear_forward, {"activation": "sine"}, {"out": (3, 5), "preactivation_out": (3, 5)}),
    (linear_forward, {"preactivation_out": ones(3, 4)}, {"out": (3, 5)}),
    (linear_forward, {"preactivation_out": read_only(ones(3, 5))}, {"out": (3, 5)}),
]


@pytest.mark.parametrize(("function", "wrong", "outs"), OUTS)
def test_nothing_is_written(
    function: Callable[..., Any], wrong: dict[str, Any], outs: dict[str, tuple[int, ...]]
) -> None:
    given = {name: np.full(shape, np.nan, F4) for name, shape in outs.items()}
    with pytest.raises((TypeError, ValueError)):
        function(**{**RIGHT[function], **given, **wrong})
    assert all(np.isnan(v).all() for v in given.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"grad_output": ones(3, 6)},
        {"activation": "gelu"},
        {"activation": "relu", "output": ones(3, 6)},
        {"accumulate": (1, 2, 3)},
        {"needs": (True, True, None)},
        {"x": ones(3, 4, dtype=F8)},
    ],
)
def test_nothing_is_written_backward(wrong: dict[str, Any]) -> None:
    given = tuple(np.full(shape, np.nan, F4) for shape in ((3, 4), (4, 5), (5,)))
    with pytest.raises((TypeError, ValueError)):
        linear_backward(**{**RIGHT[linear_backward], "out": given, **wrong})
    assert all(np.isnan(v).all() for v in given)


def test_an_output_that_is_wrong_leaves_the_others_alone() -> None:
    shapes = ((3, 4), (4, 5), (5,))
    for i in range(3):
        given = [np.full(shape, np.nan, F4) for shape in shapes]
        given[i] = given[i][..., :-1]
        with pytest.raises(ValueError, match="but the result has shape"):
            linear_backward(**RIGHT[linear_backward], out=tuple(given))
        assert all(np.isnan(v).all() for v in given)


def test_outputs_that_overlap_each_other() -> None:
    memory = np.full(100, np.nan, F4)
    y, z = memory[:15].reshape(3, 5), memory[14:29].reshape(3, 5)
    with pytest.raises(ValueError) as caught:
        linear_forward(ones(3, 4), ones(4, 5), out=y, preactivation_out=z)
    assert str(caught.value) == (
        "linear_forward: out (3, 5) and preactivation_out (3, 5) share memory; "
        "pass arrays that do not overlap"
    )
    dx, db = memory[:12].reshape(3, 4), memory[11:16]
    with pytest.raises(ValueError) as caught:
        linear_backward(**RIGHT[linear_backward], out=(dx, None, db))
    assert str(caught.value) == (
        "linear_backward: out[0] (x) (3, 4) and out[2] (bias) (5,) share memory; "
        "pass arrays that do not overlap"
    )
    assert np.isnan(memory).all()


def test_outputs_that_interleave_do_not_overlap() -> None:
    memory = np.full((3, 10), np.nan, F4)
    linear_forward(ones(3, 4), ones(4, 5), out=memory[:, ::2], preactivation_out=memory[:, 1::2])
    assert (memory == 4).all()
    apart = np.lib.stride_tricks.as_strided(np.full(100, np.nan, F4), (3, 2), (8, 12))
    assert (matmul(ones(3, 4), ones(4, 2), out=apart) == 4).all()


def test_messages() -> None:
    """One line: what was called, then the rest; of files, the file."""
    assert len(TABLE) >= 373
    ours = re.compile(r"(TypeError|ValueError): [A-Za-z_]+(\.[a-z_]+)?( \(validation\))?: \S.*")
    files = re.compile(
        r"DataError: ('?FOLDER/.*|data.doc): .*|(FileNotFound|IsADirectory)Error: .*"
    )
    order = re.compile(r"RuntimeError: MLP\.(backward|update): \S.*")  # of calls, not of arguments
    for call, expected in TABLE:
        assert ours.fullmatch(expected) or order.fullmatch(expected) or files.fullmatch(expected), (
            call
        )
        assert expected.isprintable() and len(expected) < 290, call
        function = re.findall(r"[A-Za-z_]+", expected)[1]
        assert function in call or function in ("MLP", "load_npz") or files.fullmatch(expected)


def test_the_table_has_every_public_function() -> None:
    called = Counter(re.findall(r"[A-Za-z_]+(?=\()", " ".join(call for call, _ in TABLE)))
    for function in (*wrong_calls.PUBLIC, *wrong_calls.READERS):
        if function not in WITHOUT_ARGUMENTS:
            assert called[function] >= 2, function


WITHOUT_ARGUMENTS = frozenset(
    "BITS_VERSION KC LinearGrads __version__ get_num_threads reference show_config testing warmup "
    "load_digits DataError".split()
)


def test_a_broken_call_is_seen() -> None:
    """The table notices what a call does, or that it raises nothing."""
    used = Written(Path())
    text = "clip_grad_norm(ones(3), 1.0)"
    assert wrong_calls.said(text, used).startswith("nothing; it returns 1.73")
    assert not used.is_nothing()
    used = Written(Path())
    assert wrong_calls.said("model().train_step(ones(1, 4), labels(0))", used)[:7] == "nothing"
    assert not used.is_nothing()


@pytest.mark.parametrize("module", ["torch", "pandas", "jax.numpy"])
def test_arrays_of_other_libraries(module: str) -> None:
    library = pytest.importorskip(module)
    kind = {"torch": "tensor", "pandas": "DataFrame", "jax.numpy": "asarray"}[module]
    a = getattr(library, kind)([[1.0, 2.0]])
    assert matmul(a, ones(2, 2)).tolist() == [[3.0, 3.0]]
    with pytest.raises(TypeError, match=r"^matmul: out is a .*, expected a numpy.ndarray to write"):
        matmul(ones(1, 2), ones(2, 2), a)


class Readable:
    """What numpy makes an array of, and nothing else is known of."""

    def __init__(self, a: Any) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.a


READ: dict[str, Callable[[Any], Any]] = {
    "lists": lambda a: a.tolist(),
    "tuples": lambda a: tuple(map(tuple, a.tolist())) if a.ndim == 2 else tuple(a.tolist()),
    "rows": list,
    "memory": memoryview,
    "another library's": Readable,
    "numbers of numpy's": lambda a: [[*row] for row in a] if a.ndim == 2 else [*a],
}
# The arguments of each function, all integers, and those of them that are inputs
INPUTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "matmul": (("a", "b"), {"a": ones(3, 4), "b": ones(4, 5)}),
    "linear_forward": (("x", "weight", "bias"), RIGHT[linear_forward]),
    "linear_backward": (
        ("grad_output", "x", "weight", "output"),
        {**RIGHT[linear_backward], "activation": "relu", "output": ones(3, 5)},
    ),
    "softmax_cross_entropy": (
        ("logits", "labels"), {"logits": ones(3, 4), "labels": np.array([0, 3, 1])},
    ),
    "binary_cross_entropy_with_logits": (
        ("logits", "targets"), {"logits": ones(3, 4), "targets": ones(3, 4)},
    ),
    "mse": (("prediction", "target"), {"prediction": ones(3, 4), "target": 2 * ones(3, 4)}),
}  # fmt: skip


@pytest.mark.parametrize("how", READ)
@pytest.mark.parametrize("function", INPUTS)
def test_whatever_numpy_reads_is_an_input(function: str, how: str) -> None:
    """With the result of what numpy makes of it, its dtype included."""
    names, arguments = INPUTS[function]
    call: Any = getattr(fastgrad, function)
    for name in names:
        given = {**arguments, name: READ[how](arguments[name])}
        right = call(**{**arguments, name: np.asarray(READ[how](arguments[name]))})
        found = call(**given)
        pairs = (
            [(found, right)] if isinstance(right, np.ndarray) else zip(found, right, strict=True)
        )
        for one, other in pairs:
            assert np.asarray(one).dtype == np.asarray(other).dtype
            assert np.array_equal(one, other), (function, name)


def test_a_list_as_the_gradient_of_a_step() -> None:
    p = ones(2, dtype=F8)
    fastgrad.sgd_step(p, [0.5, 1.0], 1.0)
    assert p.tolist() == [0.5, 0.0]
    with pytest.raises(TypeError, match=r"^sgd_step: grad has dtype float64 but param has float32"):
        fastgrad.sgd_step(ones(2), [0.5, 1.0], 1.0)


def test_every_right_call_is_right() -> None:
    for function, arguments in RIGHT.items():
        function(**arguments)
