"""A torch.nn.Sequential <-> a fastgrad.MLP: weights, activations, loss, optimizer and its state."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import nn

from .. import MLP
from .layer import Linear
from .optimizers import give, take
from .tensors import FLOATS, array, check

# By their exact types: a subclass may compute something else.
_NAMES: dict[type, str] = {
    nn.ReLU: "relu", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.SiLU: "silu"
}  # fmt: skip
_MODULES: dict[str | None, Any] = {
    **{name: kind for kind, name in _NAMES.items()},
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
}
_LOSSES: dict[type, str] = {
    nn.CrossEntropyLoss: "softmax_cross_entropy",
    nn.BCEWithLogitsLoss: "binary_cross_entropy_with_logits",
    nn.MSELoss: "mse",
}
# of a loss that MLP has
_PLAIN = {"weight": None, "pos_weight": None, "reduction": "mean", "ignore_index": -100}
_SETTINGS = ("loss", "optimizer", "seed", "label_smoothing", "max_grad_norm")


def to_mlp(sequential: nn.Sequential, **settings: Any) -> MLP:
    """A compiled model with copies of the weights of Linear layers and activations -> MLP.

    Layers: nn.Linear (with a bias) or fastgrad.torch.Linear, each followed by at most one of
    nn.ReLU, Sigmoid, Tanh, GELU (both) and SiLU; all float32 or all float64, on the CPU.

    settings: loss, optimizer, seed, label_smoothing, max_grad_norm, as MLP takes them, and

    - loss: a nn.CrossEntropyLoss, BCEWithLogitsLoss or MSELoss with reduction="mean" and without
      weights or an ignore_index (a negative label is an error in MLP); its label_smoothing goes
      over.
    - optimizer: a torch.optim.SGD, Adam or AdamW of these parameters: options, learning rate and
      state go over, so that training goes on as it would have in torch, to rounding.

    max_grad_norm is clip_grad_norm_'s max_norm; torch divides by the norm + 1e-6, fastgrad by the
    norm. The module is not changed. RuntimeError for what an MLP does not have.
    """
    function = "to_mlp"
    unknown = sorted(settings.keys() - set(_SETTINGS))
    if unknown:
        raise TypeError(f"{function}: {unknown[0]} is no setting; expected {', '.join(_SETTINGS)}")
    layers, activations = _layers(function, sequential)
    parameters = [p for layer in layers for p in (layer.weight, layer.bias)]
    settings = settings | _loss(function, settings)
    taken = None
    if "optimizer" in settings:
        taken = take(function, settings["optimizer"], parameters)
        settings["optimizer"] = taken.optimizer
    model = MLP(
        [layers[0].in_features, *(layer.out_features for layer in layers)],
        activations,
        dtype=FLOATS[parameters[0].dtype],
        **settings,
    )
    for layer, weight, bias in zip(layers, model.weights, model.biases, strict=True):
        weight[...], bias[...] = array(layer.weight).T, array(layer.bias)
    if taken is not None:
        model.steps = taken.steps
        if taken.state is not None:
            model.set_optimizer_state(taken.state)
    return model


@overload
def to_module(model: MLP) -> nn.Sequential: ...
@overload
def to_module(
    model: MLP, *, optimizer: Literal[True]
) -> tuple[nn.Sequential, torch.optim.Optimizer]: ...
def to_module(model: MLP, *, optimizer: bool = False) -> Any:
    """The reverse of to_mlp: nn.Linear layers and activations, with copies of the weights.

    optimizer=True: -> module, its torch.optim.SGD, Adam or AdamW with the model's state and
    learning rate. The loss is a function of the module's output (its logits):

    - "softmax_cross_entropy": nn.CrossEntropyLoss(label_smoothing=model.label_smoothing)
    - "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss()
    - "mse": nn.MSELoss()

    Targets of the last two are (N, outputs) in torch, also where there is one output.
    """
    if not isinstance(model, MLP):
        raise TypeError(f"to_module: model is a {type(model).__name__}, expected a fastgrad.MLP")
    if not isinstance(optimizer, bool):
        raise TypeError(f"to_module: optimizer is {optimizer!r:.60}, expected True or False")
    modules: list[nn.Module] = []
    for i, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        layer = nn.utils.skip_init(nn.Linear, *weight.shape, dtype=_dtype(model), device="cpu")
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight).T)
            layer.bias.copy_(torch.from_numpy(bias))
        modules.append(layer)
        name = _activation(model, i)
        if name is not None:
            modules.append(_MODULES[name]())
    module = nn.Sequential(*modules)
    return (module, give(model, list(module.parameters()))) if optimizer else module


def _layers(function: str, sequential: Any) -> tuple[list[Any], list[Any]]:
    """The Linear layers, and the activation of each."""
    if type(sequential) is not nn.Sequential:
        raise RuntimeError(
            f"{function}: module is a {type(sequential).__name__}, expected a torch.nn.Sequential"
        )
    layers: list[Any] = []
    activations: list[Any] = []
    for name, module in sequential.named_modules(remove_duplicate=False):  # a ReLU may come twice
        if not name or "." in name:  # itself, or inside of another
            continue
        where = f"{function}: layer {name} is {module!r:.100}".replace("\n", " ")
        if type(module) in (nn.Linear, Linear):
            _check_linear(f"{function}: layer {name}", module, layers)
            layers.append(module)
            activations.append(getattr(module, "activation", None))
            continue
        found = _NAMES.get(type(module))
        if type(module) is nn.GELU:
            found = {"none": "gelu", "tanh": "gelu_tanh"}[module.approximate]
        if found is None:
            raise RuntimeError(f"{where}; expected Linear, ReLU, Sigmoid, Tanh, GELU or SiLU")
        if not layers or activations[-1] is not None:
            before = "another activation" if layers else "nothing"
            raise RuntimeError(f"{where} after {before}; expected it after a Linear")
        activations[-1] = found
    if not layers:
        raise RuntimeError(f"{function}: module has no layers, expected one Linear or more")
    if len({id(layer.weight) for layer in layers}) < len(layers):
        raise RuntimeError(f"{function}: layers share a weight; in an MLP each has its own")
    return layers, activations


def _check_linear(where: str, layer: Any, before: list[Any]) -> None:
    if layer.bias is None:
        raise RuntimeError(f"{where} has no bias; layers of an MLP have one")
    for name in ("weight", "bias"):
        parameter = getattr(layer, name)
        if not isinstance(parameter, nn.Parameter) or not parameter.requires_grad:
            raise RuntimeError(
                f"{where} has a {name} that is not trained, an MLP trains all of them"
            )
        check(where, name, parameter)
    first = before[0] if before else layer
    if not layer.weight.dtype is layer.bias.dtype is first.weight.dtype:
        raise RuntimeError(f"{where} has another dtype than the first; an MLP has one")
    if before and before[-1].out_features != layer.in_features:
        raise RuntimeError(
            f"{where} has {layer.in_features} inputs but the one before "
            f"{before[-1].out_features} outputs"
        )


def _loss(function: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a torch loss says."""
    loss = settings.get("loss")
    if not isinstance(loss, nn.Module):
        return {}
    if type(loss) not in _LOSSES:
        known = ", ".join(kind.__name__ for kind in _LOSSES)
        raise RuntimeError(f"{function}: loss is {loss!r:.60}, expected {known} or a name")
    for key, value in _PLAIN.items():
        given = getattr(loss, key, value)
        if given is not value and given != value:
            raise RuntimeError(
                f"{function}: loss has {key}={given!r:.60}, which an MLP has not; weights of rows "
                f"are an argument of train_step and fit"
            )
    smoothing = getattr(loss, "label_smoothing", 0.0)
    other = settings.get("label_smoothing", smoothing)
    if smoothing and other != smoothing:
        raise RuntimeError(
            f"{function}: loss has label_smoothing={smoothing} but label_smoothing is {other!r:.60}"
        )
    more = {"label_smoothing": smoothing} if smoothing else {}
    return {"loss": _LOSSES[type(loss)]} | more


def _activation(model: MLP, layer: int) -> str | None:
    given = model.activation
    if isinstance(given, tuple):
        return given[layer]
    return given if layer < len(model.weights) - 1 else None


def _dtype(model: MLP) -> torch.dtype:
    return {dtype: kind for kind, dtype in FLOATS.items()}[model.dtype]
