"""What the kernels of a layer and of training are given. Strides are in bytes."""

from __future__ import annotations

from typing import NamedTuple

from ..gemm.args import Matrix, Product, Rows


class Backward(NamedTuple):
    """dX = or += H·Wᵀ, dW = or += Xᵀ·H, db = or += column sums of H, H = G ∘ act'."""

    n: int  # rows of the batch
    k: int  # inputs
    m: int  # outputs
    g: Matrix  # (n, m)
    x: Matrix  # (n, k)
    w: Matrix  # (k, m)
    saved: Matrix  # (n, m), what act' is computed from; without an activation not read
    dx: Matrix  # (n, k); data 0: not needed
    dw: Matrix  # (k, m); data 0: not needed
    db: int  # (m,), unit stride; 0: not needed
    activation: int  # its code
    accumulate_x: int  # 1: added to
    accumulate_w: int
    accumulate_b: int
    alone: int  # 0 or ALONE: see gemm/args.py


class ActivationGradientPlan(NamedTuple):
    """A job that forms H and db; task t has columns t * wide ..."""

    rows: int
    columns: int
    g: Matrix
    saved: Matrix
    h: Rows  # written; data 0: H is G
    db: int  # 0: not wanted
    accumulate_b: int
    activation: int
    wide: int


class PairPlan(NamedTuple):
    """A job of two products of H: task 0 is dX, task 1 dW."""

    dx: Product
    dw: Product
    forms: int  # 1: each task forms H for itself, in scratch, and the second one db
    h: ActivationGradientPlan


class Loss(NamedTuple):
    """logits (n, m), targets -> the mean loss, and grad (n, m), which must not overlap an input."""

    n: int
    m: int
    logits: Matrix
    targets: Matrix  # int64 labels (n,), or (n, m) of the dtype
    grad: Rows  # written
    loss: int  # address of a float64, written
    smoothing: int  # the bits of a float64
    divisor: int  # likewise: what the sum is divided by; +0.0: the sum of weights, see losses.py
    row_losses: int  # 0, or where each row's loss is written, a float64; then loss is not
    weights: int  # (n,) float64, 0: all are 1
    weight_step: int  # bytes from one to the next
    ignores: int  # 1: rows of the label ``ignored`` are left out
    ignored: int
    positive: int  # (m,) of the dtype, weights of the targets that are 1; see losses.py
    positive_step: int  # bytes; 0: one for all columns


class Numbers(NamedTuple):
    """What an update multiplies with, each the bits of a float64; those of other modes are 0."""

    lr: int
    momentum: int
    decay: int
    beta1: int
    rest1: int  # 1 - beta1
    beta2: int
    rest2: int  # 1 - beta2
    root: int  # sqrt(1 - beta2**step)
    eps: int
    least: int  # |gradients| below it add nothing to v
    factor: int  # of a scaling; or of sums of squares, a power of two


class Update(NamedTuple):
    """A job on flat arrays of unit stride: an optimizer's step, a scaling, or sums of squares."""

    mode: int  # see optimizers.py
    size: int  # elements
    chunk: int  # elements of a task
    param: int
    grad: int  # of sums of squares: where they are written, a float64 a task
    first: int  # state
    second: int  # state
    numbers: Numbers


class Sgd(NamedTuple):
    """velocity = momentum*velocity + (grad + decay*param); param -= lr*...; floats as bits."""

    size: int  # elements
    param: int
    grad: int
    velocity: int  # 0: none
    lr: int
    momentum: int
    nesterov: int
    weight_decay: int


class Adam(NamedTuple):
    """Kingma & Ba 2015; decoupled decay: Loshchilov & Hutter 2019; floats as bits."""

    size: int  # elements
    param: int
    grad: int
    m: int
    v: int
    step: int  # from 1
    lr: int
    beta1: int
    beta2: int
    eps: int
    weight_decay: int
    decoupled: int  # 1: AdamW; 0: the decay is added to the gradient


class Squares(NamedTuple):
    """The sum of squares, in the order that optimizers.py states."""

    size: int  # elements
    values: int
    factor: int  # the bits of a power of two, which elements are multiplied by first
    sum: int  # address of a float64, written


