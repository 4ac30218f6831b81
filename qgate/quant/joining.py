"""Brings two views to one form where one of them has as one operator what the other takes apart."""

from __future__ import annotations

from collections import Counter

from qgate.quant.curves import CURVES, join_curves
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.group_norm import GROUP_NORM, join_group_norms
from qgate.quant.normalisations import NORMALISATIONS, join_normalisations
from qgate.quant.written_out import WRITTEN_OUT, join_written_out


def join(one: FloatGraph, two: FloatGraph) -> None:
    """Recognises, in both, the operators that they have in different numbers; those that both have stay as they are."""
    ours, theirs = (Counter(node.op for node in view.all_nodes()) for view in (one, two))
    wanted = {op for op in (*CURVES, *NORMALISATIONS, *WRITTEN_OUT, GROUP_NORM) if ours[op] != theirs[op]}
    if "HardSigmoid" in wanted:
        wanted.add("HardSwish")  # the view writes it as x times HardSigmoid
    if not wanted:
        return
    for view in (one, two):
        for graph in view.graphs():
            join_curves(graph, frozenset(wanted))
            join_normalisations(graph, frozenset(wanted))
            join_written_out(graph, frozenset(wanted))
            join_group_norms(graph, frozenset(wanted))
            graph.prune()
