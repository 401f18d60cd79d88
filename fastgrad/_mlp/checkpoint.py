"""Saved models: a State in, one .npz file out, and back; and the digest of parameters.

The file holds ``meta`` (JSON as bytes), ``weight_i``, ``bias_i``, ``state_i`` (an array of the
optimizer, flat, in the order of the parameters), ``history_NAME`` (float64, an entry an epoch) and,
where fit stops early, ``last``: the parameters of the last epoch, flat, beside those of the best;
and, of a model of a table, ``table`` (JSON as bytes).
Nothing is compressed or pickled, and the same model gives the same bytes. Version 1 had no history,
learning rate, early stopping, label smoothing or limit of the gradients' norm; the first files of
version 2 did not note what the last call of fit was given.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._files import Path, write_atomically
from .._kernels.codegen.target import BITS_VERSION
from .._npz import NpzReader
from .._ops.numbers import brief, shown
from .._version import __version__
from .state import State, from_file, to_arrays, to_meta
from .table_file import MAX_TABLE, table_from_bytes, table_to_bytes

Array = NDArray[Any]
FORMAT, VERSION = "fastgrad.MLP", 2
_MAX_META = 1 << 20  # bytes; parsed JSON takes many times as much
_MAX_BRACKETS = 100  # ours has 8; Python 3.13's json, nested deep, overflows a thread's small stack


def save(state: State, path: Path) -> None:
    """Write the model to exactly ``path``, all or nothing; a file that is there is replaced."""
    versions = {
        "format": FORMAT,
        "version": VERSION,
        "fastgrad": __version__,
        "bits_version": BITS_VERSION,
    }
    text = json.dumps(versions | to_meta(state), indent=1, allow_nan=False).encode()
    arrays = {"meta": np.frombuffer(text, np.uint8), **to_arrays(state)}
    if state.table is not None:
        arrays["table"] = table_to_bytes(state.table)
    write_atomically(path, lambda file: _write_npz(file, arrays))


def load(path: Path) -> State:
    """The model saved at ``path``, its optimizer state included. ValueError for any other file."""
    name = os.fspath(path)
    try:
        status = os.stat(name)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ValueError("not a regular file")  # a pipe or a device might never end
        # Members are stored as they are, so no honest file holds more than its own size.
        with NpzReader(name, max_bytes=status.st_size) as file:
            return _build(file)
    except ValueError as error:
        raise ValueError(f"MLP.load: {name}: {error}") from None


def _build(file: NpzReader) -> State:
    meta = _read_meta(file)
    version = meta.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"format version {shown(version)}; this fastgrad reads up to {VERSION}")
    try:
        state = from_file(meta, version, file.read)
        if "table" in file.names:
            sizes = state.config.sizes
            state.table = table_from_bytes(file.read("table", MAX_TABLE), sizes[0], sizes[-1])
        return state
    except (KeyError, TypeError, OverflowError) as error:
        words = brief(f"{type(error).__name__}: {error}", 200)
        raise ValueError(f"its settings are damaged ({words})") from None


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


def _write_npz(file: IO[bytes], arrays: dict[str, Array]) -> None:
    archive = zipfile.ZipFile(file, "w")
    try:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # no time of day in it
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)
        archive.close()
    except BaseException:
        # An interrupt can leave a member half open, and close() would raise a ValueError in its
        # place: the file is thrown away, so nobody closes the archive.
        archive.fp = None
        raise


class _Layers(Protocol):
    @property
    def weights(self) -> tuple[Array, ...]: ...
    @property
    def biases(self) -> tuple[Array, ...]: ...


def digest(model: _Layers) -> str:
    """16 hex digits of the SHA-256 of all parameters: little-endian, layer by layer, one NaN."""
    total = hashlib.sha256()
    for pair in zip(model.weights, model.biases, strict=True):
        for array in pair:
            plain = np.where(np.isnan(array), np.nan, array)  # NaN payloads are not portable
            total.update(plain.astype(array.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()[:16]
