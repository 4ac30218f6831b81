"""What aligning two float views finds, as data: which operation and constant is which, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qgate.quant.constants import ConstantValue
from qgate.quant.floatgraph import FloatNode, Quantizer


@dataclass(frozen=True)
class ConstantPair:
    """A constant of the reference and the candidate's constant in its place."""

    reference: ConstantValue
    candidate: ConstantValue
    reference_node: FloatNode
    candidate_node: FloatNode
    position: int
    method: str

    @property
    def role(self) -> str:
        """``weight``, ``bias`` or ``constant``, by the operator that reads it."""
        op = self.candidate_node.op
        if op in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            return {1: "weight", 2: "bias"}.get(self.position, "weight")
        if op in ("LSTM", "GRU", "RNN"):
            return {1: "weight", 2: "weight", 3: "bias"}.get(self.position, "constant")
        return "weight" if op == "Gather" and self.position == 0 and self.candidate.size >= 64 else "constant"


@dataclass(frozen=True)
class Difference:
    """A place where the candidate does not compute what the reference does.

    Args:
        kind: ``added``, ``removed``, ``replaced``, ``attribute``, ``wiring``, ``constant`` or ``unmatched``.
        message: What differs, in one sentence.
        candidate: The candidate's operations concerned.
        reference: The reference's operations concerned.
        evidence: Attribute values and the like.
    """

    kind: str
    message: str
    candidate: tuple[FloatNode, ...] = ()
    reference: tuple[FloatNode, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Alignment:
    """The result: pairs of operations, constants and tensors, and the differences.

    ``nodes`` and ``tensors`` are those of the main graphs, ``inner`` the pairs of operations in bodies;
    constants and differences are those of both. ``activated`` holds, by the codes of quantizers that do an activation's
    work, that activation's output.
    """

    nodes: list[tuple[FloatNode, FloatNode]] = field(default_factory=list)
    constants: list[ConstantPair] = field(default_factory=list)
    tensors: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    unmatched_reference: list[FloatNode] = field(default_factory=list)
    unmatched_candidate: list[FloatNode] = field(default_factory=list)
    inner: list[tuple[FloatNode, FloatNode]] = field(default_factory=list)
    activated: dict[str, str] = field(default_factory=dict)

    def quantized(self, quantizer: Quantizer, tensor: str) -> str | None:
        """The reference's tensor that a quantizer of one of the candidate's stands for, its activation applied."""
        return (
            self.activated.get(quantizer.codes)
            or self.tensors.get(quantizer.source)
            or self.tensors.get(tensor)
        )

    def absorb(self, body: Alignment, where: str) -> None:
        """Adds what the alignment of a pair of bodies found; ``where`` says which bodies."""
        self.inner += [*body.nodes, *body.inner]
        self.constants += body.constants
        self.differences += [replace(d, message=f"{where}: {d.message}") for d in body.differences]
        self.unmatched_reference += body.unmatched_reference
        self.unmatched_candidate += body.unmatched_candidate
