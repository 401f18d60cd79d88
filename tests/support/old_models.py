"""Models that earlier versions saved and pickled: how they were made, and what they were.

``python -m support.old_models FOLDER``, with the fastgrad that is to be remembered, writes NAME.npz
for each case, models.pickle, settings.pickle, and expected.json: what each model is, and what it
is after three more epochs and a step. tests/data/models holds those of 0.1 with all modules in one
folder (flat*) and in stages (folders*).
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import fastgrad
from fastgrad import MLP, SGD, Adam, AdamW

FOLDER = Path(__file__).parents[1] / "data" / "models"
SOFTMAX, BINARY, MSE = "softmax_cross_entropy", "binary_cross_entropy_with_logits", "mse"
OPTIMIZERS: dict[str, Any] = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.05, 0.9),
    "nesterov": SGD(0.05, 0.9, True, 1e-3),
    "adam": Adam(0.01),
    "adam-decay": AdamW(0.02, (0.8, 0.99), 1e-6, 0.01),
}


def _cases() -> dict[str, dict[str, Any]]:
    """args and kw: of MLP; fit: of fit, if any; then steps, then lr."""
    found: dict[str, dict[str, Any]] = {}
    names = (None, "relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu")
    for i, activation in enumerate(names):
        optimizer, loss = list(OPTIMIZERS)[i % 5], (SOFTMAX, BINARY, MSE)[i % 3]
        dtype = ("float32", "float64")[i % 2]
        args = [(3, 4, 2), activation, loss, OPTIMIZERS[optimizer], dtype, i]
        found[f"{activation}-{optimizer}"] = {"args": args, "fit": {"epochs": 2, "batch_size": 5}}
    early = {"epochs": 3, "batch_size": 5, "validation": True}
    f4, net = "float32", (3, 4, 2)
    more: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("smoothed", [net, "tanh", SOFTMAX, OPTIMIZERS["adam"], f4, 9], {
            "kw": {"label_smoothing": 0.1, "max_grad_norm": 0.05}, "fit": early | {"epochs": 2}}),
        ("untrained", [(3, 2), "relu", SOFTMAX, OPTIMIZERS["momentum"], "float64", 3], {}),
        ("steps-only", [net, "relu", SOFTMAX, OPTIMIZERS["adam"], f4, 4], {"steps": 3}),
        ("waiting", [net, "relu", MSE, OPTIMIZERS["nesterov"], f4, 5], {
            "fit": early | {"patience": 4}}),
        ("stopped", [net, "relu", SOFTMAX, SGD(3.0), f4, 6], {
            "fit": early | {"epochs": 40, "patience": 2}}),
        ("never", [net, "relu", MSE, SGD(1e30), f4, 6], {"fit": early | {"patience": 5}}),
        ("changed-since", [net, "relu", SOFTMAX, OPTIMIZERS["momentum"], "float64", 8], {
            "fit": early | {"patience": 3, "shuffle": False}, "steps": 1, "lr": 0.25}),
        ("scheduled", [(3, 2, 3, 2), "gelu", SOFTMAX, OPTIMIZERS["sgd"], f4, 8], {
            "fit": {"epochs": 3, "batch_size": 7, "schedule": True}}),
    ]  # fmt: skip
    return found | {name: {"args": args} | rest for name, args, rest in more}


CASES = _cases()


def data(model: MLP) -> tuple[Any, Any]:
    """23 rows of three columns, from raw draws, and their targets."""
    draws = np.random.PCG64(7)
    outputs = model.sizes[-1]
    x = (draws.random_raw(23 * 3) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1
    raw = draws.random_raw(23 * outputs)
    y = (raw >> np.uint64(40)).astype(np.float64) * 2.0**-24
    x = x.reshape(23, 3).astype(model.dtype)
    if model.loss == SOFTMAX:
        return x, (raw[:23] % np.uint64(outputs)).astype(np.int64)
    return x, y.reshape(23, outputs).astype(model.dtype)


def fit(model: MLP, given: dict[str, Any]) -> int:
    """The epochs that were done."""
    x, y = data(model)
    options = dict(given)
    if options.get("validation"):
        options["validation"] = (x[:6], y[:6])
    if options.get("schedule"):
        options["schedule"] = fastgrad.step_schedule(0.2, 2)
    left, done = options.pop("epochs"), 0
    with np.errstate(all="ignore"), warnings.catch_warnings():
        # 0.1 went on where the loss was no number; now that ends a call, so there are several
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)  # one that does nothing says so
        while left > 0:
            loss = model.fit(x[6:], y[6:], left, progress=False, **options)["loss"]
            left, done = left - len(loss), done + len(loss)
            if not loss or np.isfinite(loss[-1]):
                break
    return done


def make(name: str) -> MLP:
    case = CASES[name]
    model = MLP(*case["args"], **case.get("kw", {}))
    if "fit" in case:
        fit(model, case["fit"])
    x, y = data(model)
    for i in range(case.get("steps", 0)):
        model.train_step(x[i::2], y[i::2])
    model.learning_rate = case.get("lr", model.learning_rate)
    return model


def go_on(name: str, model: MLP) -> dict[str, Any]:
    done = fit(model, CASES[name].get("fit", {"batch_size": 5}) | {"epochs": 3})
    x, y = data(model)
    return {"epochs_done": done, "step": float(model.train_step(x[:4], y[:4])).hex()}


def facts(model: MLP) -> dict[str, Any]:
    """What two models that are the same have the same."""
    arrays = [*model.weights, *model.biases, *model.optimizer_state()]
    plain = [np.where(np.isnan(a), np.nan, a).astype(a.dtype.newbyteorder("<")) for a in arrays]
    history = {n: [v.hex() for v in vs] for n, vs in model.history.items() if n != "seconds"}
    return {
        "arrays": [a.tobytes().hex() for a in plain],
        "counts": [model.steps, model.epochs, model.learning_rate.hex()],
        "history": history,
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    models, expected = {}, {}
    for name in CASES:
        models[name] = model = make(name)
        model.save(folder / f"{name}.npz")
        twin = pickle.loads(pickle.dumps(model))
        now = facts(model)
        expected[name] = {"now": now, "then": go_on(name, twin) | facts(twin)}
        twin = MLP.load(folder / f"{name}.npz")  # 0.1 wrote early stopping that was none any more
        expected[name]["then from a file"] = go_on(name, twin) | facts(twin)
    (folder / "models.pickle").write_bytes(pickle.dumps(models, 4))
    grads = fastgrad.LinearGrads(None, np.arange(2.0), None)
    error = fastgrad.datasets.DataError("x: no")  # type: ignore[attr-defined]
    named = [*OPTIMIZERS.values(), grads, error, fastgrad.matmul]
    (folder / "settings.pickle").write_bytes(pickle.dumps(named, 4))
    (folder / "expected.json").write_text(json.dumps(expected, indent=0))


if __name__ == "__main__":
    import fastgrad.datasets

    main(Path(sys.argv[1]))
