"""Nodes held to the signature that the specification gives their operator, before anything relies on it.

Runtimes refuse a node with an operand too few or an attribute of another type; a file that holds one was not written by
an exporter, and nothing that follows a graph should have to ask at every step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from qgate.errors import FormatError
from qgate.formats.model import Constant, Graph, Node


def _all(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(kind(item) for item in value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bytes)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "INT": _is_whole, "FLOAT": _is_number, "STRING": _is_text, "INTS": _all(_is_whole), "FLOATS": _all(_is_number),
    "STRINGS": _all(_is_text), "TENSOR": lambda v: isinstance(v, Constant), "GRAPH": lambda v: isinstance(v, Graph),
}  # fmt: skip


def check_signature(node: Node, opsets: Mapping[str, int]) -> None:
    """Refuses a node that no runtime would take.

    Args:
        node: The node; of an operator that no specification names nothing is known.
        opsets: Version by domain.

    Raises:
        FormatError: It has too few or too many operands or results, or an attribute is of another type.
    """
    known = _signature(node.op, node.domain, opsets.get(node.domain, 0))
    if known is None:
        return
    least, most, few, many, attributes = known
    read = max((i for i, name in enumerate(node.inputs, start=1) if name), default=0)
    made = max((i for i, name in enumerate(node.outputs, start=1) if name), default=0)
    if not least <= len(node.inputs) or read > most:
        raise _refused(node, f"it reads {read} operands, and the operator takes {_range(least, most)}")
    if not few <= len(node.outputs) or made > many:
        raise _refused(node, f"it makes {made} tensors, and the operator makes {_range(few, many)}")
    for name, value in node.attributes.items():
        wanted = attributes.get(name)
        if wanted is not None and wanted in _KINDS and not _KINDS[wanted](value):
            raise _refused(node, f"its attribute {name!r} is not of the type {wanted}")
        if isinstance(value, float) and math.isnan(value):
            raise _refused(node, f"its attribute {name!r} is not a number")


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}" if most < 2**31 - 1 else f"{least} or more"


def _refused(node: Node, what: str) -> FormatError:
    return FormatError(
        f"the operands or attributes of {node.op} {node.label!r} are not those that the operator takes: {what}",
        remedy="Export the model again; do not merge this file",
        rule="ART105",
        tensor=node.label,
    )


@functools.lru_cache(maxsize=4096)
def _signature(op: str, domain: str, version: int) -> tuple[int, int, int, int, dict[str, str]] | None:
    """Least and greatest number of operands, of results, and the attributes' types."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op, version, domain) if version else onnx.defs.get_schema(op, domain)
    except onnx.defs.SchemaError:
        return None
    types = {name: str(held.type).rpartition(".")[2] for name, held in schema.attributes.items()}
    return schema.min_input, schema.max_input, schema.min_output, schema.max_output, types
