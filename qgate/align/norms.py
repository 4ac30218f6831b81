"""BatchNorm that the candidate no longer has, because its quantizer folded it into the layer before.

``w' = w * gamma / sqrt(var + eps)`` for each output channel, ``b' = (b - mean) * gamma / sqrt(var + eps) +
beta`` (Jacob et al. 2018, arXiv:1712.05877, section 3.2). A file without a graph says neither which
BatchNorm follows which layer nor its eps: the one that brings the layer's weight closest to the
candidate's direction is taken, and the eps of those in use that leaves the fewest codes unexplained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qgate.quant.alignment import Alignment, ConstantPair
from qgate.quant.constants import Array, ConstantValue, computed
from qgate.quant.derivation import derive
from qgate.quant.floatgraph import FloatGraph, FloatNode

_EPSILONS = (1e-5, 1e-3, 1e-4, 1e-6, 0.0)


@dataclass(frozen=True)
class _Norm:
    """A BatchNorm: gamma, beta, mean and variance by channel."""

    node: FloatNode
    names: tuple[str, ...]
    gamma: Array
    beta: Array
    mean: Array
    variance: Array

    def factor(self, epsilon: float) -> Array:
        """What each channel is multiplied by."""
        with np.errstate(all="ignore"):
            return np.asarray(self.gamma / np.sqrt(self.variance + epsilon))


def fold_norms(alignment: Alignment, reference: FloatGraph, candidate: FloatGraph) -> set[str]:
    """Folds each BatchNorm that one side has alone into that side's weight that it fits best.

    Args:
        alignment: Pairs of weights and biases; those that are folded are replaced.
        reference: The reference's view; ``candidate`` likewise.

    Returns:
        Names of the tensors that went into a layer, of either side.
    """
    used: set[str] = set()
    for side, graphs in (("reference", (reference, candidate)), ("candidate", (candidate, reference))):
        matched = {getattr(pair, side).name for pair in alignment.constants}
        norms = [n for n in _norms(graphs[0]) if not matched & set(n.names)]
        for pair in [p for p in alignment.constants if p.role == "weight"]:
            layer = _Layer(pair, side, graphs)
            if not norms or layer.own.shape != layer.other.shape:
                continue
            norm = _best(layer, norms)
            if norm is None:
                continue
            norms = [n for n in norms if n is not norm]
            used |= _fold(alignment, layer, norm, _epsilon(layer, norm)) | set(norm.names)
    return used


@dataclass(frozen=True)
class _Layer:
    """A pair of weights, of which the one side's may have a BatchNorm behind it.

    Args:
        pair: The weights.
        side: ``reference`` or ``candidate``: whose BatchNorm it is.
        graphs: That side's view, and the other's.
    """

    pair: ConstantPair
    side: str
    graphs: tuple[FloatGraph, FloatGraph]

    @property
    def own(self) -> ConstantValue:
        """The weight before the BatchNorm."""
        return self.pair.reference if self.side == "reference" else self.pair.candidate

    @property
    def other(self) -> ConstantValue:
        """The weight that has it in itself already."""
        return self.pair.candidate if self.side == "reference" else self.pair.reference

    @property
    def axis(self) -> int:
        """The axis of the outputs."""
        return 0 if self.pair.candidate_node.op == "Conv" else len(self.own.shape) - 1

    @property
    def channels(self) -> int:
        """Number of outputs."""
        return self.own.shape[self.axis]

    def biases(self) -> tuple[ConstantValue | None, ConstantValue | None]:
        """The bias before the BatchNorm, and the other side's."""
        nodes = (self.pair.reference_node, self.pair.candidate_node)
        if self.side == "candidate":
            nodes = (nodes[1], nodes[0])
        return _bias(self.graphs[0], nodes[0]), _bias(self.graphs[1], nodes[1])

    def along(self, factor: Array) -> Array:
        """A factor of each output, laid out with the weight."""
        return factor.reshape(tuple(-1 if i == self.axis else 1 for i in range(len(self.own.shape))))


