"""Numbers for the details of measurements."""

from __future__ import annotations

import math


def plain_number(value: float) -> float | str:
    """A number that JSON can hold; details are not encoded as values are."""
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
