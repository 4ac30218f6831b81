"""Other recipes for an export: symmetric int8, as TensorRT asks for, and activations that are not rounded at all.

Nothing is calibrated anew. A quantizer's range is what the model records: the numbers that its least and its greatest code
stand for. The symmetric one holds both ends, ``scale = max(|low|, |high|) / 127`` (NVIDIA, "Working with Quantized Types",
symmetric quantization), so that its step is at most 2.01 times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.export.graph import CODES, PRODUCTS, Editable, RecipeError, attribute, label

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 127
"""Greatest code of int8; weights use no -128, as TensorRT's own do."""

_NEVER_NEGATIVE = {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp"}
_CARRIES = {
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "Flatten", "Reshape",
    "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather", "Identity", "Dropout", "Resize", "Concat", "Split", "Expand",
}  # fmt: skip
_OTHER = {
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "MatMulNBits", "QLinearAdd",
}  # fmt: skip

Ranges = Mapping[str, tuple[float, float]]
"""Least and greatest number that are needed of a quantizer's range, by the tensor of its codes."""


def unrounded(serialized: bytes) -> bytes:
    """The model whose activations are not quantized; weights and biases stay the numbers that their codes stand for.

    Each tensor that was dequantized keeps its name.

    Raises:
        RecipeError: The model is not of Q/DQ pairs.
    """
    edited = Editable(serialized)
    for node in _activations(edited):
        for reader in edited.dequantized(node.output[0]):
            reader.op_type = "Identity"
            del reader.input[:], reader.attribute[:]
            reader.input.append(node.input[0])
    edited.index()
    return edited.finished()


def symmetric(serialized: bytes, ranges: Ranges | None = None) -> bytes:
    """The model in symmetric int8: one scale and zero point 0 for each activation, weights by output channel, biases float.

    Codes of weights that are int8 with zero points 0 stay; others are quantized anew from what they stand for. Where a range
    that began at zero cut off negative numbers and nothing before it did, a Relu does now.

    Args:
        serialized: The model.
        ranges: Narrower ranges than the recorded ones.

    Raises:
        RecipeError: It cannot be written so.
    """
    edited = Editable(serialized)
    for node in list(edited.graph.node):
        if node.op_type in _OTHER:
            raise RecipeError(f"{label(node)} is {node.op_type}, which computes on codes")
        if node.op_type == "DequantizeLinear":
            codes = edited.constant(node.input[0])
            if codes is not None:
                _weight(edited, node, codes)
            elif _quantizer(edited, node.input[0]) is None:
                raise RecipeError(f"{label(node)} dequantizes what nothing in the model quantized")
    ends = {node.output[0]: _range(edited, node) for node in _activations(edited)}
    for node in _activations(edited):
        _activation(edited, node, ends, ranges or {})
    edited.index()
    return edited.finished()


def _activations(edited: Editable) -> list[Any]:
    return [
        node
        for node in edited.graph.node
        if node.op_type == "QuantizeLinear" and edited.constant(node.input[0]) is None
    ]


def _quantizer(edited: Editable, codes: str) -> Any:
    """The QuantizeLinear that codes come from, through casts; None where there is none."""
    node = edited.made.get(codes)
    while node is not None and node.op_type in ("Cast", "Identity"):
        node = edited.made.get(node.input[0])
    return node if node is not None and node.op_type == "QuantizeLinear" else None


def _range(edited: Editable, node: Any) -> tuple[float, float]:
    found = edited.parameters(node, 1)
    if found is None:
        raise RecipeError(f"the scale of {label(node)} is computed while the model runs")
    scale, zero = found
    if scale.size != 1 or zero.size != 1:
        raise RecipeError(f"{label(node)} has a scale for each channel; an activation can have one")
    if zero.dtype.name not in CODES:
        raise RecipeError(f"{label(node)} makes codes of {zero.dtype.name}")
    least, greatest = CODES[zero.dtype.name]
    step, at = float(scale.item()), int(zero.item())
    if zero.dtype == np.int8 and at == 0:
        least = -greatest  # it is symmetric, and keeps its scale
    return (least - at) * step, (greatest - at) * step


def _activation(edited: Editable, node: Any, ends: Mapping[str, tuple[float, float]], ranges: Ranges) -> None:
    codes = node.output[0]
    low, high = ends[codes]
    readers = edited.dequantized(codes)
    for reader in readers:
        if _step(edited, reader) != _step(edited, node):
            raise RecipeError(f"{label(reader)} reads the codes {codes!r} by another scale")
    if low == 0 and not _never_negative(edited, node.input[0], ends):
        _rectify(edited, node)
    least, greatest = ranges.get(codes, (low, high))
    scale = np.float32(max(abs(max(least, low)), abs(min(greatest, high))) / MOST)
    if not (np.isfinite(scale) and scale > 0):
        raise RecipeError(f"the range of {label(node)} is empty")
    step, zero = (
        edited.hold(f"{codes}_scale", np.array(scale)),
        edited.hold(f"{codes}_zero_point", np.array(0, np.int8)),
    )
    for each, source in ((node, node.input[0]), *((reader, codes) for reader in readers)):
        _reread(each, source, step, zero)


def _step(edited: Editable, node: Any) -> tuple[float, ...] | None:
    found = edited.parameters(node, 1)
    return None if found is None else tuple(float(each) for part in found for each in part.reshape(-1))


def _reread(node: Any, source: str, step: str, zero: str) -> None:
    """Gives a quantizing node other operands, and no axis."""
    del node.input[:], node.attribute[:]
    node.input.extend((source, step, zero))


def _rectify(edited: Editable, node: Any) -> None:
    from onnx import helper

    name = f"{node.output[0]}_positive"
    place = next(i for i, each in enumerate(edited.graph.node) if each.output[:1] == node.output[:1])
    edited.graph.node.insert(place, helper.make_node("Relu", [node.input[0]], [name], name=f"{name}_relu"))
    node.input[0] = name


def _never_negative(edited: Editable, tensor: str, ends: Mapping[str, tuple[float, float]]) -> bool:
    """Whether what makes a tensor tells that it is never below zero."""
    todo, seen = [tensor], set()
    while todo:
        name = todo.pop()
        node = edited.made.get(name)
        if name in seen:
            continue
        seen.add(name)
        if node is None:
            held = edited.constant(name)
            if held is None or (held < 0).any():
                return False
        elif node.op_type == "DequantizeLinear":
            quantizer = _quantizer(edited, node.input[0])
            if quantizer is None or ends.get(quantizer.output[0], (-1.0, 0.0))[0] < 0:
                return False
        elif node.op_type == "Clip":
            least = edited.constant(node.input[1]) if len(node.input) > 1 and node.input[1] else None
            if least is None or float(least.reshape(-1)[0]) < 0:
                return False
        elif node.op_type == "Resize" and attribute(node, "mode") == b"cubic":
            return False  # it swings below what it runs through
        elif node.op_type in _CARRIES:
            todo += list(node.input) if node.op_type == "Concat" else list(node.input[:1])
        elif node.op_type not in _NEVER_NEGATIVE:
            return False
    return True


def _weight(edited: Editable, node: Any, codes: NDArray[Any]) -> None:
    """A constant that is dequantized: a weight stays in codes, all else becomes float."""
    found = edited.parameters(node, codes.ndim)
    if found is None:
        raise RecipeError(f"the scale of {label(node)} is computed while the model runs")
    scale, zero = found
    name = node.output[0]
    values = ((codes.astype(np.float64) - zero.astype(np.float64)) * scale).astype(np.float32)
    axis = _channels(edited, name, codes.ndim)
    if axis is None:
        held = edited.hold(f"{name}_values", values)
        for reader, place in edited.readers[name]:
            reader.input[place] = held
        if name in edited.ends:
            raise RecipeError(f"its output {name!r} is a constant")
        return
    if codes.dtype != np.int8 or zero.any():
        others = tuple(each for each in range(codes.ndim) if each != axis)
        scale = np.abs(values).max(axis=others, keepdims=True) / np.float32(MOST)
        scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
        codes = np.rint(values / scale).clip(-MOST, MOST).astype(np.int8)
    along = [place for place, size in enumerate(scale.shape) if size > 1]
    flat = scale.reshape(-1) if along else scale.reshape(())
    _reread(node, edited.hold(f"{name}_codes", codes), edited.hold(f"{name}_scale", flat),
            edited.hold(f"{name}_zero_point", np.zeros(flat.shape, np.int8)))  # fmt: skip
    if along:
        from onnx import helper

        node.attribute.append(helper.make_attribute("axis", along[0]))


def _channels(edited: Editable, tensor: str, rank: int) -> int | None:
    """The axis of a weight's output channels; None for what is no weight of a product.

    Raises:
        RecipeError: Readers disagree.
    """
    found = set()
    for node, place in edited.readers[tensor]:
        if node.op_type == "Transpose" and rank >= 2:
            order = attribute(node, "perm") or list(reversed(range(rank)))
            inner = _channels(edited, node.output[0], rank)
            found.add(None if inner is None else int(order[inner]))
        elif node.op_type in PRODUCTS and place == 1 and rank >= 2:
            found.add(_output_axis(node, rank))
        else:
            found.add(None)
    if len(found) > 1:
        raise RecipeError(f"the constant {tensor!r} is read in several ways")
    return next(iter(found), None)


def _output_axis(node: Any, rank: int) -> int:
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB")):
        return 0
    return 1 if node.op_type == "ConvTranspose" else rank - 1
