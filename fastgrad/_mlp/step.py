"""Steps of a model and their parts: batches in, changed parameters, gradients and losses out.

A call writes into the model's table where the batch is and calls one kernel. Builtins do that for
arrays of numbers; what they leave is looked at by the caller, made plain, and comes here.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._kernels.bind import step_builtin
from .._kernels.layer.args import Back, Forward, Gradients
from .._kernels.layer.kept_pass import net_backward, net_forward
from .._kernels.layer.train_step import net_gradients, net_update, train_step
from .._kernels.runtime.registry import Kernel, Word
from .._kernels.runtime.table import BAD_LABEL
from .._ops.kernel_call import NO_ROWS, data, matrix, rows, run
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


def _builtin(name: str) -> functools.cached_property[Callable[..., Any]]:
    """Compiled when it is first asked for."""
    return functools.cached_property(lambda step: step_builtin.of_table(name, step._table))


class Step(Table):
    """The calls of one model that work in its table; they take checked arrays.

    The builtins are for any arguments: see step_builtin.py. What they leave, they answer with None.
    """

    quick_grads, quick_update = _builtin("loss_and_grads"), _builtin("update")
    quick_forward, quick_backward = _builtin("forward"), _builtin("backward")
    infer_floats, infer_numbers = _builtin("infer_floats"), _builtin("infer_numbers")

    def __init__(self, config: Config, parameters: Parameters) -> None:
        super().__init__(config, parameters)
        self.quick = step_builtin.of_table("train_step", self._table)
        self._lock = threading.Lock()
        self._is_cut_off = False  # by a fork, in the middle of a step of a thread that is not here
        _steps.add(self)

    def __call__(self, x: Array, y: Array, weights: Array | None = None) -> float:
        """A step of fit. x (N, K) numbers; y (N,) integer labels, or (N, M) numbers; N of 1 or
        more; weights (N,) float64."""
        loss: float | None = self.quick(x, y, weights)
        return self.checked("MLP.fit", x, y, How(weights)) if loss is None else loss

    def checked(self, caller: str, x: Array, y: Array, how: How = PLAIN) -> float:
        """A step that the builtin left; how: without a denominator."""
        self._make_ready(caller)
        loss = self.quick(x, y, how.weights)
        if loss is None:
            loss = self._alone(caller, lambda: self._on_batch(caller, train_step, x, y, how))
        return loss

    def gradients(
        self, caller: str, x: Array, y: Array, accumulate: bool, how: How = PLAIN
    ) -> float:
        """A step without its update."""
        self._make_ready(caller)
        loss = self.quick_grads(x, y, accumulate, how.weights, how.denominator or None)
        if loss is None:
            loss = self._alone(
                caller, lambda: self._on_batch(caller, net_gradients, x, y, how, int(accumulate))
            )
        return loss

    def update(self) -> None:
        """The rest of a step."""
        if not self.quick_update():
            self._alone("MLP.update", self._update)

    def forward(self, x: Array) -> Array:
        """x (N, K) -> logits (N, M); what backward wants is kept."""
        return self._alone("MLP.forward", lambda: self._forward(x))

    def backward(
        self, check: Callable[[int], Array], input_grad: bool, accumulate: bool
    ) -> Array | None:
        """``check`` gives dF/dlogits (N, M) for the N rows that are kept -> dX (N, K), or None."""
        return self._alone("MLP.backward", lambda: self._backward(check, input_grad, accumulate))

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
        """Let quick calls begin."""
        self._set(most_rows=self._rows)

    def _make_ready(self, caller: str) -> None:
        """Builtins leave what is to be converted where there is no memory for it, and say so."""
        if self._get("wants_copies"):
            self._alone(caller, self._make_copies)

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
        self._set(kept=0)  # x may go where the one that is kept is
        x = self._readable("x", x, self._dtype)
        loss, dtype = self._losses[y.ndim - 1], np.dtype(np.int64) if y.ndim == 1 else self._dtype
        y = self._readable("targets", y, dtype)
        self._set(loss_slot=loss.slot(self._name))
        self._tell("x", x)
        self._tell("targets", y)
        weights = how.weights
        place = (0, 0) if weights is None else (data(weights), weights.strides[0])
        self._set(weights=place[0], weight_step=place[1], divisor=how.denominator)
        args: Any = Word(self._address)
        if kernel is net_gradients:
            args = Gradients(self._address, accumulate)
        if run(kernel, self._dtype, args) == BAD_LABEL:
            self._open()
            raise ValueError(f"{caller}: y changed during the call, to a label that is none")
        return self.loss.value

    def _forward(self, x: Array) -> Array:
        self._make_room(len(x))
        if not self._copies:
            self._make_copies()
        logits = np.empty((len(x), self._outputs[-1]), self._dtype)
        x = self._cast(x)
        run(net_forward, self._dtype, Forward(
            self._address, len(x), matrix(x), self._own, rows(logits)
        ))  # fmt: skip
        return logits

    def _backward(
        self, check: Callable[[int], Array], input_grad: bool, accumulate: bool
    ) -> Array | None:
        """Of the rows of the last _forward."""
        kept = self._get("kept")
        if not kept:
            self._open()
            raise RuntimeError(_NOTHING_KEPT)
        grad = self._cast(check(kept))
        dx = np.empty((kept, self._get("inputs")), self._dtype) if input_grad else None
        to = NO_ROWS if dx is None else rows(dx)
        run(net_backward, self._dtype, Back(
            self._address, matrix(grad), self._own, int(accumulate), to
        ))  # fmt: skip
        return dx

    def _cast(self, a: Array) -> Array:
        with np.errstate(all="ignore"):  # what is too large becomes Inf
            return a.astype(self._dtype, copy=False)

    def _update(self) -> None:
        if not self._get("has_gradients"):
            self._open()
            raise RuntimeError(_NO_GRADIENTS)
        run(net_update, self._dtype, Word(self._address))

    def _make_room(self, count: int) -> None:
        if count > self._rows:
            self._grow(count)

    def _tell(self, name: str, a: Array) -> None:
        """The table where x or targets are, and how many rows there are."""
        at = AT[f"{name}.data"]
        self._table[at : at + 1 + a.ndim] = data(a), *a.strides
        self._set(rows=len(a))


def _look_after_fork() -> None:
    """In a child: which models a thread was in a step of. No step of theirs begins here."""
    for step in list(_steps):
        if step._lock.locked() or step._get("busy"):
            step._is_cut_off = True
            step._set(most_rows=0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_after_fork)
