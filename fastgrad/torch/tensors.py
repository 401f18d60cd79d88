"""Tensors in, arrays on the same memory out; what fastgrad does not compute with is refused.

Errors are torch's kind, a RuntimeError, of one line; what is no tensor is a TypeError.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
FLOATS: dict[Any, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}


def check(function: str, name: str, tensor: Any) -> None:
    """A dense float32 or float64 tensor on the CPU."""
    if not isinstance(tensor, torch.Tensor):
        kind = "None" if tensor is None else type(tensor).__name__
        raise TypeError(f"{function}: {name} is {kind}, expected a torch.Tensor")
    if tensor.layout is torch.strided and tensor.is_cpu and tensor.dtype in FLOATS:
        if not tensor.is_nested:
            return
    if tensor.device.type != "cpu":
        remedy = "it has no values" if tensor.is_meta else f"pass {name}.cpu()"
        what = f"{name} is on device {tensor.device}, fastgrad computes on the CPU"
        raise RuntimeError(f"{function}: {what}; {remedy}")
    if tensor.dtype not in FLOATS:
        raise RuntimeError(
            f"{function}: {name} has dtype {tensor.dtype}, expected torch.float32 or "
            f"torch.float64; convert it with {name}.float()"
        )
    if tensor.layout is not torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else tensor.layout
        remedy = "" if tensor.is_nested else f"; pass {name}.to_dense()"
        raise RuntimeError(
            f"{function}: {name} has layout {layout}, expected torch.strided{remedy}"
        )


def array(tensor: Any) -> Array:
    """The tensor's memory, whatever its strides, without its history; no copy.

    (But of a lazy minus, the imaginary part of a conjugate, whose memory has the other sign.)
    """
    try:
        return tensor.detach().resolve_neg().numpy()  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise RuntimeError(
            "linear: a tensor has no memory to read; instead of is_grads_batched=True and "
            "vectorize=True use torch.func's vmap and jacrev"
        ) from error
