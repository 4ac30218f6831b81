"""Whether a bias was moved for what rounding does to its layer's output, and for nothing else.

Bias correction (Nagel et al. 2019, arXiv:1906.04721, section 4.2) takes from the bias of output o what
rounding adds on average: ``sum over inputs of (W_q - W)[o, i] * E[x_i]``, and with it what the inputs' own
rounding adds, ``sum of W[o, i] * E[x_q - x]_i``. The means are not in the file, but there is one for each
input whatever the output, and each lies in the range of the quantizer before the layer. So a shift that
was meant for the outputs themselves shows: it is too large, no means within the range give it, it pushes
all outputs the same way, or one output far more than the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from qgate.quant.constants import Array

MOST = 2.0
"""Largest shift of an output, in what its layer's rounding errors come to at the end of the range: means lie well within it,
and four standard errors of one half of it are this. NNCF's and Quark's corrections of five nets stay below 0.6."""
ON_AVERAGE = 0.75
"""Root mean square of the same over all outputs (0.35 in those nets), with three standard errors of such a mean."""
UNEXPLAINED = 0.15
"""Largest part of the shift that the means may leave unexplained, by norm."""
ONE_WAY = 1e-6
"""Chance of a common direction below which it is none of rounding's, whose errors have no direction."""
MIN_OUTPUTS = 8
STANDING_OUT = 15.0
STANDING_OUT_ALONE = 60.0
"""Where each output has few inputs of its own, whose means may differ widely."""
FEW_INPUTS = 8
INPUT_STEPS = 1.0
MAX_UNKNOWNS = 4096
MAX_ENTRIES = 1 << 21
_SOLVED = 1 << 18


@dataclass(frozen=True)
class Layer:
    """What is known of a layer with a moved bias.

    Args:
        shift: Candidate's bias minus the reference's, by output.
        error: Dequantized weight minus reference, outputs by inputs by kernel taps.
        weight: The reference's weight, likewise.
        groups: Groups of a convolution.
        low: Least value that the quantizer before the layer can stand for; ``high`` the greatest.
        step: Its step.
        rounding: Step of the bias itself, 0 for a float.
    """

    shift: Array
    error: Array
    weight: Array
    groups: int
    low: float
    high: float
    step: float
    rounding: float


def objection(layer: Layer) -> str | None:
    """Why a shift is no bias correction; None where it may be one."""
    if not all(np.isfinite(v).all() for v in (layer.shift, layer.error, layer.weight)):
        return "it is not finite"
    if not np.isfinite(layer.low) or not np.isfinite(layer.high):
        return "the range of the layer's input is not known"
    reach = _reach(layer)
    if (np.abs(layer.shift) > MOST * reach + layer.rounding + 1e-6).any():
        return "it is more than the layer's rounding error can shift its output"
    beyond = np.maximum(np.abs(layer.shift) - layer.rounding - 1e-6, 0.0) / np.maximum(reach, 1e-300)
    if not float(np.sqrt(np.mean(np.square(beyond)))) <= ON_AVERAGE * (1 + 3 / (2 * beyond.size) ** 0.5):
        return "it is more on average than the layer's rounding errors shift its outputs"
    return _one_way(layer, reach) or _stands_out(layer, reach) or _no_means(layer)


def _reach(layer: Layer) -> Array:
    """Root-sum-square of the layer's own rounding errors and of its input's, by output."""
    span = max(abs(layer.low), abs(layer.high))
    own = np.linalg.norm(layer.error.reshape(len(layer.shift), -1), axis=1)
    passed = np.linalg.norm(layer.weight.reshape(len(layer.shift), -1), axis=1)
    return np.asarray(own * span + layer.step * passed)


