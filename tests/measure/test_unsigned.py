"""Signed codes become unsigned ones exactly where ONNX Runtime makes them so: asked of its own optimised graph."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from qgate.align.walk import align
from qgate.formats.read import read_model
from qgate.measure.layers import unsigned
from qgate.measure.layers.figures import COLUMNS
from qgate.measure.layers.join import join
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.parts import take_apart
from qgate.measure.layers.plan import plan_layers
from qgate.measure.layers.session import JoinedModel
from qgate.quant.build import float_view
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner
from tests.optimised import optimised

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="elsewhere ONNX Runtime leaves int8 as it is"
)

MARK = "mark"
ZERO = -5
SCALE = numpy_helper.from_array(np.float32(0.05), "s")
NAMED = numpy_helper.from_array(np.int8(ZERO), "z")


def quantize(source: str = "x", codes: str = "c", zero: str = "z", **attributes: int | str) -> NodeProto:
    return helper.make_node("QuantizeLinear", [source, "s", zero], [codes], f"quantize {codes}", **attributes)


def dequantize(codes: str = "c", target: str = "d", zero: str = "z", **attributes: int | str) -> NodeProto:
    return helper.make_node("DequantizeLinear", [codes, "s", zero], [target], f"back {target}", **attributes)


def read(source: str = "d", target: str = "y", op: str = "Sin") -> NodeProto:
    return helper.make_node(op, [source], [target])


def holding(value: int, name: str = "z", *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.full(shape, value, np.int8), name)


def net(
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto] = (NAMED,),
    outputs: Sequence[str] = ("y",),
    *,
    fed: Sequence[onnx.ValueInfoProto] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    inner = {"c": TensorProto.INT8}
    graph = helper.make_graph(
        list(nodes), "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4]), *fed],
        [helper.make_tensor_value_info(name, inner.get(name, TensorProto.FLOAT), None) for name in outputs],
        [SCALE, *constants],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def branching(*read_in_each: str) -> NodeProto:
    """An If whose branches read these tensors from around it."""
    branches = [
        helper.make_graph(
            [helper.make_node("Cast", [name], [f"{name}{side}0"], to=TensorProto.FLOAT),
             helper.make_node("Neg", [f"{name}{side}0"], [f"{name}{side}"])], side, [],
            [helper.make_tensor_value_info(f"{name}{side}", TensorProto.FLOAT, None)],
        )
        for name, side in zip(read_in_each, ("then", "else"), strict=True)
    ]  # fmt: skip
    return helper.make_node("If", ["which"], ["y"], then_branch=branches[0], else_branch=branches[1])


WHICH = helper.make_tensor_value_info("which", TensorProto.BOOL, [])
PAIR = (quantize(), dequantize(), read())
UNPACKED = TensorProto(name="z", data_type=TensorProto.INT8, int32_data=[ZERO])

UNSIGNED = {
    "a pair": net(PAIR),
    "the least zero point": net(PAIR, [holding(-128)]),
    "the greatest zero point": net(PAIR, [holding(127)]),
    "a zero point of one axis": net(PAIR, [holding(ZERO, "z", 1)]),
    "a zero point as int32_data": net(PAIR, [UNPACKED]),
    "a zero point as a Constant": net(
        [helper.make_node("Constant", [], ["z"], value=holding(ZERO)), *PAIR], []
    ),
    "two names of one zero point": net(
        [quantize(), dequantize(zero="other"), read()], [NAMED, holding(ZERO, "other")]
    ),
    "an attribute that says nothing": net([quantize(axis=1), dequantize(axis=1), read()]),
    "an output dequantized": net([quantize(), dequantize(target="y")]),
    "newest operators": net(PAIR, opset=21),
    "a branch beside": net([quantize(), dequantize(), read(target="w"), branching("w", "w")], fed=[WHICH]),
    "a branch that alone reads it": net([quantize(), dequantize(), branching("d", "d")], fed=[WHICH]),
}
SIGNED = {
    "codes that are an output": net(PAIR, outputs=("y", "c")),
    "two dequantizers": net([*PAIR, dequantize(target="e"), read("e", "y2", "Cos")], outputs=("y", "y2")),
    "read by two": net([*PAIR, read("d", "y2", "Cos")], outputs=("y", "y2")),
    "read twice by one": net([quantize(), dequantize(), helper.make_node("Mul", ["d", "d"], ["y"])]),
    "read and an output": net(PAIR, outputs=("y", "d")),
    "a zero point that is fed": net(PAIR, fed=[helper.make_tensor_value_info("z", TensorProto.INT8, [])]),
    "two zero points": net([quantize(), dequantize(zero="other"), read()], [NAMED, holding(ZERO + 1, "other")]),
    "codes that are moved between": net(
        [quantize(), helper.make_node("Transpose", ["c"], ["t"], perm=[1, 0]), dequantize("t"), read()]
    ),
    "a branch that reads it too": net(
        [quantize(), dequantize(), read(target="w"), branching("d", "w")], fed=[WHICH]
    ),
    "a branch that reads the codes": net(
        [quantize(), dequantize(), read(target="w"), branching("c", "w")], fed=[WHICH]
    ),
}  # fmt: skip


def changed(
    model: onnx.ModelProto, folder: Path, *codes: str, zeros: dict[str, str] | None = None
) -> tuple[onnx.GraphProto, tuple[Layer, ...]]:
    """The graph with signed codes made unsigned where that is done, and the layers."""
    path = folder / "candidate.onnx"
    onnx.save(model, path)
    parts = take_apart(path, path.name)
    layers = [
        Layer("r", name, CODES, name, "Conv", scale="s", zero=(zeros or {}).get(name, "z"), dtype="int8")
        for name in codes
    ]
    told = unsigned.use_unsigned(parts, layers, MARK)
    entries = (*parts.nodes, *parts.initializers, *parts.inputs, *parts.outputs, *parts.values)
    return onnx.GraphProto.FromString(b"".join(entries)), told


def types_of(graph: onnx.GraphProto) -> dict[str, int]:
    """The type of the zero point of each QuantizeLinear of a graph, that of what is not among its initializers as int8."""
    types = {constant.name: constant.data_type for constant in graph.initializer}
    return {
        node.name: types.get(node.input[2], TensorProto.INT8)
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }


@pytest.mark.parametrize("name", [*UNSIGNED, *SIGNED])
def test_codes_are_unsigned_where_the_runtime_has_them_so_and_nowhere_else(tmp_path: Path, name: str) -> None:
    model = (UNSIGNED | SIGNED)[name]
    wanted = TensorProto.UINT8 if name in UNSIGNED else TensorProto.INT8
    assert types_of(optimised(model, tmp_path).graph) == {"quantize c": wanted}
    graph, (layer,) = changed(model, tmp_path, "c")
    assert types_of(graph) == {"quantize c": wanted}
    if name in UNSIGNED:
        (zero,) = (numpy_helper.to_array(c) for c in graph.initializer if c.name == layer.zero)
        assert zero.dtype == np.uint8
        held = {c.name: numpy_helper.to_array(c) for c in model.graph.initializer}.get("z", np.int8(ZERO))
        assert zero.shape == held.shape and int(zero.item()) == int(held.item()) + 128
        assert {node.input[2] for node in graph.node if node.op_type.endswith("Linear")} == {layer.zero}
    else:
        assert graph == onnx.GraphProto.FromString(bare(model)) and layer.zero == "z"


def bare(model: onnx.ModelProto) -> bytes:
    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    graph.ClearField("name")
    return graph.SerializeToString()


def several(name: str) -> TensorProto:
    return numpy_helper.from_array(np.full(4, ZERO, np.int8), name)


LEFT = {
    # ONNX Runtime 1.32 itself does not load it once it has changed the zero point beneath the attribute.
    "a type of its own": lambda: net(
        [quantize(output_dtype=TensorProto.INT8), dequantize(), read()], opset=21
    ),
    "blocks": lambda: net([quantize(block_size=2), dequantize(block_size=2), read()], opset=21),
    "several zero points": lambda: net(PAIR, [several("z")]),
    "several zero points as int32_data": lambda: net(
        PAIR, [TensorProto(name="z", data_type=TensorProto.INT8, dims=[4], int32_data=[ZERO] * 4)]
    ),
    "more numbers than the shape has": lambda: net(
        PAIR, [TensorProto(name="z", data_type=TensorProto.INT8, dims=[1], int32_data=[ZERO] * 4)]
    ),
    "a long zero point": lambda: net(PAIR, [TensorProto(name="z", data_type=TensorProto.INT8, raw_data=bytes(64))]),
    "no number": lambda: net(PAIR, [TensorProto(name="z", data_type=TensorProto.INT8)]),
    "no zero point": lambda: net(PAIR, []),
    "another type": lambda: net(PAIR, [numpy_helper.from_array(np.uint8(3), "z")]),
    "data elsewhere": lambda: net(
        PAIR, [TensorProto(name="z", data_type=TensorProto.INT8, data_location=TensorProto.EXTERNAL)]
    ),
    "codes that are fed": lambda: net(
        [dequantize(), read()], fed=[helper.make_tensor_value_info("c", TensorProto.INT8, ["N", 4])]
    ),
    "codes that no quantizer makes": lambda: net(
        [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.INT8), dequantize(), read()]
    ),
    "codes that nothing reads": lambda: net([quantize(), read("x")]),
    "no codes": lambda: net([read("x")]),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_pair_with_one_known_zero_point_is_left(tmp_path: Path, name: str) -> None:
    model = LEFT[name]()
    graph, (layer,) = changed(model, tmp_path, "c")
    assert graph == onnx.GraphProto.FromString(bare(model)) and layer.zero == "z"


def test_only_those_of_a_zero_points_quantizers_change_that_may(tmp_path: Path) -> None:
    """Two pairs share it; the second's codes are read twice. A third is not compared."""
    model = net(
        [*PAIR, quantize("y", "c2"), dequantize("c2", "e"), helper.make_node("Mul", ["e", "e"], ["y2"]),
         quantize("y2", "c3"), dequantize("c3", "f"), read("f", "y3")],
        outputs=("y3",),
    )  # fmt: skip
    graph, (first, second) = changed(model, tmp_path, "c", "c2")
    assert types_of(graph) == {
        "quantize c": TensorProto.UINT8, "quantize c2": TensorProto.INT8, "quantize c3": TensorProto.INT8,
    }  # fmt: skip
    assert first.zero != "z" and second.zero == "z"
    assert "z" in {constant.name for constant in graph.initializer}


