"""exp, log, tanh, sigmoid, erf, erfc: formulas f(ops, x) -> y on float32 or float64 vectors.

Each is within 2 ulp over the whole range: overflow gives Inf, odd functions keep the sign of zero,
NaN gives NaN. Where e^x or sigmoid would be below the smallest normal number it is +0.0, and no
operation on the way has a subnormal result: one takes 100 cycles and more. (erfc rounds it once.)
`ops` is the SIMD back end or reference.lanes; both give the same bits. Special ranges are selected,
never branched on.

The ulp in a docstring is the largest error found: float32 over every float, float64 over the
points of docs/accuracy.md. The operations (one division among them, except in exp) are counted
after it, float32 / float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LOG2_E = 1.4426950408889634
ERFC_A = 2.0  # a power of two, so that the products with it are exact
INF, NAN = float("inf"), float("nan")


@dataclass(frozen=True)
class Table:
    """What differs between the dtypes.

    The coefficients, lowest first, are printed by benchmarks/sweeps/fit_polynomials.py.
    """

    digits: int  # stored bits of the significand
    bias: int  # of the exponent
    sqrt_half: int  # bits of sqrt(1/2)
    ln2: tuple[float, float]  # ln 2 in two parts; n times the first is exact for every n of exp
    scale: int  # intermediate results are kept 2^scale away from overflow or underflow
    # The lower ends are the least arguments whose results are normal: found on every float near.
    exp_ends: tuple[float, float]  # e^x is 0 below, Inf above
    logistic_ends: tuple[float, float]  # sigmoid is 0 below, 1 above
    silu_lows: tuple[float, float]  # x·sigmoid(x), its derivative: 0 below
    tanh_end: float  # tanh is 1 beyond
    erf_end: float  # erf is 1 beyond
    erfc_end: float  # erfc is 0 beyond
    gelu_lows: tuple[float, float]  # z·Phi(z), its derivative: 0 below
    gelu_tanh_lows: tuple[float, float]  # z·sigmoid(2u), its derivative: 0 below
    gelu_tanh_end: float  # z·sigmoid(2u) is z above
    exp: tuple[float, ...]  # e^r = 1 + r·p(r), |r| <= ln2/2
    tanh: tuple[float, ...]  # tanh(h) = h + h³·p(h²), |h| <= ln2/4
    log: tuple[float, ...]  # log((1 + s)/(1 - s)) = 2s + s³·p(s²), |s| <= 3 - sqrt(8)
    erf: tuple[float, ...]  # erf(x) = x + x·p(x²), |x| <= 1
    erfcx: tuple[float, ...]  # e^(t²)·erfc(t) = w·p(v), w = 1/(t + 2), v = 1 - 4w: see erfcx
    erfc: tuple[float, ...]  # the same to the last bit


# fmt: off
FLOAT32 = Table(
    digits=23,
    bias=127,
    sqrt_half=0x3F3504F3,
    ln2=(float.fromhex("0x1.62e4p-1"), 1.4286068203094173e-06),
    scale=60,
    exp_ends=(float.fromhex("-0x1.5d589ep+6"), 89.0),
    logistic_ends=(float.fromhex("-0x1.5d589ep+6"), 30.0),
    silu_lows=(float.fromhex("-0x1.6f6d56p+6"), float.fromhex("-0x1.6f62p+6")),
    tanh_end=9.1,
    erf_end=4.0,
    erfc_end=10.6,
    gelu_lows=(float.fromhex("-0x1.a4ae0cp+3"), float.fromhex("-0x1.aaf0b2p+3")),
    gelu_tanh_lows=(float.fromhex("-0x1.43386cp+3"), float.fromhex("-0x1.47851ep+3")),
    gelu_tanh_end=7.0,
    exp=(
        1.0, 0.4999999403953552, 0.1666652262210846, 0.04166828840970993, 0.008368531242012978,
        0.0013818448642268777,
    ),
    tanh=(
        -0.33333322405815125, 0.1333114057779312, -0.052714698016643524,
    ),
    log=(
        0.6666677594184875, 0.39977583289146423, 0.2987079918384552,
    ),
    erf=(
        0.12837912142276764, -0.37612318992614746, 0.11280101537704468, -0.026708602905273438,
        0.004913930781185627, -0.0005614967667497694,
    ),
    erfcx=(
        1.021582007408142, -0.6871594786643982, 0.27951329946517944, -0.03638662397861481,
        -0.021776944398880005, 0.005919906310737133, 0.0032552210614085197,
        0.00019963517843279988,
    ),
    erfc=(
        1.0215827226638794, -0.6871606707572937, 0.279470831155777, -0.03644228354096413,
        -0.021496297791600227, 0.006480211857706308, 0.0030322044622153044,
        -0.0008485410362482071, -0.0005603085155598819, 6.711862079100683e-05,
        6.664846296189353e-05,
    ),
)
FLOAT64 = Table(
    digits=52,
    bias=1023,
    sqrt_half=0x3FE6A09E667F3BCD,
    ln2=(float.fromhex("0x1.62e42fefa4p-1"), -1.7239444525614835e-13),
    scale=300,
    exp_ends=(float.fromhex("-0x1.6232bdd7abcd2p+9"), 710.0),
    logistic_ends=(float.fromhex("-0x1.6232bdd7abcd2p+9"), 45.0),
    silu_lows=(float.fromhex("-0x1.657bfcf5db0ccp+9"), float.fromhex("-0x1.657bcf0857817p+9")),
    tanh_end=20.0,
    erf_end=6.0,
    erfc_end=27.6,
    gelu_lows=(float.fromhex("-0x1.2ced4c5dd8ab4p+5"), float.fromhex("-0x1.2db2ae357ee16p+5")),
    gelu_tanh_lows=(float.fromhex("-0x1.52d480630b9cbp+4"), float.fromhex("-0x1.539497992a40cp+4")),
    gelu_tanh_end=8.0,
    exp=(
        1.0, 0.500000000000001, 0.166666666666666, 0.041666666666540536, 0.00833333333341114,
        0.0013888888940517617, 0.000198412696387112, 2.4801496409094588e-05,
        2.7557497363402495e-06, 2.762907905833223e-07, 2.5021674026957468e-08,
    ),
    tanh=(
        -0.3333333333333249, 0.1333333333278497, -0.05396825278383701, 0.02186937083366548,
        -0.008857312295969387, 0.0034448766568031582,
    ),
    log=(
        0.6666666666666734, 0.39999999999416624, 0.2857142874203379, 0.22222198604312027,
        0.1818356289689292, 0.15314083523241512, 0.14795647856209265,
    ),
    erf=(
        0.12837916709551256, -0.37612638903183343, 0.11283791670936945, -0.02686617064195717,
        0.005223977596709975, -0.0008548325483265621, 0.0001205528042961417,
        -1.4924464058982832e-05, 1.6444127430598224e-06, -1.618378639033282e-07,
        1.3615696580146119e-08, -7.605728583283051e-10,
    ),
    erfcx=(
        1.0215827052420228, -0.6871606844137941, 0.27947209255618766, -0.03644223150836417,
        -0.021510661898696434, 0.006479185102524591, 0.003090612278711674,
        -0.0008372963643781974, -0.000663075977925277, 3.43721142324902e-05,
        0.00014448590296412204, 3.4154207239860396e-05, -2.1749990566441635e-05,
        -1.6163150920222582e-05, -1.014819927192288e-06, 3.7758178349941003e-06,
        1.8812810050881271e-06, -2.1892989006019052e-07, -5.338350525346315e-07,
        -1.2226695735507385e-07, 5.079335601509775e-08, 2.0924551768493766e-08,
    ),
    erfc=(
        1.021582705242023, -0.6871606844138106, 0.27947209255604843, -0.036442231506872716,
        -0.021510661889101137, 0.006479185067432709, 0.0030906120500268338,
        -0.0008372960563097911, -0.000663073392436873, 3.437137070424153e-05,
        0.00014446992044799006, 3.414930427402114e-05, -2.169228927719442e-05,
        -1.6122478218322922e-05, -1.1382601672371838e-06, 3.6474520576916836e-06,
        2.030528139698746e-06, -2.807756267341237e-09, -6.16111025518541e-07,
        -3.22102519425308e-07, 4.455524935618199e-08, 1.1315075424655922e-07,
        2.4950067459989156e-08, -1.520612939060452e-08, -6.0863884270502325e-09,
    ),
)
# fmt: on


def table(ops: Any) -> Table:
    """The constants for the dtype of ops."""
    return FLOAT32 if ops.dtype == np.float32 else FLOAT64


def polynomial(ops: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    """x (lanes) -> c[0] + c[1]·x + c[2]·x² + ..., by Horner's rule in fused multiply-adds."""
    # Estrin's scheme costs operations and saves only latency, which neighbouring vectors hide.
    y: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        y = ops.fma(x, y, c)
    return y


