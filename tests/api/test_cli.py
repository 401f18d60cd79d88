"""The command line: what training prints, the same again on other threads, and small commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, get_num_threads, num_threads
from fastgrad._mlp.checkpoint import digest
from fastgrad.cli import COMMANDS, _other_threads, main, warmup

Capture = pytest.CaptureFixture[str]


def last_five(out: str) -> dict[str, str]:
    lines = out.splitlines()[-5:]
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}


# --- training


def test_digits(capsys: Capture) -> None:
    """The main job with a quarter of its epochs."""
    assert main(["--epochs", "15"]) == 0  # no subcommand: train
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("digits: 1438 rows to train on, 359 held out")
    assert lines[1].startswith("compiling for ") and lines[2].startswith("ready: compiling, ")
    assert "training: epoch 15 of 15, loss " in err
    found = last_five(out)
    assert list(found) == ["accuracy", "step", "weights", "threads", "next"]
    accuracy = re.fullmatch(
        r"(\S+) % of the held-out fifth: (\d+) of 359 \(trained on 1438, tested on 359, seed 0\)",
        found["accuracy"],
    )
    assert accuracy and float(accuracy[1]) >= 95.5
    assert float(accuracy[1]) == round(100 * int(accuracy[2]) / 359, 2)
    step = (
        r"\d+ us beside \d+ us in plain numpy \S+ \(64,128,10, batch 32, float32, Adam; medians of "
    )
    assert re.match(step, found["step"])
    assert re.match(r"[0-9a-f]{16} \(BITS_VERSION \d+: ", found["weights"])
    assert re.fullmatch(
        rf"the same with 1 thread and with \d+: {found['weights'][:16]}, and the logits of 1024 "
        r"rows to the bit \(.+\)",
        found["threads"],
    )


def test_the_digest_is_that_of_the_saved_model(npz: str, tmp_path: Path, capsys: Capture) -> None:
    arguments = ["train", "--data", npz, "--epochs", "3", "--seed", "7", "--batch-size", "9"]
    path = str(tmp_path / "m.npz")
    assert main([*arguments, "--save", path, "--optimizer", "sgd", "--lr", "0.05"]) == 0
    first = last_five(capsys.readouterr().out)
    model = MLP.load(path)
    assert first["weights"].startswith(digest(model))
    assert model.sizes == (4, 128, 3) and model.optimizer == SGD(0.05, 0.9) and model.seed == 7
    assert model.epochs == 3 and model.steps == 3 * 6  # the race against numpy left no trace
    assert main([*arguments, "--optimizer", "sgd", "--lr", "0.05"]) == 0
    second = last_five(capsys.readouterr().out)
    assert second["weights"] == first["weights"] and second["accuracy"] == first["accuracy"]
    assert main([*arguments[:-4], "--optimizer", "sgd", "--lr", "0.05"]) == 0
    assert last_five(capsys.readouterr().out)["weights"] != first["weights"]


def test_csv_with_options_and_the_next_command(
    csv: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = "--layers 4,6,5,3 --activation gelu --dtype float64 --epochs 100 --label kind"
    assert main(["train", "--data", csv, *options.split()]) == 0
    found = last_five(capsys.readouterr().out)
    assert "tested on 12" in found["accuracy"] and float(found["accuracy"].split()[0]) > 60
    assert "4,6,5,3, batch 32, float64, Adam" in found["step"]
    words = shlex.split(found["next"])
    assert words[:3] == ["python", "-m", "fastgrad"] and csv in words
    assert main(words[3:]) == 0  # what it suggests works
    found = last_five(capsys.readouterr().out)
    assert MLP.load("model.npz").sizes == (4, 12, 10, 3)
    assert found["next"] == f"python -m fastgrad predict model.npz --data {shlex.quote(csv)}"
    assert main(shlex.split(found["next"])[3:]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("prediction\n") and out.count("\n") == 61
    assert re.fullmatch(r"accuracy: \S+ %, \d+ of 60 right\n", err)


def test_a_linear_net_and_a_batch_larger_than_the_data(npz: str, capsys: Capture) -> None:
    options = "--layers 4,3 --activation none --batch-size 1000 --epochs 2"
    assert main(["train", "--data", npz, *options.split()]) == 0
    assert "(4,3, batch 48, float32, Adam" in capsys.readouterr().out


# --- the same again with another number of threads


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many threads were in force in each training after the first."""
    real, found = _other_threads._fit, list[int]()

    def fit(*args, **kwargs):
        found.append(get_num_threads())
        return real(*args, **kwargs)

    monkeypatch.setattr(_other_threads, "_fit", fit)
    return found


