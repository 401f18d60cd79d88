"""The model: its arrays, one step against the reference in float64, shapes, dtypes, errors."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam, reference
from fastgrad._mlp.config import ACTIVATIONS

LOSSES = ["softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"]


def data(
    loss: str, rows: int = 6, columns: int = 5, outputs: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    if loss == "softmax_cross_entropy":
        return x, rng.integers(0, outputs, rows)
    return x, rng.uniform(0, 1, (rows, outputs)).astype(np.float32)


def reference_loss(model: MLP, parameters: list, x: np.ndarray, y: np.ndarray) -> complex:
    """The loss by the textbook formulas, also for one complex parameter (complex step)."""
    h = x.astype(np.float64)
    last = len(model.weights) - 1
    for i in range(last + 1):
        activation = model.activation if i < last else None
        h = reference.linear_forward(h, parameters[2 * i], parameters[2 * i + 1], activation)
    if model.loss == "softmax_cross_entropy":
        return np.mean(np.log(np.exp(h).sum(axis=1)) - h[np.arange(len(h)), y])
    if model.loss == "mse":
        return np.mean((h - y) ** 2)
    return np.mean(np.log(1 + np.exp(h)) - h * y)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_follows_the_gradient(loss: str, activation: str | None) -> None:
    """One step of SGD(1) moves every parameter by its derivative, found by the complex step."""
    model = MLP((5, 7, 3, 4), activation, loss, SGD(1.0), np.float64, seed=3)
    x, y = data(loss)
    for b in model.biases:  # not at 0, where relu has a kink
        b[...] = np.linspace(-0.3, 0.4, len(b))
    before = [a.copy() for pair in zip(model.weights, model.biases, strict=True) for a in pair]
    found = model.train_step(x, y)
    assert found == pytest.approx(float(reference_loss(model, before, x, y).real), rel=1e-13)
    after = [a for pair in zip(model.weights, model.biases, strict=True) for a in pair]
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        for index in np.ndindex(old.shape):
            moved = [a.astype(complex) if i == place else a for i, a in enumerate(before)]
            moved[place][index] += 1e-30j
            slope = reference_loss(model, moved, x, y).imag / 1e-30
            assert old[index] - new[index] == pytest.approx(slope, rel=1e-9, abs=1e-14)


def test_parameters_are_views_of_one_flat_aligned_array() -> None:
    model = MLP((5, 7, 3), optimizer=Adam())
    arrays = [*model.weights, *model.biases]
    assert [a.shape for a in arrays] == [(5, 7), (7, 3), (7,), (3,)]
    assert isinstance(model.weights, tuple) and isinstance(model.biases, tuple)
    for a in arrays:
        assert np.shares_memory(a, model._parameters.flat) and a.flags.c_contiguous
        assert a.ctypes.data % 64 == 0
    held = model.weights[0]
    x, y = data("softmax_cross_entropy", outputs=3)
    before = held.copy()
    model.train_step(x, y)
    assert not np.array_equal(held, before) and held is model.weights[0]
    held[...] = 0  # and the other way round: the user's change counts
    assert np.array_equal(model.forward(x), model.forward(x[::-1]))


def test_initial_weights() -> None:
    he = MLP((300, 200, 10), seed=1)
    bound = math.sqrt(6 / 300)
    assert 0.99 * bound < np.abs(he.weights[0]).max() <= bound
    assert abs(float(he.weights[0].mean())) < 0.02 * bound
    assert np.abs(MLP((300, 200, 10), "tanh").weights[0]).max() <= math.sqrt(6 / 500)
    assert np.abs(he.weights[1]).max() <= math.sqrt(6 / 210)  # the last layer has no activation
    assert not any(b.any() for b in he.biases)
    double = MLP((300, 200, 10), dtype=np.float64, seed=1)
    assert np.array_equal(double.weights[0].astype(np.float32), he.weights[0])
    assert not np.array_equal(he.weights[0], MLP((300, 200, 10), seed=2).weights[0])
    frozen = MLP((2, 2), seed=0).weights[0].astype(float).tolist()
    assert frozen == FROZEN_WEIGHTS


FROZEN_WEIGHTS = [
    [0.9546611905097961, 0.13995906710624695],
    [0.7370712757110596, 1.1182259321212769],
]


def test_rows_do_not_depend_on_the_batch() -> None:
    model = MLP((5, 40, 3), "tanh")
    x = np.random.default_rng(2).standard_normal((2100, 5)).astype(np.float32)
    whole = model.forward(x)
    assert np.array_equal(whole[7:8], model.forward(x[7:8]))
    assert np.array_equal(whole[2099:], model.forward(x[2099:]))
    assert model.forward(x[:0]).shape == (0, 3)


def test_training_has_the_same_bits_again_and_for_any_layout() -> None:
    x, y = data("softmax_cross_entropy", 33)
    first, second = (MLP((5, 16, 4), "gelu", optimizer=Adam()) for _ in range(2))
    wide = np.full((66, 10), np.nan, np.float32)
    wide[::2, ::2] = x
    for _ in range(3):
        assert first.train_step(x, y) == second.train_step(wide[::2, ::2], y.astype(np.uint8))
    assert all(np.array_equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))


def test_predictions() -> None:
    x, _y = data("softmax_cross_entropy", 50)
    model = MLP((5, 4))
    logits = model.forward(x)
    assert np.array_equal(model.predict(x), logits.argmax(axis=1))
    assert model.predict(x).dtype == np.int64
    p = model.predict_proba(x)
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-5)
    binary = MLP((5, 1), loss="binary_cross_entropy_with_logits")
    assert binary.predict(x).shape == (50,) and binary.predict(x).dtype == np.int64
    assert np.array_equal(binary.predict(x) == 1, binary.predict_proba(x) > 0.5)
    assert binary.predict_proba(x).shape == (50,)
    wide = np.asfortranarray(x.astype(np.float64))  # which is not read where it lies
    assert np.array_equal(binary.predict_proba(wide), binary.predict_proba(x))
    two = MLP((5, 2), loss="binary_cross_entropy_with_logits")
    assert two.predict_proba(x).shape == two.predict_proba(wide).shape == (50, 2)
    assert MLP((5, 2), loss="mse").predict(x).shape == (50, 2)
    with pytest.raises(ValueError, match="has no probabilities"):
        MLP((5, 2), loss="mse").predict_proba(x)


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_one_output_takes_flat_targets(loss: str) -> None:
    x, y = data(loss, outputs=1)
    first, second = (MLP((5, 3, 1), loss=loss, optimizer=SGD(0.1, 0.9)) for _ in range(2))
    assert first.train_step(x, y) == second.train_step(x, y[:, 0])
    assert np.array_equal(first.weights[0], second.weights[0])


def test_smaller_batches_use_the_memory_of_the_largest() -> None:
    x, y = data("softmax_cross_entropy", 12)
    first, second = MLP((5, 8, 4)), MLP((5, 8, 4))
    memory = []
    for rows in (12, *range(1, 13)):
        loss = first.train_step(x[:rows], y[:rows])
        memory.append([id(a) for a in first._step._memory])
        fresh = copy.copy(second)
        assert fresh.train_step(x[:rows], y[:rows]) == loss
        second = fresh
    assert memory == memory[:1] * 13 and first.steps == second.steps == 13


def test_copies_are_independent_and_go_on_alike() -> None:
    x, y = data("softmax_cross_entropy")
    model = MLP((5, 8, 4), optimizer=Adam(), label_smoothing=0.1, max_grad_norm=0.5)
    model.learning_rate = 0.01
    model.train_step(x, y)
    twins = [copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    expected = [model.train_step(x, y) for _ in range(3)]
    for twin in twins:
        assert not np.shares_memory(twin._parameters.flat, model._parameters.flat)
        assert [twin.train_step(x, y) for _ in range(3)] == expected
        assert np.array_equal(twin.weights[1], model.weights[1])
        assert np.shares_memory(twin.weights[0], twin._parameters.flat)


def test_repr_says_what_it_is() -> None:
    assert repr(MLP((3, 2))) == (
        "MLP((3, 2), 'relu', 'softmax_cross_entropy', SGD(lr=0.01, momentum=0.0, nesterov=False, "
        "weight_decay=0.0), float32, seed=0)"
    )


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        (((64,),), ValueError, r"sizes is \(64,\)"),
        (((64, 0, 10),), ValueError, r"sizes is \(64, 0, 10\)"),
        ((64,), TypeError, "sizes is 64"),
        (({64, 10},), TypeError, "sizes is {"),
        (((64, 2.5),), TypeError, "sizes is"),
        (((4, 2), "rleu"), ValueError, "activation is 'rleu'; pass one of None, 'relu'"),
        (((4, 2), ["relu", None]), ValueError, "activation has 2 entries but sizes make 1 layers"),
        (((4, 2), ("rleu",)), ValueError, r"activation\[0\] is 'rleu'; pass one of None"),
        (((4, 2), {"relu"}), ValueError, "activation is"),
        (((4, 2), "relu", "hinge"), ValueError, "loss is 'hinge'"),
        (((4, 2), "relu", None), ValueError, "loss is None"),
        (((4, 2), "relu", "mse", 0.1), TypeError, "optimizer is 0.1"),
        (((4, 2), "relu", "mse", SGD(1), "float16"), TypeError, "dtype is float16"),
        (((4, 2), "relu", "mse", SGD(1), "f33"), TypeError, "dtype is 'f33'"),
        (((4, 2), "relu", "mse", SGD(1), "float32", -1), ValueError, "seed is -1"),
        (((4, 2), "relu", "mse", SGD(1), "float32", None), TypeError, "seed is None"),
    ],
)
def test_constructor_errors(args, kind, words) -> None:
    with pytest.raises(kind, match=f"^MLP: {words}") as caught:
        MLP(*args)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing is 1.5"),
        ({"label_smoothing": None}, TypeError, "label_smoothing is None"),
        ({"label_smoothing": 0.1, "loss": "mse"}, ValueError, "label_smoothing is 0.1, but loss"),
        ({"max_grad_norm": 0}, ValueError, "max_grad_norm is 0"),
        ({"max_grad_norm": math.nan}, ValueError, "max_grad_norm is nan"),
        ({"max_grad_norm": "1"}, TypeError, "max_grad_norm is '1'"),
    ],
)
def test_errors_of_settings_with_names(settings, kind, words) -> None:
    with pytest.raises(kind, match=f"^MLP: {words}"):
        MLP((4, 2), **settings)


def test_learning_rate() -> None:
    model = MLP((5, 4), optimizer=Adam(0.25))
    assert model.learning_rate == 0.25
    model.learning_rate = np.float32(0.5)
    assert type(model.learning_rate) is float and model.learning_rate == 0.5
    assert copy.copy(model).learning_rate == 0.5 and model.optimizer.lr == 0.25
    for value, kind in ((-1, ValueError), (math.nan, ValueError), ("1", TypeError)):
        with pytest.raises(kind, match=r"^MLP: learning_rate is"):
            model.learning_rate = value
    assert model.learning_rate == 0.5


def test_fit_passes_its_settings_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MLP, "_fit", lambda *args, **more: (args, more))
    model = MLP((5, 4))
    given = model.fit(
        1, 2, 3, 4, 5, 6, shuffle=7, patience=8, schedule=9, checkpoint="10", callback=11,
        weights=12, check_finite=13, block_rows=14, comm=15,
    )  # fmt: skip
    more = {"weights": 12, "check_finite": 13, "block_rows": 14, "comm": 15}
    assert given == ((model, *range(1, 10), "10", 11), more)
    more = {"weights": None, "check_finite": True, "block_rows": None, "comm": None}
    nothing = (None, True, True, None, None, None, None)
    assert model.fit(1, 2, 3) == ((model, 1, 2, 3, 32, *nothing), more)


X, Y = data("softmax_cross_entropy")


@pytest.mark.parametrize(
    ("loss", "x", "y", "kind", "words"),
    [
        (LOSSES[0], X[:, :4], Y, ValueError, r"x has shape \(6, 4\); pass \(rows, 5\)"),
        (LOSSES[0], X[0], Y, ValueError, r"x has shape \(5,\)"),
        (LOSSES[0], X.astype(str).tolist(), Y, TypeError, "x is list"),
        (LOSSES[0], X, Y[:5], ValueError, r"y has shape \(5,\) but x has 6 rows"),
        (LOSSES[0], X, Y + 1.5, TypeError, "y has dtype float64"),
        (LOSSES[0], X, Y + 4, ValueError, r"y\[\d\] is"),
        (LOSSES[0], X[:0], Y[:0], ValueError, "x has no rows"),
        (LOSSES[1], X, np.full((6, 4), 2.0), ValueError, r"y\[0, 0\] is 2.0"),
        (LOSSES[2], X, np.zeros(6), ValueError, r"y has shape \(6,\) but the output has \(6, 4\)"),
        (LOSSES[2], X, None, TypeError, "y is None"),
    ],
)
def test_step_errors_change_nothing(loss, x, y, kind, words) -> None:
    model = MLP((5, 4), loss=loss)
    before = model._parameters.flat.copy()
    with pytest.raises(kind, match=f"^MLP.train_step: {words}"):
        model.train_step(x, y)
    assert np.array_equal(model._parameters.flat, before) and model.steps == 0
