"""A torch.optim.SGD, Adam or AdamW of a module <-> fastgrad's settings, and the state of both.

torch keeps its state by parameter, weights (out, in); fastgrad flat, weights (in, out).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import MLP, SGD, Adam, AdamW
from .tensors import Array, array

# Keys of torch's groups that change a step, and the value with which fastgrad has that step.
_FIXED: dict[str, Any] = {"dampening": 0, "maximize": False, "amsgrad": False}
_TAKEN = ("lr", "momentum", "nesterov", "weight_decay", "betas", "eps", "decoupled_weight_decay")
_VELOCITY, _MOMENTS = ("momentum_buffer",), ("exp_avg", "exp_avg_sq")


class Taken(NamedTuple):
    """state: None where torch has none yet."""

    optimizer: SGD | Adam
    state: list[Array] | None
    steps: int


def take(function: str, given: Any, parameters: Sequence[Tensor]) -> Taken:
    """given: fastgrad's settings, or torch's optimizer of these parameters, in their order."""
    if isinstance(given, SGD | Adam):
        return Taken(given, None, 0)
    if type(given) not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise RuntimeError(
            f"{function}: optimizer is a {type(given).__name__}, expected a torch.optim.SGD, Adam "
            f"or AdamW, or fastgrad's settings"
        )
    options = _options(function, given, parameters)
    states = [given.state.get(p, {}) for p in parameters]
    if isinstance(given, torch.optim.SGD):
        momentum = float(options["momentum"])
        found: SGD | Adam = SGD(
            options["lr"], momentum, bool(options["nesterov"]), options["weight_decay"]
        )
        return Taken(found, _slots(function, states, _VELOCITY if momentum else ()), 0)
    # one or the other by what it does: Adam has the decay of AdamW by an option
    kind = AdamW if options["decoupled_weight_decay"] else Adam
    betas = tuple(float(b) for b in options["betas"])
    found = kind(options["lr"], betas, options["eps"], options["weight_decay"])  # type: ignore[arg-type]
    steps = {int(s["step"]) for s in states if s}
    if len(steps) > 1:
        raise RuntimeError(f"{function}: optimizer has done {sorted(steps)} steps, by parameter")
    return Taken(found, _slots(function, states, _MOMENTS), max(steps, default=0))


def give(model: MLP, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """torch's optimizer of these parameters, weight 0, bias 0, ..., with the model's state."""
    settings, rate = model.optimizer, model.learning_rate
    decay = settings.weight_decay
    if isinstance(settings, SGD):
        found: Any = torch.optim.SGD(
            parameters, rate, settings.momentum, weight_decay=decay, nesterov=settings.nesterov
        )
        names: tuple[str, ...] = _VELOCITY if settings.momentum else ()
    else:
        kind = torch.optim.AdamW if settings.decoupled else torch.optim.Adam
        found = kind(parameters, rate, settings.betas, settings.eps, decay)
        names = _MOMENTS
    if names:
        state: dict[int, dict[str, Tensor]] = {i: {} for i in range(len(parameters))}
        if names is _MOMENTS:
            for own in state.values():  # a tensor each, which torch counts up
                own["step"] = torch.tensor(float(model.steps))
        for name, flat in zip(names, model.optimizer_state(), strict=True):
            for i, piece in enumerate(_pieces(flat, parameters)):
                state[i][name] = torch.from_numpy(piece)
        found.load_state_dict(found.state_dict() | {"state": state})
    return found  # type: ignore[no-any-return]


def _options(function: str, given: Any, parameters: Sequence[Tensor]) -> dict[str, Any]:
    """What all groups agree on, numbers as numbers; RuntimeError for what fastgrad has not."""
    groups = given.param_groups
    held = [p for group in groups for p in group["params"]]
    if {id(p) for p in held} != {id(p) for p in parameters}:
        raise RuntimeError(
            f"{function}: optimizer has {len(held)} parameters, which are not the "
            f"{len(parameters)} of the module; pass one made with module.parameters()"
        )
    for key, value in _FIXED.items():
        if any(group.get(key, value) != value for group in groups):
            raise RuntimeError(
                f"{function}: optimizer has {key}={groups[0][key]}, fastgrad has {value}"
            )
    options = {key: groups[0].get(key, 0) for key in _TAKEN}
    for key, value in options.items():
        if any(group.get(key, 0) != value for group in groups):
            raise RuntimeError(f"{function}: groups of optimizer differ in {key}; expected one")
    for key in ("lr", "momentum", "weight_decay", "eps"):
        options[key] = float(options[key])  # also of a tensor
    return options


def _slots(function: str, states: list[Any], names: tuple[str, ...]) -> list[Array] | None:
    has = [all(state.get(name) is not None for name in names) for state in states]
    if not names or not any(has):
        return None
    if not all(has):
        raise RuntimeError(
            f"{function}: optimizer has state for {sum(has)} of {len(has)} parameters; expected "
            f"all or none: do a step in which all have gradients"
        )
    return [
        np.concatenate([array(state[name]).T.reshape(-1) for state in states]) for name in names
    ]


def _pieces(flat: Array, parameters: Sequence[Tensor]) -> list[Array]:
    """Of each parameter, laid out as torch has it."""
    pieces, start = [], 0
    for p in parameters:
        part = flat[start : start + p.numel()]
        pieces.append(np.ascontiguousarray(part.reshape(p.shape[::-1]).T))
        start += p.numel()
    return pieces
