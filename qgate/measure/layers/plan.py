"""Which tensor of the candidate is compared with which tensor of the reference, layer by layer.

A layer is a place where both models hold the same activation. Where the candidate quantizes it, the codes are
read and dequantized beside the graph: reading the floating-point tensor in front of a quantizer would keep
ONNX Runtime from fusing it, and the observed model would not be the one that is deployed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from qgate.formats.model import TensorType
from qgate.measure.layers.layer import CODES, VALUES, Layer
from qgate.quant.alignment import Alignment
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer

_NARROW = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}


def plan_layers(
    alignment: Alignment, reference: FloatGraph, candidate: FloatGraph, scaled: frozenset[str] = frozenset()
) -> tuple[Layer, ...]:
    """The layers in the order in which the candidate computes them.

    Args:
        alignment: Which tensor is which.
        reference: The reference's float view; ``candidate`` the candidate's.
        scaled: Tensors of the candidate that are equalised: they differ from the reference's on purpose.
    """
    known = {t.name for t in reference.inputs} | {name for node in reference.nodes for name in node.outputs}
    # An operation that took up its bias still has the tensor before it in the file.
    known |= {name for node in reference.nodes for name in node.stages.values()}
    readable = _floating(reference, known)
    found: list[Layer] = []
    places: dict[str, list[int]] = {}
    seen: set[str] = set()
    for node in (None, *candidate.nodes):
        for tensor in [t.name for t in candidate.inputs] if node is None else node.outputs:
            if tensor in scaled:
                continue
            sources: dict[str, list[str]] = defaultdict(list)
            for quantizer in candidate.quantizers.get(tensor, ()):
                sources[quantizer.codes].append(quantizer.source)
            for layer in _layers(tensor, node, alignment, candidate, readable):
                if layer.candidate not in seen:
                    seen.add(layer.candidate)
                    places.setdefault(tensor, []).append(len(found))
                    found.append(_shaped(layer, (*sources[layer.candidate], tensor), reference, candidate))
    readers = _before(candidate, places)
    return tuple(
        replace(layer, before=readers[place]) if readers.get(place) else layer
        for place, layer in enumerate(found)
    )


def keep_layers(layers: Sequence[Layer], keep: Callable[[Layer], bool]) -> tuple[Layer, ...]:
    """Those layers that are kept; what read another reads, in its place, what that one read."""
    kept = [place for place, layer in enumerate(layers) if keep(layer)]
    number = {place: position for position, place in enumerate(kept)}
    nearest: dict[int, frozenset[int]] = {}
    for place, layer in enumerate(layers):
        # Layers stand in the order of computing, so that those above have been seen.
        above = frozenset().union(*(nearest.get(each, frozenset()) for each in layer.before))
        nearest[place] = frozenset({number[place]}) if place in number else above
    return tuple(
        replace(
            layers[place],
            before=tuple(
                sorted(frozenset().union(*(nearest.get(each, frozenset()) for each in layers[place].before)))
            ),
        )
        for place in kept
    )


def _floating(reference: FloatGraph, known: set[str]) -> set[str]:
    """Tensors of the reference that can hold fractions, as far as their types are told."""
    types: dict[str, TensorType] = dict(reference.types)
    return {
        name
        for name in known - set(reference.constants)
        if name and (name not in types or types[name].dtype in ("", "float", "float16", "double"))
    }


def _shaped(layer: Layer, names: tuple[str, ...], reference: FloatGraph, candidate: FloatGraph) -> Layer:
    """The layer with the shape that the reference declares, and with its channels where it has such an axis and the
    candidate declares nothing else, under any of its names."""
    ours = _declared(reference, layer.reference)
    theirs = _declared(candidate, *names)
    axis = _CHANNEL_AXIS.get(layer.op)
    if axis is None or layer.moved or len(ours) < 2:
        return replace(layer, shape=ours)
    axis = len(ours) - 1 if axis < 0 else axis
    size = ours[axis]
    same = not theirs or (len(ours) == len(theirs) and all(map(_same_size, ours, theirs)))
    known = same and isinstance(size, int) and 1 < size <= _MOST_CHANNELS
    return replace(layer, shape=ours, channel=axis if known else None)


def _declared(graph: FloatGraph, *names: str) -> tuple[int | str, ...]:
    """The shape of the first of some tensors that the file declares one of in full; empty where it does not."""
    inputs = {each.name: each for each in graph.inputs}
    for name in names:
        found = inputs.get(name) or graph.types.get(name)
        if found is not None and found.shape and all(size not in (None, "") for size in found.shape):
            return tuple(size for size in found.shape if size is not None)
    return ()


def _same_size(one: int | str, other: int | str) -> bool:
    """Free sizes have names of their own in each file."""
    return one == other or (isinstance(one, str) and isinstance(other, str))


_CHANNEL_AXIS = {
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": -1,
    "Relu": 1,
    "LeakyRelu": 1,
    "PRelu": 1,
}
"""Where the channels of an operation's output lie; -1 is last."""

