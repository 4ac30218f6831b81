"""Small models for the truth table of the TensorRT lint: each shows one thing, most of them wrong.

A case is a model and the rules that the lint must name; ``why`` explains where lint and parser differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FLOAT8 = {T.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn, T.FLOAT8E5M2: ml_dtypes.float8_e5m2}
MS = "com.microsoft"


@dataclass(frozen=True)
class Case:
    """One row of the truth table.

    Args:
        name: What the model is.
        build: Makes it.
        rules: Rules of the lint that must speak, and no others.
        why: Where lint and parser differ: why, and who is right.
    """

    name: str
    build: Callable[[], onnx.ModelProto]
    rules: tuple[str, ...] = ()
    why: str = ""


class Net:
    """A graph under construction.

    Args:
        opset: Version of the standard operators.
    """

    def __init__(self, opset: int = 21) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.random = np.random.default_rng(0)

    def input(self, name: str, *shape: int | str, dtype: int = T.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def constant(self, name: str, values: Any, dtype: int | None = None) -> str:
        array = np.asarray(values)
        if dtype is None:
            self.constants.append(numpy_helper.from_array(array, name))
        elif dtype in FLOAT8:
            raw = array.astype(FLOAT8[dtype]).tobytes()
            self.constants.append(helper.make_tensor(name, dtype, array.shape, raw, raw=True))
        else:
            self.constants.append(helper.make_tensor(name, dtype, array.shape, array.reshape(-1).tolist()))
        return name

    def node(
        self, op: str, inputs: list[str], name: str, domain: str = "", outputs: int = 1, **attributes: Any
    ) -> str:
        made = [name if outputs == 1 else f"{name}_{i}" for i in range(outputs)]
        self.nodes.append(
            helper.make_node(op, inputs, made, name=f"{op}_{name}", domain=domain, **attributes)
        )
        return made[0]

    def model(self, *outputs: str, dtype: int = T.FLOAT) -> onnx.ModelProto:
        made = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, made, self.constants)
        domains = {"": self.opset} | {node.domain: 1 for node in self.nodes if node.domain}
        imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
        return helper.make_model(graph, opset_imports=imports, ir_version=10 if self.opset > 20 else 8)

    # -- quantizers -----------------------------------------------------------------------------

    def qdq(
        self, source: str, tag: str, *, scale: Any = 0.02, zero: Any = 0, dtype: int = T.INT8,
        has_zero: bool = True, **attributes: Any,
    ) -> str:  # fmt: skip
        """QuantizeLinear and DequantizeLinear of an activation."""
        step = self.constant(f"{tag}_scale", np.asarray(scale, np.float32))
        shape = np.shape(scale)
        parameters = [step]
        if has_zero:
            parameters.append(self.constant(f"{tag}_zero", np.broadcast_to(zero, shape), dtype))
        codes = self.node("QuantizeLinear", [source, *parameters], f"{tag}_q", **attributes)
        return self.node("DequantizeLinear", [codes, *parameters], f"{tag}_dq", **attributes)

    def weight(
        self, tag: str, shape: tuple[int, ...], *, axis: int | None = 0, dtype: int = T.INT8,
        zero: int | None = 0, scale: float = 0.01, **attributes: Any,
    ) -> str:  # fmt: skip
        """Constant codes and their DequantizeLinear."""
        least, most = {T.INT4: (-7, 8), T.UINT4: (0, 16), T.UINT8: (0, 256)}.get(dtype, (-127, 128))
        codes = self.constant(f"{tag}_codes", self.random.integers(least, most, shape), dtype)
        block = attributes.get("block_size", 0)
        if axis is None:
            size: tuple[int, ...] = ()
        elif block:
            size = tuple(n // block if i == axis else n for i, n in enumerate(shape))
        else:
            size = (shape[axis],)
        parameters = [codes, self.constant(f"{tag}_scale", np.full(size, scale, np.float32))]
        if zero is not None:
            parameters.append(self.constant(f"{tag}_zero", np.full(size, zero), dtype))
        if axis is not None:
            attributes["axis"] = axis
        return self.node("DequantizeLinear", parameters, f"{tag}_dq", **attributes)


def conv(
    *, activation: dict[str, Any] | None = None, weight: dict[str, Any] | None = None,
    output: dict[str, Any] | None = None, bias: str = "", opset: int = 21,
) -> onnx.ModelProto:  # fmt: skip
    """A convolution with a quantizer on its input, its weight and its output, if asked for."""
    net = Net(opset)
    source = net.input("x", 1, 4, 8, 8)
    data = source if activation is None else net.qdq(source, "x", **activation)
    if weight is None:
        kernel = net.constant("w", net.random.normal(0, 0.1, (8, 4, 3, 3)).astype(np.float32))
    else:
        kernel = net.weight("w", (8, 4, 3, 3), **weight)
    inputs = [data, kernel]
    if bias == "float":
        inputs.append(net.constant("b", np.linspace(-1, 1, 8, dtype=np.float32)))
    elif bias == "int32":
        codes = net.constant("b_codes", np.arange(8, dtype=np.int32) * 100)
        scale = net.constant("b_scale", np.full(8, 2e-4, np.float32))
        zero = net.constant("b_zero", np.zeros(8, np.int32))
        inputs.append(net.node("DequantizeLinear", [codes, scale, zero], "b_dq", axis=0))
    made = net.node("Conv", inputs, "y")
    return net.model(made if output is None else net.qdq(made, "y", **output))


def matmul(
    *, activation: dict[str, Any] | None = None, weight: dict[str, Any] | None = None, opset: int = 21,
) -> onnx.ModelProto:  # fmt: skip
    """A matrix product with its weight on the right."""
    net = Net(opset)
    source = net.input("x", 4, 64)
    data = source if activation is None else net.qdq(source, "x", **activation)
    return net.model(net.node("MatMul", [data, net.weight("w", (64, 32), **(weight or {"axis": 1}))], "y"))


def gemm(**weight: Any) -> onnx.ModelProto:
    net = Net()
    data = net.qdq(net.input("x", 4, 64), "x")
    bias = net.constant("b", np.zeros(32, np.float32))
    transposed = weight.pop("transB", 1)
    kernel = net.weight("w", (32, 64) if transposed else (64, 32), **weight)
    return net.model(net.node("Gemm", [data, kernel, bias], "y", transB=transposed))


def plain(*, opset: int = 17) -> onnx.ModelProto:
    """No quantizer at all."""
    return conv(opset=opset)


def qlinear_conv() -> onnx.ModelProto:
    net = Net(17)
    source = net.input("x", 1, 4, 8, 8)
    xs, xz = net.constant("xs", np.float32(0.02)), net.constant("xz", np.int8(0))
    codes = net.node("QuantizeLinear", [source, xs, xz], "xq")
    w = net.constant("w", net.random.integers(-127, 128, (8, 4, 3, 3)).astype(np.int8))
    ws, wz = net.constant("ws", np.float32(0.01)), net.constant("wz", np.int8(0))
    y = net.node("QLinearConv", [codes, xs, xz, w, ws, wz, xs, xz], "yq")
    return net.model(net.node("DequantizeLinear", [y, xs, xz], "y"))


def qlinear_matmul() -> onnx.ModelProto:
    net = Net(17)
    xs, xz = net.constant("xs", np.float32(0.02)), net.constant("xz", np.int8(0))
    codes = net.node("QuantizeLinear", [net.input("x", 4, 64), xs, xz], "xq")
    w = net.constant("w", net.random.integers(-127, 128, (64, 32)).astype(np.int8))
    y = net.node("QLinearMatMul", [codes, xs, xz, w, xs, xz, xs, xz], "yq")
    return net.model(net.node("DequantizeLinear", [y, xs, xz], "y"))


def dynamic_matmul() -> onnx.ModelProto:
    """What ``quantize_dynamic`` makes."""
    net = Net(17)
    source = net.input("x", 4, 64)
    net.node("DynamicQuantizeLinear", [source], "d", outputs=3)
    w = net.constant("w", net.random.integers(-127, 128, (64, 32)).astype(np.int8))
    product = net.node("MatMulInteger", ["d_0", w, "d_2"], "p")
    number = net.node("Cast", [product], "n", to=T.FLOAT)
    step = net.node("Mul", ["d_1", net.constant("ws", np.float32(0.01))], "s")
    return net.model(net.node("Mul", [number, step], "y"))


def integer_operator(op: str) -> onnx.ModelProto:
    """ConvInteger or MatMulInteger of int8 inputs."""
    net = Net(17)
    shape, weight = ((1, 4, 8, 8), (8, 4, 3, 3)) if op == "ConvInteger" else ((4, 64), (64, 32))
    source = net.input("x", *shape, dtype=T.INT8)
    w = net.constant("w", net.random.integers(-127, 128, weight).astype(np.int8))
    return net.model(net.node("Cast", [net.node(op, [source, w], "p")], "y", to=T.FLOAT))


def weight_only(op: str) -> onnx.ModelProto:
    """Quantized weights and a float activation: Cast and Mul, or MatMulNBits."""
    net = Net()
    source = net.input("x", 4, 64)
    if op == "Cast":
        w = net.constant("w", net.random.integers(-127, 128, (64, 32)).astype(np.int8))
        wide = net.node("Cast", [w], "wf", to=T.FLOAT)
        scaled = net.node("Mul", [wide, net.constant("ws", np.full(32, 0.01, np.float32))], "wd")
        return net.model(net.node("MatMul", [source, scaled], "y"))
    packed = net.constant("w", net.random.integers(0, 256, (32, 2, 16)).astype(np.uint8))
    scales = net.constant("ws", np.full(64, 0.01, np.float32))
    return net.model(
        net.node(op, [source, packed, scales], "y", domain=MS, K=64, N=32, bits=4, block_size=32)
    )


def uint8_input() -> onnx.ModelProto:
    """A caller's uint8 picture that the model dequantizes."""
    net = Net()
    source = net.input("x", 1, 4, 8, 8, dtype=T.UINT8)
    step, zero = net.constant("s", np.float32(0.01)), net.constant("z", np.uint8(0))
    data = net.node("DequantizeLinear", [source, step, zero], "xd")
    return net.model(net.node("Conv", [data, net.weight("w", (8, 4, 3, 3))], "y"))


