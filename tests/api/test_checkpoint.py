"""Saved models: bits that come back, files that are whole or not there, files that lie."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, Adam
from fastgrad._mlp.checkpoint import digest
from fastgrad._mlp.state import Run


def trained(optimizer: SGD | Adam = SGD(0.1, 0.9), **options) -> tuple[MLP, np.ndarray, np.ndarray]:  # noqa: B008
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((20, 5)).astype(np.float32), rng.integers(0, 3, 20)
    model = MLP((5, 7, 3), optimizer=optimizer, seed=4, **options)
    model.fit(x, y, 2, 8, progress=False)
    return model, x, y


@pytest.mark.parametrize("optimizer", [SGD(0.1), SGD(0.1, 0.9, True, 0.01), Adam(0.01, (0.8, 0.9))])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_goes_on_bit_for_bit(tmp_path: Path, optimizer, dtype: str) -> None:
    model, x, y = trained(optimizer, activation="silu", dtype=dtype)
    model.save(tmp_path / "m.npz")
    loaded = MLP.load(tmp_path / "m.npz")
    assert repr(loaded) == repr(model) and loaded.optimizer == optimizer
    assert (loaded.steps, loaded.epochs) == (model.steps, model.epochs) == (6, 2)
    assert digest(loaded) == digest(model)
    first, second = (m.fit(x, y, 3, 8, progress=False)["loss"] for m in (model, loaded))
    assert first == second and digest(loaded) == digest(model)


def test_smoothing_and_the_limit_of_the_norm_come_back(tmp_path: Path) -> None:
    model, x, y = trained(label_smoothing=0.1, max_grad_norm=0.5)
    model.save(tmp_path / "m.npz")
    loaded = MLP.load(tmp_path / "m.npz")
    assert (loaded.label_smoothing, loaded.max_grad_norm) == (0.1, 0.5)
    losses = [m.fit(x, y, 2, 8, progress=False)["loss"] for m in (model, loaded)]
    plain = MLP.load(tmp_path / "m.npz")
    assert losses[0] == losses[1] and digest(model) == digest(loaded) != digest(plain)


def test_the_file(tmp_path: Path) -> None:
    model, *_ = trained()
    for name in ("a.npz", "b"):  # exactly the name that was given
        model.save(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "b"]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        history = {"history_loss", "history_learning_rate", "history_seconds"}
        arrays = {"weight_0", "bias_0", "weight_1", "bias_1", "state_0"}
        assert set(file) == {"meta"} | arrays | history
        assert file["history_learning_rate"].tolist() == [0.1, 0.1]
        assert np.array_equal(file["weight_1"], model.weights[1])
        assert file["state_0"].shape == (5 * 7 + 7 + 7 * 3 + 3,)
        meta = json.loads(file["meta"].tobytes())
    assert meta["bits_version"] == fastgrad.BITS_VERSION and meta["version"] == 2
    assert meta["optimizer_settings"]["momentum"] == 0.9


def test_no_activation_and_non_finite_weights(tmp_path: Path) -> None:
    model = MLP((3, 2, 2), None, seed=2**70)
    model.weights[0][0] = [np.nan, -np.inf]
    model.save(tmp_path / "m.npz")
    loaded = MLP.load(tmp_path / "m.npz")
    assert loaded.activation is None and loaded.seed == 2**70
    assert np.array_equal(loaded.weights[0], model.weights[0], equal_nan=True)


def test_digest() -> None:
    model = MLP((2, 2), seed=0)
    first = digest(model)
    assert len(first) == 16 and int(first, 16) and first == digest(MLP((2, 2), seed=0))
    model.biases[0][1] = -0.0
    assert digest(model) != first  # bits, not values
    model.biases[0][1] = 0.0
    assert digest(model) == first
    model.biases[0][0] = np.nan
    second = digest(model)
    model.biases[0].view(np.uint32)[0] ^= 0x80000001  # another NaN
    assert np.isnan(model.biases[0][0]) and digest(model) == second != first


# Python 3.14 tells of a member of a zip file that nobody could close any more
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_replacing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, *_ = trained()
    path = tmp_path / "m.npz"
    model.save(path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "write_array", full)
        with pytest.raises(OSError, match="No space left"):
            model.save(path)
    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        model.save(path)
    for place in ("_open_to_write", "_write_end_record"):
        with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, place, interrupted(getattr(zipfile.ZipFile, place)))
            model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.npz"]


def interrupted(method: Callable[..., object]) -> Callable[..., object]:
    """The method, and Ctrl-C at its end."""

    def call(*args: object, **kwargs: object) -> object:
        made = method(*args, **kwargs)
        raise KeyboardInterrupt(made)  # which is open as long as the error is looked at

    return call


def members(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def with_meta(**changes: object):
    def change(arrays: dict[str, np.ndarray]) -> None:
        meta = json.loads(arrays["meta"].tobytes()) | changes
        text = json.dumps({k: v for k, v in meta.items() if v != "GONE"})
        arrays["meta"] = np.frombuffer(text.encode(), np.uint8)

    return change


def with_array(name: str, value: np.ndarray):
    return lambda arrays: arrays.update({name: value})


EARLY = {"validation": "00", "best_loss": 0.5, "best_epoch": 1, "waited": 0}
LIES = {
    "no meta": (lambda arrays: arrays.pop("meta"), "not a model saved by fastgrad"),
    "meta is no JSON": (with_array("meta", np.zeros(3, np.uint8)), "its settings are damaged"),
    "meta is a list": (with_array("meta", np.frombuffer(b"[]", np.uint8)), "not a model"),
    "meta is deep": (
        with_array("meta", np.frombuffer(b"[" * 100_000, np.uint8)),
        "its settings are damaged",
    ),
    "another format": (with_meta(format="x"), "not a model saved by fastgrad"),
    "newer": (with_meta(version=3), "format version 3; this fastgrad reads up to 2"),
    "version 0": (with_meta(version=0), "format version 0"),
    "version is true": (with_meta(version=True), "format version True"),
    "version is no number": (with_meta(version="1"), "format version '1'"),
    "no sizes": (with_meta(sizes="GONE"), "its settings are damaged"),
    "sizes of text": (with_meta(sizes=["a", 3]), "invalid literal"),
    "huge sizes": (with_meta(sizes=[10**9, 10**9]), "weight_0 is float32 of shape"),
    "infinite sizes": (with_meta(sizes=[float("inf"), 3]), "its settings are damaged"),
    "other sizes": (with_meta(sizes=[5, 3]), "weight_0 is float32 of shape"),
    "more layers": (with_meta(sizes=[5, 7, 3, 3]), "no array named 'weight_2'"),
    "no layers": (with_meta(sizes=[]), "sizes is"),
    "other dtype": (with_meta(dtype="float64"), "weight_0 is float32"),
    "no dtype": (with_meta(dtype="complex64"), "damaged .KeyError: 'complex64'"),
    "dtype is a program": (with_meta(dtype="(9,9)f4,O"), "its settings are damaged"),
    "dtype is a list": (with_meta(dtype=["f4"]), "its settings are damaged"),
    "long name": (with_meta(optimizer="x" * 999), "its settings are damaged"),
    "deep": (with_meta(x=json.loads("[" * 200 + "]" * 200)), "settings are damaged$"),
    "activation": (with_meta(activation="x"), "activation is 'x'"),
    "loss": (with_meta(loss=["mse"]), "loss is"),
    "optimizer": (with_meta(optimizer="Lion"), "its settings are damaged"),
    "settings": (with_meta(optimizer_settings={"lr": "x"}), "its settings are damaged"),
    "bad settings": (with_meta(optimizer_settings={"lr": -1}), "lr is -1"),
    "unknown settings": (with_meta(optimizer_settings={"lr": 1, "x": 1}), "settings are damaged"),
    "seed": (with_meta(seed=-1), "seed is -1"),
    "steps": (with_meta(steps=-1), "its settings are damaged"),
    "epochs": (with_meta(epochs=1.5), "its settings are damaged"),
    "weight dtype": (with_array("weight_0", np.zeros((5, 7))), "weight_0 is float64"),
    "bias shape": (with_array("bias_0", np.zeros(8, np.float32)), r"bias_0 is float32 of shape"),
    "state shape": (with_array("state_0", np.zeros(8, np.float32)), "state_0 is float32"),
    "state is missing": (lambda arrays: arrays.pop("state_0"), "no array named 'state_0'"),
    "smoothing": (with_meta(label_smoothing=2), "label_smoothing is 2"),
    "no smoothing": (with_meta(label_smoothing="GONE"), "its settings are damaged"),
    "norm": (with_meta(max_grad_norm="x"), "its settings are damaged"),
    "no rate": (with_meta(learning_rate="GONE"), "its settings are damaged"),
    "rate": (with_meta(learning_rate=-0.5), "learning_rate is -0.5"),
    "infinite rate": (with_meta(learning_rate=float("inf")), "learning_rate is inf"),
    "rate of text": (with_meta(learning_rate="0.1"), "learning_rate is '0.1'"),
    "history": (with_meta(history="loss"), "history is 'loss'"),
    "history of numbers": (with_meta(history=[7]), "no array named 'history_7'"),
    "history of float32": (
        with_array("history_loss", np.zeros(2, np.float32)),
        "history_loss is float32",
    ),
    "history of rows": (with_array("history_loss", np.zeros((2, 1))), "history_loss is float64 of"),
    "history is longer": (with_array("history_loss", np.zeros(3)), "differ in length"),
    "early stop": (with_meta(early_stop=[1]), "its settings are damaged"),
    "early stop is empty": (with_meta(early_stop={}), "its settings are damaged"),
    "best loss": (with_meta(early_stop=EARLY | {"best_loss": float("nan")}), "best_loss is nan"),
    "waited": (with_meta(early_stop=EARLY | {"waited": -1}), "waited is -1"),
    "no last": (with_meta(early_stop=EARLY), "no array named 'last'"),
    "meta is long": (
        with_array("meta", np.frombuffer(b" " * (1 << 20) + b"{}", np.uint8)),
        "1048576 is the limit",
    ),
    "object": (with_array("weight_0", np.array([[None]])), "array 'weight_0'"),
}


@pytest.mark.parametrize("case", LIES)
def test_files_that_lie(tmp_path: Path, case: str) -> None:
    change, words = LIES[case]
    path = tmp_path / "m.npz"
    trained()[0].save(path)
    arrays = members(path)
    change(arrays)
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=words) as caught:
        MLP.load(path)
    message = str(caught.value)
    assert message.startswith(f"MLP.load: {path}: ") and "\n" not in message


def test_the_last_parameters_have_the_size_of_the_best(tmp_path: Path) -> None:
    model, x, y = trained()
    path = tmp_path / "m.npz"
    model.fit(x, y, 3, 8, validation=(x, y), patience=5, progress=False)
    model.save(path)
    assert MLP.load(path).epochs == 5
    arrays = members(path)
    for wrong in (arrays["last"][1:], arrays["last"].astype(float), arrays["last"][None]):
        np.savez(path, **(arrays | {"last": wrong}))
        with pytest.raises(ValueError, match=r"MLP.load: .*: last is float.* but the settings say"):
            MLP.load(path)


def test_version_1_is_read(tmp_path: Path) -> None:
    """As it was written before there were histories, learning rates and early stopping."""
    model, x, y = trained()
    path = tmp_path / "m.npz"
    model.save(path)
    arrays = {k: v for k, v in members(path).items() if not k.startswith("history")}
    gone = ("learning_rate", "history", "early_stop", "last_fit")
    with_meta(version=1, **dict.fromkeys(gone, "GONE"))(arrays)
    np.savez(path, **arrays)
    loaded = MLP.load(path)
    assert loaded.learning_rate == 0.1 and loaded._run == Run(2)
    assert model._run.history
    losses = [m.fit(x, y, 2, 8, progress=False)["loss"] for m in (model, loaded)]
    assert losses[0] == losses[1] and digest(loaded) == digest(model)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDWR)  # or opening it would wait, were it opened
    with pytest.raises(ValueError, match="pipe: not a regular file"):
        MLP.load(tmp_path / "pipe")
    os.close(held)
    with pytest.raises(IsADirectoryError):
        MLP.load(tmp_path)


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    path, copy = tmp_path / "m.npz", tmp_path / "c.npz"
    model = trained()[0]
    model.save(path)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 61):
        copy.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"^MLP.load: "):
            MLP.load(copy)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        copy.write_bytes(damaged)
        try:
            assert digest(MLP.load(copy)) == digest(model)  # the damage hit nothing that is read
        except ValueError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(10_000_000, np.uint8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.npy", buffer.getvalue())
    with pytest.raises(ValueError, match="is the limit of a file"):
        MLP.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        MLP.load(tmp_path / "absent.npz")
