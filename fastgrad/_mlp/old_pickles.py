"""Pickles of models of 0.1: the modules they name, and what they say of a model as plain values.

They name classes by modules that have moved, and hold settings, parameters with gaps (``_flat``)
and ``_run``, an object of a class that is gone.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

from .config import SETTINGS, Config
from .parameters import Parameters

# Modules of functions and settings, all of which are public now, by other places
_MOVED = ("_linear", "_losses", "_matmul", "_optim", "_schedules")


def register() -> None:
    """Let the old names be found: pickle looks for a module, and in it for a class."""
    package = __name__.partition(".")[0]
    for name in _MOVED:
        sys.modules[f"{package}.{name}"] = sys.modules[package]
    run = ModuleType(f"{package}._run")
    vars(run).update(dict.fromkeys(("Run", "EarlyStop", "Fit"), SimpleNamespace))
    sys.modules[run.__name__] = run


def plain_of(given: dict[str, Any]) -> dict[str, Any]:
    """What __setstate__ was given, as to_plain writes it now."""
    if "_flat" not in given:
        return dict(given)
    settings = {name: given[name] for name in SETTINGS}
    parameters = Parameters(Config(**settings))
    flat, states = given["_flat"]
    parameters.flat[...] = flat
    for array, old in zip(parameters.state, states, strict=True):
        array[...] = old
    run = {"epochs": given["epochs"]}
    if "_run" in given:
        run |= {
            name: vars(value) if isinstance(value, SimpleNamespace) else value
            for name, value in vars(given["_run"]).items()
        }
    return {
        "config": settings,
        "values": parameters.values(),
        "optimizer_state": parameters.optimizer_state(),
        "steps": given["steps"],
        "learning_rate": given["learning_rate"],
        "run": run | {name: run.get(name) for name in ("early", "last_fit")},
    }
