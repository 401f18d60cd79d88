"""Where the words of a net's table are, for kernels that go through its layers."""

from __future__ import annotations

from ..codegen import structs
from .args import Layer, Net

NET_BYTES, LAYER_BYTES = structs.size(Net), structs.size(Layer)
NORM_OFFSET, LOSS_OFFSET = (8 * structs.offset(Net, name) for name in ("norm", "loss"))
