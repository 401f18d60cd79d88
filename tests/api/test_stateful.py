"""Calls in any order, drawn at random, beside a plain model of what they should do."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fastgrad import MLP, SGD, Adam, get_num_threads, matmul, num_threads, set_num_threads
from fastgrad._draws import SHUFFLE, permutation
from fastgrad._mlp.checkpoint import digest
from support.oracles import Training, assert_same_bits, contract_forward

ROWS = 12
X = np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)
TARGETS: dict[str, np.ndarray] = {
    "softmax_cross_entropy": np.random.default_rng(1).integers(0, 3, ROWS),
    "mse": np.random.default_rng(2).random((ROWS, 3)).astype(np.float32),
}
OPTIMIZERS: tuple[Any, ...] = (SGD(0.1), SGD(0.1, 0.9, True, 0.01), Adam(0.01, weight_decay=0.1))
COPIES: tuple[Callable[[MLP], MLP], ...] = (
    copy.copy,
    copy.deepcopy,
    lambda model: pickle.loads(pickle.dumps(model)),
    lambda model: through_a_file(model),
)
rates = st.sampled_from([0.0, 1e-3, 0.05, 1, np.float32(0.25)])


def through_a_file(model: MLP) -> MLP:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "m"))
        return MLP.load(Path(folder, "m"))


def contents(model: MLP) -> tuple[Any, ...]:
    states = [state.tobytes() for state in model.optimizer_state()]
    return digest(model), states, model.steps, model.epochs, model.learning_rate, repr(model)


class Models(RuleBasedStateMachine):
    """A model beside the formulas of a training step: the same bits after every call.

    Also where training diverges: numpy's warnings are off, and one NaN is as good as another.
    """

    @initialize(
        optimizer=st.sampled_from(OPTIMIZERS),
        loss=st.sampled_from(sorted(TARGETS)),
        activation=st.sampled_from(["relu", "gelu", None]),
    )
    def begin(self, optimizer: Any, loss: Any, activation: Any) -> None:
        self.model = MLP((4, 5, 3), activation, loss, optimizer, seed=3)
        self.y = TARGETS[loss]
        self.twin = Training(self.model)
        self.twin.model = SimpleNamespace(optimizer=optimizer, loss=loss, activation=activation)
        self.epochs = 0

    def step_of_twin(self, rows: Any) -> float:
        with np.errstate(all="ignore"):
            return float(self.twin.step(X[rows], self.y[rows]))

    @rule(start=st.integers(0, ROWS - 1), count=st.integers(1, ROWS))
    def train_step(self, start: int, count: int) -> None:
        rows = slice(start, start + count)
        assert_same_bits(self.model.train_step(X[rows], self.y[rows]), self.step_of_twin(rows))

    @rule(epochs=st.integers(0, 2), size=st.integers(1, 2 * ROWS), shuffle=st.booleans())
    def fit(self, epochs: int, size: int, shuffle: bool) -> None:
        history = self.model.fit(X, self.y, epochs, size, progress=False, shuffle=shuffle)
        for found in history["loss"]:
            order = permutation(ROWS, 3, SHUFFLE, self.epochs) if shuffle else np.arange(ROWS)
            parts = [order[i : i + size] for i in range(0, ROWS, size)]
            steps = sum(self.step_of_twin(part) * len(part) for part in parts)
            assert_same_bits(found, steps / ROWS)
            self.epochs += 1
        assert len(history["loss"]) == epochs

    @rule(rate=rates)
    def set_the_rate(self, rate: float) -> None:
        self.model.learning_rate = rate
        known = self.twin.model
        known.optimizer = dataclasses.replace(known.optimizer, lr=float(rate))

    @rule(i=st.integers(0, 1), value=st.sampled_from([0.0, -0.0, 0.5, -2.0]))
    def write_a_weight(self, i: int, value: float) -> None:
        self.model.weights[i][1, 2] = self.model.biases[i][0] = value
        self.twin.params[i][1, 2] = self.twin.params[2 + i][0] = value

    @rule(factor=st.sampled_from([0.0, 1.0, 0.5]))
    def set_the_state(self, factor: float) -> None:
        number = np.float32(factor)
        with np.errstate(all="ignore"):
            self.model.set_optimizer_state([s * number for s in self.model.optimizer_state()])
            self.twin.states = [tuple(s * number for s in of) for of in self.twin.states]

    @rule(way=st.sampled_from(COPIES), goes_on=st.booleans())
    def copy_it(self, way: Callable[[MLP], MLP], goes_on: bool) -> None:
        """One of the two is trained and dropped; the other is as it was."""
        old, new = self.model, way(self.model)
        assert contents(old) == contents(new)
        self.model, dropped = (new, old) if goes_on else (old, new)
        dropped.train_step(X, self.y)
        dropped.weights[0][...] = np.nan
        dropped.learning_rate = 0.7

    @rule(
        wrong=st.sampled_from(
            [
                lambda model, y: model.train_step(X[:, :3], y),
                lambda model, y: model.train_step(X, y[:-1]),
                lambda model, y: model.train_step(X.astype(str), y),
                lambda model, y: model.train_step(X[:0], y[:0]),
                lambda model, y: model.fit(X, y, 1, 0, progress=False),
                lambda model, y: model.fit(X, y, 1, 4, (X, y[:2]), False),
                lambda model, y: model.fit(X, y, 1, 4, None, False, schedule=lambda e: math.nan),
                lambda model, y: model.fit(X, y, 1, 4, None, False, checkpoint="/dev/null/m"),
                lambda model, y: model.predict(X.T),
                lambda model, y: model.save("/dev/null/m"),
                lambda model, y: setattr(model, "learning_rate", -1),
                lambda model, y: model.set_optimizer_state([np.ones(1, np.float32)] * 2),
            ]
        )
    )
    def call_it_wrongly(self, wrong: Callable[[MLP, Any], None]) -> None:
        with pytest.raises((TypeError, ValueError, OSError)):
            wrong(self.model, self.y)

    @invariant()
    def has_the_bits_of_the_formula(self) -> None:
        model, twin = self.model, self.twin
        pairs = zip([*model.weights, *model.biases], twin.params, strict=True)
        for a, b in pairs:
            assert_same_bits(a, b)
        assert (model.steps, model.epochs) == (twin.steps, self.epochs)
        assert model.learning_rate == twin.model.optimizer.lr
        in_order = [twin.states[i] for i in (0, 2, 1, 3)]  # weight 0, bias 0, weight 1, bias 1
        for i, state in enumerate(model.optimizer_state()):
            flat = np.concatenate([of[i].reshape(-1) for of in in_order])
            assert_same_bits(state, flat)

    @rule()
    def forward(self) -> None:
        h, params = X, self.twin.params
        for i, name in enumerate((self.twin.model.activation, None)):
            h = contract_forward(h, params[i], params[2 + i], name)[0]
        assert_same_bits(self.model.forward(X), h)


NAMES = ("a", "b.npz", "c d.csv")
patiences = st.sampled_from([None, 1])


class Files(RuleBasedStateMachine):
    """Models saved, loaded, damaged and replaced: what a file gives is what was put in it last."""

    @initialize()
    def begin(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.folder = Path(self.home.name)
        self.model = MLP((4, 5, 3), optimizer=SGD(0.1, 0.9))
        self.files: dict[str, tuple[Any, ...] | None] = {}  # None: damaged

    @rule(name=st.sampled_from(NAMES))
    def save(self, name: str) -> None:
        self.model.save(self.folder / name)
        self.files[name] = contents(self.model)

    @rule(name=st.sampled_from(NAMES), epochs=st.integers(0, 2), patience=patiences)
    def fit(self, name: str, epochs: int, patience: int | None) -> None:
        y = TARGETS["softmax_cross_entropy"]
        before = self.model.epochs
        options: dict[str, Any] = {"patience": patience, "checkpoint": self.folder / name}
        self.model.fit(X, y, epochs, 5, (X, y), False, **options)
        if self.model.epochs > before:
            self.files[name] = contents(self.model)

    @rule(optimizer=st.sampled_from(OPTIMIZERS), dtype=st.sampled_from(["f4", "f8"]))
    def another_model(self, optimizer: Any, dtype: str) -> None:
        self.model = MLP((4, 5, 3), "tanh", optimizer=optimizer, dtype=dtype, seed=2**70)

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def load(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        if self.files[name] is None:
            with pytest.raises(ValueError, match=r"^MLP.load: "):
                MLP.load(self.folder / name)
        else:
            self.model = MLP.load(self.folder / name)
            assert contents(self.model) == self.files[name]

    @precondition(lambda self: self.files)
    @rule(data=st.data(), share=st.floats(0, 0.99))
    def cut(self, data: Any, share: float) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        whole = (self.folder / name).read_bytes()
        (self.folder / name).write_bytes(whole[: int(len(whole) * share)])
        self.files[name] = None

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.files)))
        (self.folder / name).unlink()
        del self.files[name]
        with pytest.raises(FileNotFoundError):
            MLP.load(self.folder / name)

    @rule()
    def save_where_it_cannot_be(self) -> None:
        for place in (self.folder, self.folder / "absent" / "m", "/dev/null/m"):
            with pytest.raises(OSError):
                self.model.save(place)

    @invariant()
    def nothing_else_is_left(self) -> None:
        assert {path.name for path in self.folder.iterdir()} == set(self.files)

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.home.cleanup()


A = np.random.default_rng(3).standard_normal((150, 150)).astype(np.float32)


class Threads(RuleBasedStateMachine):
    """The number of threads beside a list of the numbers that will be restored."""

    def __init__(self) -> None:
        super().__init__()
        self.at_first = self.number = get_num_threads()
        self.entered: list[tuple[Any, int]] = []
        self.product = matmul(A, A).tobytes()

    @rule(n=st.integers(1, 64))
    def set_it(self, n: int) -> None:
        set_num_threads(n)
        self.number = n

    @rule(n=st.integers(1, 64).map(np.int32))
    def set_it_elsewhere(self, n: Any) -> None:
        thread = threading.Thread(target=set_num_threads, args=(n,))
        thread.start()
        thread.join()
        self.number = int(n)

    @rule(n=st.one_of(st.integers(max_value=0), st.integers(65), st.floats(), st.none(), st.text()))
    def set_it_wrongly(self, n: Any) -> None:
        for function in (set_num_threads, num_threads):
            with pytest.raises((TypeError, ValueError), match=rf"^{function.__name__}: n is "):
                function(n)

    @rule(n=st.integers(1, 64))
    def enter(self, n: int) -> None:
        context = num_threads(n)
        self.is_as_said()  # nothing before it is entered
        context.__enter__()
        self.entered.append((context, self.number))
        self.number = n

    @precondition(lambda self: self.entered)
    @rule(error=st.sampled_from([None, ValueError("x"), KeyboardInterrupt()]))
    def leave(self, error: BaseException | None) -> None:
        context, self.number = self.entered.pop()
        if error is None:
            context.__exit__(None, None, None)
        else:
            assert not context.__exit__(type(error), error, None)  # it goes on

    @rule()
    def multiply(self) -> None:
        assert matmul(A, A).tobytes() == self.product

    @invariant()
    def is_as_said(self) -> None:
        assert get_num_threads() == self.number

    def teardown(self) -> None:
        while self.entered:  # or what is left would be restored when it is collected
            self.entered.pop()[0].__exit__(None, None, None)
        set_num_threads(self.at_first)


@pytest.mark.parametrize(
    ("machine", "examples", "steps"), [(Models, 12, 15), (Files, 10, 15), (Threads, 15, 20)]
)
def test_in_any_order(machine: Any, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps)
    )


@pytest.mark.fuzz
@pytest.mark.parametrize("machine", [Models, Files, Threads])
def test_in_any_order_for_long(machine: Any) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=300, stateful_step_count=50))
