"""How two runtimes' answers for the same model differ, in steps of the output's scale. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.stats.decibel import sqnr_db

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 255
"""Steps that the range of an output is divided into where no quantizer stands before it."""


@dataclass(frozen=True)
class Difference:
    """Two answers compared.

    Args:
        most: Greatest difference of an element, in steps; NaN where a value is not finite on one side alone.
        rms: Root of the mean squared difference, in steps.
        sqnr_db: The first answer is the signal.
        step: One step, in the output's own unit.
        index: Element with the greatest difference, samples first.
    """

    most: float
    rms: float
    sqnr_db: float
    step: float
    index: tuple[int, ...]


def compare(one: NDArray[Any], other: NDArray[Any], step: float) -> Difference | None:
    """The difference of two answers; None where their shapes differ.

    Args:
        one: An output of one runtime, samples first.
        other: The same output of another, for the same samples.
        step: Width of one step; 0 counts every difference as infinitely many.
    """
    if one.shape != other.shape:
        return None
    if not one.size:
        return Difference(0.0, 0.0, float("inf"), step, ())
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
        apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        flat = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
        power, noise = float(np.sum(a * a)), float(np.sum(apart * apart))
        most, rms = float(apart.reshape(-1)[flat]), float(np.sqrt(noise / apart.size))
        per_step = np.float64(1.0) / np.float64(step)
        steps = [0.0 if value == 0 else float(value * per_step) for value in (most, rms)]
    index = tuple(int(i) for i in np.unravel_index(flat, apart.shape)) if apart.shape else ()
    finite = np.isfinite(power) and np.isfinite(noise)
    signal = sqnr_db(power, noise) if finite else float("nan")
    return Difference(steps[0], steps[1], signal, step, index)


def range_step(values: NDArray[Any]) -> float:
    """A step of an output that no quantizer stands before: its range over ``LEVELS``."""
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not finite.size:
        return 0.0
    low, high = float(finite.min()), float(finite.max())
    return (high - low) / LEVELS if high > low else max(abs(high), 1.0) / LEVELS
