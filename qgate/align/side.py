"""One of the two graphs that are aligned: its look-up tables and the signatures of its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from qgate.quant.floatgraph import FloatGraph, FloatNode

COMMUTATIVE = {"Add", "Mul", "Min", "Max", "Sum", "Mean", "And", "Or", "Xor", "Equal"}
TRANSPARENT = {"Relu", "Clip", "Cast"}
SHAPE_ONLY = {"Shape", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Mul", "Add", "Sub", "Div",
              "ConstantOfShape", "Equal", "Where", "Size", "ReduceProd", "Reshape", "Range", "Expand", "Min", "Max"}  # fmt: skip


class Side:
    """One graph with its look-up tables and structural signatures."""

    def __init__(self, graph: FloatGraph, rename: Mapping[str, str], outer: Side | None = None) -> None:
        self.graph = graph
        self.outer = outer
        self.made = graph.producers()
        self.rename = rename
        self.inputs = {t.name for t in graph.inputs}
        self._signatures: dict[tuple[str, int], int] = {}
        self._sources: dict[str, str] = {}
        self._shape_only: dict[tuple[str, int], bool] = {}

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant of the graph."""
        return name in self.graph.constants

    def constant(self, name: str) -> str:
        """The file's own name of a constant."""
        return self.graph.constants[name].name

    def is_captured(self, name: str) -> bool:
        """Whether a body reads a tensor from the graph around it."""
        return self.outer is not None and name not in self.inputs and name not in self.made

    def maker(self, name: str) -> FloatNode | None:
        """The operation that makes a tensor, also one that a body captures."""
        if name not in self.made and self.outer is not None and self.is_captured(name):
            return self.outer.maker(name)
        return self.made.get(name)

    def data_inputs(self, node: FloatNode) -> list[str]:
        """What a node reads that is computed."""
        return [name for name in node.inputs if name and not self.is_constant(name)]

    def signature(self, name: str, depth: int = 3) -> int:
        """A hash of what a tensor is computed from, blind to weights, names and clipping activations."""
        key = (name, depth)
        if key not in self._signatures:
            self._signatures[key] = self._compute(name, depth)
        return self._signatures[key]

    def passed(self, name: str) -> tuple[str, ...]:
        """The clipping activations that a tensor went through last, the last one first."""
        found: list[str] = []
        while not self.is_constant(name):
            node = self.made.get(name)
            if node is None or node.op not in TRANSPARENT or not node.inputs or len(found) > len(self.made):
                break
            found.append(node.op)
            name = node.inputs[0]
        return tuple(found)

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
        if node is None and self.outer is not None and self.is_captured(name):
            return self.outer.signature(name, depth)
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
