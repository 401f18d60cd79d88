"""JAX, jitted. It has no outs: its results are new arrays, from an allocator that reuses memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cells import Cell
from libraries import limit_affinity
from operands import Operands


def set_threads(n: int) -> None:
    """Before JAX is imported."""
    limit_affinity(n)
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)


def bind(cell: Cell, data: Operands) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import jax
    import jax.numpy as jnp

    formulas = {
        "nn": lambda a, b: a @ b,
        "nt": lambda a, b: a @ b.T,
        "tn": lambda a, b: a.T @ b,
        "forward": lambda x, w, bias: jnp.maximum(x @ w + bias, 0),
        "backward": _backward,
    }
    function = jax.jit(formulas[cell.op])
    args = [jnp.asarray(x) for x in data if x is not None]
    made: list[Any] = []

    def call() -> Any:
        made[:] = [jax.block_until_ready(function(*args))]

    return call, lambda: tuple(np.asarray(x) for x in jax.tree.leaves(made))


def _backward(x: Any, w: Any, grad: Any, output: Any) -> Any:
    h = grad * (output > 0)
    return h @ w.T, x.T @ h, h.sum(0)
