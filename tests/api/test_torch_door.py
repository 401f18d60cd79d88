"""fastgrad.torch: a layer inside of autograd, and modules that become models and come back."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgrad
from fastgrad._kernels.formulas.activations import BY_NAME
from support.printed import promised, stripped

torch: Any = pytest.importorskip("torch")
from fastgrad import torch as door  # noqa: E402
from fastgrad.torch import layer, models  # noqa: E402

nn: Any = torch.nn
PAGE = Path(__file__).parents[2] / "docs" / "torch.md"
by_activation = pytest.mark.parametrize("activation", layer.ACTIVATIONS)
by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
Tensors = list[Any]


def tensors(lead: tuple[int, ...] = (3,), dtype: str = "float64", bias: bool = True) -> Tensors:
    """x (*lead, 5), weight (4, 5), bias (4,)"""
    torch.manual_seed(0)
    shapes = [(*lead, 5), (4, 5), (4,)][: 2 + bias]
    return [torch.randn(shape, dtype=getattr(torch, dtype)) for shape in shapes]


def theirs(x: Any, weight: Any, bias: Any = None, activation: str | None = None) -> Any:
    return layer.ACTIVATIONS[activation][0](nn.functional.linear(x, weight, bias))


def with_activation(activation: str | None, function: Any = door.linear) -> Callable[..., Any]:
    return lambda x, w, b=None: function(x, w, b, activation)


def subsets(given: Tensors) -> list[Tensors]:
    """Copies, of which one or more want a gradient."""
    which = [on for on in itertools.product((False, True), repeat=len(given)) if any(on)]
    return [[t.clone().requires_grad_(o) for t, o in zip(given, on, strict=True)] for on in which]


# linear -------------------------------------------------------------------------------------------


def test_every_activation_is_there() -> None:
    assert set(layer.ACTIVATIONS) == {None, *BY_NAME}
    assert set(models._MODULES) == set(BY_NAME)
    for name, row in BY_NAME.items():
        assert layer.ACTIVATIONS[name][1] == (row.saved == "preactivation")


@by_activation
@pytest.mark.parametrize("bias", [True, False])
def test_gradcheck_of_any_subset(activation: str | None, bias: bool) -> None:
    function = with_activation(activation)
    for leaves in subsets(tensors((2,), bias=bias)):
        assert torch.autograd.gradcheck(function, leaves, nondet_tol=0.0)
        assert torch.autograd.gradgradcheck(function, leaves, nondet_tol=0.0)


@by_activation
@by_dtype
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)])
def test_the_bits_are_fastgrads(lead: tuple[int, ...], dtype: str, activation: Any) -> None:
    x, w, b = leaves = [t.requires_grad_() for t in tensors(lead, dtype)]
    y = door.linear(x, w, b, activation)
    g = torch.randn_like(y)
    y.backward(g)
    a, c, d = (t.detach().numpy() for t in leaves)
    z = np.empty(y.shape, dtype)
    wanted = fastgrad.linear_forward(a, c.T, d, activation, preactivation_out=z)
    grads = fastgrad.linear_backward(g.numpy(), a, c.T, activation, wanted, z)
    assert y.dtype is x.dtype and np.array_equal(y.detach().numpy(), wanted)
    for leaf, grad in zip(leaves, (grads.x, grads.weight.T, grads.bias), strict=True):
        assert np.array_equal(leaf.grad.numpy(), grad)
    with torch.no_grad():
        assert torch.equal(door.linear(x, w, b, activation), y)


@by_dtype
def test_any_strides_give_the_same_bits(dtype: str) -> None:
    x, w, b = tensors((6,), dtype)
    odd = {
        "x": [x.mT.contiguous().mT, torch.cat((x, x), 1)[:, :5], x.repeat_interleave(2, 0)[::2]],
        "w": [w.mT.contiguous().mT, w.repeat_interleave(2, 1)[:, ::2], w.repeat(2, 1)[4:]],
        "b": [b.repeat_interleave(3)[::3], b, b],
    }
    grads = []
    for tx, tw, tb in [(x, w, b), *zip(*odd.values(), strict=True)]:
        leaves = [t.detach().requires_grad_() for t in (tx, tw, tb)]
        y = door.linear(*leaves, "gelu")
        y.sum().backward()  # a gradient of zero strides
        grads.append((y.detach(), *(t.grad for t in leaves)))
    for found in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found, grads[0], strict=True))
    one = torch.randn(1, 5, dtype=x.dtype).expand(6, 5)
    assert torch.equal(door.linear(one, w, b), door.linear(one.contiguous(), w, b))
    minus = torch.complex(x, x).conj().imag
    assert minus.is_neg() and torch.equal(door.linear(minus, w, b), door.linear(-x, w, b))


def test_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def spy(name: str) -> None:
        function = getattr(layer, name)
        monkeypatch.setattr(layer, name, lambda *args: (seen.append(args), function(*args))[1])

    spy("linear_forward")
    spy("linear_backward")
    x, w, b = (t.requires_grad_() for t in tensors((6,)))
    y = door.linear(x, w, b, "silu")
    g = torch.randn_like(y)
    y.backward(g)
    (forward, backward), of = seen, lambda t: t.detach().numpy()
    for given, tensor in ((forward[0], x), (forward[1], w), (forward[2], b), (backward[0], g),
                          (backward[1], x), (backward[2], w)):  # fmt: skip
        assert np.shares_memory(given, of(tensor))
    assert forward[5] is not None and np.shares_memory(forward[5], backward[5])  # Z
    assert np.shares_memory(backward[7][1], of(w.grad))  # torch keeps what was written


def test_gradients_that_nobody_needs_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    needs: list[Any] = []
    function = layer.linear_backward
    monkeypatch.setattr(
        layer, "linear_backward", lambda *args: (needs.append(args[6]), function(*args))[1]
    )
    for leaves in subsets(tensors()):
        door.linear(*leaves).sum().backward()
        assert needs.pop() == tuple(t.requires_grad for t in leaves)
        assert [t.grad is not None for t in leaves] == [t.requires_grad for t in leaves]


def test_modes_without_gradients() -> None:
    x, w, b = (t.requires_grad_() for t in tensors())
    with torch.no_grad():
        assert not door.linear(x, w, b, "gelu").requires_grad
    with torch.inference_mode():
        y = door.linear(x, w, b, "gelu")
        assert y.is_inference() and door.linear(door.linear(x, w), w.mT).shape == x.shape
    with pytest.raises(RuntimeError, match=r"Inference tensors cannot be saved for backward"):
        door.linear(y, torch.ones(2, 4).double().requires_grad_())
    assert not door.linear(*(t.detach() for t in (x, w, b))).requires_grad


def test_what_was_saved_must_not_change() -> None:
    x, w, b = (t.requires_grad_() for t in tensors())
    y = door.linear(x, w, b, "tanh")
    with torch.no_grad():
        w += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@by_activation
def test_third_derivatives(activation: str | None) -> None:
    def third(function: Any) -> Any:
        leaves = [t.requires_grad_() for t in tensors()]
        total = with_activation(activation, function)(*leaves).pow(3).sum()
        for _ in range(2):
            grads = torch.autograd.grad(total, leaves, create_graph=True)
            total = sum((g**2).sum() for g in grads)
        return torch.autograd.grad(total, leaves)

    torch.testing.assert_close(third(door.linear), third(theirs))


@by_activation
def test_transforms_of_torch_func(activation: str | None) -> None:
    func, given = torch.func, tensors((6,))
    x, w, b = given

    def found(function: Any) -> Any:
        f = with_activation(activation, function)
        leaves = [t.clone().requires_grad_() for t in given]
        y, g = f(*leaves), torch.stack((torch.ones_like(x[:, :4]), x[:, :4]))
        return [
            func.vmap(f, (0, None, None))(x, w, b),
            func.vmap(func.grad(lambda v, row: f(row, v, b).pow(2).sum()), (None, 0))(w, x),
            func.vmap(f, (None, 0, 0))(
                x, torch.stack((w, 2 * w)), torch.stack((b, b))
            ),  # an ensemble
            func.jacrev(f)(x, w, b),
            func.vmap(lambda c: torch.autograd.grad(y, leaves, c, retain_graph=True))(g),
        ]

    torch.testing.assert_close(found(door.linear), found(theirs))


def test_legacy_batches_are_refused() -> None:
    x, w, b = (t.requires_grad_() for t in tensors())
    y = door.linear(x, w, b)
    with pytest.raises(RuntimeError, match=r"use torch\.func's vmap"):
        torch.autograd.grad(y, (x,), torch.ones(2, *y.shape).double(), is_grads_batched=True)


X, W, B = (torch.ones(shape) for shape in ((3, 5), (4, 5), (4,)))
REFUSED: dict[str, tuple[Tensors, str]] = {
    "half": ([X.half(), W, B], r"x has dtype torch\.float16.* convert it with x\.float\(\)"),
    "int": ([X, W.int(), B], r"weight has dtype torch\.int32"),
    "complex": ([X, W, B.cfloat()], r"bias has dtype torch\.complex64"),
    "mixed": ([X.double(), W, B], r"dtypes differ.*x \(3, 5\) torch\.float64, weight \(4, 5\)"),
    "meta": ([X.to("meta"), W, B], "x is on device meta"),
    "sparse": ([X, W.to_sparse(), B], r"weight has layout torch\.sparse_coo.*weight\.to_dense"),
    "columns": ([X[:, :2], W, B], r"x has 2 columns but weight, \(out, in\), has 5"),
    "transposed": ([X, W.T, B], r"x has 5 columns but weight, \(out, in\), has 4"),
    "bias": ([X, W, B[:3]], r"bias has shape \(3,\) but weight, \(out, in\), has 4 rows"),
    "column": ([X, W, B[:, None]], r"bias has shape \(4, 1\)"),
    "vector": ([X, W[0], None], "weight has 1 dimensions, expected 2"),
    "number": ([X[0, 0], W, B], "x has no dimensions"),
    "activation": ([X, W, B, "relu6"], "activation is 'relu6', expected one of None, 'relu'"),
    "list": ([X, W, B, ["relu"]], r"activation is \['relu'\], expected one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_a_runtime_error_of_one_line(case: str) -> None:
    given, words = REFUSED[case]
    with pytest.raises(RuntimeError, match="^linear: " + words) as error:
        door.linear(*given)
    assert "\n" not in str(error.value)


def test_what_is_no_tensor_is_a_type_error() -> None:
    for given, words in (([X.numpy(), W], "x is ndarray"), ([X, None], "weight is None")):
        with pytest.raises(TypeError, match=f"^linear: {words}, expected a torch.Tensor"):
            door.linear(*given)


# Linear -------------------------------------------------------------------------------------------


def test_linear_loads_a_state_dict_both_ways() -> None:
    torch.manual_seed(1)
    other = nn.Linear(5, 4)
    torch.manual_seed(1)
    ours = door.Linear(5, 4, activation="relu")
    assert torch.equal(ours.weight, other.weight) and torch.equal(ours.bias, other.bias)
    ours.reset_parameters()
    assert not torch.equal(ours.weight, other.weight)
    ours.load_state_dict(other.state_dict())
    torch.testing.assert_close(ours(X), other(X).relu())
    other.load_state_dict(ours.state_dict())
    assert list(ours.state_dict()) == ["weight", "bias"]
    bare = door.Linear(5, 4, bias=False, dtype=torch.float64)
    assert bare.bias is None and bare(X.double()).dtype is torch.float64
    assert bare.extra_repr() == "in_features=5, out_features=4, bias=False, activation=None"


def test_linear_is_copied_and_pickled() -> None:
    ours = door.Linear(5, 4, activation="gelu")
    for same in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(same(X), ours(X)) and repr(same) == repr(ours)


def test_linear_checks_its_arguments() -> None:
    for words, more in (
        ("device is meta", {"device": "meta"}),
        ("dtype is torch.bfloat16", {"dtype": torch.bfloat16}),
        ("activation is 'swish'", {"activation": "swish"}),
    ):
        with pytest.raises(RuntimeError, match=f"^Linear: {words}"):
            door.Linear(5, 4, **more)
    with torch.device("meta"), pytest.raises(RuntimeError, match="device is meta"):
        door.Linear(5, 4)


# to_mlp, to_module --------------------------------------------------------------------------------

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, 0.05, 0.9),
    "nesterov": lambda p: torch.optim.SGD(p, 0.05, 0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, (0.8, 0.99), 1e-7),
    "decoupled": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "groups": lambda p: torch.optim.AdamW([{"params": p[:3]}, {"params": p[3:]}], 0.01),
}
LOSSES = [nn.CrossEntropyLoss(label_smoothing=0.1), nn.BCEWithLogitsLoss(), nn.MSELoss()]


def module(dtype: str = "float64") -> Any:
    torch.manual_seed(2)
    shared = nn.GELU("tanh")  # one module at two places
    layers = (
        nn.Linear(5, 8), shared, nn.Linear(8, 7), shared, door.Linear(7, 6, activation="silu"),
        nn.Linear(6, 6), nn.Linear(6, 3),
    )  # fmt: skip
    return nn.Sequential(*layers).to(getattr(torch, dtype))


def batch(loss: Any, dtype: str = "float64") -> Tensors:
    torch.manual_seed(3)
    x, y = torch.randn(20, 5).double(), torch.rand(20, 3).double()
    if isinstance(loss, nn.CrossEntropyLoss):
        return [x.to(getattr(torch, dtype)), torch.randint(0, 3, (20,))]
    return [t.to(getattr(torch, dtype)) for t in (x, y)]


def steps(net: Any, optimizer: Any, loss: Any, x: Any, y: Any, n: int = 10) -> list[float]:
    taken = []
    for _ in range(n):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        taken.append(value.item())
    return taken


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("before", [0, 3])
def test_the_next_ten_steps_agree_there_and_back(name: str, before: int) -> None:
    for loss in LOSSES:
        net, (x, y) = module(), batch(loss)
        optimizer = OPTIMIZERS[name](list(net.parameters()))
        steps(net, optimizer, loss, x, y, before)
        model = door.to_mlp(net, loss=loss, optimizer=optimizer)
        kept = [p.clone() for p in net.parameters()]
        ours = [model.train_step(x.numpy(), y.numpy()) for _ in range(10)]
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), kept, strict=True))
        np.testing.assert_allclose(ours, steps(net, optimizer, loss, x, y), rtol=1e-12)
        back, its = door.to_module(model, optimizer=True)
        ours = [model.train_step(x.numpy(), y.numpy()) for _ in range(10)]
        np.testing.assert_allclose(ours, steps(back, its, loss, x, y), rtol=1e-12)
        np.testing.assert_allclose(ours, steps(net, optimizer, loss, x, y), rtol=1e-11)


def test_float32_and_the_rate_of_a_schedule() -> None:
    net, (x, y) = module("float32"), batch(LOSSES[0], "float32")
    optimizer = OPTIMIZERS["adamw"](net.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    steps(net, optimizer, LOSSES[0], x, y, 2)
    schedule.step()
    model = door.to_mlp(net, loss=LOSSES[0], optimizer=optimizer)
    assert model.learning_rate == 0.005 and model.steps == 2 and model.dtype == np.float32
    ours = [model.train_step(x.numpy(), y.numpy()) for _ in range(10)]
    np.testing.assert_allclose(ours, steps(net, optimizer, LOSSES[0], x, y), rtol=1e-5)


def test_weights_and_activations_go_over_bit_for_bit() -> None:
    net = module()
    model = door.to_mlp(net, optimizer=fastgrad.SGD(0.1), max_grad_norm=1.0, seed=3)
    assert model.activation == ("gelu_tanh", "gelu_tanh", "silu", None, None)
    assert model.max_grad_norm == 1.0 and model.seed == 3 and model.label_smoothing == 0
    back = door.to_module(model)
    assert [type(m).__name__ for m in back[:6:2]] == ["Linear"] * 3 and back[5].__class__ is nn.SiLU
    for p, q in zip(net.parameters(), back.parameters(), strict=True):
        assert torch.equal(p, q) and p.data_ptr() != q.data_ptr() and q.is_leaf and q.requires_grad
    for name in (*BY_NAME, None):
        model = fastgrad.MLP((5, 4, 3), name)
        assert door.to_mlp(door.to_module(model)).activation == (name, None)


REFUSED_MODULES: dict[str, tuple[Callable[[], Any], str]] = {
    "no sequential": (lambda: nn.Linear(2, 2), "module is a Linear, expected a torch.nn.Seq"),
    "empty": (nn.Sequential, "module has no layers"),
    "dropout": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), r"layer 1 is Dropout\("),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Linear(2, 2))), r"layer 0 is Sequential\("),
    "first": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), r"layer 0 is ReLU\(\) after noth"),
    "two": (lambda: nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh()), r"layer 2 is Tanh\(\)"),
    "no bias": (lambda: nn.Sequential(nn.Linear(2, 2, bias=False)), "layer 0 has no bias"),
    "widths": (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)), "layer 1 has 2 inputs but"),
    "twice": (lambda: nn.Sequential(*[nn.Linear(2, 2)] * 2), "layers share a weight"),
    "frozen": (lambda: nn.Sequential(nn.Linear(2, 2)).requires_grad_(False), "layer 0 has a "),
    "dtypes": (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), "layer 1 has another"
    ),
    "half": (lambda: nn.Sequential(nn.Linear(2, 2)).half(), r"layer 0: weight has dtype torch\.fl"),
    "meta": (lambda: nn.Sequential(nn.Linear(2, 2, device="meta")), "layer 0: weight is on device"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_MODULES)
def test_modules_that_are_no_mlp_are_refused(case: str) -> None:
    make, words = REFUSED_MODULES[case]
    with pytest.raises(RuntimeError, match="^to_mlp: " + words) as error:
        door.to_mlp(make())
    assert "\n" not in str(error.value)


def _partly(net: Any) -> Any:
    optimizer = torch.optim.Adam(net.parameters())
    net[-1](torch.ones(1, 6).double()).sum().backward()
    optimizer.step()
    return optimizer


REFUSED_SETTINGS: dict[str, tuple[Callable[[Any], dict[str, Any]], str]] = {
    "kind": (lambda n: {"optimizer": torch.optim.RMSprop(n.parameters())}, "optimizer is a RMS"),
    "name": (lambda n: {"optimizer": "adam"}, "optimizer is a str"),
    "others": (lambda n: {"optimizer": torch.optim.SGD(module().parameters())}, "optimizer has 10"),
    "few": (lambda n: {"optimizer": torch.optim.SGD(n[0].parameters())}, "optimizer has 2 "),
    "amsgrad": (
        lambda n: {"optimizer": torch.optim.Adam(n.parameters(), amsgrad=True)},
        "optimizer has amsgrad=True",
    ),
    "maximize": (
        lambda n: {"optimizer": torch.optim.SGD(n.parameters(), maximize=True)},
        "optimizer has maximize=True",
    ),
    "dampening": (
        lambda n: {"optimizer": torch.optim.SGD(n.parameters(), 0.1, 0.9, 0.5)},
        "optimizer has dampening=0.5",
    ),
    "groups": (
        lambda n: {"optimizer": torch.optim.SGD([
            {"params": n[0].parameters(), "lr": 1.0}, {"params": n[1:].parameters(), "lr": 2.0}])},
        "groups of optimizer differ in lr",
    ),
    "partly": (lambda n: {"optimizer": _partly(n)}, "optimizer has state for 2 of 10 parameters"),
    "loss": (lambda n: {"loss": nn.L1Loss()}, r"loss is L1Loss\(\), expected CrossEntropyLoss"),
    "sum": (lambda n: {"loss": nn.MSELoss(reduction="sum")}, "loss has reduction='sum'"),
    "weight": (lambda n: {"loss": nn.CrossEntropyLoss(torch.ones(3))}, "loss has weight=tensor"),
    "ignore": (lambda n: {"loss": nn.CrossEntropyLoss(ignore_index=0)}, "loss has ignore_index=0"),
    "smoothing": (
        lambda n: {"loss": LOSSES[0], "label_smoothing": 0.2},
        "loss has label_smoothing=0.1 but label_smoothing is 0.2",
    ),
    "positive": (
        lambda n: {"loss": nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))}, "loss has pos_weight"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_SETTINGS)
def test_settings_that_an_mlp_has_not_are_refused(case: str) -> None:
    make, words = REFUSED_SETTINGS[case]
    net = module()
    with pytest.raises(RuntimeError, match="^to_mlp: " + words) as error:
        door.to_mlp(net, **make(net))
    assert "\n" not in str(error.value)


def test_other_settings_are_type_errors() -> None:
    with pytest.raises(TypeError, match=r"^to_mlp: sizes is no setting; expected loss, "):
        door.to_mlp(module(), sizes=(1, 2))
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        door.to_mlp(module(), loss="hinge")
    with pytest.raises(TypeError, match=r"^to_module: model is a Sequential, expected"):
        door.to_module(module())
    with pytest.raises(TypeError, match=r"^to_module: optimizer is 1, expected True"):
        door.to_module(fastgrad.MLP((2, 2)), optimizer=1)


# the page -----------------------------------------------------------------------------------------


def test_the_examples_of_the_page() -> None:
    examples = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert len(examples) >= 2
    names: dict[str, Any] = {"__name__": "page"}
    for code in examples:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, str(PAGE), "exec"), names)
        assert stripped(output.getvalue().splitlines()) == stripped(promised(code))
