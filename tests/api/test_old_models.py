"""Files and pickles of earlier versions load, and go on to the bits that they went on to."""

from __future__ import annotations

import json
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad import MLP, SGD, Adam
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
    assert facts(model) == EXPECTED[name]["now"]
    then = "then from a file" if way == "file" else "then"
    assert go_on(name, model) | facts(model) == EXPECTED[name][then]


@pytest.mark.parametrize("name", CASES)
def test_through_a_file_of_now(name: str, tmp_path: Path) -> None:
    make(name).save(tmp_path / "m.npz")
    model = MLP.load(tmp_path / "m.npz")
    assert facts(model) == EXPECTED[name]["now"]
    assert go_on(name, model) | facts(model) == EXPECTED[name]["then"]


def test_the_cases_hold_every_state() -> None:
    states = [MLP.load(FOLDER / f"{name}.npz")._run for name in CASES]
    early = [run.early for run in states if run.early is not None]
    assert {e.best is None for e in early} == {True, False} and any(e.waited for e in early)
    assert len(EXPECTED["stopped"]["then"]["history"]["loss"]) < 40
    assert EXPECTED["stopped"]["then"]["epochs_done"] == 0


@pytest.mark.parametrize("way", ["flat", "folders"])
def test_public_names_in_old_pickles(way: str) -> None:
    found = pickle.loads((FOLDER / f"{way}_settings.pickle").read_bytes())
    *optimizers, grads, error, function = found
    assert optimizers == list(OPTIMIZERS.values())
    assert {type(o) for o in optimizers} == {SGD, Adam}
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
