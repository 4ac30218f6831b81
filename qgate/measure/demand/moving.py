"""Shapes of operators that hand elements on, move them or choose among them."""

from __future__ import annotations

from collections.abc import Sequence

from qgate.formats.model import Node
from qgate.formats.onnx.dtypes import DTYPES
from qgate.measure.demand.rules import Inputs, axes, axis_of, given, known_shape, numbers, of
from qgate.measure.demand.sizes import (
    ANY,
    MAX_RANK,
    MAX_VALUES,
    Size,
    Tensor,
    attribute,
    bits_of,
    exact,
    of_values,
    over,
    plus,
    product,
    times,
)  # fmt: skip


@of("Identity")
def _same(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [inputs[0]]


@of("Cast", "CastLike")
def _cast(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    name, _ = DTYPES.get(attribute(node.attribute("to"), 0), ("", 0))
    bits = given(inputs, 1).bits if node.op == "CastLike" else bits_of(name)
    return [Tensor(inputs[0].shape, bits, inputs[0].values)]


@of("Shape")
def _shape(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    start, end = attribute(node.attribute("start"), 0), attribute(node.attribute("end"), len(shape))
    return [of_values(shape[start:end])]


@of("Size")
def _size(_: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    return [of_values([Size(product(shape), all(s.exact for s in shape))], ())]


@of("Concat")
def _concat(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shapes = [t.shape for t in inputs]
    known = [s for s in shapes if s is not None]
    rank = len(known[0])
    axis = axis_of(node, rank, 0)
    if any(len(s) != rank for s in known):
        raise ValueError("shapes of other ranks")
    size = Size(0)
    for shape in shapes:
        size = plus(size, shape[axis] if shape is not None else Size(0, False))
    sizes = [next((s[a] for s in known if s[a].exact), known[0][a]) for a in range(rank)]
    sizes[axis] = size
    values: list[Size | None] = []
    if rank == 1:
        for tensor in inputs:
            count = tensor.shape[0] if tensor.shape else ANY
            if not count.exact or len(values) + count.low > MAX_VALUES:
                return [Tensor(tuple(sizes), inputs[0].bits)]
            values += tensor.values or [None] * count.low
        return [of_values(values, bits=inputs[0].bits)]
    return [Tensor(tuple(sizes), max(t.bits for t in inputs))]


@of("Split")
def _split(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    axis, count = axis_of(node, len(shape), 0), len(node.outputs)
    wanted = given(inputs, 1).values
    if wanted is None and isinstance(node.attribute("split"), tuple):
        wanted = tuple(exact(v) for v in node.attribute("split"))
    whole = shape[axis].exact and shape[axis].low % count == 0
    parts = wanted if wanted and len(wanted) == count else [Size(shape[axis].low // count, whole)] * count
    if wanted is None and not whole:
        parts = [Size(0, False)] * count  # the last one is shorter, or the size is open
    return [Tensor((*shape[:axis], p or Size(0, False), *shape[axis + 1 :]), inputs[0].bits) for p in parts]


@of("Reshape")
def _reshape(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    wanted = numbers(node, inputs, 1, "shape")
    shape, keeps_zero = inputs[0].shape, bool(attribute(node.attribute("allowzero"), 0))
    sizes: list[Size | None] = []
    for at, value in enumerate(wanted):
        if value is not None and value.exact and value.low == 0 and not keeps_zero and shape is not None:
            sizes.append(shape[at] if at < len(shape) else None)
        else:
            sizes.append(None if value is not None and value.exact and value.low < 0 else value or ANY)
    if sizes.count(None) == 1 and shape is not None:
        rest = [s for s in sizes if s is not None]
        whole = all(s.exact for s in (*shape, *rest))
        count = product(rest)
        left = Size(product(shape) // count, True) if whole and count else ANY
        sizes = [left if s is None else s for s in sizes]
    return [Tensor(tuple(s or ANY for s in sizes), inputs[0].bits, inputs[0].values)]


@of("Transpose")
def _transpose(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    order = attribute(node.attribute("perm"), tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError("no order of the axes")
    return [Tensor(tuple(shape[a] for a in order), inputs[0].bits)]


@of("Unsqueeze")
def _unsqueeze(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    rank = len(shape) + len(numbers(node, inputs, 1, "axes"))
    if rank > MAX_RANK:
        raise ValueError("a rank that no tensor has")
    new = axes(node, inputs, 1, rank)
    rest = iter(shape)
    sizes = tuple(Size(1) if a in new else next(rest) for a in range(rank))
    return [Tensor(sizes, inputs[0].bits, inputs[0].values)]


@of("Squeeze")
def _squeeze(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    if len(inputs) > 1 or "axes" in node.attributes:
        gone = axes(node, inputs, 1, len(shape))
    elif all(s.exact for s in shape):
        gone = [a for a, s in enumerate(shape) if s.low == 1]
    else:
        raise ValueError("axes that are not known")
    sizes = tuple(s for a, s in enumerate(shape) if a not in gone)
    return [Tensor(sizes, inputs[0].bits, inputs[0].values)]


@of("Flatten")
def _flatten(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = known_shape(inputs, 0)
    axis = axis_of(node, len(shape), 1)
    whole = all(s.exact for s in shape)
    return [Tensor(tuple(Size(product(p), whole) for p in (shape[:axis], shape[axis:])), inputs[0].bits)]


@of("Slice")
def _slice(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = list(known_shape(inputs, 0))
    if len(inputs) > 1:
        starts, ends = (given(inputs, at).values for at in (1, 2))
    else:
        starts, ends = (numbers(node, inputs, 9, name) for name in ("starts", "ends"))
    listed = given(inputs, 3).values or node.attribute("axes")
    chosen = axes(node, inputs, 3, len(shape)) if listed else range(len(starts or shape))
    steps = given(inputs, 4).values
    values = inputs[0].values
    for place, axis in enumerate(chosen):
        ends_of = [v[place] if v else None for v in (starts, ends)]
        start, end, step = (*ends_of, steps[place] if steps else Size(1))
        known = all(v is not None and v.exact for v in (start, end, step)) and shape[axis].exact
        if start is None or end is None or step is None or not known or not step.low:
            shape[axis] = Size(0, False)
            continue
        taken = range(shape[axis].low)[slice(start.low, end.low, step.low)]
        if values is not None and len(shape) == 1 and len(chosen) == 1:
            return [of_values([values[i] for i in taken], bits=inputs[0].bits)]
        shape[axis] = Size(len(taken))
    return [Tensor(tuple(shape), inputs[0].bits)]


@of("Gather")
def _gather(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape, picked = known_shape(inputs, 0), known_shape(inputs, 1)
    axis = axis_of(node, len(shape), 0)
    values, indices = inputs[0].values, inputs[1].values
    sizes = (*shape[:axis], *picked, *shape[axis + 1 :])
    if len(sizes) > MAX_RANK:
        raise ValueError("a rank that no tensor has")
    if values is not None and indices is not None and len(shape) == 1:
        known = [values[i.low] if i is not None and i.exact else None for i in indices]
        return [of_values(known, picked, inputs[0].bits)]
    return [Tensor(sizes, inputs[0].bits)]


@of("GatherElements", "ScatterElements", "ScatterND", "Scatter")
def _elements(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    return [Tensor(given(inputs, 1 if node.op == "GatherElements" else 0).shape, inputs[0].bits)]


@of("TopK")
def _top_k(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    shape = list(known_shape(inputs, 0))
    count = (given(inputs, 1).values or (None,))[0]
    shape[axis_of(node, len(shape), -1)] = count or ANY
    return [Tensor(tuple(shape), inputs[0].bits), Tensor(tuple(shape), 64)]


@of("DepthToSpace", "SpaceToDepth")
def _depth(node: Node, inputs: Inputs) -> Sequence[Tensor]:
    n, c, h, w = known_shape(inputs, 0)
    block = max(1, attribute(node.attribute("blocksize"), 1))
    if node.op == "SpaceToDepth":
        sizes = (n, times(c, exact(block * block)), over(h, block), over(w, block))
    else:
        sizes = (n, over(c, block * block), times(h, exact(block)), times(w, exact(block)))
    return [Tensor(sizes, inputs[0].bits)]
