"""DEP1xx: what TensorRT takes, by NVIDIA's documents and by its own parser and builder (可部署性)."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity, Verdict
from qgate.rules.base import Param, Rule, RuleContext, rule
from qgate.rules.deployability import lint_rule

_TYPES = (
    "[Working with Quantized Types](https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/"
    "work-quantized-types.html), TensorRT"
)
_OPERATORS = "[Supported ONNX Operators](https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md), onnx-tensorrt"
_STATIC = "Read from the graph, for targets that declare `tensorrt` in `runtimes`."


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
        check=lint_rule("tensorrt", kind),
    )


def _parsed(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("tensorrt.refused"):
        operator, what = found.detail.get("operator", ""), found.detail.get("what", "")
        yield context.finding(
            f"NVIDIA's parser refuses {operator or 'the model'} ({found.value}): {what}",
            at=found.at,
            evidence=found.detail,
        )
    for found in context.all("tensorrt.parsed"):
        if found.value is False and not context.all("tensorrt.refused"):
            yield context.finding("NVIDIA's parser refuses the model and gives no reason", at=found.at)
        elif found.value is None and found.detail.get("cause") == "failed":
            yield context.finding(
                f"NVIDIA's parser gave no verdict: {found.not_measured}", at=found.at, effect=Verdict.ERROR
            )


def _built(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("tensorrt.built"):
        if found.value is False:
            words = found.detail.get("words")
            said = "; ".join(map(str, words)) if isinstance(words, list | tuple) else ""
            yield context.finding(
                f"NVIDIA's engine builder refuses the model: {said}"[:600], at=found.at, evidence=found.detail
            )
        elif found.value is None:
            yield context.finding(
                f"no engine was built: {found.not_measured}",
                at=found.at,
                severity=Severity.WARNING,
                effect=Verdict.PASS,
            )


def _asked(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("tensorrt.parsed"):
        if found.value is None and found.detail.get("cause") != "failed":
            yield context.finding(
                f"NVIDIA's parser was not asked: {found.not_measured}",
                at=found.at,
                evidence={"reason": found.not_measured},
            )


def _device(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("tensorrt.device"):
        if found.value is None:
            yield context.finding(
                f"it was not run on a GPU: {found.not_measured}",
                at=found.at,
                evidence={"reason": found.not_measured},
            )


def _latency(context: RuleContext) -> Iterator[Finding]:
    most = context.limit("max_ratio")
    for found in context.all("tensorrt.latency_ratio"):
        if found.value is None:
            yield context.finding(f"no latency was measured: {found.not_measured}", at=found.at)
        elif not found.number <= most:
            yield context.finding(
                f"its engine takes {found.number:.3g} times as long as the reference's, at most {most:g} asked for",
                at=found.at,
                evidence={"value": found.number, "limit": most, **found.detail},
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
        "DEP121",
        "TensorRT: NVIDIA's parser takes the model",
        why="What its own parser refuses never becomes an engine.",
        how="The ONNX parser of TensorRT-RTX, in the sandbox, on a CPU, where `tensorrt` is declared and the extra "
        "`qgate[tensorrt]` is installed. It is necessary and not sufficient: DEP101 to DEP113 say what it overlooks.",
        remedy="Look at the node that is named; what the rules DEP101 to DEP113 say of it says how to mend it",
        check=_parsed,
    ),
    rule(
        "DEP122",
        "TensorRT: an engine can be built",
        why="The builder refuses some models that the parser takes, such as codes that Cast turns into numbers.",
        how="The engine builder of TensorRT-RTX, in the sandbox, on a CPU; free sizes are fixed to those of a sample, and the "
        "engine is thrown away.",
        remedy="Look at the layer that the builder names",
        check=_built,
    ),
    rule(
        "DEP123",
        "TensorRT: its parser was asked",
        why="Rules read from documents are not the parser's own word.",
        how="Whether `qgate[tensorrt]` is installed where `tensorrt` is declared.",
        remedy="Install it (`pip install 'qgate[tensorrt]'`): NVIDIA's licence, 550 MB, no GPU needed",
        severity=("warning", "note", "note"),
        check=_asked,
    ),
    rule(
        "DEP124",
        "TensorRT: the candidate ran on a device",
        why="Parser and builder say that an engine can be made, not what it computes.",
        how="Where there is a GPU, with the packages `tensorrt` and `cuda-python` and `sandbox: reduced`, its engine is built "
        "and run, and DEP201 to DEP203 judge it as they judge other runtimes.",
        remedy="Run qgate on a runner with a GPU; docs/runtimes.md says how",
        severity=("note", "note", "note"),
        check=_device,
    ),
    rule(
        "DEP125",
        "TensorRT: the candidate's engine is not slower",
        why="Quantizers in the wrong places cost conversions, and a quantized engine can be slower than the float one.",
        how="Median time of 20 executions on the device, copies aside, the candidate's engine over the reference's.",
        remedy="Look at the layers that run in float (DEP110), and quantize both operands of products",
        severity=("warning", "warning", "note"),
        params=(Param("max_ratio", "Largest ratio of latencies.", 1.0, 1.1, 1.5, unit="ratio"),),
        check=_latency,
    ),
)  # fmt: skip
