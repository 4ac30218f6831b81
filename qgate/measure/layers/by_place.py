"""Which tensor of a LiteRT candidate is compared with which of the reference, and the ranges of its activations.

Tensors correspond by the operation that makes them, in programs that are the same but for quantizing; a file keeps the
scale and zero point of each activation with the tensor itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from qgate.align.flat import same_tensors
from qgate.formats.model import Node, StaticModel
from qgate.measure.layers.layer import CODES, VALUES, Layer
from qgate.measure.request import Tap
from qgate.quant.floatgraph import Quantizer

_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}
_FLOATS = ("float", "float16")
_QUANTIZING = ("tfl.quantize", "tfl.dequantize")


def _operators(words: str) -> frozenset[str]:
    return frozenset(f"tfl.{name}" for name in words.split())


_MOVES = _operators(
    "reshape squeeze expand_dims transpose slice strided_slice split split_v pad padv2 mirror_pad tile gather gather_nd "
    "depth_to_space space_to_depth concatenation pack unpack batch_to_space_nd space_to_batch_nd reverse_v2 broadcast_to "
    "dynamic_update_slice"
)
"""Operations that only move values: what they make says nothing that their inputs did not."""
_CHANNELS = _operators(
    "conv_2d depthwise_conv_2d transpose_conv conv_3d fully_connected batch_matmul relu relu6 leaky_relu prelu"
)
"""Operations whose last axis is that of channels."""
_ARITHMETIC = _CHANNELS | _operators(
    "lstm unidirectional_sequence_lstm bidirectional_sequence_lstm svdf rnn softmax"
)
_MOST_CHANNELS = 4096


def plan_places(
    reference: StaticModel, candidate: StaticModel, quantizers: Mapping[str, Sequence[Quantizer]]
) -> tuple[tuple[Layer, ...], tuple[Tap, ...]]:
    """The layers in the order in which the candidate computes them, and the ranges to watch.

    Args:
        reference: A LiteRT model; ``candidate`` likewise.
        quantizers: The candidate's activations with a scale, see ``flatview``.

    Returns:
        Nothing where the programs differ: what corresponds is not known then.
    """
    stands = same_tensors(reference, candidate)
    layers: list[Layer] = []
    taps: list[Tap] = []
    told: set[str] = set()
    for tensor, node in _activations(candidate):
        matched = stands.get(tensor, "")
        kind = reference.graph.types.get(matched)
        if kind is None or kind.dtype not in _FLOATS or matched in reference.graph.constants:
            continue
        layer = _layer(tensor, node, matched, candidate, quantizers.get(tensor, ()))
        if layer is None:
            continue
        # What is requantized differs in its range alone; the layer is told once.
        layer = replace(layer, moved=layer.moved or matched in told)
        told.add(matched)
        layers.append(_with_channels(layer, reference, candidate))
        if layer.kind == CODES and not _takes_over(node, quantizers.get(tensor, ()), quantizers):
            taps += _taps(layer, quantizers[tensor])
    return _with_before(layers, candidate), tuple(taps)


def _activations(model: StaticModel) -> Iterator[tuple[str, Node | None]]:
    """Inputs and what operations make, each once, with the operation."""
    seen = {n for n in model.graph.constants if n in model.graph.types}
    named: list[tuple[str, Node | None]] = [(tensor.name, None) for tensor in model.graph.inputs]
    named += [(name, node) for node in model.graph.nodes for name in node.outputs if name]
    for name, node in named:
        if name not in seen:
            seen.add(name)
            yield name, node


def _layer(
    tensor: str, node: Node | None, matched: str, candidate: StaticModel, held: Sequence[Quantizer]
) -> Layer | None:
    dtype = candidate.graph.types[tensor].dtype
    op = "Input" if node is None else node.op
    label = tensor if node is None else node.label
    moved, sampled = op in _MOVES, op == "Input" or op in _ARITHMETIC
    if dtype in _BITS and held:
        low, high = held[0].bounds()
        if not (np.isfinite((low, high)).all() and low < high):
            return None  # a scale that is none is told as a defect of its own
        return Layer(
            matched, tensor, CODES, label, op, low=low, high=high, dtype=dtype, sampled=sampled or op == "tfl.quantize",
            moved=moved,
        )  # fmt: skip
    # What DEQUANTIZE makes says what its codes said, and an input in floating point is the reference's own.
    if dtype not in _FLOATS or node is None or moved or op in _QUANTIZING:
        return None
    return Layer(matched, tensor, VALUES, label, op, dtype=dtype, sampled=sampled)


def _with_channels(layer: Layer, reference: StaticModel, candidate: StaticModel) -> Layer:
    """The layer with its shape, and with its channels where both files declare the same of them."""
    ours, theirs = reference.graph.types[layer.reference].shape, candidate.graph.types[layer.candidate].shape
    if ours is None or theirs is None:
        return layer
    layer = replace(layer, shape=tuple("?" if size is None else size for size in ours))
    if layer.op not in _CHANNELS or layer.moved or len(ours) < 2 or len(ours) != len(theirs):
        return layer
    size = ours[-1]
    known = isinstance(size, int) and size == theirs[-1] and 1 < size <= _MOST_CHANNELS
    return replace(layer, channel=len(ours) - 1) if known else layer


def _takes_over(
    node: Node | None, own: Sequence[Quantizer], quantizers: Mapping[str, Sequence[Quantizer]]
) -> bool:
    """Whether a tensor has the very scale of one that its operation reads, as pooling and reshaping give it."""
    ranges = [
        _range(q) for name in (node.inputs if node is not None else ()) for q in quantizers.get(name, ())
    ]
    return any(_range(q) in ranges for q in own)


def _range(quantizer: Quantizer) -> tuple[str, float, float]:
    return quantizer.dtype, *quantizer.bounds()


def _taps(layer: Layer, held: Sequence[Quantizer]) -> Iterator[Tap]:
    name = held[0].scale_name
    yield Tap(layer.reference, layer.low, layer.high, name, layer.node, _BITS[layer.dtype])


def _with_before(layers: Sequence[Layer], program: StaticModel) -> tuple[Layer, ...]:
    """The layers with the nearest ones above each."""
    places = {layer.candidate: place for place, layer in enumerate(layers)}
    inputs = [tensor.name for tensor in program.graph.inputs]
    nearest = {name: frozenset({places[name]} if name in places else ()) for name in inputs}
    before: dict[int, tuple[int, ...]] = {}
    for node in program.graph.nodes:
        above = frozenset[int]().union(*(nearest.get(name, frozenset()) for name in node.inputs))
        for name in node.outputs:
            place = places.get(name)
            nearest[name] = above if place is None else frozenset({place})
            if place is not None:
                before[place] = tuple(sorted(above))
    return tuple(replace(layer, before=before.get(place, ())) for place, layer in enumerate(layers))
