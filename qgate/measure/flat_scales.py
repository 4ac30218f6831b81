"""Scales, zero points and axes of a LiteRT model that its kernels do not read: codes mean there what kernels take them for.

Sources: LiteRT's 8-bit quantization specification; for operations that it does not name what the kernels of LiteRT 2.3 do,
tried with and without XNNPACK (EMBEDDING_LOOKUP, BATCH_MATMUL, DEQUANTIZE, weights beside activations in floating point).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qgate.formats.model import Constant, Graph, Node, StaticModel
from qgate.quant.bias_units import off_unit
from qgate.quant.constants import Array
from qgate.records import Measurement, Place

_FLOATS = ("float", "float16", "bfloat16", "double")
_PLACES = ("int32", "int64", "bool")
"""Types of operands that say where to and how far."""


@dataclass(frozen=True)
class _Layer:
    """Operands of an operation with weights by their number; ``axis`` along which its kernel reads several scales."""

    axis: int
    source: int = 0
    weight: int = 1
    bias: int = 2


_LAYERS = {
    "tfl.conv_2d": _Layer(0),
    "tfl.depthwise_conv_2d": _Layer(3),
    "tfl.fully_connected": _Layer(0),
    "tfl.transpose_conv": _Layer(0, source=2, bias=3),
    "tfl.embedding_lookup": _Layer(0, bias=-1),
}
_RECURRENT = {
    f"tfl.{name}"
    for name in (
        "lstm", "rnn", "svdf", "unidirectional_sequence_lstm", "unidirectional_sequence_rnn", "bidirectional_sequence_lstm",
        "bidirectional_sequence_rnn",
    )
}  # fmt: skip
_PRODUCT = "tfl.batch_matmul"
_CARRIES = {
    f"tfl.{name}"
    for name in (
        "gather", "gather_nd", "reshape", "squeeze", "expand_dims", "transpose", "slice", "strided_slice", "split", "split_v",
        "pack", "unpack", "tile", "broadcast_to", "reverse_v2", "reverse_sequence", "pad", "padv2", "mirror_pad", "select",
        "select_v2", "space_to_depth", "depth_to_space", "batch_to_space_nd", "space_to_batch_nd", "resize_nearest_neighbor",
        "resize_bilinear", "max_pool_2d", "average_pool_2d", "reduce_max", "reduce_min", "maximum", "minimum", "topk_v2",
        "dynamic_update_slice", "scatter_nd", "matrix_diag", "matrix_set_diag", "concatenation", "cast",
    )
}  # fmt: skip
"""Operations that take codes for what they are and give them on: by the specification both sides have one scale, and not
every kernel asks for it."""
_ALIKE = 1e-6


def measure_flat_scales(candidate: StaticModel) -> Iterator[Measurement]:
    """``structure.defect`` (``ignored``) for every constant whose scale, zero point or axis its reader does not go by.

    Args:
        candidate: A LiteRT model.
    """
    graph = candidate.graph
    seen: set[tuple[int, str]] = set()
    for node in graph.nodes:
        for operand, name in enumerate(node.inputs):
            constant = graph.constants.get(name)
            if constant is None or constant.quantization is None or (node.position, name) in seen:
                continue
            if node.op.startswith("tfl.custom."):
                continue  # Somebody else's kernel: the operation itself is what is told.
            why = _objection(graph, node, operand, constant)
            if why:
                seen.add((node.position, name))
                yield _defect(node, name, why)
            elif node.op in _RECURRENT and constant.dtype in ("int32", "int64"):
                yield _uncompared(node, name)
        yield from _carried(graph, node)


def _carried(graph: Graph, node: Node) -> Iterator[Measurement]:
    """Activations whose codes an operation gives on, where the file gives these another scale or zero point."""
    if node.op not in _CARRIES:
        return
    for name in dict.fromkeys(filter(None, node.inputs)):
        coded = _parameters(graph, name)[0].size
        if name in graph.constants or (not coded and graph.types[name].dtype in _PLACES):
            continue
        why = _of_copy(graph, node, name)
        if why:
            yield _defect(node, name, why)


def _objection(graph: Graph, node: Node, operand: int, constant: Constant) -> str:
    """What the kernel does not take as the file says it; empty where there is nothing."""
    layer = _LAYERS.get(node.op)
    scale, zero, axis = _parameters(graph, constant.name)
    if layer is not None and operand == layer.bias:
        return _of_bias(graph, node, layer, constant)
    if constant.dtype in ("int32", "int64"):
        if node.op in (*_RECURRENT, "tfl.quantize") or (np.all(scale == 1) and not np.any(zero)):
            return ""
        return f"{node.op} takes its codes as they are, and reads no scale of them"
    if node.op == "tfl.dequantize":
        return ""
    if node.op in _CARRIES:
        return _of_copy(graph, node, constant.name)
    weight = (layer is not None and operand == layer.weight) or node.op in _RECURRENT
    floating = _dtype(graph, node, 0 if layer is None else layer.source) in _FLOATS
    if node.op == "tfl.embedding_lookup":
        floating = bool(node.outputs) and graph.types[node.outputs[0]].dtype in _FLOATS
        if not floating:
            return _of_copy(graph, node, constant.name)
    wanted = layer.axis if layer is not None and weight else None
    if node.op == _PRODUCT and operand == 1 and floating:
        weight, wanted = True, len(constant.shape) - (2 if node.attribute("adj_y") else 1)
    if scale.size > 1 and axis != wanted:
        if wanted is None:
            return f"{node.op} reads no more than one scale of it, and the file gives {scale.size}"
        return f"{node.op} reads its scales along axis {wanted}, and the file gives them along axis {axis}"
    if weight and constant.dtype == "uint8" and floating:
        return (
            f"{node.op} takes codes beside floating point for signed ones, and the file gives them as uint8"
        )
    if weight and constant.dtype != "uint8" and np.any(zero):
        at = int(np.argmax(zero != 0))
        return f"{node.op} takes no zero point of {constant.dtype} weights, and the file gives {zero[at]} (channel {at})"
    return ""


def _of_copy(graph: Graph, node: Node, source: str) -> str:
    given, kind = _meaning(graph, source), graph.types[source].dtype
    outputs = node.outputs[:1] if node.op == "tfl.topk_v2" else node.outputs  # the second are places
    for name in filter(None, outputs):
        made = graph.types[name].dtype
        if node.op == "tfl.concatenation" and kind == made == "uint8":
            continue  # The one type in which it brings its operands to the scale of what it makes.
        if not _is_one(given, _meaning(graph, name)):
            return f"{node.op} copies its codes into {name!r}, and the file gives them another scale or zero point there"
        if made != kind and node.op != "tfl.cast":
            return f"{node.op} copies its {kind} into {name!r}, and the file says that they are {made} there"
    return ""


def _meaning(graph: Graph, name: str) -> tuple[Array, Array]:
    """Scale and zero point; what has none is what its codes are."""
    scale, zero, _ = _parameters(graph, name)
    return (scale, zero) if scale.size else (np.ones(1), np.zeros(1))


def _is_one(given: tuple[Array, Array], made: tuple[Array, Array]) -> bool:
    """Whether two tensors have one scale and zero point, each for all its codes."""
    if any(each.size != 1 for each in (*given, *made)):
        return False
    return bool(np.allclose(given[0], made[0], rtol=_ALIKE, atol=0) and given[1][0] == made[1][0])


def _of_bias(graph: Graph, node: Node, layer: _Layer, bias: Constant) -> str:
    scale, zero, axis = _parameters(graph, bias.name)
    if np.any(zero):
        return (
            f"{node.op} takes no zero point of a bias, and the file gives {zero[int(np.argmax(zero != 0))]}"
        )
    if scale.size > 1 and (axis != 0 or len(bias.shape) != 1):
        return f"{node.op} reads a bias along its only axis, and the file gives its scales along axis {axis} of {len(bias.shape)}"
    names = [node.inputs[n] if n < len(node.inputs) else "" for n in (layer.source, layer.weight)]
    step, weight = (_parameters(graph, name)[0] for name in names)
    if not step.size or not weight.size:
        return f"{node.op} reads the bias in units of input scale times weight scale, and the file does not give both"
    found = off_unit(scale, step, weight)
    if found is None:
        return ""
    channel, ratio = found
    return (
        f"{node.op} reads the bias in units of input scale times weight scale, and the file gives its scale {ratio:.6g} times "
        f"that in channel {channel}"
    )


def _parameters(graph: Graph, name: str) -> tuple[Array, Array, int | None]:
    """Scales, zero points (as many) and the axis of a constant or an activation; of what has none nothing."""
    held = graph.constants.get(name)
    axis = None
    if held is not None:
        stored = held.quantization
        scale, zero = (None, None) if stored is None else (stored.scale, stored.zero_point)
        axis = None if stored is None else stored.axis
    else:
        scale, zero = (graph.constants.get(f"{name}.{part}") for part in ("scale", "zero_point"))
    steps = np.zeros(0) if scale is None else np.asarray(scale.load()).reshape(-1)
    zeros = np.zeros(steps.size, np.int64) if zero is None else np.asarray(zero.load()).reshape(-1)
    return steps, zeros, axis


def _dtype(graph: Graph, node: Node, operand: int) -> str:
    name = node.inputs[operand] if operand < len(node.inputs) else ""
    return graph.types[name].dtype if name in graph.types else ""


def _defect(node: Node, name: str, why: str) -> Measurement:
    return Measurement(
        name="structure.defect", at=Place(node=node.label, tensor=name), value="ignored",
        detail={"message": f"{name!r} is not what the file says of it: {why}", "operator": node.op},
    )  # fmt: skip


def _uncompared(node: Node, name: str) -> Measurement:
    return Measurement(
        name="structure.difference", at=Place(node=node.label, tensor=name), value="uncompared",
        detail={
            "message": f"{name!r}, a bias of {node.label}, is read in a unit that its file does not give: it was not compared",
            "rewritten": False, "candidate_operators": [node.op], "reference_operators": [],
        },
    )  # fmt: skip
