"""Builds the float view of a graph, one node of the file after another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from qgate.errors import FormatError
from qgate.formats.model import Graph, Node, StaticModel
from qgate.quant.attributes import normalised
from qgate.quant.codes import carry, operands
from qgate.quant.constants import Array, ConstantValue, Quantized
from qgate.quant.edges import DYNAMIC, read_behind
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer, held_graphs, named_graphs, outer_names
from qgate.quant.folding import fold
from qgate.quant.operators.table import HANDLERS
from qgate.quant.order import in_order
from qgate.quant.parameters import coded_origin, computed_parameters
from qgate.quant.scope import Scope
from qgate.quant.simplify import simplify
from qgate.quant.tables import quantize_table
from qgate.quant.wellformed import check_signature

_DYNAMIC = ("DynamicQuantize", "MatMulInteger", "ConvInteger")


def float_view(model: StaticModel, *, fold_norms: bool = True) -> FloatGraph:
    """The float view of a model's main graph, simplified.

    Args:
        model: The model.
        fold_norms: Fold BatchNorm into the layers before; not needed where both models still have theirs.
    """
    return _built(Builder(model.graph, model.opsets, fold_norms=fold_norms))


def _built(builder: Builder) -> FloatGraph:
    for node in in_order(builder.graph):
        builder.add(node)
    graph = builder.finish()
    simplify(graph, fold_norms=builder.fold_norms)
    return graph


class Builder(Scope):
    """Collects the float view; ``alias`` maps the file's tensors to those of the view.

    Args:
        graph: The graph, or the body of a node.
        opsets: Version by domain.
        outer: The builder of the graph around a body.
        fold_norms: As for ``float_view``; bodies are simplified as they are built.
    """

    def __init__(
        self,
        graph: Graph,
        opsets: Mapping[str, int],
        outer: Builder | None = None,
        *,
        fold_norms: bool = True,
    ) -> None:
        super().__init__(graph, outer)
        self.around = outer
        self.opsets = opsets
        self.fold_norms = fold_norms
        self.quantizers: dict[str, list[Quantizer]] = defaultdict(list)
        self.dynamic = False
        self.absorbed: set[int] = set()

    # -- adding -----------------------------------------------------------------------------------

    def add(self, node: Node) -> None:
        """Adds one node of the file.

        Raises:
            FormatError: Its operands or attributes are not what its operator takes.
        """
        check_signature(node, self.opsets)
        try:
            self._add(node)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise FormatError(
                f"the operands or attributes of {node.op} {node.label!r} are not those that the operator takes",
                remedy="Export the model again; do not merge this file",
                rule="ART105",
                tensor=node.label,
            ) from error

    def _add(self, node: Node) -> None:
        for name in node.inputs:
            if name not in self.known:
                self.defect(
                    "graph", f"node reads the tensor {name!r}, which nothing before it makes", node=node.label
                )
                self.known.add(name)
        self.known.update(node.outputs)
        if node.position in self.absorbed:
            return
        handler = HANDLERS.get((node.domain, node.op)) or HANDLERS.get(("*", node.op))
        if not node.outputs[0] and node.op != "DynamicQuantizeLSTM":
            handler = None
        if handler is None or not handler(self, node):
            self.generic(node)

    def generic(self, node: Node) -> None:
        """A node that the view keeps: folded if all it reads is constant."""
        folded = fold(node, [self.constant(name) for name in node.inputs]) if len(node.outputs) == 1 else None
        if folded is not None:
            self.constants[node.outputs[0]] = folded
            return
        self.emit(node, node.op, operands(self, node), list(node.outputs))
        carry(self, node)

    def emit(
        self,
        node: Node,
        op: str,
        inputs: list[str],
        outputs: list[str],
        attributes: Mapping[str, Any] | None = None,
        **stages: str,
    ) -> FloatNode:
        """Adds an operation to the view."""
        domain = node.domain if op == node.op else ""
        bodies = self.bodies(node)
        made = FloatNode(
            op=op,
            domain=domain,
            inputs=inputs,
            outputs=outputs,
            attributes={},
            node=node,
            stages=dict(stages),
            implicit=tuple(sorted(self.ref(name) for name in outer_names(held_graphs(node)))),
            bodies=bodies,
        )
        made.attributes = normalised(
            made,
            node.attributes if attributes is None else attributes,
            self.opsets.get(domain, 1),
            self.constants,
        )
        self.nodes.append(made)
        return made

    def bodies(self, node: Node) -> dict[str, FloatGraph]:
        """The float views of a node's bodies, by attribute; constants from around them are theirs as well."""
        made: dict[str, FloatGraph] = {}
        for key, body in named_graphs(node):
            inner = Builder(body, self.opsets, self, fold_norms=self.fold_norms)
            made[key] = _built(inner)
            self.dynamic = self.dynamic or inner.dynamic
            self.defects.extend(made[key].defects)
        return made

    def quantized(
        self, codes: str, scale: str, zero: str, axis: int | None, block: int = 0
    ) -> ConstantValue | None:
        """A constant of codes with its scale and zero point, if all three are constant."""
        held, scale_value = self.constant(codes), self.constant(scale)
        if held is None or scale_value is None:
            return None
        zero_value = self.array(zero) if zero else None
        scale_array = scale_value.values()
        made = Quantized(
            dtype=held.dtype,
            scale=scale_array,
            zero_point=zero_value,
            axis=axis if scale_array.size > 1 else None,
            block=block,
            scale_name=scale_value.name,
            zero_name=zero,
            scale_dtype=scale_value.dtype,
        )
        return replace(held, quantized=made)

    def put_constant(self, name: str, value: ConstantValue) -> str:
        """Stores a constant of the view under a name of the file."""
        self.constants[name] = value
        return name

    def mark(self, node: Node, source: str, codes: str, scale: str, zero: str) -> None:
        """Marks a tensor as quantized by a static quantizer whose codes go to ``codes``."""
        scale_value = self.constant(scale)
        if scale_value is None:
            return
        zero_value = self.constant(zero) if zero else None
        dtype = zero_value.dtype if zero_value is not None else self.code_type(node, codes)
        quantizer = Quantizer(
            tensor=self.ref(source),
            source=source,
            node=node.label,
            dtype=dtype,
            scale=scale_value.values(),
            zero_point=None if zero_value is None else zero_value.codes(),
            scale_name=scale_value.name,
            zero_name=zero_value.name if zero_value is not None else "",
            inherent=source == codes,
            codes=codes,
            scale_input=scale,
            zero_input=zero,
            axis=int(node.attribute("axis", 1)) if node.op == "QuantizeLinear" else 1,
            before=self._quantizer_before(source) if source != codes else None,
        )
        self.quantizers[quantizer.tensor].append(quantizer)
        self.coded[codes] = quantizer

    def _quantizer_before(self, name: str) -> Quantizer | None:
        """The quantizer whose codes, dequantized, a tensor is."""
        for _ in range(len(self.alias) + 1):
            if name in self.coded:
                return self.coded[name]
            if name not in self.alias:
                break
            name = self.alias[name]
        return None

    def check_coded(self, node: Node, codes: str, scale: str, zero: str) -> None:
        """Compares the scale and zero point that a node reads codes with against those that made them."""
        self.check_dynamic(node, codes, zero, scale)
        made = self.coded.get(codes)
        if made is None:
            quantize_table(self, node, codes, scale, zero)
        scale_value, zero_value = self.array(scale), self.array(zero) if zero else None
        if made is None or scale_value is None:
            return
        same_scale = np.array_equal(made.scale.reshape(-1), scale_value.astype(made.scale.dtype).reshape(-1))
        made_zero = np.zeros(1) if made.zero_point is None else made.zero_point.reshape(-1)
        read_zero = np.zeros(1) if zero_value is None else zero_value.reshape(-1)
        if not same_scale:
            self.defect(
                "requantized",
                f"codes made with scale {made.scale_name!r} are read with another scale",
                node=node.label,
                tensor=scale,
                evidence={"made_with": _first(made.scale), "read_with": _first(scale_value)},
            )
        if not np.array_equal(made_zero, read_zero):
            self.defect(
                "requantized",
                f"codes made with zero point {made.zero_name!r} are read with another zero point",
                node=node.label,
                tensor=zero or scale,
                evidence={"made_with": _first(made_zero), "read_with": _first(read_zero)},
            )

    def check_dynamic(self, node: Node, codes: str, zero: str, scale: str | None = None) -> None:
        """Sees to it that codes which are made while the model runs are read with their own parameters.

        A constant in their place is right for some inputs and wrong for others. Codes that were moved are theirs as well.
        """
        origin = coded_origin(self, codes)
        if origin not in self.dynamic_of.values():
            return
        for what, name in (("zero point", zero), *((("scale", scale),) if scale is not None else ())):
            if self.dynamic_of.get(name) != origin:
                self.defect(
                    "requantized",
                    f"codes that are quantized while the model runs are read with another {what} than their own",
                    node=node.label,
                    tensor=name or codes,
                )

    def code_type(self, node: Node, codes: str) -> str:
        """Element type of the codes that a quantizer without a zero point makes."""
        named = self.graph.types.get(codes)
        code = node.attribute("output_dtype", 0)
        if code:
            from qgate.formats.onnx.dtypes import DTYPES

            return DTYPES.get(code, ("uint8", 8))[0]
        return named.dtype if named and named.dtype else "uint8"

    def finish(self) -> FloatGraph:
        """The view, pruned to what the outputs need."""
        self.defects.extend(computed_parameters(self, self.graph.nodes))
        outputs = []
        for out in self.graph.outputs:
            if out.name not in self.known:
                self.defect("graph", f"nothing makes the output {out.name!r}", tensor=out.name)
            outputs.append((out.name, self.ref(out.name)))
        for name in {n for node in self.nodes for n in node.inputs} | {ref for _, ref in outputs}:
            held = self.constant(name) if name not in self.own and name not in self.constants else None
            if held is not None:
                self.constants[name] = held
        behind = read_behind(self, {name for node in self.nodes for name in node.node.inputs if name})
        graph = FloatGraph(
            inputs=self.graph.inputs,
            outputs=tuple(outputs),
            nodes=self.nodes,
            constants=self.constants,
            quantizers=dict(self.quantizers),
            defects=self.defects,
            dynamic=self.dynamic and self._is_dynamic(),
            names={name: self.ref(name) for name in self.alias},
            types=self.graph.types,
            read_static={name: each for name, each in behind.items() if isinstance(each, Quantizer)},
            read_dynamic=frozenset(name for name, each in behind.items() if each is DYNAMIC),
        )
        graph.prune()
        return graph

    def _is_dynamic(self) -> bool:
        """Whether an output depends on something that quantizes while the model runs: a node that is read by none does not."""
        needed = {out.name for out in self.graph.outputs}
        for node in reversed(in_order(self.graph)):
            if needed.isdisjoint(node.outputs):
                continue
            if node.op.startswith(_DYNAMIC) or held_graphs(node):
                return True
            needed.update(node.inputs)
        return False


def _first(values: Array) -> float:
    return float(np.asarray(values, np.float64).reshape(-1)[0]) if np.size(values) else float("nan")
