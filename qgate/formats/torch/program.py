"""The graph of an exported program, from its JSON.

Source: torch/_export/serde/schema.py, schema version 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.model import Constant, Graph, Node, TensorType
from qgate.formats.torch.expression import is_plain_expression, symbol_of
from qgate.formats.torch.treespec import check_tree_specs

MAX_NODES = 200_000
MAX_DEPTH = 8
SCALAR_TYPES: Mapping[int, str] = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float", 8: "double",
    10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8e4m3fn",
    30: "float8e5m2", 31: "float8e4m3fnuz", 32: "float8e5m2fnuz", 33: "float8e8m0", 34: "uint32", 35: "uint64",
}  # fmt: skip
_SPECS = {
    "parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name",
}  # fmt: skip
_SCALARS = ("as_int", "as_float", "as_bool", "as_string", "as_scalar_type", "as_memory_format", "as_layout")
_LISTS = ("as_ints", "as_floats", "as_bools", "as_strings", "as_int_lists", "as_float_lists")
_NAMED = ("as_sym_int", "as_sym_float", "as_sym_bool")
OPERANDS = "tensors by argument"
"""The attribute that names the arguments which hold tensors, in their order, each with a pattern: ``x`` for a tensor, ``-``
for one that a list leaves out. A loader goes by these names and not by the order."""


class Symbol(str):
    """The name of a number that the graph computes or that a caller's sizes decide."""


@dataclass
class Program:
    """What a program's JSON says.

    Args:
        graph: Nodes, inputs and outputs, with no constants yet.
        names: Graph input to the name of the parameter, buffer or constant that it stands for.
        torch: The version that wrote it.
        schema: Major version of the schema.
    """

    graph: Graph
    names: dict[str, str] = field(default_factory=dict)
    torch: str = ""
    schema: int = 0


def read_program(found: dict[str, Any], where: str) -> Program:
    """The program of a parsed ``models/*.json``.

    Raises:
        FormatError: It is not what the schema says.
        CodeError: It holds Python, or objects that only a loader could build.
    """
    check_expressions(found, where)
    check_tree_specs(found, where)
    module = _part(found, "graph_module", dict, where)
    if found.get("guards_code"):
        raise CodeError(
            "the exported program holds Python code of guards, which a loader evaluates",
            where=where,
            kind="torch-export",
        )
    version = _part(found, "schema_version", dict, where)
    if version.get("major") != 8:
        raise FormatError(
            f"the exported program is of schema version {str(version.get('major'))[:20]}, and 8 is read", where=where,
            remedy="Export the program again with PyTorch 2.8 or newer", rule="ART103",
        )  # fmt: skip
    signature = _part(module, "signature", dict, where)
    reader = _Reader(where)
    graph = reader.graph(_part(module, "graph", dict, where), 0)
    names, inputs = reader.inputs(_part(signature, "input_specs", list, where), graph)
    outputs = reader.outputs(_part(signature, "output_specs", list, where), graph)
    graph = Graph(inputs, outputs, graph.nodes, {}, graph.types)
    return Program(graph, names, str(found.get("torch_version", ""))[:40], 8)


def check_expressions(found: Any, where: str) -> None:
    """Every symbolic expression anywhere must be plain arithmetic.

    Raises:
        CodeError: One is not.
    """
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            text = value.get("expr_str")
            if text is not None and not (isinstance(text, str) and is_plain_expression(text)):
                raise CodeError(
                    f"the exported program holds the expression {str(text)[:80]!r}, which is no plain arithmetic and "
                    "which a loader evaluates", where=where, kind="torch-export",
                )  # fmt: skip
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


