"""Two LiteRT models compared as programs: operations by name, order and what they read; what quantizing adds is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qgate.formats.model import Node, StaticModel
from qgate.records import Measurement, Place

_QUANTIZING = {"tfl.quantize", "tfl.dequantize", "tfl.fake_quant"}


def measure_flat_programs(reference: StaticModel, candidate: StaticModel) -> Iterator[Measurement]:
    """``structure.difference`` of two LiteRT models; nothing where one of them is none.

    Options of operations (strides, fused activations) are not compared: outputs are.

    Args:
        reference: The reference.
        candidate: The candidate.
    """
    if {reference.format, candidate.format} != {"tflite"}:
        return
    ours, theirs = _operations(reference), _operations(candidate)
    one, two = [node.op for node in ours], [node.op for node in theirs]
    if one != two:
        more, fewer = Counter(two) - Counter(one), Counter(one) - Counter(two)
        said = [f"{count} more {name}" for name, count in sorted(more.items())[:3]]
        said += [f"{count} fewer {name}" for name, count in sorted(fewer.items())[:3]]
        what = f"the candidate has other operations ({', '.join(said) or 'in another order'})"
    else:
        one, two = _wiring(reference, ours), _wiring(candidate, theirs)
        what = "the candidate's operations read each other's results otherwise"
    at = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    if at == len(one) == len(two):
        return
    blamed = theirs[min(at, len(theirs) - 1)] if theirs else None
    yield Measurement(
        name="structure.difference",
        at=Place(node=blamed.label if blamed else None, tensor=blamed.outputs[0] if blamed and blamed.outputs else None),
        value="unmatched",
        detail={
            "message": f"{what}, first at number {at}", "rewritten": False,
            "candidate_operators": [n.op for n in theirs[at : at + 1]],
            "reference_operators": [n.op for n in ours[at : at + 1]],
        },
    )  # fmt: skip


def _wiring(model: StaticModel, nodes: list[Node]) -> list[str]:
    """What each operation reads, and then what the outputs are: operations by number, inputs by number, or a constant."""
    stands = {each.name: f"input {i}" for i, each in enumerate(model.graph.inputs)}
    numbers = {id(node): number for number, node in enumerate(nodes)}
    found = []
    for node in model.graph.nodes:
        if id(node) not in numbers:
            stands.update(
                dict.fromkeys(node.outputs, stands.get(node.inputs[0], "constant") if node.inputs else "")
            )
            continue
        found.append(", ".join(stands.get(name, "constant" if name else "") for name in node.inputs))
        stands.update((name, f"{numbers[id(node)]}.{i}") for i, name in enumerate(node.outputs))
    return [*found, ", ".join(stands.get(each.name, "") for each in model.graph.outputs)]


def _operations(model: StaticModel) -> list[Node]:
    return [node for node in model.graph.nodes if node.op not in _QUANTIZING]
