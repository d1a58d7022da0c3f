"""Hyperparameter sweeps: spaces, the scheduler of trials, the trainer of populations."""

from typing import Literal

Sampler = Literal["tpe", "random", "grid"]
"""How trials are proposed."""
