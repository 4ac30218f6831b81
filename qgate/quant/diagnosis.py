"""Says in a reviewer's words what happened to a tensor that no rounding rule explains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.alignment import ConstantPair
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.derivation import derive
from qgate.quant.equalisation import fit_channels

MAX_CHANNELS = 4096


@dataclass(frozen=True)
class Diagnosis:
    """What happened.

    Args:
        kind: ``scale``, ``zero-point``, ``swapped``, ``zeroed``, ``permuted``, ``sign``, ``other-weights``,
            ``drifted``.
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


def diagnose(pair: ConstantPair, others: Iterable[tuple[str, Array]]) -> Diagnosis:
    """Explains one quantized weight or bias that is not derived from its reference.

    Args:
        pair: The two constants.
        others: Other weights of the reference, name and values, to look for a swap among.
    """
    candidate = pair.candidate
    reference = pair.reference.values().reshape(candidate.shape).astype(np.float64)
    axis = 0 if pair.candidate_node.op == "Conv" or len(candidate.shape) == 1 else len(candidate.shape) - 1
    return (
        _scale(pair, reference, axis)
        or _channels(candidate, reference, axis)
        or _swapped(candidate, others)
        or _whole(candidate, reference)
    )


def _scale(pair: ConstantPair, reference: Array, axis: int) -> Diagnosis | None:
    candidate = pair.candidate
    quantized = candidate.quantized
    if quantized is None or candidate.size < 2:
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
    blamed = quantized.scale_name or candidate.name
    single = wrong.size == 1 and quantized.scale.size == factor.size
    spread = float(np.max(factor[wrong]) - np.min(factor[wrong]))
    which = f"channel {int(wrong[0])}" if single else f"{wrong.size} of {factor.size} channels"
    by = (
        f"{float(factor[wrong[0]]):.6g}"
        if spread < 0.02 * abs(float(factor[wrong[0]]))
        else "differing factors"
    )
    return Diagnosis(
        "scale",
        f"the codes are the reference's, but the scale of {which} is {by} times what they were rounded with",
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
    moved = np.flatnonzero((own < 0.9) & (np.max(cosine, axis=0) > 0.98) & (best != np.arange(best.size)))
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
    bad = np.flatnonzero(own < 0.97)
    if 0 < bad.size <= 0.25 * own.size:
        return Diagnosis(
            "other-weights", f"{bad.size} of {own.size} channels are other weights ({_listed(bad)})", candidate.name,
            evidence={"channels": [int(c) for c in bad[:16]], "cosine": [float(own[c]) for c in bad[:16]]},
        )  # fmt: skip
    return None


def _listed(channels: Array) -> str:
    shown = ", ".join(str(int(c)) for c in channels[:6])
    return shown + (", ..." if channels.size > 6 else "")


def _swapped(candidate: ConstantValue, others: Iterable[tuple[str, Array]]) -> Diagnosis | None:
    codes = np.clip(np.nan_to_num(candidate.values().astype(np.float64)), -1e100, 1e100).reshape(-1)
    norm = float(np.linalg.norm(codes))
    for name, values in others:
        if values.size != candidate.size or candidate.size < 16:
            continue
        other = values.astype(np.float64).reshape(candidate.shape)
        cosine = float(other.reshape(-1) @ codes / max(norm * float(np.linalg.norm(other)), 1e-300))
        if cosine > 0.97 or derive(other, candidate).verdict == "derived":
            return Diagnosis(
                "swapped", f"these are the weights of the reference's {name!r}", candidate.name,
                evidence={"reference_tensor": name, "cosine": cosine},
            )  # fmt: skip
    return None


def _whole(candidate: ConstantValue, reference: Array) -> Diagnosis:
    values = np.clip(np.nan_to_num(candidate.values().astype(np.float64)), -1e100, 1e100).reshape(-1)
    flat = reference.reshape(-1)
    norm = float(np.linalg.norm(values) * np.linalg.norm(flat))
    cosine = float(values @ flat / norm) if norm > 0 else 0.0
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
    return Diagnosis(
        "drifted",
        f"the weights moved by {distance:.2%} from the reference, more than rounding can (cosine {cosine:.5f})",
        candidate.name,
        evidence=evidence,
    )