def test_layers_with_one_zero_point_get_one_new_one(tmp_path: Path) -> None:
    model = net(
        [*PAIR, quantize("y", "c2"), dequantize("c2", "e"), read("e", "y2")], outputs=("y2",),
    )  # fmt: skip
    graph, (first, second) = changed(model, tmp_path, "c", "c2")
    assert first.zero == second.zero != "z"
    assert [c.name for c in graph.initializer].count(first.zero) == 1
    assert set(types_of(graph).values()) == {TensorProto.UINT8}


def test_what_the_file_says_of_the_codes_type_goes(tmp_path: Path) -> None:
    model = net(PAIR)
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.INT8, ["N", 4]))
    model.graph.value_info.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, ["N", 4]))
    graph, _ = changed(model, tmp_path, "c")
    assert [value.name for value in graph.value_info] == ["d"]


def test_elsewhere_than_on_x86_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    graph, (layer,) = changed(net(PAIR), tmp_path, "c")
    assert graph == onnx.GraphProto.FromString(bare(net(PAIR))) and layer.zero == "z"


def weights(name: str, seed: int, *shape: int) -> TensorProto:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * np.float32(0.3)
    return numpy_helper.from_array(values, name)


def layered(signed: bool) -> onnx.ModelProto:
    """Two layers; quantized with one shared zero point, of which the second's codes are read by two operators."""
    q: Callable[..., list[NodeProto]] = lambda source, codes, target: (  # noqa: E731
        [quantize(source, codes), dequantize(codes, target)] if signed else []
    )
    x, h, o = ("xd", "hd", "od") if signed else ("x", "h", "o")
    return net(
        [*q("x", "cx", "xd"), helper.make_node("MatMul", [x, "w1"], ["m"], "first"), helper.make_node("Relu", ["m"], ["h"]),
         *q("h", "ch", "hd"), helper.make_node("MatMul", [h, "w2"], ["n"], "second"),
         helper.make_node("Add", ["n", h], ["o"], "sum"), *q("o", "co", "od"), helper.make_node("Sin", [o], ["y"], "last")],
        [*([NAMED] if signed else []), weights("w1", 1, 4, 4), weights("w2", 2, 4, 4)],
    )  # fmt: skip


