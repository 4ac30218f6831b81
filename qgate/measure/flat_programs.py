"""Two LiteRT models compared as programs: operations by name, order, options and what they read; what was added to quantize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from qgate.align.flat import FlatProgram
from qgate.formats.model import Node, StaticModel
from qgate.formats.tflite.options import QUANTIZING, UNREAD
from qgate.measure.flat_quantizers import measure_flat_quantizers
from qgate.records import Measurement, Place


def measure_flat_programs(reference: StaticModel, candidate: StaticModel) -> Iterator[Measurement]:
    """``structure.difference`` of two LiteRT models; nothing where none of them is one.

    Args:
        reference: The reference.
        candidate: The candidate.
    """
    forms = {reference.format, candidate.format}
    if "tflite" not in forms:
        return
    if forms != {"tflite"}:
        yield _difference(
            "uncompared",
            "operations of a LiteRT model are compared with those of another LiteRT model alone; "
            f"the reference is {reference.format}, the candidate {candidate.format}",
            None,
            None,
        )
        return
    ours, theirs = FlatProgram(reference, candidate), FlatProgram(candidate, candidate)
    yield from _operations(ours, theirs)
    yield from _rewritten_tensors(theirs)
    yield from measure_flat_quantizers(theirs)
    if [n.op for n in ours.nodes] == [n.op for n in theirs.nodes]:
        for one, two in zip(ours.nodes, theirs.nodes, strict=True):
            yield from _options(one, two)


def _operations(ours: FlatProgram, theirs: FlatProgram) -> Iterator[Measurement]:
    one: Sequence[object] = [node.op for node in ours.nodes]
    two: Sequence[object] = [node.op for node in theirs.nodes]
    if one != two:
        more, fewer = Counter(two) - Counter(one), Counter(one) - Counter(two)
        said = [f"{count} more {name}" for name, count in sorted(more.items(), key=str)[:3]]
        said += [f"{count} fewer {name}" for name, count in sorted(fewer.items(), key=str)[:3]]
        what = f"the candidate has other operations ({', '.join(said) or 'in another order'})"
    else:
        one, two = ours.wiring(), theirs.wiring()
        what = "the candidate's operations read each other's results otherwise"
    at = next((i for i, (a, b) in enumerate(zip_longest(one, two)) if a != b), None)
    if at is None:
        return
    blamed = theirs.nodes[min(at, len(theirs.nodes) - 1)] if theirs.nodes else None
    before = ours.nodes[at] if at < len(ours.nodes) else None
    yield _difference("unmatched", f"{what}, first at number {at}", blamed, before)


def _rewritten_tensors(program: FlatProgram) -> Iterator[Measurement]:
    """Tensors that are written where something else stands: what is read then depends on the runtime."""
    graph = program.model.graph
    written = {each.name for each in graph.inputs} | {n for n in graph.constants if n in graph.types}
    for node in graph.nodes:
        for name in node.outputs:
            if name and name in written:
                yield _difference(
                    "wiring",
                    f"{node.label} writes {name!r}, which is stored, an input or written before",
                    node,
                    None,
                )
            written.add(name)


def _options(one: Node, two: Node) -> Iterator[Measurement]:
    for key in sorted({*one.attributes, *two.attributes} - QUANTIZING - {UNREAD}):
        ours, theirs = one.attributes.get(key), two.attributes.get(key)
        if ours != theirs:
            yield _difference(
                "attribute",
                f"{two.label} has the option {key} {_shown(theirs)} where the reference has {_shown(ours)}",
                two,
                one,
                attribute=key,
            )
    unread = two.attributes.get(UNREAD) or one.attributes.get(UNREAD)
    if unread:
        yield _difference("uncompared", f"{two.label} has {unread}: they were not compared", two, one)


def _shown(value: object) -> str:
    return "left out" if value is None else str(value)[:80]


def _difference(
    kind: str, message: str, theirs: Node | None, ours: Node | None, **more: object
) -> Measurement:
    output = theirs.outputs[0] if theirs is not None and theirs.outputs else None
    return Measurement(
        name="structure.difference",
        at=Place(node=theirs.label if theirs is not None else None, tensor=output or None),
        value=kind,
        detail={
            "message": message, "rewritten": False, **more,
            "candidate_operators": [theirs.op] if theirs is not None else [],
            "reference_operators": [ours.op] if ours is not None else [],
        },
    )  # fmt: skip
