"""Whether a conversion did anything: a candidate without a short weight whose weights are the reference's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qgate.quant.alignment import Alignment
from qgate.quant.scheme import Scheme
from qgate.records import Measurement


def measure_untouched(alignment: Alignment, scheme: Scheme) -> Iterator[Measurement]:
    """``quant.untouched``: how many weights, where all of them are the reference's to the bit; else nothing."""
    pairs = [pair for pair in alignment.constants if pair.role == "weight"]
    if scheme.shorter or not scheme.parameters or not pairs:
        return
    for pair in pairs:
        ours, theirs = pair.reference.codes(), pair.candidate.codes()
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape or ours.tobytes() != theirs.tobytes():
            return
    names = [pair.candidate.name for pair in pairs]
    yield Measurement(
        name="quant.untouched", value=len(pairs), unit="weights",
        detail={"tensors": names[:32], "elements": int(np.sum([p.candidate.size for p in pairs]))},
    )  # fmt: skip
