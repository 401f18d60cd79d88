"""Early stopping; and training in parts, which gives what training in one gives."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam, AdamW
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.forward import evaluate
from fastgrad._mlp.history import EarlyStop
from fastgrad._mlp.state import Run
from fastgrad._mlp.step import Step
from fastgrad._ops.schedules import cosine_schedule

Pair = tuple[np.ndarray, np.ndarray]


def noisy(rows: int = 60, seed: int = 1) -> Pair:
    """Classes that overlap, so that the validation loss goes down and up."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    return (rng.standard_normal((rows, 4)) + np.eye(3, 4)[y]).astype(np.float32), y


X, Y = noisy()
VALIDATION = noisy(30, 2)
NOTHING = "after {} epochs without a better validation loss, so this one does nothing; pass more"


def model(optimizer: SGD | Adam = Adam(0.02), **options) -> MLP:  # noqa: B008
    return MLP((4, 16, 3), optimizer=optimizer, seed=5, **options)


def train(net: MLP, epochs: int, patience: int | None = 3, **options) -> dict[str, list[float]]:
    options = {"validation": VALIDATION, "patience": patience, "progress": False} | options
    return net.fit(X, Y, epochs, 8, **options)


def by_hand(epochs: int) -> tuple[list[float], list[str]]:
    """Validation loss and digest after each epoch, without early stopping."""
    net, losses, digests = model(), [], []
    for _ in range(epochs):
        losses += train(net, 1, None)["validation_loss"]
        digests.append(digest(net))
    return losses, digests


def same(a: MLP, b: MLP) -> None:
    assert digest(a) == digest(b) and (a.epochs, a.steps) == (b.epochs, b.steps)
    assert a.learning_rate == b.learning_rate
    for mine, other in zip(a.optimizer_state(), b.optimizer_state(), strict=True):
        assert np.array_equal(mine, other)
    first, second = a._run, b._run
    assert {k: v for k, v in first.history.items() if k != "seconds"} == {
        k: v for k, v in second.history.items() if k != "seconds"
    }
    assert (first.early is None) == (second.early is None)
    if first.early is not None and second.early is not None:
        assert vars(first.early).keys() == vars(second.early).keys()
        for name in ("validation", "best_loss", "best_epoch", "waited"):
            assert getattr(first.early, name) == getattr(second.early, name)
        assert first.early.last is not None and second.early.last is not None
        for mine, other in zip(first.early.last, second.early.last, strict=True):
            assert np.array_equal(mine, other)


# --- when it stops, and with what


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_it_stops_after_epochs_without_a_better_loss_and_restores_the_best(patience: int) -> None:
    losses, digests = by_hand(40)
    best = last = 0
    while last - best < patience:
        last += 1
        best = last if losses[last] < losses[best] else best
    assert 0 < last < 39  # or the data are no test
    net = model()
    history = train(net, 40, patience)
    assert net.epochs == last + 1 and history["validation_loss"] == losses[: last + 1]
    assert digest(net) == digests[best] != digests[last]
    with pytest.warns(UserWarning, match=NOTHING.format(patience)):  # patience is used up
        assert train(net, 40, patience)["loss"] == []


def test_the_best_is_restored_where_the_epochs_end_first() -> None:
    losses, digests = by_hand(40)
    epochs = int(np.argmin(losses)) + 4
    net = model()
    train(net, epochs, 100)
    assert net.epochs == epochs and digest(net) == digests[int(np.argmin(losses))]


def test_more_patience_goes_on_from_the_last_epoch() -> None:
    short, long = model(), model()
    train(short, 40, 1)
    assert short.epochs < 39
    train(short, 40 - short.epochs, 100)
    train(long, 40, 100)
    same(short, long)


def test_without_patience_training_goes_on_from_the_parameters_that_are_there() -> None:
    net = model()
    train(net, 40)
    plain = copy.deepcopy(net)
    order = net.epochs
    train(net, 1, None)
    vars(plain)["_run"] = Run(plain.epochs)  # nothing but parameters, optimizer state and counts
    train(plain, 1, None)
    assert net.epochs == order + 1 and digest(net) == digest(plain)
    assert net._run.early is None


@pytest.mark.parametrize("change", ["validation", "weights"])
def test_another_set_or_other_weights_begin_anew(change: str) -> None:
    net = model()
    train(net, 40)
    if change == "weights":
        net.weights[0][0, 0] += 1
    validation = noisy(30, 3) if change == "validation" else VALIDATION
    done = net.epochs
    history = train(net, 1, 1, validation=validation)
    early = net._run.early
    assert early is not None and (early.best_epoch, early.waited) == (done + 1, 0)
    assert early.best_loss == history["validation_loss"][0]


