"""Shapes of operators that make elements or repeat them: what bombs are made of."""

from __future__ import annotations

from collections.abc import Sequence

from qgate.formats.model import Constant, Node
from qgate.measure.demand.rules import Inputs, as_shape, axes, axis_of, given, known_shape, numbers, of
from qgate.measure.demand.sizes import (
    ANY,
    MAX_VALUES,
    Size,
    Tensor,
    attribute,
    broadcast,
    exact,
    floor,
    of_constant,
    of_values,
    plus,
    product,
    shape_of,
    times,
)  # fmt: skip


@of("Constant")
def _constant(node: Node, _: Inputs) -> Sequence[Tensor]:
    for name in ("value_int", "value_ints"):
        if name in node.attributes:
            held = node.attributes[name]
            scalar = isinstance(held, int)
            values = [exact(v) for v in ((held,) if scalar else held)]
            return [of_values(values, () if scalar else None)]
    value = node.attribute("value")
    if isinstance(value, Constant):
        return [of_constant(value)]
    if "value_float" in node.attributes:
        return [of_values([floor(float(node.attributes["value_float"]))], (), 32)]
    floats = attribute(node.attribute("value_floats"), ())
    return [of_values([floor(float(v)) for v in floats], bits=32)]


@of("ConstantOfShape")
def _constant_of_shape(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    value = node.attribute("value")
    bits = of_constant(value).bits if isinstance(value, Constant) else 32
    shape = as_shape(inputs, 0)
    held = of_constant(value).values if isinstance(value, Constant) else None
    count = product(shape)
    few = held is not None and len(held) == 1 and count <= MAX_VALUES and all(s.exact for s in shape)
    return [Tensor(shape, bits, tuple(held) * count if few and held else None)]


@of("Expand")
def _expand(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(broadcast([inputs[0].shape, as_shape(inputs, 1)]), inputs[0].bits)]


@of("Tile")
def _tile(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    repeats = numbers(node, inputs, 1, "repeats")
    if len(repeats) != len(shape):
        raise ValueError("repeats of another rank")
    return [Tensor(tuple(times(s, r or ANY) for s, r in zip(shape, repeats, strict=True)), inputs[0].bits)]


@of("Pad")
def _pad(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = list(known_shape(inputs, 0))
    pads = numbers(node, inputs, 1, "pads")
    chosen = axes(node, inputs, 3, len(shape)) if given(inputs, 3).values else range(len(shape))
    for place, axis in enumerate(chosen):
        for pad in (pads[place], pads[place + len(pads) // 2]):
            shape[axis] = plus(shape[axis], pad or Size(-shape[axis].low, False))
    return [Tensor(tuple(shape), inputs[0].bits)]


@of("Resize", "Upsample")
def _resize(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    wanted = given(inputs, 3).values
    if (
        wanted
        and len(wanted) == len(shape)
        and not {"axes", "keep_aspect_ratio_policy"} & set(node.attributes)
    ):
        return [Tensor(tuple(s or ANY for s in wanted), inputs[0].bits)]
    scales = given(inputs, 2 if node.op == "Resize" and len(inputs) > 2 else 1).values
    if node.op == "Upsample" and isinstance(node.attribute("scales"), tuple):
        scales = tuple(floor(float(v)) for v in node.attribute("scales"))
    if not scales or len(scales) != len(shape):
        raise ValueError("scales that are not known")
    grown = (times(s, Size(max(r.low, 0) if r else 0, False)) for s, r in zip(shape, scales, strict=True))
    return [Tensor(tuple(grown), inputs[0].bits)]


@of("Range")
def _range(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    ends = [given(inputs, at).values for at in range(3)]
    start, limit, step = (v[0] if v else None for v in ends)
    if start is None or limit is None or step is None or not (start.exact and step.exact and step.low):
        return [Tensor((Size(0, False),), inputs[0].bits)]
    if not limit.exact and step.low < 0:
        return [Tensor((Size(0, False),), inputs[0].bits)]
    count = Size(max(0, -((start.low - limit.low) // step.low)), limit.exact)
    if count.exact and count.low <= MAX_VALUES:
        return [of_values([exact(start.low + n * step.low) for n in range(count.low)])]
    return [Tensor((count,), inputs[0].bits)]


@of("OneHot")
def _one_hot(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape, depth = list(known_shape(inputs, 0)), given(inputs, 1).values
    size = depth[0] if depth and depth[0] is not None else ANY
    shape.insert(axis_of(node, len(shape) + 1, -1), size)
    return [Tensor(tuple(shape), given(inputs, 2).bits)]


@of("RandomNormal", "RandomUniform")
def _random(node: Node, _: Inputs) -> Sequence[Tensor]:
    return [Tensor(shape_of(attribute(node.attribute("shape"), ())), 16)]


@of("HannWindow", "HammingWindow", "BlackmanWindow")
def _window(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    size = (given(inputs, 0).values or (None,))[0]
    return [Tensor((size or ANY,), 16)]


@of("EyeLike", "RandomNormalLike", "RandomUniformLike", "Bernoulli")
def _like(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(inputs[0].shape)]