_MOST_CHANNELS = 4096
"""A last axis that is longer is a vocabulary or a sequence, and tells nothing channel by channel."""

_MOVES = {
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split", "Pad", "Expand", "Tile",
    "Gather", "GatherND", "DepthToSpace", "SpaceToDepth", "Concat",
}  # fmt: skip
"""Operations that only move values: what they make says nothing that their inputs did not."""

_ARITHMETIC = {
    "Conv", "ConvTranspose", "ConvInteger", "MatMul", "Gemm", "Einsum", "LSTM", "GRU", "RNN", "Attention",
    "LayerNormalization", "Softmax", "Input",
}  # fmt: skip


def _layers(
    tensor: str, node: FloatNode | None, alignment: Alignment, candidate: FloatGraph, readable: set[str]
) -> Iterator[Layer]:
    label, op = (node.label, node.op) if node is not None else (tensor, "Input")
    moved, sampled = op in _MOVES, op in _ARITHMETIC
    told: set[str] = set()
    for quantizer in candidate.quantizers.get(tensor, ()):
        matched = alignment.quantized(quantizer, tensor)
        if matched in readable and _plain(quantizer):
            low, high = quantizer.bounds()
            yield Layer(
                matched, quantizer.codes, CODES, label, op, scale=quantizer.scale_input, zero=quantizer.zero_input,
                low=low, high=high, dtype=quantizer.dtype,
                axis=quantizer.axis if quantizer.scale.size > 1 else None, moved=moved or matched in told,
                sampled=sampled,
            )  # fmt: skip
            # Further quantizers of one tensor differ in their ranges alone; before and after a bias there are two.
            told.add(matched)
    matched = alignment.tensors.get(tensor)
    if tensor in candidate.quantizers or matched not in readable or node is None or moved:
        return
    is_output = any(tensor == inner for _, inner in candidate.outputs)
    # In a model of quantizers a float tensor may stand in front of one or inside of a fusion: reading it would
    # change what is observed. What leaves the model is read anyway.
    if is_output or not candidate.quantizers:
        yield Layer(matched, tensor, VALUES, label, op, sampled=sampled or is_output)


def _plain(quantizer: Quantizer) -> bool:
    """Whether its codes can be read back by an operator beside it."""
    return bool(
        quantizer.codes
        and quantizer.scale_input
        and quantizer.dtype in _NARROW
        and np.isfinite(quantizer.bounds()).all()
    )


def _before(candidate: FloatGraph, places: dict[str, list[int]]) -> dict[int, tuple[int, ...]]:
    """The nearest layers above each layer, through operations that are no layer themselves.

    Several layers of one operation stand in the order of ``places``, each above the next.
    """
    nearest: dict[str, frozenset[int]] = {}
    found: dict[int, tuple[int, ...]] = {}
    for name in (t.name for t in candidate.inputs):
        nearest[name] = frozenset(places.get(name, ())[-1:])
    for node in candidate.nodes:
        above: frozenset[int] = frozenset().union(
            *(nearest.get(name, frozenset()) for name in _reads(node, candidate))
        )
        for tensor in node.outputs:
            nearest[tensor] = above
            for place in places.get(tensor, ()):
                found[place] = tuple(sorted(nearest[tensor]))
                nearest[tensor] = frozenset({place})
    return found


def _reads(node: FloatNode, candidate: FloatGraph) -> Iterator[str]:
    for name in (*node.inputs, *node.implicit):
        if name and name not in candidate.constants:
            yield name
