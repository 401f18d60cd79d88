"""train: validation, patience, resuming, the schedule and the plot; and what users get wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP, Adam, num_threads
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.step import Step
from fastgrad.cli import _other_threads, _report, main

Capture = pytest.CaptureFixture[str]


def noisy(rows: int = 90, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap, so that the validation loss goes down and up."""
    y = np.arange(rows) % 3
    return np.random.default_rng(seed).standard_normal((rows, 4)) + np.eye(3, 4)[y], y


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_report, "SAMPLE", 0.001)  # its second a run is not what is tested
    for name, seed in (("d.npz", 1), ("v.npz", 2)):
        x, y = noisy(seed=seed)
        np.savez(name, x=x, y=y)
    return tmp_path


def command(options: str, code: int = 0) -> None:
    assert main(["train", "--data", "d.npz", "--layers", "4,16,3", *options.split()]) == code


def found(out: str) -> dict[str, str]:
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines() if " " in line}


def saved(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file if name != "history_seconds"}


def same_files(a: str, b: str) -> None:
    first, second = saved(a), saved(b)
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name], equal_nan=name.startswith("history")), name


# --- validation and patience


def test_a_fraction_is_kept_apart(capsys: Capture) -> None:
    command("--epochs 2 --validation 0.25 --save m.npz")
    out, err = capsys.readouterr()
    # 30 of each class: 6 held out, of the 24 that are left 6 to validate with
    assert out.splitlines()[0] == (
        "d.npz: 54 rows to train on, 18 to validate with, 18 held out, "
        "a fifth of each class drawn with seed 0"
    )
    assert "validation loss " in err and "validation accuracy " in err
    assert "(trained on 54, tested on 18, seed 0)" in found(out)["accuracy"]
    assert len(MLP.load("m.npz")._run.history["validation_loss"]) == 2
    assert "best" not in found(out)


def test_a_file_takes_no_rows_and_changes_no_bit(capsys: Capture) -> None:
    command("--epochs 2 --validation v.npz")
    with_file = found(capsys.readouterr().out)
    command("--epochs 2")
    without = found(capsys.readouterr().out)
    assert "72 rows to train on, 90 to validate with, 18 held out" in with_file["d.npz:"]
    assert with_file["weights"] == without["weights"]
    assert "72 rows to train on, 18 held out" in without["d.npz:"]


def test_a_csv_with_its_label_column(capsys: Capture) -> None:
    for name in ("d", "v"):
        x, y = noisy()
        rows = [f"{c},{','.join(map(str, r))}" for r, c in zip(x, y, strict=True)]
        Path(f"{name}.csv").write_text("\n".join(["kind,a,b,c,d", *rows]))
    options = "--data d.csv --validation v.csv --label kind --epochs 1"
    assert main(["train", *options.split()]) == 0
    assert "90 to validate with" in capsys.readouterr().out


def test_patience(capsys: Capture) -> None:
    options = "--validation v.npz --lr 0.02 --epochs 300"
    command(f"{options} --patience 4 --save m.npz")
    out, _err = capsys.readouterr()
    line = r"epoch (\d+), validation loss ([\d.]+): its parameters stay; stopped after epoch (\d+)"
    best = re.fullmatch(line, found(out)["best"])
    assert best and int(best[3]) == int(best[1]) + 4 < 300
    model = MLP.load("m.npz")
    losses = model._run.history["validation_loss"]
    assert len(losses) == int(best[3]) and int(np.argmin(losses)) + 1 == int(best[1])
    assert f"{min(losses):.4f}" == best[2]
    command(f"{options.replace('300', best[1])}")  # without patience, to the best epoch
    assert found(capsys.readouterr().out)["weights"].startswith(digest(model))
    assert found(out)["threads"].startswith("the same with 1 thread and with 2: " + digest(model))


def test_patience_that_is_not_used_up(capsys: Capture) -> None:
    command("--validation v.npz --patience 50 --epochs 3")
    assert re.fullmatch(
        r"epoch \d, validation loss [\d.]+: its parameters stay",
        found(capsys.readouterr().out)["best"],
    )


def test_a_schedule(capsys: Capture) -> None:
    lines = {}
    for name in ("constant", "cosine", "step"):
        command(f"--epochs 6 --lr 0.02 --schedule {name} --save {name}.npz")
        lines[name] = found(capsys.readouterr().out)
    rates = {n: MLP.load(f"{n}.npz")._run.history["learning_rate"] for n in lines}
    assert rates["constant"] == [0.02] * 6
    assert rates["step"] == [0.02] * 2 + [0.02 * 0.1] * 2 + [0.02 * (0.1 * 0.1)] * 2
    assert rates["cosine"][0] == 0.02 and rates["cosine"][3] == 0.01
    assert len({line["weights"] for line in lines.values()}) == 3
    assert all(line["threads"].startswith("the same ") for line in lines.values())


# --- resuming