class _Reader:
    """Turns the schema's unions into nodes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.nodes = 0

    def graph(self, found: dict[str, Any], depth: int) -> Graph:
        if depth > MAX_DEPTH:
            _damaged("its graphs nest too deep", self.where)
        ends = [*(found.get("inputs") or ()), *(found.get("outputs") or ())]
        if found.get("custom_obj_values") or any(isinstance(a, dict) and "as_custom_obj" in a for a in ends):
            raise self._object("a graph", "")
        types = {
            _name(name, self.where): self.type(name, meta)
            for name, meta in _part(found, "tensor_values", dict, self.where).items()
        }
        nodes = tuple(
            self.node(node, position, depth)
            for position, node in enumerate(_part(found, "nodes", list, self.where))
        )
        inputs = tuple(self._typed(a, types) for a in _part(found, "inputs", list, self.where))
        outputs = tuple(self._typed(a, types) for a in _part(found, "outputs", list, self.where))
        return Graph(inputs, outputs, nodes, {}, types)

    def type(self, name: str, meta: Any) -> TensorType:
        """Element type and sizes of a tensor."""
        if not isinstance(meta, dict):
            _damaged(f"tensor {name!r} has no description", self.where)
        dtype = SCALAR_TYPES.get(meta.get("dtype", 0), "") if type(meta.get("dtype")) is int else ""
        sizes = meta.get("sizes")
        if not isinstance(sizes, list):
            _damaged(f"tensor {name!r} has no sizes", self.where)
        return TensorType(name, dtype, tuple(self._size(size) for size in sizes))

    def _size(self, size: Any) -> int | str | None:
        if isinstance(size, dict) and type(size.get("as_int")) is int:
            return int(size["as_int"])
        expression = size.get("as_expr") if isinstance(size, dict) else None
        text = expression.get("expr_str") if isinstance(expression, dict) else None
        return symbol_of(text) if isinstance(text, str) else None

    def node(self, found: Any, position: int, depth: int) -> Node:
        """One operation: tensors are inputs, whatever else it is given is an attribute."""
        self.nodes += 1
        if not isinstance(found, dict) or self.nodes > MAX_NODES:
            _damaged(f"it has more than {MAX_NODES} nodes, or one that is none", self.where)
        target = found.get("target")
        if not isinstance(target, str) or len(target) > 200 or not target.isprintable():
            _damaged(f"node {position} has no operator", self.where)
        inputs: list[str] = []
        attributes: dict[str, Any] = {}
        operands: list[tuple[str, str]] = []
        for given in _part(found, "inputs", list, self.where):
            if not isinstance(given, dict) or not isinstance(given.get("arg"), dict):
                _damaged(f"node {position} is given something that is none", self.where)
            # Higher-order operators give their arguments no names; none may take another's place.
            key = str(given.get("name"))[:100]
            if not key or key in attributes:
                key = f"{key}#{len(attributes)}"
            self.argument(key, given["arg"], inputs, attributes, depth)
            pattern = self._pattern(given["arg"])
            if pattern:
                operands.append((key, pattern))
        if operands:
            attributes[OPERANDS] = tuple(operands)
        outputs = [n for o in _part(found, "outputs", list, self.where) for n in self._tensors(o)]
        name = found.get("name")
        label = name if isinstance(name, str) and name.isprintable() else ""
        return Node(label[:200], target, "torch", tuple(inputs), tuple(outputs), attributes, position)

    def argument(
        self, name: str, arg: dict[str, Any], inputs: list[str], attributes: dict[str, Any], depth: int
    ) -> None:
        """Sorts one argument of a node to its inputs or its attributes."""
        ((kind, value),) = arg.items() if len(arg) == 1 else (("", None),)
        tensors = self._tensors(arg)
        if tensors:
            inputs.extend(tensors)
        elif kind in _SCALARS and not isinstance(value, dict | list):
            attributes[name] = value
        elif kind in _LISTS and isinstance(value, list):
            attributes[name] = tuple(tuple(v) if isinstance(v, list) else v for v in value)
        elif kind in _NAMED and isinstance(value, dict):
            attributes[name] = self._symbolic(value)
        elif kind in ("as_sym_ints", "as_sym_floats", "as_sym_bools") and isinstance(value, list):
            attributes[name] = tuple(self._symbolic(v) for v in value)
        elif kind == "as_graph" and isinstance(value, dict):
            attributes[name] = self.graph(_part(value, "graph", dict, self.where), depth + 1)
        elif kind in ("as_custom_obj", "as_operator"):
            raise self._object("an operation", f" ({str(value)[:80]})")
        elif kind not in (
            "as_none",
            "as_tensors",
            "as_device",
            "as_complex",
            "as_optional_tensors",
            "as_optional_tensor",
        ):
            _damaged(f"an operation is given {kind[:40]!r}, which the schema does not have", self.where)

    def _object(self, what: str, which: str) -> CodeError:
        return CodeError(
            f"the exported program gives {what} an object of its own{which}",
            where=self.where,
            kind="torch-export",
        )

    def _symbolic(self, value: Any) -> Any:
        if not isinstance(value, dict):
            _damaged("a symbolic number is none", self.where)
        for key in ("as_int", "as_float", "as_bool"):
            if key in value:
                return value[key]
        return Symbol(str(value.get("as_name"))[:200])

    def _pattern(self, arg: dict[str, Any]) -> str:
        """Which places of an argument hold tensors, see ``OPERANDS``; empty where none does."""
        count = len(self._tensors(arg))
        held = arg.get("as_optional_tensors")
        if not count or not isinstance(held, list):
            return "x" * count
        return "".join("x" * len(self._tensors({"as_tensors": [each]})) or "-" for each in held)

    def _tensors(self, arg: Any) -> list[str]:
        """Names of the tensors in an argument; empty for other kinds."""
        if not isinstance(arg, dict):
            _damaged("an argument is none", self.where)
        found: list[str] = []
        waiting: list[Any] = [
            arg.get(k) for k in ("as_tensor", "as_tensors", "as_optional_tensors", "as_optional_tensor", "as_nested_tensors")
        ]  # fmt: skip
        waiting.reverse()  # the next one stands last, so that taking it costs nothing
        while waiting:
            value = waiting.pop()
            if isinstance(value, list):
                waiting.extend(reversed(value))
            elif isinstance(value, dict) and "as_tensor" in value:
                waiting.append(value["as_tensor"])
            elif isinstance(value, dict) and "name" in value:
                found.append(_name(value["name"], self.where))
        return found

    def _typed(self, arg: Any, types: Mapping[str, TensorType]) -> TensorType:
        names = self._tensors(arg)
        return (
            types.get(names[0], TensorType(names[0], "", None)) if names else TensorType("", "number", None)
        )

    def inputs(self, specs: list[Any], graph: Graph) -> tuple[dict[str, str], tuple[TensorType, ...]]:
        """What each input of the graph stands for, and those that a caller gives."""
        names: dict[str, str] = {}
        given: list[TensorType] = []
        for spec in specs:
            kind, body = next(iter(spec.items())) if isinstance(spec, dict) and len(spec) == 1 else ("", None)
            if kind in _SPECS and isinstance(body, dict) and isinstance(body.get("arg"), dict):
                stands = body.get(_SPECS[kind])
                if not isinstance(stands, str):
                    _damaged("a parameter has no name", self.where)
                names[_name(body["arg"].get("name"), self.where)] = stands
            elif kind == "user_input" and isinstance(body, dict):
                tensors = self._tensors(body.get("arg"))
                given += [graph.types.get(n, TensorType(n, "", None)) for n in tensors]
            elif kind == "custom_obj":
                raise CodeError(
                    "the exported program takes an object of a class of its own",
                    where=self.where,
                    kind="torch-export",
                )
            elif kind not in ("token", "constant_input"):
                _damaged(f"an input is of the kind {kind[:40]!r}, which the schema does not have", self.where)
        return names, tuple(given)

    def outputs(self, specs: list[Any], graph: Graph) -> tuple[TensorType, ...]:
        """The outputs that a caller gets; changed buffers are outputs of the graph alone."""
        found: list[TensorType] = []
        for spec in specs:
            body = spec.get("user_output") if isinstance(spec, dict) else None
            if isinstance(body, dict):
                found += [graph.types.get(n, TensorType(n, "", None)) for n in self._tensors(body.get("arg"))]
        return tuple(found)


def with_constants(program: Program, constants: Mapping[str, Constant], where: str) -> Graph:
    """The graph with its constants under the names that its nodes use."""
    held: dict[str, Constant] = {}
    for name, stands in program.names.items():
        if stands not in constants:
            _damaged(f"the parameter {stands[:80]!r} is in no table of weights", where)
        held[name] = constants[stands]
    for name in constants.keys() - set(program.names.values()):
        held.setdefault(name, constants[name])
    graph = program.graph
    return Graph(graph.inputs, graph.outputs, graph.nodes, held, graph.types)


def _part(found: dict[str, Any], key: str, kind: type, where: str) -> Any:
    value = found.get(key)
    if not isinstance(value, kind):
        _damaged(f"it has no {key!r}", where)
    return value


def _name(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > 512 or not value.isprintable():
        _damaged("a tensor has a name that is too long or cannot be printed", where)
    return value


def _damaged(what: str, where: str) -> NoReturn:
    raise FormatError(
        f"the exported program is not what its schema says: {what}", where=where,
        remedy="Export the program again; do not merge this file", rule="ART105",
    )  # fmt: skip
