"""Two exported programs held against each other step by step: what each operation is set to, and what it reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from qgate.formats.model import Graph, Node, StaticModel
from qgate.formats.torch.program import OPERANDS, Symbol
from qgate.measure.programs import is_folded, is_quantizing
from qgate.quant.alignment import Alignment
from qgate.records import Measurement, Place

_PARAMETERS = ("scale", "zero_point", "quant_min", "quant_max", "axis", "block_size")
_NOTHING = "nothing"


def measure_program_steps(
    reference: StaticModel, candidate: StaticModel, alignment: Alignment
) -> Iterator[Measurement]:
    """``structure.defect`` for codes that are read otherwise than they were made, and ``structure.difference`` for
    operations that are set otherwise, or read something else, than the reference's in their place.

    What quantizing adds stands for what it reads, and so do the normalisations that it folds away.

    Args:
        reference: The reference.
        candidate: The candidate. Nothing is told of a pair that is not two exported programs.
        alignment: Which weights are which.
    """
    if {reference.format, candidate.format} != {"torch-export"}:
        return
    yield from _codes(candidate.graph)
    partners: dict[str, set[str]] = defaultdict(set)
    for pair in alignment.constants:
        partners[pair.candidate.name].add(pair.reference.name)
    yield from _Pair(reference.graph, candidate.graph, partners).compare()


def _codes(graph: Graph) -> Iterator[Measurement]:
    """Codes that are dequantized by other numbers than they were quantized by, and what chance decides."""
    made = {name: node for node in graph.nodes for name in node.outputs}
    for node in graph.nodes:
        for body in _bodies(node):
            yield from _codes(body)
        before = made.get(node.inputs[0]) if node.inputs else None
        if _is_random(node):
            yield _difference(
                "operator", f"{node.label or node.op} drops values by chance, as for training", node
            )
        if is_quantizing(node) and "dequantize" in node.op and before is not None and _makes_codes(before):
            ours, theirs = _parameters(before), _parameters(node)
            odd = [key for key in ours if ours[key] != theirs[key]]
            if odd:
                yield _defect(
                    node,
                    f"{node.inputs[0]!r} was quantized with {odd[0]} {_shown(ours[odd[0]])} and is dequantized with "
                    f"{_shown(theirs[odd[0]])}",
                )


def _computed(graph: Graph, kept: Sequence[Node]) -> Iterator[Measurement]:
    """Operations of a float program's that are given codes: an activation of codes flattens others than one of numbers."""
    made = {name: node for node in graph.nodes for name in node.outputs}
    for node in kept:
        coded = [name for name in node.inputs if _makes_codes(made.get(name))]
        if coded:
            yield _defect(node, f"{node.op} computes on codes: no quantizer leaves {coded[0]!r} as it is")


def _makes_codes(node: Node | None) -> bool:
    if node is None or not is_quantizing(node):
        return False
    return "quantize" in node.op and "dequantize" not in node.op and "fake_quantize" not in node.op


def _parameters(node: Node) -> dict[str, Any]:
    """By what an operation quantizes or dequantizes: numbers, and tensors by their names."""
    found = {key: node.attributes.get(key) for key in _PARAMETERS}
    return {**found, "tensors": node.inputs[1:]}


class _Pair:
    """Two graphs, operation by operation.

    Args:
        ours: The reference's graph; ``theirs`` the candidate's.
        partners: The reference's constants for each of the candidate's.
    """

    def __init__(self, ours: Graph, theirs: Graph, partners: Mapping[str, set[str]]) -> None:
        self.graphs = ours, theirs
        self.partners = partners
        self.symbols: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def compare(self) -> Iterator[Measurement]:
        """Nothing where the operations differ, which is told elsewhere: then places mean nothing."""
        ours, theirs = (_kept(graph) for graph in self.graphs)
        if [node.op for node in ours if not _is_norm(node)] != [
            node.op for node in theirs if not _is_norm(node)
        ]:
            return
        ours, added = _beside(ours, theirs)
        if added is not None:
            yield _difference(
                "added", f"{added.label or added.op} normalises where the reference does not", added
            )
            return
        stands = _stands(self.graphs[0], ours), _stands(self.graphs[1], theirs)
        for one, two in zip(ours, theirs, strict=True):
            yield from self._settings(one, two)
            yield from self._operands(one, two, stands)
            for before, after in zip(_bodies(one), _bodies(two), strict=False):
                yield from _Pair(before, after, self.partners).compare()
        yield from _computed(self.graphs[1], theirs)
        ends = [
            [held.get(tensor.name, _NOTHING) for tensor in graph.outputs]
            for held, graph in zip(stands, self.graphs, strict=True)
        ]
        for number, (end, other) in enumerate(zip_longest(*ends)):
            if not self._same(end, other):
                yield _difference(
                    "wiring", f"output {number} of the candidate's program is another result", None
                )

    def _settings(self, one: Node, two: Node) -> Iterator[Measurement]:
        for key in sorted({*one.attributes, *two.attributes} - {OPERANDS}):
            ours, theirs = (
                self._plain(node.attributes.get(key), side) for side, node in enumerate((one, two))
            )
            if ours != theirs:
                yield _difference(
                    "attribute",
                    f"{two.label or two.op} has {key} {_shown(theirs)} where the reference has {_shown(ours)}",
                    two,
                    attribute=key,
                )

    def _plain(self, value: Any, side: int) -> Any:
        """A setting to compare, with its type; a symbol by its number: exports name symbols as they like."""
        if isinstance(value, Symbol):
            return "symbol", self.symbols[side].setdefault(value, len(self.symbols[side]))
        if isinstance(value, tuple):
            return tuple(self._plain(each, side) for each in value)
        if isinstance(value, Graph):
            return "body", len(_kept(value))
        return type(value).__name__, repr(value)

    def _operands(
        self, one: Node, two: Node, stands: tuple[Mapping[str, str], Mapping[str, str]]
    ) -> Iterator[Measurement]:
        ours, theirs = _by_argument(one, stands[0]), _by_argument(two, stands[1])
        for key in sorted(ours.keys() | theirs.keys()):
            before, after = ours.get(key), theirs.get(key)
            if before is None and after is not None and _is_folded_bias(key, after):
                continue
            if before is None or after is None or not all(map(self._same, before, after)):
                yield _difference(
                    "wiring", f"{two.label or two.op} reads another tensor as {key} than the reference's", two
                )

    def _same(self, before: str | None, after: str | None) -> bool:
        """Whether two operands are one tensor; of a constant that was not aligned that is told elsewhere."""
        if before is None or after is None:
            return before is after
        held = [
            graph.constants[name.removeprefix("=")].name if name.startswith("=") else None
            for graph, name in zip(self.graphs, (before, after), strict=True)
        ]
        if held[0] is None or held[1] is None:
            return before == after
        found = self.partners.get(held[1])
        return (
            found is None or held[0] in found or not any(held[0] in each for each in self.partners.values())
        )