def only_quantize() -> onnx.ModelProto:
    net = Net(17)
    step, zero = net.constant("s", np.float32(0.02)), net.constant("z", np.int8(0))
    return net.model(net.node("QuantizeLinear", [net.input("x", 1, 8), step, zero], "y"), dtype=T.INT8)


def only_dequantize() -> onnx.ModelProto:
    net = Net(17)
    step, zero = net.constant("s", np.float32(0.02)), net.constant("z", np.int8(0))
    return net.model(net.node("DequantizeLinear", [net.input("x", 1, 8, dtype=T.INT8), step, zero], "y"))


def computed_scale() -> onnx.ModelProto:
    """A scale that is computed from the input."""
    net = Net(17)
    source = net.input("x", 1, 8)
    step = net.node("ReduceMax", [source], "m", keepdims=0)
    zero = net.constant("z", np.int8(0))
    codes = net.node("QuantizeLinear", [source, step, zero], "q")
    return net.model(net.node("DequantizeLinear", [codes, step, zero], "y"))


def nested() -> onnx.ModelProto:
    """The quantizer of an asymmetric activation in a branch of If."""
    inner = Net(17)
    inner.qdq("x", "b", zero=3)
    body = helper.make_graph(
        inner.nodes, "then", [], [helper.make_tensor_value_info("b_dq", T.FLOAT, None)], inner.constants
    )
    other = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"], name="Relu_r")], "else", [],
        [helper.make_tensor_value_info("r", T.FLOAT, None)],
    )  # fmt: skip
    net = Net(17)
    net.input("x", 1, 8)
    condition = net.input("c", 1, dtype=T.BOOL)
    return net.model(net.node("If", [condition], "y", then_branch=body, else_branch=other))


