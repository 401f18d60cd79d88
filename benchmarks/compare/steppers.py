"""A training step in each library, as its users write it: ``LIBRARIES[name](net, rate)`` -> step.

step() trains on the net's one batch and returns the loss before the step, a float. Everything that
can be made beforehand is made beforehand. Each library has all the threads of its process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nets import Net, start

Step = Callable[[], float]


class NotEqual(Exception):
    """The library has no such step: another job is not timed."""


def fastgrad_step(net: Net, rate: float) -> Step:
    import fastgrad

    x, labels, weights, biases = start(net)
    model = fastgrad.MLP(net.sizes, optimizer=fastgrad.SGD(rate))
    for to, values in zip((*model.weights, *model.biases), (*weights, *biases), strict=True):
        to[...] = values
    return lambda: model.train_step(x, labels)


def numpy_step(net: Net, rate: float) -> Step:
    """By hand: products and elementwise work into arrays made before."""
    x, labels, weights, biases = start(net)
    rows, last = np.arange(net.batch), len(weights) - 1
    ys = [np.empty((net.batch, m), np.float32) for m in net.sizes[1:]]
    hs = [np.empty_like(y) for y in ys]
    masks = [np.empty(y.shape, bool) for y in ys]
    dws = [np.empty_like(w) for w in weights]
    dbs = [np.empty_like(b) for b in biases]
    inputs = [x, *ys[:-1]]

    def step() -> float:
        for i in range(last + 1):
            np.matmul(inputs[i], weights[i], out=ys[i])
            np.add(ys[i], biases[i], out=ys[i])
            if i < last:
                np.maximum(ys[i], 0, out=ys[i])
        h = hs[last]
        np.subtract(ys[last], ys[last].max(1, keepdims=True), out=h)
        of_label = h[rows, labels]
        np.exp(h, out=h)
        sums = h.sum(1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - of_label).mean())
        np.divide(h, sums, out=h)
        h[rows, labels] -= 1
        np.divide(h, net.batch, out=h)
        for i in range(last, -1, -1):
            np.matmul(inputs[i].T, hs[i], out=dws[i])
            np.add.reduce(hs[i], 0, out=dbs[i])
            if i:
                np.matmul(hs[i], weights[i].T, out=hs[i - 1])
                np.greater(ys[i - 1], 0, out=masks[i - 1])
                np.multiply(hs[i - 1], masks[i - 1], out=hs[i - 1])
        for param, grad in zip((*weights, *biases), (*dws, *dbs), strict=True):
            np.multiply(grad, rate, out=grad)
            np.subtract(param, grad, out=param)
        return loss

    return step


def torch_step(net: Net, rate: float, compiled: bool = False, fused: Any = None) -> Step:
    """fused: the class of layers with an activation of their own, or None for nn.Linear, nn.ReLU"""
    import torch

    x, labels, weights, biases = start(net)
    layers: list[Any] = []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        name = "relu" if i < len(weights) - 1 else None
        layer = torch.nn.Linear(*w.shape) if fused is None else fused(*w.shape, activation=name)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(w.T.copy()))
            layer.bias.copy_(torch.from_numpy(b))
        layers += [layer] if fused or name is None else [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    data, targets = torch.from_numpy(x), torch.from_numpy(labels)
    loss_of: Any = lambda: torch.nn.functional.cross_entropy(model(data), targets)  # noqa: E731
    if compiled:
        forward = torch.compile(lambda a, b: torch.nn.functional.cross_entropy(model(a), b))
        loss_of = lambda: forward(data, targets)  # noqa: E731

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def jax_step(net: Net, rate: float) -> Step:
    import jax
    import jax.numpy as jnp

    x, labels, weights, biases = start(net)

    def loss_of(params: Any, a: Any, b: Any) -> Any:
        for w, bias in params[:-1]:
            a = jnp.maximum(a @ w + bias, 0)
        w, bias = params[-1]
        scores = jax.nn.log_softmax(a @ w + bias)
        return -jnp.take_along_axis(scores, b[:, None], 1).mean()

    def update(params: Any, a: Any, b: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, a, b)
        return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

    jitted = jax.jit(update, donate_argnums=0)
    pairs = zip(weights, biases, strict=True)
    state: list[Any] = [[(jnp.asarray(w), jnp.asarray(b)) for w, b in pairs]]
    data, targets = jnp.asarray(x), jnp.asarray(labels)

    def step() -> float:
        state[0], loss = jitted(state[0], data, targets)
        jax.block_until_ready(state[0])
        return float(loss)

    return step


def sklearn_step(net: Net, rate: float) -> Step:
    from sklearn.neural_network import MLPClassifier

    if net.sizes[-1] == 2 or net.batch < net.sizes[-1]:
        raise NotEqual("scikit-learn gives two classes one output, and needs each in the batch")
    x, labels, weights, biases = start(net)
    model = MLPClassifier(
        net.sizes[1:-1], solver="sgd", alpha=0.0, batch_size=net.batch, learning_rate_init=rate,
        momentum=0.0, nesterovs_momentum=False, shuffle=False,
    )  # fmt: skip
    model.partial_fit(x, labels, classes=np.arange(net.sizes[-1]))
    for to, values in zip((*model.coefs_, *model.intercepts_), (*weights, *biases), strict=True):
        to[...] = values

    def step() -> float:
        model.partial_fit(x, labels)
        return float(model.loss_)

    return step


LIBRARIES: dict[str, Callable[[Net, float], Step]] = {
    "fastgrad": fastgrad_step,
    "numpy": numpy_step,
    "torch": torch_step,
    "torch_compiled": lambda net, rate: torch_step(net, rate, compiled=True),
    "jax": jax_step,
    "scikit-learn": sklearn_step,
}
# what is imported, where it is not the name
MODULES = {
    "torch_compiled": "torch",
    "scikit-learn": "sklearn",
}


def set_threads(library: str, n: int) -> None:
    """Before the library is imported."""
    import os

    if library == "fastgrad":
        import fastgrad

        fastgrad.set_num_threads(n)
    elif MODULES.get(library, library) == "torch":
        import torch

        torch.set_num_threads(n)
    elif library == "jax":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
    else:
        from threadpoolctl import threadpool_limits

        threadpool_limits(n)
