"""What may be set on a model is what it uses; the rest is refused, with the way to go instead."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.config import SETTINGS, Config

X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
Y = np.arange(12) % 3


def model(**options: Any) -> MLP:
    return MLP((4, 5, 3), **{"optimizer": SGD(0.1, 0.9), "seed": 3} | options)


OTHERS: dict[str, Any] = {
    "sizes": (4, 3), "activation": "tanh", "loss": "mse", "optimizer": Adam(), "dtype": np.float64,
    "seed": 4, "label_smoothing": 0.1, "max_grad_norm": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_read_only(name: str) -> None:
    net = model()
    before = getattr(net, name)
    with pytest.raises(AttributeError, match=f"^MLP: {name} cannot be assigned; .*new MLP"):
        setattr(net, name, OTHERS[name])
    with pytest.raises(AttributeError, match=f"^MLP: {name} cannot be deleted; "):
        delattr(net, name)
    assert getattr(net, name) == before


@pytest.mark.parametrize("value", [None, 3, "same"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights", r"write into the arrays: model.weights\[i\]\[...\] = values"),
        ("biases", r"write into the arrays: model.biases\[i\]\[...\] = values"),
        ("history", r"model.reset\(\) begins a new one"),
        ("train_step", "a subclass may add attributes of other names"),
        ("__class__", "a subclass may add attributes of other names"),
        ("_parameters", "a subclass may add attributes of other names"),
    ],
)
def test_nor_are_arrays_methods_and_parts(name: str, words: str, value: Any) -> None:
    net = model()
    given = getattr(net, name) if value == "same" else value
    with pytest.raises(AttributeError, match=f"^MLP: {name} cannot be assigned; {words}$"):
        setattr(net, name, given)


@pytest.mark.parametrize("name", ["lr", "wieghts", "x", "_mine", "batch_size"])
def test_an_unknown_attribute_is_refused(name: str) -> None:
    net = model()
    with pytest.raises(AttributeError, match=f"^MLP: there is no attribute '{name}'; ") as caught:
        setattr(net, name, 3)
    assert ("model.learning_rate" in str(caught.value)) == (name == "lr")
    assert str(caught.value).endswith("there is weights") == (name == "wieghts")
    assert not hasattr(net, name)


def test_in_the_order_in_which_people_do_it(tmp_path: Path) -> None:
    """Try to change a trained model, go on regardless: it is the model that it was."""
    net, twin = model(), model()
    for each in (net, twin):
        each.fit(X, Y, 2, 4, progress=False)
    for change in (
        lambda: setattr(net, "weights", [w * 0 for w in net.weights]),
        lambda: setattr(net, "optimizer", Adam(1.0)),
        lambda: setattr(net.optimizer, "lr", 1.0),  # frozen
        lambda: vars(net).update(max_grad_norm=1e-9),  # no way at all: the property stays
        lambda: net.history["loss"].clear(),  # a copy
        lambda: net.optimizer_state()[0].fill(7),  # copies
        lambda: net.weights.__setitem__(0, 1),  # type: ignore[attr-defined]
    ):
        try:
            change()
        except AttributeError:
            pass
    del vars(net)["max_grad_norm"]
    net.save(tmp_path / "m.npz")
    there = (MLP.load(tmp_path / "m.npz"), copy.copy(net), pickle.loads(pickle.dumps(net)))
    for each in (net, twin, *there):
        each.fit(X, Y, 2, 4, progress=False)
    assert {digest(each) for each in (net, twin, *there)} == {digest(net)}
    assert net.history["loss"] == twin.history["loss"] and len(net.history["loss"]) == 4


def test_what_may_be_set_is_used() -> None:
    net, other = model(optimizer=Adam(0.1)), model(optimizer=Adam(0.1))
    net.train_step(X, Y)
    net.learning_rate, net.steps, net.epochs = 0.5, 1000, 7
    assert (net.learning_rate, net.steps, net.epochs) == (0.5, 1000, 7)
    other.train_step(X, Y)
    for each in (net, other):
        each.fit(X, Y, 1, 4, progress=False)
    assert net.epochs == 8 and net.steps == 1003 and digest(net) != digest(other)


@pytest.mark.parametrize("name", ["steps", "epochs"])
@pytest.mark.parametrize(
    ("value", "kind"), [(-1, ValueError), (1.5, TypeError), ("3", TypeError), (None, TypeError)]
)
def test_counts_are_checked(name: str, value: Any, kind: type[Exception]) -> None:
    net = model()
    with pytest.raises(kind, match=f"^MLP: {name} is "):
        setattr(net, name, value)
    assert getattr(net, name) == 0
    with pytest.raises(ValueError, match=r"steps is 9223372036854775808; it must be below 2\*\*63"):
        net.steps = 2**63


def test_the_state_may_be_lists() -> None:
    net, other = model(optimizer=Adam(0.1)), model(optimizer=Adam(0.1))
    net.train_step(X, Y)
    other.set_optimizer_state([state.tolist() for state in net.optimizer_state()])
    for mine, theirs in zip(net.optimizer_state(), other.optimizer_state(), strict=True):
        assert np.array_equal(mine, theirs)
    with pytest.raises(ValueError, match=r"states\[0\] has shape \(2,\) but the model has"):
        net.set_optimizer_state([[1, 2], [3, 4]])  # type: ignore[list-item]
    size = net.optimizer_state()[0].size
    with np.errstate(all="raise"):
        net.set_optimizer_state([np.ones(size), np.full(size, 1e300)])
    assert np.isposinf(net.optimizer_state()[1]).all()  # as everywhere: too large for float32


class Tagged(MLP):
    """A subclass that adds attributes, and has a forward of its own."""

    tag: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        return super().forward(x) + self.shift

    shift = 0.0


def test_a_subclass_may_add_attributes(tmp_path: Path) -> None:
    net = Tagged((4, 5, 3), seed=3)
    net.tag, net.notes = ["a"], {"b": 1}
    net.notes["c"] = 2
    for name in ("weights", "activation", "fit", "_step"):
        with pytest.raises(AttributeError, match=f"^MLP: {name} cannot be assigned"):
            setattr(net, name, 1)
    for twin in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(twin) is Tagged and (twin.tag, twin.notes) == (["a"], {"b": 1, "c": 2})
        assert digest(twin) == digest(net)
    assert copy.deepcopy(net).tag is not net.tag
    del net.notes
    assert not hasattr(net, "notes")
    net.save(tmp_path / "m.npz")
    assert type(Tagged.load(tmp_path / "m.npz")) is Tagged
    history = [net.fit(X, Y, 1, 4, (X, Y), False)["validation_loss"]]
    net.reset()
    net.shift = np.linspace(0, 9, 3, dtype=np.float32)
    history.append(net.fit(X, Y, 1, 4, (X, Y), False)["validation_loss"])
    assert history[0] != history[1] and net.tag == ["a"]


def test_configs_are_compared_by_value() -> None:
    configs = [model(**{name: OTHERS[name]})._config for name in ("seed", "activation")]
    assert model()._config == model()._config == copy.copy(model())._config
    assert configs[0] != model()._config != configs[1]
    assert model(dtype="f4")._config == model(dtype=np.dtype("<f4"))._config
    assert MLP([4, 5, 3], seed=np.int64(3))._config == MLP((4, 5, 3), seed=3)._config
    with pytest.raises(dataclasses.FrozenInstanceError):
        model()._config.seed = 9  # type: ignore[misc]
    with pytest.raises(ValueError, match=r"^MLP: seed is -1"):
        dataclasses.replace(model()._config, seed=-1)
    assert {field.name for field in dataclasses.fields(Config)} == set(OTHERS)


# reset --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(0.1, 0.9), Adam(0.02)])
def test_reset_is_as_new(optimizer: SGD | Adam) -> None:
    net, new = model(optimizer=optimizer), model(optimizer=optimizer)
    held = net.weights[0]
    net.fit(X, Y, 9, 4, validation=(X[:4], Y[:4]), patience=1, progress=False)
    net.train_step(X, Y)
    net.learning_rate, net.weights[1][0, 0] = 0.7, np.nan
    net.reset()
    assert digest(net) == digest(new) and held is net.weights[0]
    assert (net.steps, net.epochs, net.history) == (0, 0, {})
    assert net.learning_rate == optimizer.lr and net._run == new._run
    for each in (net, new):
        each.fit(X, Y, 3, 4, validation=(X[:4], Y[:4]), patience=1, progress=False)
    assert digest(net) == digest(new) and net.steps == new.steps


def test_folds_do_not_leak() -> None:
    """The order in which people do it: one model, a loop over folds."""
    net, found, alone = model(), [], []
    for fold in range(3):
        held = np.arange(12) % 3 == fold
        net.reset()
        net.fit(X[~held], Y[~held], 4, 4, progress=False)
        found.append(digest(net))
        fresh = model()
        fresh.fit(X[~held], Y[~held], 4, 4, progress=False)
        alone.append(digest(fresh))
    assert found == alone and len(set(found)) == 3


def test_reset_of_a_loaded_and_of_a_copied_model(tmp_path: Path) -> None:
    net = model()
    net.fit(X, Y, 2, 4, progress=False)
    net.save(tmp_path / "m.npz")
    for twin in (MLP.load(tmp_path / "m.npz"), copy.copy(net)):
        twin.reset()
        assert digest(twin) == digest(model()) and twin.history == {}
    assert net.epochs == 2 and len(net.history["loss"]) == 2


def test_a_rate_that_is_0_in_the_dtype(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((8, 3)), np.arange(8) % 2
    model = MLP((3, 2))
    with pytest.raises(ValueError, match=r"^MLP: learning_rate is 1e-60, which is 0 in float32; "):
        model.learning_rate = 1e-60
    with pytest.raises(
        ValueError, match=r"^MLP.fit: schedule\(0\) is 1e-60, which is 0 in float32"
    ):
        model.fit(x, y, 1, progress=False, schedule=lambda epoch: 1e-60)
    assert model.learning_rate == 0.01 and model.steps == 0
    model.learning_rate = 0.0
    model.fit(x, y, 1, progress=False, schedule=lambda epoch: 0)
    MLP((3, 2), dtype=np.float64).learning_rate = 1e-60
