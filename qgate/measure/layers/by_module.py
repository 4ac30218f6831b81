"""Which module's output is compared with which, for pairs that PyTorch runs on both sides.

A layer is a module (or, in a program, an operation) whose weight is the other side's weight. Nothing is known of how
the modules of a checkpoint follow one another, so that only programs say what a layer reads.
"""

from __future__ import annotations

from dataclasses import replace

from qgate.formats.model import StaticModel
from qgate.measure.layers.layer import VALUES, Layer
from qgate.quant.alignment import Alignment
from qgate.quant.tensorview import canonical_name, first_reader

_BY_PYTORCH = {"torch-checkpoint", "torch-legacy", "safetensors", "torch-export"}


def plan_modules(alignment: Alignment, reference: StaticModel, candidate: StaticModel) -> tuple[Layer, ...]:
    """The layers in the candidate's order; none where a side is not PyTorch's."""
    if not {reference.format, candidate.format} <= _BY_PYTORCH:
        return ()
    found: dict[str, Layer] = {}
    for pair in alignment.constants:
        # A BatchNorm that only one side has folded changes what the module returns.
        if pair.role != "weight" or pair.reference.factor is not None or pair.candidate.factor is not None:
            continue
        ours, theirs = _observed(reference, pair.reference.name), _observed(candidate, pair.candidate.name)
        if ours and theirs and theirs not in found:
            found[theirs] = Layer(ours, theirs, VALUES, theirs, pair.candidate_node.op, sampled=True)
    layers = tuple(found.values())
    return _with_before(layers, candidate) if candidate.format == "torch-export" else layers


def _observed(model: StaticModel, tensor: str) -> str:
    """What hands out the layer of a weight: a module's path, or the output of the operation that reads it."""
    if model.format == "torch-export":
        return first_reader(model, tensor)
    name = canonical_name(tensor, model.root)
    return name.removesuffix(".weight") if name.endswith(".weight") else ""


def _with_before(layers: tuple[Layer, ...], program: StaticModel) -> tuple[Layer, ...]:
    """The layers in the program's order, with the nearest layers above each."""
    order = [output for node in program.graph.nodes for output in node.outputs]
    layers = tuple(sorted(layers, key=lambda layer: order.index(layer.candidate)))
    places = {layer.candidate: place for place, layer in enumerate(layers)}
    nearest: dict[str, frozenset[int]] = {}
    before: dict[int, tuple[int, ...]] = {}
    for node in program.graph.nodes:
        above = frozenset[int]().union(*(nearest.get(name, frozenset()) for name in node.inputs))
        for output in node.outputs:
            place = places.get(output)
            nearest[output] = above if place is None else frozenset({place})
            if place is not None:
                before[place] = tuple(sorted(above))
    return tuple(replace(layer, before=before.get(place, ())) for place, layer in enumerate(layers))
