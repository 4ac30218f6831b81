"""Each sample's outcome in as few bytes as it takes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.records import MAX_OUTCOME_BYTES, MAX_OUTCOMES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pair = tuple[NDArray[Any], NDArray[Any]]


def pack_outcomes(right: Pair, answers: Pair | None) -> dict[str, Any] | None:
    """Right and wrong as bits, and the answers as whole numbers; None where there are too many samples.

    Args:
        right: Whether each model is right, [samples].
        answers: The class that each predicts, -1 for none; left out where they would take too much room.
    """
    n = len(right[0])
    if n > MAX_OUTCOMES:
        return None
    found: dict[str, Any] = {
        "n": n,
        "reference": _text(np.packbits(right[0], bitorder="little").tobytes()),
        "candidate": _text(np.packbits(right[1], bitorder="little").tobytes()),
    }
    if answers is not None:
        highest = max(int(each.max(initial=0)) for each in answers) + 1
        width = next((w for w in (1, 2, 4) if highest < 2 ** (8 * w)), 0)
        if width and n * width <= MAX_OUTCOME_BYTES:
            found["width"] = width
            for name, each in zip(("reference", "candidate"), answers, strict=True):
                found[f"{name}_answers"] = _text((each + 1).astype(f"<u{width}").tobytes())
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
