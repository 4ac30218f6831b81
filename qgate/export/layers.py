"""Which layers of a PyTorch model and of its export are compared, and where they are read.

A layer that a quantizer stands behind is read as that quantizer's codes: reading the tensor in front of it would keep
ONNX Runtime from fusing the operation with its quantizers, and another model would be observed than the one that is kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from qgate.export.graph import CODES as ENDS
from qgate.export.graph import PRODUCTS
from qgate.formats.model import Constant, Node, StaticModel
from qgate.measure.layers.layer import CODES, VALUES, Layer
from qgate.quant.constants import Array, numbers
from qgate.quant.tensorview import canonical_name

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


class ExportedGraph:
    """An export as its layers are looked for.

    Args:
        model: The export, as our own reader reads it.

    Attributes:
        nodes: Its operations in order.
        made: The operation that makes a tensor; ``readers`` those that read it.
        ends: Names of its outputs.
    """

    def __init__(self, model: StaticModel) -> None:
        self._constants = model.graph.constants
        self.nodes = model.graph.nodes
        self.made = {output: node for node in self.nodes for output in node.outputs}
        self.readers: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                self.readers[name].append(node)
        self.ends = {tensor.name for tensor in model.graph.outputs}

    def value(self, name: str) -> Array | None:
        """A constant's values, whether it is an initializer or the legacy exporter's Constant node; None for others."""
        held = self._constants.get(name)
        node = self.made.get(name)
        if held is None and node is not None and node.op == "Constant":
            held = node.attribute("value")
        return numbers(np.asarray(held.load())) if isinstance(held, Constant) else None

    def dtype(self, name: str) -> str:
        """A constant's element type; empty for others."""
        held = self._constants.get(name)
        node = self.made.get(name)
        if held is None and node is not None and node.op == "Constant":
            held = node.attribute("value")
        return held.dtype if isinstance(held, Constant) else ""

    def only_reader(self, tensor: str) -> Node | None:
        """The one operation that reads a tensor which does not leave the model."""
        found = self.readers.get(tensor, [])
        return found[0] if len(found) == 1 and tensor not in self.ends else None

    def quantizer_behind(self, tensor: str, *, far: bool) -> Node | None:
        """The quantizer that a tensor goes into and nothing else does.

        Args:
            tensor: The tensor.
            far: Through operations in between that are no products.
        """
        node = self.only_reader(tensor)
        while far and node is not None and node.op not in (QUANTIZE, *PRODUCTS) and node.outputs:
            node = self.only_reader(node.outputs[0])
        return node if node is not None and node.op == QUANTIZE and node.outputs else None

    def dequantized(self, quantizer: Node) -> str:
        """What the codes of a quantizer are read as: the output of the DequantizeLinear behind it; empty without one."""
        todo = [quantizer.outputs[0]]
        while todo:
            for node in self.readers.get(todo.pop(), []):
                if node.op == DEQUANTIZE and node.outputs:
                    return node.outputs[0]
                if node.op == "Cast":
                    todo.append(node.outputs[0])
        return ""

    def bounds(self, quantizer: Node) -> tuple[float, float, str] | None:
        """Least and greatest number that a quantizer's codes stand for, and their type; None where it has not one scale.

        Without a zero point ONNX means uint8 codes and zero.
        """
        scale = self.value(quantizer.inputs[1]) if len(quantizer.inputs) > 1 else None
        dtype, zero = "uint8", 0.0
        if len(quantizer.inputs) > 2 and quantizer.inputs[2]:
            held = self.value(quantizer.inputs[2])
            if held is None or held.size != 1:
                return None
            dtype, zero = self.dtype(quantizer.inputs[2]), float(held.item())
        if scale is None or scale.size != 1 or dtype not in ENDS:
            return None
        step = float(scale.item())
        if not np.isfinite(step) or step <= 0:
            return None
        least, greatest = ENDS[dtype]
        return (least - zero) * step, (greatest - zero) * step, dtype


def paired_layers(model: StaticModel, exported: StaticModel) -> tuple[Layer, ...]:
    """Layers that both name alike, each once, in the export's order.

    Args:
        model: The PyTorch model.
        exported: Its export.

    Returns:
        Layers whose ``node`` is what messages call them: the operation of a program, the module of a checkpoint.
    """
    graph = ExportedGraph(exported)
    found = _operations(model, graph) if model.format == "torch-export" else _modules(model, graph)
    by_tensor: dict[str, Layer] = {}
    for layer in found:
        by_tensor.setdefault(layer.candidate, layer)
    return tuple(by_tensor.values())


def beside_unrounded(layers: Sequence[Layer], exported: StaticModel) -> tuple[Layer, ...]:
    """The same layers of an export beside its copy whose activations are not quantized, see ``recipe.unrounded``."""
    graph = ExportedGraph(exported)
    behind: Mapping[str, str] = {
        node.outputs[0]: graph.dequantized(node)
        for node in graph.nodes
        if node.op == QUANTIZE and node.outputs
    }
    return tuple(replace(layer, reference=behind.get(layer.candidate, layer.candidate)) for layer in layers)


def _operations(model: StaticModel, graph: ExportedGraph) -> Iterator[Layer]:
    """A program's operations, by the names that the dynamo exporter keeps."""
    known = {output for node in model.graph.nodes for output in node.outputs}
    for node in graph.nodes:
        output = next(iter(node.outputs), "")
        if node.op in PRODUCTS:
            quantizer = graph.quantizer_behind(output, far=True)
            read = "" if quantizer is None else graph.dequantized(quantizer)
            layer = None if quantizer is None or read not in known else coded_layer(graph, read, quantizer)
            if layer is not None:
                yield replace(layer, node=output if output in known else read, op=node.op)
                continue
        if output in known and (node.op in PRODUCTS or output in graph.ends):
            yield Layer(output, output, VALUES, output, node.op, sampled=True)


def _modules(model: StaticModel, graph: ExportedGraph) -> Iterator[Layer]:
    """A module that holds a weight is named in the scope of its nodes; the last that computes makes its output."""
    root = model.root
    for tensor in model.graph.constants:
        path, _, last = canonical_name(tensor, root).rpartition(".")
        if last != "weight" or not path:
            continue
        inside = [
            node
            for node in graph.nodes
            if node.op in (*PRODUCTS, "Relu") and f"{module_of(node.name)}.".startswith(f"{path}.")
        ]
        if not inside:
            continue
        quantizer = graph.quantizer_behind(inside[-1].outputs[0], far=False)
        layer = None if quantizer is None else coded_layer(graph, path, quantizer)
        plain = Layer(path, inside[-1].outputs[0], VALUES, path, inside[-1].op, sampled=True)
        yield plain if layer is None else replace(layer, node=path, op=inside[-1].op)


def coded_layer(graph: ExportedGraph, reference: str, quantizer: Node) -> Layer | None:
    """A quantizer's codes beside a tensor of the PyTorch model; None where it has not one scale."""
    bounds = graph.bounds(quantizer)
    if bounds is None:
        return None
    low, high, dtype = bounds
    _, scale, *zero = quantizer.inputs
    return Layer(
        reference, quantizer.outputs[0], CODES, "", "", scale=scale, zero=next(iter(zero), ""), low=low, high=high,
        dtype=dtype, sampled=True,
    )  # fmt: skip


def module_of(name: str) -> str:
    """The module that a node's scope tells of: ``/block/block.0/conv/Conv`` is in ``block.0.conv``.

    A container that is not called itself leaves its name to its members, and one that is repeats it.
    """
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)
