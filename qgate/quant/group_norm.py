"""GroupNormalization that a runtime wrote out by its definition, as ONNX Runtime's optimiser does.

ONNX defines it as a function (onnx/defs/nn): the channels of ``x`` are split into groups, each is brought to mean 0 and
variance 1, and scale and bias follow, of each group up to opset 20, of each channel from 21 on. Only these very
expressions are taken, the computation of the shapes included; casts between floats are no part of a float view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qgate.quant.constants import ConstantValue, View
from qgate.quant.floatgraph import FloatGraph, FloatNode

GROUP_NORM = "GroupNormalization"
_COMMUTE = {"Add", "Mul"}
_DEFAULTS: Mapping[str, Any] = {"allowzero": 0, "noop_with_empty_axes": 0, "start": 0, "keepdims": 1}


@dataclass(frozen=True)
class _Made:
    """An operation of the definition: what it is applied to, operations or names of what is given."""

    op: str
    inputs: tuple[_Made | str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def _of(op: str, *inputs: _Made | str, **attributes: Any) -> _Made:
    return _Made(op, inputs, attributes)


_SHAPE = _of("Shape", "x")
_SPLIT = _of(
    "Concat",
    _of("Shape", "x", start=0, end=1),
    "groups",
    _of("Div", _of("Shape", "x", start=1, end=2), "groups"),
    _of("Shape", "x", start=2),
    axis=0,
)
_ROWS = _of("Reshape", _of("Reshape", "x", _SPLIT), "rows")
_MEAN = _of("ReduceMean", _ROWS, axes=2)
_VARIANCE = _of("Sub", _of("ReduceMean", _of("Mul", _ROWS, _ROWS), axes=2), _of("Mul", _MEAN, _MEAN))
_NORMAL = _of("Div", _of("Sub", _ROWS, _MEAN), _of("Sqrt", _of("Add", _VARIANCE, "epsilon")))


def _ends(normal: _Made) -> _Made:
    return _of("Reshape", _of("Add", _of("Mul", "scale", normal), "bias"), _SHAPE)


_BY_GROUP = _ends(_NORMAL)
_BY_CHANNEL = _ends(_of("Reshape", _of("Reshape", _NORMAL, _SHAPE), "rows"))


def join_group_norms(graph: FloatGraph, wanted: frozenset[str]) -> None:
    """Puts the operator in the place of its definition, where it is wanted."""
    if GROUP_NORM not in wanted:
        return
    made = graph.producers()
    for position, node in enumerate(graph.nodes):
        for definition in (_BY_GROUP, _BY_CHANNEL) if node.op == "Reshape" else ():
            found = _Reading(graph, made)
            if not found.reads(node, definition):
                continue
            settings = _settings(graph, found.given, by_group=definition is _BY_GROUP)
            if settings is None:
                continue
            inputs = [found.given["x"], *_operands(graph, found.given, node.outputs[0])]
            joined = FloatNode(GROUP_NORM, "", inputs, list(node.outputs), settings, node.node, node.stages)
            graph.nodes[position] = made[node.outputs[0]] = joined
            break


class _Reading:
    """One attempt to read a graph as a definition: ``given`` is what stands for its names."""

    def __init__(self, graph: FloatGraph, made: Mapping[str, FloatNode]) -> None:
        self.graph = graph
        self.made = made
        self.given: dict[str, str] = {}
        self._known: set[tuple[str, int]] = set()

    def reads(self, node: FloatNode, wanted: _Made) -> bool:
        """Whether an operation is the one that the definition has here, on the same operands."""
        if node.op != wanted.op or node.domain or len(node.inputs) != len(wanted.inputs):
            return False
        if len(node.outputs) != 1 or _settled(node.attributes) != _settled(wanted.attributes):
            return False
        if self._all(node.inputs, wanted):
            return True
        return wanted.op in _COMMUTE and self._all(node.inputs[::-1], wanted)

    def _all(self, names: list[str], wanted: _Made) -> bool:
        before = dict(self.given), set(self._known)
        if all(self._stands_for(name, part) for name, part in zip(names, wanted.inputs, strict=True)):
            return True
        self.given, self._known = before
        return False

    def _stands_for(self, name: str, wanted: _Made | str) -> bool:
        if isinstance(wanted, str):
            # The tensor that is normalised is no constant, and everything else that is given is one.
            held = (name in self.graph.constants) == (wanted != "x")
            return bool(name) and held and self.given.setdefault(wanted, name) == name
        # What was read once is not read again: the definition uses its own parts several times.
        if (name, id(wanted)) in self._known:
            return True
        node = self.made.get(name)
        if node is None or self.graph.quantizers.get(name) or not self.reads(node, wanted):
            return False
        self._known.add((name, id(wanted)))
        return True


def _settled(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes without those that say what holds anyway; a list of one axis is that axis."""
    plain = {
        key: value[0] if isinstance(value, tuple) and len(value) == 1 else value
        for key, value in attributes.items()
    }
    return {key: value for key, value in plain.items() if _DEFAULTS.get(key) != value or key not in _DEFAULTS}


def _settings(graph: FloatGraph, given: Mapping[str, str], *, by_group: bool) -> dict[str, Any] | None:
    """The operator's attributes; None where a constant is not what the definition has there."""
    held = {name: graph.constants[tensor] for name, tensor in given.items() if name != "x"}
    groups, rows, epsilon = (held[name] for name in ("groups", "rows", "epsilon"))
    scale, bias = held["scale"], held["bias"]
    if any(v.is_quantized for v in (groups, rows, epsilon)) or (groups.size, epsilon.size) != (1, 1):
        return None
    if rows.values().tolist() != [0, 0, -1] or groups.shape != (1,) or scale.shape != bias.shape:
        return None
    if groups.dtype != "int64":
        return None
    count = int(groups.values().reshape(-1)[0])
    if len(scale.shape) != 3 or scale.shape != (1, scale.size, 1) or (by_group and scale.size != count):
        return None
    value = float(epsilon.values().reshape(-1)[0])
    if not np.isfinite(value) or count < 1:
        return None
    return {"epsilon": value, "num_groups": count, "stash_type": 1}


def _operands(graph: FloatGraph, given: Mapping[str, str], output: str) -> list[str]:
    """Scale and bias as the operator takes them, a number each."""
    names = []
    for operand in ("scale", "bias"):
        value: ConstantValue = graph.constants[given[operand]]
        name = f"{output}|{operand}"
        graph.constants[name] = value.viewed(View(shape=(value.size,)), (value.size,))
        names.append(name)
    return names
