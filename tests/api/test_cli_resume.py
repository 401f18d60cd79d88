"""train --resume with other options or data than the file's: an error, and what is not one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP
from fastgrad._mlp.history import _SAMPLE, Fit
from fastgrad.cli import _report, main

Capture = pytest.CaptureFixture[str]
STOPPING = "--validation v.npz --patience 5"


def data(seed: int, rows: int = 60) -> dict[str, np.ndarray]:
    y = np.arange(rows) % 3
    return {"x": np.random.default_rng(seed).standard_normal((rows, 4)), "y": y}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_report, "SAMPLE", 0.001)  # its second a run is not what is tested
    for name, seed in (("d.npz", 1), ("v.npz", 2), ("w.npz", 3)):
        np.savez(name, **data(seed))
    return tmp_path


def command(options: str, code: int = 0) -> None:
    standard = "train --data d.npz --layers 4,8,3 --batch-size 8 --save m.npz --resume"
    assert main([*standard.split(), *options.split()]) == code


def change_meta(**changes: object) -> None:
    with np.load("m.npz") as file:
        arrays = dict(file)
    meta = json.loads(arrays["meta"].tobytes()) | changes
    text = json.dumps({name: value for name, value in meta.items() if value != "GONE"})
    np.savez("m.npz", **(arrays | {"meta": np.frombuffer(text.encode(), np.uint8)}))


REFUSED = {  # options of the first run, those of the second, what is said
    "batch size": (
        "--epochs 2",
        "--epochs 3 --batch-size 16",
        "with batch_size 8, but this run has 16",
    ),
    "schedule": (
        "--epochs 2",
        "--epochs 4 --schedule cosine",
        "with the learning rate 0.003 in epoch 2, but this run has 0.0025",
    ),
    "epochs of a schedule": (
        "--epochs 2 --schedule cosine",
        "--epochs 4 --schedule cosine",
        "with the learning rate 0.0015 in epoch 2, but this run has 0.0025",
    ),
    "rows to validate with": (
        f"--epochs 2 {STOPPING}",
        "--epochs 3 --validation w.npz --patience 5",
        "with other rows to validate with, but this run has 60 of its own",
    ),
    "patience": (
        "--epochs 2",
        f"--epochs 3 {STOPPING}",
        "without patience, but this run has patience 5",
    ),
    "no patience": (
        f"--epochs 2 {STOPPING}",
        "--epochs 3 --validation v.npz",
        "with patience, but this run has none",
    ),
    "rows kept apart": (
        "--epochs 2",
        "--epochs 3 --validation 0.25",
        "on other data, 48 rows, but this run has 36 rows",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_run(case: str, capsys: Capture) -> None:
    first, second, words = REFUSED[case]
    command(first)
    before = Path("m.npz").read_bytes()
    capsys.readouterr()
    command(second, 2)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"fastgrad train: --resume: m.npz was trained {words}")
    assert err.endswith("; give the same options again, or save to another file\n"), err
    assert Path("m.npz").read_bytes() == before


@pytest.mark.parametrize("name", ["x", "y"])
def test_another_file_of_the_same_shape(name: str, capsys: Capture) -> None:
    command("--epochs 2")
    np.savez("d.npz", **(data(1) | {name: np.roll(data(1)[name], 1, axis=0)}))
    command("--epochs 3", 2)
    err = capsys.readouterr().err.splitlines()[-1]
    assert "m.npz was trained on other data, 48 rows, but this run has 48 rows; give" in err
    np.savez("d.npz", **data(1))
    command("--epochs 3")
    assert MLP.load("m.npz").epochs == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("--epochs 2", "--epochs 3 --validation v.npz"),  # shown, and nothing else
        (f"--epochs 2 {STOPPING}", "--epochs 3 --validation v.npz --patience 9"),
        ("--epochs 2 --batch-size 100", "--epochs 3 --batch-size 200"),  # 48 rows, all of them
    ],
)
def test_what_changes_no_bit_is_allowed(first: str, second: str) -> None:
    command(first)
    command(second)
    assert MLP.load("m.npz").epochs == 3


@pytest.mark.parametrize("gone", [{"last_fit": "GONE"}, {"last_fit": None}])
def test_a_file_from_before_it_was_noted(gone: dict) -> None:
    command("--epochs 2")
    change_meta(**gone)
    assert MLP.load("m.npz")._run.last_fit is None
    command("--epochs 3 --batch-size 16")
    assert MLP.load("m.npz").epochs == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": "8"}, "batch_size is '8'"),
        ({"rows": -1}, "rows is -1"),
        ({"shuffle": 1}, "shuffle is 1"),
    ],
)
def test_notes_that_are_damaged(change: dict, words: str) -> None:
    command("--epochs 1")
    fit = {"batch_size": 8, "rows": 48, "shuffle": True, "data": "00"}
    change_meta(last_fit=fit)
    assert MLP.load("m.npz")._run.last_fit == Fit(**fit)
    for damaged in (fit | change, {**fit, next(iter(change)): None}, {}, [], "x"):
        change_meta(last_fit=damaged)
        with pytest.raises(ValueError, match=r"MLP.load: m.npz: its settings are damaged"):
            MLP.load("m.npz")
    change_meta(last_fit=fit | change)
    with pytest.raises(ValueError, match=words):
        MLP.load("m.npz")


def test_fit_notes_its_last_call(tmp_path: Path) -> None:
    """In a model, its copies and its file; a call of no epochs is none."""
    x, y = data(1)["x"].astype(np.float32), data(1)["y"]
    model = MLP((4, 8, 3))
    assert model._run.last_fit is None
    model.fit(x, y, 1, 8, progress=False)
    first = model._run.last_fit
    assert first is not None and (first.batch_size, first.rows, first.shuffle) == (8, 60, True)
    model.fit(x, y, 0, 4, progress=False)
    assert model._run.last_fit == first
    model.fit(x[:40], y[:40], 1, 50, progress=False, shuffle=False)
    last = model._run.last_fit
    assert last == Fit(40, False, 40, last.data) and last.data != first.data
    model.save(tmp_path / "n.npz")
    assert MLP.load(tmp_path / "n.npz")._run.last_fit == last


def test_much_data_is_known_by_some_rows() -> None:
    """First, last and evenly spaced ones; a mebibyte in all."""
    x = np.zeros((5000, 1000), np.float32)
    y = np.zeros(5000, np.int64)
    plain = Fit.of(x, y, 32, True)
    rows = np.linspace(0, 4999, _SAMPLE // 4000).astype(int)
    for row in (0, 4999, rows[100]):
        x[row, 999] = 1
        assert Fit.of(x, y, 32, True) != plain
        x[row, 999] = 0
    y[1] = 1  # all labels are taken
    assert Fit.of(x, y, 32, True) != plain
