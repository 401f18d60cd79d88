"""The model: data flows from config to parameters, batch, step, fit and model; see README.md."""

from __future__ import annotations

from .model import MLP as MLP