def _is_folded_bias(key: str, operand: Sequence[str]) -> bool:
    """Whether it is the bias that a layer without one gets where a normalisation is folded in."""
    return key == "bias" and len(operand) == 1 and operand[0].startswith("=")


def _by_argument(node: Node, stands: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What an operation is given, by the arguments' names; a list of a length, or with gaps, is another argument."""
    found: dict[str, tuple[str, ...]] = {}
    names = iter(node.inputs)
    for argument, pattern in node.attributes.get(OPERANDS, ()):
        held = tuple(stands.get(next(names, ""), _NOTHING) for place in pattern if place == "x")
        found[argument if pattern == "x" else f"{argument} [{pattern}]"] = held
    return found


def _stands(graph: Graph, kept: Sequence[Node]) -> dict[str, str]:
    """What each tensor is: an input, a constant (``=`` and its name), or a result, by number."""
    numbers = {id(node): number for number, node in enumerate(kept)}
    found = {name: f"={name}" for name in graph.constants}
    found |= {tensor.name: f"input {number}" for number, tensor in enumerate(graph.inputs)}
    for node in graph.nodes:
        number = numbers.get(id(node))
        for position, name in enumerate(node.outputs):
            source = node.inputs[0] if node.inputs else ""
            found[name] = found.get(source, _NOTHING) if number is None else f"{number}.{position}"
    return found


def _kept(graph: Graph) -> list[Node]:
    """Operations without those that quantize, and those that change nothing."""
    return [
        node for node in graph.nodes if not is_quantizing(node) and (not is_folded(node) or _is_norm(node))
    ]


def _is_norm(node: Node) -> bool:
    return is_folded(node) and "batch_norm" in node.op


def _beside(ours: Sequence[Node], theirs: Sequence[Node]) -> tuple[list[Node], Node | None]:
    """The reference's operations but for the normalisations that the candidate has folded in, and the first normalisation
    that only the candidate has.
    """
    waiting = list(ours)
    found: list[Node] = []
    for node in theirs:
        while waiting and _is_norm(waiting[0]) and waiting[0].op != node.op:
            waiting.pop(0)
        if not waiting or waiting[0].op != node.op:
            return found, node
        found.append(waiting.pop(0))
    return found, None


def _is_random(node: Node) -> bool:
    """Whether it drops values by chance, as only training does."""
    return is_folded(node) and "dropout" in node.op and bool(node.attributes.get("train", True))


def _bodies(node: Node) -> list[Graph]:
    return [value for _, value in sorted(node.attributes.items()) if isinstance(value, Graph)]


def _shown(value: object) -> str:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    return "left out" if value in (None, "None") else str(value)[:80]


def _defect(node: Node, what: str) -> Measurement:
    return Measurement(
        name="structure.defect",
        at=_place(node),
        value="requantized",
        detail={"message": what, "operator": node.op},
    )


def _difference(kind: str, message: str, node: Node | None, **more: object) -> Measurement:
    return Measurement(
        name="structure.difference", at=Place(node="program") if node is None else _place(node), value=kind,
        detail={"message": message, **more, "candidate_operators": [] if node is None else [node.op],
                "reference_operators": [] if node is None else [node.op]},
    )  # fmt: skip


def _place(node: Node) -> Place:
    return Place(node=node.label or node.op, tensor=node.outputs[0] if node.outputs else None)