def double_model() -> onnx.ModelProto:
    net = Net(17)
    source = net.input("x", 1, 8, dtype=T.DOUBLE)
    return net.model(net.node("Relu", [source], "y"), dtype=T.DOUBLE)


_SATURATES = (
    "The parser takes uint8 for int8: it builds an engine that computes something else. The lint is right."
)
_DEFAULT = "ONNX means uint8, TensorRT builds int8, where negative values survive. The lint is right."
_ONE_SCALE = (
    "The manual allows one scale for an activation; the parser does not look. The lint follows the manual."
)
_INFINITE = "The parser looks at signs alone, and infinity is positive. The lint is right."
_BUILDER = "The parser takes it; the engine builder refuses it."
CASES = (
    Case("symmetric int8 convolution", lambda: conv(activation={}, weight={})),
    Case("the same, output quantized as well", lambda: conv(activation={}, weight={}, output={})),
    Case("the same, bias in float", lambda: conv(activation={}, weight={}, bias="float")),
    Case("the same, weight with one scale", lambda: conv(activation={}, weight={"axis": None})),
    Case("the same, weight without a zero point", lambda: conv(activation={}, weight={"zero": None})),
    Case("symmetric int8 product", lambda: matmul(activation={})),
    Case("Gemm, transposed weight, axis 0", lambda: gemm(axis=0)),
    Case("Gemm, weight as it is, axis 1", lambda: gemm(axis=1, transB=0)),
    Case("E4M3 convolution", lambda: conv(activation={"dtype": T.FLOAT8E4M3FN},
         weight={"dtype": T.FLOAT8E4M3FN, "axis": None})),
    Case("int4 weight in blocks", lambda: matmul(weight={"axis": 0, "dtype": T.INT4, "block_size": 32})),
    Case("int4 weight by channel", lambda: matmul(weight={"axis": 1, "dtype": T.INT4})),
    Case("float model", plain),
    Case("float model, float64", double_model),
    Case("QuantizeLinear alone", only_quantize),
    Case("DequantizeLinear alone", only_dequantize),
    Case("activation with zero point 3", lambda: conv(activation={"zero": 3}, weight={}), ("DEP101",)),
    Case("weight with zero point 3", lambda: conv(activation={}, weight={"zero": 3}), ("DEP101",)),
    Case("zero point 3 in a branch of If", nested, ("DEP101",)),
    Case("uint8 activation, zero point 0", lambda: conv(activation={"dtype": T.UINT8}, weight={}), ("DEP102",), _SATURATES),
    Case("uint8 output, zero point 0", lambda: conv(activation={}, weight={}, output={"dtype": T.UINT8}), ("DEP102",),
         _SATURATES),
    Case("activation without a zero point: uint8 in ONNX", lambda: conv(activation={"has_zero": False}, weight={}),
         ("DEP102",), _DEFAULT),
    Case("the same, opset 13", lambda: conv(activation={"has_zero": False}, weight={}, opset=13), ("DEP102",), _SATURATES),
    Case("uint8 activation, zero point 128", lambda: conv(activation={"dtype": T.UINT8, "zero": 128}, weight={}),
         ("DEP101", "DEP102")),
    Case("uint8 weight, zero point 0", lambda: conv(activation={}, weight={"dtype": T.UINT8}), ("DEP103",)),
    Case("uint8 weight, zero point 128", lambda: conv(activation={}, weight={"dtype": T.UINT8, "zero": 128}),
         ("DEP101", "DEP103")),
    Case("uint8 input that is dequantized", uint8_input, ("DEP103",)),
    Case("int16 activation", lambda: conv(activation={"dtype": T.INT16}, weight={}), ("DEP103",)),
    Case("uint16 activation", lambda: conv(activation={"dtype": T.UINT16}, weight={}), ("DEP103",)),
    Case("int16 weight", lambda: conv(activation={}, weight={"dtype": T.INT16}), ("DEP103",)),
    Case("uint4 weight in blocks", lambda: matmul(weight={"axis": 0, "dtype": T.UINT4, "block_size": 32}),
         ("DEP103", "DEP110")),
    Case("uint4 weight by channel", lambda: matmul(weight={"axis": 1, "dtype": T.UINT4}), ("DEP103", "DEP110")),
    Case("int4 activation", lambda: conv(activation={"dtype": T.INT4}, weight={}), ("DEP103",), _BUILDER),
    Case("E5M2 convolution", lambda: conv(activation={"dtype": T.FLOAT8E5M2}, weight={"dtype": T.FLOAT8E5M2, "axis": None}),
         ("DEP103",)),
    Case("E5M2 weight", lambda: conv(activation={}, weight={"dtype": T.FLOAT8E5M2, "axis": None}), ("DEP103",)),
    Case("int32 bias, dequantized", lambda: conv(activation={}, weight={}, bias="int32"), ("DEP104",)),
    Case("QLinearConv", qlinear_conv, ("DEP105",)),
    Case("QLinearMatMul", qlinear_matmul, ("DEP105",)),
    Case("DynamicQuantizeLinear and MatMulInteger", dynamic_matmul, ("DEP105",)),
    Case("ConvInteger", lambda: integer_operator("ConvInteger"), ("DEP105",)),
    Case("MatMulInteger", lambda: integer_operator("MatMulInteger"), ("DEP105",)),
    *(
        Case(f"{what} scale {value:g}", lambda value=value, what=what: _scaled(what, value), ("DEP106",),
             _INFINITE if value == np.inf else "")
        for what in ("activation", "weight")
        for value in (0.0, -0.02, np.nan, np.inf)
    ),
    Case("activation with scales by channel", lambda: conv(activation={"scale": [0.02] * 4, "axis": 1}, weight={}),
         ("DEP107",), _ONE_SCALE),
    Case("int8 activation in blocks", lambda: matmul(activation={"scale": np.full((4, 2), 0.02), "axis": 1, "block_size": 32}),
         ("DEP108",)),
    Case("int8 weight in blocks", lambda: matmul(activation={}, weight={"axis": 0, "block_size": 32}), ("DEP108",)),
    Case("convolution, scales along input channels", lambda: conv(activation={}, weight={"axis": 1}), ("DEP109",)),
    Case("product, scales along the inner axis", lambda: matmul(activation={}, weight={"axis": 0}), ("DEP109",)),
    Case("Gemm, transposed weight, axis 1", lambda: gemm(axis=1), ("DEP109",)),
    Case("Gemm, weight as it is, axis 0", lambda: gemm(axis=0, transB=0), ("DEP109",)),
    Case("weight quantized, activation float", lambda: conv(weight={}), ("DEP110",)),
    Case("activation quantized, weight float", lambda: conv(activation={}), ("DEP110",)),
    Case("MatMulNBits, float32 activation", lambda: weight_only("MatMulNBits"), ("DEP111",)),
    Case("int8 weight by Cast and Mul", lambda: weight_only("Cast"), ("DEP113",), _BUILDER),
    Case("opset 9", lambda: plain(opset=9)),
    Case("opset 8", lambda: plain(opset=8), ("DEP112",)),
    Case("opset 26", lambda: plain(opset=26), ("DEP112",)),
)  # fmt: skip


def _scaled(what: str, value: float) -> onnx.ModelProto:
    if what == "activation":
        return conv(activation={"scale": value}, weight={})
    return conv(activation={}, weight={"scale": value})
