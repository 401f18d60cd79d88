"""The mathematics of a linear layer in plain numpy: what the compiled kernels are checked against.

    X (N, K)  W (K, M)  b (M,)   ->   Z = X·W + b (N, M),   Y = act(Z) (N, M)
    G = dF/dY (N, M)   ->   H = G ∘ act'(Z)
    dF/dX = H·Wᵀ,   dF/dW = Xᵀ·H,   dF/db = column sums of H

Everything is written to be read, not to be fast, and computes in the dtype it is given: float64,
complex128 for derivatives by the complex step, object arrays of Fractions for exact products.
`contract_matmul` and `contract_colsum` give the very bits that the kernels promise, and so does
`losses` for the losses, the optimizer steps and the norm of gradients.

Row 1, a product. Row i of X meets *column* j of W; shapes that do not conform are an error.

    z_ij = Σ_k x_ik·w_kj

Row 2, vectors. z = x·w is a number, and its derivative by one vector is the other.

>>> import numpy as np
>>> x, w = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
>>> print(matmul(x, w), linear_backward(np.ones(1), x, w[:, None]).x)
32.0 [4. 5. 6.]

Row 3, where G comes from. Any scalar F of Y gives G = F'(Y); F = ΣY gives ones, and these may be
one number broadcast with zero strides.

>>> ones = np.broadcast_to(1.0, (2, 2))
>>> X, W, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]]), np.zeros(2)
>>> print(linear_backward(ones, X, W).bias)
[2. 2.]

Row 4, a change of X and W, to first order. ':' is the *sum* of the elementwise product, and each
factor of a product moves to the other side of it as its transpose:

    dZ = dX·W + X·dW          dF = H : dZ = H : (dX·W) + H : (X·dW) = (H·Wᵀ) : dX + (Xᵀ·H) : dW

so dX and dW stand alone, and what stands before them is ∂F/∂X = H·Wᵀ and ∂F/∂W = Xᵀ·H. (With X, not
W, and with the gradient by Z, not by Y or the weights: Xᵀ·W and Zᵀ·∂L/∂W are slips that one meets.)

Row 5, two by two, by hand. x_11 feeds z_11 = x_11·w_11 + … and z_12 = x_11·w_12 + …, and its
effects add: ∂F/∂x_11 = h_11·w_11 + h_12·w_12 = 1·5 + 10·6 = 65.

>>> H = np.array([[1.0, 10.0], [100.0, 1000.0]])
>>> print(linear_forward(X, W, b))
[[19. 22.]
 [43. 50.]]
>>> grads = linear_backward(H, X, W)
>>> print(grads.x)
[[  65.   87.]
 [6500. 8700.]]
>>> print(grads.weight)
[[ 301. 3010.]
 [ 402. 4020.]]
>>> print(grads.bias)
[ 101. 1010.]

Row 6, one weight of a deeper layer, whose input Z (N, K) is the layer before and whose output is A:

    ∂L/∂w_{1,2} = Σ_i ∂L/∂a_{i,2}·z_{i,1}

with the weight's *first* index on z and its second on a: entry (1, 2) of Zᵀ·∂L/∂A, Zᵀ being (K, N).

Row 7, the bias is added to every row, so ∂F/∂b_j = Σ_i h_ij, the column sums. It is a constant to X
and W: dX and dW have the same bits with and without it.

Row 8, the Jacobians are fourth order, and only the small explicit functions below ever form them:

    ∂z_ij/∂w_mn = x_im·δ_nj      ∂z_ij/∂x_mn = δ_im·w_nj      ∂Z/∂w_mn = X·E_mn

where E_mn is zero but for a one at (m, n). "∂Z/∂W = Xᵀ" is shorthand for the map G -> Xᵀ·G.

Row 9, traces. ⟨A, B⟩ = A : B = tr(AᵀB), and tr(X·W) = tr(W·X). F = tr(Z) has G = I, so dW = Xᵀ and
dX = Wᵀ, exactly.

Row 10, the gradient of f = xᵀAx is 2Ax for symmetric A: x is the weight of z = Ax and the input of
f = xᵀz, and the two backward calls add Ax and Aᵀx. No matrix needs an inverse anywhere.
"""

from . import losses
from ._activations import (
    ACTIVATIONS,
    Activation,
    activation_derivative,
    activation_value,
    erf,
    erfc,
)
from ._contract import contract_block_sum, contract_colsum, contract_matmul
from ._layer import (
    LinearGrads,
    jacobian_weight,
    jacobian_x,
    linear_backward,
    linear_forward,
    matmul,
    matmul_nt,
    matmul_tn,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "LinearGrads",
    "activation_derivative",
    "activation_value",
    "contract_block_sum",
    "contract_colsum",
    "contract_matmul",
    "erf",
    "erfc",
    "jacobian_weight",
    "jacobian_x",
    "linear_backward",
    "linear_forward",
    "losses",
    "matmul",
    "matmul_nt",
    "matmul_tn",
]
