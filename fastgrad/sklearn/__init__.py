"""scikit-learn's MLPClassifier and MLPRegressor, trained by fastgrad.

X (N, K) and y in, an estimator with scikit-learn's parameters and fitted attributes out: replace
the import, and nothing else changes. See docs/sklearn.md. Nothing else imports scikit-learn.
"""

from __future__ import annotations

try:
    from .classifier import MLPClassifier
    from .regressor import MLPRegressor
except ImportError as missing:
    if (missing.name or "").split(".")[0] not in ("sklearn", "scipy"):
        raise
    raise ImportError(
        "fastgrad.sklearn needs scikit-learn 1.6 or newer: pip install 'scikit-learn>=1.6'"
    ) from missing

__all__ = ["MLPClassifier", "MLPRegressor"]