def clamp(ops: Any, x: Any, low: float, high: float) -> Any:
    """x (lanes) -> x within [low, high]; NaN stays NaN."""
    x = ops.select(x > high, high, x)
    return ops.select(x < low, low, x)


def normal(ops: Any, x: Any) -> Any:
    """x (lanes), or +0.0 where it is below the smallest normal number."""
    return ops.select(ops.abs(x) < 2.0 ** (1 - table(ops).bias), 0.0, x)


def clamped_abs(ops: Any, x: Any, high: float) -> Any:
    """x (lanes) -> min(|x|, high); NaN stays NaN."""
    t = ops.abs(x)
    return ops.select(t > high, high, t)


def nearest(ops: Any, x: Any, factor: float, offset: int) -> tuple[Any, Any]:
    """x (lanes) -> (i, n): n = x·factor rounded to an integer, the low bits of i are n + offset."""
    # Beyond 1.5·2^digits the floats are the integers, and the low bits of their pattern count them.
    magic = 1.5 * 2.0 ** table(ops).digits + offset
    shifted = ops.fma(x, factor, magic)
    return ops.bits(shifted), shifted - magic


def reduce(ops: Any, x: Any, n: Any) -> Any:
    """x, n (lanes) -> r = x - n·ln2, |r| <= ln2/2, rounded once."""
    hi, lo = table(ops).ln2
    return ops.fma(n, -lo, ops.fma(n, -hi, x))


