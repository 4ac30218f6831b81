"""Which operators of a file are in no specification that qgate knows."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.formats.model import StaticModel
from qgate.records import Measurement, Place


def unknown_operators(model: StaticModel, allowed: frozenset[str]) -> Iterator[Measurement]:
    """Operators that are in no specification that qgate knows, functions and opaque blobs among them."""
    import onnx

    standard = {(s.domain, s.name) for s in onnx.defs.get_all_schemas()}
    local = set(model.functions)
    seen: set[str] = set()
    for node in model.graph.all_nodes():
        key = f"{node.domain or 'ai.onnx'}::{node.op}"
        if key in seen or key in allowed:
            continue
        seen.add(key)
        if node.op == "EPContext":
            why = "it carries an opaque compiled blob"
        elif f"{node.domain}::{node.op}" in local:
            why = "it is a function that the file itself defines, which is not looked into"
        elif (node.domain, node.op) in standard or (node.domain == "com.microsoft" and node.op in CONTRIB):
            continue
        else:
            why = "no specification defines it"
        yield Measurement(
            name="artifact.operator", at=Place(node=node.label), value=key,
            detail={"message": f"operator {key} is not allowed: {why}", "operator": key},
        )  # fmt: skip


# Operators of ONNX Runtime's own domain that a quantizer or optimiser writes.
CONTRIB = frozenset(
    [
        "Attention",
        "BiasAdd",
        "BiasGelu",
        "BiasSoftmax",
        "DecoderMaskedMultiHeadAttention",
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "EmbedLayerNormalization",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "FusedMatMulActivation",
        "GatherBlockQuantized",
        "Gelu",
        "GemmFloat8",
        "GroupNorm",
        "GroupQueryAttention",
        "MatMulBnb4",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MultiHeadAttention",
        "NhwcConv",
        "NhwcMaxPool",
        "PackedAttention",
        "PackedMultiHeadAttention",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QLinearWhere",
        "QMoE",
        "QuantizeLinear",
        "QuickGelu",
        "RelativePositionBias",
        "RemovePadding",
        "RestorePadding",
        "RotaryEmbedding",
        "SkipGroupNorm",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "SimplifiedLayerNormalization",
        "TransposeMatMul",
        "Unique",
    ]
)
