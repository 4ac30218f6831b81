"""Which operators of a file are in no specification that qgate knows."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.formats.model import StaticModel
from qgate.formats.onnx.operators import why_unknown
from qgate.records import Measurement, Place


def unknown_operators(model: StaticModel, allowed: frozenset[str]) -> Iterator[Measurement]:
    """Operators that are in no specification that qgate knows, opaque blobs among them.

    Functions of the file are inlined when it is read, so their bodies are looked at as well.
    """
    seen: set[tuple[str, str]] = set()
    for node in model.graph.all_nodes():
        if (node.domain, node.op) in seen:
            continue
        seen.add((node.domain, node.op))
        key = f"{node.domain or 'ai.onnx'}::{node.op}"
        why = why_unknown(node.domain, node.op, model.opsets)
        if why and key not in allowed:
            yield Measurement(
                name="artifact.operator", at=Place(node=node.label), value=key,
                detail={"message": f"operator {key} is not allowed: {why}", "operator": key},
            )  # fmt: skip
