"""A candidate with some of its layers back in float: the reference's weights, or its inputs unrounded, or both.

An operation with weights (Conv, ConvTranspose, MatMul, which a Gemm is in the float view) is written anew in float
beside the old one, which is left without a reader. Any other operation reads its activations in front of their
quantizers. Every other node stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

from qgate.bisect.surgery import add_constant, prune, put_in_place
from qgate.errors import MeasureError
from qgate.quant.alignment import Alignment
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer

_WINDOW = (
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "pads",
    "strides",
    "output_padding",
    "output_shape",
)
_RESTORABLE = ("Conv", "ConvTranspose", "MatMul")
_CODE_KEEPING = (
    "MaxPool",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Slice",
    "Gather",
    "Identity",
)


class What(StrEnum):
    """What of a layer is put back."""

    ALL = "all"
    WEIGHTS = "weights"
    INPUTS = "inputs"
    OUTPUT = "output"


class Repair:
    """Writes repaired candidates.

    Args:
        candidate: The staged copy, which the strict reader has accepted; repaired files must lie in its folder where it has
            side files.
        alignment: Which operation is which.
        reference: The reference's float view.
        view: The candidate's float view.
    """

    def __init__(
        self, candidate: Path, alignment: Alignment, reference: FloatGraph, view: FloatGraph
    ) -> None:
        self._path = candidate
        self._reference = reference
        self._view = view
        self._tensors = alignment.tensors
        self._twins = {theirs.label: (ours, theirs) for ours, theirs in alignment.nodes}
        self._makers = reference.producers()
        self._own_makers = view.producers()

    def can_restore(self, node: str) -> bool:
        """Whether this operation can be put back."""
        if node not in self._twins:
            return False
        ours, theirs = self._twins[node]
        return self._has_weights(ours, theirs) or self._reads_rounded(theirs)

    def has_weights(self, node: str) -> bool:
        """Whether it is put back with the reference's weights."""
        return self._has_weights(*self._twins[node])

    def _reads_rounded(self, node: FloatNode) -> bool:
        """Whether it is an operation of the file that reads activations through a quantizer beside it."""
        return node.op == node.node.op and any(
            quantizer.codes and not quantizer.inherent
            for name in node.inputs
            for quantizer in self._view.quantizers.get(name, ())
        )

    def _has_weights(self, ours: FloatNode, theirs: FloatNode) -> bool:
        return (
            theirs.op in _RESTORABLE
            and ours.op == theirs.op
            and len(theirs.inputs) > 1
            and theirs.inputs[0] not in self._view.constants
            and theirs.inputs[1] in self._view.constants
            and ours.inputs[1] in self._reference.constants
            and all(name in self._reference.constants for name in ours.inputs[2:3] if name)
        )

    def reference_name(self, node: str) -> str:
        """What the reference calls the operation; empty where its file does not name it."""
        return self._twins[node][0].node.name

    def cost(self, node: str) -> int:
        """Bytes that its weights take more in float32."""
        if not self._has_weights(*self._twins[node]):
            return 0
        weight = self._view.constants[self._twins[node][1].inputs[1]]
        return weight.size * max(32 - weight.bits, 0) // 8

    def write(self, nodes: Iterable[str], what: What, target: Path) -> None:
        """Writes the candidate with these operations put back.

        Args:
            nodes: Operations for which ``can_restore`` holds.
            what: What is put back.
            target: The file to write.

        Raises:
            MeasureError: It cannot be put back like that.
        """
        import onnx

        model = onnx.load(self._path, load_external_data=False)
        for number, node in enumerate(nodes):
            ours, theirs = self._twins[node]
            own = f"float{number}"
            if what is not What.OUTPUT:
                if self._has_weights(ours, theirs):
                    self._restore(model.graph, ours, theirs, what, own)
                else:
                    self._unround(model.graph, theirs, own)
            if what in (What.ALL, What.OUTPUT):
                self._unround_output(model.graph, theirs, own)
        prune(model.graph)
        onnx.save(model, target)

    def _unround(self, graph: Any, node: FloatNode, own: str) -> None:
        """Lets an operation read its activations as they are in front of their quantizers."""
        place = next(
            (i for i, each in enumerate(graph.node) if list(each.output) == list(node.node.outputs)), None
        )
        if place is None:
            raise MeasureError(f"no operation of the file makes {node.outputs[0]!r}")
        made: list[Any] = []
        for i, name in enumerate(node.inputs[: len(graph.node[place].input)]):
            if any(not quantizer.inherent for quantizer in self._view.quantizers.get(name, ())):
                source, nodes = self._activated(name, f"{own}/{i}")
                graph.node[place].input[i] = source
                made += nodes
        nodes = list(graph.node)
        del graph.node[:]
        graph.node.extend([*nodes[:place], *made, *nodes[place:]])

    def rounds_output(self, node: str) -> bool:
        """Whether a quantizer beside it rounds what it makes."""
        quantizers = self._view.quantizers.get(self._twins[node][1].outputs[0], ())
        return any(q.codes and not q.inherent for q in quantizers)

    def readers(self, node: str) -> tuple[str, ...]:
        """What the reference calls the operations that read this one's output; those without a name are left out."""
        output = self._twins[node][0].outputs[0]
        found = [each.node.name for each in self._reference.nodes if output in each.inputs]
        return tuple(dict.fromkeys(name for name in found if name))

    def _unround_output(self, graph: Any, node: FloatNode, own: str) -> None:
        """Lets whatever reads an operation's rounded output read it as it is."""
        name = node.outputs[0]
        codes = {q.codes for q in self._view.quantizers.get(name, ()) if q.codes and not q.inherent}
        rounded = {
            each.output[0]
            for each in graph.node
            if each.op_type == "DequantizeLinear" and each.input[0] in codes
        } - {each.name for each in graph.output}
        if not rounded:
            return
        source, made = self._activated(name, f"{own}/out")
        nodes = list(graph.node)
        for each in nodes:
            for i, read in enumerate(each.input):
                if read in rounded:
                    each.input[i] = source
        place = next(i for i, each in enumerate(nodes) if name in each.output)
        del graph.node[:]
        graph.node.extend([*nodes[: place + 1], *made, *nodes[place + 1 :]])

    def _restore(self, graph: Any, ours: FloatNode, theirs: FloatNode, what: What, own: str) -> None:
        from onnx import helper

        weights = (self._reference, ours) if what is not What.INPUTS else (self._view, theirs)
        source, made = self._input(theirs, what, own)
        inputs = [source]
        for place, name in enumerate(weights[1].inputs[1:3], 1):
            if name:
                inputs.append(add_constant(graph, f"{own}/{place}", weights[0].constants[name].values()))
        output = theirs.outputs[0]
        coded = next((q for q in self._view.quantizers.get(output, ()) if q.inherent), None)
        result = output if coded is None else f"{own}/result"
        if theirs.op == "MatMul":
            product = result if len(inputs) < 3 else f"{own}/product"
            made.append(helper.make_node("MatMul", inputs[:2], [product], f"{own}/MatMul"))
            if len(inputs) > 2:
                made.append(helper.make_node("Add", [product, inputs[2]], [result], f"{own}/Add"))
        else:
            window: dict[str, Any] = {
                key: theirs.node.attributes[key] for key in _WINDOW if key in theirs.node.attributes
            }
            kernel = helper.make_node(theirs.op, inputs, [result], f"{own}/{theirs.op}")
            for key, each in window.items():
                kernel.attribute.append(
                    helper.make_attribute(key, list(each) if isinstance(each, tuple) else each)
                )
            made.append(kernel)
        if coded is not None:
            made.append(
                helper.make_node("QuantizeLinear", [result, *_parameters(coded)], [output], f"{own}/Q")
            )
        put_in_place(graph, output, made)

    def _input(self, node: FloatNode, what: What, own: str) -> tuple[str, list[Any]]:
        """What the operation reads, and the nodes that make it."""
        from onnx import helper

        name = node.inputs[0]
        quantizers = self._view.quantizers.get(name, [])
        inherent = self._codes(name)
        if inherent is not None:
            if what is What.INPUTS:
                raise MeasureError("the operation before it writes codes, so its input cannot be unrounded")
            read = helper.make_node(
                "DequantizeLinear", [name, *_parameters(inherent)], [f"{own}/x"], f"{own}/DQ"
            )
            return f"{own}/x", [read]
        if what is What.WEIGHTS and quantizers:
            first = quantizers[0]
            read = helper.make_node(
                "DequantizeLinear", [first.codes, *_parameters(first)], [f"{own}/x"], f"{own}/DQ"
            )
            if first.scale.size > 1:
                read.attribute.append(helper.make_attribute("axis", first.axis))
            return f"{own}/x", [read]
        if what is What.WEIGHTS and self._view.dynamic and node.node.inputs[0] != name:
            raise MeasureError("its input is quantized while it runs, so its weights are not put back alone")
        return self._activated(name, own) if quantizers else (name, [])

    def _codes(self, name: str) -> Quantizer | None:
        """How to read a tensor that is codes itself, also through operations that take codes as they are."""
        while name:
            quantizers = self._view.quantizers.get(name, [])
            if quantizers:
                return next((q for q in quantizers if q.inherent), None)
            maker = self._own_makers.get(name)
            if maker is None or maker.op not in _CODE_KEEPING:
                return None
            name = maker.inputs[0]
        return None

    def _activated(self, name: str, own: str) -> tuple[str, list[Any]]:
        """A tensor without its quantizer, but with the activation function that the quantizer stands for.

        Converters leave Relu and Clip out where the quantizer's range ends at the same value.
        """
        from onnx import helper

        maker = self._makers.get(self._tensors.get(name, ""))
        mine = self._own_makers.get(name)
        if maker is None or (mine is not None and mine.op == maker.op) or maker.op not in ("Relu", "Clip"):
            low = min(q.bounds()[0] for q in self._view.quantizers[name])
            absorbed = maker is not None and mine is not None and mine.op in _RESTORABLE and low == 0
            if not absorbed:
                return name, []
            return f"{own}/relu", [helper.make_node("Relu", [name], [f"{own}/relu"], f"{own}/Relu")]
        if maker.op == "Relu":
            return f"{own}/relu", [helper.make_node("Relu", [name], [f"{own}/relu"], f"{own}/Relu")]
        low = min(q.bounds()[0] for q in self._view.quantizers[name])
        high = max(q.bounds()[1] for q in self._view.quantizers[name])
        bounds = [
            helper.make_node("Constant", [], [f"{own}/{side}"], f"{own}/{side}", value_float=float(value))
            for side, value in (("low", low), ("high", high))
        ]
        clip = helper.make_node("Clip", [name, f"{own}/low", f"{own}/high"], [f"{own}/clip"], f"{own}/Clip")
        return f"{own}/clip", [*bounds, clip]


def _parameters(quantizer: Quantizer) -> list[str]:
    return [quantizer.scale_input, *([quantizer.zero_input] if quantizer.zero_input else [])]