@pytest.mark.parametrize(
    ("threads", "other", "line"),
    [
        (1, 2, "the same with 1 thread and with 2: "),
        (2, 1, "the same with 1 thread and with 2: "),
        (3, 1, "the same with 1 thread and with 3: "),
    ],
)
def test_which_numbers_of_threads(threads, other, line, npz, fits, capsys: Capture) -> None:
    with num_threads(threads):
        assert main(["train", "--data", npz, "--epochs", "2"]) == 0
        assert get_num_threads() == threads
    assert fits == [other]
    assert last_five(capsys.readouterr().out)["threads"].startswith(line)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ("--layers 4,700,700,3 --batch-size 48", "calls of its steps were offered to 2 threads"),
        ("--layers 4,3", "no call was shared between threads"),
    ],
)
def test_what_is_said_of_the_threads(options, note, npz, capsys: Capture) -> None:
    for threads in (1, 2):
        with num_threads(threads):
            assert main(["train", "--data", npz, "--epochs", "2", *options.split()]) == 0
        found = last_five(capsys.readouterr().out)["threads"]
        assert found.endswith(f" 48 rows to the bit ({note})"), found


@pytest.mark.parametrize(
    ("limit", "threads", "part"),
    [
        (1e-3, [1, 2], r"after the first \d+ of 400 epochs"),
        (1e-9, [1, 2], "after 1 step on the first 5 rows"),
    ],
)
def test_a_long_job_is_repeated_in_part(
    limit, threads, part, npz, fits, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_other_threads, "LIMIT", limit)
    arguments = ["train", "--data", npz, "--epochs", "400", "--batch-size", "5"]
    if limit == 1e-3:
        arguments[-1] = "48"  # an epoch is a step, which is shorter
    with num_threads(2):
        assert main(arguments) == 0
    assert fits == threads  # both of them
    found = last_five(capsys.readouterr().out)
    digits = re.match(
        f"the same with 1 thread and with 2 {part}: ([0-9a-f]{{16}}), ", found["threads"]
    )
    assert digits and digits[1] != found["weights"][:16]


def nudge(array: np.ndarray) -> None:
    array.flat[-1] = np.nextafter(array.flat[-1], np.float32(np.inf))


def test_a_difference_of_one_bit_in_a_weight(
    npz, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _other_threads._fit

    def fit(model: MLP, *args, **kwargs):
        history = real(model, *args, **kwargs)
        if get_num_threads() == 1:
            nudge(model.weights[0])
        return history

    monkeypatch.setattr(_other_threads, "_fit", fit)
    path = str(tmp_path / "m.npz")
    with num_threads(2):
        assert main(["train", "--data", npz, "--epochs", "2", "--save", path]) == 1
        assert get_num_threads() == 2
    found = last_five(capsys.readouterr().out)
    right = digest(MLP.load(path))
    line = rf"DIFFERENT: ([0-9a-f]{{16}}) with 1 thread, {right} with 2: a bug of fastgrad's"
    wrong = re.match(line, found["threads"])
    assert wrong and wrong[1] != right and list(found)[-1] == "next"


def test_a_difference_of_one_bit_in_a_logit(
    npz, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = MLP.forward

    def forward(self: MLP, x: np.ndarray) -> np.ndarray:
        logits = real(self, x)
        if get_num_threads() == 1:
            nudge(logits)
        return logits

    monkeypatch.setattr(MLP, "forward", forward)
    with num_threads(2):
        assert main(["train", "--data", npz, "--epochs", "2"]) == 1
    line = last_five(capsys.readouterr().out)["threads"]
    assert line.startswith("DIFFERENT: the logits of 48 rows with 1 thread and with 2: a bug")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "fastgrad train: interrupted after training; the model is in "),
        (MemoryError("Unable to allocate"), 2, "fastgrad train: not enough memory (Unable to"),
    ],
)
def test_an_end_in_the_second_run(error, code, line, npz, capsys: Capture, monkeypatch) -> None:
    def fail(*args, **kwargs):
        assert get_num_threads() == 1
        raise error

    monkeypatch.setattr(_other_threads, "_fit", fail)
    with num_threads(2):
        arguments = ["train", "--data", npz, "--epochs", "1", "--save", npz + "2"]
        assert main(arguments) == code
        assert get_num_threads() == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)
    assert MLP.load(npz + "2").epochs == 1


# --- the other commands


def test_info(capsys: Capture) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("fastgrad", "numpy", "numba", "BITS_VERSION", "cache", "threads", "KC", "L2"):
        assert word in out


def test_warmup(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(warmup, "warmup", lambda: called.append(1))
    assert main(["warmup"]) == 0 and called == [1]
    assert re.search(r"in \d+\.\d s\n$", capsys.readouterr().out)


def test_help_and_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastgrad {fastgrad.__version__}\n"
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)
    for name in COMMANDS:
        assert main([name, "--help"]) == 0 and "usage: fastgrad " + name in capsys.readouterr().out


def test_unknown_command(capsys: Capture) -> None:
    assert main(["tarin"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "'tarin'" in err and "train" in err
