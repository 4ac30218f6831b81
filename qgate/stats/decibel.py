"""Ratios of energies as the field writes them. Standard library only."""

from __future__ import annotations

import math


def sqnr_db(signal: float, noise: float) -> float:
    """Signal-to-quantization-noise ratio in dB from two sums of squares, the reference being the signal.

    10 * log10(signal / noise): infinite without noise, minus infinite with noise on a zero signal.

    Raises:
        ValueError: A sum of squares is negative or NaN.
    """
    if not (signal >= 0.0 and noise >= 0.0):
        raise ValueError("sums of squares are never negative or NaN")
    if noise == 0.0:
        return math.inf
    if signal == 0.0:
        return -math.inf
    return 10.0 * (math.log10(signal) - math.log10(noise))


def relative_l2(signal: float, noise: float) -> float:
    """Norm of the error over the norm of the reference, from two sums of squares."""
    if noise == 0.0:
        return 0.0
    return math.inf if signal == 0.0 else math.sqrt(noise / signal)


def cosine(rr: float, cc: float, rc: float) -> float:
    """Cosine similarity from sums of squares and of products: both zero 1, one of them zero 0."""
    if rr == 0.0 and cc == 0.0:
        return 1.0
    if rr == 0.0 or cc == 0.0:
        return 0.0
    return min(1.0, max(-1.0, rc / (math.sqrt(rr) * math.sqrt(cc))))
