"""Data sets: the handwritten digits, readers of users' .npz files and tables, the splits."""

from __future__ import annotations

from ..tables.errors import DataError
from .digits import load_digits
from .readers import load_csv, load_data, load_npz
from .split import stratified_split, validation_split

__all__ = [
    "DataError",
    "load_csv",
    "load_data",
    "load_digits",
    "load_npz",
    "stratified_split",
    "validation_split",
]
