"""The first tensor at which two runtimes part, among those that quantizers read, in the order of the file.

Every tensor is handed back alone, by a model that is otherwise as it was, and counts only where the outputs keep their bits:
a runtime that is asked for many inner tensors fuses nothing and computes something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.formats.model import StaticModel
from qgate.measure.deployed.compare import compare, range_step
from qgate.quant.deploy.scopes import QUANTIZE, is_op, operand
from qgate.quant.order import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Taps = Mapping[str, NDArray[Any]]

APART = 1.001
"""Steps that rounding the same number two ways makes: two runtimes part where they differ by more."""

AT_ONCE = 20
"""Tensors that are looked at in one go: each costs a compilation."""

_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "LayerNormalization")


@dataclass(frozen=True)
class Spot:
    """A tensor to look at.

    Args:
        tensor: Its name in the file.
        node: The node that makes it.
        step: Width of a step of its quantizer; 0 where it has none.
    """

    tensor: str
    node: str
    step: float


@dataclass(frozen=True)
class Parting:
    """Where two runtimes part.

    Args:
        spot: The first tensor that differs by more than a step.
        most: Greatest difference of it, in steps.
        after: The last tensor before it that does not; empty where there is none.
        compared: Tensors that were compared.
    """

    spot: Spot
    most: float
    after: str
    compared: int


def spots(model: StaticModel) -> tuple[Spot, ...]:
    """Activations that are quantized; results of products where none is."""
    graph = model.graph
    inputs = {each.name for each in graph.inputs}
    nodes = [n for n in in_order(graph) if n.outputs and n.outputs[0] and n.outputs[0] not in model.inlined]
    makers = {name: node.label for node in nodes for name in node.outputs}
    found: dict[str, Spot] = {}
    for node in nodes:
        source = operand(node, 0)
        if is_op(node, QUANTIZE) and source in makers and source not in inputs:
            held = graph.constants.get(operand(node, 1))
            scale = float(np.max(held.load())) if held is not None and held.size else 0.0
            found.setdefault(source, Spot(source, makers[source], scale if np.isfinite(scale) else 0.0))
    if not found:
        found = {n.outputs[0]: Spot(n.outputs[0], n.label, 0.0) for n in nodes if is_op(n, *_PRODUCTS)}
    outputs = {each.name for each in graph.outputs}
    return tuple(spot for name, spot in found.items() if name not in outputs)


def first_parting(every: Sequence[Spot], look: Callable[[Sequence[str]], tuple[Taps, Taps]]) -> Parting | int:
    """Where two runtimes part: coarsely at first, then between the last that agrees and the first that does not.

    Args:
        every: Tensors in the order of the file.
        look: Gives the tensors of that name in both runtimes, as far as they can be had.

    Returns:
        The parting, or how many tensors were compared where none parts.
    """
    after, low, high = "", -1, len(every)
    found: tuple[Spot, float] | None = None
    looked: set[int] = set()
    compared = 0
    while left := [i for i in range(low + 1, high) if i not in looked]:
        chosen = _spread(left)
        looked.update(chosen)
        one, other = look([every[i].tensor for i in chosen])
        seen = list(_differences(every, chosen, one, other))
        compared += len(seen)
        parted = next(((i, most) for i, most in seen if not most <= APART), None)
        if parted is not None:
            high, found = parted[0], (every[parted[0]], parted[1])
        agreed = [i for i, _ in seen if i < high]
        if agreed:
            low, after = agreed[-1], every[agreed[-1]].tensor
    return compared if found is None else Parting(found[0], found[1], after, compared)


def _spread(positions: Sequence[int]) -> list[int]:
    """At most ``AT_ONCE`` of the positions, evenly, both ends among them."""
    last = len(positions) - 1
    if last < AT_ONCE:
        return list(positions)
    return [positions[round(i * last / (AT_ONCE - 1))] for i in range(AT_ONCE)]


def _differences(
    every: Sequence[Spot], chosen: Sequence[int], one: Taps, other: Taps
) -> Iterator[tuple[int, float]]:
    for position in chosen:
        spot = every[position]
        if spot.tensor not in one or spot.tensor not in other:
            continue
        ours, theirs = one[spot.tensor], other[spot.tensor]
        step = spot.step or (1.0 if ours.dtype.kind in "iub" else range_step(ours))
        if ours.shape != theirs.shape and ours.size == theirs.size:
            theirs = theirs.reshape(ours.shape)
        found = compare(ours, theirs, step)
        yield position, float("inf") if found is None else found.most
