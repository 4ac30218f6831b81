"""Brings the float view to the form that converters bring graphs to: biases and BatchNorm folded in.

Both models go through the same folds, so a reference whose BatchNorm was folded by its quantizer still
compares node by node, and its weights compare against the folded ones.
"""

from __future__ import annotations

import numpy as np

from qgate.quant.constants import Array, ConstantValue, View, computed
from qgate.quant.floatgraph import FloatGraph, FloatNode

_CHANNEL_AXIS = {"Conv": 1, "ConvTranspose": 1, "MatMul": -1}


def simplify(graph: FloatGraph, *, fold_norms: bool = True) -> None:
    """Folds biases, BatchNorm and per-channel scales into the layers before them, in place."""
    readers = graph.consumers()
    kept = {ref for _, ref in graph.outputs}
    absorbed: set[int] = set()
    for node in graph.nodes:
        if node.op not in _CHANNEL_AXIS or len(node.inputs) < 2 or node.inputs[1] not in graph.constants:
            continue
        # A layer that absorbs what follows makes its tensor from then on, which the same operations read.
        while node.outputs[0] not in kept and not node.implicit and not _clips(graph, node):
            following = readers.get(node.outputs[0], [])
            if len(following) != 1 or (not fold_norms and following[0].op != "Add"):
                break
            if not _absorb(graph, node, following[0]):
                break
            absorbed.add(id(following[0]))
    graph.nodes = [node for node in graph.nodes if id(node) not in absorbed]
    _drop_neutral(graph)
    graph.prune()


def _clips(graph: FloatGraph, node: FloatNode) -> bool:
    """Whether a quantizer stands between the two that a fold may not cross.

    Quantizers stand in for the Relu that converters drop when the code range begins at zero; a bias or a
    BatchNorm after such a one is none of the layer's.
    """
    return any(q.bounds()[0] >= 0 for q in graph.quantizers.get(node.outputs[0], []))


def _absorb(graph: FloatGraph, node: FloatNode, after: FloatNode) -> bool:
    """Folds the operation after a layer into it, if it is one that folds."""
    folded: tuple[Array | None, ConstantValue | None] | None
    if after.op == "BatchNormalization" and after.inputs[0] == node.outputs[0]:
        folded = _batch_norm(graph, after)
    elif after.op in ("Add", "Mul") and len(after.inputs) == 2:
        folded = _per_channel(graph, node, after)
    else:
        return False
    if folded is None:
        return False
    scale, shift = folded
    channels = _channels(graph.constants[node.inputs[1]], node)
    if channels is None or any(v is not None and v.size not in (1, channels) for v in (scale, shift)):
        return False
    if not _bias_is_per_channel(graph, node, channels):
        return False
    if isinstance(shift, ConstantValue) and (scale is not None or _bias(graph, node) is not None):
        shift = computed(shift.name, shift.values())
    _apply(graph, node, scale, shift, channels)
    node.stages.setdefault(node.op, node.outputs[0])
    node.stages[after.op] = after.outputs[0]
    _move_quantizers(graph, node.outputs[0], after.outputs[0])
    node.outputs[0] = after.outputs[0]
    return True


def _move_quantizers(graph: FloatGraph, old: str, new: str) -> None:
    """A quantizer between a layer and its bias still is one of the layer's output."""
    for quantizer in graph.quantizers.pop(old, []):
        graph.quantizers.setdefault(new, []).insert(0, quantizer)


def _batch_norm(graph: FloatGraph, after: FloatNode) -> tuple[Array, ConstantValue] | None:
    held = [graph.constants.get(name) for name in after.inputs[1:5]]
    if len(held) != 4 or after.attributes.get("training_mode", 0):
        return None
    values = [v.values().astype(np.float64).reshape(-1) for v in held if v is not None]
    if len(values) != 4:
        return None
    gamma, beta, mean, variance = values
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + float(after.attributes.get("epsilon", 1e-5)))
        shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return None
    name = held[1].name if held[1] is not None else after.label
    return scale, computed(name, shift)


