"""Optimizer steps against the formulas written for one number, and everything that is refused."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from fastgrad import MLP, SGD, Adam, AdamW, adam_step, clip_grad_norm, linear_forward, sgd_step
from fastgrad.reference import losses as reference

DTYPES = ["float32", "float64"]


def arrays(dtype: str, count: int, n: int = 9) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal(n).astype(dtype) for _ in range(count)]


def scalar_sgd(number, p, g, v, lr, momentum, nesterov, decay):
    """One element, one operation at a time, each rounded to the dtype."""
    if decay:
        g = g + number(decay) * p
    d = g
    if momentum:
        v = number(momentum) * v + g
        d = g + number(momentum) * v if nesterov else v
    return p - number(lr) * d, v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0.0, False, 0.0), (0.0, False, 0.01), (0.9, False, 0.0), (0.9, True, 0.0), (0.8, True, 0.1)],
)
def test_sgd_is_the_formula(dtype: str, momentum: float, nesterov: bool, decay: float) -> None:
    p, g, v = arrays(dtype, 3)
    number = np.dtype(dtype).type
    for _ in range(3):
        pairs = zip(p, g, v, strict=True)
        new = [scalar_sgd(number, *t, 0.1, momentum, nesterov, decay) for t in pairs]
        kept = g.copy()
        assert sgd_step(p, g, 0.1, v, momentum, nesterov, decay) is None
        assert np.array_equal(p, np.array([n[0] for n in new]))
        assert np.array_equal(v, np.array([n[1] for n in new])) and np.array_equal(g, kept)


def scalar_adam(number, p, g, m, v, step, lr, b1, b2, eps, decay, decoupled):
    if decay and not decoupled:
        g = g + number(decay) * p
    m = number(b1) * m + number(1 - b1) * g
    v = number(b2) * v + number(1 - b2) * g * g
    if decay and decoupled:
        p = p - number(lr * decay) * p
    denominator = np.sqrt(v) / number(math.sqrt(1 - reference.power(b2, step))) + number(eps)
    return p - m / denominator * number(lr / (1 - reference.power(b1, step))), m, v


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_is_the_formula(dtype: str, decay: float, decoupled: bool) -> None:
    p, g = arrays(dtype, 2)
    m, v = np.zeros_like(p), np.zeros_like(p)
    number = np.dtype(dtype).type
    for step in range(1, 5):
        g = arrays(dtype, step + 1)[-1]
        tuples = zip(p, g, m, v, strict=True)
        new = [
            scalar_adam(number, *t, step, 0.01, 0.9, 0.99, 1e-8, decay, decoupled) for t in tuples
        ]
        adam_step(p, g, m, v, step, 0.01, (0.9, 0.99), 1e-8, decay, decoupled)
        for found, place in ((p, 0), (m, 1), (v, 2)):
            assert np.array_equal(found, np.array([n[place] for n in new]))


def test_first_step_of_adam_is_lr_against_the_gradient() -> None:
    p, (g,) = np.zeros(9), arrays("float64", 1)
    adam_step(p, g, np.zeros(9), np.zeros(9), 1, lr=0.01)
    np.testing.assert_allclose(p, -0.01 * np.sign(g), rtol=1e-6)


def test_decay_is_added_to_the_gradient_or_decoupled() -> None:
    for p in (np.ones(4), np.ones(4)):
        m = np.zeros(4)
        adam_step(p, np.zeros(4), m, np.zeros(4), 1, 0.1, weight_decay=0.5, decoupled=True)
        assert np.array_equal(p, np.full(4, 1 - 0.1 * 0.5)) and not m.any()
    p, m = np.ones(4), np.zeros(4)
    adam_step(p, np.zeros(4), m, np.zeros(4), 1, 0.1, (0.5, 0.999), weight_decay=0.5)
    assert np.array_equal(m, np.full(4, 0.25))
    p, v = np.ones(4), np.zeros(4)
    sgd_step(p, np.zeros(4), 0.1, v, 0.9, weight_decay=0.5)
    assert np.array_equal(v, np.full(4, 0.5))


def test_power_is_exact_where_it_can_be() -> None:
    assert [reference.power(0.5, n) for n in (0, 1, 2, 7, 1000)] == [
        1,
        0.5,
        0.25,
        2.0**-7,
        2.0**-1000,
    ]
    for base, n in itertools.product((0.9, 0.999), (3, 10, 1000)):
        assert reference.power(base, n) == pytest.approx(base**n, rel=1e-13)


@pytest.mark.parametrize("layout", ["F", "strided", "zero size", "0-D"])
def test_any_layout(layout: str) -> None:
    base = np.full((6, 8), 7.0, np.float32)
    view = {
        "F": np.ones((3, 4), np.float32, order="F"),
        "strided": base[::2, ::2],
        "zero size": np.ones((0, 4), np.float32),
        "0-D": np.array(1, np.float32),
    }[layout]
    g = np.ones(view.shape, np.float32)
    before = view.copy()
    sgd_step(view, g, 0.5)
    assert np.array_equal(view, before - np.float32(0.5))
    adam_step(view, g, np.zeros_like(g), np.zeros_like(g), 1)
    assert np.count_nonzero(base == 7) == (36 if layout == "strided" else 48)


def test_a_step_does_not_depend_on_how_the_array_is_cut() -> None:
    p, g, m, v = (np.abs(a) for a in arrays("float32", 4, 1001))
    whole = [a.copy() for a in (p, g, m, v)]
    adam_step(*whole, 3)
    for part in (slice(0, 17), slice(17, 1001)):
        adam_step(p[part], g[part], m[part], v[part], 3)
    assert all(np.array_equal(a, b) for a, b in zip(whole, (p, g, m, v), strict=True))


def test_nan_and_inf_stay_where_they_are() -> None:
    p, g = np.ones(4, np.float32), np.array([np.nan, np.inf, 1, 0], np.float32)
    sgd_step(p, g, 0.1, np.zeros(4, np.float32), 0.9)
    assert np.isnan(p[0]) and p[1] == -np.inf and np.isfinite(p[2:]).all()


A, B, C, D = (np.zeros(4, np.float32) for _ in range(4))
FROZEN = np.zeros(4, np.float32)
FROZEN.flags.writeable = False
ERRORS = [
    (sgd_step, (A.tolist(), B, 0.1), {}, TypeError, "param is list"),
    (sgd_step, (A.astype(int), B, 0.1), {}, TypeError, "param has dtype int64"),
    (sgd_step, (A.astype(">f4"), B, 0.1), {}, TypeError, "param has dtype >f4"),
    (sgd_step, (A, B.astype(float), 0.1), {}, TypeError, "grad has dtype float64 but param has"),
    (sgd_step, (A, B[:3], 0.1), {}, ValueError, r"grad has shape \(3,\) but param has shape"),
    (sgd_step, (FROZEN, B, 0.1), {}, ValueError, "param .* is read-only"),
    (sgd_step, (A, A, 0.1), {}, ValueError, "param .* and grad .* share memory"),
    (sgd_step, (A, B, 0.1, A, 0.9), {}, ValueError, "share memory"),
    (sgd_step, (A, B, 0.1, C[:3], 0.9), {}, ValueError, "velocity has shape"),
    (sgd_step, (np.broadcast_to(A[:1], 4), B, 0.1), {}, ValueError, "read-only"),
    (sgd_step, (A, B, 0.1), {"momentum": 0.9}, ValueError, "velocity is missing"),
    (sgd_step, (A, B, 0.1), {"nesterov": True}, ValueError, "nesterov needs momentum"),
    (sgd_step, (A, B, 0.1, C, 1.0), {}, ValueError, "momentum is 1.0"),
    (sgd_step, (A, B, -0.1), {}, ValueError, "lr is -0.1"),
    (sgd_step, (A, B, math.nan), {}, ValueError, "lr is nan"),
    (sgd_step, (A, B, "fast"), {}, TypeError, "lr is 'fast'"),
    (sgd_step, (A, B, 0.1), {"weight_decay": math.inf}, ValueError, "weight_decay is inf"),
    (adam_step, (A, B, C, C, 1), {}, ValueError, "m .* and v .* share memory"),
    (adam_step, (A, B, C, D, 0), {}, ValueError, "the first step is 1"),
    (adam_step, (A, B, C, D, 1.5), {}, TypeError, "step is 1.5"),
    (adam_step, (A, B, C, FROZEN, 1), {}, ValueError, "v .* is read-only"),
    (adam_step, (A, B, C, D, 1), {"betas": (0.9,)}, ValueError, "betas is"),
    (adam_step, (A, B, C, D, 1), {"betas": {0.9, 0.99}}, ValueError, "betas is"),
    (adam_step, (A, B, C, D, 1), {"betas": (0.9, 1)}, ValueError, r"betas\[1\] is 1"),
    (adam_step, (A, B, C, D, 1), {"eps": -1e-8}, ValueError, "eps is -1e-08"),
]


@pytest.mark.parametrize(("step", "args", "options", "kind", "words"), ERRORS)
def test_errors(step, args, options, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        step(*args, **options)
    message = str(caught.value)
    assert message.startswith(f"{step.__name__}: ") and "\n" not in message
    assert not any(a.any() for a in (A, B, C, D, FROZEN))  # nothing was written


def test_settings_are_frozen_plain_and_checked() -> None:
    settings = Adam(np.float32(0.5), [0.5, 0.75])
    assert settings == Adam(0.5, (0.5, 0.75)) and type(settings.lr) is float
    assert SGD(1, 0.5, True).nesterov is True and SGD(1, 0.5).slots == 1 and SGD(1).slots == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.lr = 1.0
    with pytest.raises(ValueError, match=r"^SGD: lr is -1"):
        SGD(-1)
    with pytest.raises(ValueError, match=r"^Adam: betas\[0\] is 2"):
        Adam(betas=(2, 0.5))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (), (3, 5), (2, 3, 4), (1 << 14,), (33, 1000)])
def test_clip_grad_norm(dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    g = np.asarray(rng.standard_normal(shape) * np.exp2(rng.integers(-9, 9, shape))).astype(dtype)
    kept, norm = g.copy(), math.sqrt(math.fsum(x * x for x in g.reshape(-1).tolist()))
    assert type(clip_grad_norm(g, math.inf)) is float and np.array_equal(g, kept)
    assert clip_grad_norm(g, math.inf) == pytest.approx(norm, rel=1e-14)
    assert clip_grad_norm(g, 2 * norm + 1) == reference.norm(kept) and np.array_equal(g, kept)
    if g.size:
        clipped = reference.clip(kept, norm / 8, reference.norm(kept))
        assert clip_grad_norm(g, norm / 8) == reference.norm(kept)
        assert np.array_equal(g, clipped)
        assert clip_grad_norm(g, math.inf) == pytest.approx(norm / 8, rel=1e-6)


def test_clip_grad_norm_of_several_and_of_any_layout() -> None:
    rng = np.random.default_rng(8)
    base = rng.standard_normal((40, 60)).astype(np.float32)
    views = [base[::2, ::3], base[1::2, 1::3].T, base[1::2, 2::3][::-1]]
    other, kept = rng.standard_normal((7, 3)), base.copy()
    grads = [*views, other]
    expected = reference.norm(*(np.ascontiguousarray(g) for g in grads))
    parts = [np.array(g) for g in grads]
    assert clip_grad_norm(tuple(grads), 0.5) == expected
    for found, before in zip(grads, parts, strict=True):
        assert np.array_equal(found, reference.clip(before, 0.5, expected))
    assert np.array_equal(base[::2, 1::3], kept[::2, 1::3])  # of no array that was given
    assert clip_grad_norm([], 1.0) == 0.0


def test_numbers_of_any_type() -> None:
    """The step of a float32 0.1 is that of its value, whatever the arrays."""
    small = np.float32(0.1)
    for dtype in DTYPES:
        (p, g), (q, h) = arrays(dtype, 2), arrays(dtype, 2)
        sgd_step(p, g, small, weight_decay=small)
        sgd_step(q, h, float(small), weight_decay=float(small))
        assert clip_grad_norm(g, small) == clip_grad_norm(h, float(small))
        assert np.array_equal(p, q) and np.array_equal(g, h)


def test_a_norm_that_is_not_finite_changes_nothing() -> None:
    for bad, norm in ((np.nan, math.nan), (np.inf, math.inf), (-np.inf, math.inf)):
        g = np.array([1.0, bad, 3.0], np.float32)
        kept = g.copy()
        assert np.array_equal(clip_grad_norm(g, 0.1), norm, equal_nan=True)
        assert np.array_equal(g, kept, equal_nan=True)
    assert clip_grad_norm(np.full(4, 3e38, np.float32), math.inf) == pytest.approx(6e38, rel=1e-6)


CLIP_ERRORS = [
    ([1.0, 2.0], 1.0, TypeError, r"grad\[0\] is float"),
    (None, 1.0, TypeError, "grad is None"),
    (np.zeros(3, int), 1.0, TypeError, "grad has dtype int64"),
    (np.zeros(3, np.float16), 1.0, TypeError, "float16"),
    (np.zeros(3, ">f8"), 1.0, TypeError, "grad has dtype >f8"),
    (FROZEN, 1.0, ValueError, "grad .* is read-only"),
    ([A, B, A[1:]], 1.0, ValueError, r"grad\[0\] .* and grad\[2\] .* share memory"),
    (A, 0.0, ValueError, "max_norm is 0.0"),
    (A, math.nan, ValueError, "max_norm is nan"),
    (A, "1", TypeError, "max_norm is '1'"),
]


@pytest.mark.parametrize(("grad", "max_norm", "kind", "words"), CLIP_ERRORS)
def test_errors_of_clip_grad_norm(grad, max_norm, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        clip_grad_norm(grad, max_norm)
    assert str(caught.value).startswith("clip_grad_norm: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_state_below_the_normal_numbers_becomes_zero(dtype: str) -> None:
    """So that a step costs the same after thousands of them."""
    tiny, number = float(np.finfo(dtype).tiny), np.dtype(dtype).type
    states = np.array(
        [tiny, tiny * 1.0001, tiny / 2, -tiny, 4 * np.finfo(dtype).smallest_subnormal]
    )
    zeros = np.zeros(5, dtype)
    for nesterov in (False, True):
        p, v = np.ones(5, dtype), states.astype(dtype)
        sgd_step(p, zeros, 0.1, v, 0.9, nesterov)
        assert not v.any() and not np.signbit(v).any()
    p, m, v = np.ones(5, dtype), states.astype(dtype), np.abs(states).astype(dtype)
    adam_step(p, zeros, m, v, 1)
    for a in (m, v):
        assert not a.any() and not np.signbit(a).any()
    for _ in range(200):
        v[...] = [number(tiny)] * 5
        adam_step(p, np.full(5, math.sqrt(tiny) / 2, dtype), m, v, 3)
        assert not v.any()
    velocity = np.full(5, np.nan, dtype)
    sgd_step(p, zeros, 0.1, velocity, 0.9)
    assert np.isnan(velocity).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_square_below_the_normal_numbers_adds_nothing_to_v(dtype: str) -> None:
    number, tiny = np.dtype(dtype).type, float(np.finfo(dtype).tiny)
    for b2 in (0.9, 0.999):
        least = math.sqrt(tiny / (1 - b2))
        start, decay = np.full(9, 8 * tiny, dtype), {"weight_decay": tiny}
        for options in ({}, {"decoupled": True}, decay, decay | {"decoupled": True}):
            for share, adds in ((0.1, False), (0.99, False), (1.01, True)):
                p, g, m, v = np.zeros(9, dtype), np.full(9, share * least, dtype), *(start, start)
                m, v = m.copy(), v.copy()
                adam_step(p, g, m, v, 3, betas=(0.9, b2), **options)
                assert ((v > start * number(b2)) == adds).all()
    for share, adds in ((0.99, False), (1.01, True)):  # of a model's parameters, in its step
        model = MLP((1, 1), loss="mse", optimizer=Adam(eps=1e-8), dtype=dtype)
        model.weights[0][...] = model.biases[0][...] = 0
        v = np.full(2, 8 * tiny, dtype)
        model.set_optimizer_state([np.zeros(2, dtype), v])
        x = np.ones((1, 1), dtype)
        model.train_step(x, x * share * -0.5 * math.sqrt(tiny / (1 - 0.999)))
        assert ((model.optimizer_state()[1] > v * number(0.999)) == adds).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decayed_parameters_do_not_stay_near_zero(dtype: str) -> None:
    """They become +0.0; without weight decay they are what the formula gives."""
    root, zero = math.sqrt(np.finfo(dtype).tiny), np.zeros(4, dtype)
    some = np.array([root / 2, -root / 2, 4 * root, -0.0], dtype)
    kept = np.array([0, 0, 1, 0], bool)
    for settings, step in (
        ({"weight_decay": 0.5}, lambda p, **k: sgd_step(p, zero, 0.5, **k)),
        ({"weight_decay": 0.5}, lambda p, **k: sgd_step(p, zero, 0.5, zero.copy(), 0.9, **k)),
        ({"weight_decay": 0.5, "decoupled": True},
         lambda p, **k: adam_step(p, zero, zero.copy(), zero.copy(), 1, 0.5, **k)),
        ({"weight_decay": 1e-30 if dtype == "float32" else 1e-300},
         lambda p, **k: adam_step(p, zero, zero.copy(), zero.copy(), 1, **k)),
    ):  # fmt: skip
        param = some.copy()
        step(param, **settings)
        assert ((param != 0) == kept).all() and not np.signbit(param[~kept]).any()
        param = some.copy()
        step(param)
        assert param.tobytes() == (some - 0).tobytes()
    param = np.ones(3, dtype)
    for _ in range(1500):
        sgd_step(param, np.zeros(3, dtype), 0.5, weight_decay=0.5)
    assert not param.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_parameter_that_grows_is_left_unless_its_gradients_were_large(dtype: str) -> None:
    tiny = float(np.finfo(dtype).tiny)
    root, nothing = math.sqrt(tiny), np.zeros(4, dtype)
    small = np.array([4 * tiny, -4 * tiny, root / 4, -root / 4], dtype)
    param = small.copy()
    sgd_step(param, -small, 0.5, weight_decay=0.25)
    assert (abs(param) > abs(small)).all()
    sgd_step(param, small / 4, 0.5, weight_decay=0.25)
    assert not param.any() and not np.signbit(param).any()
    for v, is_left in ((abs(small) / 2, True), (abs(small) * 3, False), (nothing + root, False)):
        for decoupled in (False, True):
            param, m, eps = small.copy(), -small, 1.0  # which is all of the denominator
            adam_step(
                param, nothing, m, v.astype(dtype), 9, 0.5, eps=eps, weight_decay=2.0**-10,
                decoupled=decoupled,
            )  # fmt: skip
            assert (param != 0).tolist() == [is_left] * 4
            assert not is_left or (abs(param) > abs(small)).all()
    nan = np.full(4, np.nan, dtype)
    adam_step(nan, nothing, nothing.copy(), nothing.copy(), 1, weight_decay=0.5)
    assert np.isnan(nan).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decoupled", [None, False, True])
def test_steps_of_small_parameters_are_the_reference(dtype: str, decoupled: bool | None) -> None:
    """Of any size from the smallest subnormal to 1, as their gradients and state."""
    info, rng, n = np.finfo(dtype), np.random.default_rng(5), 3000
    root, least = info.minexp / 2, math.log2(info.smallest_subnormal)

    def some() -> np.ndarray:
        near = rng.random(n) < 0.5  # the square root of the smallest normal number
        exponents = np.where(near, rng.uniform(root - 9, root + 9, n), rng.uniform(least, 0, n))
        return (np.exp2(exponents) * rng.integers(-1, 2, n)).astype(dtype)

    for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
        ours = some(), some(), some(), abs(some())
        theirs = tuple(a.copy() for a in ours)
        for step in (1, 2, 3):
            for arrays, sgd, adam in (
                (ours, sgd_step, adam_step),
                (theirs, reference.sgd_step, reference.adam_step),
            ):
                if decoupled is None:
                    sgd(*arrays[:2], 0.5, arrays[2], momentum, nesterov, weight_decay=0.3)
                else:
                    adam(*arrays, step, 0.5, weight_decay=0.3, decoupled=decoupled)
        for a, b in zip(ours, theirs, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1, 0.9, weight_decay=0.1),
        SGD(0.1, 0.9, nesterov=True, weight_decay=0.1),
        AdamW(0.01, weight_decay=5),
    ],
)
def test_what_a_collapsed_net_multiplies_is_normal(optimizer, dtype: str) -> None:
    """Rows with every label, so nothing to learn: products stayed subnormal for ever."""
    rng, tiny = np.random.default_rng(3), np.finfo(dtype).tiny
    model = MLP((16, 24, 3), optimizer=optimizer, dtype=dtype)
    x, y = np.repeat(rng.standard_normal((11, 16)), 3, 0).astype(dtype), np.arange(33) % 3
    for _ in range(12000 if dtype == "float64" else 1500):
        model.train_step(x, y)
    hidden = linear_forward(x, model.weights[0], model.biases[0], "relu")
    for a in (*model.weights, *model.weight_grads, *model.bias_grads, hidden):
        assert not ((a != 0) & (abs(a) < tiny)).any()
    assert not model.weights[0].any() and not model.weights[1].any()


def test_rates_and_eps_that_are_lost_in_the_dtype_are_refused() -> None:
    for dtype, lost, kept in (("float32", 2.0**-150, 2.0**-149), ("float64", None, 5e-324)):
        p, g, m, v = (np.ones(3, dtype) for _ in range(4))
        sgd_step(p, g, 0.0), sgd_step(p, g, kept), adam_step(p, g, m, v, 1, 0.0, eps=kept)
        if lost is not None:
            for call in (
                lambda: sgd_step(p, g, lost),  # noqa: B023
                lambda: adam_step(p, g, m, v, 1, lost),  # noqa: B023
                lambda: adam_step(p, g, m, v, 1, eps=lost),  # noqa: B023
            ):
                with pytest.raises(ValueError, match="which is 0 in float32; pass a larger one"):
                    call()
        with pytest.raises(ValueError, match=r"eps is 0.0; it must be above 0"):
            adam_step(p, g, m, v, 1, eps=0)
    with pytest.raises(ValueError, match=r"^MLP: SGD: lr is 1e-60, which is 0 in float32"):
        MLP((3, 2), optimizer=SGD(1e-60))
    MLP((3, 2), optimizer=SGD(1e-60), dtype="float64")
