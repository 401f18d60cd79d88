"""Steps of a model and their parts: batches in, changed parameters, gradients and losses out.

A call writes into the model's table where the batch is and calls one kernel. What can be read where
it lies goes through a builtin (``quick``); the rest is converted here.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import builtins, step_builtin
from .._kernels.gemm.args import Rows
from .._kernels.layer import losses
from .._kernels.layer.args import Gradients
from .._kernels.layer.train_step import (
    net_backward,
    net_forward,
    net_gradients,
    net_update,
    train_step,
)
from .._kernels.runtime.registry import Kernel, Word
from .._kernels.runtime.table import BAD_LABEL
from .._ops.kernel_call import NO_ROWS, data, rows, run
from .._ops.loss_checks import How
from .._ops.losses import PLAIN
from .config import Config
from .parameters import Parameters
from .table import AT, Table

Array = NDArray[Any]
T = TypeVar("T")
_BUSY = "{}: another thread is in a step of this model"
_FORKED = (
    "{}: this process was forked while another thread was in a step of this model, "
    "whose parameters may be half changed; load or make it anew in this process, or fork between "
    "steps"
)
_NOTHING_KEPT = (
    "MLP.backward: nothing is kept; call forward(x, keep=True) before it, and no step, "
    "loss_and_grads or update in between"
)
_NO_GRADIENTS = (
    "MLP.update: there are no gradients; call loss_and_grads, or forward(x, keep=True) and backward"
)
_steps: weakref.WeakSet[Step] = weakref.WeakSet()  # all there are: a fork looks which are at work


class Step(Table):
    """The calls of one model that work in its table; they take checked arrays.

    ``quick(x, y)`` is a step as well, ``quick_part`` its parts, with any arguments, where they can
    be read where they lie: True once done, and the loss is ``loss.value``; else None.
    """

    def __init__(self, config: Config, parameters: Parameters) -> None:
        super().__init__(config, parameters)
        self.quick: Callable[[Any, Any], bool | None] = builtins.refuse
        self._quick_parts: dict[str, Callable[..., bool | None]] = {}
        self.infer_floats, self.infer_numbers = (
            step_builtin.of_table(name, self._table) for name in ("infer_floats", "infer_numbers")
        )
        self._x = self._y = self._kept_x = np.empty(0)
        self._lock = threading.Lock()
        self._is_cut_off = False  # by a fork, in the middle of a step of a thread that is not here
        _steps.add(self)

    def __call__(self, x: Array, y: Array) -> float:
        """A step. x (N, K) floats; y (N,) integer labels, or (N, M) floats; N of 1 or more."""
        if self.quick(x, y):
            return self.loss.value
        caller = "MLP.train_step"
        return self._alone(caller, lambda: self._on_batch(caller, train_step, x, y))

    def weighted(self, caller: str, x: Array, y: Array, how: How) -> float:
        """A step of rows that count as ``how`` says."""
        return self._alone(caller, lambda: self._on_batch(caller, train_step, x, y, how))

    def gradients(
        self, caller: str, x: Array, y: Array, accumulate: bool, how: How = PLAIN
    ) -> float:
        """A step without its update."""
        if how is PLAIN and self.quick_part("loss_and_grads", x, y, accumulate):
            return self.loss.value
        return self._alone(
            caller, lambda: self._on_batch(caller, net_gradients, x, y, how, int(accumulate))
        )

    def quick_part(self, name: str, *args: Any) -> bool | None:
        """loss_and_grads(x, y, accumulate), weighted_step(x, y, weights), weighted_grads, which
        takes both, or update(); compiled when it is first asked for."""
        if name not in self._quick_parts:
            self._quick_parts[name] = step_builtin.of_table(name, self._table)
        return self._quick_parts[name](*args)

    def update(self) -> None:
        """The rest of a step."""
        if not self.quick_part("update"):
            self._alone("MLP.update", self._update)

    def forward(self, x: Array) -> Array:
        """x (N, K) -> logits (N, M); what backward wants is kept."""
        return self._alone("MLP.forward", lambda: self._forward(x).copy())

    def backward(
        self, check: Callable[[int], Array], input_grad: bool, accumulate: bool
    ) -> Array | None:
        """``check`` gives dF/dlogits (N, M) for the N rows that are kept -> dX (N, K), or None."""
        return self._alone("MLP.backward", lambda: self._after_kept(check, input_grad, accumulate))

    def take_gradients(self) -> None:
        """Somebody has written them, for update()."""
        self._set(has_gradients=1)

    def forget(self) -> None:
        """There is neither a forward pass to go back through nor a gradient."""
        self._set(kept=0, has_gradients=0)

    def _alone(self, caller: str, work: Callable[[], T]) -> T:
        """What ``work`` gives, in a table that no other thread is in."""
        if self._is_cut_off:
            raise RuntimeError(_FORKED.format(caller))
        if self._lock.locked():
            raise RuntimeError(_BUSY.format(caller))
        # Safe from interrupts: "with" loses no lock, and a table that is left closed is opened by
        # the next call. A thread that has come since the lock was seen free waits its turn.
        with self._lock:
            self._set(most_rows=0)  # from now on no quick step begins; one may be running
            if self._get("busy"):
                self._set(most_rows=self._rows)
                raise RuntimeError(_BUSY.format(caller))
            done = work()
            self._open()
        return done

    def _open(self) -> None:
        """Let quick calls begin: in a table as they find it."""
        self._set(loss_slot=self._loss_slot, weights=0, weight_step=0, divisor=0.0)
        self._set(most_rows=self._rows)

    def _on_batch(
        self,
        caller: str,
        kernel: Kernel,
        x: Array,
        y: Array,
        how: How = PLAIN,
        accumulate: int = 0,
    ) -> float:
        self._make_room(len(x))
        self._x, x = _readable(x, self._dtype, self._x)
        self._set(loss_slot=self._loss_slot)
        if y.ndim == 1:
            self._y, y = _readable(y, np.dtype(np.int64), self._y)
        else:
            self._y, y = _readable(y, self._dtype, self._y)
            if self._is_softmax:
                self._set(loss_slot=losses.SOFTMAX_PROBABILITIES.slot(self._name))
        self._tell("x", x)
        self._tell("targets", y)
        weights = how.weights
        place = (0, 0) if weights is None else (data(weights), weights.strides[0])
        self._set(weights=place[0], weight_step=place[1], divisor=how.denominator)
        if self._run(kernel, accumulate) == BAD_LABEL:
            self._open()
            raise ValueError(f"{caller}: y changed during the call, to a label that is none")
        return self.loss.value

    def _forward(self, x: Array) -> Array:
        """The logits, where they stand."""
        self._set(kept=0)
        self._make_room(len(x))
        if self._kept_x.size < x.size:
            self._kept_x = np.empty(x.size, self._dtype)
        copy = self._kept_x[: x.size].reshape(x.shape)  # what a user may write into is not kept
        _copy(copy, x)
        self._tell("x", copy)
        self._run(net_forward)
        return self._last_y[: len(x)]

    def _backward(self, grad: Array, accumulate: int, dx: Rows = NO_ROWS) -> None:
        """Of the rows of the last _forward."""
        count, inputs = len(grad), self._get("inputs")
        _copy(self._last_g[:count], grad)
        self._tell("x", self._kept_x[: count * inputs].reshape(count, inputs))
        self._run(net_backward, accumulate, dx)

    def _after_kept(
        self, check: Callable[[int], Array], input_grad: bool, accumulate: bool
    ) -> Array | None:
        kept = self._get("kept")
        if not kept:
            self._open()
            raise RuntimeError(_NOTHING_KEPT)
        grad = check(kept)
        dx = np.empty((kept, self._get("inputs")), self._dtype) if input_grad else None
        self._backward(grad, int(accumulate), NO_ROWS if dx is None else rows(dx))
        return dx

    def _update(self) -> None:
        if not self._get("has_gradients"):
            self._open()
            raise RuntimeError(_NO_GRADIENTS)
        self._run(net_update)

    def _make_room(self, count: int) -> None:
        if count > self._rows:
            self._grow(count)
            self.quick = step_builtin.of_table("train_step", self._table)

    def _tell(self, name: str, a: Array) -> None:
        """The table where x or targets are, and how many rows there are."""
        at = AT[f"{name}.data"]
        self._table[at : at + 1 + a.ndim] = data(a), *a.strides
        self._set(rows=len(a))

    def _run(self, kernel: Kernel, accumulate: int = 0, dx: Rows = NO_ROWS) -> int:
        """OK or BAD_LABEL; any other status is raised."""
        args = (
            Word(self._address)
            if kernel.struct is Word
            else Gradients(self._address, accumulate, dx)
        )
        return run(kernel, self._dtype, args)


def _look_after_fork() -> None:
    """In a child: which models a thread was in a step of. No step of theirs begins here."""
    for step in list(_steps):
        if step._lock.locked() or step._get("busy"):
            step._is_cut_off = True
            step._set(most_rows=0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_after_fork)


def _readable(a: Array, dtype: np.dtype[Any], kept: Array) -> tuple[Array, Array]:
    """kept, a where its elements are of the dtype; else a copy of it in kept, which may grow."""
    if a.dtype == dtype:
        return kept, a
    if kept.dtype != dtype or kept.size < a.size:
        kept = np.empty(a.size, dtype)
    copy = kept[: a.size].reshape(a.shape)
    _copy(copy, a)
    return kept, copy


def _copy(to: Array, a: Array) -> None:
    """What is too large becomes Inf."""
    if a.dtype == to.dtype:
        to[...] = a
        return
    with np.errstate(over="ignore"):
        np.copyto(to, a, casting="unsafe")