def test_a_loss_that_is_no_number_is_never_the_best() -> None:
    bad = VALIDATION[0].copy()
    bad[0, 0] = np.nan
    net, plain = model(), model()
    history = train(net, 40, 4, validation=(bad, VALIDATION[1]), check_finite=False)
    assert np.isnan(history["validation_loss"]).all() and net.epochs == 4
    train(plain, 4, None)
    assert digest(net) == digest(plain)


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy_with_logits"])
def test_other_losses(loss: str) -> None:
    targets = np.eye(3)[Y], np.eye(3)[VALIDATION[1]]
    net = model(loss=loss)
    history = net.fit(
        X, targets[0], 60, 8, (VALIDATION[0], targets[1]), False, patience=2,
        schedule=lambda epoch: 0.05,
    )  # fmt: skip
    of_classes = ["validation_accuracy"] if loss != "mse" else []
    names = ["loss", "learning_rate", "seconds", "validation_loss", *of_classes]
    assert list(history) == names
    found = evaluate(net._config, net.forward, VALIDATION[0], targets[1])
    assert net.epochs < 60 and found["loss"] == min(history["validation_loss"])
    best = int(np.argmin(history["validation_loss"]))
    assert found == {n.removeprefix("validation_"): history[n][best] for n in names[3:]}


