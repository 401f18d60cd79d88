"""The model that a training begins with: settings in, weights out.

On a table the first layer's are Glorot's, sqrt(6 / (in + out)). He's, which MLP draws before relu,
are sqrt(6 / in): nearly four times as large with ten columns and 128 units, so that a net learns
from features as they were drawn rather than changes them. docs/tables.md has what that is worth.
"""

from __future__ import annotations

import math
from typing import Any

from .._mlp import MLP
from .._mlp.config import SETTINGS
from ..tables import Table

_HE = ("relu", "gelu", "gelu_tanh", "silu")  # before which MLP draws He's


def begin(model: MLP, table: Table | None) -> MLP:
    """``model``, new, with the table that it is to learn from."""
    vars(model)["_table"] = table
    first = model.activation if isinstance(model.activation, str | None) else model.activation[0]
    if table is not None and table.columns is not None and first in _HE and len(model.sizes) > 2:
        n, m = model.sizes[:2]
        model.weights[0][...] *= math.sqrt(n / (n + m))
    return model


def untrained(model: MLP) -> MLP:
    """The model that ``model`` was before its first step: its seed decides."""
    settings: dict[str, Any] = {name: getattr(model, name) for name in SETTINGS}
    return begin(MLP(**settings), model.table)
