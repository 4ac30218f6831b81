"""Says in a reviewer's words what happened to a tensor that no rounding rule explains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.alignment import ConstantPair
from qgate.quant.channel_factors import fit_channels
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.derivation import Derivation
from qgate.quant.scheme import levels_used

MAX_CHANNELS = 4096
MIN_ELEMENTS = 16
MIN_ROUNDED = 64
FEW_LEVELS = 17
ALIKE = 0.9
"""Cosine from which two weights, or two channels, are the same but for coarse codes."""
ONE_WAY = 0.35
WAYWARD = 0.01


@dataclass(frozen=True)
class Diagnosis:
    """What happened.

    Args:
        kind: ``rounding``, ``scale``, ``zero-point``, ``low-bit``, ``zeroed``, ``permuted``, ``sign``,
            ``transposed``, ``swapped``, ``other-weights``, ``drifted``.
        message: One sentence.
        tensor: The tensor to blame, in the file's own name.
        index: The channel or element to blame, where it is one.
        evidence: Figures behind it.
    """

    kind: str
    message: str
    tensor: str
    index: tuple[int, ...] | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def diagnose(pair: ConstantPair, derivation: Derivation, others: Iterable[tuple[str, Array]]) -> Diagnosis:
    """Explains one weight or bias that is not derived from its reference.

    Args:
        pair: The two constants.
        derivation: What was found when they were compared.
        others: Other weights of the reference, name and values, to look for a swap among.
    """
    candidate = pair.candidate
    reference = pair.reference.values().reshape(candidate.shape).astype(np.float64)
    axis = 0 if pair.candidate_node.op == "Conv" or len(candidate.shape) == 1 else len(candidate.shape) - 1
    return (
        _rounding(candidate, derivation)
        or _scale(pair, reference, axis)
        or _few_levels(candidate)
        or _channels(candidate, reference, axis)
        or _elsewhere(candidate, reference, others)
        or _whole(candidate, reference, derivation)
    )


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


def _zero_point(candidate: ConstantValue, reference: Array, axis: int) -> Diagnosis | None:
    """A zero point that moved moves every code of its channel by the same whole number."""
    quantized = candidate.quantized
    if quantized is None or not candidate.dtype.startswith(("int", "uint")):
        return None
    with np.errstate(all="ignore"):
        steps = candidate.codes() - (reference / candidate.scales() + candidate.zero_points())
        rows = _rows(steps, axis if quantized.scale.size == steps.shape[axis] else 0)
        rows = rows if quantized.scale.size == len(rows) else rows.reshape(1, -1)
        middle = np.median(rows, axis=1)
    if not np.isfinite(middle).all():
        return None
    off = np.rint(np.clip(middle, -1e9, 1e9)).astype(np.int64)
    moved = np.flatnonzero(off)
    follows = np.abs(rows - off[:, None]) <= 0.5001
    # Of the channels that moved as well: another scale only looks like an offset in the middle of its channel.
    if moved.size == 0 or min(np.mean(follows), np.mean(follows[moved])) < 0.95:
        return None
    single = moved.size == 1 and len(rows) > 1
    where = f"channel {int(moved[0])}" if single else f"{moved.size} of {len(rows)} channels"
    by = -int(off[moved[0]])
    return Diagnosis(
        "zero-point",
        f"the codes are the reference's, but the zero point{f' of {where}' if len(rows) > 1 else ''}"
        f" is {by:+d} from what they were rounded with",
        quantized.zero_name or quantized.scale_name or candidate.name,
        (int(moved[0]),) if single else None,
        {"offset": by, "channels": [int(c) for c in moved[:16]]} if len(rows) > 1 else {"offset": by},
    )


def _rows(values: Array, axis: int) -> Array:
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)


def _channels(candidate: ConstantValue, reference: Array, axis: int) -> Diagnosis | None:
    if len(candidate.shape) < 2 or candidate.shape[axis] > MAX_CHANNELS:
        return None
    with np.errstate(all="ignore"):
        ours, theirs = (
            _rows(reference, axis),
            _rows(np.clip(np.nan_to_num(candidate.values()), -1e30, 1e30), axis),
        )
    one, two = np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)
    zeroed = np.flatnonzero((one > 0) & (two < 1e-3 * one))
    if 0 < zeroed.size < 0.9 * one.size or (zeroed.size and zeroed.size == one.size):
        return Diagnosis(
            "zeroed", f"{zeroed.size} of {one.size} channels are zero ({_listed(zeroed)})", candidate.name,
            evidence={"channels": [int(c) for c in zeroed[:16]]},
        )  # fmt: skip
    if ours.shape[1] < 4:
        return None
    with np.errstate(all="ignore"):
        cosine = (ours / one[:, None]) @ (theirs / two[:, None]).T
    cosine = np.nan_to_num(cosine)
    own = np.diagonal(cosine)
    best = np.argmax(cosine, axis=0)
    match = np.max(cosine, axis=0)
    moved = np.flatnonzero((own < match - 0.3) & (match > ALIKE) & (best != np.arange(best.size)))
    if moved.size >= 2:
        pairs = ", ".join(f"{int(best[c])} at {int(c)}" for c in moved[:4])
        return Diagnosis(
            "permuted", f"{moved.size} channels stand in other places (reference channel {pairs})", candidate.name,
            evidence={"channels": [int(c) for c in moved[:16]], "from": [int(best[c]) for c in moved[:16]]},
        )  # fmt: skip
    flipped = np.flatnonzero(own < -0.98)
    if flipped.size:
        return Diagnosis(
            "sign", f"{flipped.size} channels have the opposite sign ({_listed(flipped)})", candidate.name,
            evidence={"channels": [int(c) for c in flipped[:16]]},
        )  # fmt: skip
    # Coarse codes lower every channel's cosine; only one that falls behind the others is another channel's.
    bad = np.flatnonzero(own < min(0.97, 0.9 * float(np.median(own))))
    if 0 < bad.size <= 0.25 * own.size:
        return Diagnosis(
            "other-weights", f"{bad.size} of {own.size} channels are other weights ({_listed(bad)})", candidate.name,
            evidence={"channels": [int(c) for c in bad[:16]], "cosine": [float(own[c]) for c in bad[:16]]},
        )  # fmt: skip
    return None


def _listed(channels: Array) -> str:
    shown = ", ".join(str(int(c)) for c in channels[:6])
    return shown + (", ..." if channels.size > 6 else "")


def _flat(values: Array) -> Array:
    return np.clip(np.nan_to_num(values.astype(np.float64)), -1e100, 1e100).reshape(-1)


def _cosine(one: Array, two: Array) -> float:
    norm = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two / norm) if norm > 0 else 0.0


def _elsewhere(
    candidate: ConstantValue, reference: Array, others: Iterable[tuple[str, Array]]
) -> Diagnosis | None:
    """The reference's own weight turned, or another weight of the reference."""
    if candidate.size < MIN_ELEMENTS:
        return None
    values = _flat(candidate.values())
    own = _cosine(values, _flat(reference))
    shape = candidate.shape
    if len(shape) >= 2 and shape[0] == shape[1]:
        turned = _cosine(values, _flat(np.swapaxes(reference, 0, 1)))
        if turned > max(ALIKE, own + 0.05):
            return Diagnosis(
                "transposed", "the weight is the reference's with its first two axes exchanged", candidate.name,
                evidence={"cosine": turned},
            )  # fmt: skip
    found = max(
        ((_cosine(values, _flat(v)), name) for name, v in others if v.size == candidate.size),
        default=(0.0, ""),
    )
    if found[0] > max(ALIKE, own + 0.05):
        return Diagnosis(
            "swapped", f"these are the weights of the reference's {found[1]!r}", candidate.name,
            evidence={"reference_tensor": found[1], "cosine": found[0]},
        )  # fmt: skip
    return None


def _whole(candidate: ConstantValue, reference: Array, derivation: Derivation) -> Diagnosis:
    values, flat = _flat(candidate.values()), _flat(reference)
    cosine = _cosine(values, flat)
    distance = float(np.linalg.norm(values - flat) / max(float(np.linalg.norm(flat)), 1e-300))
    evidence = {"cosine": cosine, "relative_distance": distance}
    if cosine < -0.9:
        return Diagnosis("sign", "the weights have the opposite sign", candidate.name, evidence=evidence)
    if cosine < 0.7:
        return Diagnosis(
            "other-weights",
            f"these are other weights altogether (cosine {cosine:.3f})",
            candidate.name,
            evidence=evidence,
        )
    steps = ""
    if derivation.max_steps:
        steps = f", {derivation.rmse_steps:.2g} steps on average and {derivation.max_steps:.3g} at most"
    return Diagnosis(
        "drifted",
        f"the weights moved by {distance:.2%} from the reference{steps}, more than rounding can (cosine {cosine:.5f}): "
        "another checkpoint of the same model, or one that was trained on",
        candidate.name,
        evidence=evidence,
    )
