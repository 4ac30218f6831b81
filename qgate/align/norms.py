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
    """Folds each BatchNorm that has no counterpart into the weight that it fits best.

    Args:
        alignment: Pairs of weights and biases; those that are folded are replaced.
        reference: The reference's view; ``candidate`` likewise.

    Returns:
        Names of the reference's tensors that went into a layer.
    """
    graphs = (reference, candidate)
    matched = {pair.reference.name for pair in alignment.constants}
    norms = [n for n in _norms(reference) if not matched & set(n.names)]
    used: set[str] = set()
    for pair in [p for p in alignment.constants if p.role == "weight"]:
        if not norms or pair.reference.shape != pair.candidate.shape:
            continue
        norm = _best(pair, norms, graphs)
        if norm is None:
            continue
        norms = [n for n in norms if n is not norm]
        axis = _axis(pair.candidate_node, pair.candidate)
        epsilon = _epsilon(pair, norm, axis)
        factor = _along(norm.factor(epsilon), pair.reference, axis)
        folded = replace(pair, reference=pair.reference.times(factor))
        alignment.constants[:] = [folded if p is pair else p for p in alignment.constants]
        used |= _fold_bias(alignment, pair, norm, epsilon, graphs) | set(norm.names)
    return used


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


def _axis(node: FloatNode, value: ConstantValue) -> int:
    """The axis of the outputs."""
    return 0 if node.op == "Conv" else len(value.shape) - 1


def _along(factor: Array, value: ConstantValue, axis: int) -> Array:
    return factor.reshape(tuple(-1 if i == axis else 1 for i in range(len(value.shape))))


def _best(pair: ConstantPair, norms: list[_Norm], graphs: tuple[FloatGraph, FloatGraph]) -> _Norm | None:
    """The BatchNorm that brings the reference's weight and bias closest to the candidate's; None for none.

    One whose factors are all alike changes no direction, so that the bias decides as well.
    """
    axis = _axis(pair.candidate_node, pair.candidate)
    channels = pair.candidate.shape[axis]
    fitting = [norm for norm in norms if norm.gamma.size == channels]
    if not fitting:
        return None
    ours, theirs = (
        np.moveaxis(np.nan_to_num(v.values().astype(np.float64)), axis, 0).reshape(channels, -1)
        for v in (pair.reference, pair.candidate)
    )
    products, squares = np.sum(ours * theirs, axis=1), np.sum(np.square(ours), axis=1)
    length = float(np.sum(np.square(theirs)))
    before, after = (
        _flat(_bias(graph, node), channels)
        for graph, node in zip(graphs, (pair.reference_node, pair.candidate_node), strict=True)
    )

    def distance(factor: Array, bias: Array) -> float:
        """Squared distances of weight and bias, each as a share of the candidate's own size."""
        apart = float(np.sum(np.square(factor) * squares) - 2 * np.sum(factor * products)) + length
        shifted = float(np.sum(np.square(np.nan_to_num(bias) - after)))
        return apart / max(length, 1e-300) + shifted / max(float(np.sum(np.square(after))), 1e-300)

    found = [(distance(np.ones(channels), before), None)] + [
        (distance(factor, (before - norm.mean) * factor + norm.beta), norm)
        for norm in fitting
        for factor in (np.nan_to_num(norm.factor(_EPSILONS[0])),)
    ]
    return min(found, key=lambda entry: entry[0])[1]


def _bias(graph: FloatGraph, node: FloatNode) -> ConstantValue | None:
    """The bias that a layer reads, if it has one."""
    return graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None


def _flat(value: ConstantValue | None, channels: int) -> Array:
    """A bias by channel; zeros where there is none, or none that fits."""
    if value is None or value.size != channels:
        return np.zeros(channels)
    return np.nan_to_num(value.values().astype(np.float64)).reshape(-1)


def _epsilon(pair: ConstantPair, norm: _Norm, axis: int) -> float:
    """The eps that leaves the fewest codes unexplained, or brings float weights closest."""
    reference = pair.reference.values()
    theirs = pair.candidate.values().astype(np.float64)
    found: list[tuple[float, float]] = []
    for epsilon in _EPSILONS:
        folded = reference * _along(norm.factor(epsilon), pair.reference, axis)
        if pair.candidate.is_quantized and np.isfinite(folded).all():
            left = float(derive(folded.astype(np.float32), pair.candidate).count)
        else:
            left = float(np.sum(np.abs(np.nan_to_num(theirs - folded))))
        if left == 0:
            return epsilon
        found.append((left, epsilon))
    return min(found)[1]


def _fold_bias(
    alignment: Alignment,
    pair: ConstantPair,
    norm: _Norm,
    epsilon: float,
    graphs: tuple[FloatGraph, FloatGraph],
) -> set[str]:
    """The bias that belongs to a folded weight: its pair is made, or made anew."""
    own, other = _bias(graphs[0], pair.reference_node), _bias(graphs[1], pair.candidate_node)
    used = {own.name} if own is not None else set()
    if other is None or (own is not None and own.size != norm.gamma.size):
        return used
    folded = (_flat(own, norm.gamma.size) - norm.mean) * norm.factor(epsilon) + norm.beta
    value = computed(own.name if own is not None else norm.names[1], folded.astype(np.float32))
    made = ConstantPair(value, other, pair.reference_node, pair.candidate_node, 2, "folded")
    kept = [p for p in alignment.constants if p.candidate.name != other.name]
    alignment.constants[:] = [*kept, made]
    return used
