"""Which finding explains which, so that one cause is not reported as four findings."""

from __future__ import annotations

from qgate.records import Measurement
from qgate.rules.base import RuleContext


def scale_is_defective(context: RuleContext, found: Measurement) -> bool:
    """Whether RNG101 already names the scale that this tensor's codes are read with."""
    scale = found.detail.get("scale")
    return bool(scale) and any(defect.at.tensor == scale for defect in context.all("scale.defect"))


def derivation_fails(context: RuleContext, tensor: str | None) -> bool:
    """Whether QNT201, QNT202 or QNT203 already names this tensor, with a better explanation."""
    return any(
        found.at.tensor == tensor and found.value in ("not-derived", "outsiders", "unknown")
        for found in context.all("weight.derivation")
    )
