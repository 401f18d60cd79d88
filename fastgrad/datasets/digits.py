"""The UCI handwritten digits inside the package; notice and licence: NOTICE.txt in this folder."""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from .._npz import NpzReader


def load_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """images (1797, 64) float32 in steps of 1/16 from 0 to 1, labels (1797,) int64 from 0 to 9.

    Row-major 8 x 8 pixels: ``images[i].reshape(8, 8)``. E. Alpaydin, C. Kaynak, Optical Recognition
    of Handwritten Digits, UCI Machine Learning Repository, doi 10.24432/C50P49, CC BY 4.0.
    """
    data = resources.files(__package__).joinpath("digits.npz").read_bytes()
    with NpzReader(io.BytesIO(data)) as file:
        pixels = file.read("x").reshape(-1, 64)
        # exact: a power of two
        return pixels.astype(np.float32) / np.float32(16), file.read("y").astype(np.int64)
