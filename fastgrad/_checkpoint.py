"""Saved models: an MLP in, one .npz file out, and back; and the digest of its parameters.

The file holds ``meta`` (JSON as bytes), ``weight_i``, ``bias_i``, ``state_i`` (an array of the
optimizer, flat, in the order of the parameters), ``history_NAME`` (float64, an entry an epoch) and,
where fit stops early, ``last``: the parameters of the last epoch, flat, beside those of the best.
Nothing is compressed or pickled, and the same model gives the same bytes. Version 1 had no history,
learning rate, early stopping, label smoothing or limit of the gradients' norm; the first files of
version 2 did not note what the last call of fit was given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
import stat
import zipfile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._atomic import Path, write_atomically
from ._ops.numbers import brief, shown
from ._ops.optimizers import SGD, Adam
from ._run import EarlyStop, Fit, Run, parameters, run_of
from .datasets._npz import NpzReader

if TYPE_CHECKING:
    from ._mlp import MLP

Array = NDArray[Any]
FORMAT, VERSION = "fastgrad.MLP", 2
_NEW: dict[str, Any] = {
    "label_smoothing": 0.0,
    "max_grad_norm": None,
    "history": [],
    "early_stop": None,
}
_DTYPES = {"float32": np.float32, "float64": np.float64}
_MAX_META = 1 << 20  # bytes; parsed JSON takes many times as much
_MAX_BRACKETS = 100  # ours has 8; Python 3.13's json, nested deep, overflows a thread's small stack


def save(model: MLP, path: Path) -> None:
    """Write the model to exactly ``path``, all or nothing; a file that is there is replaced."""
    from . import BITS_VERSION, __version__

    run = run_of(model)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "fastgrad": __version__,
        "bits_version": BITS_VERSION,
        "sizes": list(model.sizes),
        "activation": model.activation,
        "loss": model.loss,
        "optimizer": type(model.optimizer).__name__,
        "optimizer_settings": dataclasses.asdict(model.optimizer),
        "label_smoothing": model.label_smoothing,
        "max_grad_norm": model.max_grad_norm,
        "dtype": model.dtype.name,
        "seed": model.seed,
        "steps": model.steps,
        "epochs": model.epochs,
        "learning_rate": model.learning_rate,
        "history": list(run.history),
        "early_stop": None if run.early is None else _early_meta(run.early),
        "last_fit": None if run.last_fit is None else dataclasses.asdict(run.last_fit),
    }
    text = json.dumps(meta, indent=1, allow_nan=False).encode()
    arrays: dict[str, Array] = {"meta": np.frombuffer(text, np.uint8)}
    for i, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        arrays[f"weight_{i}"], arrays[f"bias_{i}"] = weight, bias
    for i, state in enumerate(model.optimizer_state()):
        arrays[f"state_{i}"] = state
    for name, values in run.history.items():
        arrays[f"history_{name}"] = np.array(values, np.float64)
    if run.early is not None and run.early.last is not None:
        arrays["last"] = np.concatenate([array.reshape(-1) for array in run.early.last])
    write_atomically(path, lambda file: _write_npz(file, arrays))


def load(path: Path, cls: type[MLP]) -> MLP:
    """The model saved at ``path``, its optimizer state included. ValueError for any other file."""
    name = os.fspath(path)
    try:
        status = os.stat(name)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ValueError("not a regular file")  # a pipe or a device might never end
        # Members are stored as they are, so no honest file holds more than its own size.
        with NpzReader(name, max_bytes=status.st_size) as file:
            return _build(file, cls)
    except ValueError as error:
        raise ValueError(f"MLP.load: {name}: {error}") from None


def _build(file: NpzReader, cls: type[MLP]) -> MLP:
    meta = _read_meta(file)
    version = meta.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"format version {shown(version)}; this fastgrad reads up to {VERSION}")
    try:
        kind = {"SGD": SGD, "Adam": Adam}[meta["optimizer"]]
        optimizer = kind(**meta["optimizer_settings"])
        if version == 1:
            meta = _NEW | {"learning_rate": optimizer.lr} | meta
        sizes = [int(n) for n in meta["sizes"]]
        dtype = np.dtype(_DTYPES[meta["dtype"]])  # of text numpy reads whole lists of dtypes
        layers: list[Array] = []
        for i, shape in enumerate(itertools.pairwise(sizes)):
            layers.append(_array(file, f"weight_{i}", shape, dtype))
            layers.append(_array(file, f"bias_{i}", shape[1:], dtype))
        model = cls(
            sizes, meta["activation"], meta["loss"], optimizer, dtype, meta["seed"],
            label_smoothing=meta["label_smoothing"], max_grad_norm=meta["max_grad_norm"],
        )  # fmt: skip
        model.steps, model.epochs = _count(meta, "steps"), _count(meta, "epochs")
        model.learning_rate = _rate(meta["learning_rate"])
        run = Run(_history(file, meta["history"]), _early(meta["early_stop"]), _last_fit(meta))
    except (KeyError, TypeError, OverflowError) as error:
        words = brief(f"{type(error).__name__}: {error}", 200)
        raise ValueError(f"its settings are damaged ({words})") from None
    for live, array in zip(parameters(model), layers, strict=True):
        live[...] = array
    count = sum(array.size for array in layers)
    model.set_optimizer_state(
        [_array(file, f"state_{i}", (count,), dtype) for i in range(optimizer.slots)]
    )
    if run.early is not None and run.early.best_loss < math.inf:
        run.early.best, run.early.at_rest = layers, True
        run.early.last = _cut(_array(file, "last", (count,), dtype), layers)
    vars(model)["_run"] = run
    return model


def _read_meta(file: NpzReader) -> dict[str, Any]:
    if "meta" not in file.names:
        raise ValueError("not a model saved by fastgrad (it has no array 'meta')")
    text = file.read("meta", _MAX_META).tobytes()
    if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        raise ValueError("its settings are damaged")
    try:
        meta = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise ValueError("its settings are damaged") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError("not a model saved by fastgrad")
    return meta


def _array(file: NpzReader, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    array = file.read(name)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}, but the settings say {dtype} {shape}"
        )
    return array


def _cut(flat: Array, like: list[Array]) -> list[Array]:
    """Copies of the pieces of ``flat``, of the shapes of ``like``."""
    stops = itertools.accumulate(array.size for array in like)
    pieces = zip(like, stops, strict=True)
    return [flat[stop - array.size : stop].reshape(array.shape).copy() for array, stop in pieces]


def _history(file: NpzReader, names: list[str]) -> dict[str, list[float]]:
    if not isinstance(names, list):
        raise TypeError(f"history is {names!r:.40}")
    history: dict[str, list[float]] = {}
    for name in names:
        array = file.read(f"history_{name}")
        if array.ndim != 1 or array.dtype != np.float64:
            raise ValueError(f"history_{name} is {array.dtype} of shape {array.shape}")
        history[name] = array.tolist()
    if len(set(map(len, history.values()))) > 1:
        raise ValueError("the lists of its history differ in length")
    return history


def _early_meta(early: EarlyStop) -> dict[str, Any]:
    best = early.best_loss if math.isfinite(early.best_loss) else None
    return {
        "validation": early.validation,
        "best_loss": best,
        "best_epoch": early.best_epoch,
        "waited": early.waited,
    }


def _early(meta: dict[str, Any] | None) -> EarlyStop | None:
    if meta is None:
        return None
    best = meta["best_loss"]
    if not (best is None or (type(best) is float and math.isfinite(best))):
        raise TypeError(f"best_loss is {best!r}")
    return EarlyStop(
        str(meta["validation"]),
        math.inf if best is None else best,
        _count(meta, "best_epoch"),
        _count(meta, "waited"),
    )


def _last_fit(meta: dict[str, Any]) -> Fit | None:
    there = meta.get("last_fit")  # files from before it was noted have none
    if there is None:
        return None
    if type(there["shuffle"]) is not bool:
        raise TypeError(f"shuffle is {there['shuffle']!r}")
    rows, batch_size = _count(there, "rows"), _count(there, "batch_size")
    return Fit(batch_size, there["shuffle"], rows, str(there["data"]))


def _rate(value: object) -> float:
    if type(value) is not float or not 0 <= value < math.inf:
        raise TypeError(f"learning_rate is {value!r}")
    return value


def _count(meta: dict[str, Any], name: str) -> int:
    if type(meta[name]) is not int or meta[name] < 0:
        raise TypeError(f"{name} is {meta[name]!r}")
    return int(meta[name])


def _write_npz(file: IO[bytes], arrays: dict[str, Array]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # no time of day in it
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)


def digest(model: MLP) -> str:
    """16 hex digits of the SHA-256 of all parameters: little-endian, layer by layer, one NaN."""
    total = hashlib.sha256()
    for pair in zip(model.weights, model.biases, strict=True):
        for array in pair:
            plain = np.where(np.isnan(array), np.nan, array)  # NaN payloads are not portable
            total.update(plain.astype(model.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()[:16]
