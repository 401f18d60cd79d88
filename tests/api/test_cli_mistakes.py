"""The command line: one line and exit code 2 for what a user can mend, and how it ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastgrad import MLP
from fastgrad.cli import main

Capture = pytest.CaptureFixture[str]


def bad_csv(text: str) -> Callable[[Path], list[str]]:
    def arguments(folder: Path) -> list[str]:
        (folder / "d.csv").write_text(text)
        return ["--data", "d.csv"]

    return arguments


def words(text: str) -> Callable[[Path], list[str]]:
    return lambda folder: text.split()


BLOBS = "--data blobs.npz "
ERRORS: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no file": (words("--data absent.npz"), "--data 'absent.npz': No such file or directory"),
    "a folder": (words("--data ."), "--data .: neither .npz nor a table"),
    "not npz": (words("--data text.npz"), "--data text.npz: not a whole .npz file"),
    "no column": (bad_csv("a,b\n1\n"), "--data d.csv: line 2 has 1 column but the first row has 2"),
    "NaN": (
        bad_csv("a,y\n1,1\n2,1\n3,2\n4,2\n-inf,2\n"),
        "--data d.csv: line 6, column 'a': -inf is not a finite number",
    ),
    "one label": (bad_csv("a,y\n1,-1\n"), "--data d.csv: column 'y': is '-1' in every row"),
    "two rows": (
        bad_csv("a,y\n1,1\n2,0\n"),
        "2 rows in 2 classes are too few to hold out one in 5",
    ),
    "label column": (words("--data d.csv --label kind"), "--data 'd.csv': No such file"),
    "label of npz": (
        words(BLOBS + "--label kind"),
        "--target names a column of a table such as a .csv file; blobs.npz",
    ),
    "label of digits": (
        words("--label kind"),
        "--target names a column of a table such as a .csv file; give",
    ),
    "layers of text": (words("--layers 64,x"), "argument --layers: '64,x': give sizes of hidden"),
    "zero layer": (words("--layers 64,0,10"), "argument --layers: '64,0,10': give sizes of"),
    "loss": (words("--loss mae"), "--loss mae: unknown; choose from softmax_cross_entropy, "),
    "loss of classes": (
        words("--loss mse"),
        "--loss mse: for a classification of 10 classes choose",
    ),
    "task": (words("--task rank"), "--task rank: unknown; choose from classification, regression"),
    "decay": (words("--weight-decay -1"), "argument --weight-decay: '-1': give a number of 0 or"),
    "norm": (words("--max-grad-norm 0"), "argument --max-grad-norm: '0': give a number above 0"),
    "threads": (words("--threads 0"), "argument --threads: '0': give a whole number of 1 or more"),
    "header of npz": (words(BLOBS + "--no-header"), "--no-header is for a table such as a .csv"),
    "too large": (words("--layers 64,900000000,10"), "--layers 64,900000000,10: 67500000"),
    "dtype": (words("--dtype float16"), "--dtype float16: unknown; choose from float32, float64"),
    "activation": (
        words("--activation rleu"),
        "--activation rleu: unknown; choose from none, relu",
    ),
    "optimizer": (
        words("--optimizer lion"),
        "--optimizer lion: unknown; choose from adam, adamw, sgd",
    ),
    "batch size": (words("--batch-size 0"), "argument --batch-size: '0': give a whole number of 1"),
    "negative batch": (
        words("--batch-size -3"),
        "argument --batch-size: '-3': give a whole number",
    ),
    "epochs": (words("--epochs 1.5"), "argument --epochs: '1.5': give a whole number of 1 or more"),
    "seed": (words("--seed -1"), "argument --seed: '-1': give a whole number of 0 or more"),
    "lr": (words("--lr nan"), "argument --lr: 'nan': give a number above 0"),
    "save nowhere": (
        words("--save absent/m.npz"),
        "--save absent/m.npz: cannot be written: No such",
    ),
    "save on a folder": (words("--save ."), "--save .: cannot be written: is a folder"),
    "unknown option": (words("--gpu"), "unrecognized arguments: --gpu"),
    "no value": (words("--data"), "argument --data: expected one argument"),
    "divergence": (words(BLOBS + "--optimizer sgd --lr 1e30"), "training has diverged; lower --lr"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_user_errors(
    case: str, npz: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    arguments, message = ERRORS[case]
    assert main(["train", *arguments(tmp_path)]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("training: epoch")]
    assert len(lines) == 1 and lines[0].startswith("fastgrad"), err
    assert message in lines[0] and "Traceback" not in err
    if case != "divergence":
        assert "training" not in err and out == ""  # found before any training


def test_unwritable_save_is_found_before_the_data_is_read(tmp_path: Path, capsys: Capture) -> None:
    assert main(["train", "--data", "absent.npz", "--save", "/proc/nothing/m.npz"]) == 2
    assert "--save /proc/nothing/m.npz: cannot be written" in capsys.readouterr().err


def test_a_save_that_fails_in_the_end(npz: str, capsys: Capture, monkeypatch) -> None:
    def full(self: MLP, path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MLP, "save", full)
    assert main(["train", "--data", npz, "--epochs", "1", "--save", npz + "2"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1] == f"fastgrad train: --save {npz}2: No space left on device"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "fastgrad train: interrupted after 0 of 60 epochs; nothing was"),
        (MemoryError("Unable to allocate"), 2, "fastgrad train: not enough memory (Unable to"),
    ],
)
def test_interrupt_and_memory(error, code, line, capsys: Capture, monkeypatch) -> None:
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(MLP, "_fit", fail)
    assert main([]) == code
    err = capsys.readouterr().err
    assert err.startswith(line) and err.count("\n") == 1


def run(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "fastgrad", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def sigint() -> Iterator[None]:
    """Children take Ctrl-C, also of a shell's background job, which is started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_process(tmp_path: Path, sigint: None) -> None:
    with run("--epochs", "1000000", "--save", str(tmp_path / "m.npz")) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    lines = [line for line in err.splitlines() if not line.startswith("training: epoch")]
    assert len(lines) == 1 and lines[0].endswith("of 1000000 epochs; nothing was saved")
    assert lines[0].startswith("fastgrad train: interrupted after ")
    assert os.listdir(tmp_path) == []


def test_a_reader_that_leaves() -> None:
    with run("check") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait(20) == 1
