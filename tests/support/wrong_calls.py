"""The table of wrong calls, wrong_calls.txt: each call, and below it what it raises.

``PYTHONPATH=tests python -m support.wrong_calls`` writes the table anew, from the calls in it. Read
what changes: a message says in one line which argument, what came, what was expected, what to do.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import fastgrad
from fastgrad import MLP, datasets

TABLE = Path(__file__).with_name("wrong_calls.txt")
Case = tuple[str, str]  # the call, "ValueError: message"


def cases() -> list[Case]:
    """Those of the table; lines that start with # are headings."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line and not line.startswith("#")]
    return [
        (call, below.strip())
        for call, below in zip(kept, [*kept[1:], ""], strict=True)
        if not call.startswith(" ")
    ]


class Array(np.ndarray):
    """A subclass."""

    __module__ = "users"


class Tensor:
    """As torch has it: no array, but numpy can make one of it."""

    __module__ = "torch"

    def __init__(self, *shape: int) -> None:
        self.shape, self.ndim, self.dtype = shape, len(shape), "torch.float32"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.ones(self.shape, np.float32)


class DataFrame(Tensor):
    __module__ = "pandas.core.frame"


class Grad(Tensor):
    """One that numpy cannot make an array of."""

    __module__ = "torch"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse .detach()")


class Words(DataFrame):
    """Whose columns are no numbers."""

    __module__ = "pandas.core.frame"

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.full(self.shape, "word", object)


class Broken:
    """A number whose every question fails."""

    __module__ = "users"

    def __float__(self) -> float:
        raise RuntimeError

    __index__ = __float__

    def __repr__(self) -> str:
        return "Broken()\nof two lines"


class Written:
    """What a call may use, and whether it has changed any of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: list[tuple[Any, bytes]] = []
        self.models: list[MLP] = []

    def array(self, a: Any) -> Any:
        self.arrays.append((a, a.tobytes()))
        return a

    def ones(self, *shape: int, dtype: Any = np.float32) -> Any:
        return self.array(np.ones(shape, dtype))

    def labels(self, *values: int, dtype: Any = np.int64) -> Any:
        return self.array(np.array(values, dtype))

    def read_only(self, *shape: int) -> Any:
        a = self.ones(*shape)
        a.flags.writeable = False
        return a

    def overlapping(self, *shape: int) -> Any:
        """Every row is the one before, moved by one element."""
        memory = self.ones(sum(shape))
        return np.lib.stride_tricks.as_strided(memory, shape, (4,) * len(shape))

    def huge(self, *shape: int) -> Any:
        """One element, so many times."""
        return np.lib.stride_tricks.as_strided(self.ones(1), shape, (0,) * len(shape))

    def model(self, *sizes: int, **options: Any) -> MLP:
        self.models.append(MLP(sizes or (4, 3), **options))
        return self.models[-1]

    def npz(self, **arrays: Any) -> str:
        np.savez(self.folder / "d.npz", **arrays)
        return str(self.folder / "d.npz")

    def csv(self, text: str | bytes, name: str = "d.csv") -> str:
        (self.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return str(self.folder / name)

    def saved(self) -> str:
        MLP((4, 3)).save(self.folder / "m.npz")
        return str(self.folder / "m.npz")

    def is_nothing(self) -> bool:
        kept = all(a.tobytes() == before for a, before in self.arrays)
        return kept and all(
            (model.steps, model.epochs) == (0, 0) and _is_new(model) for model in self.models
        )

    def names(self) -> dict[str, Any]:
        """Of what the table calls."""
        own = (
            self.array, self.ones, self.labels, self.read_only, self.overlapping, self.huge,
            self.model, self.npz, self.csv, self.saved,
        )  # fmt: skip
        known = {
            f.__name__: f for f in (*own, Decimal, Fraction, Tensor, DataFrame, Grad, Words, Broken)
        }
        known |= {"np": np, "nan": np.nan, "inf": np.inf, "folder": self.folder, "Array": Array}
        known |= {name: getattr(fastgrad, name) for name in fastgrad.__all__}
        return known | {name: getattr(datasets, name) for name in datasets.__all__}


def _is_new(model: MLP) -> bool:
    fresh = MLP(model.sizes, model.activation, model.loss, model.optimizer, model.dtype)
    pairs = zip(
        [*model.weights, *model.biases, *model.optimizer_state()],
        [*fresh.weights, *fresh.biases, *fresh.optimizer_state()],
        strict=True,
    )
    return model.learning_rate == fresh.learning_rate and all(
        np.array_equal(a, b) for a, b in pairs
    )


def said(call: str, used: Written) -> str:
    """What the call raises, as the table has it."""
    try:
        value = eval(call, used.names())
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace(str(used.folder), "FOLDER")
    return f"nothing; it returns {value!r:.100}"


def arguments(call: str, used: Written) -> tuple[str, dict[str, Any]]:
    """The public function that is called, and what with, by name."""
    found: list[Callable[..., Any]] = []

    def recorded(function: Any) -> Any:
        def record(*args: Any, **kwargs: Any) -> dict[str, Any]:
            found.append(function)
            return dict(inspect.signature(function).bind(*args, **kwargs).arguments)

        return record

    names = used.names()
    functions = {n: recorded(f) for n, f in names.items() if inspect.isfunction(f) and n in PUBLIC}
    given = eval(call, {**names, **functions})
    return found[-1].__name__, given


PUBLIC = frozenset(fastgrad.__all__)
READERS = frozenset(datasets.__all__)


def main() -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for line in lines:
            if not line.startswith(" "):
                table.append(line)
                if line and not line.startswith("#"):
                    table.append("    " + said(line, Written(Path(folder))))
    TABLE.write_text("\n".join(table) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
