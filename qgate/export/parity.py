"""Whether an export computes what the PyTorch model computes: output by output, and layer by layer where it can."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from qgate.formats.model import Constant, Node, StaticModel
from qgate.measure.layers.layer import VALUES, Layer
from qgate.measure.pair import measure_pair
from qgate.measure.plugin import Plugin
from qgate.measure.request import PairRequest
from qgate.quant.constants import Array, numbers
from qgate.quant.tensorview import canonical_name
from qgate.sandbox.limits import Limits

CODES = 255
"""Steps of eight bits, in which an output without a quantizer of its own is measured over the range that it has."""

MAX_STEPS = 3.0
"""Both round at the same places, and ties to neighbouring codes. One step was seen of shallow models and two of eight
convolutions in a row; one channel's weight scale times 1.3 in the first of those makes five."""

_ROUNDING = 0.01
"""By how much a whole number of steps is off in float32."""

MIN_DB = 30.0
"""Least signal-to-noise ratio of outputs: two implementations of one int8 model agree to 35 dB and more."""

LAYER_DB = 25.0
"""Least signal-to-noise ratio of layers: rounding that falls otherwise adds up to 30.1 dB in eight convolutions in a row, and
one channel's weight scale times 1.3 makes 20.7 dB in its own layer."""

ALONE_DB = 40.0
"""Least signal-to-noise ratio of an output whose step is not known."""

_CARRIES = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True)
class OutputParity:
    """One output of both.

    Args:
        name: The export's name of it.
        steps: Largest difference in steps of the output's scale; NaN where no step is known.
        sqnr_db: Signal-to-noise ratio of the export against PyTorch.
        own_scale: The step is that of its own quantizer; else a 255th of the range that it had.
        reason: Why it was not measured; empty where it was.
    """

    name: str
    steps: float
    sqnr_db: float
    own_scale: bool
    reason: str = ""

    @property
    def holds(self) -> bool:
        """Whether the output is PyTorch's but for rounding."""
        if math.isnan(self.steps):
            return self.sqnr_db >= ALONE_DB
        return self.steps <= MAX_STEPS + _ROUNDING and self.sqnr_db >= MIN_DB


@dataclass(frozen=True)
class Parity:
    """An export against its model.

    Args:
        outputs: Each output.
        layers: Signal-to-noise ratio of each layer that both name alike, in dB, in order.
        unobserved: Why no layer was compared; empty where some were.
        samples: On how many inputs.
    """

    outputs: tuple[OutputParity, ...]
    layers: Mapping[str, float] = field(default_factory=dict)
    unobserved: str = ""
    samples: int = 0

    @property
    def holds(self) -> bool:
        """Whether every output was measured and is PyTorch's but for rounding, and every layer that was compared."""
        return bool(self.outputs) and all(output.holds for output in self.outputs) and not self.worst_layer

    @property
    def worst_layer(self) -> str:
        """The first layer below ``LAYER_DB``; empty where there is none."""
        return next((name for name, db in self.layers.items() if not db >= LAYER_DB), "")


