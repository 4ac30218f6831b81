"""Every semantic edit of a graph that one node allows: attributes, constants, wiring, operators, insertions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx
import structure_changes as changes
from onnx import helper
from structure_changes import QUANTIZERS, Change

WORDS = {
    "mode": ("nearest", "linear", "cubic", "constant", "reflect", "edge", "avg", "max", "DCR", "CRD"),
    "coordinate_transformation_mode": ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "direction": ("forward", "reverse", "LEFT", "RIGHT"), "padding_mode": ("zeros", "border", "reflection"),
    "reduction": ("add", "mul"), "approximate": ("none", "tanh"), "norm": ("MAX", "L1", "L2"),
    "post_transform": ("NONE", "LOGISTIC", "SOFTMAX"), "auto_pad": ("SAME_UPPER", "SAME_LOWER", "VALID"),
    "equation": ("ij,jk->ki", "ij,kj->ik"), "activations": ("Relu", "HardSigmoid"), "aggregate_function": ("MAX", "MIN"),
    "nodes_modes": ("BRANCH_GT",),
}  # fmt: skip
OTHERS = {
    "Relu": ("LeakyRelu", "Tanh", "Abs"), "Sigmoid": ("HardSigmoid", "Tanh"), "Tanh": ("Sigmoid", "Softsign"),
    "Add": ("Sub", "Mul", "Max"), "Sub": ("Add",), "Mul": ("Add", "Div"), "Div": ("Mul",), "Max": ("Min",),
    "Min": ("Max",), "MaxPool": ("AveragePool",), "AveragePool": ("MaxPool",),
    "GlobalAveragePool": ("GlobalMaxPool",), "ReduceMean": ("ReduceMax", "ReduceSum"), "ReduceSum": ("ReduceMean",),
    "ReduceMax": ("ReduceMin",), "Softmax": ("LogSoftmax", "Hardmax"), "LogSoftmax": ("Softmax",),
    "Greater": ("Less", "GreaterOrEqual"), "Less": ("Greater", "LessOrEqual"),
    "LessOrEqual": ("GreaterOrEqual", "Less"), "Or": ("And", "Xor"), "And": ("Or",), "Floor": ("Ceil", "Round"),
    "Round": ("Floor",), "ArgMax": ("ArgMin",), "ArgMin": ("ArgMax",), "LeakyRelu": ("Elu",), "Elu": ("Selu",),
    "Exp": ("Softplus",), "Softplus": ("Exp",), "Gelu": ("Mish",), "Sqrt": ("Abs",), "Pow": ("Mul",), "Abs": ("Neg",),
    "Erf": ("Tanh",), "Not": ("Identity",), "HardSwish": ("Mish",), "HardSigmoid": ("Sigmoid",),
    "Equal": ("Greater",), "Clip": ("Identity",),
}  # fmt: skip
# Another scale of theirs is another calibration: a matter of ranges, judged against data.
_SCALED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "QGemm")
NEVER_SWAPPED = {"Add", "Mul", "Max", "Min", "And", "Or", "Xor", "Equal", "Sum", "Mean"}


@dataclass(frozen=True)
class Edit:
    """One edited model.

    Args:
        what: The kind of edit and its detail, for example ``attribute axis = 1``.
        places: Names of which an explanation must give one: the node, its tensors, who makes or reads them.
        model: The edited candidate.
    """

    what: str
    places: frozenset[str]
    model: onnx.ModelProto

    @property
    def kind(self) -> str:
        """The first word of what was done."""
        return self.what.split()[0]


def nodes_of(graph: onnx.GraphProto) -> Iterator[tuple[onnx.GraphProto, onnx.NodeProto]]:
    """Every node with the graph that holds it, bodies after the node that holds them."""
    for node in graph.node:
        yield graph, node
        for attribute in node.attribute:
            for inner in (attribute.g,) if attribute.HasField("g") else attribute.graphs:
                yield from nodes_of(inner)


def edits(
    proto: onnx.ModelProto, ranges: dict[str, float], chosen: Callable[[], bool] = lambda: True
) -> Iterator[Edit]:
    """Every edit of a candidate.

    Args:
        proto: The honest candidate.
        ranges: Greatest magnitude by name of a tensor, for edits that must bite.
        chosen: Whether the next edit is to be made, for a sample of them.
    """
    opsets = {o.domain: o.version for o in proto.opset_import}
    for number, (holder, node) in enumerate(nodes_of(proto.graph)):
        # The tensor before a quantizer is the one behind it, only finer.
        finer = {n.input[0] for n in holder.node if n.op_type == "QuantizeLinear"}
        known = [t.name for t in holder.input]
        known += [n for other in holder.node[: _position(holder, node)] for n in other.output if n]
        made_before = [name for name in known if name not in finer]
        for what, change in _changes(node, opsets, ranges, made_before[-4:]):
            if not chosen():
                continue
            made = onnx.ModelProto()
            made.CopyFrom(proto)
            graph, target = list(nodes_of(made.graph))[number]
            makers = [n.name for n in graph.node if set(n.output) & set(target.input)]
            readers = [n.name for n in graph.node if set(n.input) & set(target.output)]
            before = {*target.input, *target.output, target.name, *makers, *readers} - {""}
            if change(made, graph, target):
                places = before | set(target.input) - {""}
                yield Edit(f"{what} of {node.op_type}", frozenset(places), made)
    for edit in _versions(proto):
        if chosen():
            yield edit


def _changes(
    node: onnx.NodeProto, opsets: dict[str, int], ranges: dict[str, float], earlier: list[str]
) -> Iterator[tuple[str, Change]]:
    yield from _attributes(node, opsets)
    for position, name in enumerate(node.input):
        if name and not node.op_type.startswith(_SCALED):
            yield f"constant of operand {position}", changes.constant(position)
            if node.op_type != "Loop":  # without its count it would not end
                yield f"dropped operand {position}", changes.dropped(position)
        if position and node.op_type not in NEVER_SWAPPED | {"Loop"}:
            yield f"swapped operands {position - 1} and {position}", changes.swapped(position)
    for position in range(1, len(node.output)):
        yield f"swapped outputs {position - 1} and {position}", changes.outputs(position)
    for name in earlier:
        for position, old in enumerate(node.input):
            if old and name != old and node.op_type not in QUANTIZERS:
                yield f"rewired operand {position} to {name}", changes.rewired(position, name)
    for other in OTHERS.get(node.op_type, ()):
        yield f"operator {other} in place", changes.operator(other)
    if node.op_type in QUANTIZERS or not node.output[0]:
        return
    if node.input and node.op_type != "Constant":
        yield "bypassed", changes.bypassed
    span = ranges.get(node.output[0])
    if span:
        for op, value in (("Mul", 1.05), ("Add", 0.1 * span), ("Min", 0.3 * span), ("RandomNormalLike", 0.0)):
            yield f"inserted {op} after", changes.inserted(op, value)
        yield "inserted quantizer of 4 levels after", changes.quantizer(span / 1.5)
        yield "inserted quantizer that clips after", changes.quantizer(span / 600)
        yield "inserted quantizer that halves after", changes.quantizer(span / 254, read=span / 508)


def _attributes(node: onnx.NodeProto, opsets: dict[str, int]) -> Iterator[tuple[str, Change]]:
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type in (1, 2, 3, 6, 7, 8)}
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(node.domain, 1), node.domain)
    except onnx.defs.SchemaError:
        schema = None
    settings = dict(given)
    for key, described in schema.attributes.items() if schema else ():
        if key not in settings and described.type in (1, 2, 3):
            held = described.default_value
            default = (
                helper.get_attribute_value(held)
                if held.name
                else {1: 0.0, 2: 0, 3: b""}[described.type.value]
            )
            settings[key] = default
    for key, value in settings.items():
        for other in _other_values(key, value):
            if node.op_type.startswith("Random") and isinstance(other, float) and other < 0:
                continue  # ONNX Runtime ends the process at a negative deviation
            yield f"attribute {key} = {other}", changes.attribute(key, other)
        if key in given:
            yield f"attribute {key} left out", changes.left_out(key)


def _other_values(key: str, value: object) -> Iterator[object]:
    if isinstance(value, bytes):
        yield from (w for w in WORDS.get(key, ()) if w.encode() != value)
    elif isinstance(value, float):
        yield from (value * 1.05, value * 2 + 0.5, -value - 0.25)
    elif isinstance(value, int):
        wanted = (1, 6, 9, 10) if key == "to" else (value + 1, value - 1, 1 - value)
        yield from dict.fromkeys(v for v in wanted if v != value and -9 < v < 99)
    elif isinstance(value, (list, tuple)) and len(value):
        if isinstance(value[0], bytes):
            words = (w for w in WORDS.get(key, ()) if w.encode() != value[0])
            yield from ([w, *(v.decode() for v in value[1:])] for w in words)
        else:
            yield [*value[:-1], value[-1] + 1]
            yield [value[0] + 1, *value[1:]]
            yield list(value)[::-1]


def _position(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    return next(i for i, n in enumerate(graph.node) if n is node or n == node)


def _versions(proto: onnx.ModelProto) -> Iterator[Edit]:
    """The same nodes under another opset, whose defaults may differ."""
    now = next(o.version for o in proto.opset_import if not o.domain)
    for version in {10, 11, 12, 13, 17, 18, 19, 21} - {now}:
        made = onnx.ModelProto()
        made.CopyFrom(proto)
        for opset in made.opset_import:
            if not opset.domain:
                opset.version = version
        operators = {n.op_type for _, n in nodes_of(proto.graph)} - QUANTIZERS
        names = {x for _, n in nodes_of(proto.graph) for x in (n.name, *n.output)}
        yield Edit(f"opset {version} for {now} ({', '.join(sorted(operators))})", frozenset(names), made)
