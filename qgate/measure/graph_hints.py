"""What a graph says about the integers that it takes; decides generated inputs, never a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_THROUGH = frozenset(
    {
        "Cast",
        "Unsqueeze",
        "Squeeze",
        "Reshape",
        "Identity",
        "Flatten",
        "Transpose",
        "Expand",
        "Slice",
        "Concat",
    }
)
_TABLE_THROUGH = frozenset({"DequantizeLinear", "Cast", "Identity", "Mul"})
_MAX_STEPS = 10_000


@dataclass(frozen=True)
class GraphHints:
    """Bounds and constants found.

    Args:
        bounds: Input name to the size of the smallest table that it indexes.
        compared: Integer constants that the graph compares something with.
    """

    bounds: dict[str, int] = field(default_factory=dict)
    compared: tuple[int, ...] = ()


def read_hints(path: Path) -> GraphHints:
    """Walks the graph of a model; an unreadable one gives no hints.

    Args:
        path: The staged copy, which the strict reader has accepted before any runtime or this sees it.
    """
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:  # protobuf's and onnx's errors have no common root; the runtime reports such a file
        return GraphHints()
    constants = _constants(graph)
    consumers = defaultdict(list)
    producers = {}
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
        for name in node.output:
            producers[name] = node
    bounds = {}
    for value in graph.input:
        sizes = list(_tables(value.name, consumers, producers, constants))
        if sizes:
            bounds[value.name] = min(sizes)
    return GraphHints(bounds, tuple(_compared(graph)))


def _constants(graph: Any) -> dict[str, Any]:
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for each in node.attribute if node.op_type == "Constant" else ():
            if each.name == "value":
                found[node.output[0]] = each.t
    return found


def _tables(start: str, consumers: Any, producers: Any, constants: dict[str, Any]) -> Iterator[int]:
    """Sizes of the axes that the values of a tensor index."""
    waiting, seen = [start], {start}
    while waiting and len(seen) < _MAX_STEPS:
        name = waiting.pop()
        for node in consumers[name]:
            if node.op_type == "Gather" and node.input[1] == name:
                table = _table(node.input[0], producers, constants)
                axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
                if table is not None and -len(table.dims) <= axis < len(table.dims):
                    yield int(table.dims[axis])
            elif node.op_type in _THROUGH:
                fresh = [output for output in node.output if output not in seen]
                seen.update(fresh)
                waiting += fresh


def _table(name: str, producers: Any, constants: dict[str, Any]) -> Any:
    """The constant behind a tensor, through the dequantization of weights."""
    for _ in range(8):
        if name in constants:
            return constants[name]
        node = producers.get(name)
        if node is None or node.op_type not in _TABLE_THROUGH:
            return None
        name = node.input[0]
    return None


def _compared(graph: Any) -> Iterator[int]:
    from onnx import TensorProto, numpy_helper

    constants = _constants(graph)
    for node in graph.node:
        if node.op_type != "Equal":
            continue
        for name in node.input:
            tensor = constants.get(name)
            if tensor is None or tensor.data_type not in {TensorProto.INT32, TensorProto.INT64}:
                continue
            if tensor.data_location != TensorProto.EXTERNAL and not tensor.dims:
                yield int(numpy_helper.to_array(tensor))
