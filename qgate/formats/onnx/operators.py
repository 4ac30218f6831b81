"""Which operators have a meaning that a specification gives, in which version; the installed onnx knows."""

from __future__ import annotations

import functools
from collections.abc import Mapping

# Operators of ONNX Runtime's own domain that a quantizer or optimiser writes.
_CONTRIB = """
    Attention BiasAdd BiasGelu BiasSoftmax BiasSplitGelu DecoderMaskedMultiHeadAttention DequantizeLinear
    DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul
    FusedMatMulActivation GatherBlockQuantized Gelu GemmFloat8 GroupNorm GroupQueryAttention LongformerAttention
    MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight MatMulBnb4 MatMulFpQ4 MatMulInteger16
    MatMulIntegerToFloat MatMulNBits MoE MultiHeadAttention NhwcConv NhwcFusedConv NhwcMaxPool PackedAttention
    PackedMultiHeadAttention QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat
    QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid
    QLinearSoftmax QLinearWhere QMoE QOrderedAttention QOrderedGelu QOrderedLayerNormalization
    QOrderedLongformerAttention QOrderedMatMul QuantizeLinear QuickGelu RelativePositionBias RemovePadding
    RestorePadding RotaryEmbedding SimplifiedLayerNormalization SkipGroupNorm SkipLayerNormalization
    SkipSimplifiedLayerNormalization SparseAttention TransposeMatMul Unique
"""
CONTRIB = frozenset(_CONTRIB.split())

# ONNX Runtime registers this one in the standard domain, and its optimiser writes it there.
_AS_STANDARD = frozenset({"SimplifiedLayerNormalization"})
_OPAQUE = frozenset({"EPContext", "Snpe", "TRTEngineOp", "PyOp", "PythonOp", "CustomOp", "ATen", "Fallback"})
_DOMAINS: Mapping[str, str] = {
    "com.microsoft.nchwc": "it is of a layout internal to ONNX Runtime, which differs by processor",
    "com.ms.internal.nhwc": "it is of a layout internal to ONNX Runtime, which differs by processor",
    "ai.onnx.preview": "its specification is a preview that may change",
    "ai.onnx.preview.training": "it is for training",
    "ai.onnx.training": "it is for training",
    "trt.plugins": "it is native code of a TensorRT plugin",
}


def is_reserved(domain: str) -> bool:
    """Whether operators of this domain have a meaning already, so that no function may give them one."""
    return domain == "" or domain.split(".")[:2] in (["ai", "onnx"], ["com", "microsoft"], ["com", "ms"])


def why_unknown(domain: str, op: str, opsets: Mapping[str, int]) -> str:
    """Why an operator has no meaning that can be checked; empty where a specification gives it one.

    Args:
        domain: Its domain, empty for the standard one.
        op: Its name.
        opsets: Versions that the model imports, by domain.
    """
    if op in _OPAQUE:
        return "it carries an opaque compiled blob or calls code outside of the model"
    if domain in _DOMAINS:
        return _DOMAINS[domain]
    if domain == "com.microsoft" and op in CONTRIB:
        return ""
    if domain == "" and op in _AS_STANDARD:
        return ""
    if (domain, op) not in _first_versions():
        return "no specification defines it"
    version = opsets.get(domain)
    if version is None:
        return f"the model imports no version of {domain or 'ai.onnx'}"
    since = _since(domain, op, version)
    if since is None:
        return f"version {version} of {domain or 'ai.onnx'} does not have it"
    return ""


def same_meaning(domain: str, op: str, one: int, two: int) -> bool:
    """Whether an operator is the same in two versions of its domain."""
    if one == two:
        return True
    first, second = _since(domain, op, one), _since(domain, op, two)
    return first is not None and first == second


@functools.cache
def _first_versions() -> dict[tuple[str, str], int]:
    import onnx

    found: dict[tuple[str, str], int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = schema.domain, schema.name
        found[key] = min(schema.since_version, found.get(key, schema.since_version))
    return found


@functools.cache
def _since(domain: str, op: str, version: int) -> int | None:
    """The version that an operator's meaning dates from; None where it has none, or none any more."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op, version, domain)
        # One that was corrected in a later version kept its meaning in this one: GroupNormalization of 18.
        gone = schema.deprecated and onnx.defs.get_schema(op, domain).deprecated
    except onnx.defs.SchemaError:
        return None
    return None if gone else int(schema.since_version)
