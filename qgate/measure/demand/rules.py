"""How the rules of shapes are written down, and what they all ask of a node and its inputs.

A rule takes a node and what is known of its inputs and gives what is known of its outputs, as the ONNX
operator specifications have it. Where a size cannot be known it is a bound from below; where that is not
known either, nothing is said: a rule then raises ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qgate.formats.model import Node
from qgate.measure.demand.sizes import ANY, MAX_RANK, UNKNOWN, Shape, Size, Tensor, attribute, exact

Inputs = Sequence[Tensor]
Rule = Callable[[Node, Inputs], Sequence[Tensor]]
SHAPES: dict[str, Rule] = {}


def of(*operators: str) -> Callable[[Rule], Rule]:
    """Registers the decorated function for operators."""

    def register(rule: Rule) -> Rule:
        SHAPES.update(dict.fromkeys(operators, rule))
        return rule

    return register


def given(inputs: Inputs, at: int) -> Tensor:
    """An input, or nothing known of one that is left out."""
    return inputs[at] if at < len(inputs) else UNKNOWN


def known_shape(inputs: Inputs, at: int) -> Shape:
    """The shape of an input.

    Raises:
        ValueError: It is not known.
    """
    shape = given(inputs, at).shape
    if shape is None:
        raise ValueError("a shape that is not known")
    return shape


def numbers(node: Node, inputs: Inputs, at: int, name: str) -> tuple[Size | None, ...]:
    """Whole numbers that are an input, or in older versions an attribute.

    Raises:
        ValueError: They are not known.
    """
    values = given(inputs, at).values
    if values is None and isinstance(node.attribute(name), tuple):
        values = tuple(exact(v) for v in node.attribute(name))
    if values is None:
        raise ValueError(f"{name} that are not known")
    return values


def axes(node: Node, inputs: Inputs, at: int, rank: int) -> list[int]:
    """Axes as an input or attribute, counted from the front."""
    found = []
    for value in numbers(node, inputs, at, "axes"):
        if value is None or not value.exact or not -rank <= value.low < max(rank, 1):
            raise ValueError("an axis that is not known")
        found.append(value.low % max(rank, 1))
    return found


def axis_of(node: Node, rank: int, default: int) -> int:
    """The attribute ``axis``, counted from the front."""
    axis: int = attribute(node.attribute("axis"), default)
    if not -rank <= axis <= rank:
        raise ValueError("an axis that is not there")
    return axis + rank if axis < 0 else axis


def as_shape(inputs: Inputs, at: int) -> Shape:
    """The shape that an input's values are."""
    values = given(inputs, at).values
    if values is None or len(values) > MAX_RANK:
        raise ValueError("a shape that is not known")
    return tuple(v if v is not None else ANY for v in values)
