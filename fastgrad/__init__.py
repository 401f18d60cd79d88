"""fastgrad: a JIT-compiled CPU core for the forward and backward of dense layers.

x (N, K) · weight (K, M) + bias (M,) -> y (N, M), and back. The same bits for any layout and batch
size, on every CPU with fused multiply-add.
"""

from . import _needs as _needs
from . import _njit as _njit
from . import reference, testing
from ._config import show_config, warmup
from ._kernels.codegen.target import BITS_VERSION, KC
from ._mlp import MLP
from ._mlp import old_pickles as _old_pickles
from ._ops.clipping import clip_grad_norm
from ._ops.elementwise import activation
from ._ops.linear import LinearGrads, linear_backward, linear_forward
from ._ops.losses import (
    binary_cross_entropy_with_logits,
    mse,
    softmax,
    softmax_cross_entropy,
)
from ._ops.matmul import matmul, matmul_nt, matmul_tn
from ._ops.optimizers import SGD, Adam, AdamW, adam_step, sgd_step
from ._ops.schedules import cosine_schedule, step_schedule
from ._version import __version__
from .threads import get_num_threads, num_threads, set_num_threads

__all__ = [
    "BITS_VERSION",
    "KC",
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "LinearGrads",
    "__version__",
    "activation",
    "adam_step",
    "binary_cross_entropy_with_logits",
    "clip_grad_norm",
    "cosine_schedule",
    "get_num_threads",
    "linear_backward",
    "linear_forward",
    "matmul",
    "matmul_nt",
    "matmul_tn",
    "mse",
    "num_threads",
    "reference",
    "set_num_threads",
    "sgd_step",
    "show_config",
    "softmax",
    "softmax_cross_entropy",
    "step_schedule",
    "testing",
    "warmup",
]

_old_pickles.register()
