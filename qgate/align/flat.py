"""Aligns two LiteRT models by the places where their operations read constants, whatever these are called."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from qgate.formats.model import Node, StaticModel
from qgate.quant.alignment import Alignment, ConstantPair, Difference
from qgate.quant.constants import ConstantValue
from qgate.quant.floatgraph import FloatGraph, FloatNode

_QUANTIZING = {"tfl.quantize", "tfl.dequantize"}


class FlatProgram:
    """The operations of a LiteRT model without those that quantize, and what each of them reads.

    Args:
        model: The model.
        candidate: The candidate of the pair: a reference that was trained with FAKE_QUANT loses it where that has none.
    """

    def __init__(self, model: StaticModel, candidate: StaticModel) -> None:
        faked = any(node.op == "tfl.fake_quant" for node in candidate.graph.nodes)
        self.model = model
        self._skipped = _QUANTIZING if faked else {*_QUANTIZING, "tfl.fake_quant"}
        self.nodes = [node for node in model.graph.nodes if not self.quantizes(node)]
        graph = model.graph
        stored = {name for name in graph.constants if name in graph.types}
        stands = {
            **dict.fromkeys(stored, "constant"),
            **{t.name: f"input {i}" for i, t in enumerate(graph.inputs)},
        }
        holds = {name: name for name in stored}
        numbers = {id(node): number for number, node in enumerate(self.nodes)}
        self._reads: list[list[tuple[str, str]]] = []
        for node in graph.nodes:
            if id(node) not in numbers:
                source = node.inputs[0] if node.inputs else ""
                for name in filter(None, node.outputs):
                    stands[name] = stands.get(source, "nothing")
                    holds[name] = holds.get(source, "")
                continue
            self._reads.append([(self._stand(stands, n), holds.get(n, "")) for n in node.inputs])
            for position, name in enumerate(node.outputs):
                if name:
                    stands[name], holds[name] = f"{numbers[id(node)]}.{position}", ""
        self._reads.append([(self._stand(stands, t.name), holds.get(t.name, "")) for t in graph.outputs])

    @staticmethod
    def _stand(stands: dict[str, str], name: str) -> str:
        return stands.get(name, "nothing") if name else ""

    def quantizes(self, node: Node) -> bool:
        """Whether an operation only changes how numbers are stored."""
        return node.op in self._skipped

    def wiring(self) -> list[str]:
        """What each operation reads, and then what the outputs are: operations and inputs by number, or a constant."""
        return [", ".join(stand for stand, _ in reads) for reads in self._reads]

    def places(self) -> Iterator[tuple[int, int, str]]:
        """Every place where a constant is read: number of the operation (the last is the outputs), of the operand, name."""
        for number, reads in enumerate(self._reads):
            for operand, (stand, name) in enumerate(reads):
                if stand == "constant":
                    yield number, operand, name

    @cached_property
    def readers(self) -> dict[str, list[Node]]:
        """The operations that read each tensor."""
        found: dict[str, list[Node]] = {}
        for node in self.model.graph.nodes:
            for name in set(node.inputs) - {""}:
                found.setdefault(name, []).append(node)
        return found


def same_programs(reference: StaticModel, candidate: StaticModel) -> tuple[FlatProgram, FlatProgram] | None:
    """Both models as programs; None where their operations or what these read differ, so that places mean nothing."""
    ours, theirs = FlatProgram(reference, candidate), FlatProgram(candidate, candidate)
    if [n.op for n in ours.nodes] != [n.op for n in theirs.nodes] or ours.wiring() != theirs.wiring():
        return None
    return ours, theirs


def same_tensors(reference: StaticModel, candidate: StaticModel) -> dict[str, str]:
    """The reference's tensor for each of the candidate's activations: inputs by position, what operations make by theirs.

    What a quantizing operation makes of a tensor stands for that tensor.

    Args:
        reference: A LiteRT model; ``candidate`` likewise.

    Returns:
        Empty where the programs differ.
    """
    programs = same_programs(reference, candidate)
    if programs is None:
        return {}
    ours, theirs = programs
    ends = zip(candidate.graph.inputs, reference.graph.inputs, strict=False)
    found = {one.name: two.name for one, two in ends}
    for two, one in zip(theirs.nodes, ours.nodes, strict=True):
        found |= {b: a for b, a in zip(two.outputs, one.outputs, strict=False) if a and b}
    for node in candidate.graph.nodes:
        source = node.inputs[0] if node.inputs and theirs.quantizes(node) else ""
        if source in found:
            found |= {name: found[source] for name in node.outputs if name}
    return found


def align_flat(
    reference: StaticModel, candidate: StaticModel, original: FloatGraph, view: FloatGraph
) -> Alignment | None:
    """Aligns constants by operation and operand.

    Args:
        reference: A LiteRT model; ``candidate`` likewise.
        original: The reference's view; ``view`` the candidate's.

    Returns:
        The alignment; None where the operations or what they read differ, so that there are no places to go by.
    """
    programs = same_programs(reference, candidate)
    if programs is None:
        return None
    ours, theirs = programs
    held = _held(original), _held(view)
    alignment = Alignment()
    seen: set[tuple[int, int]] = set()
    for (number, operand, one), (_, _, two) in zip(ours.places(), theirs.places(), strict=True):
        label = theirs.nodes[number].label if number < len(theirs.nodes) else "an output"
        before, after = held[0].get(one), held[1].get(two)
        if before is None or after is None:
            _differs(alignment, "uncompared", f"operand {operand} of {label}, {two!r}, was not compared", two)
            continue
        (node, _, value), (other, position, now) = before, after
        if value.shape != now.shape:
            message = (
                f"operand {operand} of {label}, {two!r}, has shape {list(now.shape)} where the reference has"
            )
            _differs(alignment, "constant", f"{message} {list(value.shape)}", two)
            continue
        alignment.constants.append(ConstantPair(value, now, node, other, position, "position"))
        if (id(node), id(other)) not in seen:
            seen.add((id(node), id(other)))
            alignment.nodes.append((node, other))
    known = {pair.candidate.name for pair in alignment.constants}
    known |= {str(d.evidence["tensor"]) for d in alignment.differences}
    read = {name for node in candidate.graph.nodes for name in node.inputs}
    for name in held[1]:
        if name not in known and name in read:
            _differs(alignment, "unmatched", f"{name!r} is read where the reference reads nothing", name)
    return alignment


def _held(view: FloatGraph) -> dict[str, tuple[FloatNode, int, ConstantValue]]:
    """Constants by the file's name with where the view reads them."""
    return {
        name: (node, position, view.constants[name])
        for node in view.nodes
        for position, name in enumerate(node.inputs)
        if name in view.constants
    }


def _differs(alignment: Alignment, kind: str, message: str, tensor: str) -> None:
    alignment.differences.append(Difference(kind, message, evidence={"tensor": tensor, "tensors": [tensor]}))
