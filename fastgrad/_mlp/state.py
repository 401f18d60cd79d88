"""All that a model is at one moment: what is saved, copied and resumed.

In: a State, or what a file or a pickle says of one. Out: the other. A file holds ``meta``, a dict
for JSON, and arrays by name; a pickle holds a dict of plain values. A field of State or Run is
written and read here and nowhere else.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen.target import BITS_VERSION
from .._ops.optimizers import OPTIMIZERS, Adam, AdamW, untold
from .config import SETTINGS, Config
from .history import EarlyStop, Fit, History

if TYPE_CHECKING:
    from ..tables import Table

Array = NDArray[Any]
Read = Callable[[str], Array]  # the array of a file by its name, or a ValueError
_DTYPES = {"float32": np.float32, "float64": np.float64}
_NEW: dict[str, Any] = {  # since version 2 of the format
    "label_smoothing": 0.0,
    "max_grad_norm": None,
    "history": [],
    "early_stop": None,
}


@dataclass
class Run:
    """What fit keeps between its calls. history: an entry an epoch in every list."""

    epochs: int = 0  # done so far
    history: History = field(default_factory=dict)
    early: EarlyStop | None = None
    last_fit: Fit | None = None

    def copy(self) -> Run:
        return copy.deepcopy(self)


@dataclass
class State:
    """values: all parameters, flat: weight 0, bias 0, weight 1, ...; the optimizer's alike."""

    config: Config
    values: Array
    optimizer_state: list[Array]
    steps: int
    learning_rate: float
    run: Run
    table: Table | None = None


def to_plain(state: State) -> dict[str, Any]:
    """For pickle: no class of ours but those that users name, which stay where they are."""
    plain, run = dict(vars(state)), dict(vars(state.run))
    plain["config"] = {name: getattr(state.config, name) for name in SETTINGS}
    plain["bits_version"] = BITS_VERSION
    for name in ("early", "last_fit"):
        run[name] = None if run[name] is None else dict(vars(run[name]))
    plain["table"] = None
    if state.table is not None:
        from ..tables import table as tables

        plain["table"] = tables.to_plain(state.table)
    return plain | {"run": run}


def from_plain(plain: dict[str, Any]) -> State:
    plain = dict(plain)
    _tell_of_bits(plain.pop("bits_version", 1))
    run = Run(**plain["run"])
    run.early = None if run.early is None else EarlyStop(**plain["run"]["early"])
    run.last_fit = None if run.last_fit is None else Fit(**plain["run"]["last_fit"])
    table = plain.get("table")
    if table is not None:
        from ..tables import table as tables

        table = tables.from_plain(table)
    config = Config(**plain["config"])
    return State(**plain | {"config": config, "run": run, "table": table})


def to_meta(state: State) -> dict[str, Any]:
    config, run = state.config, state.run
    return {
        "sizes": list(config.sizes),
        "activation": config.activation,  # of a tuple JSON makes a list, Config a tuple again
        "loss": config.loss,
        "optimizer": type(config.optimizer).__name__,
        "optimizer_settings": dataclasses.asdict(config.optimizer),
        "label_smoothing": config.label_smoothing,
        "max_grad_norm": config.max_grad_norm,
        "dtype": config.dtype.name,
        "seed": config.seed,
        "steps": state.steps,
        "epochs": run.epochs,
        "learning_rate": state.learning_rate,
        "history": list(run.history),
        "early_stop": None if run.early is None else _early_meta(run.early),
        "last_fit": None if run.last_fit is None else dataclasses.asdict(run.last_fit),
    }


def to_arrays(state: State) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for i, array in enumerate(_cut(state.values, _shapes(state.config.sizes))):
        arrays[_layer_name(i)] = array
    for i, array in enumerate(state.optimizer_state):
        arrays[f"state_{i}"] = array
    for name, values in state.run.history.items():
        arrays[f"history_{name}"] = np.array(values, np.float64)
    early = state.run.early
    if early is not None and early.last is not None:
        arrays["last"] = np.concatenate([array.reshape(-1) for array in early.last])
    return arrays