def _per_channel(
    graph: FloatGraph, node: FloatNode, after: FloatNode
) -> tuple[Array | None, ConstantValue | None] | None:
    other = after.inputs[1] if after.inputs[0] == node.outputs[0] else after.inputs[0]
    value = graph.constants.get(other)
    if value is None or other == node.outputs[0]:
        return None
    channels = _channels(graph.constants[node.inputs[1]], node)
    if channels is None or not _along_channels(value.shape, channels, _CHANNEL_AXIS[node.op], node, graph):
        return None
    flat = value.viewed(View(shape=(value.size,)), (value.size,))
    if after.op == "Add":
        return None, flat
    # A product with a quantized constant stays: its rounding belongs to no weight.
    return None if value.is_quantized else (flat.values().astype(np.float64), None)


def _along_channels(
    shape: tuple[int, ...], channels: int, axis: int, node: FloatNode, graph: FloatGraph
) -> bool:
    size = int(np.prod(shape, dtype=np.int64)) if shape else 1
    if size == 1:
        return node.op == "MatMul" or channels == 1
    if size != channels:
        return False
    if axis == -1:
        return shape[-1] == channels
    rank = len(graph.constants[node.inputs[1]].shape)
    return len(shape) >= rank - 1 and shape[len(shape) - (rank - 1)] == channels


def _channels(weight: ConstantValue, node: FloatNode) -> int | None:
    if node.op == "MatMul":
        return weight.shape[-1] if len(weight.shape) == 2 else None
    if len(weight.shape) < 3:
        return None
    if node.op == "Conv":
        return weight.shape[0]
    return weight.shape[1] * int(node.attributes.get("group", 1))


def _bias(graph: FloatGraph, node: FloatNode) -> ConstantValue | None:
    return graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None


def _bias_is_per_channel(graph: FloatGraph, node: FloatNode, channels: int) -> bool:
    """Whether a bias, if there is one, is constant and holds one value for each channel."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return True
    bias = graph.constants.get(node.inputs[2])
    return bias is not None and bias.size == channels and bias.shape[-1] == channels


def _apply(
    graph: FloatGraph, node: FloatNode, scale: Array | None, shift: ConstantValue | None, channels: int
) -> None:
    weight = graph.constants[node.inputs[1]]
    bias = _bias(graph, node)
    key = node.outputs[0]
    if scale is not None:
        per_channel = np.broadcast_to(scale, (channels,))
        graph.constants[f"{key}|weight"] = weight.times(_weight_factor(weight, node, per_channel))
        node.inputs[1] = f"{key}|weight"
        if bias is not None:
            bias = bias.times(per_channel)
    if shift is not None and bias is not None:
        base = bias.values().astype(np.float64).reshape(-1) + shift.values().astype(np.float64).reshape(-1)
        bias = computed(bias.name, base.astype(np.float32))
    elif shift is not None:
        bias = shift
    if bias is not None:
        graph.constants[f"{key}|bias"] = bias
        node.inputs[2:] = [f"{key}|bias"]


def _weight_factor(weight: ConstantValue, node: FloatNode, scale: Array) -> Array:
    if node.op == "MatMul":
        return scale.reshape(1, -1)
    if node.op == "Conv":
        return scale.reshape(-1, *(1,) * (len(weight.shape) - 1))
    group = int(node.attributes.get("group", 1))
    spread = np.repeat(scale.reshape(group, -1), weight.shape[0] // group, axis=0)
    return spread.reshape(weight.shape[0], weight.shape[1], *(1,) * (len(weight.shape) - 2))


def _drop_neutral(graph: FloatGraph) -> None:
    """Takes out operations that change nothing: a transposition in place, a padding by nothing."""
    replaced: dict[str, str] = {}
    kept: list[FloatNode] = []
    for node in graph.nodes:
        if _is_neutral(node):
            source = replaced.get(node.inputs[0], node.inputs[0])
            replaced[node.outputs[0]] = source
            _move_quantizers(graph, node.outputs[0], source)
        else:
            kept.append(node)
    graph.nodes = kept
    if replaced:
        graph.rename(replaced)


def _is_neutral(node: FloatNode) -> bool:
    if node.op == "Transpose":
        perm = node.attributes.get("perm")
        return isinstance(perm, tuple) and perm == tuple(range(len(perm)))
    if node.op == "Pad" and len(node.inputs) == 1:
        pads = node.attributes.get("pads")
        return isinstance(pads, tuple) and not any(pads)
    return node.op in ("Concat", "Sum", "Max", "Min") and len(node.inputs) == 1