def _one_way(layer: Layer, reach: Array) -> str | None:
    """Student's t of the shifts, as they are and relative to what each output may be shifted by."""
    from scipy.special import stdtr

    moved = layer.shift
    if moved.size < 3:
        return None
    for values in (moved, moved / np.maximum(reach, 1e-300)):
        spread = float(np.std(values, ddof=1))
        mean = float(np.mean(values))
        # The bias's own rounding must not be taken for a direction, nor hide one.
        deviation = max(spread, 1e-9 * abs(mean)) / np.sqrt(moved.size)
        if abs(mean) > 0 and 2 * float(stdtr(moved.size - 1, -abs(mean) / deviation)) < ONE_WAY:
            return f"all outputs are moved the same way, by {float(np.mean(moved)):.3g} on average"
    return None


def _stands_out(layer: Layer, reach: Array) -> str | None:
    if layer.shift.size < MIN_OUTPUTS:
        return None
    relative = np.abs(layer.shift) / np.maximum(reach, 1e-300)
    middle = float(np.median(relative))
    floor = layer.rounding / float(np.median(reach)) if np.median(reach) > 0 else 0.0
    worst = int(np.argmax(relative))
    most = STANDING_OUT if layer.error.shape[1] >= FEW_INPUTS else STANDING_OUT_ALONE
    if relative[worst] > most * max(middle, floor, 1e-12):
        return f"output {worst} is moved by {layer.shift[worst]:.3g}, far more than the others"
    return None


def _no_means(layer: Layer) -> str | None:
    """Looks for one mean of each input within its range that gives the shift of every output."""
    outputs = layer.shift.size // layer.groups
    left = total = 0.0
    for group in range(layer.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        unexplained = _least_residual(
            layer.shift[rows], layer.error[rows], layer.weight[rows], partial(_bounds, layer)
        )
        if unexplained is None:
            return None
        left += unexplained**2
        total += float(np.sum(np.square(layer.shift[rows])))
    allowed = UNEXPLAINED * total**0.5 + layer.rounding * layer.shift.size**0.5 + 1e-7
    if left**0.5 <= allowed:
        return None
    return f"no means of the inputs within their range leave less than {(left / total) ** 0.5:.0%} of it unexplained"


def _bounds(layer: Layer, means: int, drifts: int) -> tuple[Array, Array]:
    own = INPUT_STEPS * layer.step
    low = np.concatenate([np.full(means, min(layer.low, 0.0)), np.full(drifts, -own)])
    high = np.concatenate([np.full(means, max(layer.high, 0.0)), np.full(drifts, own)])
    return low, high


def _least_residual(
    shift: Array, error: Array, weight: Array, bounds: partial[tuple[Array, Array]]
) -> float | None:
    """Norm of what is left of a group's shift; None where the problem is too large to be solved."""
    outputs, inputs = error.shape[0], error.shape[1]
    # Padding makes the mean of an input another one for each tap of the kernel.
    taps = error.reshape(outputs, -1)
    if taps.shape[1] > MAX_UNKNOWNS or taps.size > MAX_ENTRIES:
        taps = error.reshape(outputs, inputs, -1).sum(axis=2)
    if taps.shape[1] > MAX_UNKNOWNS or taps.size > MAX_ENTRIES:
        return None
    # Likewise what the input's rounding adds; NNCF runs the layer on one mean for all places, which differs so too.
    passed = weight.reshape(outputs, -1)
    if taps.size + passed.size > _SOLVED:
        passed = weight.reshape(outputs, inputs, -1).sum(axis=2)
    matrix = -np.hstack([taps, passed])
    low, high = bounds(taps.shape[1], passed.shape[1])
    width = (high - low) / 2
    for centre in (np.clip(0.0, low, high), (3 * low + high) / 4, (low + high) / 2):
        scaled = matrix * width
        found = np.linalg.lstsq(scaled, shift - matrix @ centre, rcond=1e-10)[0]
        point = centre + width * found
        if (point >= low).all() and (point <= high).all():
            return float(np.linalg.norm(matrix @ point - shift))
    if matrix.size > _SOLVED:
        return None
    from scipy.optimize import lsq_linear

    solved = lsq_linear(matrix, shift, (low, high), max_iter=200)
    return float(np.linalg.norm(matrix @ solved.x - shift))
