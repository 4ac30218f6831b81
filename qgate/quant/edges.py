"""What stands in front of the very input that an operation reads: codes of a static quantizer, or of a dynamic one.

A tensor may have quantizers that nothing reads, and be read by one operation behind a quantizer and by another before it.
So what counts is the name by which the file's own node reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer
from qgate.quant.layout import LAYOUT
from qgate.quant.parameters import coded_origin

if TYPE_CHECKING:
    from qgate.quant.build import Builder

DYNAMIC = "dynamic"

PASSED = LAYOUT | {
    "MaxPool", "Relu", "Clip", "LeakyRelu", "Concat", "Split", "Slice", "Resize", "Gather", "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
"""What converters let codes flow through without a quantizer of its own, and runtimes move quantizers across."""


def static_quantizers(
    graph: FloatGraph, makers: Mapping[str, FloatNode], node: FloatNode, name: str
) -> list[Quantizer]:
    """The quantizers behind which a node reads one of its inputs, nothing between that makes other numbers of the codes.

    Args:
        graph: The view.
        makers: Its ``producers()``.
        node: An operation of it.
        name: One of its inputs, by the view's name.

    Returns:
        One; none where it reads what is not quantized, or is quantized while the model runs; several where the file does
        not say which of them it is.
    """
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        held = _in_front(graph, node, name)
        if held:
            return held
        maker = makers.get(name)
        if maker is None or maker.op not in PASSED or not maker.inputs:
            break
        node, name = maker, maker.inputs[0]
    return []


def is_quantized(graph: FloatGraph, makers: Mapping[str, FloatNode], node: FloatNode, name: str) -> str:
    """How an operation's input is quantized: ``static``, ``dynamic``, or empty for not at all.

    Of what is joined from several tensors all but the constants must be.
    """
    found: set[str] = set()
    seen: set[tuple[int, str]] = set()
    waiting = [(node, name)]
    while waiting:
        reader, tensor = waiting.pop()
        if (id(reader), tensor) in seen:
            continue
        seen.add((id(reader), tensor))
        if _in_front(graph, reader, tensor):
            found.add("static")
            continue
        if any(each in graph.read_dynamic for each in _names(graph, reader, tensor)):
            found.add("dynamic")
            continue
        maker = makers.get(tensor)
        if maker is None or maker.op not in PASSED:
            return ""
        sources = maker.inputs if maker.op == "Concat" else maker.inputs[:1]
        sources = [each for each in sources if each and each not in graph.constants]
        if not sources:
            return ""
        waiting += [(maker, each) for each in sources]
    return "dynamic" if "dynamic" in found else "static" if found else ""


def _in_front(graph: FloatGraph, node: FloatNode, name: str) -> list[Quantizer]:
    held = graph.quantizers.get(name, [])
    if graph.read_static is None:  # a file that gives a tensor one range, whoever reads it
        return held
    names = _names(graph, node, name)
    if names:
        found = [graph.read_static.get(each) for each in names]
        # Read twice, once without a quantizer, it is not quantized.
        return [] if None in found else [each for each in found if each is not None]
    inner = {id(each.before) for each in held}
    return [each for each in held if id(each) not in inner]


def _names(graph: FloatGraph, node: FloatNode, name: str) -> list[str]:
    """By which names the file's node reads a tensor of the view; none where the view put the operation together."""
    return [each for each in node.node.inputs if each and graph.names.get(each, each) == name]


def read_behind(builder: Builder, names: Iterable[str]) -> dict[str, Quantizer | str | None]:
    """What stands in front of tensors of a file: a static quantizer, ``DYNAMIC``, or None for neither.

    Args:
        builder: A view that is being built, all its nodes added.
        names: Tensors that its nodes read.
    """
    known: dict[str, Quantizer | str | None] = {}
    origins = set(builder.dynamic_of.values())
    for asked in names:
        name, passed = asked, []
        for _ in range(len(builder.alias) + 1):  # no chain is longer, so that a circle ends as well
            if name in known:
                break
            passed.append(name)
            if name in builder.coded:
                known[name] = builder.coded[name]
            elif coded_origin(builder, name) in origins:
                known[name] = DYNAMIC
            elif name in builder.alias:
                name = builder.alias[name]
            elif builder.around is not None and name not in builder.own:
                known[name] = read_behind(builder.around, (name,))[name]
            else:
                known[name] = None
        found = known.get(name)
        known.update(dict.fromkeys(passed, found))
    return known
