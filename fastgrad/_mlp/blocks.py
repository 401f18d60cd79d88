"""How a batch becomes a step: numbers of its rows in, changed parameters and its loss out.

Whole: one compiled step. InBlocks: the gradients of blocks of rows, each with the denominator of
the batch, added in the order of blocks, and then the update. Who computes which block and how they
are added is an ``Adder``'s: OneProcess here, or fastgrad.mpi's BlockSum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._kernels.codegen.target import KC
from .._ops.loss_checks import How
from .batch import Batches, Rows, parts
from .config import Config
from .step import Step

Array = NDArray[Any]
_CALLER = "MLP.fit"


class Adder(Protocol):
    """Blocks are computed in turns, one by each of ``size``: block i by number i mod size."""

    rank: int
    size: int

    def turn(self, work: Callable[[], float] | None, done: int, blocks: int) -> None:
        """Add what ``work``, of this number's block, leaves in the gradients; so do the others."""

    def finish(self, blocks: int) -> list[float]:
        """The losses, in order; the sum is in the gradients."""


class OneProcess:
    """Memory: the gradients once more, where there are several blocks."""

    rank, size = 0, 1

    def __init__(self, grads: Array) -> None:
        self._grads, self._losses = grads, list[float]()
        self._sum: Array | None = None

    def turn(self, work: Callable[[], float] | None, done: int, blocks: int) -> None:
        assert work is not None
        if done == 0:
            self._losses = [work()]
            if blocks > 1:
                if self._sum is None:
                    self._sum = np.empty_like(self._grads)
                self._sum[...] = self._grads
            return
        self._losses.append(work())
        assert self._sum is not None
        np.add(self._sum, self._grads, self._grads if done == blocks - 1 else self._sum)

    def finish(self, blocks: int) -> list[float]:
        return self._losses


class Whole:
    def __init__(self, step: Step, data: tuple[Array, ...], rows: int) -> None:
        self._step = step.__call__  # which Python calls faster than the object
        self._take = Batches(data, rows).take

    def step(self, which: Rows, weights: Array | None = None) -> float:
        """weights (N,) of the rows, here and below."""
        x, y = self._take(which)
        return self._step(x, y, weights)


class InBlocks:
    """Of ``rows`` rows; the last of a batch may have fewer."""

    def __init__(
        self, config: Config, step: Step, data: tuple[Array, ...], rows: int, adder: Adder
    ) -> None:
        self._dtype, self._step, self._rows, self._adder = config.dtype, step, rows, adder
        self._take = Batches(data, rows).take
        self._elements = 1 if config.loss == "softmax_cross_entropy" else config.sizes[-1]

    def step(self, which: Rows, weights: Array | None = None) -> float:
        count = float(len(which)) if weights is None else sum_of_weights(weights, self._dtype)
        divisor = count * self._elements
        adder, blocks = self._adder, list(parts(which, self._rows))
        own = None if weights is None else list(parts_of(weights, self._rows))

        def work(i: int) -> float:
            x, y = self._take(blocks[i])
            how = How(None if own is None else own[i], divisor)
            return self._step.gradients(_CALLER, x, y, False, how)

        with np.errstate(all="ignore"):  # a run that diverges adds Inf
            for done in range(0, len(blocks), adder.size):
                i = done + adder.rank
                mine = (lambda i=i: work(i)) if i < len(blocks) else None
                adder.turn(mine, done, len(blocks))
            losses = adder.finish(len(blocks))
        self._step.take_gradients()  # a rank may have had no block
        self._step.update()
        return sum_of_losses(losses, self._dtype)


def parts_of(a: Array, rows: int) -> list[Array]:
    return [a[start : start + rows] for start in range(0, len(a), rows)]


def sum_of_weights(weights: Array, dtype: np.dtype[Any]) -> float:
    """(N,) float64: a chain over each KC rows of the dtype, then a chain of those."""
    chains = [np.add.accumulate(part)[-1] for part in parts_of(weights, KC[dtype.name])]
    return float(np.add.accumulate(chains)[-1])


def sum_of_losses(losses: list[float], dtype: np.dtype[Any]) -> float:
    """Of blocks, each rounded to the dtype: in float64, in order, beside the sum what each addition
    lost (Knuth's two-sum), and rounded to the dtype once."""
    total = lost = 0.0
    for loss in losses:
        found = total + loss
        of_loss = found - total
        lost += (total - (found - of_loss)) + (loss - of_loss)
        total = found
    with np.errstate(over="ignore"):
        return float(dtype.type(total if lost != lost else total + lost))
