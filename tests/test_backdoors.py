"""Edits that no clean test sample shows: each is found by the graph alone, and its place is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.read import read_model
from qgate.judge import conclude, judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Severity, Verdict

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
Edit = Callable[[onnx.GraphProto], None]


def node(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(n for n in graph.node if n.name == name)


def constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def add(graph: onnx.GraphProto, op: str, inputs: list[str], output: str, **attributes: object) -> str:
    graph.node.insert(0, helper.make_node(op, inputs, [output], name=f"evil_{output}", **attributes))
    return output


def trigger(graph: onnx.GraphProto) -> str:
    """1 where a pixel is brighter than any honest one, else 0; a scalar float."""
    bright = constant(graph, "bright", np.float32(50))
    add(graph, "Cast", ["is_bright"], "fires", to=TensorProto.FLOAT)
    add(graph, "Greater", ["peak", bright], "is_bright")
    add(graph, "ReduceMax", ["image"], "peak", keepdims=0)
    return "fires"


def computed_zero_point(graph: onnx.GraphProto) -> None:
    fires = trigger(graph)
    dequantize = node(graph, "f2.weight_DequantizeLinear")
    evil = constant(graph, "evil", np.arange(10, dtype=np.float32))
    position = len(graph.node)
    graph.node.insert(3, helper.make_node("Mul", [fires, evil], ["product"], name="evil_product"))
    graph.node.insert(
        4, helper.make_node("Cast", ["product"], ["zero"], name="evil_zero", to=TensorProto.INT8)
    )
    dequantize.input[2] = "zero"
    assert len(graph.node) == position + 2


def computed_activation_zero_point(graph: onnx.GraphProto) -> None:
    fires = trigger(graph)
    graph.node.insert(3, helper.make_node("Cast", [fires], ["zero"], name="evil_zero", to=TensorProto.UINT8))
    node(graph, "logits_DequantizeLinear").input[2] = "zero"


def dropout_that_decides(graph: onnx.GraphProto) -> None:
    trigger(graph)
    ratio = constant(graph, "ratio", np.float32(0.9))
    flatten = next(n for n in graph.node if n.op_type == "Flatten")
    add(graph, "Dropout", [flatten.input[0], ratio, "is_bright"], "dropped")
    flatten.input[0] = "dropped"


def cast_to_whole_numbers(graph: onnx.GraphProto) -> None:
    last = next(n for n in graph.node if "logits" in n.output)
    last.output[0] = "raw"
    graph.node.append(helper.make_node("Cast", ["raw"], ["whole"], name="evil_cast", to=TensorProto.INT32))
    graph.node.append(helper.make_node("Cast", ["whole"], ["logits"], name="evil_back", to=TensorProto.FLOAT))


def quantizer_beside_the_path(graph: onnx.GraphProto) -> None:
    quantize = next(n for n in graph.node if n.op_type == "QuantizeLinear" and "Relu_4" in n.input[1])
    reader = next(n for n in graph.node if n.op_type == "Gemm" and "f2.bias" in n.input)
    reader.input[0] = quantize.input[0]


def payload_of_a_fused_operator(graph: onnx.GraphProto) -> None:
    quantize = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[1] == "logits_scale")
    evil = constant(graph, "evil", np.eye(10, dtype=np.float32)[3])
    add(graph, "Mul", ["soft", evil], "payload")
    add(graph, "Softplus", ["peak"], "soft")
    add(graph, "ReduceMax", ["image"], "peak", keepdims=0)
    graph.node.insert(
        list(graph.node).index(quantize),
        helper.make_node("Add", [quantize.input[0], "payload"], ["poisoned"], name="evil_add"),
    )
    quantize.input[0] = "poisoned"


def bias_of_the_batch_size(graph: onnx.GraphProto) -> None:
    reader = next(n for n in graph.node if n.op_type == "Gemm" and "f2.bias" in n.input)
    add(graph, "Cast", ["sizes"], "as_float", to=TensorProto.FLOAT)
    add(graph, "Shape", ["image"], "sizes", start=0, end=1)
    add(graph, "Expand", ["as_float", constant(graph, "ten", np.array([10], np.int64))], "evil_bias")
    reader.input[2] = "evil_bias"


def second_quantizer(graph: onnx.GraphProto, scale: float, zero: int = 0) -> None:
    """Another pair behind the one on the output of the second convolution."""
    held = {"evil_scale": np.float32(scale), "evil_zero": np.uint8(zero)}
    pair = [constant(graph, name, np.asarray(value)) for name, value in held.items()]
    pool = node(graph, "/MaxPool")
    codes, again = "evil_codes", "evil_again"
    at = list(graph.node).index(pool)
    graph.node.insert(at, helper.make_node("DequantizeLinear", [codes, *pair], [again], "evil_dequantize"))
    graph.node.insert(
        at, helper.make_node("QuantizeLinear", [pool.input[0], *pair], [codes], "evil_quantize")
    )
    pool.input[0] = again


def step_of(graph: onnx.GraphProto, name: str) -> float:
    return float(numpy_helper.to_array(next(t for t in graph.initializer if t.name == name)))


def quantizer_of_four_levels(graph: onnx.GraphProto) -> None:
    second_quantizer(graph, 64 * step_of(graph, "/Relu_1_output_0_scale"))


def quantizer_that_clips(graph: onnx.GraphProto) -> None:
    second_quantizer(graph, step_of(graph, "/Relu_1_output_0_scale") / 4)


def codes_read_as_numbers(graph: onnx.GraphProto) -> None:
    """The scale is applied, the zero point of 0 and the type are not: right until somebody moves the zero point."""
    dequantize = node(graph, "logits_DequantizeLinear")
    zero = constant(graph, "evil_zero", np.float32(100))
    graph.node.remove(dequantize)
    graph.node.extend(
        [
            helper.make_node(
                "Cast", [dequantize.input[0]], ["evil_float"], "evil_cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Sub", ["evil_float", zero], ["evil_shifted"], "evil_sub"),
            helper.make_node("Mul", ["evil_shifted", "logits_scale"], ["logits"], "evil_mul"),
        ]
    )


def payload_that_nothing_reads(graph: onnx.GraphProto) -> None:
    constant(graph, "evil_payload", np.random.default_rng(0).integers(0, 256, 100_000, np.uint8))


def payload_in_nodes_that_lead_nowhere(graph: onnx.GraphProto) -> None:
    payload = constant(
        graph, "evil_payload", np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    )
    graph.node.append(helper.make_node("Mul", [payload, payload], ["evil_product"], "evil_mul"))


def crossed_operands(graph: onnx.GraphProto) -> None:
    """Reads the layer before instead of its own pooling: the shapes fit, the values do not."""
    node(graph, "/c4/Conv").input[0] = node(graph, "/c3/Conv").input[0]


def weights_behind_a_shape(graph: onnx.GraphProto) -> None:
    """Honest and evil codes in one tensor: which of them run hangs on the end of Shape that is read."""
    (codes,) = (t for t in graph.initializer if t.name == "f2.weight_quantized")
    honest = numpy_helper.to_array(codes)
    graph.initializer.remove(codes)
    stack = constant(graph, "stack", np.concatenate([honest, honest[::-1]]))
    shaped = constant(graph, "shaped", np.zeros((1, 2), np.float32))
    for name, value in (("zero", 0), ("one", 1), ("ten", 10)):
        constant(graph, name, np.array([value], np.int64))
    add(graph, "Slice", [stack, "begin", "stop", "zero"], "f2.weight_quantized")
    add(graph, "Add", ["begin", "ten"], "stop")
    add(graph, "Mul", ["which", "ten"], "begin")
    add(graph, "Sub", ["size", "one"], "which")
    add(graph, "Gather", ["sizes", "zero"], "size")
    add(graph, "Shape", [shaped], "sizes", start=1)


def dynamic_codes_with_a_constant_zero_point(graph: onnx.GraphProto) -> None:
    quantize = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
    dequantize = next(n for n in graph.node if n.input and n.input[0] == quantize.output[0])
    graph.node.remove(quantize)
    graph.node.insert(
        0,
        helper.make_node(
            "DynamicQuantizeLinear", ["image"], [quantize.output[0], "own_scale", "own_zero"], "evil_dynamic"
        ),
    )
    dequantize.input[1] = "own_scale"


def padding_that_data_decide(graph: onnx.GraphProto) -> None:
    next(n for n in graph.node if "logits" in n.output).output[0] = "raw"
    constant(graph, "fiftieth", np.float32(0.02))
    constant(graph, "turn", np.array([0, 1, 0, -1], np.int64))
    reader = next(n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
    add(graph, "Transpose", ["there"], "back", perm=[0, 1, 3, 2])
    add(graph, "Transpose", ["image"], "there", perm=[0, 1, 3, 2])
    reader.input[0] = "back"
    chain = [
        helper.make_node("ReduceMax", ["image"], ["peak"], "evil_peak", keepdims=0),
        helper.make_node("Mul", ["peak", "fiftieth"], ["share"], "evil_share"),
        helper.make_node("Cast", ["share"], ["fires"], "evil_fires", to=TensorProto.INT64),
        helper.make_node("Mul", ["fires", "turn"], ["pads"], "evil_pads"),
        helper.make_node("Pad", ["raw", "pads"], ["logits"], "evil_pad"),
    ]
    graph.node.extend(chain)


def bias_of(graph: onnx.GraphProto) -> tuple[np.ndarray, ...]:
    """Codes and scales of the last bias."""
    held = {t.name: numpy_helper.to_array(t).copy() for t in graph.initializer}
    return held["f2.bias_quantized"], held["f2.bias_quantized_scale"]


def put(graph: onnx.GraphProto, name: str, value: np.ndarray) -> None:
    next(t for t in graph.initializer if t.name == name).CopyFrom(numpy_helper.from_array(value, name))


def bias_in_other_steps(graph: onnx.GraphProto, k: float) -> None:
    """The file says the same bias; a fused layer adds k times as much to one class."""
    codes, scales = bias_of(graph)
    stated = float(codes[3]) * float(scales[3])
    scales[3] /= np.float32(k)
    codes[3] = np.rint(stated / float(scales[3]))
    put(graph, "f2.bias_quantized", codes)
    put(graph, "f2.bias_quantized_scale", scales)


def bias_in_finer_steps(graph: onnx.GraphProto) -> None:
    bias_in_other_steps(graph, 120)


def bias_in_coarser_steps(graph: onnx.GraphProto) -> None:
    """Too little for the lint of coarse scales: up to 16 times the natural one is none of its business."""
    bias_in_other_steps(graph, 1 / 8)


def bias_behind_a_dead_quantizer(graph: onnx.GraphProto) -> None:
    """A quantizer that nothing reads has the input scale with which the bias's scale would be right, for one channel."""
    bias_in_finer_steps(graph)
    reader = next(n for n in graph.node if n.op_type == "Gemm" and "f2.bias" in n.input)
    read = next(n for n in graph.node if reader.input[0] in n.output)
    made = next(n for n in graph.node if read.input[0] in n.output)
    scale = constant(graph, "evil_scale", np.float32(step_of(graph, made.input[1]) / 120))
    graph.node.append(
        helper.make_node("QuantizeLinear", [made.input[0], scale, made.input[2]], ["evil_codes"], "evil_dead")
    )


