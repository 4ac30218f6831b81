"""Which operation of the candidate is which operation of the reference, and where the two graphs part.

Both float views are walked backwards from the outputs at the same time. Where the operators agree, so do
the tensors; where they do not, the shortest detour that brings them together again is a difference, named
by the file's own nodes. Names play no part but for inputs and outputs, so a renamed model aligns as well.
What the walk could not reach is matched by its weights. Never by position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from qgate.align.detour import Detours, Reader
from qgate.align.settings import differing
from qgate.align.side import COMMUTATIVE, TRANSPARENT, Side
from qgate.quant.alignment import Alignment, ConstantPair, Difference
from qgate.quant.floatgraph import FloatGraph, FloatNode
from qgate.quant.layout import LAYOUT

# Operators that take sizes, indices or axes, which one exporter computes and another writes down.
TAKES_SHAPES = {"Reshape", "Expand", "Slice", "Resize", "Tile", "ConstantOfShape", "Range", "Pad", "Unsqueeze",
                "Squeeze", "Gather", "Split", "TopK", "Upsample", "Concat", "Shape", "OneHot", "CenterCropPad"}  # fmt: skip
WEIGHTED = {"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Gather"}


def align(
    reference: FloatGraph,
    candidate: FloatGraph,
    outputs: Mapping[str, str],
    inputs: Mapping[str, str],
) -> Alignment:
    """Aligns two float views.

    Args:
        reference: The reference's view.
        candidate: The candidate's view.
        outputs: Candidate's output name by the reference's.
        inputs: Candidate's input name by the reference's.
    """
    walk = _Walk(reference, candidate, dict(inputs))
    candidate_outputs = dict(candidate.outputs)
    for name, ref in reference.outputs:
        other = outputs.get(name, name)
        if other in candidate_outputs:
            walk.run(ref, candidate_outputs[other])
    return walk.finish()


class _Walk:
    def __init__(self, reference: FloatGraph, candidate: FloatGraph, inputs: dict[str, str]) -> None:
        self.inputs = inputs
        self.left = Side(reference, {})
        self.right = Side(candidate, {theirs: ours for ours, theirs in inputs.items()})
        self.result = Alignment()
        self.queue: deque[tuple[str, str, Reader]] = deque()
        self.seen: set[tuple[str, str]] = set()
        self.paired: dict[int, FloatNode] = {}
        self.skipped_left: set[int] = set()
        self.skipped_right: set[int] = set()
        self.detours = Detours(self.left, self.right, inputs, self.paired)

    def run(self, left: str, right: str) -> None:
        self.queue.append((left, right, None))
        while self.queue:
            self.visit(*self.queue.popleft())

    def visit(self, left: str, right: str, reader: Reader) -> None:
        if reader is None or not (self.left.is_constant(left) and self.right.is_constant(right)):
            if (left, right) in self.seen:
                return
            self.seen.add((left, right))
        if not left or not right:
            self._missing(left, right, reader)
            return
        if self.left.is_constant(left) or self.right.is_constant(right):
            self._constants(left, right, reader)
            return
        self.result.tensors.setdefault(right, left)
        one, two = self.left.made.get(left), self.right.made.get(right)
        if one is None and two is None:
            self._inputs(left, right, reader)
        elif one is not None and two is not None and self._same(one, two, left, right):
            self._pair(one, two)
        else:
            self._resynchronise(left, right, reader)

    def _missing(self, left: str, right: str, reader: Reader) -> None:
        if not (left or right) or reader is None:
            return
        extra = bool(right)
        one, two, position = reader
        what = (
            "reads an operand that the reference does not have"
            if extra
            else "lacks an operand of the reference"
        )
        name = right if extra else left
        value = (self.right if extra else self.left).graph.constants.get(name)
        if value is not None and not np.any(value.values()):
            return
        self._differ(
            "wiring",
            f"{two.op} {what} (position {position}{', the bias' if one.op in WEIGHTED and position == 2 else ''})",
            (two,),
            (one,),
            {"operand": value.name if value is not None else name},
        )

    def _constants(self, left: str, right: str, reader: Reader) -> None:
        both = self.left.is_constant(left) and self.right.is_constant(right)
        if both and reader is not None:
            one, two, position = reader
            pair = ConstantPair(
                self.left.graph.constants[left],
                self.right.graph.constants[right],
                one,
                two,
                position,
                "graph",
            )
            self.result.constants.append(pair)
            return
        if reader is None:
            return
        one, two, position = reader
        if one.op in TAKES_SHAPES and self.left.shape_only(left) and self.right.shape_only(right):
            return
        constant_side = "candidate" if self.right.is_constant(right) else "reference"
        self._differ(
            "wiring",
            f"operand {position} of {two.op} is constant in the {constant_side} alone",
            (two,),
            (one,),
        )

    def _inputs(self, left: str, right: str, reader: Reader) -> None:
        if self.inputs.get(left, left) == right or left not in self.left.inputs:
            return
        if right not in self.right.inputs or reader is None:
            return
        one, two, _ = reader
        if left in {t.name for t in self.right.graph.inputs}:
            self._differ(
                "wiring", f"{two.op} reads input {right!r} where the reference reads {left!r}", (two,), (one,)
            )

    def _same(self, one: FloatNode, two: FloatNode, left: str, right: str) -> bool:
        if one.op != two.op or one.outputs.index(left) != two.outputs.index(right):
            return False
        known = self.paired.get(id(two))
        if known is not None and known is not one:
            return False
        if one.op in TRANSPARENT | LAYOUT or one.op in COMMUTATIVE:
            # Cheap operators repeat along a chain: make sure that it is this one.
            return self.left.signature(left) == self.right.signature(right) or not self._better_elsewhere(
                one, two
            )
        return self.detours.weights_fit(one, two)

    def _better_elsewhere(self, one: FloatNode, two: FloatNode) -> bool:
        """Whether skipping one of the two nodes alone makes the rest agree."""
        left = [self.left.signature(i) for i in self.left.data_inputs(one)]
        right = [self.right.signature(i) for i in self.right.data_inputs(two)]
        own = (self.left.signature(one.outputs[0]), self.right.signature(two.outputs[0]))
        return not (set(left) & set(right)) and (own[0] in right or own[1] in left)

    def _pair(self, one: FloatNode, two: FloatNode) -> None:
        if id(two) in self.paired:
            return
        self.paired[id(two)] = one
        self.result.nodes.append((one, two))
        for stage, tensor in two.stages.items():
            if stage in one.stages:
                self.result.tensors.setdefault(tensor, one.stages[stage])
        self._compare_attributes(one, two)
        theirs = list(two.inputs)
        if one.op in COMMUTATIVE and len(one.inputs) == len(theirs) == 2 and self._swapped(one, two):
            theirs.reverse()
        for position in range(max(len(one.inputs), len(theirs))):
            left = one.inputs[position] if position < len(one.inputs) else ""
            right = theirs[position] if position < len(theirs) else ""
            self.queue.append((left, right, (one, two, position)))

    def _swapped(self, one: FloatNode, two: FloatNode) -> bool:
        left = [self.left.signature(i) for i in one.inputs]
        right = [self.right.signature(i) for i in two.inputs]
        straight = (left[0] == right[0]) + (left[1] == right[1])
        crossed = (left[0] == right[1]) + (left[1] == right[0])
        return crossed > straight

    def _compare_attributes(self, one: FloatNode, two: FloatNode) -> None:
        for key, left, right in differing(one, two, self.left.graph, self.right.graph):
            self._differ(
                "attribute",
                f"{two.op} has {key} = {_shown(right)} where the reference has {_shown(left)}",
                (two,),
                (one,),
                {"attribute": key, "candidate": _shown(right), "reference": _shown(left)},
            )

    def _resynchronise(self, left: str, right: str, reader: Reader) -> None:
        one = self.left.made.get(left)
        if one is not None and self.detours.implied(one, right, reader):
            self.skipped_left.add(id(one))
            self.queue.append((one.inputs[0], right, None))
            return
        found = self.detours.find(left, right)
        if found is None:
            two = self.right.made.get(right)
            if self.left.shape_only(left) and self.right.shape_only(right):
                return
            self._differ(
                "unmatched",
                f"{two.op if two else 'input ' + right} stands where the reference has "
                f"{one.op if one else 'input ' + left}, and the graphs do not come together again",
                (two,) if two else (),
                (one,) if one else (),
            )
            return
        left_to, right_to, left_nodes, right_nodes = found
        self.skipped_left.update(id(n) for n in left_nodes)
        self.skipped_right.update(id(n) for n in right_nodes)
        difference = self.detours.difference(left_nodes, right_nodes, right)
        if difference is not None:
            self.result.differences.append(difference)
        self.queue.append((left_to, right_to, None))

    def _differ(
        self,
        kind: str,
        message: str,
        candidate: tuple[FloatNode, ...] = (),
        reference: tuple[FloatNode, ...] = (),
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        self.result.differences.append(Difference(kind, message, candidate, reference, evidence or {}))

    def finish(self) -> Alignment:
        left_done = {id(one) for one, _ in self.result.nodes} | self.skipped_left
        right_done = set(self.paired) | self.skipped_right
        self.result.unmatched_reference = [n for n in self.left.graph.nodes if id(n) not in left_done]
        self.result.unmatched_candidate = [n for n in self.right.graph.nodes if id(n) not in right_done]
        return self.result


def _shown(value: Any) -> str:
    text = "its default" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
