"""DEP: will it run where it is deployed, and compute the same there? (可部署性)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qgate.records import Finding, Severity
from qgate.rules.base import Rule, RuleContext, rule

_TYPES = (
    "[Working with Quantized Types](https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/"
    "work-quantized-types.html), TensorRT"
)
_OPERATORS = "[Supported ONNX Operators](https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md), onnx-tensorrt"
_STATIC = "Read from the graph, for targets that declare `tensorrt` in `runtimes`."


def _lint(runtime: str, kind: str) -> Callable[[RuleContext], Iterator[Finding]]:
    """A rule on one kind of fact; what a runtime is known to refuse is an error whatever the rule's weight."""

    def check(context: RuleContext) -> Iterator[Finding]:
        for found in context.all(f"deploy.{runtime}.{kind}"):
            count = found.number
            more = f" (and {count - 1:.0f} more nodes)" if count > 1 else ""
            yield context.finding(
                f"{found.detail.get('message', kind)}{more}",
                at=found.at,
                evidence={"nodes": found.detail.get("nodes", []), "count": count},
                severity=Severity.ERROR if found.detail.get("refused") is True else None,
            )

    return check


def _tensorrt(
    number: int, kind: str, title: str, why: str, source: str, remedy: str, weight: str = "error"
) -> Rule:
    severities = {
        "error": ("error", "error", "error"),
        "warning": ("warning", "warning", "note"),
        "note": ("note", "note", "note"),
    }[weight]
    return rule(
        f"DEP{number}",
        f"TensorRT: {title}",
        why=why,
        how=f"{_STATIC} Source: {source}.",
        remedy=remedy,
        severity=(severities[0], severities[1], severities[2]),
        check=_lint("tensorrt", kind),
    )


def _unread(context: RuleContext) -> Iterator[Finding]:
    for runtime in ("tensorrt", "openvino"):
        for found in context.all(f"deploy.{runtime}"):
            if found.value is None:
                yield context.finding(
                    f"nothing can be said about {runtime}: {found.not_measured}",
                    evidence={"runtime": runtime, "reason": found.not_measured},
                )


def _saturation(context: RuleContext) -> Iterator[Finding]:
    declared = context.declared.get("deploy") == "avx2"
    for found in context.all("deploy.avx2.saturating"):
        detail = found.detail
        yield context.finding(
            f"products of {found.number:.0f} layers can saturate on processors with AVX2 and no VNNI (here {detail.get('pairs')} "
            f"of {detail.get('of')} pairs of weights)",
            at=found.at,
            evidence={"layers": found.number, **detail},
            severity=None if declared else Severity.NOTE,
        )


