"""The loop: order of the rows, resuming, history, validation, progress, accuracy on the digits."""

from __future__ import annotations

import dataclasses
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from fastgrad import BITS_VERSION, MLP, SGD, Adam, AdamW
from fastgrad._kernels.codegen import target
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.forward import evaluate
from fastgrad._mlp.step import Step
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

    def step(self: Step, bx: np.ndarray, by: np.ndarray, weights: None) -> float:
        assert np.array_equal(bx[:, 0], by)
        seen.append(by.tolist())
        return float(len(by))

    monkeypatch.setattr(Step, "__call__", step)
    history = MLP((1, 10), seed=3).fit(x, y, 2, 4, progress=False)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    epochs = [[*chain(*seen[:3])], [*chain(*seen[3:])]]
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
    from fastgrad._draws import SHUFFLE, permutation

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
        "learning_rate": 30,
        "seconds": 30,
    }
    assert set(history["learning_rate"]) == {0.01} and min(history["seconds"]) > 0
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["validation_accuracy"][-1] == np.mean(net.predict(x[40:]) == y[40:])
    found = evaluate(net._config, net.forward, x[40:], y[40:])
    assert found["loss"] == history["validation_loss"][-1]
    other = MLP((4, 2), loss="mse")
    rows = evaluate(net._config, net.forward, x[40:], np.eye(3)[y[40:]])
    assert rows["accuracy"] == found["accuracy"] and rows["loss"] == pytest.approx(found["loss"])
    assert set(evaluate(other._config, other.forward, x, np.zeros((50, 2)))) == {"loss"}


def test_validation_does_not_change_the_training() -> None:
    x, y = blobs()
    first, second = model(), model()
    first.fit(x, y, 3, 8, progress=False)
    second.fit(x, y, 3, 8, validation=(x, y), progress=False)
    assert np.array_equal(first.weights[0], second.weights[0])


def test_stop() -> None:
    x, y = blobs()
    net = model()
    history = net.fit(x, y, 9, 8, progress=False, callback=lambda h: len(h["loss"]) == 4)
    assert len(history["loss"]) == 4 and net.epochs == 4


def test_a_callback_may_do_what_it_likes_with_the_history() -> None:
    x, y = np.eye(4), np.arange(4) % 3
    net, other = MLP((4, 3)), MLP((4, 3))
    assert net.fit(x, y, 3, progress=False, callback=lambda history: history.clear()) == {}
    other.fit(x, y, 3, progress=False)
    assert digest(net) == digest(other) and net.history["loss"] == other.history["loss"]


def test_no_epochs() -> None:
    x, y = blobs()
    net = model()
    assert net.fit(x, y, 0, 8) == {"loss": [], "learning_rate": [], "seconds": []}
    assert net.epochs == net.steps == 0


def test_a_kept_order(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.arange(10, dtype=np.float32)[:, None], np.arange(10)
    seen: list[list[float]] = []

    def step(self: Step, bx: np.ndarray, by: np.ndarray, weights: None) -> float:
        seen.append(bx[:, 0].tolist())
        return float(by[0])

    monkeypatch.setattr(Step, "__call__", step)
    history = MLP((1, 10)).fit(x, y, 1, 4, progress=False, shuffle=False)
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert history["loss"] == [(0 * 4 + 4 * 4 + 8 * 2) / 10]


def test_a_kept_order_has_the_bits_of_steps_by_hand() -> None:
    x, y = blobs(20)
    fitted, stepped = model(), model()
    fitted.fit(x, y, 2, 8, progress=False, shuffle=False)
    for _ in range(2):
        for start in (0, 8, 16):
            stepped.train_step(x[start : start + 8], y[start : start + 8])
    assert digest(fitted) == digest(stepped)


def test_a_schedule_sees_every_epoch_once() -> None:
    x, y = blobs()
    net, seen = model(), list[int]()

    def schedule(epoch: int) -> float:
        seen.append(epoch)
        return 0.5**epoch

    first = net.fit(x, y, 2, 8, progress=False, schedule=schedule)
    second = net.fit(x, y, 3, 8, progress=False, schedule=schedule)
    assert seen == [0, 1, 2, 3, 4] and net.learning_rate == 0.5**4
    assert first["learning_rate"] + second["learning_rate"] == [0.5**i for i in range(5)]
    assert net.fit(x, y, 1, 8, progress=False)["learning_rate"] == [0.5**4]  # as it was left


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1, 0.9), Adam(0.01, weight_decay=0.1), AdamW(0.01, weight_decay=0.1)]
)
def test_the_rate_of_a_schedule_is_that_of_the_steps(optimizer) -> None:
    x, y = blobs()
    scheduled = MLP((4, 3), optimizer=optimizer)
    other = MLP((4, 3), optimizer=dataclasses.replace(optimizer, lr=0.003))
    scheduled.fit(x, y, 2, 8, progress=False, schedule=lambda epoch: 0.003)
    other.fit(x, y, 2, 8, progress=False)
    assert digest(scheduled) == digest(other) != digest(MLP((4, 3), optimizer=optimizer))
    before = digest(scheduled)
    scheduled.fit(x, y, 1, 8, progress=False, schedule=lambda epoch: 0)
    assert digest(scheduled) == before


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (float("nan"), ValueError, r"schedule\(0\) is nan; it must be 0 or more and finite"),
        (-1, ValueError, r"schedule\(0\) is -1"),
        (float("inf"), ValueError, r"schedule\(0\) is inf"),
        (None, TypeError, r"schedule\(0\) is None, not a number"),
        ("1", TypeError, r"schedule\(0\) is '1', not a number"),
    ],
)
def test_rates_that_are_none(value, kind, words) -> None:
    x, y = blobs()
    net = model()
    before = digest(net)
    with pytest.raises(kind, match=f"^MLP.fit: {words}"):
        net.fit(x, y, 1, 8, progress=False, schedule=lambda epoch: value)
    assert digest(net) == before and net.epochs == 0