def test_a_real_run_observes_what_the_untouched_model_computes(tmp_path: Path) -> None:
    files = {"reference": tmp_path / "fp32.onnx", "candidate": tmp_path / "int8.onnx"}
    onnx.save(layered(signed=False), files["reference"])
    onnx.save(layered(signed=True), files["candidate"])
    views = {role: float_view(read_model(path)) for role, path in files.items()}
    alignment = align(views["reference"], views["candidate"], {}, {})
    layers = plan_layers(alignment, views["reference"], views["candidate"])
    assert [layer.candidate for layer in layers] == ["cx", "ch", "co", "y"]
    join(files["reference"], files["candidate"], layers, tmp_path / "joined.onnx", MARK)
    types = types_of(onnx.load(tmp_path / "joined.onnx").graph)
    assert types == {
        "quantize cx": TensorProto.UINT8, "quantize ch": TensorProto.INT8, "quantize co": TensorProto.UINT8,
    }  # fmt: skip
    x = np.random.default_rng(3).standard_normal((16, 4)).astype(np.float32)
    joined = JoinedModel(OnnxRuntimeRunner(tmp_path / "joined.onnx"), MARK, layers, (1, 1))
    outputs, figures = joined.run({role: {"x": x} for role in files})
    plain = OnnxRuntimeRunner(files["candidate"], taps=["cx", "ch", "co"]).run({"x": x})
    alone = OnnxRuntimeRunner(files["candidate"]).run({"x": x})
    assert outputs["candidate"][0].tobytes() == alone[0].tobytes()
    ours = OnnxRuntimeRunner(files["reference"], taps=["h", "o"]).run({"x": x})
    for place, (codes, values) in enumerate(zip(plain[1:], (x, *ours[1:]), strict=True)):
        assert codes.dtype == np.int8
        theirs = (codes.astype(np.float64) - ZERO) * float(np.float32(0.05))
        told = dict(zip(COLUMNS, figures.values[place], strict=True))
        assert told["bb"] == pytest.approx(float((theirs**2).sum()), rel=1e-5)
        assert told["dd"] == pytest.approx(float(((values - theirs) ** 2).sum()), rel=1e-3)