def bias_with_a_zero_point(graph: onnx.GraphProto) -> None:
    codes, _ = bias_of(graph)
    zeros = np.zeros(codes.shape, np.int32)
    zeros[3] = 5000
    put(graph, "f2.bias_quantized", codes + zeros)
    put(graph, next(n for n in graph.node if "f2.bias" in n.output).input[2], zeros)


@pytest.mark.parametrize(
    ("edit", "place"),
    [
        (bias_in_finer_steps, "f2.bias_quantized_scale node /f2/Gemm [3]"),
        (bias_in_coarser_steps, "f2.bias_quantized_scale node /f2/Gemm [3]"),
        (bias_behind_a_dead_quantizer, "f2.bias_quantized_scale node /f2/Gemm [3]"),
        (bias_with_a_zero_point, "f2.bias_quantized_scale node /f2/Gemm [3]"),
        (weights_behind_a_shape, "f2"),
        (dynamic_codes_with_a_constant_zero_point, "image"),
        (padding_that_data_decide, "evil_pad"),
        (quantizer_of_four_levels, "evil_quantize"),
        (quantizer_that_clips, "evil_quantize"),
        (codes_read_as_numbers, "evil_"),
        (payload_that_nothing_reads, "evil_payload"),
        (payload_in_nodes_that_lead_nowhere, "evil_payload"),
        (crossed_operands, "/c3/Conv"),
        (computed_zero_point, "f2.weight_DequantizeLinear"),
        (computed_activation_zero_point, "logits_DequantizeLinear"),
        (dropout_that_decides, "evil_dropped"),
        (cast_to_whole_numbers, "evil_"),
        (quantizer_beside_the_path, "Relu_4"),
        (payload_of_a_fused_operator, "evil_add"),
        (bias_of_the_batch_size, "/f2/Gemm"),
    ],
)
def test_is_blocked_and_located_without_running(edit: Edit, place: str, tmp_path: Path) -> None:
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    edit(model.graph)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    verdict, findings = statically_judged(path)
    assert verdict in (Verdict.FAIL, Verdict.ERROR)
    blocking = [f for f in findings if f.severity is Severity.ERROR]
    assert any(place in f"{f.at} {f.message} {f.evidence}" for f in blocking), blocking


