"""Which operation of the candidate is which operation of the reference, and where the two graphs part.

Both float views are walked backwards from the outputs at the same time. Where the operators agree, so do
the tensors; where they do not, the shortest detour that brings them together again is a difference, named
by the file's own nodes. Names play no part but for inputs and outputs, so a renamed model aligns as well.
What the walk could not reach is matched by its weights. Never by position.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qgate.quant.alignment import Alignment, ConstantPair, Difference
from qgate.quant.attributes import same_attribute
from qgate.quant.floatgraph import FloatGraph, FloatNode, Quantizer
from qgate.quant.layout import LAYOUT

COMMUTATIVE = {"Add", "Mul", "Min", "Max", "Sum", "Mean", "And", "Or", "Xor", "Equal"}
TRANSPARENT = {"Relu", "Clip", "Cast"}
SHAPE_ONLY = {"Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Mul", "Add", "Sub", "Div",
              "ConstantOfShape", "Equal", "Where", "Size", "ReduceProd", "Reshape", "Range", "Expand", "Min", "Max"}  # fmt: skip
# Operators that take sizes, indices or axes, which one exporter computes and another writes down.
TAKES_SHAPES = {"Reshape", "Expand", "Slice", "Resize", "Tile", "ConstantOfShape", "Range", "Pad", "Unsqueeze",
                "Squeeze", "Gather", "Split", "TopK", "Upsample", "Concat", "Shape", "OneHot", "CenterCropPad"}  # fmt: skip
REACH = 8
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


class _Side:
    """One graph with its look-up tables and structural signatures."""

    def __init__(self, graph: FloatGraph, rename: Mapping[str, str]) -> None:
        self.graph = graph
        self.made = graph.producers()
        self.rename = rename
        self.inputs = {t.name for t in graph.inputs}
        self._signatures: dict[tuple[str, int], int] = {}
        self._sources: dict[str, str] = {}
        self._shape_only: dict[tuple[str, int], bool] = {}

    def is_constant(self, name: str) -> bool:
        return name in self.graph.constants

    def data_inputs(self, node: FloatNode) -> list[str]:
        return [name for name in node.inputs if name and not self.is_constant(name)]

    def signature(self, name: str, depth: int = 3) -> int:
        """A hash of what a tensor is computed from, blind to weights, names and clipping activations."""
        key = (name, depth)
        if key not in self._signatures:
            self._signatures[key] = self._compute(name, depth)
        return self._signatures[key]

    def _source(self, name: str) -> str:
        """The tensor behind any run of clipping activations."""
        passed: list[str] = []
        while name not in self._sources and not self.is_constant(name) and len(passed) <= len(self.made):
            node = self.made.get(name)
            if node is None or node.op not in TRANSPARENT or not node.inputs:
                break
            passed.append(name)
            name = node.inputs[0]
        name = self._sources.get(name, name)
        self._sources.update(dict.fromkeys(passed, name))
        return name

    def _compute(self, name: str, depth: int) -> int:
        if not name:
            return 0
        if self.is_constant(name):
            return hash(("constant", tuple(d for d in self.graph.constants[name].shape if d != 1)))
        node = self.made.get(name)
        if node is None:
            return hash(("input", self.rename.get(name, name)))
        source = self._source(name)
        if source != name:
            return self.signature(source, depth)
        if depth == 0:
            return hash(("op", node.op))
        parts = [self.signature(i, depth - 1) for i in node.inputs]
        if node.op in COMMUTATIVE:
            parts.sort()
        return hash((node.op, node.outputs.index(name), tuple(parts)))

    def shape_only(self, name: str, depth: int = 12) -> bool:
        """Whether a tensor is computed from shapes and constants alone."""
        if self.is_constant(name) or not name:
            return True
        node = self.made.get(name)
        if node is None or depth == 0:
            return False
        if node.op in ("Shape", "Size"):
            return True
        key = (name, depth)
        if key not in self._shape_only:
            self._shape_only[key] = node.op in SHAPE_ONLY and all(
                self.shape_only(i, depth - 1) for i in dict.fromkeys(node.inputs)
            )
        return self._shape_only[key]


class _Walk:
    def __init__(self, reference: FloatGraph, candidate: FloatGraph, inputs: dict[str, str]) -> None:
        self.inputs = inputs
        self.left = _Side(reference, {})
        self.right = _Side(candidate, {theirs: ours for ours, theirs in inputs.items()})
        self.result = Alignment()
        self.queue: deque[tuple[str, str, tuple[FloatNode, FloatNode, int] | None]] = deque()
        self.seen: set[tuple[str, str]] = set()
        self.paired: dict[int, FloatNode] = {}
        self.skipped_left: set[int] = set()
        self.skipped_right: set[int] = set()

    def run(self, left: str, right: str) -> None:
        self.queue.append((left, right, None))
        while self.queue:
            self.visit(*self.queue.popleft())

    def visit(self, left: str, right: str, reader: tuple[FloatNode, FloatNode, int] | None) -> None:
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

    def _missing(self, left: str, right: str, reader: tuple[FloatNode, FloatNode, int] | None) -> None:
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

    def _constants(self, left: str, right: str, reader: tuple[FloatNode, FloatNode, int] | None) -> None:
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

    def _inputs(self, left: str, right: str, reader: tuple[FloatNode, FloatNode, int] | None) -> None:
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
        return self._weights_fit(one, two)

    def _better_elsewhere(self, one: FloatNode, two: FloatNode) -> bool:
        """Whether skipping one of the two nodes alone makes the rest agree."""
        left = [self.left.signature(i) for i in self.left.data_inputs(one)]
        right = [self.right.signature(i) for i in self.right.data_inputs(two)]
        own = (self.left.signature(one.outputs[0]), self.right.signature(two.outputs[0]))
        return not (set(left) & set(right)) and (own[0] in right or own[1] in left)

    def _weights_fit(self, one: FloatNode, two: FloatNode) -> bool:
        """Weight shapes agree where both have constant weights."""
        for a, b in zip(one.inputs[:2], two.inputs[:2], strict=False):
            left, right = self.left.graph.constants.get(a), self.right.graph.constants.get(b)
            if left is not None and right is not None and left.size != right.size:
                return False
        return True

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
        for key in sorted(set(one.attributes) | set(two.attributes)):
            left, right = one.attributes.get(key), two.attributes.get(key)
            if same_attribute(left, right) or _holds_graph(left) or _holds_graph(right):
                continue
            self._differ(
                "attribute",
                f"{two.op} has {key} = {_shown(right)} where the reference has {_shown(left)}",
                (two,),
                (one,),
                {"attribute": key, "candidate": _shown(right), "reference": _shown(left)},
            )

    def _implied(self, one: FloatNode, right: str, reader: tuple[FloatNode, FloatNode, int] | None) -> bool:
        """Whether the candidate's quantizer clips as the reference's activation does.

        It must stand between the tensor and its reader: one that hangs beside it clips nothing.
        """
        if one.op not in ("Relu", "Clip"):
            return False
        low = 0.0 if one.op == "Relu" else one.attributes.get("min", float("-inf"))
        high = float("inf") if one.op == "Relu" else one.attributes.get("max", float("inf"))
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return False
        read = (
            {name for name, _ in self.right.graph.outputs} if reader is None else set(reader[1].node.inputs)
        )
        for quantizer in self.right.graph.quantizers.get(right, []):
            if not quantizer.inherent and quantizer.source in read:
                continue
            least, greatest = quantizer.bounds()
            step = float(np.max(quantizer.scale)) if quantizer.scale.size else 0.0
            if least >= low - 0.51 * step and greatest <= high + 1.01 * step:
                return True
        return False

    def _resynchronise(self, left: str, right: str, reader: tuple[FloatNode, FloatNode, int] | None) -> None:
        one = self.left.made.get(left)
        if one is not None and self._implied(one, right, reader):
            self.skipped_left.add(id(one))
            self.queue.append((one.inputs[0], right, None))
            return
        found = self._detour(left, right)
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
        self._report_detour(left_nodes, right_nodes, right)
        self.queue.append((left_to, right_to, None))

    def _report_detour(self, ours: tuple[FloatNode, ...], theirs: tuple[FloatNode, ...], tensor: str) -> None:
        ours = tuple(n for n in ours if not _is_float_cast(n))
        theirs = tuple(n for n in theirs if not _is_float_cast(n))
        if not ours and not theirs:
            return
        if not ours:
            names = ", ".join(n.op for n in theirs)
            self._differ("added", f"{names} stands in the candidate and not in the reference", theirs, ours)
        elif not theirs:
            names = ", ".join(n.op for n in ours)
            message = f"{names} of the reference is missing in the candidate"
            stand_in = self.right.graph.quantizers.get(tensor, [])
            if stand_in and {n.op for n in ours} <= {"Relu", "Clip"}:
                self._lost_activation(message, stand_in[0], ours)
            else:
                self._differ("removed", message, theirs, ours)
        else:
            self._differ(
                "replaced",
                f"{', '.join(n.op for n in theirs)} stands where the reference has {', '.join(n.op for n in ours)}",
                theirs,
                ours,
            )

    def _lost_activation(self, message: str, quantizer: Quantizer, ours: tuple[FloatNode, ...]) -> None:
        """A quantizer that should clip as the activation did, and does not: its range was changed."""
        low, high = quantizer.bounds()
        self._differ(
            "range",
            f"{message}, and its quantizer's range [{low:.4g}, {high:.4g}] does not stand in for it",
            (),
            ours,
            {"tensor": quantizer.zero_name or quantizer.scale_name, "scale": quantizer.scale_name,
             "zero_point": quantizer.zero_name, "node": quantizer.node, "low": low, "high": high},
        )  # fmt: skip

    def _detour(
        self, left: str, right: str
    ) -> tuple[str, str, tuple[FloatNode, ...], tuple[FloatNode, ...]] | None:
        """The least number of operations to step over until both sides agree again."""
        ours = list(self._upstream(self.left, left))
        theirs = list(self._upstream(self.right, right))
        best = None
        for a, left_nodes in ours:
            for b, right_nodes in theirs:
                cost = len(left_nodes) + len(right_nodes)
                if cost == 0 or (best is not None and cost >= best[0]):
                    continue
                if self._agree(a, b):
                    best = (cost, a, b, left_nodes, right_nodes)
        return best[1:] if best is not None else None

    def _agree(self, left: str, right: str) -> bool:
        one, two = self.left.made.get(left), self.right.made.get(right)
        if one is None or two is None:
            return one is two and self.inputs.get(left, left) == right
        if one.op != two.op or not self._weights_fit(one, two):
            return False
        if id(two) in self.paired:
            return self.paired[id(two)] is one
        return self.left.signature(left) == self.right.signature(right)

    def _upstream(self, side: _Side, start: str) -> Iterator[tuple[str, tuple[FloatNode, ...]]]:
        """Tensors above one, each with the operations that lie between, nearest first."""
        queue: deque[tuple[str, tuple[FloatNode, ...]]] = deque([(start, ())])
        seen = {start}
        while queue:
            name, passed = queue.popleft()
            yield name, passed
            node = side.made.get(name)
            if node is None or len(passed) >= REACH:
                continue
            for above in side.data_inputs(node):
                if above not in seen:
                    seen.add(above)
                    queue.append((above, (*passed, node)))

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


def _is_float_cast(node: FloatNode) -> bool:
    """A change of float type; a cast to whole numbers is a change of values."""
    return node.op == "Cast" and int(node.node.attribute("to", 0)) in (1, 10, 11, 16)


def _holds_graph(value: Any) -> bool:
    from qgate.formats.model import Graph

    return isinstance(value, Graph) or (isinstance(value, tuple) and any(isinstance(v, Graph) for v in value))


def _shown(value: Any) -> str:
    text = "its default" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
