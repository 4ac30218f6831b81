"""Aligns two files without graphs: by the names of their tensors, then by their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qgate.align.fingerprint import match_by_values
from qgate.align.norms import fold_norms
from qgate.quant.alignment import Alignment, ConstantPair, Difference
from qgate.quant.constants import ConstantValue
from qgate.quant.floatgraph import FloatGraph, FloatNode
from qgate.quant.scheme import weights
from qgate.quant.tensorview import canonical_name


@dataclass(frozen=True)
class _Held:
    """A constant where an operation reads it."""

    node: FloatNode
    position: int
    value: ConstantValue


def align_by_name(
    reference: FloatGraph,
    candidate: FloatGraph,
    roots: tuple[str, str] = ("", ""),
    *,
    ordered: bool = False,
) -> Alignment:
    """Aligns tensors; what is left over on either side becomes a difference.

    Args:
        reference: A view with or without a graph; ``candidate`` likewise.
        roots: What stands before all names of the reference and of the candidate.
        ordered: Both views come from programs, so that their weights stand in the order of use.
    """
    ours, theirs = _held(reference, roots[0]), _held(candidate, roots[1])
    alignment = Alignment()
    for name, found in theirs.items():
        held = ours.get(name)
        if held is not None and _alike(held.value, found.value):
            alignment.constants.append(
                ConstantPair(held.value, found.value, held.node, found.node, found.position, "name")
            )
    if ordered:
        _pair_in_order(alignment, reference, candidate)
    match_by_values(alignment, reference, candidate)
    used = fold_norms(alignment, reference, candidate)
    seen: set[tuple[int, int]] = set()
    for pair in alignment.constants:
        key = (id(pair.reference_node), id(pair.candidate_node))
        if key not in seen:
            seen.add(key)
            alignment.nodes.append((pair.reference_node, pair.candidate_node))
    alignment.differences.extend(_left(alignment, ours, theirs, used))
    return alignment


def _pair_in_order(alignment: Alignment, reference: FloatGraph, candidate: FloatGraph) -> None:
    """Pairs weights that names do not by their place, where both programs have as many of the same shapes."""
    known = {p.reference.name for p in alignment.constants}, {p.candidate.name for p in alignment.constants}
    left = [
        [entry for entry in weights(graph) if entry[2].name not in names]
        for graph, names in zip((reference, candidate), known, strict=True)
    ]
    if [value.shape for _, _, value in left[0]] != [value.shape for _, _, value in left[1]]:
        return
    for (one, _, ours), (two, position, theirs) in zip(*left, strict=True):
        alignment.constants.append(ConstantPair(ours, theirs, one, two, position, "order"))


def _held(graph: FloatGraph, root: str) -> dict[str, _Held]:
    """Constants by canonical name; a second one of that name by its own, so that neither hides the other.

    Views of tensors have no second one; graphs of ONNX may keep a weight as codes and as floats.
    """
    found: dict[str, _Held] = {}
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            value = graph.constants.get(name)
            if value is not None:
                short, held = canonical_name(value.name, root), _Held(node, position, value)
                if found.setdefault(short, held).value.name != value.name:
                    found.setdefault(value.name, held)
    return found


def _alike(one: ConstantValue, two: ConstantValue) -> bool:
    """Whether tensors of one name can be one tensor: of as many axes, so that a packing is told from codes."""
    return len(one.shape) == len(two.shape) or one.size == two.size


def _is_aside(name: str, folded: set[str]) -> bool:
    """Whether a tensor only counts or orders: a folded BatchNorm's batches, how codes are packed."""
    stem, _, last = name.rpartition(".")
    return (last == "num_batches_tracked" and stem in folded) or last in (
        "g_idx",
        "weight_g_idx",
        "weight_shape",
    )


def _left(
    alignment: Alignment, ours: Mapping[str, _Held], theirs: Mapping[str, _Held], used: set[str]
) -> list[Difference]:
    """Tensors without a counterpart."""
    matched = {pair.reference.name for pair in alignment.constants} | used
    found = {pair.candidate.name for pair in alignment.constants} | used
    differences = []
    for side, held, known in (("reference", ours, matched), ("candidate", theirs, found)):
        folded = {name.rpartition(".")[0] for name in used}
        missing = [
            (name, entry)
            for name, entry in held.items()
            if entry.value.name not in known and not _is_aside(entry.value.name, folded)
        ]
        if not missing:
            continue
        _, first = missing[0]
        shown = ", ".join(repr(entry.value.name) for _, entry in missing[:3]) + (
            ", ..." if len(missing) > 3 else ""
        )
        other = "candidate" if side == "reference" else "reference"
        differences.append(
            Difference(
                "unmatched",
                f"{len(missing)} tensors of the {side} have no counterpart in the {other} ({shown})",
                evidence={
                    "tensor": first.value.name,
                    "tensors": [entry.value.name for _, entry in missing[:32]],
                },
            )
        )
    return differences
