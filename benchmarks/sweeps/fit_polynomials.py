"""Derive every polynomial of _kernels/formulas/elementary.py, and print the tables to paste there.

    python benchmarks/sweeps/fit_polynomials.py [name ...]

Without names, all of FITS, in about a minute; exit code 1 if elementary.py has other coefficients.

Each p(u) minimises max |weight(u)·(target(u) - p(u))|, where the weight makes that the relative
error of the function's result, by Remez exchange on a grid in 60-digit arithmetic. The leading
coefficients are rounded to the dtype one after another and the rest fitted again each time, where
that helps. The error printed is that of the rounded coefficients, in units of u = eps/2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

from fastgrad._kernels.formulas import elementary

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]

GRID = 700  # points of the grid; about thirty to each swing of the error of the longest polynomial
ROUNDED_FIRST = 3  # the rounding of later coefficients is worth under 0.05 u


@dataclass(frozen=True)
class Fit:
    """p(u) of `degree` on lo <= u <= hi, for float32 and float64."""

    target: Function
    weight: Function
    lo: dict[str, mp.mpf]
    hi: dict[str, mp.mpf]
    degree: dict[str, int]


def both(value: object) -> dict[str, mp.mpf]:
    return {"float32": mp.mpf(value), "float64": mp.mpf(value)}


def minimax(f: list[mp.mpf], w: list[mp.mpf], u: list[mp.mpf], degree: int) -> list[mp.mpf]:
    """Values f, weights w > 0 at points u (ascending) -> coefficients, lowest first."""
    n, size = degree + 2, len(u)
    # Extrema of the Chebyshev polynomial as the first reference.
    reference = [round((1 - float(mp.cos(mp.pi * k / (n - 1)))) / 2 * (size - 1)) for k in range(n)]
    best: list[mp.mpf] = []
    for _ in range(40):
        rows = [
            [u[i] ** p for p in range(degree + 1)] + [(-1) ** k / w[i]]
            for k, i in enumerate(reference)
        ]
        *best, level = mp.lu_solve(mp.matrix(rows), mp.matrix([f[i] for i in reference]))
        error = [(fi - mp.polyval(best[::-1], ui)) * wi for fi, ui, wi in zip(f, u, w, strict=True)]
        # One extremum a run of equal sign; then drop an end, or a pair, until n are left.
        peaks: list[int] = []
        for i, e in enumerate(error):
            if peaks and (error[peaks[-1]] > 0) == (e > 0):
                if abs(e) > abs(error[peaks[-1]]):
                    peaks[-1] = i
            else:
                peaks.append(i)
        while len(peaks) > n:
            if len(peaks) == n + 1:
                del peaks[0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1]
            else:
                k = min(
                    range(len(peaks) - 1),
                    key=lambda k: max(abs(error[peaks[k]]), abs(error[peaks[k + 1]])),
                )
                del peaks[k : k + 2]
        if (
            len(peaks) < n
            or peaks == reference
            or max(map(abs, error)) <= abs(level) * mp.mpf("1.0001")
        ):
            break
        reference = peaks
    return best


def fit(job: Fit, dtype: str) -> tuple[list[float], float]:
    """-> coefficients of the dtype, lowest first, and the largest weighted error in units of u."""
    lo, hi, degree = job.lo[dtype], job.hi[dtype], job.degree[dtype]
    kind = np.dtype(dtype).type
    u = [(lo + hi) / 2 - (hi - lo) / 2 * mp.cos(mp.pi * (k + 0.5) / GRID) for k in range(GRID)]
    target, weight = [job.target(x) for x in u], [job.weight(x) for x in u]

    def round_all(coefficients: list[mp.mpf]) -> list[mp.mpf]:
        return [mp.mpf(float(kind(float(c)))) for c in coefficients]

    best: tuple[mp.mpf, list[mp.mpf]] | None = None
    rest, w = target, weight
    fixed: list[mp.mpf] = []
    for _ in range(min(ROUNDED_FIRST, degree) + 1):
        c = round_all(minimax(rest, w, u, degree - len(fixed)))
        p = fixed + c
        error = max(
            abs((f - mp.polyval(p[::-1], x)) * a) for f, x, a in zip(target, u, weight, strict=True)
        )
        if best is None or error < best[0]:
            best = error, p
        fixed.append(c[0])
        # p(u) = c0 + u·p1(u): fit p1 to (f - c0)/u, whose error counts |u| times as much.
        rest = [(f - c[0]) / x for f, x in zip(rest, u, strict=True)]
        w = [a * abs(x) for a, x in zip(w, u, strict=True)]
    assert best is not None
    return [float(c) for c in best[1]], float(best[0] / (np.finfo(kind).eps / 2))


LN2 = mp.log(2)
WIDER = 1 + mp.mpf(2) ** -16  # the reduced argument oversteps its interval by the rounding of n


def _tanh_term(u: mp.mpf) -> mp.mpf:
    h = mp.sqrt(u)
    return (mp.tanh(h) - h) / h**3


def _log_term(z: mp.mpf) -> mp.mpf:
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


FITS = {
    # e^r = 1 + r·p(r), |r| <= ln2/2
    "exp": Fit(
        lambda r: mp.expm1(r) / r,
        lambda r: (abs(r) + mp.mpf("0.01")) / mp.exp(r),
        both(-LN2 / 2 * WIDER),
        both(LN2 / 2 * WIDER),
        {"float32": 5, "float64": 10},
    ),
    # tanh(h) = h + h³·p(h²), |h| <= ln2/4
    "tanh": Fit(
        _tanh_term,
        lambda u: u,
        both(mp.mpf(10) ** -6),
        both((LN2 / 4 * WIDER) ** 2),
        {"float32": 2, "float64": 5},
    ),
    # log((1 + s)/(1 - s)) = 2s + s³·p(s²), s = f/(2 + f), 1 + f in [sqrt(1/2), sqrt(2)]
    "log": Fit(
        _log_term,
        lambda z: z / 2,
        both(mp.mpf(10) ** -6),
        both(((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2 * WIDER),
        {"float32": 2, "float64": 6},
    ),
    # erf(x) = x + x·p(x²), |x| <= 1
    "erf": Fit(
        lambda u: mp.erf(mp.sqrt(u)) / mp.sqrt(u) - 1,
        lambda u: mp.sqrt(u) / mp.erf(mp.sqrt(u)),
        both(mp.mpf(10) ** -6),
        both(1),
        {"float32": 5, "float64": 11},
    ),
}


def _erfc_fit(loose: bool, degree: dict[str, int]) -> Fit:
    a = mp.mpf(2)
    end = {"float32": mp.mpf("10.7"), "float64": mp.mpf("27.7")}

    def t(v: mp.mpf) -> mp.mpf:
        return a * (1 + v) / (1 - v)

    def target(v: mp.mpf) -> mp.mpf:
        return mp.exp(t(v) ** 2) * mp.erfc(t(v)) * (t(v) + a)

    def weight(v: mp.mpf) -> mp.mpf:
        return 1 / target(v) / (1 + 2 * t(v) ** 2 if loose else 1)

    return Fit(target, weight, both(-1), {d: (e - a) / (e + a) for d, e in end.items()}, degree)


# e^(t²)·erfc(t) = w·p(v), w = 1/(t + 2), v = 1 - 4w = (t - 2)/(t + 2), 0 <= t <= end: for erfc, and
# with an error that grows with 1 + 2t² = 1 + z², as the bound of gelu does (erf damps it).
FITS["erfcx"] = _erfc_fit(True, {"float32": 7, "float64": 21})
FITS["erfc"] = _erfc_fit(False, {"float32": 10, "float64": 24})


def main(names: list[str]) -> int:
    tables = {"float32": elementary.FLOAT32, "float64": elementary.FLOAT64}
    differs = False
    for name in names or list(FITS):
        for dtype in FITS[name].degree:
            coefficients, error = fit(FITS[name], dtype)
            same = getattr(tables[dtype], name) == tuple(coefficients)
            differs |= not same
            state = "as in elementary.py" if same else "NOT as in elementary.py"
            print(f"{name} {dtype}: degree {len(coefficients) - 1}, error {error:.3f} u, {state}")
            for c in coefficients:
                print(f"    {c!r},")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