def measure_parity(
    model: StaticModel,
    exported: StaticModel,
    *,
    code: Mapping[str, Plugin],
    torchao: bool,
    inputs: Path | None,
    limits: Limits,
) -> Parity:
    """Runs both on the same inputs, in the sandbox.

    Args:
        model: The PyTorch model's private copy.
        exported: The export.
        code: ``factory.candidate`` of the model.
        torchao: The model is torchao's.
        inputs: Inputs; seeded ones without.
        limits: What the run may use.

    Raises:
        MeasureError: A model is refused by its runtime.
        DataError: The inputs do not fit.
    """
    steps = _steps(exported)
    request = PairRequest(
        candidate=exported.path,
        reference=model.path,
        inputs=inputs,
        scheme="none",
        layers=_layers(model, exported),
        forms={"reference": model.format},
        torchao=torchao,
        code={role.replace("candidate", "reference"): plugin for role, plugin in code.items()},
        limits=limits,
        edges=False,
        reference_label="the PyTorch model",
        candidate_label="the export",
    )
    found = measure_pair(request)
    outputs = []
    figures: dict[tuple[str, str], float] = {}
    reasons: dict[str, str] = {}
    layers: dict[str, float] = {}
    widths: dict[str, float] = {}
    unobserved = "" if request.layers else "the export's names are not the model's"
    for each in found.measurements:
        if each.name == "layer.sqnr_db" and each.at.tensor and each.value is not None:
            layers[each.at.tensor] = each.number
            low, high = each.detail["reference_range"]
            widths[each.at.tensor] = high - low
        elif each.name == "layer.count" and each.not_measured:
            unobserved = each.not_measured
        elif each.name.startswith("output.") and each.at.output:
            figures[each.at.output, each.name] = each.number
            if each.not_measured:
                reasons.setdefault(each.at.output, each.not_measured)
    for tensor in exported.graph.outputs:
        worst = figures.get((tensor.name, "output.max_abs"), math.nan)
        step = steps.get(tensor.name) or widths.get(tensor.name, 0.0) / CODES
        outputs.append(
            OutputParity(
                name=tensor.name,
                steps=worst / step if step > 0 else math.nan,
                sqnr_db=figures.get((tensor.name, "output.sqnr_db"), math.nan),
                own_scale=tensor.name in steps,
                reason=reasons.get(tensor.name, ""),
            )
        )
    return Parity(tuple(outputs), layers, unobserved, found.data.samples)


def _steps(exported: StaticModel) -> dict[str, float]:
    """Step of the DequantizeLinear that each output comes from, through what only carries it."""
    made = {output: node for node in exported.graph.nodes for output in node.outputs}
    found = {}
    for tensor in exported.graph.outputs:
        node = made.get(tensor.name)
        while node is not None and node.op in _CARRIES:
            node = made.get(node.inputs[0])
        if node is None or node.op != "DequantizeLinear":
            continue
        scale = _value(exported, made, node.inputs[1])
        if scale is not None and scale.size and math.isfinite(scale.max()) and scale.max() > 0:
            found[tensor.name] = float(scale.max())
    return found


def _value(model: StaticModel, made: Mapping[str, Node], name: str) -> Array | None:
    """A constant's values, whether it is an initializer or the legacy exporter's Constant node."""
    held = model.graph.constants.get(name)
    node = made.get(name)
    if held is None and node is not None and node.op == "Constant":
        held = node.attribute("value")
    return numbers(np.asarray(held.load())) if isinstance(held, Constant) else None


def _layers(model: StaticModel, exported: StaticModel) -> tuple[Layer, ...]:
    """What both name alike: a program's operations by the dynamo exporter, modules by the legacy one's scopes."""
    if model.format == "torch-export":
        return tuple(_operations(model, exported))
    return tuple(_modules(model, exported))


def _operations(model: StaticModel, exported: StaticModel) -> Iterator[Layer]:
    known = {output for node in model.graph.nodes for output in node.outputs}
    ends = {tensor.name for tensor in exported.graph.outputs}
    for node in exported.graph.nodes:
        output = next(iter(node.outputs), "")
        if output in known and (node.op in _LAYERS or output in ends):
            yield Layer(output, output, VALUES, node.label, node.op, sampled=True)


def _modules(model: StaticModel, exported: StaticModel) -> Iterator[Layer]:
    """A module that holds a weight is named in the scope of its nodes; the last that computes makes its output."""
    root = model.root
    for tensor in model.graph.constants:
        path, _, last = canonical_name(tensor, root).rpartition(".")
        if last != "weight" or not path:
            continue
        inside = [
            node
            for node in exported.graph.nodes
            if node.op in (*_LAYERS, "Relu") and f"{_module_of(node.name)}.".startswith(f"{path}.")
        ]
        if inside:
            yield Layer(path, inside[-1].outputs[0], VALUES, inside[-1].label, inside[-1].op, sampled=True)


def _module_of(name: str) -> str:
    """The module that a node's scope tells of: ``/block/block.0/conv/Conv`` is in ``block.0.conv``.

    A container that is not called itself leaves its name to its members, and one that is repeats it.
    """
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        if parts and part.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(part)
    return ".".join(parts)
