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

from qgate.align.detour import Detours, Reader, past
from qgate.align.exchange import exchanged, order, same_weights
from qgate.align.operands import constant_alone, missing, other_tensor
from qgate.align.padding import padding_before
from qgate.align.settings import differing
from qgate.align.side import COMMUTATIVE, TRANSPARENT, Side
from qgate.quant.alignment import Alignment, ConstantPair, Difference
from qgate.quant.floatgraph import FloatGraph, FloatNode
from qgate.quant.layout import LAYOUT

# Operators that take sizes, indices or axes, which one exporter computes and another writes down.
TAKES_SHAPES = {"Reshape", "Expand", "Slice", "Resize", "Tile", "ConstantOfShape", "Range", "Pad", "Unsqueeze",
                "Squeeze", "Gather", "Split", "TopK", "Upsample", "Concat", "Shape", "OneHot", "CenterCropPad"}  # fmt: skip

RESHAPES = TAKES_SHAPES - {"Gather", "Slice", "Pad", "TopK", "OneHot", "CenterCropPad", "Tile"}


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
    """One walk through a pair of graphs; a pair of bodies has its own, which hands back what they capture."""

    def __init__(
        self, reference: FloatGraph, candidate: FloatGraph, inputs: dict[str, str], outer: _Walk | None = None
    ) -> None:
        self.inputs = inputs
        self.outer = outer
        self.left: Side = Side(reference, {}, outer.left if outer else None)
        renamed = {theirs: ours for ours, theirs in inputs.items()}
        self.right: Side = Side(candidate, renamed, outer.right if outer else None)
        self.result = Alignment()
        self.queue: deque[tuple[str, str, Reader]] = deque()
        self.seen: set[tuple[str, str]] = set()
        self.paired: dict[int, FloatNode] = {}
        self.skipped_left: set[int] = set()
        self.skipped_right: set[int] = set()
        self.lost: list[tuple[str, str, Reader]] = []
        self.resized: set[int] = set()
        self.passed: list[tuple[int, str, tuple[FloatNode, FloatNode, int]]] = []
        self.detours = Detours(self.left, self.right, self.same_source, self.paired)

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
        side = self.right if right else self.left
        self._note(missing(right or left, reader, side, extra=bool(right)) if left or right else None)

    def _constants(self, left: str, right: str, reader: Reader) -> None:
        one, two, position = reader if reader is not None else (None, None, 0)
        if self.left.is_constant(left) and self.right.is_constant(right):
            if one is not None and two is not None:
                held = self.left.graph.constants[left], self.right.graph.constants[right]
                if id(two) in self.resized and held[0].size != held[1].size:
                    return  # told already; there are no elements to hold against each other
                self.result.constants.append(ConstantPair(*held, one, two, position, "graph"))
            return
        takes_shapes = one is not None and one.op in (
            # What is written down on one side alone: another selection or padding would be another model.
            RESHAPES if self.left.is_constant(left) or self.right.is_constant(right) else TAKES_SHAPES
        )
        if not (takes_shapes and self.left.shape_only(left) and self.right.shape_only(right)):
            self._note(constant_alone(left, right, reader, self.left, self.right))

    def same_source(self, left: str, right: str) -> bool:
        """Whether two tensors that no operation here makes are the same: inputs, or captured from around."""
        if self.outer is not None and self.left.is_captured(left) and self.right.is_captured(right):
            return self.outer.stand_for_each_other(left, right)
        return left in self.left.inputs and self.inputs.get(left, left) == right

    def stand_for_each_other(self, left: str, right: str) -> bool:
        """Whether a tensor is the counterpart of another, as far as the walk has come."""
        if self.left.made.get(left) is None and self.right.made.get(right) is None:
            return self.same_source(left, right)
        known = self.result.tensors.get(right)
        return (
            known == left if known is not None else self.left.signature(left) == self.right.signature(right)
        )

    def _inputs(self, left: str, right: str, reader: Reader) -> None:
        if self.outer is not None and self.left.is_captured(left) and self.right.is_captured(right):
            self.outer.queue.append((left, right, reader))
            return
        if self.same_source(left, right) or (self.outer is None and left not in self.left.inputs):
            return
        # An input that the candidate has under no name at all is told by the comparison of interfaces.
        if self.outer is not None or self.inputs.get(left, left) in self.right.inputs:
            self._note(other_tensor(left, right, reader, self.left, self.right))

    def _same(self, one: FloatNode, two: FloatNode, left: str, right: str) -> bool:
        if one.op != two.op or one.outputs.index(left) != two.outputs.index(right):
            return False
        known = self.paired.get(id(two))
        if known is not None and known is not one:
            return False
        if one.op in TRANSPARENT | LAYOUT or one.op in COMMUTATIVE:
            # Cheap operators repeat along a chain: make sure that it is this one.
            if self.left.signature(left) == self.right.signature(right):
                return True
            told = same_weights(one, two, self.left, self.right)
            return told if told is not None else not self._better_elsewhere(one, two)
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
        padding = padding_before(one, two, self.left, self.right)
        self._compare_attributes(one, two, padded=padding is not None)
        self._bodies(one, two)
        found = order(one, two, self.left, self.right)
        self._note(exchanged(one, two, found))
        for position, other in enumerate(found):
            left = one.inputs[position] if position < len(one.inputs) else ""
            right = two.inputs[other] if other < len(two.inputs) else ""
            if padding is not None and position == 0:
                left, right = self._through(padding, left, right)
            self.queue.append((left, right, (one, two, position)))

    def _through(self, padding: tuple[Side, FloatNode], left: str, right: str) -> tuple[str, str]:
        """What both read, seen through the Pad that one side has as attributes of its convolution."""
        side, pad = padding
        if side is self.left:
            self.skipped_left.add(id(pad))
            return pad.inputs[0], right
        self.skipped_right.add(id(pad))
        return left, pad.inputs[0]

    def _compare_attributes(self, one: FloatNode, two: FloatNode, *, padded: bool) -> None:
        for key, left, right in differing(one, two, self.left.graph, self.right.graph):
            if padded and key == "pads":
                continue
            self._differ(
                "attribute",
                f"{two.op} has {key} = {_shown(right)} where the reference has {_shown(left)}",
                (two,),
                (one,),
                {"attribute": key, "candidate": _shown(right), "reference": _shown(left)},
            )

    def _bodies(self, one: FloatNode, two: FloatNode) -> None:
        """Aligns the bodies of a branch or a loop, their inputs and outputs by position as they are bound."""
        for key in sorted(one.bodies.keys() | two.bodies.keys()):
            ours, theirs = one.bodies.get(key), two.bodies.get(key)
            where = f"in {key} of {two.op} {two.label!r}"
            if ours is None or theirs is None:
                self._differ("subgraph", f"{where}: there is a body on one side alone", (two,), (one,))
                continue
            if (len(ours.inputs), len(ours.outputs)) != (len(theirs.inputs), len(theirs.outputs)):
                self._differ(
                    "subgraph", f"{where}: the body takes or gives another number of tensors", (two,), (one,)
                )
            names = {a.name: b.name for a, b in zip(ours.inputs, theirs.inputs, strict=False)}
            walk = _Walk(ours, theirs, names, self)
            for (_, left), (_, right) in zip(ours.outputs, theirs.outputs, strict=False):
                walk.run(left, right)
            self.result.absorb(walk.finish(), where)

    def _resynchronise(self, left: str, right: str, reader: Reader) -> None:
        one = self.left.made.get(left)
        clips = self.detours.implied(one, right, reader) if one is not None else []
        if one is not None and clips:
            # What their codes stand for is the activation's output, whatever else reads the tensor in front of them.
            self.result.activated.update(dict.fromkeys((q.codes for q in clips if q.codes), left))
            self.skipped_left.add(id(one))
            self.queue.append((one.inputs[0], right, None))
            return
        two = self.right.made.get(right)
        if one is not None and two is not None and self._is_other_output(one, two, left, right):
            self._note(other_tensor(left, right, reader, self.left, self.right))
            self._pair(one, two)
            return
        if one is not None and two is not None and self._is_other_weight(one, two, left, right):
            self._note(self.detours.other_shape(one, two))
            self.resized.add(id(two))
            self._pair(one, two)
            return
        found = self.detours.find(left, right)
        if found is None:
            self.lost.append((left, right, reader))
            if self.result.tensors.get(right) == left:
                del self.result.tensors[right]
            return
        left_to, right_to, left_nodes, right_nodes = found
        self.skipped_left.update(id(n) for n in left_nodes)
        self.skipped_right.update(id(n) for n in right_nodes)
        difference = self.detours.difference(left_nodes, right_nodes, right, reader)
        if difference is not None and difference.kind == "removed" and reader is not None:
            self.passed.append((len(self.result.differences), right, reader))
        self._note(difference)
        self.queue.append((left_to, right_to, None))

    def _is_other_weight(self, one: FloatNode, two: FloatNode, left: str, right: str) -> bool:
        """Whether it is the same operation by name and place, with a weight of another size."""
        return (
            one.op == two.op
            and one.label == two.label
            and id(two) not in self.paired
            and one.outputs.index(left) == two.outputs.index(right)
            and not self.detours.weights_fit(one, two)
        )

    def _is_other_output(self, one: FloatNode, two: FloatNode, left: str, right: str) -> bool:
        """Whether it is the same operation, and another of its outputs."""
        if one.op != two.op or one.outputs.index(left) == two.outputs.index(right):
            return False
        if id(two) in self.paired:
            return self.paired[id(two)] is one
        ours, theirs = self.left.data_inputs(one), self.right.data_inputs(two)
        signatures = [self.left.signature(n) for n in ours], [self.right.signature(n) for n in theirs]
        return signatures[0] == signatures[1] and self.detours.weights_fit(one, two)

    def _note(self, difference: Difference | None) -> None:
        if difference is not None:
            self.result.differences.append(difference)

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
        """The result, once nothing is left to visit."""
        for left, right, reader in self.lost:
            # Both have found their counterparts elsewhere: it is the wrong one of two that is read.
            if self._counterpart(left) not in (None, right) and self._has_counterpart(right):
                self._note(other_tensor(left, right, reader, self.left, self.right))
            else:
                self._unmatched(left, right, reader)
        left_done = {id(one) for one, _ in self.result.nodes} | self.skipped_left
        right_done = set(self.paired) | self.skipped_right
        kept = {id(one) for one, _ in self.result.nodes}
        for at, right, reader in self.passed:
            difference = self.result.differences[at]
            if all(id(node) in kept for node in difference.reference):
                self.result.differences[at] = past(difference, right, reader)
        self.result.unmatched_reference += [n for n in self.left.graph.nodes if id(n) not in left_done]
        self.result.unmatched_candidate += [n for n in self.right.graph.nodes if id(n) not in right_done]
        return self.result

    def _counterpart(self, left: str) -> str | None:
        """The candidate's tensor for one of the reference's, once the walk is over."""
        one = self.left.made.get(left)
        if one is None:
            return self.inputs.get(left, left) if left in self.left.inputs else None
        two = next((two for ours, two in self.result.nodes if ours is one), None)
        position = one.outputs.index(left)
        return two.outputs[position] if two is not None and position < len(two.outputs) else None

    def _has_counterpart(self, right: str) -> bool:
        two = self.right.made.get(right)
        return right in self.right.inputs if two is None else id(two) in self.paired

    def _unmatched(self, left: str, right: str, reader: Reader) -> None:
        one, two = self.left.maker(left), self.right.maker(right)
        where = f"operand {reader[2]} of {reader[1].op} {reader[1].label!r}" if reader is not None else "here"
        self._differ(
            "unmatched",
            f"{f'{two.op} {two.label!r}' if two else f'input {right!r}'} stands where the reference has "
            f"{f'{one.op} {one.label!r}' if one else f'input {left!r}'} ({where}), and the graphs do not come together again",
            (two,) if two else (),
            (one,) if one else (),
        )


def _shown(value: Any) -> str:
    text = "its default" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
