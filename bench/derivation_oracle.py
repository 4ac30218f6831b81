"""What rounding may give, told apart from the code under test: plain float64 over whole tensors.

Used to count flips that no reader of the two files could tell from honest rounding: the other code of a tie,
the last bits of a bias whose float has fewer.
"""

from __future__ import annotations

import numpy as np
from derivation_subjects import Subject, with_values

from qgate.align.walk import align
from qgate.quant.alignment import ConstantPair
from qgate.quant.build import float_view

_SPACING = {"float16": (2.0**-10, 2.0**-14), "bfloat16": (2.0**-7, 2.0**-126)}
_RANGE = {"int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767),
          "uint16": (0, 65535), "int32": (-(2**31), 2**31 - 1)}  # fmt: skip


_KNOWN: dict[str, dict[str, ConstantPair]] = {}


def _pairs(held: Subject) -> dict[str, ConstantPair]:
    if held.name not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[held.name] = _aligned(held)
    return _KNOWN[held.name]


def _aligned(held: Subject) -> dict[str, ConstantPair]:
    norms = [
        sum(n.op == "BatchNormalization" for n in m.graph.nodes) for m in (held.reference, held.candidate)
    ]
    fold = norms[0] != norms[1]
    views = (float_view(m, fold_norms=fold) for m in (held.reference, held.candidate))
    return {pair.candidate.name: pair for pair in align(*views, {}, {}).constants}


def admissible(held: Subject, changed: dict[str, np.ndarray], codes: str) -> bool:
    """Whether the codes of a tensor, after the change, are what nearest rounding of the reference may give."""
    pair = _pairs(held).get(codes)
    view = float_view(with_values(held.candidate, changed))
    now = next((v for v in view.constants.values() if v.name == codes), None)
    if pair is None or now is None or pair.reference.size != now.size:
        return False
    wanted = pair.reference.values().reshape(now.shape).astype(np.float64)
    with np.errstate(all="ignore"):
        if now.dtype == "float":
            return bool(np.array_equal(now.values(), wanted.astype(np.float32)))
        if now.quantized is None:
            spacing, least = _SPACING.get(now.dtype, (2.0**-23, 2.0**-126))
            held_now = now.values().astype(np.float64)
            ulp = spacing * 2.0 ** np.floor(np.log2(np.maximum(np.abs(wanted), least)))
            near = np.abs(held_now - wanted) <= 0.501 * ulp + 2.0**-22 * np.abs(wanted) + 1e-12
            return bool((near | ((np.abs(wanted) <= 1.01e-7) & (np.abs(held_now) <= 1.3e-7))).all())
        least, greatest = _RANGE[now.dtype]
        quotient = wanted / now.scales()
        slack = np.maximum(
            1e-4, (2.0**-11 if now.quantized.scale_dtype == "float16" else 2.0**-21) * np.abs(quotient)
        )
        exact, stored = quotient + now.zero_points(), now.codes().astype(np.float64)
        off = np.abs(np.clip(exact, least, greatest) - stored)
        return bool((off <= 0.5 + slack).all())
