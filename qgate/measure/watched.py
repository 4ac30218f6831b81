"""Which of the reference's tensors are watched, and against which quantizer's range."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from qgate.measure.request import Tap
from qgate.quant.alignment import Alignment
from qgate.quant.floatgraph import FloatGraph, FloatNode

Range = tuple[str, float, float]
_INFINITE = math.inf


def watched_ranges(
    alignment: Alignment, reference: FloatGraph, view: FloatGraph, scaled: Collection[str]
) -> tuple[tuple[Tap, ...], frozenset[Range]]:
    """Quantizers whose tensor the reference has as well; an equalised one differs on purpose.

    ONNX Runtime gives what an activation function reads the range of what it returns, so that the codes before it
    cut off what it flattens anyway: such a range is not watched where the one behind it is, and codes of it are not compared.

    Args:
        alignment: Which tensor is which.
        reference: The reference's view; ``view`` the candidate's.
        scaled: The candidate's tensors that were equalised.

    Returns:
        What is watched, and the ranges that another holds for: the reference's tensor, least and greatest value.
    """
    every: dict[str, list[Tap]] = defaultdict(list)
    for tap in _quantized(alignment, reference, view, scaled):
        every[tap.tensor].append(tap)
    # What is an output is read by somebody else as well.
    readers = {**reference.consumers(), **{name: [] for _, name in reference.outputs}}
    held = {
        (tap.tensor, tap.low, tap.high)
        for taps in every.values()
        for tap in taps
        if _is_held_behind(tap, readers.get(tap.tensor, []), every)
    }
    kept = tuple(
        tap for taps in every.values() for tap in taps if (tap.tensor, tap.low, tap.high) not in held
    )
    return kept, frozenset(held)


def _quantized(
    alignment: Alignment, reference: FloatGraph, view: FloatGraph, scaled: Collection[str]
) -> Iterator[Tap]:
    seen: set[tuple[str, str]] = set()
    constant = set(reference.constants)
    for tensor, quantizers in view.quantizers.items():
        for quantizer in quantizers if tensor not in scaled else ():
            matched = alignment.quantized(quantizer, tensor)
            low, high = quantizer.bounds()
            if matched is None or matched in constant or (matched, quantizer.scale_name) in seen:
                continue
            if not (np.isfinite(low) and np.isfinite(high)):
                continue
            seen.add((matched, quantizer.scale_name))
            bits = 16 if quantizer.dtype.endswith("16") else 4 if quantizer.dtype.endswith("4") else 8
            yield Tap(matched, low, high, quantizer.scale_name, quantizer.node, bits)


def _is_held_behind(tap: Tap, readers: Sequence[FloatNode], every: Mapping[str, Sequence[Tap]]) -> bool:
    """Whether all that a range cuts off is flattened by the activation function behind it, or cut off by a range behind that."""
    bounds = _flattens(readers[0]) if len(readers) == 1 else None
    behind = every.get(readers[0].outputs[0], ()) if readers else ()
    if bounds is None or not behind:
        return False
    step = (tap.high - tap.low) / (2**tap.bits - 1)
    return all(
        tap.low <= max(bounds[0], other.low) + step and tap.high >= min(bounds[1], other.high) - step
        for other in behind
    )


def _flattens(node: FloatNode) -> tuple[float, float] | None:
    """Least and greatest value that an activation function returns, where it changes nothing between them."""
    if len(node.inputs) != 1 or node.op not in ("Relu", "Clip"):
        return None
    if node.op == "Relu":
        return 0.0, _INFINITE
    low, high = node.attributes.get("min", -_INFINITE), node.attributes.get("max", _INFINITE)
    return (
        (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None
    )
