"""Says in a reviewer's words what happened to a tensor that no rounding rule explains."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from qgate.quant.alignment import ConstantPair
from qgate.quant.channel_factors import fit_channels
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.derivation import Derivation
from qgate.quant.likeness import Diagnosis, channels, elsewhere, rows, whole
from qgate.quant.scheme import levels_used

MIN_ROUNDED = 64
FEW_LEVELS = 17
ONE_WAY = 0.35
WAYWARD = 0.01
SPREAD, SPREAD_IN_CHANNEL = 0.01, 0.2
"""Shares of codes off from which a whole weight, or channels of it, changed and not single codes."""


def diagnose(
    pair: ConstantPair, derivation: Derivation, others: Iterable[tuple[str, Array]]
) -> Diagnosis | None:
    """Explains one weight or bias that is not derived from its reference; None where single codes say more.

    Args:
        pair: The two constants.
        derivation: What was found when they were compared.
        others: Other weights of the reference, name and values, to look for a swap among.
    """
    candidate = pair.candidate
    reference = pair.reference.values().reshape(candidate.shape).astype(np.float64)
    axis = 0 if pair.candidate_node.op == "Conv" or len(candidate.shape) == 1 else len(candidate.shape) - 1
    if len(candidate.shape) < 2:
        return _scale(pair, reference, axis)
    found = (
        _rounding(candidate, derivation)
        or _scale(pair, reference, axis)
        or _few_levels(candidate)
        or channels(candidate, reference, axis)
        or elsewhere(candidate, reference, others)
        or whole(candidate, reference, derivation)
    )
    return None if _is_of_single_codes(found, candidate, derivation, axis) else found


def _is_of_single_codes(
    found: Diagnosis, candidate: ConstantValue, derivation: Derivation, axis: int
) -> bool:
    """Whether a few codes, each of them listed, only look like what was found."""
    if derivation.verdict != "outsiders" or found.kind not in ("drifted", "other-weights"):
        return False
    blamed = len(found.evidence.get("channels", ()))
    concerned = blamed * candidate.size / candidate.shape[axis] if blamed else candidate.size
    return derivation.count < (SPREAD_IN_CHANNEL if blamed else SPREAD) * concerned


def _rounding(candidate: ConstantValue, derivation: Derivation) -> Diagnosis | None:
    """Floor, ceiling or truncation instead of rounding to nearest: no code beyond one step, all the same way."""
    if derivation.beyond_one > WAYWARD or derivation.elements < MIN_ROUNDED or derivation.max_steps == 0:
        return None
    down, inward = derivation.bias_steps, derivation.shrink_steps
    way = ""
    if abs(down) > ONE_WAY:
        way = "down" if down < 0 else "up"
    elif abs(inward) > ONE_WAY:
        way = "towards zero" if inward < 0 else "away from zero"
    if not way:
        return None
    return Diagnosis(
        "rounding",
        f"the codes are the reference's rounded {way}, not to nearest ({max(down, inward, key=abs):+.2f} steps on average)",
        candidate.name,
        evidence={"mean_steps": down, "mean_steps_outward": inward},
    )


def _few_levels(candidate: ConstantValue) -> Diagnosis | None:
    """Content of fewer bits than the codes have: it was quantized before."""
    levels = levels_used(candidate)
    if levels is None or levels > FEW_LEVELS:
        return None
    bits = max(1, int(np.ceil(np.log2(levels))))
    return Diagnosis(
        "low-bit",
        f"only {levels} of 256 codes are used by {candidate.size} elements: content of {bits} bits stored in 8, "
        "quantized before",
        candidate.name,
        evidence={"levels": levels},
    )


def _scale(pair: ConstantPair, reference: Array, axis: int) -> Diagnosis | None:
    candidate = pair.candidate
    quantized = candidate.quantized
    if candidate.size < 2 or (quantized is None and len(candidate.shape) < 2):
        return None
    shifted = _zero_point(candidate, reference, axis)
    if shifted is not None:
        return shifted
    fitted = fit_channels(reference, candidate, axis)
    if fitted is None:
        return None
    factor, slack = fitted
    wrong = np.flatnonzero(np.abs(factor - 1) > slack + 1e-4)
    if wrong.size == 0:
        return None
    if len(candidate.shape) < 2 and not _common(factor, slack):
        # One element has whatever factor one likes; only the same for all of a bias means something.
        return None
    blamed = (quantized.scale_name if quantized is not None else "") or candidate.name
    single = wrong.size == 1 and (quantized is None or quantized.scale.size == factor.size)
    spread = float(np.max(factor[wrong]) - np.min(factor[wrong]))
    few, many = float(np.min(factor[wrong])), float(np.max(factor[wrong]))
    which = f"channel {int(wrong[0])}" if single else f"{wrong.size} of {factor.size} channels"
    by = f"{few:.6g} times" if spread < 0.02 * abs(few) else f"{few:.3g} to {many:.3g} times"
    held = "the codes are the reference's, but the scale of {} is {} what they were rounded with"
    plain = "the values are the reference's, but those of {} are {} as large"
    return Diagnosis(
        "scale",
        (held if quantized is not None else plain).format(which, by),
        blamed,
        (int(wrong[0]),) if single else None,
        {"channels": [int(c) for c in wrong[:16]], "factor": [float(factor[c]) for c in wrong[:16]]},
    )


def _common(factor: Array, slack: Array) -> bool:
    middle = float(np.median(factor))
    return factor.size > 1 and bool((np.abs(factor - middle) <= (slack + 1e-3) * abs(middle)).all())


def _zero_point(candidate: ConstantValue, reference: Array, axis: int) -> Diagnosis | None:
    """A zero point that moved moves every code of its channel by the same whole number."""
    quantized = candidate.quantized
    if quantized is None or not candidate.dtype.startswith(("int", "uint")):
        return None
    if len(candidate.shape) < 2 and not np.any(
        quantized.zero_point if quantized.zero_point is not None else 0
    ):
        # Biases have no zero point but zero: their codes were moved.
        return None
    with np.errstate(all="ignore"):
        steps = candidate.codes() - (reference / candidate.scales() + candidate.zero_points())
        held = rows(steps, axis if quantized.scale.size == steps.shape[axis] else 0)
        held = held if quantized.scale.size == len(held) else held.reshape(1, -1)
        middle = np.median(held, axis=1)
    if not np.isfinite(middle).all():
        return None
    off = np.rint(np.clip(middle, -1e9, 1e9)).astype(np.int64)
    moved = np.flatnonzero(off)
    follows = np.abs(held - off[:, None]) <= 0.5001
    # Of the channels that moved as well: another scale only looks like an offset in the middle of its channel.
    if moved.size == 0 or min(np.mean(follows), np.mean(follows[moved])) < 0.95:
        return None
    single = moved.size == 1 and len(held) > 1
    where = f"channel {int(moved[0])}" if single else f"{moved.size} of {len(held)} channels"
    by = -int(off[moved[0]])
    return Diagnosis(
        "zero-point",
        f"the codes are the reference's, but the zero point{f' of {where}' if len(held) > 1 else ''}"
        f" is {by:+d} from what they were rounded with",
        quantized.zero_name or quantized.scale_name or candidate.name,
        (int(moved[0]),) if single else None,
        {"offset": by, "channels": [int(c) for c in moved[:16]]} if len(held) > 1 else {"offset": by},
    )