_SYMMETRIC = (
    "Quantize symmetrically, in int8: with ONNX Runtime `quantize_static(..., activation_type=QuantType.QInt8, "
    'extra_options={"ActivationSymmetric": True, "QuantizeBias": False})`'
)
TENSORRT = (
    _tensorrt(
        101, "zero_point", "zero points are zero",
        "TensorRT computes value = code * scale and has no zero point; its parser refuses any other.",
        f'{_TYPES}, "symmetric quantization"', _SYMMETRIC,
    ),
    _tensorrt(
        102, "uint8", "activations are not quantized to uint8",
        "The parser accepts uint8 with a zero point of 0 and builds int8 of it: what was 128 to 255 saturates at 127, with no "
        "message.",
        f'{_TYPES}, "INT8 (signed 8-bit integer)"', _SYMMETRIC,
    ),
    _tensorrt(
        103, "type", "codes are int8, int4, E4M3 or E2M1",
        "Other types (uint4, int16, uint16, E5M2, uint8 that is dequantized) are refused by the parser, and int4 activations by "
        "the builder.",
        f'{_TYPES}, "Supported Data Types"', "Quantize weights and activations to int8, or weights alone to int4 with blocks",
    ),
    _tensorrt(
        104, "bias", "biases are float",
        "ONNX Runtime's quantizer stores biases as int32 with DequantizeLinear, which the parser refuses; TensorRT quantizes "
        "biases by itself.",
        f'{_OPERATORS}, "DequantizeLinear"', 'Keep biases in float: `extra_options={"QuantizeBias": False}` in ONNX Runtime',
    ),
    _tensorrt(
        105, "operator", "no operator computes with codes",
        "QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger and DynamicQuantizeLinear are not supported.",
        f"{_OPERATORS}, where they are marked N", "Export with QuantizeLinear and DequantizeLinear around float operators "
        "(`quant_format=QuantFormat.QDQ`), quantized statically",
    ),
    _tensorrt(
        106, "scale", "scales are finite and positive",
        "The parser refuses zero, negative numbers and NaN, and accepts infinity.",
        f'{_TYPES}, and {_OPERATORS}', "Calibrate again, and look at the layer that the scale belongs to",
    ),
    _tensorrt(
        107, "per_channel", "activations have one scale",
        "The manual allows scales by channel for weights alone; the parser accepts them on activations all the same.",
        f'{_TYPES}, "per-tensor" and "per-channel"', "Quantize activations per tensor",
    ),
    _tensorrt(
        108, "block", "int8 codes are not quantized in blocks",
        "Blocks are for int4 and E2M1 weights; the parser takes int8 blocks and no kernel is promised for them.",
        f'{_TYPES}, "block quantization"', "Quantize int8 weights per channel, or use int4 with blocks", "warning",
    ),
    _tensorrt(
        109, "axis", "weights have scales by output channel",
        "Scales along another axis cannot be moved behind the product, so that it runs in float.",
        f'{_TYPES}, "per-channel quantization"', "Quantize along axis 0 of Conv and the last axis of MatMul", "warning",
    ),
    _tensorrt(
        110, "one_side", "both operands of a product are quantized",
        "With one of them in float TensorRT dequantizes the other and computes in float: smaller, and no faster.",
        f'{_TYPES}, "explicit quantization"', "Quantize the other operand as well, or leave both in float", "warning",
    ),
    _tensorrt(
        111, "nbits", "weights of four bits are stored with DequantizeLinear",
        "MatMulNBits is ONNX Runtime's; the parser takes it with a float16 activation alone.",
        f"{_OPERATORS}", "Export int4 with DequantizeLinear (`quant_format=QuantFormat.QDQ`)", "warning",
    ),
    _tensorrt(
        112, "opset", "the opset is one that the parser documents",
        "Operators of other versions may mean something else than the parser takes them for.",
        f'{_OPERATORS}, "opset 9" to the latest', "Export for an opset from 9 to 25", "note",
    ),
    _tensorrt(
        113, "codes", "codes are read by DequantizeLinear alone",
        "Quantization is explicit: codes that Cast and Mul turn into numbers are refused when the engine is built.",
        f'{_TYPES}, "explicit quantization"', "Export weights with DequantizeLinear",
    ),
)  # fmt: skip
RULES = (
    *TENSORRT,
    rule(
        "DEP200",
        "A declared runtime can read the candidate's format",
        why="What a runtime never saw must not pass for it.",
        how="The file's format, for each runtime in `runtimes`.",
        remedy="Export the candidate to ONNX, or take the runtime from `runtimes`",
        check=_unread,
    ),
    rule(
        "DEP211",
        "OpenVINO: no codes of 16 bits",
        why="int16 and uint16 QuantizeLinear give other numbers in OpenVINO with no message, or end the process.",
        how="Read from the graph, for targets that declare `openvino` in `runtimes`; seen with OpenVINO 2026.4 on a CPU.",
        remedy="Quantize activations to 8 bits for OpenVINO",
        check=_lint("openvino", "int16"),
    ),
    rule(
        "DEP212",
        "OpenVINO: no operator computes with codes",
        why="OpenVINO converts QGemm and QLinearConv with a scale for each channel not at all.",
        how="Read from the graph, for targets that declare `openvino` in `runtimes`; seen with OpenVINO 2026.4.",
        remedy="Export with QuantizeLinear and DequantizeLinear (`quant_format=QuantFormat.QDQ`)",
        severity=("warning", "warning", "note"),
        check=_lint("openvino", "operator"),
    ),
    rule(
        "DEP301",
        "Integer products do not saturate on AVX2",
        why="The same int8 file gives other answers on processors with AVX2 and no VNNI: sums of two products saturate in 16 "
        "bits (40.6 dB became 24.9 dB in a measured case). qgate itself runs with `session.x64quantprecision=1`, which "
        "avoids it.",
        how="Pairs (a, b) of neighbouring int8 weights with 255 (max(a,0) + max(b,0)) > 32767, or the negative case; a layer "
        "counts where there is one. It blocks where the policy declares `deploy: avx2`, and is a note else. Source: "
        "[reduce_range](https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html), ONNX Runtime.",
        remedy="Quantize weights to 7 bits (`reduce_range=True`), or set `session.x64quantprecision` to 1 where the model runs",
        check=_saturation,
    ),
)