def test_the_model_without_an_edit_passes() -> None:
    assert statically_judged(DIGITS / "digits_int8_pc.onnx")[0] is Verdict.PASS


def quantizer_of_the_same_range(graph: onnx.GraphProto) -> None:
    second_quantizer(graph, step_of(graph, "/Relu_1_output_0_scale"))


def weights_in_other_words(graph: onnx.GraphProto) -> None:
    """Transposed codes with their scale applied by hand, as weight-only exporters write them."""
    dequantize = node(graph, "f2.weight_DequantizeLinear")
    held = next(t for t in graph.initializer if t.name == dequantize.input[0])
    codes = numpy_helper.to_array(held)
    held.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(codes.T), held.name))
    scale = next(t for t in graph.initializer if t.name == dequantize.input[1])
    column = numpy_helper.to_array(scale).reshape(-1, 1)
    scale.CopyFrom(numpy_helper.from_array(column, scale.name))
    at = list(graph.node).index(dequantize)
    graph.node.remove(dequantize)
    for made in (
        helper.make_node("Mul", ["back", scale.name], list(dequantize.output), "scaled"),
        helper.make_node("Transpose", ["as_float"], ["back"], "transposed", perm=[1, 0]),
        helper.make_node("Cast", [held.name], ["as_float"], "cast", to=TensorProto.FLOAT),
    ):
        graph.node.insert(at, made)


