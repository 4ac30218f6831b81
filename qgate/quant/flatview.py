"""The tensor view of a LiteRT model, with the ranges of activations that its operations read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from qgate.formats.model import StaticModel
from qgate.quant.constants import INTEGER_RANGES, ConstantValue
from qgate.quant.floatgraph import FloatGraph, Quantizer
from qgate.quant.tensorview import tensor_view


def flat_view(model: StaticModel) -> FloatGraph:
    """The view: as for other files that hold tensors, and each layer reads the activation that it reads in the file.

    Args:
        model: A LiteRT model.
    """
    view = tensor_view(model)
    for name, value in view.constants.items():
        view.constants[name] = _as_int32(value)
    read = {node.label: node.inputs[0] for node in model.graph.nodes if node.inputs}
    for node in view.nodes:
        if node.inputs and not node.inputs[0]:
            node.inputs[0] = read.get(node.label, "")
    for tensor, kind in model.graph.types.items():
        scale, zero = (model.graph.constants.get(f"{tensor}.{part}") for part in ("scale", "zero_point"))
        if scale is None or zero is None or tensor in model.graph.constants:
            continue
        view.quantizers[tensor] = [
            Quantizer(
                tensor=tensor, source=tensor, node=tensor, dtype=kind.dtype, scale=np.asarray(scale.load()).reshape(()),
                zero_point=np.asarray(zero.load()).reshape(()), scale_name=scale.name, zero_name=zero.name, inherent=True,
            )
        ]  # fmt: skip
    return view


def _as_int32(value: ConstantValue) -> ConstantValue:
    """A bias of 64 bits, as layers with activations of 16 have, by codes of 32 where these are enough."""
    if value.dtype != "int64" or not value.is_quantized:
        return value
    codes = value.codes()
    least, greatest = INTEGER_RANGES["int32"]
    if codes.size and not (least <= codes.min() and codes.max() <= greatest):
        return value
    return replace(value, dtype="int32", stored=lambda: value.stored().astype(np.int32))
