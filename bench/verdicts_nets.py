"""Small nets as lists of operations: built, run by PyTorch, written as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Op:
    """One operation of a net.

    Args:
        kind: ``gemm``, ``matmul``, ``conv``, ``relu``, ``relu6``, ``maxpool``, ``flatten``, ``push`` (keeps what is there)
            or ``add`` (adds what was kept).
        name: Of its weights.
        stride: Of a convolution; ``pad`` and ``groups`` likewise.
    """

    kind: str
    name: str = ""
    stride: int = 1
    pad: int = 0
    groups: int = 1


@dataclass
class Net:
    """Operations, their weights, and the shape of one sample."""

    ops: list[Op]
    weights: Weights
    shape: tuple[int, ...]
    output: int

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of what one sample gives: scores, or scores of each place where nothing makes a vector of them."""
        whole = any(op.kind in ("flatten", "gemm", "matmul") for op in self.ops)
        return (self.output,) if whole else (self.output, *self.shape[1:])

    @property
    def layers(self) -> list[str]:
        """Names of the operations that have weights, in order."""
        return [op.name for op in self.ops if op.name]

    def with_weights(self, weights: Weights) -> Net:
        """The same operations with other weights."""
        return Net(self.ops, weights, self.shape, self.output)

    def copied(self) -> Net:
        """A copy whose weights may be changed."""
        return self.with_weights({name: values.copy() for name, values in self.weights.items()})


class Builder:
    """A net with random weights, layer by layer."""

    def __init__(self, random: np.random.Generator, shape: tuple[int, ...], matmul: bool) -> None:
        self.random, self.shape, self._dense = random, shape, "matmul" if matmul else "gemm"
        self.ops: list[Op] = []
        self.weights: Weights = {}

    def then(self, *kinds: str) -> None:
        """Operations without weights; ``flatten`` makes a vector, ``maxpool`` halves."""
        for kind in kinds:
            self.ops.append(Op(kind))
            if kind == "flatten":
                self.shape = (int(np.prod(self.shape)),)
            elif kind == "maxpool":
                self.shape = (self.shape[0], *(size // 2 for size in self.shape[1:]))

    def conv(self, channels: int, size: int = 3, stride: int = 1, groups: int = 1) -> None:
        """A convolution that keeps places, or halves them by its stride."""
        spatial = len(self.shape) - 1
        weight = (channels, self.shape[0] // groups, *[size] * spatial)
        name = self._add(weight, channels, int(np.prod(weight[1:])))
        self.ops.append(Op("conv", name, stride, size // 2, groups))
        self.shape = (channels, *((each + stride - 1) // stride for each in self.shape[1:]))

    def dense(self, size: int) -> None:
        """A fully connected layer."""
        name = self._add((self.shape[0], size), size, self.shape[0])
        self.ops.append(Op(self._dense, name))
        self.shape = (size,)

    def _add(self, shape: tuple[int, ...], channels: int, fan: int) -> str:
        name = f"l{len(self.weights) // 2}"
        self.weights[f"{name}.w"] = self.random.standard_normal(shape) * (2 / fan) ** 0.5
        self.weights[f"{name}.b"] = self.random.standard_normal(channels) * 0.05
        return name


def forward(ops: list[Op], values: Any, x: Any) -> Any:
    """The net in PyTorch, on tensors by name."""
    import torch.nn.functional as f

    kept: list[Any] = []
    for op in ops:
        if op.kind in ("gemm", "matmul"):
            x = x @ values[f"{op.name}.w"] + values[f"{op.name}.b"]
        elif op.kind == "conv":
            run = f.conv1d if x.dim() == 3 else f.conv2d
            x = run(x, values[f"{op.name}.w"], values[f"{op.name}.b"], op.stride, op.pad, 1, op.groups)
        elif op.kind == "maxpool":
            x = f.max_pool1d(x, 2) if x.dim() == 3 else f.max_pool2d(x, 2)
        elif op.kind == "push":
            kept.append(x)
        else:
            simple = {"relu": f.relu, "relu6": f.relu6, "flatten": lambda t: t.flatten(1)}
            x = x + kept.pop() if op.kind == "add" else simple[op.kind](x)
    return x


def write_model(net: Net, path: Path) -> Path:
    """Writes a net as ONNX; the batch is free."""
    nodes: list[Any] = []
    constants = [numpy_helper.from_array(values, name) for name, values in net.weights.items()]
    kept: list[str] = []
    name = "x"
    for number, op in enumerate(net.ops):
        if op.kind == "push":
            kept.append(name)
            continue
        nodes += _nodes(op, number, name, kept, len(net.shape) - 1)
        name = nodes[-1].output[0]
        constants += [numpy_helper.from_array(np.float32(value), f"clip{number}.{end}")
                      for end, value in (("low", 0), ("high", 6)) if op.kind == "relu6"]  # fmt: skip
    nodes[-1].output[0] = "y"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *net.shape])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *net.output_shape])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def _nodes(op: Op, number: int, name: str, kept: list[str], spatial: int) -> list[Any]:
    """The ONNX nodes of one operation on the tensor ``name``."""
    out = f"t{number}"
    weights = [f"{op.name}.w", f"{op.name}.b"]
    if op.kind == "gemm":
        return [helper.make_node("Gemm", [name, *weights], [out], op.name)]
    if op.kind == "matmul":
        return [helper.make_node("MatMul", [name, weights[0]], [f"{out}.m"], op.name),
                helper.make_node("Add", [f"{out}.m", weights[1]], [out], f"{op.name}.add")]  # fmt: skip
    if op.kind == "conv":
        sizes: dict[str, Any] = {"strides": [op.stride] * spatial, "pads": [op.pad] * 2 * spatial}
        return [helper.make_node("Conv", [name, *weights], [out], op.name, group=op.groups, **sizes)]
    if op.kind == "maxpool":
        sizes = {"kernel_shape": [2] * spatial, "strides": [2] * spatial}
        return [helper.make_node("MaxPool", [name], [out], f"pool{number}", **sizes)]
    inputs = {"add": [name, *kept[-1:]], "relu6": [name, f"clip{number}.low", f"clip{number}.high"]}
    if op.kind == "add":
        kept.pop()
    kinds = {"add": "Add", "relu": "Relu", "relu6": "Clip", "flatten": "Flatten"}
    return [helper.make_node(kinds[op.kind], inputs.get(op.kind, [name]), [out], f"{op.kind}{number}")]
