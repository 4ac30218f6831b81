"""The tensor view of a LiteRT model, with the ranges of activations that its operations read."""

from __future__ import annotations

import numpy as np

from qgate.formats.model import StaticModel
from qgate.quant.floatgraph import FloatGraph, Quantizer
from qgate.quant.tensorview import tensor_view


def flat_view(model: StaticModel) -> FloatGraph:
    """The view: as for other files that hold tensors, and each layer reads the activation that it reads in the file.

    Args:
        model: A LiteRT model.
    """
    view = tensor_view(model)
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