def test_the_history_of_all_calls() -> None:
    x, y = blobs()
    net = model()
    first = net.fit(x, y, 2, 8, progress=False)
    second = net.fit(x, y, 1, 8, validation=(x, y), progress=False)
    history = net.history
    assert history["loss"] == first["loss"] + second["loss"]
    assert np.isnan(history["validation_loss"][:2]).all()
    assert history["validation_loss"][2:] == second["validation_loss"]
    third = net.fit(x, y, 1, 8, progress=False)
    assert len(net.history["validation_loss"]) == 4 and "validation_loss" not in third
    assert len(history["loss"]) == 3  # what a copy of the model may still hold


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
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and "rate" not in lines[0] and "seconds" not in lines[0]
    model()._fit(x, y, 2, 8, total=40)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("training: epoch 40 of 40, loss ")
    model().fit(x, y, 3, 8, progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = blobs()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    model().fit(x, y, 12, 8)
    err = capsys.readouterr().err
    assert "\r" in err and "12/12" in err and "loss 0." in err and "100%" in err


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"epochs": 1.5}, TypeError, "epochs is 1.5"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be 1 or more"),
        ({"batch_size": None}, TypeError, "batch_size is None"),
        ({"x": np.ones((50, 3))}, ValueError, r"x has shape \(50, 3\)"),
        ({"y": np.full(50, 3)}, ValueError, r"y\[0\] is 3"),
        ({"validation": np.ones(3)}, TypeError, "validation is ndarray"),
        ({"validation": (np.ones((2, 3)), np.zeros(2, int))}, ValueError, r"x has shape \(2, 3\)"),
        ({"patience": 3}, ValueError, r"patience needs validation; pass validation=\(x, y\)"),
        ({"patience": 0, "validation": blobs()}, ValueError, "patience is 0; it must be 1 or more"),
        ({"patience": 1.5, "validation": blobs()}, TypeError, "patience is 1.5"),
        ({"schedule": 0.1}, TypeError, "schedule is 0.1; pass a function of the epoch"),
    ],
)
def test_errors_come_before_any_step(options, kind, words) -> None:
    x, y = blobs()
    net = model()
    before = net._parameters.flat.copy()
    with pytest.raises(kind, match=rf"^MLP\.fit.*: {words}"):
        net.fit(**{"x": x, "y": y, "epochs": 1, "batch_size": 8, "progress": False} | options)
    assert np.array_equal(net._parameters.flat, before)


def test_a_checkpoint_that_cannot_be_written_comes_before_any_step(tmp_path: Path) -> None:
    x, y = blobs()
    net = model()
    before = digest(net)
    with pytest.raises(FileNotFoundError):
        net.fit(x, y, 1, 8, progress=False, checkpoint=tmp_path / "absent" / "m.npz")
    with pytest.raises(IsADirectoryError):
        net.fit(x, y, 1, 8, progress=False, checkpoint=tmp_path)
    assert digest(net) == before and net.epochs == 0


def test_a_checkpoint_is_a_loss_that_is_a_number(tmp_path: Path) -> None:
    x, y = blobs()
    net = MLP((4, 3), optimizer=SGD(0.1))
    rates = [0.1, 1e38, 1e38]
    with pytest.warns(RuntimeWarning, match=r"^MLP.fit: the loss is (nan|inf) after epoch \d"):
        history = net.fit(
            x, y, 3, 50, progress=False, checkpoint=tmp_path / "m",
            schedule=lambda epoch: rates[epoch],
        )  # fmt: skip
    last = np.flatnonzero(np.isfinite(history["loss"]))[-1] + 1
    assert 1 <= last < 3 and MLP.load(tmp_path / "m").epochs == last


DIGEST = {
    1: "5c0a33b9d0a3e40a",
    2: "dd63c946363641b6",
}  # by BITS_VERSION: the weights of the main job, seed 0


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


def test_history_of_all_calls() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 4)), np.arange(20) % 3
    model = MLP((4, 8, 3))
    assert model.history.get("loss", []) == []
    losses = [loss for n in (2, 1) for loss in model.fit(x, y, n, 5, progress=False)["loss"]]
    assert model.history["loss"] == losses and len(losses) == 3
