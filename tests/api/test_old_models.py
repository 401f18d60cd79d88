"""Files and pickles of earlier versions load, and go on to the bits that they went on to."""

from __future__ import annotations

import copy
import json
import pickle
import pickletools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, Adam, AdamW
from fastgrad._mlp import state
from fastgrad._ops import optimizers
from support.old_models import CASES, FOLDER, OPTIMIZERS, facts, go_on, make

EXPECTED = json.loads((FOLDER / "expected.json").read_text())
WAYS = ("file", "flat", "folders", "now")


def load(way: str, name: str) -> Any:
    if way == "file":
        return MLP.load(FOLDER / f"{name}.npz")
    if way == "now":
        return pickle.loads(pickle.dumps(make(name)))
    return pickle.loads((FOLDER / f"{way}_models.pickle").read_bytes())[name]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_a_model_goes_on_to_the_same_bits(way: str, name: str) -> None:
    model = load(way, name)
    if way == "now":  # beside the model itself: its bits are those of today's BITS_VERSION
        other = make(name)
        assert facts(model) == facts(other)
        assert go_on(name, model) | facts(model) == go_on(name, other) | facts(other)
        return
    assert facts(model) == EXPECTED[name]["now"]
    then = "then from a file" if way == "file" else "then"
    assert go_on(name, model) | facts(model) == EXPECTED[name][then]


@pytest.mark.parametrize("name", CASES)
def test_through_a_file_of_now(name: str, tmp_path: Path) -> None:
    make(name).save(tmp_path / "m.npz")
    model, other = MLP.load(tmp_path / "m.npz"), make(name)
    assert facts(model) == facts(other)
    assert go_on(name, model) | facts(model) == go_on(name, other) | facts(other)


def test_the_cases_hold_every_state() -> None:
    states = [MLP.load(FOLDER / f"{name}.npz")._run for name in CASES]
    early = [run.early for run in states if run.early is not None]
    assert {e.best is None for e in early} == {True, False} and any(e.waited for e in early)
    assert len(EXPECTED["stopped"]["then"]["history"]["loss"]) < 40
    assert EXPECTED["stopped"]["then"]["epochs_done"] == 0


@pytest.mark.parametrize("way", ["flat", "folders"])
def test_public_names_in_old_pickles(way: str) -> None:
    found = pickle.loads((FOLDER / f"{way}_settings.pickle").read_bytes())
    *settings, grads, error, function = found
    assert settings == list(OPTIMIZERS.values())
    assert {type(o) for o in settings} == {SGD, Adam, AdamW}
    assert type(grads) is fastgrad.LinearGrads and np.array_equal(grads.weight, [0, 1])
    assert type(error).__name__ == "DataError" and function is fastgrad.matmul


def test_a_pickle_names_what_is_public() -> None:
    """So that modules may move."""
    model = load("file", "stopped")
    for what in (model, SGD(0.1), Adam(), fastgrad.LinearGrads(None, None, None)):
        names = {
            value.split(" ")[0]
            for code, value, _ in pickletools.genops(pickle.dumps(what, 2))
            if code.name == "GLOBAL"
        }
        ours = {name for name in names if name.startswith("fastgrad")}
        assert ours <= {"fastgrad"} and names


def test_of_another_formula_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "gelu-adam-decay"
    for way in ("file", "flat", "folders"):
        monkeypatch.setattr(state, "_has_told", False)
        with pytest.warns(UserWarning, match="a model of BITS_VERSION 1 goes on under 2"):
            model = load(way, name)
        assert model.optimizer == OPTIMIZERS["adam-decay"] and type(model.optimizer) is AdamW
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load(way, name)
    monkeypatch.setattr(state, "_has_told", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("now", name)


def test_adam_tells_of_adamw_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(optimizers, "_has_told", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adam(0.1), AdamW(0.1, weight_decay=0.1)
    with pytest.warns(FutureWarning, match="AdamW is that optimizer") as told:
        coupled = Adam(0.1, weight_decay=0.1)
    assert [warning.filename for warning in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Adam(0.1, weight_decay=0.1)
    MLP((3, 2), optimizer=coupled).save(tmp_path / "m.npz")
    for found in (
        pickle.loads(pickle.dumps(coupled)),
        copy.deepcopy(coupled),
        MLP.load(tmp_path / "m.npz").optimizer,
    ):
        assert type(found) is Adam and found == coupled != AdamW(0.1, weight_decay=0.1)