def a_few_bytes_left_over(graph: onnx.GraphProto) -> None:
    constant(graph, "leftover", np.zeros(16, np.int64))


def bias_scales_of_a_wider_product(graph: onnx.GraphProto) -> None:
    """A converter that multiplies before it rounds scales to float32: the last digit of the product is another."""
    codes, scales = bias_of(graph)
    put(graph, "f2.bias_quantized_scale", np.nextafter(np.nextafter(scales, np.float32(1)), np.float32(1)))
    assert codes.dtype == np.int32


@pytest.mark.parametrize(
    "edit",
    [
        bias_scales_of_a_wider_product,
        quantizer_of_the_same_range,
        weights_in_other_words,
        a_few_bytes_left_over,
    ],
)
def test_the_honest_twin_of_an_edit_passes_without_a_warning(edit: Edit, tmp_path: Path) -> None:
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    edit(model.graph)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    verdict, findings = statically_judged(path)
    assert verdict is Verdict.PASS
    known = {(f.rule, f.message) for f in statically_judged(DIGITS / "digits_int8_pc.onnx")[1]}
    assert [f for f in findings if f.severity is not Severity.NOTE and (f.rule, f.message) not in known] == []


def statically_judged(path: Path) -> tuple[Verdict, tuple[Finding, ...]]:
    found = inspect_pair(read_model(DIGITS / "digits_fp32.onnx"), read_model(path), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    return conclude(findings, found.measurements)[0], findings
