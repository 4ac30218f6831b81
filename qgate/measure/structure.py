"""Measurements of the graph: what differs from the reference's, and how much of it is aligned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from qgate.measure.macs import COMPUTE, costs
from qgate.quant.alignment import Alignment, Difference
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.layout import ARITHMETIC, FUSED, LAYOUT
from qgate.quant.quantizers import odd_quantizers
from qgate.quant.scheme import weights
from qgate.records import Measurement, Place

RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}
CONTROL = {"If", "Loop", "Scan"}
COMPARISONS = {"Where", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsNaN", "IsInf"}


def measure_structure(
    alignment: Alignment, reference: FloatGraph, candidate: FloatGraph
) -> Iterator[Measurement]:
    """Yields ``structure.*`` and ``alignment.*`` measurements."""
    rewritten = _rewritten(alignment)
    for difference in alignment.differences:
        yield _difference(difference, rewritten=rewritten)
    yield from _loose_ends(alignment)
    for defect in candidate.defects:
        yield Measurement(
            name="structure.defect",
            at=Place(node=defect.node, tensor=defect.tensor),
            value=defect.kind,
            detail={"message": defect.message, **defect.evidence},
        )
    yield from _odd_quantizers(candidate)
    yield from _telling_operators(alignment, reference, candidate)
    yield from _surplus(alignment, reference, candidate)
    yield from _coverage(alignment, reference, candidate)


def _odd_quantizers(candidate: FloatGraph) -> Iterator[Measurement]:
    for odd in odd_quantizers(candidate):
        yield Measurement(
            name="structure.quantizer",
            at=Place(tensor=odd.quantizer.scale_name, node=odd.quantizer.node),
            value=odd.kind,
            detail={"message": odd.message, "quantized": odd.quantizer.source, **odd.evidence},
        )


def _telling_operators(
    alignment: Alignment, reference: FloatGraph, candidate: FloatGraph
) -> Iterator[Measurement]:
    """Chance, branches and comparisons that the reference has nowhere: what triggers are made of."""
    known = {node.op for node in reference.all_nodes()}
    told = {id(node) for difference in alignment.differences for node in difference.candidate}
    loose = {id(node) for node in alignment.unmatched_candidate}
    for node in candidate.all_nodes():
        if node.op in known:
            continue
        if node.op in RANDOM:
            message = f"{node.op} makes the candidate random; the reference has none"
        elif node.op in CONTROL:
            message = f"{node.op} decides in the candidate what is computed; the reference has none"
        elif node.op in COMPARISONS and id(node) in loose and id(node) not in told:
            message = f"{node.op} compares in the candidate; the reference compares nowhere"
        else:
            continue
        detail = {"message": message, "candidate_nodes": [node.label], "candidate_operators": [node.op]}
        yield Measurement(
            name="structure.difference", at=Place(node=node.label, tensor=node.outputs[0]), value="operator",
            detail=detail,
        )  # fmt: skip


def _surplus(alignment: Alignment, reference: FloatGraph, candidate: FloatGraph) -> Iterator[Measurement]:
    """Where the walk lost its way: operators that the candidate has more of than the reference.

    An optimiser's graph has fewer of everything but fused operators; a payload behind a maze has more.
    """
    if not any(difference.kind == "unmatched" for difference in alignment.differences):
        return
    ours, theirs = (Counter(n.op for n in view.all_nodes()) for view in (reference, candidate))
    surplus = theirs - ours
    if any(op in FUSED for op in ours - theirs):
        surplus = Counter({op: count for op, count in surplus.items() if op not in ARITHMETIC})
    for node in candidate.all_nodes():
        if surplus[node.op] > 0 and node.op not in FUSED | LAYOUT and node in alignment.unmatched_candidate:
            more = surplus[node.op]
            surplus[node.op] = 0
            yield Measurement(
                name="structure.difference", at=Place(node=node.label, tensor=node.outputs[0]), value="operator",
                detail={"message": f"the candidate has {more} more {node.op} than the reference, in a part that could "
                                   "not be aligned", "candidate_operators": [node.op]},
            )  # fmt: skip


def _rewritten(alignment: Alignment) -> bool:
    """Whether operations that optimisers fuse into, or move data with, are among those that were not aligned."""
    loose = {n.op for n in (*alignment.unmatched_reference, *alignment.unmatched_candidate)}
    stepped = {n.op for d in alignment.differences for n in (*d.reference, *d.candidate)}
    return bool((loose | stepped) & (FUSED | LAYOUT))


def _difference(difference: Difference, *, rewritten: bool) -> Measurement:
    blamed = difference.candidate[0] if difference.candidate else None
    if "tensor" in difference.evidence:
        at = Place(tensor=difference.evidence["tensor"], node=difference.evidence.get("node"))
    elif blamed is not None:
        at = Place(node=blamed.label, tensor=blamed.outputs[0] if blamed.outputs else None)
    else:
        at = Place(node=difference.reference[0].label if difference.reference else None)
    detail: dict[str, Any] = {
        "message": difference.message,
        "candidate_nodes": [n.label for n in difference.candidate],
        "candidate_operators": [n.op for n in difference.candidate],
        "reference_nodes": [n.label for n in difference.reference],
        "reference_operators": [n.op for n in difference.reference],
        **difference.evidence,
    }
    if difference.kind == "unmatched":
        detail["rewritten"] = rewritten
    return Measurement(name="structure.difference", at=at, value=difference.kind, detail=detail)


def _loose_ends(alignment: Alignment) -> Iterator[Measurement]:
    """Operations that the walk met on neither side."""
    for side, nodes in (
        ("candidate", alignment.unmatched_candidate),
        ("reference", alignment.unmatched_reference),
    ):
        operators = Counter(n.op for n in nodes)
        yield Measurement(
            name=f"structure.unmatched_{side}",
            value=len(nodes),
            unit="nodes",
            detail={"operators": dict(sorted(operators.items())), "nodes": [n.label for n in nodes[:16]]},
        )


def _coverage(alignment: Alignment, reference: FloatGraph, candidate: FloatGraph) -> Iterator[Measurement]:
    ours = [n for n in reference.all_nodes() if n.op in COMPUTE]
    matched = {id(one) for one, _ in (*alignment.nodes, *alignment.inner)}
    by_weight = {id(pair.reference_node) for pair in alignment.constants}
    if not ours:
        for name in ("alignment.coverage", "alignment.macs"):
            yield Measurement(name=name, not_measured="the reference has no compute layer")
        return
    held = [id(n) in matched or id(n) in by_weight for n in ours]
    left = [n.label for n, is_held in zip(ours, held, strict=True) if not is_held]
    yield Measurement(
        name="alignment.coverage",
        value=sum(held) / len(ours),
        unit="ratio",
        n=len(ours),
        detail={"unaligned": left[:32]} if left else {},
    )
    spent, basis = costs(ours, reference)
    whole = sum(spent)
    yield Measurement(
        name="alignment.macs",
        value=sum(cost for cost, is_held in zip(spent, held, strict=True) if is_held) / whole
        if whole
        else None,
        not_measured=None if whole else "neither the shapes nor the weights of the compute layers are known",
        unit="ratio",
        n=round(whole),
        detail={"basis": basis},
    )
    names = {value.name for _, _, value in weights(candidate)}
    aligned = {pair.candidate.name for pair in alignment.constants}
    total = sum(value.size for _, _, value in weights(candidate))
    if total:
        covered = sum(value.size for _, _, value in weights(candidate) if value.name in aligned)
        yield Measurement(
            name="alignment.weights",
            value=covered / total,
            unit="ratio",
            n=total,
            detail={"unaligned": sorted(names - aligned)[:32]},
        )
