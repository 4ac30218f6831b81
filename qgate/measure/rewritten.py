"""Weights of a graph that was rewritten: sound, and beside another operation's where two graphs do not align.

Where a fusion hides one of several equal blocks, the walk pairs the blocks that are left with each other. A weight that
fails there says nothing of its own, if the reference holds it to the element among what was left without a counterpart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qgate.measure.judged import Judged, judge_constants
from qgate.quant.alignment import Alignment
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.likeness import ALIKE, MIN_ELEMENTS, Diagnosis

_HEAD = 1024
"""Elements by which a tensor of another name is told to be worth a comparison."""
_REWRITTEN = ("added", "removed", "replaced", "unmatched")
_CODES = "_quantized"
"""What ONNX Runtime appends to the name of a weight where it stores the codes."""
_SHORT = ("outsiders", "not-derived")


class Elsewhere:
    """The reference's constants in other places than the alignment has them.

    Under its own name a constant may stand anywhere. Of other names only those count that the alignment gives no
    counterpart: one that has another is as likely to have been exchanged.

    Args:
        reference: The reference's view.
        alignment: What is paired. Where no operation is missing, added or replaced, no graph was rewritten.
    """

    def __init__(self, reference: FloatGraph, alignment: Alignment) -> None:
        paired = {pair.reference.name for pair in alignment.constants}
        matched = {id(one) for one, _ in (*alignment.nodes, *alignment.inner)}
        rewritten = alignment.unmatched_reference or any(d.kind in _REWRITTEN for d in alignment.differences)
        self._named: dict[str, ConstantValue] = {}
        self._loose: dict[str, ConstantValue] = {}
        for graph in reference.graphs() if rewritten else ():
            for node in graph.nodes:
                for value in (graph.constants[name] for name in node.inputs if name in graph.constants):
                    if value.dtype == "string":
                        continue
                    self._named.setdefault(value.name, value)
                    if id(node) not in matched and value.name not in paired:
                        self._loose.setdefault(value.name, value)
        self._heads: dict[str, Array] = {}

    def explain(self, entry: Judged) -> Diagnosis | None:
        """Which of them a constant is that is not derived from the one that it is paired with; None if it is none."""
        if entry.derivation.verdict not in _SHORT:
            return None
        pair = entry.pair
        for value in self._alike(pair.candidate, pair.reference.name):
            (again,) = judge_constants([replace(pair, reference=value)])
            if again.derivation.verdict == "derived":
                return Diagnosis(
                    "rewritten",
                    f"this is the reference's {value.name!r}, which stands elsewhere: the graph was rewritten, so that it "
                    f"is compared with {pair.reference.name!r}",
                    pair.candidate.name,
                    evidence={"derived_from": value.name},
                )
        return None

    def _alike(self, candidate: ConstantValue, paired: str) -> Iterable[ConstantValue]:
        """The one of the same name, then those of other names whose first elements point the same way."""
        named = self._named.get(candidate.name) or self._named.get(candidate.name.removesuffix(_CODES))
        if named is not None and named.shape == candidate.shape and named.name != paired:
            yield named
        others = [v for v in self._loose.values() if v is not named and v.shape == candidate.shape]
        if candidate.size < MIN_ELEMENTS or not others:
            return
        head = _head(candidate)
        # Of numbers that are all the same no other name can be told.
        for value in others if np.ptp(head) else ():
            if value.name not in self._heads:
                self._heads[value.name] = _head(value)
            held = self._heads[value.name]
            with np.errstate(all="ignore"):
                alike = float(head @ held) / float(np.linalg.norm(head) * np.linalg.norm(held) or 1.0)
            if alike > ALIKE:
                yield value


def _head(value: ConstantValue) -> Array:
    flat = value.values().reshape(-1)[:_HEAD]
    return np.clip(np.nan_to_num(flat.astype(np.float64)), -1e100, 1e100)
