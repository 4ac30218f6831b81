"""Which quantization scheme a model has, and how much of it is quantized at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from qgate.quant.constants import ConstantValue
from qgate.quant.floatgraph import FloatGraph, FloatNode

_CLASS = {
    "int2": "int4", "uint2": "int4", "int4": "int4", "uint4": "int4", "float4e2m1": "int4",
    "int8": "int8", "uint8": "int8", "int16": "int8", "uint16": "int8",
    "float16": "fp16", "bfloat16": "fp16",
    "float8e4m3fn": "fp8", "float8e4m3fnuz": "fp8", "float8e5m2": "fp8", "float8e5m2fnuz": "fp8",
}  # fmt: skip
_WEIGHT_POSITIONS = {
    "Conv": (1,), "ConvTranspose": (1,), "MatMul": (0, 1), "Gemm": (0, 1), "LSTM": (1, 2), "GRU": (1, 2),
    "RNN": (1, 2), "Gather": (0,), "Einsum": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Scheme:
    """What was found.

    Args:
        name: ``int8``, ``int4``, ``fp16``, ``fp8`` or ``none``.
        parameters: Elements of all weights.
        quantized: Elements of the weights stored in the scheme's own types.
        shorter: Elements of the weights stored in fewer than 32 bits, whatever the type.
        bits: Mean storage bits of a weight element.
        types: Elements by storage type.
        float_weights: Names of weights left in 32 bits or more.
    """

    name: str
    parameters: int
    quantized: int
    shorter: int
    bits: float
    types: dict[str, int] = field(default_factory=dict)
    float_weights: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the parameters that is stored in fewer bits than float32; NaN without weights."""
        return self.shorter / self.parameters if self.parameters else float("nan")


def weights(graph: FloatGraph) -> Iterator[tuple[FloatNode, int, ConstantValue]]:
    """Every constant that is a weight, those of bodies included: node, operand position, constant; each once."""
    seen: set[tuple[int, str]] = set()
    for scope, held in enumerate(graph.graphs()):
        for node in held.nodes:
            for position in _WEIGHT_POSITIONS.get(node.op, ()):
                value = held.constants.get(node.inputs[position]) if position < len(node.inputs) else None
                if value is None or (node.op == "Gather" and not _is_table(value)):
                    continue
                # A body may call its own weight as another does; one from around it is the same there.
                shared = value.name in graph.constants
                key = (0 if shared else scope, value.name)
                if key not in seen:
                    seen.add(key)
                    yield node, position, value


def _is_table(value: ConstantValue) -> bool:
    """An embedding table, not the shape arithmetic that also uses Gather."""
    return len(value.shape) >= 2 and value.size >= 64


def detect_scheme(graph: FloatGraph) -> Scheme:
    """The scheme of a model: the class of storage types that holds most of its shortened weights."""
    types: dict[str, int] = {}
    total_bits = 0
    left_float: list[str] = []
    for _, _, value in weights(graph):
        types[value.dtype] = types.get(value.dtype, 0) + value.size
        total_bits += value.size * value.bits
        if value.bits >= 32:
            left_float.append(value.name)
    parameters = sum(types.values())
    classes: dict[str, int] = {}
    for dtype, count in types.items():
        if dtype in _CLASS:
            classes[_CLASS[dtype]] = classes.get(_CLASS[dtype], 0) + count
    # Ties go to the shorter type, whose thresholds are the wider.
    order = ("int4", "fp8", "int8", "fp16")
    name = max(order, key=lambda c: (classes.get(c, 0), -order.index(c))) if classes else "none"
    return Scheme(
        name=name,
        parameters=parameters,
        quantized=classes.get(name, 0),
        shorter=sum(classes.values()),
        bits=total_bits / parameters if parameters else 32.0,
        types=dict(sorted(types.items())),
        float_weights=tuple(left_float),
    )


def levels_used(value: ConstantValue) -> int | None:
    """Distinct codes of a quantized weight of at least 1,024 elements; None for smaller ones."""
    if not value.is_quantized or value.size < 1024 or value.dtype not in ("int8", "uint8"):
        return None
    return int(np.unique(value.codes()).size)
