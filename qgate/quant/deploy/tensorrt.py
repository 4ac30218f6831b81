"""What TensorRT refuses or reads differently in an ONNX file, by NVIDIA's documents and its own parser.

The documents are "Working with Quantized Types" of the TensorRT manual and the operator table of onnx-tensorrt; how each
fact compares with the parser's verdict is the truth table of docs/runtimes.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qgate.formats.model import Node, StaticModel
from qgate.quant.deploy.fact import Fact, gathered
from qgate.quant.deploy.scopes import DEQUANTIZE, QUANTIZE, Scope, is_op, operand, scopes

OPSETS = (9, 25)
"""Versions of the standard operators that the parser documents."""

_CODES = {"int8", "int4", "float8e4m3fn", "float4e2m1"}
_WEIGHT_ONLY = {"int4", "float4e2m1"}
_INTEGER_OPERATORS = {
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear",
}  # fmt: skip
_MICROSOFT = "com.microsoft"
_MICROSOFT_INTEGER = {
    "QGemm", "QAttention", "QEmbedLayerNormalization", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM", "ConvIntegerToFloat",
}  # fmt: skip
_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
_SELECTS = frozenset({"MaxPool", "Relu", "Clip", "Slice", "Pad", "Concat"})
_KEPT = {"int8", "int4", "float8e4m3fn"}


def lint(model: StaticModel) -> list[Fact]:
    """Everything that TensorRT would not take as it is meant, one fact of each kind.

    Kinds: ``zero_point``, ``uint8``, ``type``, ``bias``, ``operator``, ``scale``, ``per_channel``, ``block``, ``axis``,
    ``one_side``, ``nbits``, ``codes``, ``opset``.

    Args:
        model: The candidate, an ONNX model.
    """
    return gathered(_facts(model))


def _facts(model: StaticModel) -> Iterator[Fact]:
    for scope in scopes(model):
        for node in scope.graph.nodes:
            if is_op(node, QUANTIZE, DEQUANTIZE):
                yield from _quantizer(scope, node)
            elif is_op(node, *_PRODUCTS):
                yield from _sides(scope, node)
            else:
                yield from _operator(scope, node)
        yield from _bare_codes(scope)
    version = model.opsets.get("", model.opsets.get("ai.onnx", 0))
    if version and not OPSETS[0] <= version <= OPSETS[1]:
        yield Fact("opset", f"operators of version {version}; documented are {OPSETS[0]} to {OPSETS[1]}")


def _operator(scope: Scope, node: Node) -> Iterator[Fact]:
    contrib = node.domain == _MICROSOFT and (node.op.startswith("QLinear") or node.op in _MICROSOFT_INTEGER)
    if contrib or is_op(node, *_INTEGER_OPERATORS):
        yield Fact("operator", f"{node.op} is no operator of TensorRT's", node.label)
    elif node.domain == _MICROSOFT and node.op == "MatMulNBits":
        refused = scope.dtype(operand(node, 0)) in ("float", "bfloat16")
        more = ", and its activation is float32, for which the parser refuses it" if refused else ""
        yield Fact("nbits", f"MatMulNBits is ONNX Runtime's own operator{more}", node.label, refused=refused)


def _quantizer(scope: Scope, node: Node) -> Iterator[Fact]:
    """What is wrong with one QuantizeLinear or DequantizeLinear; what its partner tells already is left out."""
    source, step, zero = (operand(node, i) for i in range(3))
    quantizes = node.op == QUANTIZE
    partner = None if quantizes else scope.maker(source, QUANTIZE)
    constant = source in scope.constants or (partner is not None and operand(partner, 0) in scope.constants)
    dtype = scope.code_type(node) if quantizes else scope.dtype(source)
    if partner is None:
        yield from _type(node, source, dtype, constant=constant, quantizes=quantizes)
    if partner is None or operand(partner, 2) != zero:
        yield from _zero(scope, node, zero)
    if partner is None or operand(partner, 1) != step:
        yield from _scale(scope, node, step)
        yield from _granularity(scope, node, step, dtype, constant=constant)


def _type(node: Node, source: str, dtype: str, *, constant: bool, quantizes: bool) -> Iterator[Fact]:
    if dtype == "int32" and not quantizes:
        yield Fact("bias", f"{source!r} is int32 and dequantized; biases must be float", node.label, source)
    elif dtype == "uint8" and quantizes and not constant:
        how = "" if operand(node, 2) else ", which ONNX takes where there is no zero point"
        message = (
            f"{source!r} is quantized to uint8{how}; TensorRT makes int8 of it, and codes above 127 saturate"
        )
        yield Fact("uint8", message, node.label, source)
    elif dtype and dtype not in _CODES:
        yield Fact("type", f"codes of type {dtype}, which TensorRT does not have", node.label, source)
    elif dtype == "int4" and not constant:
        yield Fact("type", f"{source!r} is quantized to int4, which is for weights alone", node.label, source)


def _zero(scope: Scope, node: Node, zero: str) -> Iterator[Fact]:
    values = scope.values(zero) if zero else None
    if zero and values is None:
        yield Fact("zero_point", "its zero point is computed while the model runs", node.label, zero)
    elif values is not None and np.any(values != 0):
        first = float(values[np.flatnonzero(values != 0)[0]])
        yield Fact(
            "zero_point", f"a zero point of {first:g}; quantization must be symmetric", node.label, zero
        )


def _scale(scope: Scope, node: Node, step: str) -> Iterator[Fact]:
    values = scope.values(step)
    if values is None or values.dtype.kind != "f":
        return
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        first = float(values[np.flatnonzero(wrong)[0]])
        yield Fact("scale", f"a scale of {first:g}; scales are finite and positive", node.label, step)


def _granularity(scope: Scope, node: Node, step: str, dtype: str, *, constant: bool) -> Iterator[Fact]:
    held = scope.constants.get(step)
    if held is None or held.size <= 1:
        return
    if int(node.attribute("block_size", 0) or 0) > 0:
        if dtype in ("int8", "uint8"):
            yield Fact("block", "int8 codes with a scale for each block", node.label, step)
    elif not constant:
        yield Fact("per_channel", f"an activation with {held.size} scales; it can have one", node.label, step)
    elif dtype not in _WEIGHT_ONLY:
        yield from _axis(scope, node, step)


def _axis(scope: Scope, node: Node, step: str) -> Iterator[Fact]:
    """Weights with scales along an axis that is not the output channels of the operation that reads them."""
    if node.op == QUANTIZE:
        return
    codes = scope.constants.get(operand(node, 0))
    rank = len(codes.shape) if codes is not None else 0
    axis = int(node.attribute("axis", 1) or 0)
    axis = axis % rank if rank else axis
    for reader, at in _weight_readers(scope, node.outputs[0], axis):
        wanted = _output_channels(reader, rank)
        if rank and at != wanted:
            message = f"the weight of {reader.label!r} has scales along axis {at}; its output channels are axis {wanted}"
            yield Fact("axis", message, node.label, step)


def _weight_readers(scope: Scope, name: str, axis: int) -> Iterator[tuple[Node, int]]:
    """Products that read a tensor as their weight, through transpositions, with where the axis has come to."""
    for reader in scope.readers.get(name, ()):
        if is_op(reader, *_PRODUCTS) and operand(reader, 1) == name:
            yield reader, axis
        elif is_op(reader, "Transpose") and reader.attribute("perm"):
            perm = tuple(reader.attribute("perm"))
            for after in scope.readers.get(reader.outputs[0], ()) if axis in perm else ():
                if is_op(after, *_PRODUCTS) and operand(after, 1) == reader.outputs[0]:
                    yield after, perm.index(axis)


def _output_channels(node: Node, rank: int) -> int:
    if node.op == "Conv" or (node.op == "Gemm" and node.attribute("transB", 0)):
        return 0
    return 1 if node.op == "ConvTranspose" else rank - 1


def _sides(scope: Scope, node: Node) -> Iterator[Fact]:
    """A product of which one operand is dequantized and the other is not: it runs in float."""
    data, weight = (scope.maker(operand(node, i), DEQUANTIZE, through=_SELECTS) for i in (0, 1))
    if (data is None) == (weight is None):
        return
    if weight is not None and scope.dtype(operand(weight, 0)) in _WEIGHT_ONLY:
        return
    lacking = "activation" if data is None else "weight"
    yield Fact("one_side", f"its {lacking} is not quantized, so that it runs in float", node.label)


def _bare_codes(scope: Scope) -> Iterator[Fact]:
    """Constant codes that something other than DequantizeLinear reads: they count as a float's codes to TensorRT."""
    for name, readers in scope.readers.items():
        held = scope.constants.get(name)
        if held is None or held.dtype not in _KEPT or held.size <= 1:
            continue
        for node in readers:
            known = is_op(node, QUANTIZE, DEQUANTIZE, *_INTEGER_OPERATORS) or node.domain == _MICROSOFT
            if not known:
                message = f"{node.op} reads the {held.dtype} codes {name!r}; only DequantizeLinear may"
                yield Fact("codes", message, node.label, name)
