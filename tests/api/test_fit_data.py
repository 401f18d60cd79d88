"""Data of fit and evaluate: numbers that are none, a validation by its fraction; callbacks."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam
from fastgrad._mlp.checkpoint import digest
from fastgrad.datasets import validation_split

MSE = "mse"


def blobs(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, rows)
    return rng.standard_normal((rows, 4)) + 3 * np.eye(3, 4)[y], y


def model(**options: Any) -> MLP:
    return MLP((4, 8, 3), optimizer=Adam(0.01), seed=5, **options)


# numbers that are none


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39])
def test_x_is_judged_as_the_model_holds_it(value: float) -> None:
    x, y = blobs()
    x[17, 2] = value
    for net in (model(), model(dtype=np.float64)):
        if value == 1e39 and net.dtype == np.float64:
            continue
        before = digest(net)
        words = rf"x\[17, 2\] \(row 17, column 2\) is (nan|inf|-inf) as {net.dtype}; clean the data"
        with pytest.raises(ValueError, match=rf"^MLP.fit: {words}"):
            net.fit(x, y, 1, 8, progress=False)
        with pytest.raises(ValueError, match=rf"^MLP.evaluate: {words}"):
            net.evaluate(x, y)
        with pytest.raises(ValueError, match=rf"^MLP.fit \(validation\): {words}"):
            net.fit(*blobs(), 1, 8, validation=(x, y), progress=False)
        assert digest(net) == before and net.epochs == 0
        assert math.isnan(net.evaluate(x, y, check_finite=False)["loss"]) or value != value
        with pytest.warns(RuntimeWarning, match="after epoch 1"):
            assert len(net.fit(x, y, 3, 8, progress=False, check_finite=False)["loss"]) == 1


def test_y_is_judged_likewise() -> None:
    x, _ = blobs()
    y = np.zeros((60, 2))
    y[3, 1] = 1e39
    with pytest.raises(
        ValueError, match=r"^MLP.fit: y\[3, 1\] \(row 3, column 1\) is inf as float32"
    ):
        MLP((4, 2), loss=MSE).fit(x, y, 1, progress=False)
    assert MLP((4, 2), loss=MSE, dtype=np.float64, optimizer=SGD(0)).fit(x, y, 1, progress=False)[
        "loss"
    ]
    for name in ("shuffle", "progress"):
        for value, shown in ((1, "int 1"), (None, "None"), ("no", "str 'no'")):
            with pytest.raises(TypeError, match=rf"^MLP.fit: {name} is {shown}, expected True or"):
                model().fit(*blobs(), 1, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^MLP.fit: check_finite is int 1"):
        model().fit(*blobs(), 1, progress=False, check_finite=1)  # type: ignore[arg-type]


def test_a_step_is_unchecked() -> None:
    x, y = blobs()
    x[0, 0] = np.nan
    assert math.isnan(model().train_step(x, y)) and math.isnan(model().loss_and_grads(x, y))


def test_a_large_array_is_looked_at_in_pieces() -> None:
    from fastgrad._mlp.finite import check_finite

    a = np.zeros((1 << 18, 9), np.float32)
    check_finite("f", a=a, b=np.zeros((0, 3)), c=np.arange(3))
    a[-1, -1] = np.nan
    with pytest.raises(
        ValueError, match=rf"^f: a\[{len(a) - 1}, 8\] \(row {len(a) - 1}, column 8\)"
    ):
        check_finite("f", a=a)
    with pytest.raises(ValueError, match=r"^f: b\[1\] \(row 1\) is inf as float64"):
        check_finite("f", b=np.array([0, np.inf]))


# a training that diverges


def test_a_loss_that_is_no_number_ends_fit() -> None:
    x, y = blobs()
    net = MLP((4, 8, 3), optimizer=SGD(1e-3))
    rates = [1e-3, 1e-3, 1e38, 1e-3, 1e-3, 1e-3]
    words = (
        r"^MLP.fit: the loss is (nan|inf) after epoch (3|4); training has diverged and ends here"
    )
    with pytest.warns(RuntimeWarning, match=words) as caught:
        history = net.fit(x, y, 6, 8, progress=False, schedule=lambda epoch: rates[epoch])
    assert caught[0].filename == __file__
    assert len(history["loss"]) == net.epochs < 6 and np.isfinite(history["loss"][:-1]).all()
    assert not np.isfinite(history["loss"][-1])
    assert {len(values) for values in history.values()} == {net.epochs}
    assert np.array_equal(net.history["loss"], history["loss"], equal_nan=True)


def test_with_patience_the_best_parameters_stay() -> None:
    x, y = blobs()
    net, short = (MLP((4, 8, 3), optimizer=SGD(0.05), seed=2) for _ in range(2))
    rates = [0.05, 0.05, 0.05, 1e38, 0.05, 0.05]
    short.fit(x, y, 3, 8, progress=False)
    with pytest.warns(RuntimeWarning, match="diverged"):
        history = net.fit(
            x, y, 6, 8, (x, y), False, patience=5, schedule=lambda epoch: rates[epoch]
        )
    best = int(np.nanargmin(history["validation_loss"]))
    assert best == 2 and digest(net) == digest(short)
    assert all(np.isfinite(w).all() for w in net.weights)


# a validation by its fraction


@pytest.mark.parametrize("share", [0.1, 0.25, np.float32(0.1), np.float64(0.3), Fraction(1, 10)])
def test_a_fraction_is_the_split_of_the_command_line(share: Any) -> None:
    x, y = blobs()
    one, other = model(), model()
    first = one.fit(x, y, 3, 8, share, False)
    train, apart = validation_split(y, Fraction(str(share)), 5)
    second = other.fit(x[train], y[train], 3, 8, (x[apart], y[apart]), False)
    assert digest(one) == digest(other) and first["validation_loss"] == second["validation_loss"]
    assert one.fit(x, y, 3, 8, share, False, patience=1)["loss"]  # patience has what it needs


def test_fractions_of_other_targets() -> None:
    x, y = blobs()
    nets = [
        (MLP((4, 3)), np.eye(3)[y]),
        (MLP((4, 1), loss="binary_cross_entropy_with_logits"), y > 0),
        (MLP((4, 3), loss="binary_cross_entropy_with_logits"), np.eye(3)[y]),
        (MLP((4, 1), loss=MSE), x[:, 0]),
    ]
    for net, targets in nets:
        history = net.fit(x, targets, 1, 8, 0.5, False)
        assert len(history["validation_loss"]) == 1 and net.steps == 4
    train, apart = validation_split(y, Fraction(1, 2))
    assert (
        MLP((4, 3)).fit(
            x[train], np.eye(3)[y][train], 1, 8, (x[apart], np.eye(3)[y][apart]), False
        )["validation_loss"]
        == MLP((4, 3)).fit(x, np.eye(3)[y], 1, 8, 0.5, False)["validation_loss"]
    )


@pytest.mark.parametrize(
    ("validation", "kind", "words"),
    [
        (0.0, ValueError, "validation is 0.0; pass a fraction between 0 and 1"),
        (1, ValueError, "validation is 1; pass a fraction between 0 and 1"),
        (math.nan, ValueError, "validation is nan; pass a fraction"),
        (1e-9, ValueError, "validation is 1e-09, but 60 rows in 3 classes are too few"),
        (True, TypeError, "validation is bool; pass a tuple"),
        ("0.1", TypeError, "validation is str; pass a tuple"),
    ],
)
def test_no_fraction(validation: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=f"^MLP.fit: {words}"):
        model().fit(*blobs(), 1, 8, validation, False)


# callbacks


def test_a_callback_sees_every_epoch_and_may_end_it() -> None:
    x, y = blobs()
    seen: list[int] = []

    def callback(history: dict[str, list[float]]) -> bool:
        seen.append(len(history["loss"]))
        assert set(history) == {"loss", "learning_rate", "seconds"}
        return len(seen) == 3

    net = model()
    assert len(net.fit(x, y, 9, progress=False, callback=callback)["loss"]) == 3 == net.epochs
    assert seen == [1, 2, 3]
    assert len(net.fit(x, y, 2, progress=False, callback=lambda history: None)["loss"]) == 2
    assert net.steps == 5 * 2  # batches of 32, unless told otherwise
    with pytest.raises(TypeError, match=r"^MLP.fit: callback is 3; pass a function of the history"):
        net.fit(x, y, 1, progress=False, callback=3)  # type: ignore[arg-type]


def test_a_callback_that_raises_loses_no_epoch() -> None:
    x, y = blobs()
    net = model()

    def callback(history: dict[str, list[float]]) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError), warnings.catch_warnings():
        net.fit(x, y, 9, progress=False, callback=callback)
    assert net.epochs == 1 and len(net.history["loss"]) == 1
