"""Which weights these are, told by their direction: other channels, other layers, another checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.constants import Array, ConstantValue
from qgate.quant.derivation import Derivation

MAX_CHANNELS = 4096
MIN_ELEMENTS = 16
ALIKE = 0.9
"""Cosine from which two weights, or two channels, are the same but for coarse codes."""


@dataclass(frozen=True)
class Diagnosis:
    """What happened.

    Args:
        kind: ``rounding``, ``scale``, ``zero-point``, ``low-bit``, ``zeroed``, ``permuted``, ``sign``,
            ``transposed``, ``swapped``, ``rewritten``, ``other-weights``, ``drifted``.
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


def rows(values: Array, axis: int) -> Array:
    """One row for each entry of an axis, float64."""
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)


def channels(candidate: ConstantValue, reference: Array, axis: int) -> Diagnosis | None:
    """Channels that are zero, stand elsewhere, are negated, or are none of the reference's."""
    if len(candidate.shape) < 2 or candidate.shape[axis] > MAX_CHANNELS:
        return None
    with np.errstate(all="ignore"):
        ours, theirs = (
            rows(reference, axis),
            rows(np.clip(np.nan_to_num(candidate.values()), -1e30, 1e30), axis),
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


def elsewhere(
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


def whole(candidate: ConstantValue, reference: Array, derivation: Derivation) -> Diagnosis:
    """What can be said of the weight as a whole."""
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
