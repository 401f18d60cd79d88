"""The door for PyTorch: fastgrad's layers in a module, and a module as a compiled ``fastgrad.MLP``.

``linear`` and ``Linear`` compute with fastgrad inside of torch's autograd; ``to_mlp`` and
``to_module`` carry weights, activations, loss and optimizer over and back. docs/torch.md says what
each gains. The bits are those of fastgrad: the same for any threads, batch and strides.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        "fastgrad.torch needs PyTorch: pip install torch "
        "(for CPUs alone: --index-url https://download.pytorch.org/whl/cpu)"
    ) from None

from .layer import Linear, linear
from .models import to_mlp, to_module

__all__ = ["Linear", "linear", "to_mlp", "to_module"]
