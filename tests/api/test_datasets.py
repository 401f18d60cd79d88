"""The digits, the held-out split, and the readers with every way a file can be wrong."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fastgrad import _draws
from fastgrad._npz import NpzReader
from fastgrad.datasets import (
    DataError,
    load_csv,
    load_data,
    load_digits,
    load_npz,
    stratified_split,
    validation_split,
)


def test_digits_are_the_uci_test_set() -> None:
    x, y = load_digits()
    assert x.shape == (1797, 64) and x.dtype == np.float32
    assert y.shape == (1797,) and y.dtype == np.int64
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    whole = (x * 16).astype(np.uint8)
    assert np.array_equal(whole / np.float32(16), x) and x.max() == 1
    assert whole[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]  # the first row of the published file
    assert int(whole.sum(dtype=np.int64)) == 561718


def test_digits_are_small_and_carry_their_notice() -> None:
    folder = resources.files("fastgrad.datasets")
    assert len(folder.joinpath("digits.npz").read_bytes()) < 120_000
    notice = folder.joinpath("NOTICE.txt").read_text()
    for part in ("E. Alpaydin, C. Kaynak", "10.24432/C50P49", "CC BY 4.0", "UCI Machine Learning"):
        assert part in notice


def test_draws_are_frozen() -> None:
    """Digests and saved runs rest on these numbers: they may never change."""
    assert _draws.permutation(8, 0, 2, 0).tolist() == [0, 4, 6, 3, 5, 7, 1, 2]
    draws = _draws.uniform(3, _draws.stream(0, 1))
    assert (draws * 2.0**53).astype(np.int64).tolist() == [
        8014054577714562,
        5018253430605371,
        7213938723369405,
    ]


def test_equal_draws_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0).integers(0, 50, 1000).astype(np.uint64)
    monkeypatch.setattr(_draws, "stream", lambda *seed: Fixed(draws))
    assert np.array_equal(_draws.permutation(1000, 0), np.argsort(draws, kind="stable"))


class Fixed:
    def __init__(self, draws: np.ndarray):
        self.draws = draws

    def random_raw(self, n: int) -> np.ndarray:
        return self.draws[:n]


def test_uniform_is_one_stream_in_pieces() -> None:
    whole = _draws.uniform(10, _draws.stream(5))
    stream = _draws.stream(5)
    pieces = np.concatenate([_draws.uniform(3, stream), _draws.uniform(7, stream)])
    assert np.array_equal(whole, pieces)
    assert whole.min() >= 0 and whole.max() < 1


def test_split_is_stratified_disjoint_and_frozen() -> None:
    _, y = load_digits()
    train, held = stratified_split(y, seed=0)
    assert len(train) == 1438 and len(held) == 359
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(1797))
    expected = [(2 * n + 5) // 10 for n in np.bincount(y)]
    assert np.bincount(y[held]).tolist() == expected
    digest = hashlib.sha256(held.astype("<i8").tobytes()).hexdigest()[:16]
    assert digest == "30886ca842ee2cb2"
    assert not np.array_equal(held, stratified_split(y, seed=1)[1])


@pytest.mark.parametrize(
    ("labels", "seed", "parts", "kind", "words"),
    [
        (np.array([0, 1, 2]), 0, 5, ValueError, "too few"),
        (np.array([], np.int64), 0, 5, ValueError, "too few"),
        (np.array([0.0, 1.0]), 0, 5, TypeError, "integers"),
        (np.zeros((2, 2), np.int64), 0, 5, TypeError, "integers"),
        (np.zeros(9, np.int64), -1, 5, ValueError, "seed is -1"),
        (np.zeros(9, np.int64), 0.5, 5, TypeError, "seed is 0.5"),
        (np.zeros(9, np.int64), 0, 1, ValueError, "parts is 1"),
        (["a", "b"], 0, 5, TypeError, "labels is list, which numpy reads as"),
        (None, 0, 5, TypeError, "labels is None"),
    ],
)
def test_split_errors(labels, seed, parts, kind, words) -> None:
    with pytest.raises(kind, match=words):
        stratified_split(labels, seed, parts)


def test_validation_split() -> None:
    _, y = load_digits()
    train, apart = validation_split(y, Fraction("0.1"), 3)
    assert np.array_equal(np.sort(np.concatenate([train, apart])), np.arange(1797))
    assert np.bincount(y[apart]).tolist() == [(n + 5) // 10 for n in np.bincount(y)]
    assert not np.array_equal(apart, validation_split(y, 0.1, 4)[1])
    # draws of its own, or the rows apart would be those that stratified_split takes first
    assert not np.array_equal(validation_split(y, 0.2, 0)[1], stratified_split(y, 0)[1])
    five = np.zeros(5, np.int64)
    assert len(validation_split(five, Fraction(3, 10))[1]) == 2  # 1.5 rows
    assert len(validation_split(five, 0.3)[1]) == 1  # a little less


def test_labels_may_be_lists_and_bools() -> None:
    y = np.arange(30) % 2
    for same in (y.tolist(), y > 0, y.astype(np.uint8)):
        for mine, theirs in zip(stratified_split(y), stratified_split(same), strict=True):
            assert np.array_equal(mine, theirs)
        assert np.array_equal(validation_split(y, 0.2)[1], validation_split(same, 0.2)[1])


@pytest.mark.parametrize(
    ("labels", "fraction", "kind", "words"),
    [
        (np.zeros(9, np.int64), 0, ValueError, "fraction is 0; pass a number between 0 and 1"),
        (np.zeros(9, np.int64), 1.0, ValueError, "fraction is 1.0"),
        (np.zeros(9, np.int64), float("nan"), ValueError, "fraction is nan"),
        (np.zeros(9, np.int64), 0.01, ValueError, "too few to hold out 0.01 of each class"),
        (np.arange(9), 0.9, ValueError, "validation_split: 9 rows in 9 classes are too few"),
        (np.zeros(9), 0.5, TypeError, "validation_split: labels has dtype float64"),
    ],
)
def test_validation_split_errors(labels, fraction, kind, words) -> None:
    with pytest.raises(kind, match=words):
        validation_split(labels, fraction)


# --- readers: what is right


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv(tmp_path: Path) -> None:
    file = write(tmp_path / "d.csv", "a,b,c\n1,2.5,0\n\n-3,4e2,1\n")
    x, y = load_data(file)
    assert x.dtype == np.float32 and x.flags.c_contiguous
    assert x.tolist() == [[1, 2.5], [-3, 400]] and y.tolist() == [0, 1] and y.dtype == np.int64


@pytest.mark.parametrize("title", ["label", "y", "Target"])
def test_csv_finds_the_label_column(tmp_path: Path, title: str) -> None:
    x, y = load_csv(write(tmp_path / "d.csv", f"\ufeffa,{title},c\n1,2,3\n4,0,6\n"))
    assert x.tolist() == [[1, 3], [4, 6]] and y.tolist() == [2, 0]


def test_csv_with_a_named_label_and_quotes(tmp_path: Path) -> None:
    file = write(tmp_path / "d.csv", '"y","what, else","z"\r\n1.5,"2",3\r\n')
    x, y = load_csv(file, np.float64, label="what, else")
    assert x.dtype == np.float64 and x.tolist() == [[1.5, 3]] and y.tolist() == [2]


def test_npz(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez_compressed(tmp_path / "d.npz", x=x, y=np.array([[1.0], [0.0]]), other=np.zeros(3))
    rows, y = load_data(str(tmp_path / "d.npz"))
    assert rows.dtype == np.float32 and np.array_equal(rows, x.reshape(2, 12))
    assert y.tolist() == [1, 0] and y.dtype == np.int64


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">i2", "?", "<f2", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_reads_what_numpy_writes(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray(np.arange(12).reshape(3, 4) % 5, dtype, order=order)
    np.savez(tmp_path / "d.npz", x=array, scalar=np.float32(7), empty=np.zeros((0, 3)))
    with NpzReader(tmp_path / "d.npz") as file:
        found = file.read("x")
        assert np.array_equal(found, array) and found.dtype == array.dtype.newbyteorder("=")
        assert found.flags.c_contiguous and found.flags.writeable
        assert file.read("scalar").shape == () and file.read("empty").shape == (0, 3)


# --- readers: what is wrong

LABELS = "labels are whole numbers from 0 to 65535, one a class"
CSV_ERRORS = {  # of reading; more of them: test_tables_files.py
    "empty file": ("", "empty; there is no table in it"),
    "header only": ("a,b,label\n", "no rows below the header"),
    "short row": ("a,b,c\n1,2,0\n1,0\n", "line 3 has 2 columns but the first row has 3"),
    "long row": ("a,b,c\n1,2,0,4\n", "line 2 has 4 columns but the first row has 3"),
    "text": ("a,b,c\n1,2,0\n1,x,0\n", "line 3, column 'b': 'x' is not a number"),
    "hole": ("a,b,c\n1,,0\n2,3,0\n", "line 2, column 'b': nan is not a finite number"),
    "label in words": ("a,b,c\n1,2,cat\n", "line 2, column 'c': 'cat' is not a number"),
    "NaN": ("a,b,c\n1,2,0\n\n1,nan,1\n", "line 4, column 'b': nan is not a finite number"),
    "Inf": ("a,b,c\n-inf,2,0\n", "line 2, column 'a': -inf is not a finite number"),
    "overflow": ("a,b,c\n1e39,2,0\n", "line 2, column 'a': 1e+39 is too large for float32"),
    "column after the label": (
        "label,b\n0,inf\n",
        "line 2, column 'b': inf is not a finite number",
    ),
    "fraction": ("a,b,c\n1,2,0.5\n", f"line 2, column 'c': label 0.5; {LABELS}"),
    "negative": ("a,b,c\n1,2,0\n1,2,-1\n", f"line 3, column 'c': label -1; {LABELS}"),
    "NaN label": ("a,b,c\n1,2,nan\n1,2,1\n", f"line 2, column 'c': label nan; {LABELS}"),
    "huge label": ("a,b,c\n1,2,65536\n", f"line 2, column 'c': label 65536; {LABELS}"),
    "two labels": (
        "target,a,label\n1,2,3\n",
        "to learn is 'target' (column 1) or 'label' (column 3); say which with --target COLUMN",
    ),
}


@pytest.mark.parametrize("case", CSV_ERRORS)
def test_csv_errors(tmp_path: Path, case: str) -> None:
    text, message = CSV_ERRORS[case]
    file = write(tmp_path / "d.csv", text)
    with pytest.raises(DataError) as caught:
        load_csv(file)
    assert str(caught.value) == f"{file}: {message}"


def test_csv_without_the_named_column(tmp_path: Path) -> None:
    file = write(tmp_path / "d.csv", "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no column named 'kind' \(columns: 'a', 'b'\)"):
        load_csv(file, label="kind")


def test_csv_with_an_endless_line(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"1," * (1 << 24))
    with pytest.raises(DataError, match="line 1 is longer"):
        load_csv(tmp_path / "d.csv")


def test_csv_without_a_header(tmp_path: Path) -> None:
    x, y = load_csv(write(tmp_path / "d.csv", "1;2,5;0\n3;4;1\n"))
    assert x.tolist() == [[1, 2.5], [3, 4]] and y.tolist() == [0, 1]


def good() -> dict[str, np.ndarray]:
    return {"x": np.ones((4, 3)), "y": np.array([0, 1, 0, 1])}


def put(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    return good() | {name: value}


def changed(index: tuple[int, ...] | int, name: str, value: float) -> dict[str, np.ndarray]:
    arrays = good()
    arrays[name] = arrays[name].astype(float)
    arrays[name][index] = value
    return arrays


NPZ_ERRORS = {
    "no x": ({"y": np.zeros(3)}, "no array named 'x' (it holds y)"),
    "no y": ({"x": np.zeros((3, 2))}, "no array named 'y' (it holds x)"),
    "1-D x": (put("x", np.ones(4)), "x has shape (4,); it must be (rows, columns)"),
    "2-D y": (
        put("y", np.ones((4, 2))),
        "y has shape (4, 2); it must be (rows,), a class number a row",
    ),
    "rows": (put("y", np.zeros(5)), "x has 4 rows but y has 5"),
    "no rows": (
        {"x": np.ones((0, 3)), "y": np.ones(0)},
        "x has shape (0, 3); there is nothing to train on",
    ),
    "no columns": (put("x", np.ones((4, 0))), "x has shape (4, 0); there is nothing to train on"),
    "NaN": (changed((2, 1), "x", np.nan), "x row 2, column 1: nan is not a finite number"),
    "Inf": (changed((3, 0), "x", np.inf), "x row 3, column 0: inf is not a finite number"),
    "fraction": (
        changed(1, "y", 0.5),
        "y[1]: label 0.5; labels are whole numbers from 0 to 65535, one a class",
    ),
    "negative": (
        put("y", np.array([0, 1, -2, 0])),
        "y[2]: label -2; labels are whole numbers from 0 to 65535, one a class",
    ),
    "words": (
        put("y", np.array(["a", "b", "c", "d"])),
        "y holds '<U1'; save class numbers, or train on it",
    ),
    "complex": (
        put("x", np.ones((4, 3), complex)),
        "array 'x': holds '<c16', not plain numbers; save it as integers or floats",
    ),
}


@pytest.mark.parametrize("case", NPZ_ERRORS)
def test_npz_errors(tmp_path: Path, case: str) -> None:
    arrays, message = NPZ_ERRORS[case]
    file = tmp_path / "d.npz"
    np.savez(file, **arrays)
    with pytest.raises(DataError) as caught:
        load_npz(file)
    assert str(caught.value) == f"{file}: {message}"


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "d.doc").write_text("a")
    (tmp_path / "d.npz").write_bytes(b"")
    for name, words in (
        ("absent.npz", "No such file"),
        ("folder.csv", "not a regular file"),
        ("pipe.csv", "not a regular file"),
        ("d.doc", "neither .npz nor a table"),
        ("d.npz", "not a whole .npz file"),
        ("nul\0.csv", "null"),
    ):
        with pytest.raises(DataError, match=words):
            load_data(tmp_path / name)
    np.savez(tmp_path / "e.npz", **good())
    with pytest.raises(DataError, match=r"label column belongs to a table"):
        load_data(tmp_path / "e.npz", label="a")
