"""LiteRT models made with LiteRT's own schema: a small network in float32, and what a converter to int8 makes of it."""

from __future__ import annotations

from collections.abc import Callable

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = schema.TensorType
OPS = schema.BuiltinOperator
OPTIONS = schema.BuiltinOptions


class Maker:
    """A model under construction; ``model`` and ``graph`` may be changed before ``data``."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.description = 3, "made by a test"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.model.subgraphs = [self.graph]
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, name, shape, kind, values=None, scale=None, zero=0, axis=0, free=None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, np.array(shape, np.int32), kind, 0
        if free is not None:
            made.shapeSignature = np.array(free, np.int32)
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            made.buffer = len(self.model.buffers) - 1
        if scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.atleast_1d(np.asarray(scale, np.float32))
            made.quantization.zeroPoint = np.broadcast_to(
                np.int64(zero), made.quantization.scale.shape
            ).copy()
            made.quantization.quantizedDimension = axis
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(self, code, inputs, outputs, options=None, kind=0, custom=None, version=1) -> None:
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version
        made.customCode = custom
        self.model.operatorCodes.append(made)
        step = schema.OperatorT()
        step.opcodeIndex = len(self.model.operatorCodes) - 1
        step.inputs, step.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        step.builtinOptions, step.builtinOptionsType = options, kind
        self.graph.operators.append(step)

    def data(self) -> bytes:
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def sign(
    maker: Maker, *, outputs: dict[str, int] | None = None, key: str = "serving_default", graph: int = 0
) -> None:
    """Adds a signature: the input ``x`` and outputs by the tensors' numbers, by default the first as ``a``."""

    def named(name: str, tensor: int):
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, tensor
        return made

    held = schema.SignatureDefT()
    held.signatureKey, held.subgraphIndex = key, graph
    held.inputs = [named("x", int(maker.graph.inputs[0]))]
    ends = {"a": int(maker.graph.outputs[0])} if outputs is None else outputs
    held.outputs = [named(name, tensor) for name, tensor in ends.items()]
    maker.model.signatureDefs = [*(maker.model.signatureDefs or []), held]


def _float(seed: int = 0):
    random = np.random.default_rng(seed)
    return {
        "conv/w": random.normal(0, 0.3, (4, 3, 3, 2)).astype(np.float32),
        "conv/b": random.normal(0, 0.2, 4).astype(np.float32),
        "fc/w": random.normal(0, 0.2, (5, 64)).astype(np.float32),
        "fc/b": random.normal(0, 0.2, 5).astype(np.float32),
    }


def network(*, quantized: bool, change: Callable[[Maker, dict], None] | None = None, seed: int = 0) -> bytes:
    """Convolution, reshape and a full connection on [1, 4, 4, 2]; ``change`` sees the values before they are stored."""
    maker, values = Maker(), _float(seed)
    if change is not None:
        change(maker, values)
    kind = TYPES.INT8 if quantized else TYPES.FLOAT32
    steps = {"x": 0.03, "c": 0.1, "y": 0.15} if quantized else {}
    x = maker.tensor("x", [1, 4, 4, 2], TYPES.FLOAT32)
    source = maker.tensor("x_int8", [1, 4, 4, 2], kind, scale=steps["x"]) if quantized else x
    conv = maker.tensor("c", [1, 4, 4, 4], kind, scale=steps.get("c"))
    flat = maker.tensor("f", [1, 64], kind, scale=steps.get("c"))
    inner = maker.tensor("y_int8", [1, 5], kind, scale=steps["y"]) if quantized else None
    y = maker.tensor("y", [1, 5], TYPES.FLOAT32)
    weights = {
        layer: _stored(maker, layer, values, steps.get(source_name))
        for layer, source_name in (("conv", "x"), ("fc", "c"))
    }
    shape = maker.tensor("shape", [2], TYPES.INT32, np.array([1, 64], np.int32))
    if quantized:
        maker.operator(OPS.QUANTIZE, [x], [source], schema.QuantizeOptionsT(), OPTIONS.QuantizeOptions)
    same = schema.Conv2DOptionsT()
    same.padding, same.strideW, same.strideH, same.dilationWFactor, same.dilationHFactor = 0, 1, 1, 1, 1
    maker.operator(OPS.CONV_2D, [source, *weights["conv"]], [conv], same, OPTIONS.Conv2DOptions, version=3)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = np.array([1, 64], np.int32)
    maker.operator(OPS.RESHAPE, [conv, shape], [flat], reshape, OPTIONS.ReshapeOptions)
    last = y if inner is None else inner
    full = schema.FullyConnectedOptionsT()
    maker.operator(
        OPS.FULLY_CONNECTED, [flat, *weights["fc"]], [last], full, OPTIONS.FullyConnectedOptions, version=4
    )
    if inner is not None:
        maker.operator(OPS.DEQUANTIZE, [inner], [y], schema.DequantizeOptionsT(), OPTIONS.DequantizeOptions)
    maker.graph.inputs, maker.graph.outputs = np.array([x], np.int32), np.array([y], np.int32)
    after = values.get("after")
    if after is not None:
        after(maker)
    return maker.data()


