"""What one model file says of itself, without running it: its tensors, their ranges and how they are quantized."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from qgate.formats.model import Constant, StaticModel, TensorType
from qgate.formats.packing import parameters
from qgate.quant.build import float_view
from qgate.quant.constants import Array, ConstantValue, Quantized, numbers
from qgate.quant.flatview import flat_view
from qgate.quant.floatgraph import FloatGraph, Quantizer
from qgate.quant.scheme import Scheme, detect_scheme, weights
from qgate.quant.tensorview import tensor_view


@dataclass(frozen=True)
class Affine:
    """The affine map of quantized codes in figures: ``value = (code - zero_point) * scale``.

    Args:
        scales: How many scales there are.
        scale_low: The smallest scale; ``scale_high`` the largest.
        zero_low: The smallest zero point; ``zero_high`` the largest.
        axis: The axis that scales vary along; None for one scale.
        block: Elements along it that share a scale; 0 where each slice has its own.
    """

    scales: int
    scale_low: float
    scale_high: float
    zero_low: float
    zero_high: float
    axis: int | None = None
    block: int = 0


@dataclass(frozen=True)
class TensorPortrait:
    """One constant of the file.

    Args:
        name: The file's own name.
        dtype: Its storage type.
        shape: Its dimensions.
        bytes: Its storage.
        role: ``weight``, ``parameter`` (a scale or zero point), ``unused`` or ``constant``.
        low: Smallest finite value that it stands for, codes dequantized; None without any.
        high: Largest one.
        nonfinite: How many values are NaN or infinite.
        affine: How its codes stand for numbers; None where it holds numbers itself.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    role: str
    low: float | None
    high: float | None
    nonfinite: int
    affine: Affine | None = None


@dataclass(frozen=True)
class ActivationPortrait:
    """A quantizer of an activation: the range that its codes can stand for."""

    name: str
    dtype: str
    low: float
    high: float
    affine: Affine


@dataclass(frozen=True)
class Portrait:
    """One model file in figures.

    Args:
        scheme: Its quantization.
        dynamic: It quantizes activations while it runs.
        inputs: What it takes; ``outputs`` what it gives. Empty for files without a graph.
        operators: How many nodes of each operator, the most frequent first.
        tensors: Its constants in the file's order.
        activations: Its quantizers of activations.
        unused_bytes: Storage of constants that nothing reads, such as float weights that PT2E leaves behind.
    """

    scheme: Scheme
    dynamic: bool
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    operators: dict[str, int]
    tensors: tuple[TensorPortrait, ...]
    activations: tuple[ActivationPortrait, ...] = ()
    unused_bytes: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)


def portray(model: StaticModel) -> Portrait:
    """Describes a model that was read.

    Raises:
        FormatError: Its graph cannot be followed.
    """
    views = {"onnx": float_view, "tflite": flat_view}
    view = views.get(model.format, tensor_view)(model)
    roles = _roles(model, view)
    known = {value.name: value for graph in view.graphs() for value in graph.constants.values()}
    tensors = tuple(_tensor(each, known.get(each.name), roles) for each in model.graph.all_constants())
    unused = sum(each.bytes for each in tensors if each.role == "unused")
    counts = Counter(node.op for node in model.graph.all_nodes())
    return Portrait(
        scheme=detect_scheme(view),
        dynamic=view.dynamic,
        inputs=model.graph.inputs,
        outputs=model.graph.outputs,
        operators=dict(counts.most_common()),
        tensors=tensors,
        activations=tuple(_activation(q) for held in view.quantizers.values() for q in held),
        unused_bytes=unused,
        producer=model.producer,
        opsets=dict(model.opsets),
    )


def _roles(model: StaticModel, view: FloatGraph) -> dict[str, str]:
    held = {constant.name: constant for constant in model.graph.all_constants()}
    roles: dict[str, str] = {}
    if model.graph.nodes:
        read = {name for node in model.graph.all_nodes() for name in node.inputs}
        read |= {tensor.name for tensor in model.graph.outputs}
        for graph in model.graph.subgraphs():
            read |= {tensor.name for tensor in graph.outputs}
        # A program's nodes read a constant by another name than the one that it is stored under.
        graphs = (model.graph, *model.graph.subgraphs())
        roles = {
            c.name: "unused" for graph in graphs for key, c in graph.constants.items() if key not in read
        }
    own = set(parameters(held))
    for quantized in (v.quantized for g in view.graphs() for v in g.constants.values() if v.quantized):
        own |= {quantized.scale_name, quantized.zero_name}
    for quantizers in view.quantizers.values():
        own |= {name for q in quantizers for name in (q.scale_name, q.zero_name)}
    # Ranges of a LiteRT model's activations belong to tensors, so that no operation reads them.
    aside = model.format == "tflite"
    roles.update((name, "parameter") for name in own if name in held and (aside or name not in roles))
    # A weight that is computed from codes is read through them: the codes' own name is in the file.
    roles.update((value.name, "weight") for _, _, value in weights(view) if roles.get(value.name) != "unused")
    return roles


def _tensor(constant: Constant, value: ConstantValue | None, roles: dict[str, str]) -> TensorPortrait:
    quantized = value.quantized if value is not None else None
    stands = value.values() if value is not None and quantized is not None else constant.load()
    low, high, nonfinite = _range(stands)
    return TensorPortrait(
        name=constant.name,
        dtype=constant.dtype,
        shape=constant.shape,
        bytes=constant.bytes,
        role=roles.get(constant.name, "constant"),
        low=low,
        high=high,
        nonfinite=nonfinite,
        affine=None if quantized is None else _affine(quantized, quantized.axis, quantized.block),
    )


def _range(values: Array) -> tuple[float | None, float | None, int]:
    flat = values.reshape(-1)
    if flat.dtype.kind in "iub":
        return (float(flat.min()), float(flat.max()), 0) if flat.size else (None, None, 0)
    floats = flat if flat.dtype.kind == "f" else numbers(flat)
    if flat.dtype.kind not in "fV":
        return None, None, 0
    finite = np.isfinite(floats)
    broken = int(floats.size - np.count_nonzero(finite))
    kept = floats[finite] if broken else floats
    return (float(kept.min()), float(kept.max()), broken) if kept.size else (None, None, broken)


def _affine(quantized: Quantized | Quantizer, axis: int | None, block: int = 0) -> Affine:
    scale = numbers(quantized.scale).reshape(-1)
    zero = np.zeros(1) if quantized.zero_point is None else numbers(quantized.zero_point).reshape(-1)
    nothing = np.full(1, np.nan)
    scale, zero = (scale if scale.size else nothing), (zero if zero.size else nothing)
    several = scale.size > 1
    return Affine(
        int(scale.size), float(scale.min()), float(scale.max()), float(zero.min()), float(zero.max()),
        axis if several else None, block if several else 0,
    )  # fmt: skip


def _activation(quantizer: Quantizer) -> ActivationPortrait:
    low, high = quantizer.bounds()
    return ActivationPortrait(
        quantizer.source, quantizer.dtype, low, high, _affine(quantizer, quantizer.axis)
    )
