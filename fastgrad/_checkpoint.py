"""Saved models: an MLP in, one .npz file out, and back; and the digest of its parameters.

The file holds ``meta`` (JSON as bytes), ``weight_i``, ``bias_i`` and ``state_i`` (an array of the
optimizer, flat, in the order of the parameters). Nothing is compressed or pickled, and the same
model gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._optim import SGD, Adam
from .datasets._npz import NpzReader

if TYPE_CHECKING:
    from ._mlp import MLP

FORMAT, VERSION = "fastgrad.MLP", 1
Path = str | os.PathLike[str]


def save(model: MLP, path: Path) -> None:
    """Write the model to exactly ``path``, all or nothing; a file that is there is replaced."""
    from . import BITS_VERSION, __version__

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
        "dtype": model.dtype.name,
        "seed": model.seed,
        "steps": model.steps,
        "epochs": model.epochs,
    }
    text = json.dumps(meta, indent=1, allow_nan=False).encode()
    arrays: dict[str, NDArray[Any]] = {"meta": np.frombuffer(text, np.uint8)}
    for i, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        arrays[f"weight_{i}"], arrays[f"bias_{i}"] = weight, bias
    for i, state in enumerate(model.optimizer_state()):
        arrays[f"state_{i}"] = state
    write_atomically(path, lambda file: _write_npz(file, arrays))


def load(path: Path, cls: type[MLP]) -> MLP:
    """The model saved at ``path``, its optimizer state included. ValueError for any other file."""
    name = os.fspath(path)
    try:
        # Members are stored as they are, so no honest file holds more than its own size.
        with NpzReader(name, max_bytes=os.path.getsize(name)) as file:
            return _build(file, cls)
    except ValueError as error:
        raise ValueError(f"MLP.load: {name}: {error}") from None


def _build(file: NpzReader, cls: type[MLP]) -> MLP:
    meta = _read_meta(file)
    version = meta.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"format version {version!r}; this fastgrad reads up to {VERSION}")
    try:
        kind = {"SGD": SGD, "Adam": Adam}[meta["optimizer"]]
        optimizer = kind(**meta["optimizer_settings"])
        sizes = [int(n) for n in meta["sizes"]]
        dtype = np.dtype(str(meta["dtype"]))
        layers = []
        for i, shape in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            layers.append((file.read(f"weight_{i}"), file.read(f"bias_{i}")))
            _expect(f"weight_{i}", layers[i][0], shape, dtype)
            _expect(f"bias_{i}", layers[i][1], shape[1:], dtype)
        model = cls(sizes, meta["activation"], meta["loss"], optimizer, dtype, meta["seed"])
        model.steps, model.epochs = _count(meta, "steps"), _count(meta, "epochs")
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"its settings are damaged ({type(error).__name__}: {error})") from None
    for i, (weight, bias) in enumerate(layers):
        model.weights[i][...] = weight
        model.biases[i][...] = bias
    count = sum(weight.size + bias.size for weight, bias in layers)
    states = [file.read(f"state_{i}") for i in range(optimizer.slots)]
    for i, state in enumerate(states):
        _expect(f"state_{i}", state, (count,), dtype)
    model.set_optimizer_state(states)
    return model


def _read_meta(file: NpzReader) -> dict[str, Any]:
    if "meta" not in file.names:
        raise ValueError("not a model saved by fastgrad (it has no array 'meta')")
    text = file.read("meta").tobytes()
    try:
        meta = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise ValueError("its settings are damaged") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError("not a model saved by fastgrad")
    return meta


def _expect(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}, but the settings say {dtype} {shape}"
        )


def _count(meta: dict[str, Any], name: str) -> int:
    if type(meta[name]) is not int or meta[name] < 0:
        raise TypeError(f"{name} is {meta[name]!r}")
    return int(meta[name])


def _write_npz(file: IO[bytes], arrays: dict[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # no time of day in it
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)


def write_atomically(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Call ``write`` with a new file beside ``path``, then put it in place of ``path``.

    The data is on the disk before the name changes, so a crash leaves the old file or the new one.
    """
    target = os.path.realpath(path)  # a symbolic link goes on pointing at the file
    temporary = _beside(target)
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        _remove(temporary)
        raise
    if hasattr(os, "O_DIRECTORY"):  # the new name itself: POSIX wants the folder synced as well
        folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_writable(path: Path) -> None:
    """OSError now if write_atomically(path) could not make its file: before hours of training."""
    target = os.path.realpath(path)
    if os.path.isdir(target):
        raise IsADirectoryError(21, "is a folder; give the name of a file", os.fspath(path))
    temporary = _beside(target)
    with open(temporary, "xb"):
        pass
    _remove(temporary)


def _beside(target: str) -> str:
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except FileNotFoundError:
        pass


def digest(model: MLP) -> str:
    """16 hex digits of the SHA-256 of all parameters: little-endian, layer by layer, one NaN."""
    total = hashlib.sha256()
    for pair in zip(model.weights, model.biases, strict=True):
        for array in pair:
            plain = np.where(np.isnan(array), np.nan, array)  # NaN payloads are not portable
            total.update(plain.astype(model.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()[:16]