@pytest.mark.parametrize("patience", ["", "--validation 0.25 --patience 6"])
def test_resumed_runs_end_with_the_bits_of_one(patience: str, capsys: Capture) -> None:
    options = f"--lr 0.02 --batch-size 7 --schedule cosine {patience} --epochs 30"
    command(f"{options} --resume --save whole.npz")
    whole = found(capsys.readouterr().out)
    total = MLP.load("whole.npz").epochs
    real = MLP.save
    for stop in (1, 2, 5, total - 1, total):

        def save(self: MLP, path: str) -> None:
            real(self, path)
            if self.epochs == stop:  # noqa: B023
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MLP, "save", save)
            command(f"{options} --resume --save part.npz", 130)
        err = capsys.readouterr().err.splitlines()[-1]
        assert err == (
            f"fastgrad train: interrupted after {stop} of 30 epochs; "
            f"the last one saved is in part.npz"
        )
    assert MLP.load("part.npz").epochs == total
    command(f"{options} --resume --save part.npz")
    out = capsys.readouterr().out
    what = "goes on" if total < 30 else "nothing is left"
    assert f"part.npz: {what} after epoch {total} of 30" in out.splitlines()
    assert found(out)["weights"] == whole["weights"] and found(out).get("best") == whole.get("best")
    since = f"the same with 1 thread and with 2 since epoch {total}: {whole['weights'][:16]}, "
    assert found(out)["threads"].startswith(since)
    same_files("part.npz", "whole.npz")
    if patience:
        assert total < 30


def test_the_other_threads_do_the_resumed_part(capsys: Capture) -> None:
    command("--epochs 3 --save m.npz --resume")
    real, epochs = _other_threads._fit, list[int]()

    def fit(model: MLP, *args, **kwargs):
        epochs.append(model.epochs)
        history = real(model, *args, **kwargs)
        epochs.append(model.epochs)
        return history

    with pytest.MonkeyPatch.context() as patch, num_threads(2):
        patch.setattr(_other_threads, "_fit", fit)
        command("--epochs 8 --save m.npz --resume")
    assert epochs == [3, 8]
    threads = found(capsys.readouterr().out)["threads"]
    assert threads.startswith("the same with 1 thread and with 2 since epoch 3: ")


def test_more_epochs_than_are_asked_for(capsys: Capture) -> None:
    command("--epochs 3 --save m.npz")
    before = Path("m.npz").read_bytes()
    command("--epochs 2 --save m.npz --resume")
    assert "m.npz: nothing is left after epoch 3 of 2" in capsys.readouterr().out.splitlines()
    assert Path("m.npz").read_bytes() == before


def test_an_interrupt_before_the_first_epoch(capsys: Capture, monkeypatch) -> None:
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLP, "_fit", fail)
    command("--save m.npz --resume", 130)
    err = capsys.readouterr().err
    assert err == "fastgrad train: interrupted after 0 of 60 epochs; nothing was saved\n"


def test_divergence_leaves_the_last_model_that_was_none(capsys: Capture, monkeypatch) -> None:
    real, calls = Step.__call__, list[int]()

    def step(self: Step, *batch: np.ndarray) -> float:
        calls.append(1)
        if len(calls) == 30:
            self._parameters.weights[0][...] = np.nan
        return real(self, *batch)

    monkeypatch.setattr(Step, "__call__", step)
    command("--save m.npz --resume --batch-size 8", 2)  # 9 steps an epoch
    assert "training has diverged; lower --lr" in capsys.readouterr().err
    model = MLP.load("m.npz")
    assert model.epochs in (2, 3) and np.isfinite(model.weights[0]).all()


def test_a_disk_that_is_full(capsys: Capture, monkeypatch) -> None:
    def full(self: MLP, path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MLP, "save", full)
    command("--save m.npz --resume", 2)
    err = capsys.readouterr().err.splitlines()
    assert err == ["fastgrad train: --save m.npz: No space left on device"]


