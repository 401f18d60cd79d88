"""A fixed set of cases, run for whatever CPU numba compiles for; prints one line of JSON.

Run as a program, in a process of its own: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose the CPU.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

import edges
import numpy as np
from layouts import laid_out
from oracles import Array, bits, exact_matmul, floats, integers, saved_for

from fastgrad import BITS_VERSION, linear_backward, linear_forward, matmul


def results(dtype: str) -> dict[str, Array]:
    """Products and layers whose sizes do not depend on the CPU's tiles."""
    rng = np.random.default_rng(4)
    kc = edges.KC[dtype]
    found: dict[str, Array] = {}
    for m, k, n in ((1, 7, 1), (7, kc + 1, 33), (70, 2 * kc + 1, 130), (13, 1, 65)):
        a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
        found[f"product {m}x{k}x{n}"] = matmul(a, b)
        found[f"accumulated {m}x{k}x{n}"] = matmul(a, b, out=found[f"product {m}x{k}x{n}"].copy(),
                                                   accumulate=True)  # fmt: skip
    names: tuple[Any, ...] = (None, *edges.ACTIVATIONS)
    x, w = floats(rng, kc + 5, 19, dtype=dtype), floats(rng, 19, 35, dtype=dtype)
    bias, g = floats(rng, 35, dtype=dtype), floats(rng, kc + 5, 35, dtype=dtype)
    for name in names:
        z = np.empty_like(g)
        y = linear_forward(x, w, bias, name, preactivation_out=z)
        grads: Any = linear_backward(g, x, w, name, **saved_for(name, y, z))
        found.update({f"y {name}": y, f"z {name}": z})
        found.update({f"d{field} {name}": v for field, v in grads._asdict().items()})
    return found


def digest() -> str:
    """Of all results; NaNs count as one value."""
    total = hashlib.sha256(f"BITS_VERSION {BITS_VERSION}".encode())
    for dtype in edges.DTYPES:
        for name, values in sorted(results(dtype).items()):
            total.update(f"{dtype} {name} {values.shape}".encode() + bits(values).tobytes())
    return total.hexdigest()


def layouts_agree() -> bool:
    """Promise 2, in small."""
    for dtype in edges.DTYPES:
        rng = np.random.default_rng(2)
        k, n = edges.KC[dtype] + 1, edges.tile_columns(dtype) + 1
        for m in (edges.ISA.rows + 1, edges.block_rows(dtype) + 1):
            a, b = floats(rng, m, k, dtype=dtype), floats(rng, k, n, dtype=dtype)
            expected = bits(matmul(a, b))
            for left, right in (("F", "C"), ("C", "F"), ("every third column", "one byte off")):
                c = matmul(laid_out(a, left), laid_out(b, right))
                if (bits(c) != expected).any():
                    return False
    return True


def batches_agree() -> bool:
    """Promise 3, in small."""
    for dtype in edges.DTYPES:
        rng = np.random.default_rng(3)
        x = floats(rng, 100, edges.KC[dtype] + 1, dtype=dtype)
        w = floats(rng, x.shape[1], 70, dtype=dtype)
        y = bits(linear_forward(x, w, None, "gelu"))
        for rows in (slice(0, 1), slice(99, 100), slice(3, 10), slice(1, 64)):
            if (bits(linear_forward(x[rows], w, None, "gelu")) != y[rows]).any():
                return False
    return True


def products_are_right() -> bool:
    """Integers, over a few edges of this CPU's tiles."""
    for dtype in edges.DTYPES:
        rng = np.random.default_rng(1)
        for m in edges.row_edges():
            for n in edges.column_edges(dtype):
                a, b = integers(rng, m, 9, dtype=dtype), integers(rng, 9, n, dtype=dtype)
                for right in ("C", "F"):
                    if (matmul(a, laid_out(b, right)) != exact_matmul(a, b)).any():
                        return False
    return True


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "isa": edges.ISA.name,
                "fma": edges.ISA.fma,
                "digest": digest(),
                "layouts": layouts_agree(),
                "batches": batches_agree(),
                "right": products_are_right(),
            }
        )
    )