def _norms(reference: FloatGraph) -> list[_Norm]:
    found = []
    for node in reference.nodes:
        values = [reference.constants.get(name) for name in node.inputs[1:5]]
        if node.op == "BatchNormalization" and len(values) == 4 and all(values):
            held = [v for v in values if v is not None]
            arrays = [v.values().astype(np.float64).reshape(-1) for v in held]
            if len({a.size for a in arrays}) == 1:
                found.append(_Norm(node, tuple(v.name for v in held), *arrays))
    return found


def _best(layer: _Layer, norms: list[_Norm]) -> _Norm | None:
    """The BatchNorm that brings weight and bias closest to the other side's; None for none.

    One whose factors are all alike changes no direction, so that the bias decides as well.
    """
    channels = layer.channels
    fitting = [norm for norm in norms if norm.gamma.size == channels]
    if not fitting:
        return None
    ours, theirs = (
        np.moveaxis(np.nan_to_num(v.values().astype(np.float64)), layer.axis, 0).reshape(channels, -1)
        for v in (layer.own, layer.other)
    )
    products, squares = np.sum(ours * theirs, axis=1), np.sum(np.square(ours), axis=1)
    length = float(np.sum(np.square(theirs)))
    before, after = (_flat(bias, channels) for bias in layer.biases())

    def distance(factor: Array, bias: Array) -> float:
        """Squared distances of weight and bias, each as a share of the other side's own size."""
        apart = float(np.sum(np.square(factor) * squares) - 2 * np.sum(factor * products)) + length
        shifted = float(np.sum(np.square(np.nan_to_num(bias) - after)))
        return apart / max(length, 1e-300) + shifted / max(float(np.sum(np.square(after))), 1e-300)

    found: list[tuple[float, _Norm | None]] = [(distance(np.ones(channels), before), None)]
    for norm in fitting:
        factor = np.nan_to_num(norm.factor(_EPSILONS[0]))
        found.append((distance(factor, (before - norm.mean) * factor + norm.beta), norm))
    return min(found, key=lambda entry: entry[0])[1]


def _bias(graph: FloatGraph, node: FloatNode) -> ConstantValue | None:
    """The bias that a layer reads, if it has one."""
    return graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None


def _flat(value: ConstantValue | None, channels: int) -> Array:
    """A bias by channel; zeros where there is none, or none that fits."""
    if value is None or value.size != channels:
        return np.zeros(channels)
    return np.nan_to_num(value.values().astype(np.float64)).reshape(-1)


def _epsilon(layer: _Layer, norm: _Norm) -> float:
    """The eps that leaves the fewest codes unexplained, or brings float weights closest."""
    candidate = layer.pair.candidate
    found: list[tuple[float, float]] = []
    for epsilon in _EPSILONS:
        folded = layer.own.times(layer.along(norm.factor(epsilon)))
        values = folded.values()
        if layer.side == "reference" and candidate.is_quantized and np.isfinite(values).all():
            left = float(derive(values, candidate).count)
        elif candidate.is_quantized and np.isfinite(values).all():
            left = float(derive(layer.other.values(), folded).count)
        else:
            left = float(np.sum(np.abs(np.nan_to_num(layer.other.values() - values))))
        if left == 0:
            return epsilon
        found.append((left, epsilon))
    return min(found)[1]


def _fold(alignment: Alignment, layer: _Layer, norm: _Norm, epsilon: float) -> set[str]:
    """Puts a BatchNorm into a weight and its bias; the bias's pair is made, or made anew."""
    pair = layer.pair
    folded = layer.own.times(layer.along(norm.factor(epsilon)))
    made = replace(pair, reference=folded) if layer.side == "reference" else replace(pair, candidate=folded)
    alignment.constants[:] = [made if p is pair else p for p in alignment.constants]
    own, other = layer.biases()
    used = {own.name} if own is not None else set()
    if other is None or (own is not None and own.size != norm.gamma.size):
        return used
    shifted = (_flat(own, norm.gamma.size) - norm.mean) * norm.factor(epsilon) + norm.beta
    value = computed(own.name if own is not None else norm.names[1], shifted.astype(np.float32))
    sides = (value, other) if layer.side == "reference" else (other, value)
    bias = ConstantPair(*sides, pair.reference_node, pair.candidate_node, 2, "folded")
    gone = {value.name, other.name}
    alignment.constants[:] = [
        p for p in alignment.constants if p.role != "bias" or not gone & {p.reference.name, p.candidate.name}
    ] + [bias]
    return used