def test_an_interrupt_leaves_the_best_and_loses_no_epoch(monkeypatch) -> None:
    unbroken, net = model(), model()
    train(unbroken, 12, 100)
    real, calls = Step.__call__, list[int]()

    def step(self: Step, *batch: np.ndarray) -> float:
        calls.append(1)
        if len(calls) == 9 * 8 + 4:  # in the tenth epoch
            raise KeyboardInterrupt
        return real(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", step)
        with pytest.raises(KeyboardInterrupt):
            train(net, 12, 100)
    assert net.epochs == 9
    nine = model()
    train(nine, 9, 100)
    assert digest(net) == digest(nine)  # the best; the steps of the broken epoch are in ``last``


# --- in parts


SETTINGS = {
    "adam": {"optimizer": AdamW(0.02, weight_decay=0.01)},
    "sgd": {"optimizer": SGD(0.2, 0.9, nesterov=True)},
    "float64": {"dtype": "float64", "activation": "gelu"},
}


@pytest.mark.filterwarnings("ignore:MLP.fit. the last call stopped early:UserWarning")
@pytest.mark.parametrize("patience", [None, 2, 100])
@pytest.mark.parametrize("settings", SETTINGS)
def test_in_two_parts_through_a_file(settings: str, patience: int | None, tmp_path: Path) -> None:
    options = {"schedule": cosine_schedule(0.02, 6, 1)}
    whole = model(**SETTINGS[settings])
    train(whole, 6, patience, **options)
    for first in range(1, 6):
        part = model(**SETTINGS[settings])
        train(part, first, patience, **options)
        part.save(tmp_path / "m.npz")
        part = MLP.load(tmp_path / "m.npz")
        train(part, 6 - first, patience, **options)
        same(part, whole)


def test_six_parts_in_one_process_and_through_copies() -> None:
    whole, parts, copies = model(), model(), model()
    train(whole, 6, 100)
    for _ in range(6):
        train(parts, 1, 100)
        copies = copy.copy(copies)
        train(copies, 1, 100)
    same(parts, whole)
    same(copies, whole)


def test_a_copy_is_a_model_of_its_own() -> None:
    net = model()
    train(net, 5, 100)
    twin = copy.copy(net)
    early = net._run.early
    assert early is not None and early.last is not None
    before, last = digest(net), [array.copy() for array in early.last]
    train(twin, 10, 100)
    assert digest(net) == before and net._run.early is early and early.last is not None
    assert all(np.array_equal(a, b) for a, b in zip(early.last, last, strict=True))
    assert len(net._run.history["loss"]) == 5


@pytest.mark.parametrize("patience", [None, 100])
def test_a_checkpoint_is_what_save_would_have_written(patience, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    found = []

    def keep(epoch: int) -> float:  # called before every epoch: what the one before has left
        if path.exists():
            found.append(MLP.load(path))
        return 0.02

    net = model()
    train(net, 5, patience, checkpoint=path, schedule=keep)
    found.append(MLP.load(path))
    assert [each.epochs for each in found] == [1, 2, 3, 4, 5]
    for each in found:
        unbroken = model()
        train(unbroken, each.epochs, patience)
        same(each, unbroken)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.npz"]


# --- after a stop, with something else


def stopped() -> MLP:
    net = model()
    train(net, 40)
    early = net._run.early
    assert early is not None and early.waited == 3 and net.epochs < 40
    return net


OTHER = {
    "learning_rate was assigned": {},
    "batch_size changed": {"batch_size": 7},
    "shuffle changed": {"shuffle": False},
    "data changed": {"x": X + np.float32(1)},
    "schedule changed": {"schedule": lambda epoch: 0.001},
    "schedule +changed": {"schedule": dict.fromkeys(range(1, 99), 0.01).__getitem__},  # not of 0
}


@pytest.mark.parametrize("way", ["at once", "from a file", "in a copy"])
@pytest.mark.parametrize("words", OTHER)
def test_other_options_start_anew_and_say_so(words: str, way: str, tmp_path: Path) -> None:
    net = stopped()
    if words.startswith("learning_rate"):
        net.learning_rate = 1e-3
    if way == "from a file":
        net.save(tmp_path / "m.npz")
        net = MLP.load(tmp_path / "m.npz")
    elif way == "in a copy":
        net = copy.copy(net)
    before, done = digest(net), net.epochs
    options = {"x": X, "y": Y, "batch_size": 8, "validation": VALIDATION, "patience": 3}
    options |= {"progress": False, "epochs": 2} | OTHER[words]
    message = rf"MLP.fit: the last call stopped early, and since then {words}: .* starts anew"
    with pytest.warns(UserWarning, match=message) as caught:
        history = net.fit(**options)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert len(history["loss"]) == 2 and net.epochs == done + 2 and digest(net) != before
    early = net._run.early
    assert early is not None and early.best_epoch > done
    assert net.fit(**options)["loss"] != []  # and goes on without a word


def test_several_changes_are_all_named() -> None:
    net = stopped()
    net.learning_rate = 0.01
    with pytest.warns(UserWarning, match="learning_rate was assigned and shuffle changed: "):
        train(net, 1, shuffle=False)


def test_what_is_no_change_starts_nothing_anew() -> None:
    """The same rate, more patience, a schedule that gave the rates there were."""
    net = stopped()
    net.learning_rate = 0.02
    for patience, options in ((3, {}), (3, {"schedule": lambda epoch: 0.02}), (2, {})):
        with pytest.warns(UserWarning, match=NOTHING.format(3)) as caught:
            assert train(net, 40, patience, **options)["loss"] == []
        assert [warning.filename for warning in caught] == [__file__]
    net.learning_rate = 0.01
    done = net.epochs
    assert len(train(net, 1, 50)["loss"]) == 1 and net.epochs == done + 1


def test_a_rate_assigned_before_the_stop_is_none_since() -> None:
    net = model()
    train(net, 1, 100)
    net.learning_rate = 0.5
    train(net, 40)
    with pytest.warns(UserWarning, match=NOTHING.format(3)):
        assert net.epochs < 41 and train(net, 40)["loss"] == []


def test_a_warning_that_is_an_error_changes_nothing() -> None:
    net = stopped()
    net.learning_rate = 0.01
    before, early = digest(net), net._run.early
    with pytest.raises(UserWarning):
        train(net, 5)
    assert digest(net) == before and net._run.early is early


ROWS = {  # when -> whether the model has best or last; what is kept. See the head of history.py
    "no epoch was better yet": ("last", None, None, False),
    "at work": ("last", "best", "any", False),
    "at rest": ("best", "best", "last", True),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_invariant(row: str) -> None:
    live = [np.array([1.0]), np.array([2.0])]
    early = EarlyStop("00")
    best, last = [a.copy() for a in live], [a + 5 for a in live]
    early.observe(live, 1, np.nan if row.startswith("no") else 0.5)
    for a in live:
        a += 5
    early.observe(live, 2, 0.7 if not row.startswith("no") else np.nan)
    for _ in range(2):  # again, as after an interrupt
        early.rest(live)
    if row == "at work":
        for _ in range(2):
            early.work(live)
    has, kept, other, at_rest = ROWS[row]
    assert live == (best if has == "best" else last)
    assert early.best == (None if kept is None else best)
    assert early.last == (None if other is None else last) and early.at_rest is at_rest
    assert (early.waited, early.best_epoch) == ((2, 0) if kept is None else (1, 1))
