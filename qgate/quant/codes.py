"""Operations that read the codes of an activation: those that carry them along, and those that compute with them.

To move codes is to move what they stand for. To compute with them is not: the same numbers under another
scale and zero point are other values, so the view keeps the quantizer as an operation of its own there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.formats.model import Node
from qgate.quant.constants import computed
from qgate.quant.floatgraph import Quantizer

if TYPE_CHECKING:
    from qgate.quant.build import Builder

CARRIERS = frozenset(
    {
        "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Tile", "MaxPool", "Gather", "GatherElements",
        "GatherND", "Slice", "Split", "Concat", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Compress", "Resize", "Pad",
    }
)  # fmt: skip
"""What they make are codes of the same scale and zero point."""
# The order of codes is the order of values, and these say nothing else.
_ORDER = {"ArgMax", "ArgMin", "Shape", "Size"}
_INTEGER = {"ConvInteger", "MatMulInteger"}


def operands(builder: Builder, node: Node) -> list[str]:
    """The tensors of the view that an operation reads; codes read as numbers come through their quantizer."""
    read = [builder.ref(name) for name in node.inputs]
    if node.domain or node.op in _ORDER | _INTEGER:
        return read
    for position, name in enumerate(node.inputs):
        quantizer = builder.coded.get(name)
        if quantizer is None:
            continue
        if not (node.op in CARRIERS and (position == 0 or node.op == "Concat")) and not _relu(
            node, quantizer
        ):
            read[position] = _as_numbers(builder, node, name)
    first = builder.coded.get(node.inputs[0]) if node.inputs else None
    if first is not None and node.op == "Pad":
        _pad(builder, node, read, first)
    if node.op == "Concat":
        _same_codes(builder, node)
    return read


def carry(builder: Builder, node: Node) -> None:
    """Notes whose codes an operation passes on."""
    quantizer = builder.coded.get(node.inputs[0]) if node.inputs and not node.domain else None
    if quantizer is not None and (node.op in CARRIERS or _relu(node, quantizer)):
        # The positions of a pooling's maxima, and whatever else comes second, are none.
        for name in node.outputs if node.op == "Split" else node.outputs[:1]:
            builder.coded[name] = quantizer


def _relu(node: Node, quantizer: Quantizer) -> bool:
    """Relu of codes is Relu of values where zero is zero."""
    return node.op == "Relu" and (quantizer.zero_point is None or not np.any(quantizer.zero_point))


def _as_numbers(builder: Builder, node: Node, name: str) -> str:
    quantize = builder.maker(name) or node
    made = f"{name}|codes"
    if not any(made in held.outputs for held in builder.nodes):
        builder.emit(quantize, "QuantizeLinear", [builder.ref(name)], [made], {})
    return made


def _pad(builder: Builder, node: Node, read: list[str], quantizer: Quantizer) -> None:
    """What codes are padded with is a code as well; left out it is the code 0."""
    if quantizer.scale.size != 1 or node.attribute("mode", "constant") != "constant":
        return
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    code = builder.array(value) if value else np.zeros(1)
    if code is None or code.size != 1:
        return
    zero = 0.0 if quantizer.zero_point is None else float(quantizer.zero_point.reshape(-1)[0])
    stands_for = (float(code.reshape(-1)[0]) - zero) * float(quantizer.scale.reshape(-1)[0])
    read += [""] * (3 - len(read))
    name = f"{node.outputs[0]}|padding"
    read[2] = builder.put_constant(name, computed(value or name, np.asarray(stands_for, np.float32)))


def _same_codes(builder: Builder, node: Node) -> None:
    made = [builder.coded.get(name) for name in node.inputs if builder.constant(name) is None]
    if not any(made):
        return
    first = made[0]
    for name, other in zip((n for n in node.inputs if builder.constant(n) is None), made, strict=True):
        if other is None or first is None or not first.same_as(other):
            builder.defect(
                "requantized",
                f"Concat joins codes that were made with different scales or zero points: {node.inputs[0]!r} and {name!r}",
                node=node.label,
                tensor=name,
            )
            return
