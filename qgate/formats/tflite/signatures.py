"""Signatures of a LiteRT model: the names by which applications feed and read it."""

from __future__ import annotations

import numpy as np

from qgate.formats.model import Signature
from qgate.formats.tflite import schema
from qgate.formats.tflite.flat import Flat, Table
from qgate.formats.tflite.refusal import unread


def read_signatures(model: Table, graph: Table, flat: Flat) -> dict[str, Signature]:
    """The signatures of a model of one graph, by their keys.

    Raises:
        FormatError: A key or name is there twice, or one does not stand for exactly the graph's inputs and outputs: what an
            application is given is then not what is run and compared.
    """
    found: dict[str, Signature] = {}
    for each in model.tables(schema.SIGNATURE_DEFS):
        key = each.text(schema.SIGNATURE_KEY)
        if key in found:
            flat.refuse(f"two signatures {key!r}")
        if each.scalar(schema.SIGNATURE_GRAPH, "I"):
            flat.refuse(f"the signature {key!r} of a graph that there is not")
        inputs = _names(
            each.tables(schema.SIGNATURE_INPUTS), graph.numbers(schema.GRAPH_INPUTS, "i"), key, "input", flat
        )
        outputs = _names(
            each.tables(schema.SIGNATURE_OUTPUTS),
            graph.numbers(schema.GRAPH_OUTPUTS, "i"),
            key,
            "output",
            flat,
        )
        found[key] = Signature(inputs, outputs)
    return found


def _names(
    names: list[Table],
    ends: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
    key: str,
    side: str,
    flat: Flat,
) -> dict[str, tuple[int, ...]]:
    places: dict[int, list[int]] = {}
    for position, tensor in enumerate(ends):
        places.setdefault(int(tensor), []).append(position)
    found: dict[str, tuple[int, ...]] = {}
    met: set[int] = set()
    for each in names:
        name, tensor = each.text(schema.MAP_NAME), each.scalar(schema.MAP_TENSOR, "I")
        if name in found:
            flat.refuse(f"the signature {key!r} has two {side}s {name!r}")
        if tensor not in places:
            raise unread(
                flat, f"a signature {key!r} whose {side} {name!r} is none of the graph's (tensor {tensor})",
                f"Convert the model again; a signature's {side}s must be the graph's",
            )  # fmt: skip
        met.add(tensor)
        found[name] = tuple(places[tensor])
    if met != set(places):
        raise unread(
            flat, f"a signature {key!r} that leaves out {len(set(places) - met)} of the graph's {side}s",
            f"Convert the model again; a signature's {side}s must be the graph's",
        )  # fmt: skip
    return found