class Optimizer(NamedTuple):
    """The settings of a net's optimizer: an Adam or, if steps are not counted, a Sgd."""

    words: Adam  # the longer one
    counts_steps: int  # 1: words.step is the number of the step


class Net(NamedTuple):
    """The head of a net's table: the batch, the loss, the optimizer, and what callers check."""

    rows: int
    x: Matrix
    targets: Matrix
    loss: int  # a float64, written
    steps: int  # done so far; a step adds 1
    loss_slot: int  # see losses.py
    smoothing: int  # the bits of a float64
    optimizer: Optimizer
    max_norm: int  # a float64; 0.0: not asked for
    norm: int  # a float64: of all gradients, written if asked for
    block: int  # rows whose dX is formed at a time, a multiple of KC
    layers: int
    # times of the fastest steps, a row, times 256; see ``_way_of``
    alone_ns: int
    joined_ns: int
    tried: int  # steps that were timed
    passes: int  # steps, and gradients without an update, done so far
    row_losses: int  # float64, a place a row; 0: dF/dY of a layer has no room for all rows
    weights: int  # (rows,) float64, 0: all are 1
    weight_step: int  # bytes
    divisor: int  # of the loss, the bits of a float64; +0.0: the sum of weights, see losses.py
    # for callers from Python, see bind/step_builtin.py
    busy: int  # 1 during a step
    inputs: int
    outputs: int
    widest: int  # outputs of the widest layer but the last
    most_rows: int
    row_fmas: int
    is_double: int
    takes_labels: int  # 1: targets (rows,) are labels, and (rows, outputs) shares of the classes
    # slots of kernels that convert the batch first, 0: it is read where it lies; see batch.py
    x_from: int
    targets_from: int
    weights_from: int
    # memory for as many rows as there may be; 0: there is none
    wants_copies: int  # 1: a batch was left for that
    x_copy: int
    targets_copy: int  # as float64, and a row more
    weights_copy: int
    kept: int  # rows of a forward pass that a backward pass may follow; 0: there is none
    kept_x: Matrix  # those of x
    has_gradients: int  # 1: some were computed


class Gradients(NamedTuple):
    """What is asked of a net: the gradients of its batch."""

    net: int  # address of a Net
    accumulate: int  # 1: they are added to those that are there


class Forward(NamedTuple):
    """What is asked of a net: the logits of a batch, and that it can be gone back through."""

    net: int  # address of a Net
    rows: int
    x: Matrix  # of any dtype
    x_from: int  # the slot of the kernel that converts it
    logits: Rows  # (rows, outputs), written


class Back(NamedTuple):
    """What is asked of a net: the gradients of the batch that is kept, from dF/dlogits."""

    net: int  # address of a Net
    grad: Matrix  # (kept, outputs), of any dtype
    grad_from: int  # the slot of the kernel that converts it
    accumulate: int  # 1: they are added to those that are there
    dx: Rows  # (kept, inputs), written; data 0: not needed


class Layer(NamedTuple):
    """A layer in a net's table, behind the head; the input's layer first."""

    k: int
    m: int
    weight: int  # (k, m), C-contiguous
    bias: int  # (m,)
    activation: int
    weight_grad: int
    bias_grad: int
    y: int  # (rows, m)
    z: int  # (rows, m), the pre-activation; 0 where backward needs y
    g: int  # dF/dY: of the last layer (rows, m), of others (block, m) or, with row_losses, all rows
    row: int  # bytes from one row to the next, of y, z and g


class Inference(NamedTuple):
    """What a net makes of rows of x: out (rows, outputs) of the dtype, or numbers of int64."""

    net: int  # address of a Net
    rows: int
    x: Matrix
    out: Rows  # logits or probabilities; data 0 for classes and signs, whose logits are scratch
    what: int  # see inference.py
    numbers: int  # classes (rows,) or signs (rows, outputs), C-contiguous
    x_from: int  # the slot of the kernel that converts rows of x; 0: they are read where they lie
    block: int  # rows of a task; filled in by the kernel
    alone: int  # likewise: 0 or IN_JOB