def from_file(meta: dict[str, Any], version: int, read: Read) -> State:
    """ValueError, KeyError, TypeError or OverflowError for a file that is damaged, or that lies."""
    kind, settings = OPTIMIZERS[meta["optimizer"]], meta["optimizer_settings"]
    bits_version = meta.get("bits_version", 1)
    if kind is Adam and bits_version == 1 and settings.get("weight_decay"):
        kind = AdamW  # what Adam of 0.1 was
    optimizer = untold(kind, settings)
    if version == 1:
        meta = _NEW | {"learning_rate": optimizer.lr} | meta
    sizes = tuple(int(n) for n in meta["sizes"])
    dtype = np.dtype(_DTYPES[meta["dtype"]])  # of text numpy reads whole lists of dtypes
    shapes = _shapes(sizes)
    layers = [_array(read, _layer_name(i), shape, dtype) for i, shape in enumerate(shapes)]
    config = Config(
        sizes, meta["activation"], meta["loss"], optimizer, dtype, meta["seed"],
        meta["label_smoothing"], meta["max_grad_norm"],
    )  # fmt: skip
    size = sum(array.size for array in layers)
    values = np.concatenate([array.reshape(-1) for array in layers])
    early = _early(meta["early_stop"])
    history = _history(read, meta["history"])
    run = Run(_count(meta, "epochs"), history, early, _last_fit(meta))
    steps = _count(meta, "steps")
    np.int64(steps)  # OverflowError
    state = State(config, values, [], steps, _rate(meta["learning_rate"]), run)
    for i in range(optimizer.slots):
        state.optimizer_state.append(_array(read, f"state_{i}", (size,), dtype))
    if early is not None and early.best_loss < math.inf:
        early.best, early.at_rest = layers, True
        early.last = _cut(_array(read, "last", (size,), dtype), shapes)
    _tell_of_bits(bits_version)
    return state


_has_told = False


def _tell_of_bits(version: object) -> None:
    """Once in a process, of a model of an earlier formula."""
    global _has_told
    if version != BITS_VERSION and not _has_told:
        _has_told = True
        warnings.warn(
            f"fastgrad: a model of BITS_VERSION {version} goes on under {BITS_VERSION}: its "
            f"parameters are as they were, its further steps differ in their last bits",
            UserWarning,
            stacklevel=6,
        )


def _shapes(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of weight 0, bias 0, weight 1, ..."""
    return [shape for n, m in itertools.pairwise(sizes) for shape in ((n, m), (m,))]


def _layer_name(i: int) -> str:
    return f"{'bias' if i % 2 else 'weight'}_{i // 2}"


def _cut(flat: Array, shapes: list[tuple[int, ...]]) -> list[Array]:
    """Copies of the pieces of ``flat``."""
    sizes = [math.prod(shape) for shape in shapes]
    starts = itertools.accumulate(sizes, initial=0)
    pieces = zip(starts, sizes, shapes, strict=False)
    return [flat[start : start + size].reshape(shape).copy() for start, size, shape in pieces]


def _array(read: Read, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    array = read(name)
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}, but the settings say {dtype} {shape}"
        )
    return array


def _history(read: Read, names: list[str]) -> History:
    if not isinstance(names, list):
        raise TypeError(f"history is {names!r:.40}")
    history: History = {}
    for name in names:
        array = read(f"history_{name}")
        if array.ndim != 1 or array.dtype != np.float64:
            raise ValueError(f"history_{name} is {array.dtype} of shape {array.shape}")
        history[name] = array.tolist()
    if len(set(map(len, history.values()))) > 1:
        raise ValueError("the lists of its history differ in length")
    return history


def _early_meta(early: EarlyStop) -> dict[str, Any]:
    return {
        "validation": early.validation,
        "best_loss": early.best_loss if math.isfinite(early.best_loss) else None,
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
    blocks = None if there.get("block_rows") is None else _count(there, "block_rows")
    return Fit(batch_size, there["shuffle"], rows, str(there["data"]), blocks)


def _rate(value: object) -> float:
    if type(value) is not float or not 0 <= value < math.inf:
        raise TypeError(f"learning_rate is {value!r}")
    return value


def _count(meta: dict[str, Any], name: str) -> int:
    if type(meta[name]) is not int or meta[name] < 0:
        raise TypeError(f"{name} is {meta[name]!r}")
    return int(meta[name])
