"""Which of the reference's tensors each activation quantizer of a PyTorch candidate stands behind, and its range.

In a program the quantizers are operations, with scale, zero point and least and greatest code in the graph. In a
checkpoint of eager or FX mode they are a module's own ``scale`` and ``zero_point``, and its output is what the
module of that name makes. Inputs of the model are left out: what a range that is wrong for them does is seen at the
layers that read them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from qgate.formats.model import Node, StaticModel
from qgate.measure.layers.layer import EAGER_BITS, VALUES, Layer
from qgate.measure.programs import is_folded, is_quantizing
from qgate.measure.request import Tap
from qgate.quant.floatgraph import Quantizer
from qgate.quant.tensorview import canonical_name
from qgate.runtimes.pytorch.runner import POSITIVE

_QUANTIZE = "torch.ops.quantized_decomposed.quantize_per_tensor.default"
_DEQUANTIZE = "torch.ops.quantized_decomposed.dequantize_per_tensor.default"
_RELU = ("torch.ops.aten.relu.default", "torch.ops.aten.relu_.default")


def plan_ranges(
    layers: Sequence[Layer],
    reference: StaticModel,
    candidate: StaticModel,
    quantizers: Mapping[str, Sequence[Quantizer]],
) -> tuple[tuple[Tap, ...], tuple[Layer, ...]]:
    """Ranges to watch, and the layers that watch them and compare nothing.

    Args:
        layers: The layers that are compared, see ``by_module``.
        reference: The reference.
        candidate: The candidate.
        quantizers: Quantizers of a checkpoint's modules, see ``tensorview``.
    """
    if candidate.format == "torch-export":
        found = list(_of_program(layers, reference, candidate))
    else:
        found = list(_of_modules(layers, candidate, quantizers))
    sound = {(tap.tensor, tap.low, tap.high): (tap, theirs) for tap, theirs in found if _is_sound(tap)}
    watching = tuple(
        Layer(
            tap.tensor,
            theirs,
            VALUES,
            tap.node or theirs,
            "Quantizer",
            low=tap.low,
            high=tap.high,
            moved=True,
        )
        for tap, theirs in sound.values()
    )
    return tuple(tap for tap, _ in sound.values()), watching


def _is_sound(tap: Tap) -> bool:
    """Ranges that are none are told as a defect of their scale."""
    return math.isfinite(tap.low) and math.isfinite(tap.high) and tap.low < tap.high


def _of_modules(
    layers: Sequence[Layer], candidate: StaticModel, quantizers: Mapping[str, Sequence[Quantizer]]
) -> Iterator[tuple[Tap, str]]:
    root = candidate.root
    by_module = {layer.candidate: layer for layer in layers}
    for held in quantizers.values():
        for quantizer in held:
            name = canonical_name(quantizer.scale_name, root)
            layer = by_module.get(name.removesuffix(".scale")) if name.endswith(".scale") else None
            if layer is not None and quantizer.scale.size == 1 and not _is_unset(quantizer):
                low, high = quantizer.bounds()
                tap = Tap(layer.reference, low, high, quantizer.scale_name, layer.candidate, EAGER_BITS)
                yield tap, layer.candidate


def _is_unset(quantizer: Quantizer) -> bool:
    """What modules are made with, and those that quantize dynamically keep and do not use: scale 1, zero point 0."""
    return float(quantizer.scale.item()) == 1 and not np.any(quantizer.zero_point)


def _of_program(
    layers: Sequence[Layer], reference: StaticModel, candidate: StaticModel
) -> Iterator[tuple[Tap, str]]:
    made = {output: node for node in candidate.graph.nodes for output in node.outputs}
    stands = _by_order(reference, candidate) or _by_layer(layers, reference, made)
    steps = {
        output: _step(node)
        for node in candidate.graph.nodes
        if node.op == _DEQUANTIZE
        for output in node.outputs
    }
    for node in candidate.graph.nodes:
        own = _step(node) if node.op == _QUANTIZE else None
        source = node.inputs[0] if own is not None and node.inputs else ""
        if own is None or source not in made or source not in stands:
            continue
        if own in [steps.get(name) for name in made[source].inputs]:
            continue  # it takes over the scale of what it reads, as pooling and reshaping do
        scale, zero, least, greatest = own
        bits = max(1, round(math.log2(greatest - least + 1)))
        tap = Tap(
            stands[source], (least - zero) * scale, (greatest - zero) * scale, node.outputs[0], source, bits
        )
        yield tap, source


def _step(node: Node) -> tuple[float, int, int, int] | None:
    """Scale, zero point, least and greatest code; None where one is no plain number of the graph."""
    scale, *codes = (node.attributes.get(key) for key in ("scale", "zero_point", "quant_min", "quant_max"))
    if (
        not isinstance(scale, int | float)
        or isinstance(scale, bool)
        or not math.isfinite(scale)
        or scale <= 0
    ):
        return None
    numbers = [each for each in codes if isinstance(each, int) and not isinstance(each, bool)]
    if len(numbers) != 3 or numbers[1] >= numbers[2] or max(map(abs, numbers)) > 2**31:
        return None
    return float(scale), numbers[0], numbers[1], numbers[2]


def _by_layer(layers: Sequence[Layer], reference: StaticModel, made: Mapping[str, Node]) -> dict[str, str]:
    """Layers' outputs, and what a ReLU behind one makes, by the layers that are compared."""
    ours = {layer.candidate: layer.reference for layer in layers}
    found = dict(ours)
    relus = _relus(reference)
    for output, node in made.items():
        if node.op in _RELU and node.inputs and node.inputs[0] in ours:
            before = ours[node.inputs[0]]
            behind = relus.get(before) if reference.format == "torch-export" else before + POSITIVE
            if behind is not None:
                found[output] = behind
    return found


def _relus(model: StaticModel) -> dict[str, str]:
    return {node.inputs[0]: node.outputs[0] for node in model.graph.nodes if node.op in _RELU and node.inputs}


def _by_order(reference: StaticModel, candidate: StaticModel) -> dict[str, str]:
    """Candidate's tensor to the reference's, where both programs are the same operations in the same order."""
    if reference.format != "torch-export":
        return {}
    ours, theirs = _kept(reference.graph.nodes), _kept(candidate.graph.nodes)
    if [node.op for node in ours] != [node.op for node in theirs]:
        return {}
    last, own = _last(reference.graph.nodes), _last(candidate.graph.nodes)
    found = {}
    for one, two in zip(ours, theirs, strict=True):
        for before, after in zip(one.outputs, two.outputs, strict=False):
            # Where one of them normalises behind it and the other has that folded in, both ends are the same.
            found[own.get(after, after)] = last.get(before, before)
    return found


def _kept(nodes: Collection[Node]) -> list[Node]:
    return [node for node in nodes if not is_quantizing(node) and not is_folded(node)]


def _last(nodes: Collection[Node]) -> dict[str, str]:
    """What the operations that quantization may fold away make of each tensor in the end."""
    origin: dict[str, str] = {}
    found: dict[str, str] = {}
    for node in nodes:
        if is_folded(node) and node.inputs and len(node.outputs) == 1:
            first = origin.get(node.inputs[0], node.inputs[0])
            origin[node.outputs[0]] = first
            found[first] = node.outputs[0]
    return found