def _stored(maker: Maker, layer: str, values: dict, step: float | None) -> tuple[int, int]:
    weight, bias = values[f"{layer}/w"], values[f"{layer}/b"]
    if step is None:
        return (
            maker.tensor(f"{layer}/w", weight.shape, TYPES.FLOAT32, weight),
            maker.tensor(f"{layer}/b", bias.shape, TYPES.FLOAT32, bias),
        )
    scale = (np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127).astype(np.float32)
    spread = scale.reshape(-1, *[1] * (weight.ndim - 1))
    codes = np.clip(np.rint(weight / spread), -127, 127).astype(np.int8)
    codes = values.get(f"{layer}/edit", lambda each: each)(codes)
    wide = np.float32(step) * scale
    return (
        maker.tensor(f"{layer}/w", weight.shape, TYPES.INT8, codes, scale),
        maker.tensor(f"{layer}/b", bias.shape, TYPES.INT32, np.rint(bias / wide).astype(np.int32), wide),
    )


def weights_only(mode: str) -> bytes:
    """The same network with float activations and weights in ``float16`` or, as dynamic range quantization does, ``int8``."""
    maker, values = Maker(), _float()
    x, c, f, y = (
        maker.tensor(name, shape, TYPES.FLOAT32)
        for name, shape in (("x", [1, 4, 4, 2]), ("c", [1, 4, 4, 4]), ("f", [1, 64]), ("y", [1, 5]))
    )

    def stored(name: str) -> int:
        array = values[name]
        if mode == "float16":
            half = maker.tensor(name, array.shape, TYPES.FLOAT16, array.astype(np.float16))
            wide = maker.tensor(f"{name}_f", array.shape, TYPES.FLOAT32)
            maker.operator(
                OPS.DEQUANTIZE, [half], [wide], schema.DequantizeOptionsT(), OPTIONS.DequantizeOptions
            )
            return wide
        if array.ndim == 1:
            return maker.tensor(name, array.shape, TYPES.FLOAT32, array)
        largest = (
            np.abs(array).reshape(len(array), -1).max(axis=1) if array.ndim == 4 else np.abs(array).max()
        )
        step = np.asarray(largest / 127, np.float32)
        spread = step.reshape(-1, *[1] * (array.ndim - 1)) if step.ndim else step
        codes = np.clip(np.rint(array / spread), -127, 127).astype(np.int8)
        return maker.tensor(name, array.shape, TYPES.INT8, codes, step)

    shape = maker.tensor("shape", [2], TYPES.INT32, np.array([1, 64], np.int32))
    conv, full = ([stored(f"{layer}/w"), stored(f"{layer}/b")] for layer in ("conv", "fc"))
    same = schema.Conv2DOptionsT()
    same.padding, same.strideW, same.strideH, same.dilationWFactor, same.dilationHFactor = 0, 1, 1, 1, 1
    maker.operator(OPS.CONV_2D, [x, *conv], [c], same, OPTIONS.Conv2DOptions, version=5)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = np.array([1, 64], np.int32)
    maker.operator(OPS.RESHAPE, [c, shape], [f], reshape, OPTIONS.ReshapeOptions)
    maker.operator(
        OPS.FULLY_CONNECTED,
        [f, *full],
        [y],
        schema.FullyConnectedOptionsT(),
        OPTIONS.FullyConnectedOptions,
        version=9,
    )
    maker.graph.inputs, maker.graph.outputs = np.array([x], np.int32), np.array([y], np.int32)
    return maker.data()
