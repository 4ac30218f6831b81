"""Cross-layer equalisation, undone: factors on a layer's output channels that its readers cancel.

Equalising quantizers (Nagel et al. 2019, arXiv:1906.04721; SmoothQuant, arXiv:2211.10438) multiply the
output channels of a layer by positive factors and divide the inputs of the layers that read it by the
same. The function is unchanged where what lies between is positively homogeneous. Nothing in the file says
so: the factors are inferred channel by channel, from the interval that every single code allows, and are
accepted only where bias and readers agree and no factor reaches an output or a non-homogeneous operation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qgate.quant.alignment import Alignment, ConstantPair
from qgate.quant.channel_factors import agree_with_bias, fit_channels, input_factor
from qgate.quant.constants import Array
from qgate.quant.floatgraph import FloatGraph, FloatNode
from qgate.quant.residual import Residual, residual

HOMOGENEOUS = {"Relu", "LeakyRelu", "PRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
               "Identity", "Dropout", "Pad", "ReduceMean", "ReduceMax", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}  # fmt: skip
LINEAR = {"Conv", "MatMul"}
AFFINE = {"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "Mul"}
# Steps by which an inferred factor may miss: it is known no better than the codes and the bias tell.
EQUALISED_SLACK = 0.15


@dataclass
class Gauge:
    """Factors of the channels of one tensor: candidate = factor times reference.

    Args:
        factor: One positive factor for each channel.
        slack: Relative uncertainty of each.
        origin: Name of the weight whose layer brought it in.
    """

    factor: Array
    slack: Array
    origin: str


@dataclass
class Equalised:
    """What the inference found.

    Args:
        explained: Largest remaining distance in steps, by weight or bias that equalisation explains.
        uncancelled: Why a factor is not cancelled, by the weight that brought it in.
        scaled: The candidate's tensors that carry a factor, so that they differ from the reference's.
    """

    explained: dict[str, float] = field(default_factory=dict)
    uncancelled: dict[str, str] = field(default_factory=dict)
    scaled: frozenset[str] = frozenset()


def infer(alignment: Alignment, candidate: FloatGraph, suspects: set[str]) -> Equalised:
    """Follows factors through the aligned graph.

    Args:
        alignment: The aligned graphs.
        candidate: The candidate's view, in topological order.
        suspects: Names of the candidate's constants that no rounding rule explains as they stand.

    Returns:
        Explained constants with the largest remaining distance in steps, and origins left uncancelled.
    """
    walker = _Gauges(alignment, suspects)
    order = {id(node): position for position, node in enumerate(candidate.nodes)}
    for one, two in sorted(alignment.nodes, key=lambda pair: order[id(pair[1])]):
        walker.visit(one, two)
    walker.escape(alignment, candidate)
    return walker.finish()


class _Gauges:
    def __init__(self, alignment: Alignment, suspects: set[str]) -> None:
        self.suspects = suspects
        self.found = Equalised()
        self.gauges: dict[str, Gauge] = {}
        self.read: set[str] = set()
        # A bias or a shift stands and falls with the weight that it belongs to.
        self.beside: dict[str, str] = {}
        self.pairs: dict[tuple[int, int], ConstantPair] = {
            (id(pair.candidate_node), pair.position): pair for pair in alignment.constants
        }

    def fail(self, gauge: Gauge, why: str) -> None:
        self.found.uncancelled.setdefault(gauge.origin, why)

    def visit(self, one: FloatNode, two: FloatNode) -> None:
        held = [self.gauges.get(name) for name in two.inputs if name]
        weight = self.pairs.get((id(two), 1))
        if two.op in LINEAR and weight is not None:
            self._linear(two, weight, self.gauges.get(two.inputs[0]))
            return
        if two.op in AFFINE and weight is not None and self._affine(two, weight):
            return
        present = [g for g in held if g is not None]
        if not present:
            return
        for name in two.inputs:
            if name in self.gauges:
                self.read.add(name)
        if (
            two.op in HOMOGENEOUS
            or (two.op == "Mul" and len(present) == 1)
            or (two.op == "Add" and len(present) == 2 and len(two.inputs) == 2 and _same(*present))
        ):
            self.gauges[two.outputs[0]] = present[0]
        else:
            for gauge in present:
                self.fail(gauge, f"it reaches {two.op} {two.label!r}, which does not pass a factor on")

    def _affine(self, node: FloatNode, pair: ConstantPair) -> bool:
        """A normalisation whose scale and shift were divided, for the layers that read it to multiply."""
        if pair.candidate.name not in self.suspects or pair.candidate.is_quantized:
            return False
        ours = pair.reference.values().astype(np.float64).reshape(-1)
        theirs = pair.candidate.values().astype(np.float64).reshape(-1)
        if ours.size != theirs.size or not np.all(ours) or not np.all(theirs / ours > 0):
            return False
        factor = theirs / ours
        shift = self.pairs.get((id(node), 2))
        precision = 2e-3 if pair.candidate.bits < 32 else 1e-4
        if shift is not None:
            before = shift.reference.values().astype(np.float64).reshape(-1)
            after = shift.candidate.values().astype(np.float64).reshape(-1)
            if before.size != factor.size or not np.allclose(
                after, before * factor, rtol=precision, atol=1e-7
            ):
                return False
            self.found.explained[shift.candidate.name] = 0.0
            self.beside[shift.candidate.name] = pair.candidate.name
        self.found.explained[pair.candidate.name] = 0.0
        self.gauges[node.outputs[0]] = Gauge(factor, np.full(factor.shape, precision), pair.candidate.name)
        return True

    def _linear(self, node: FloatNode, pair: ConstantPair, incoming: Gauge | None) -> None:
        name = pair.candidate.name
        if incoming is not None:
            self.read.add(node.inputs[0])
        if incoming is None and name not in self.suspects:
            return
        reference = pair.reference.values().reshape(pair.candidate.shape).astype(np.float64)
        into = input_factor(incoming.factor, pair.candidate, node) if incoming is not None else None
        if incoming is not None and into is None:
            self.fail(incoming, f"the channels of {name!r} do not fit it")
            return
        if into is not None and incoming is not None:
            if name not in self.suspects:
                self.fail(
                    incoming, f"{node.op} {node.label!r}, which reads it, has the reference's own weights"
                )
                return
            reference = reference / into
        slack = 0.0 if incoming is None else float(np.max(incoming.slack))
        held = residual(reference, pair.candidate)
        if held is None and pair.candidate.is_quantized:
            return
        if (
            into is not None
            and held is not None
            and not held.outside(0.5 + EQUALISED_SLACK + slack * _reach(held)).any()
        ):
            self.found.explained[name] = float(np.max(np.abs(held.distance())))
            return
        self._outgoing(node, pair, reference, slack, into is not None)
        if incoming is not None and name not in self.found.explained:
            self.fail(incoming, f"{node.op} {node.label!r}, which reads it, does not take it back")

    def _outgoing(
        self, node: FloatNode, pair: ConstantPair, reference: Array, slack: float, fed: bool
    ) -> None:
        """Looks for a factor on the output channels, and checks it against the bias."""
        fitted = fit_channels(reference, pair.candidate, _channel_axis(node), slack)
        if fitted is None:
            return
        plain = bool((np.abs(fitted[0] - 1) <= fitted[1] + 1e-3).all())
        if plain and not fed:
            # Factors of one explain nothing: the tensor is a suspect as it stands.
            return
        factor, uncertain = fitted
        bias = self.pairs.get((id(node), 2))
        if bias is not None:
            agreed = agree_with_bias(factor, uncertain, bias)
            if agreed is None:
                return
            factor, uncertain = agreed
            self.found.explained[bias.candidate.name] = 0.5
            self.beside[bias.candidate.name] = pair.candidate.name
        name = pair.candidate.name
        self.found.explained[name] = 0.5
        if plain:
            return
        self.gauges[node.outputs[0]] = Gauge(factor, uncertain, name)

    def escape(self, alignment: Alignment, candidate: FloatGraph) -> None:
        """Factors that leave by an output, or into an operation that the walk could not compare."""
        outputs = {ref for _, ref in candidate.outputs}
        aligned = {id(two) for _, two in alignment.nodes}
        for name in outputs & set(self.gauges):
            self.fail(self.gauges[name], "it reaches an output of the model")
        for node in candidate.nodes:
            for name in (*(node.inputs if id(node) not in aligned else ()), *node.implicit):
                if name in self.gauges:
                    self.fail(
                        self.gauges[name],
                        f"it reaches {node.op} {node.label!r}, which is not the reference's",
                    )

    def finish(self) -> Equalised:
        for name, gauge in self.gauges.items():
            if name not in self.read:
                self.fail(gauge, "it reaches an output of the model")
        for name in list(self.found.explained):
            if self.beside.get(name, name) in self.found.uncancelled:
                del self.found.explained[name]
        self.found.scaled = frozenset(self.gauges)
        return self.found


def _reach(held: Residual) -> float:
    return float(max(abs(held.least), abs(held.greatest)))


def _channel_axis(node: FloatNode) -> int:
    return 0 if node.op == "Conv" else 1


def _same(one: Gauge, two: Gauge) -> bool:
    if one.factor.shape != two.factor.shape:
        return False
    return bool(
        np.all(np.abs(one.factor - two.factor) <= (one.slack + two.slack + 1e-3) * np.abs(one.factor))
    )