def test_ctrl_c_in_a_process_keeps_the_epochs() -> None:
    arguments = "train --data d.npz --epochs 1000000 --save m.npz --resume"
    code = (  # the handler: a shell's background jobs ignore SIGINT, and so would this
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fastgrad.cli import main; sys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while not os.path.exists("m.npz") and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    line = r"train: interrupted after (\d+) of 1000000 epochs; the last one saved is in m.npz"
    match = re.search(line, err)
    assert process.returncode == 130 and match and "Traceback" not in err
    assert MLP.load("m.npz").epochs in (int(match[1]), int(match[1]) - 1)
    assert sorted(os.listdir()) == ["d.npz", "m.npz", "v.npz"]


# --- the plot


def test_plot(capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    options = "--validation v.npz --patience 2 --lr 0.02 --schedule cosine"
    command(f"{options} --plot curve.png")
    out = capsys.readouterr().out
    assert found(out)["plot"] == "curve.png"
    assert Path("curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    command("--epochs 1 --plot curve.svg")
    text = Path("curve.svg").read_text()
    assert "<svg" in text and sorted(os.listdir()) == ["curve.png", "curve.svg", "d.npz", "v.npz"]


def test_what_the_plot_shows() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from fastgrad.cli import _plot

    x, y = noisy()
    model = MLP((4, 16, 3), seed=5)
    model.fit(x, y, 3, 8, progress=False)
    model.fit(x, y, 5, 8, validation=(x, y), patience=9, progress=False)
    figures = list[Figure]()
    real = Figure.savefig

    def savefig(self: Figure, *args, **kwargs) -> None:
        figures.append(self)
        real(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        _plot.draw(model, "a.png", "noisy.npz")
    (figure,) = figures
    history = model._run.history
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    best = model._run.early.best_epoch
    accuracy = history["validation_accuracy"][best - 1]
    title = figure.get_suptitle()
    assert title.startswith(f"noisy.npz: best epoch {best} of 8, validation loss ")
    assert title.endswith(f", validation accuracy {accuracy:.1%}")
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert list(lines) == ["training", "validation", "best epoch"]
    assert lines["training"].get_xdata().tolist() == list(range(1, 9))
    assert lines["training"].get_ydata().tolist() == history["loss"]
    assert lines["validation"].get_ydata()[3:].tolist() == history["validation_loss"][3:]
    assert np.isnan(lines["validation"].get_ydata()[:3]).all()
    best = int(np.nanargmin(history["validation_loss"])) + 1
    assert lines["best epoch"].get_xdata()[0] == best


def test_without_matplotlib(capsys: Capture, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    command("--plot curve.png", 2)
    out, err = capsys.readouterr()
    assert out == "" and err == (
        "fastgrad train: --plot needs matplotlib: pip install matplotlib\n"
    )


def test_matplotlib_is_loaded_for_the_plot_alone() -> None:
    code = (
        "import sys; from fastgrad.cli import main; main(['train', '--epochs', '1', '--data', "
        "'d.npz']); assert 'matplotlib' not in sys.modules and 'tqdm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- what users get wrong


def resumed(options: str, words: str) -> tuple[str, str]:
    return f"--save m.npz --resume {options}", f"--resume: m.npz was trained with {words}"


ERRORS = {
    "patience alone": ("--patience 3", "--patience needs --validation"),
    "no patience": ("--validation 0.1 --patience 0", "argument --patience: '0': give a whole"),
    "a whole": ("--validation 1", "argument --validation: '1': give a fraction of the rows such"),
    "nothing": ("--validation 0.0", "argument --validation: '0.0': give a fraction"),
    "too many digits": ("--validation 0.0000000001", "argument --validation: '0.0000000001'"),
    "no suffix": ("--validation part", "argument --validation: 'part': give a fraction"),
    "no file": ("--validation absent.npz", "--validation 'absent.npz': No such file"),
    "no such label": ("--validation v.npz --label kind", "--target names a column of a table"),
    "too small": ("--validation 0.001", "--validation 0.001: 72 rows in 3 classes are too few"),
    "columns": ("--validation wide.npz", "--validation wide.npz: has 5 columns of inputs but the"),
    "classes": (
        "--validation more.npz",
        "--validation more.npz: row 3, y: '3' is none of the model's classes ('0', '1', '2')",
    ),
    "resume what": ("--resume", "--resume needs --save FILE, the file to go on from"),
    "no model": ("--resume --save d.npz", "--save d.npz: cannot be resumed: not a model saved by"),
    "no zip": ("--resume --save text", "--save text: cannot be resumed: not a whole .npz file"),
    "other layers": resumed("--layers 4,5,3", "sizes (4, 16, 3), but this run has (4, 5, 3)"),
    "other activation": resumed("--activation tanh", "activation relu, but this run has tanh"),
    "other optimizer": resumed("--optimizer sgd", "optimizer Adam(lr=0.003, betas="),
    "other rate": resumed("--lr 0.1", "optimizer Adam(lr=0.003, betas="),
    "other dtype": resumed("--dtype float64", "dtype float32, but this run has float64"),
    "other seed": resumed("--seed 1", "seed 0, but this run has 1"),
    "schedule": ("--schedule linear", "--schedule linear: unknown; choose from constant, cosine,"),
    "picture": ("--plot curve.bmp2", "--plot curve.bmp2: unknown kind of picture; use .png,"),
    "no picture": ("--plot curve", "--plot curve: unknown kind of picture"),
    "plot nowhere": ("--plot absent/c.png", "--plot absent/c.png: cannot be written: No such file"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_user_errors(case: str, capsys: Capture) -> None:
    options, message = ERRORS[case]
    if "--plot" in options:
        pytest.importorskip("matplotlib")
    Path("text").write_text("hello")
    np.savez("wide.npz", x=np.ones((6, 5)), y=np.arange(6) % 3)
    np.savez("more.npz", x=np.ones((6, 4)), y=np.arange(6) % 4)
    MLP((4, 16, 3), optimizer=Adam(0.003)).save("m.npz")
    before = sorted(os.listdir())
    command(options, 2)
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and err.startswith("fastgrad") and message in err, err
    assert out == "" and sorted(os.listdir()) == before
