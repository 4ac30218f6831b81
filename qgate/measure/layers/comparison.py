"""The nodes that compare one layer, written beside both models.

Each node costs ONNX Runtime about a quarter of a millisecond when it loads the graph, so there are no more than the
figures need.
"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.measure.activations import SLACK
from qgate.measure.layers import encode, ledger
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.sketch import sketch_positions

_SUMS = {"aa": "a", "bb": "b", "dd": "d", "ee": "e"}
_SAMPLED = {"a_sketch": "a", "b_sketch": "b"}
_AXES_ARE_INPUTS = 18
"""The operator set from which on ReduceMax takes its axes as an input (onnx, Changelog)."""


def reference_name(mark: str, name: str) -> str:
    """What a tensor or node of the reference is called in the joined file."""
    return f"{mark}/r/{name}" if name else name


def figures_name(mark: str, position: int) -> str:
    """The output that holds the figures of one layer."""
    return f"{mark}/{position}/figures"


def sizes_name(mark: str, position: int) -> str:
    """The output that holds the shape of one layer."""
    return f"{mark}/{position}/shape"


def shared_constants(mark: str) -> Iterator[bytes]:
    """Positions of the sketch as shares of a tensor, the shape that makes a list of anything, and bounds of a count."""
    yield encode.constant(f"{mark}/flat", encode.INT64, (1,), (-1).to_bytes(8, "little", signed=True))
    positions = sketch_positions().astype("<f8").tobytes()
    yield encode.constant(f"{mark}/sketch", encode.DOUBLE, (ledger.SKETCH,), positions)
    yield encode.scalar(f"{mark}/tiny", ledger.TINY)
    yield encode.scalar(f"{mark}/less", -ledger.TINY)


class Comparison:
    """Writes the nodes of one layer; what several figures need is computed once.

    Args:
        layer: The layer; ``position`` its place among all.
        mark: What the names of everything that is added begin with.
        version: Of the operator set.
        sized: The layer's shape leaves the session as well.
        places: Names of the sketch's places by shape, shared by layers of one shape; added to.

    Attributes:
        nodes: Entries of the graph; ``constants`` likewise.
    """

    def __init__(
        self,
        layer: Layer,
        mark: str,
        position: int,
        *,
        version: int = 13,
        sized: bool = True,
        places: dict[tuple[int | str, ...], str] | None = None,
    ) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self._layer = layer
        self._mark = mark
        self._own = f"{mark}/{position}"
        self._made: set[str] = set()
        self._version = version
        self._places = {} if places is None else places
        parts = [self._figure(name) for name in ledger.statistics_of(layer)]
        if sized:
            self._add("Shape", [self._source("a")], "shape")
        self._add("Concat", parts, "figures", axis=0)

    def _figure(self, name: str) -> str:
        if name in _SAMPLED:
            return self._add("Gather", [self._source(_SAMPLED[name]), self._sketch()], name)
        if name in _SUMS:
            return self._whole("ReduceSumSquare", _SUMS[name], name)
        if name == "outside":
            return self._whole("ReduceL1", "t", name)
        operator = "ReduceMax" if name.endswith("_max") else "ReduceMin"
        if ledger.width_of(self._layer, name) > 1:
            return self._by_channel(operator, name)
        return self._whole(operator, name[0], name)

    def _whole(self, operator: str, source: str, name: str) -> str:
        """A figure of all values, as a list of one."""
        return self._add(operator, [self._source(source)], name, keepdims=1)

    def _by_channel(self, operator: str, name: str) -> str:
        """An extreme of each channel, as a list."""
        layer, last = self._layer, self._layer.channel == len(self._layer.shape) - 1
        shape = self._listed("grouped", (-1, layer.channels) if last else (0, layer.channels, -1))
        source = self._add("Reshape", [self._tensor(name[0]), shape], f"{name[0]}_grouped")
        axes = (0,) if last else (0, 2)
        if self._version < _AXES_ARE_INPUTS:
            return self._add(operator, [source], name, keepdims=0, axes=axes)
        return self._add(operator, [source, self._listed("axes", axes)], name, keepdims=0)

    def _listed(self, name: str, values: tuple[int, ...]) -> str:
        """A constant of the layer's own."""
        held = f"{self._own}/{name}"
        if held not in self._made:
            self._made.add(held)
            raw = b"".join(each.to_bytes(8, "little", signed=True) for each in values)
            self.constants.append(encode.constant(held, encode.INT64, (len(values),), raw))
        return held

    def _source(self, name: str) -> str:
        """A list of all values: of the reference (a), of the candidate (b), of their difference (d), of what the
        candidate's range cannot hold of the reference's values (e), of that clipped to next to nothing (t).

        That they never keep their shape is what keeps ONNX Runtime from moving transpositions of the candidate's into
        the comparison, which takes twice the memory.
        """
        if name in ("a", "b"):
            return self._add("Reshape", [self._tensor(name), f"{self._mark}/flat"], name)
        if name == "d":
            return self._add("Sub", [self._source("a"), self._source("b")], "d")
        if name == "t":
            return self._add("Clip", [self._source("e"), f"{self._mark}/less", f"{self._mark}/tiny"], "t")
        return self._add("Sub", [self._source("a"), self._clipped()], "e")

    def _tensor(self, name: str) -> str:
        return reference_name(self._mark, self._layer.reference) if name == "a" else self._numbers()

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

    def _sketch(self) -> str:
        """Where the sketch reads: the same places in both tensors, and in all of their shape."""
        shape = self._layer.shape
        if shape in self._places:
            return self._places[shape]
        length = self._add("Shape", [self._source("a")], "shape")
        wide = self._add("Cast", [length], "wide", to=encode.DOUBLE)
        share = self._add("Mul", [f"{self._mark}/sketch", wide], "share")
        made = self._add("Cast", [share], "places", to=encode.INT64)  # towards zero
        if shape:
            self._places[shape] = made
        return made

    def _add(self, op: str, inputs: list[str], name: str, **attributes: int | tuple[int, ...]) -> str:
        made = f"{self._own}/{name}"
        if name not in self._made:
            self._made.add(name)
            self.nodes.append(encode.node(op, inputs, [made], attributes))
        return made