def exp_parts(ops: Any, x: Any, exponent: int) -> tuple[Any, Any]:
    """x (lanes) -> (s, r): s = 2^(n + exponent), which must be normal, and e^x = 2^n·e^r."""
    k = table(ops)
    i, n = nearest(ops, x, LOG2_E, k.bias + exponent)
    return ops.from_bits(i << k.digits), reduce(ops, x, n)


def exp(ops: Any, x: Any) -> Any:
    """e^x. 0.89 / 0.88 ulp; 20 / 25 operations."""
    k = table(ops)
    below = x < k.exp_ends[0]
    x = clamp(ops, x, *k.exp_ends)
    # n has more values than 2^n has exponents, so 2^n is two factors: 2^(n//2)·2^(n - n//2).
    i, n = nearest(ops, x, LOG2_E, 2 * k.bias)
    r = reduce(ops, x, n)
    half = i >> 1
    y = ops.fma(r, polynomial(ops, r, k.exp), 1.0)
    y = y * ops.from_bits(half << k.digits) * ops.from_bits((i - half) << k.digits)
    return ops.select(below, 0.0, y)


def log(ops: Any, x: Any) -> Any:
    """Natural logarithm; -Inf at both zeros, NaN below. 0.84 / 0.82 ulp; 30 / 34 operations."""
    # x = 2^n·(1 + f), sqrt(1/2) <= 1 + f < sqrt(2); log(1 + f) = f - (f²/2 - s·(f²/2 + z·p(z)))
    # with s = f/(2 + f), z = s²: fdlibm's arrangement, whose large terms f and n·ln2 are exact.
    k = table(ops)
    tiny = x < 2.0 ** (1 - k.bias)
    i = ops.bits(ops.select(tiny, x * 2.0**k.digits, x)) + ((k.bias << k.digits) - k.sqrt_half)
    f = ops.from_bits((i & ((1 << k.digits) - 1)) + k.sqrt_half) - 1.0
    # An integer or'ed into the pattern of 2^digits is added to it.
    whole = 2.0**k.digits
    n = ops.from_bits((i >> k.digits) | ((k.bias + k.digits) << k.digits))
    n = n - ops.select(tiny, whole + k.bias + k.digits, whole + k.bias)
    s = f / (f + 2.0)
    z = s * s
    half_square = f * 0.5 * f
    hi, lo = k.ln2
    tail = ops.fma(s, ops.fma(z, polynomial(ops, z, k.log), half_square), n * lo)
    y = ops.fma(n, hi, f - (half_square - tail))
    y = ops.select(x < INF, y, x)
    return ops.select(x <= 0.0, ops.select(x == 0.0, -INF, NAN), y)


def sigmoid(ops: Any, x: Any) -> Any:
    """1/(1 + e^-x). 1.81 / 1.81 ulp; 22 / 27 operations."""
    k = table(ops)
    low, high = k.logistic_ends
    y = 2.0**-k.scale / one_plus_exp(ops, -clamp(ops, x, low, high))
    return ops.select(x < low, 0.0, y)


def one_plus_exp(ops: Any, x: Any) -> Any:
    """x (lanes, -x from the least low to an end) -> (1 + e^x)·2^-scale, which is normal."""
    k = table(ops)
    c = 2.0**-k.scale
    s, r = exp_parts(ops, x, -k.scale)
    base = s + c
    # Where base drops the 1 (e^x near 2^digits), the error of sigmoid would be 2.3 ulp.
    dropped = (s - base) + c
    return ops.fma(s * r, polynomial(ops, r, k.exp), dropped) + base


