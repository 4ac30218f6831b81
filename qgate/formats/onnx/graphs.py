"""Graphs, nodes, attributes and types, made of decoded messages from the leaves up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qgate.errors import FormatError
from qgate.formats.model import Constant, Dim, Graph, Node, TensorType
from qgate.formats.onnx.dtypes import DTYPES
from qgate.formats.onnx.tensors import TensorReader, text_of
from qgate.formats.wire import Build, Values

MAX_NODES = 200_000


@dataclass(frozen=True)
class Reference:
    """An attribute in a function's body whose value the caller gives.

    Args:
        name: The function's attribute.
        kind: Type that the attribute must have (AttributeProto.AttributeType); 0 if the file does not say.
    """

    name: str
    kind: int = 0


@dataclass(frozen=True)
class Function:
    """A model-local function as the file defines it.

    Args:
        domain: Its domain, empty for the standard one.
        name: The operator that it defines.
        inputs: Names of its inputs in the body; ``outputs`` likewise.
        attributes: Names of attributes without a default.
        defaults: Attributes with one.
        nodes: The body.
        opsets: Versions that the body is written for.
    """

    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[str, ...]
    defaults: Mapping[str, Any]
    nodes: tuple[Node, ...]
    opsets: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    value: Any
    fault: str = ""


# type of an AttributeProto -> the field that holds its value
_FIELDS = {
    1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 9: "tensors", 10: "graphs",
}  # fmt: skip
_UNREAD = {11: "sparse_tensor", 12: "sparse_tensors", 13: "tp", 14: "type_protos"}
_ALL_FIELDS = (*_FIELDS.values(), *_UNREAD.values())
_DEFAULTS: dict[str, Any] = {"f": 0.0, "i": 0, "s": ""}


def domain_of(name: str) -> str:
    """A domain, empty for the standard one however it is spelled."""
    return "" if name == "ai.onnx" else name


class GraphReader:
    """The builders of everything but tensors; hands them to the decoder by message."""

    def __init__(self, tensors: TensorReader) -> None:
        self.where = tensors.where
        self.nodes = 0
        nothing: Callable[[Values, int], None] = lambda _, __: None  # noqa: E731
        self.builders: dict[str, Build] = {
            "TensorProto": tensors.constant,
            "StringStringEntryProto": lambda v, _: (v.get("key", ""), v.get("value", "")),
            "OperatorSetIdProto": lambda v, _: (domain_of(v.get("domain", "")), v.get("version", 0)),
            "AttributeProto": self._attribute,
            "NodeProto": self._node,
            "ValueInfoProto": self._type,
            "Dimension": _dimension,
            "GraphProto": self._graph,
            "FunctionProto": self._function,
            # Where operators are placed, and which constants are scales: names that change no number.
            "NodeDeviceConfigurationProto": nothing,
            "DeviceConfigurationProto": nothing,
            "TensorAnnotation": nothing,
        }

    def _attribute(self, proto: Values, _: int) -> _Attribute:
        name, kind = proto.get("name", ""), proto.get("type", 0)
        given = [field for field in _ALL_FIELDS if field in proto]
        if not name:
            return _Attribute("", None, "has an attribute without a name")
        if proto.get("ref_attr_name"):
            if given:
                return _Attribute(name, None, f"has an attribute {name!r} that is a reference and a value")
            return _Attribute(name, Reference(proto["ref_attr_name"], kind))
        field = _FIELDS.get(kind)
        if field is None:
            return _Attribute(name, None, f"has an attribute {name!r} of a kind that is not read")
        if any(each != field for each in given):
            return _Attribute(name, None, f"has an attribute {name!r} with values of more than one kind")
        if field in ("t", "g") and not given:
            return _Attribute(name, None, f"has an attribute {name!r} without its value")
        value = proto.get(field, _DEFAULTS.get(field, ()))
        if field in ("s", "strings"):
            value = text_of(value) if isinstance(value, bytes) else tuple(map(text_of, value))
        return _Attribute(name, tuple(value) if isinstance(value, list) else value)

    def _node(self, proto: Values, index: int) -> Node:
        self.nodes += 1
        name, op = proto.get("name", ""), proto.get("op_type", "")
        if self.nodes > MAX_NODES:
            raise self.refused(f"{self.nodes} nodes, more than the {MAX_NODES} that are read")
        owner = name or op
        given: list[_Attribute] = proto.get("attribute", [])
        outputs = tuple(proto.get("output", ()))
        if not any(outputs):
            raise self.refused(f"node {owner!r} has no output", name)
        if not op:
            raise self.refused(f"node {owner!r} has no operator", name)
        if proto.get("overload"):
            raise self.refused(f"node {owner!r} names one of several functions of its name", name, "ART103")
        attributes = {a.name: _owned(a.value, owner) for a in given}
        if len(attributes) != len(given):
            raise self.refused(f"node {owner!r} has an attribute twice", name)
        for attribute in given:
            if attribute.fault:
                rule = "ART103" if "not read" in attribute.fault else "ART105"
                raise self.refused(f"node {owner!r} {attribute.fault}", owner, rule)
        return Node(
            name=name,
            op=op,
            domain=domain_of(proto.get("domain", "")),
            inputs=tuple(proto.get("input", ())),
            outputs=outputs,
            attributes=attributes,
            position=index,
        )

    def _type(self, proto: Values, _: int) -> TensorType:
        name = proto.get("name", "")
        held = proto.get("type", {})
        kind = held.get("#value", "")
        if kind != "tensor_type":
            return TensorType(name, kind, None)
        tensor = held[kind]
        code = tensor.get("elem_type", 0)
        dtype = DTYPES.get(code, (f"type {code}", 0))[0]
        shape = tuple(tensor["shape"].get("dim", ())) if "shape" in tensor else None
        return TensorType(name, dtype, shape)

    def _graph(self, proto: Values, _: int) -> Graph:
        constants: dict[str, Constant] = {}
        for constant in proto.get("initializer", ()):
            if constant.name in constants or not constant.name:
                what = f"two initializers are named {constant.name!r}"
                raise self.refused(what if constant.name else "an initializer has no name", constant.name)
            constants[constant.name] = constant
        if proto.get("sparse_initializer"):
            raise FormatError(
                "sparse initializers are not verified by this version",
                where=self.where,
                remedy="Export the model with dense initializers",
                rule="ART103",
                tensor=getattr(proto["sparse_initializer"][0].get("values"), "name", None),
            )
        given, outputs = proto.get("input", []), tuple(proto.get("output", ()))
        if len({v.name for v in given}) != len(given):
            raise self.refused("an input is declared twice")
        return Graph(
            inputs=tuple(v for v in given if v.name not in constants),
            outputs=outputs,
            nodes=tuple(proto.get("node", ())),
            constants=constants,
            types={v.name: v for v in (*proto.get("value_info", ()), *given, *outputs)},
            overridable=tuple(v.name for v in given if v.name in constants),
        )

    def _function(self, proto: Values, _: int) -> Function:
        domain, name = domain_of(proto.get("domain", "")), proto.get("name", "")
        label = f"{domain or 'ai.onnx'}::{name}"
        inputs, outputs = tuple(proto.get("input", ())), tuple(proto.get("output", ()))
        attributes = tuple(proto.get("attribute", ()))
        given: list[_Attribute] = proto.get("attribute_proto", [])
        names = (*attributes, *(a.name for a in given))
        opsets = dict(proto.get("opset_import", ()))
        faults = [a.fault for a in given if a.fault]
        if proto.get("overload"):
            raise self.refused(f"function {label} is one of several of its name", name, "ART103")
        if not name or not all((*inputs, *outputs, *names)) or faults:
            raise self.refused(
                f"function {label} {faults[0] if faults else 'has a part without a name'}", name
            )
        if any(len(set(each)) != len(each) for each in (inputs, outputs, names)):
            raise self.refused(f"function {label} has an input, output or attribute twice", name)
        if len(opsets) != len(proto.get("opset_import", ())):
            raise self.refused(f"function {label} imports an operator set twice", name)
        defaults = {a.name: _owned(a.value, name) for a in given}
        if any(isinstance(value, Reference) for value in defaults.values()):
            raise self.refused(f"function {label} has a default that is a reference", name)
        return Function(
            domain, name, inputs, outputs, attributes, defaults, tuple(proto.get("node", ())), opsets
        )

    def refused(self, what: str, tensor: str = "", rule: str = "ART105") -> FormatError:
        """An error about something that runtimes read differently, or this version not at all."""
        return FormatError(
            what,
            where=self.where,
            remedy="Export the model again; do not merge this file",
            rule=rule,
            tensor=tensor or None,
        )


def _dimension(proto: Values, _: int) -> Dim:
    if proto.get("#value") == "dim_param":
        return proto["dim_param"] or None
    # PaddlePaddle's exporter writes 0 or -1 where it means an unknown size.
    size = proto.get("dim_value", 0)
    return size if size > 0 else None


def _owned(value: Any, owner: str) -> Any:
    """Tensors of attributes rarely have a name; their node's serves."""
    if isinstance(value, Constant):
        return value if value.name else replace(value, name=owner)
    if isinstance(value, tuple) and value and isinstance(value[0], Constant):
        return tuple(_owned(each, owner) for each in value)
    return value
