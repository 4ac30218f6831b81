"""Codes must be read with the parameters that they were made with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.formats.model import Node
from qgate.quant.constants import Array

if TYPE_CHECKING:
    from qgate.quant.build import Builder


def check_coded(builder: Builder, node: Node, codes: str, scale: str, zero: str) -> None:
    """Compares the scale that a node reads codes with against the one that made them."""
    made = builder.coded.get(codes)
    if made is None:
        builder.quantize_table(codes, scale, zero)
    scale_value, zero_value = builder.array(scale), builder.array(zero) if zero else None
    if made is None or scale_value is None:
        return
    same_scale = np.array_equal(made.scale.reshape(-1), scale_value.astype(made.scale.dtype).reshape(-1))
    made_zero = np.zeros(1) if made.zero_point is None else made.zero_point.reshape(-1)
    read_zero = np.zeros(1) if zero_value is None else zero_value.reshape(-1)
    if not same_scale:
        builder.defect(
            "requantized",
            f"codes made with scale {made.scale_name!r} are read with another scale",
            node=node.label,
            tensor=scale,
            evidence={"made_with": _first(made.scale), "read_with": _first(scale_value)},
        )
    if not np.array_equal(made_zero, read_zero):
        builder.defect(
            "requantized",
            f"codes made with zero point {made.zero_name!r} are read with another zero point",
            node=node.label,
            tensor=zero or scale,
            evidence={"made_with": _first(made_zero), "read_with": _first(read_zero)},
        )


def check_dynamic(builder: Builder, node: Node, codes: str, zero: str, scale: str | None = None) -> None:
    """Sees to it that codes which are made while the model runs are read with their own parameters.

    A constant in their place is right for some inputs and wrong for others.
    """
    if codes not in builder.dynamic_of.values():
        return
    for what, name in (("zero point", zero), *((("scale", scale),) if scale is not None else ())):
        if builder.dynamic_of.get(name) != codes:
            builder.defect(
                "requantized",
                f"codes that are quantized while the model runs are read with another {what} than their own",
                node=node.label,
                tensor=name or codes,
            )


def _first(values: Array) -> float:
    return float(np.asarray(values, np.float64).reshape(-1)[0]) if np.size(values) else float("nan")