def one_plus_exp_fast(ops: Any, x: Any) -> tuple[Any, Any]:
    """x (lanes, -x from the least low to an end) -> (1 + e^x, e^x)·2^-scale, within 1.5·eps."""
    k = table(ops)
    s, r = exp_parts(ops, x, -k.scale)
    sr, p = s * r, polynomial(ops, r, k.exp)
    return ops.fma(sr, p, s + 2.0**-k.scale), ops.fma(sr, p, s)


def tanh(ops: Any, x: Any) -> Any:
    """Hyperbolic tangent. 1.83 / 1.83 ulp; 29 / 32 operations."""
    # |x| = n·ln2/2 + h, b = tanh(h): tanh|x| = ((2^n - 1) + (2^n + 1)·b)/((2^n + 1) + (2^n - 1)·b).
    # An odd polynomial needs half the terms of e^r, and for n = 0 small x lose nothing. It is
    # taken as base + (numerator - base·denominator)/denominator, base = min(n/4, 1), because the
    # roundings of the plain fraction add up to 2.4 ulp.
    k = table(ops)
    t = clamped_abs(ops, x, k.tanh_end)
    i, n = nearest(ops, t, 2.0 * LOG2_E, k.bias)
    s = ops.from_bits(i << k.digits)
    hi, lo = k.ln2
    h = ops.fma(n, -0.5 * lo, ops.fma(n, -0.5 * hi, t))
    h2 = h * h
    b_rest = h2 * h * polynomial(ops, h2, k.tanh)
    less, more = s - 1.0, s + 1.0
    base = ops.select(n > 4.0, 1.0, n * 0.25)
    slope = ops.fma(-base, less, more)
    numerator = ops.fma(slope, b_rest, ops.fma(slope, h, ops.fma(-base, more, less)))
    return ops.copysign(numerator / ops.fma(less, h + b_rest, more) + base, x)


def erfcx(ops: Any, t: Any) -> Any:
    """t (lanes, 0 <= t <= erfc_end) -> e^(t²)·erfc(t), within 3·eps·(1 + 2t²) of itself."""
    k = table(ops)
    w = 1.0 / (t + ERFC_A)
    return w * polynomial(ops, ops.fma(w, -2.0 * ERFC_A, 1.0), k.erfcx)


def erf(ops: Any, x: Any) -> Any:
    """Error function. 1.87 / 1.47 ulp; 39 / 64 operations."""
    # Beyond 1 it is 1 - e^(-x²)·erfcx(|x|), where the errors of the second term count a fifth.
    k = table(ops)
    t = clamped_abs(ops, x, k.erf_end)
    square = t * t
    s, r = exp_parts(ops, -square, 0)
    e = s * ops.fma(r, polynomial(ops, r, k.exp), 1.0)
    far = ops.fma(-e, erfcx(ops, t), 1.0)
    near = ops.fma(t, polynomial(ops, square, k.erf), t)
    return ops.copysign(ops.select(t < 1.0, near, far), x)


def erfc(ops: Any, x: Any) -> Any:
    """1 - erf(x), to the last place also where it is tiny. 1.69 / 1.71 ulp; 63 / 82 operations."""
    # e^(-t²)·w·p(v), t = |x|. Every factor comes as a value and its error; the errors are small, so
    # products of two of them are left out.
    k = table(ops)
    c = k.erfc
    t = clamped_abs(ops, x, k.erfc_end)
    square = t * t
    square_error = ops.fma(t, t, -square)
    i, n = nearest(ops, square, -LOG2_E, k.bias + k.scale)
    s = ops.from_bits(i << k.digits)
    hi, lo = k.ln2
    head, rest = ops.fma(n, -hi, -square), ops.fma(n, -lo, -square_error)
    r = head + rest
    r_error = (head - r) + rest
    e_rest = r * r * polynomial(ops, r, k.exp[1:])  # e^r - 1 - r
    d = t + ERFC_A
    d_error = t - (d - ERFC_A)
    w = 1.0 / d
    w_error = ops.fma(-w, d_error, ops.fma(-w, d, 1.0))  # relative
    u = w * (-2.0 * ERFC_A)
    v = ops.fma(u, w_error, u + 1.0)
    deep = polynomial(ops, v, c[2:])
    inner = ops.fma(v, deep, c[1])
    inner_error = ops.fma(v, deep, c[1] - inner)
    p = ops.fma(v, inner, c[0])
    p_error = ops.fma(v, inner_error, ops.fma(v, inner, c[0] - p))
    y = w * p
    y_error = ops.fma(w, ops.fma(w_error, p, p_error), ops.fma(w, p, -y))
    y_error = ops.fma(y, r_error, y_error)
    y_error = ops.fma(r, y_error, y_error)
    q = (y + ops.fma(r, y, ops.fma(e_rest, y, y_error))) * s * 2.0**-k.scale
    return ops.select(x < 0.0, 2.0 - q, q)
