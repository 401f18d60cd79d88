"""The loop: order of the rows, resuming, history, validation, progress, accuracy on the digits."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fastgrad import BITS_VERSION, MLP, SGD, Adam
from fastgrad._checkpoint import digest
from fastgrad._kernels import target
from fastgrad._training import evaluate, fit
from fastgrad.datasets import load_digits, stratified_split


def blobs(rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, rows)
    return (rng.standard_normal((rows, 4)) + 3 * np.eye(3, 4)[y]).astype(np.float32), y


def model(**options) -> MLP:
    return MLP((4, 8, 3), optimizer=Adam(0.01), seed=5, **options)


def test_every_row_once_an_epoch_in_a_new_order(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    y = np.arange(10)
    seen: list[list[int]] = []

    def step(self: MLP, bx: np.ndarray, by: np.ndarray) -> float:
        assert np.array_equal(bx[:, 0], by)
        seen.append(by.tolist())
        return float(len(by))

    monkeypatch.setattr(MLP, "_step", step)
    history = MLP((1, 10), seed=3).fit(x, y, 2, 4, progress=False)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    epochs = [sum(seen[:3], []), sum(seen[3:], [])]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] and epochs[0] != list(range(10))
    assert history["loss"] == [(4 * 4 + 4 * 4 + 2 * 2) / 10] * 2  # batches weigh what they hold


def test_two_and_three_epochs_are_five() -> None:
    x, y = blobs()
    whole, parts = model(), model()
    five = whole.fit(x, y, 5, 8, progress=False)["loss"]
    two = parts.fit(x, y, 2, 8, progress=False)["loss"]
    assert two + parts.fit(x, y, 3, 8, progress=False)["loss"] == five
    assert np.array_equal(whole.weights[0], parts.weights[0])
    assert (whole.epochs, whole.steps) == (5, 35)
    other = MLP((4, 8, 3), optimizer=Adam(0.01), seed=6)
    assert other.fit(x, y, 5, 8, progress=False)["loss"] != five


def test_batches_have_the_bits_of_steps_by_hand() -> None:
    x, y = blobs(16)
    fitted, stepped = model(), model()
    fitted.fit(np.asfortranarray(x.astype(float)), y.astype(np.int8), 1, 100, progress=False)
    from fastgrad.datasets._draws import SHUFFLE, permutation

    order = permutation(16, 5, SHUFFLE, 0)
    stepped.train_step(x[order], y[order])
    assert np.array_equal(fitted.weights[1], stepped.weights[1])


def test_history_and_validation() -> None:
    x, y = blobs()
    net = model()
    history = net.fit(x[:40], y[:40], 30, 8, validation=(x[40:], y[40:]), progress=False)
    assert {name: len(values) for name, values in history.items()} == {
        "loss": 30,
        "validation_loss": 30,
        "validation_accuracy": 30,
    }
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["validation_accuracy"][-1] == np.mean(net.predict(x[40:]) == y[40:])
    found = evaluate(net, x[40:], y[40:])
    assert found["loss"] == history["validation_loss"][-1]
    rows = evaluate(net, x[40:], np.eye(3)[y[40:]])
    assert rows["accuracy"] == found["accuracy"] and rows["loss"] == pytest.approx(found["loss"])
    assert set(evaluate(MLP((4, 2), loss="mse"), x, np.zeros((50, 2)))) == {"loss"}


def test_validation_does_not_change_the_training() -> None:
    x, y = blobs()
    first, second = model(), model()
    first.fit(x, y, 3, 8, progress=False)
    second.fit(x, y, 3, 8, validation=(x, y), progress=False)
    assert np.array_equal(first.weights[0], second.weights[0])


def test_stop() -> None:
    x, y = blobs()
    net = model()
    history = fit(net, x, y, 9, 8, progress=False, stop=lambda h: len(h["loss"]) == 4)
    assert len(history["loss"]) == 4 and net.epochs == 4


def test_no_epochs() -> None:
    x, y = blobs()
    assert model().fit(x, y, 0, 8) == {"loss": []}


def test_plain_lines_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = blobs()
    model().fit(x, y, 40, 8, validation=(x, y))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 10 and "\r" not in err
    assert lines[0].startswith("training: epoch 4 of 40, loss ")
    assert lines[-1].startswith("training: epoch 40 of 40, loss ")
    assert "validation accuracy " in lines[-1] and lines[-1].endswith(" s")
    model().fit(x, y, 3, 8)
    assert len(capsys.readouterr().err.splitlines()) == 3
    model().fit(x, y, 3, 8, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = blobs()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    model().fit(x, y, 12, 8)
    err = capsys.readouterr().err
    assert "\r" in err and "12/12" in err and "loss=" in err and "100%" in err


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"epochs": 1.5}, TypeError, "epochs is 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be 1 or more"),
        ({"batch_size": None}, TypeError, "batch_size is None"),
        ({"x": np.ones((50, 3))}, ValueError, r"x has shape \(50, 3\)"),
        ({"y": np.full(50, 3)}, ValueError, r"labels\[0\] is 3"),
        ({"validation": np.ones(3)}, TypeError, "validation is ndarray"),
        ({"validation": (np.ones((2, 3)), np.zeros(2, int))}, ValueError, r"x has shape \(2, 3\)"),
    ],
)
def test_errors_come_before_any_step(options, kind, words) -> None:
    x, y = blobs()
    net = model()
    before = net._params.copy()
    with pytest.raises(kind, match=rf"^MLP\.fit.*: {words}"):
        net.fit(**{"x": x, "y": y, "epochs": 1, "batch_size": 8, "progress": False} | options)
    assert np.array_equal(net._params, before)


DIGEST = {1: "5c0a33b9d0a3e40a"}  # by BITS_VERSION: the weights of the main job, seed 0


def test_the_main_job_on_the_digits() -> None:
    """Its settings, seeds 0 to 4: accuracy, and the bits that the contract makes the same."""
    x, y = load_digits()
    found, digests = [], []
    for seed in range(5):
        train, held = stratified_split(y, seed)
        net = MLP((64, 128, 10), optimizer=Adam(0.003), seed=seed)
        net.fit(x[train], y[train], 60, 32, progress=False)
        found.append(np.mean(net.predict(x[held]) == y[held]))
        digests.append(digest(net))
    assert np.median(found) >= 0.97 and min(found) >= 0.96, found
    assert len(set(digests)) == 5
    if target.current().isa.fma:
        assert digests[0] == DIGEST[BITS_VERSION]


def test_momentum_also_learns() -> None:
    x, y = blobs()
    net = MLP((4, 8, 3), "tanh", optimizer=SGD(0.1, 0.9, nesterov=True), dtype=np.float64)
    loss = net.fit(x, y, 30, 16, progress=False)["loss"]
    assert loss[-1] < 0.3 * loss[0]
