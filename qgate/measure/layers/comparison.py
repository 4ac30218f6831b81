"""The nodes that compare one layer, written beside both models.

All figures of a layer leave as one list of float32 numbers: ONNX Runtime looks through the outputs of a graph
for each of its nodes, so a few outputs are loaded in a fraction of the time that thousands take.
"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.measure.activations import SLACK
from qgate.measure.layers import encode
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.statistics import SKETCH, sketch_positions, statistics_of

# statistic -> the operator that reduces, and what it reduces; see _Comparison.source
_REDUCTIONS = {
    "aa": ("ReduceSumSquare", "a"),
    "bb": ("ReduceSumSquare", "b"),
    "dd": ("ReduceSumSquare", "d"),
    "d_max": ("ReduceMax", "d"),
    "d_min": ("ReduceMin", "d"),
    "a_max": ("ReduceMax", "a"),
    "a_min": ("ReduceMin", "a"),
    "ee": ("ReduceSumSquare", "e"),
    "outside": ("ReduceL1", "s"),
}
_SAMPLED = {"a_sketch": "a", "b_sketch": "b"}


def reference_name(mark: str, name: str) -> str:
    """What a tensor or node of the reference is called in the joined file."""
    return f"{mark}/r/{name}" if name else name


def figures_name(mark: str, position: int) -> str:
    """The output that holds the figures of one layer."""
    return f"{mark}/{position}/figures"


def shared_constants(mark: str) -> Iterator[bytes]:
    """Positions of the sketch as shares of a tensor, and the shape that makes a list of anything."""
    yield encode.constant(f"{mark}/flat", encode.INT64, (1,), (-1).to_bytes(8, "little", signed=True))
    positions = sketch_positions().astype("<f8").tobytes()
    yield encode.constant(f"{mark}/sketch", encode.DOUBLE, (SKETCH,), positions)


def write_comparison(layer: Layer, mark: str, position: int) -> Comparison:
    """Nodes and constants of one layer's figures, in the order of ``statistics_of``."""
    made = Comparison(layer, mark, position)
    made.figures()
    return made


class Comparison:
    """Writes the nodes of one layer; what several figures need is computed once.

    Attributes:
        nodes: Entries of the graph; ``constants`` likewise.
    """

    def __init__(self, layer: Layer, mark: str, position: int) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self._layer = layer
        self._mark = mark
        self._own = f"{mark}/{position}"
        self._made: set[str] = set()

    def figures(self) -> None:
        """All figures of the layer as one list."""
        parts = [self._figure(name) for name in statistics_of(self._layer)]
        self._add("Concat", parts, "figures", axis=0)

    def _figure(self, name: str) -> str:
        if name == "n":
            return self._add("Cast", [self._length()], "n", to=encode.FLOAT)
        if name in _SAMPLED:
            return self._add("Gather", [self._source(_SAMPLED[name]), self._places()], name)
        operator, source = _REDUCTIONS[name]
        return self._add(operator, [self._source(source)], name, keepdims=1)

    def _source(self, name: str) -> str:
        """A list of all values: of the reference (a), of the candidate (b), of their difference (d), of what
        the candidate's range cannot hold of the reference's values (e), of its signs (s)."""
        layer, flat = self._layer, f"{self._mark}/flat"
        if name == "a":
            return self._add("Reshape", [reference_name(self._mark, layer.reference), flat], "a")
        if name == "b":
            return self._add("Reshape", [self._numbers(), flat], "b")
        if name == "d":
            return self._add("Sub", [self._source("a"), self._source("b")], "d")
        if name == "s":
            return self._add("Sign", [self._source("e")], "s")
        return self._add("Sub", [self._source("a"), self._clipped()], "e")

    def _numbers(self) -> str:
        """The candidate's values as float32."""
        layer = self._layer
        if layer.kind != CODES:
            return self._add("Cast", [layer.candidate], "numbers", to=encode.FLOAT)
        parameters = [layer.scale, *([layer.zero] if layer.zero else [])]
        axis = {} if layer.axis is None else {"axis": layer.axis}
        return self._add("DequantizeLinear", [layer.candidate, *parameters], "numbers", **axis)

    def _clipped(self) -> str:
        low, high = f"{self._own}/low", f"{self._own}/high"
        if "clipped" not in self._made:
            slack = SLACK * (self._layer.high - self._layer.low)
            self.constants.append(encode.scalar(low, self._layer.low - slack))
            self.constants.append(encode.scalar(high, self._layer.high + slack))
        return self._add("Clip", [self._source("a"), low, high], "clipped")

    def _length(self) -> str:
        return self._add("Shape", [self._source("a")], "length")

    def _places(self) -> str:
        """Where the sketch reads: the same places in both tensors."""
        length = self._add("Cast", [self._length()], "wide", to=encode.DOUBLE)
        share = self._add("Mul", [f"{self._mark}/sketch", length], "share")
        return self._add("Cast", [share], "places", to=encode.INT64)  # towards zero

    def _add(self, op: str, inputs: list[str], name: str, **attributes: int) -> str:
        made = f"{self._own}/{name}"
        if name not in self._made:
            self._made.add(name)
            self.nodes.append(encode.node(op, inputs, [made], attributes))
        return made
