"""Which layers compute on integers, and which only store their weights as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from qgate.formats.read import read_model
from qgate.quant.activations import activation_cover
from qgate.quant.build import float_view
from qgate.quant.scheme import detect_scheme

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def without_activations(model: onnx.ModelProto, *, keep: int = 0) -> None:
    """Takes the quantizers of activations out of a QDQ model, but for the first ones."""
    graph = model.graph
    constants = {held.name for held in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    renamed: dict[str, str] = {}
    gone = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] in constants:
            continue
        maker = makers[node.input[0]]
        if keep:
            keep -= 1
            continue
        renamed[node.output[0]] = maker.input[0]
        gone += [node, *([maker] if maker not in gone else [])]
    for node in gone:
        graph.node.remove(node)
    for node in graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    graph.node.extend(
        onnx.helper.make_node("Identity", [renamed[output.name]], [output.name])
        for output in graph.output
        if output.name in renamed
    )


@pytest.mark.parametrize(
    ("name", "quantized", "dynamic"),
    [("digits_int8_pc", 6, 0), ("digits_int8_qop", 6, 0), ("digits_dyn", 6, 6), ("digits_w4a8", 6, 0)],
)
def test_honest_forms_of_w8a8_are_all_counted(name: str, quantized: int, dynamic: int) -> None:
    cover = activation_cover(float_view(read_model(DIGITS / f"{name}.onnx")))
    assert (cover.layers, cover.quantized, cover.dynamic, cover.left) == (6, quantized, dynamic, ())
    assert cover.recipe == ("dynamic" if dynamic else "static")


@pytest.mark.parametrize(("keep", "quantized"), [(0, 0), (1, 1)])
def test_a_model_of_weights_alone_is_told(tmp_path: Path, keep: int, quantized: int) -> None:
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    without_activations(model, keep=keep)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "w8.onnx")
    view = float_view(read_model(tmp_path / "w8.onnx"))
    cover = activation_cover(view)
    assert detect_scheme(view).name == "int8"
    assert (cover.layers, cover.quantized) == (6, quantized)
    assert len(cover.left) == 6 - quantized
    assert "/f2/Gemm" in cover.left
    assert cover.recipe == ("mixed" if keep else "weights only")


def beside(graph: onnx.GraphProto, dynamic: bool, *, read: bool) -> None:
    """Quantizers on what every layer reads; with ``read`` the last layer reads its own."""
    scale, zero = (
        onnx.numpy_helper.from_array(np.float32(0.2), "hs"),
        onnx.numpy_helper.from_array(np.uint8(128), "hz"),
    )
    graph.initializer.extend([scale, zero])
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    for k, layer in enumerate(layers):
        if dynamic:
            made = onnx.helper.make_node(
                "DynamicQuantizeLinear", [layer.input[0]], [f"q{k}", f"s{k}", f"z{k}"]
            )
            pair = [f"q{k}", f"s{k}", f"z{k}"]
        else:
            made = onnx.helper.make_node("QuantizeLinear", [layer.input[0], "hs", "hz"], [f"q{k}"])
            pair = [f"q{k}", "hs", "hz"]
        again = onnx.helper.make_node("DequantizeLinear", pair, [f"d{k}"])
        at = list(graph.node).index(layer)
        graph.node.insert(at, again)
        graph.node.insert(at, made)
        if read and layer is layers[-1]:
            layer.input[0] = f"d{k}"


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("read", [True, False])
def test_a_quantizer_counts_for_the_layer_that_reads_it_alone(
    tmp_path: Path, dynamic: bool, read: bool
) -> None:
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    without_activations(model)
    beside(model.graph, dynamic, read=read)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "beside.onnx")
    view = float_view(read_model(tmp_path / "beside.onnx"))
    cover = activation_cover(view)
    assert (cover.layers, cover.quantized, cover.dynamic) == (6, int(read), int(read and dynamic))
    assert len(cover.left) == 6 - int(read)
    # What nothing reads makes no model answer by the batch.
    assert view.dynamic is (read and dynamic)


def packed(accuracy: int | None) -> onnx.ModelProto:
    """One MatMulNBits of 8 bits."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (8, 2, 32)).astype(np.uint8)
    scales = np.full(16, 0.01, np.float32)
    attributes = {"K": 64, "N": 8, "bits": 8, "block_size": 32}
    attributes |= {} if accuracy is None else {"accuracy_level": accuracy}
    node = onnx.helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], "m", domain="com.microsoft", **attributes
    )
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", 1, [1, 64])], [value("y", 1, [1, 8])],
        [onnx.numpy_helper.from_array(codes, "codes"), onnx.numpy_helper.from_array(scales, "scales")],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize(("accuracy", "quantized"), [(None, 0), (1, 0), (4, 1)])
def test_packed_weights_are_weights_alone_unless_the_kernel_is_told_int8(
    tmp_path: Path, accuracy: int | None, quantized: int
) -> None:
    onnx.save(packed(accuracy), tmp_path / "packed.onnx")
    cover = activation_cover(float_view(read_model(tmp_path / "packed.onnx")))
    assert (cover.layers, cover.quantized, cover.dynamic) == (1, quantized, quantized)


def test_codes_are_found_behind_what_only_moves_them(tmp_path: Path) -> None:
    """As NNCF and OpenVINO write it: no quantizer of its own behind a MaxPool."""
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    direct = _behind_pool(model)
    onnx.save(model, tmp_path / "pool.onnx")
    view = float_view(read_model(tmp_path / "pool.onnx"))
    assert direct not in view.quantizers
    assert activation_cover(view).quantized == 6


def _behind_pool(model: onnx.ModelProto) -> str:
    """Takes the quantizer behind the first MaxPool out, whose input has one."""
    graph = model.graph
    pool = next(node for node in graph.node if node.op_type == "MaxPool")

    def finder(name: str) -> onnx.NodeProto:
        return next(node for node in graph.node if name in node.input)

    quantize = finder(pool.output[0])
    dequantize = finder(quantize.output[0])
    reader = finder(dequantize.output[0])
    reader.input[list(reader.input).index(dequantize.output[0])] = pool.output[0]
    graph.node.remove(quantize)
    graph.node.remove(dequantize)
    return str(pool.output[0])
