"""Whether an export computes what the PyTorch model computes: output by output, and layer by layer where it can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from qgate.export.layers import DEQUANTIZE, ExportedGraph, paired_layers
from qgate.formats.model import StaticModel
from qgate.measure.layers.layer import Layer
from qgate.measure.pair import measure_pair
from qgate.measure.plugin import Plugin
from qgate.measure.request import PairRequest
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

ROUNDING_DB = 3.5
"""By how much more the two may differ, where the bounds above are not kept, than the export and its own copy without rounding.
In deep models each code that falls otherwise moves further ones, until both are two roundings of one model that have nothing
in common: twice the noise, 3.01 dB. Of sixteen convolutions in a row, with random weights, the last kept 19.2 dB where
rounding leaves 18.7 dB."""

FLOOR_DB = 10.0
"""Least signal-to-noise ratio of outputs and layers that are excused so."""

_CARRIES = {"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"}


class Given(NamedTuple):
    """Inputs that somebody named: their private copy, and what messages call them."""

    path: Path
    label: str


@dataclass(frozen=True)
class OutputParity:
    """One output of both.

    Args:
        name: The export's name of it.
        steps: Largest difference in steps of the output's scale; NaN where no step is known.
        sqnr_db: Signal-to-noise ratio of the export against PyTorch.
        own_scale: The step is that of its own quantizer; else a 255th of the range that it had.
        reason: Why it was not measured; empty where it was.
        rounding_db: What rounding of activations leaves of it, as a signal-to-noise ratio; NaN where nobody asked.
    """

    name: str
    steps: float
    sqnr_db: float
    own_scale: bool
    reason: str = ""
    rounding_db: float = math.nan

    @property
    def holds(self) -> bool:
        """Whether the output is PyTorch's but for rounding."""
        if _is_rounding(self.sqnr_db, self.rounding_db):
            return True
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
        rounding: What rounding of activations leaves of each layer, likewise; empty where nobody asked.
    """

    outputs: tuple[OutputParity, ...]
    layers: Mapping[str, float] = field(default_factory=dict)
    unobserved: str = ""
    samples: int = 0
    rounding: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every output was measured and is PyTorch's but for rounding, and every layer that was compared."""
        return bool(self.outputs) and all(output.holds for output in self.outputs) and not self.worst_layer

    @property
    def worst_layer(self) -> str:
        """The first layer that differs by more than rounding; empty where there is none."""
        for name, db in self.layers.items():
            if not db >= LAYER_DB and not _is_rounding(db, self.rounding.get(name, math.nan)):
                return name
        return ""

    def beside(self, rounding: Parity) -> Parity:
        """The same with what rounding costs, from the parity of the export and its copy without."""
        costs = {each.name: each.sqnr_db for each in rounding.outputs}
        outputs = tuple(replace(each, rounding_db=costs.get(each.name, math.nan)) for each in self.outputs)
        return replace(self, outputs=outputs, rounding=rounding.layers)


def _is_rounding(db: float, rounding_db: float) -> bool:
    """Whether two models differ by no more than two roundings of one model do."""
    return db >= FLOOR_DB and db >= rounding_db - ROUNDING_DB


def measure_parity(
    model: StaticModel,
    exported: StaticModel,
    *,
    code: Mapping[str, Plugin],
    torchao: bool,
    inputs: Given | None,
    limits: Limits,
    layers: tuple[Layer, ...] | None = None,
) -> Parity:
    """Runs both on the same inputs, in the sandbox.

    Args:
        model: The PyTorch model's private copy, or another export.
        exported: The export.
        code: ``factory.candidate`` of the model.
        torchao: The model is torchao's.
        inputs: Inputs; seeded ones without.
        limits: What the run may use.
        layers: Where layers are read, where ``paired_layers`` would not find them.

    Raises:
        MeasureError: A model is refused by its runtime.
        DataError: The inputs do not fit.
    """
    steps = _steps(exported)
    request = PairRequest(
        candidate=exported.path,
        reference=model.path,
        inputs=None if inputs is None else inputs.path,
        inputs_label="" if inputs is None else inputs.label,
        scheme="none",
        layers=paired_layers(model, exported) if layers is None else layers,
        forms={} if model.format == "onnx" else {"reference": model.format},
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
    by_layer: dict[str, float] = {}
    widths: dict[str, float] = {}
    unobserved = "" if request.layers else "the export's names are not the model's"
    for each in found.measurements:
        if each.name == "layer.sqnr_db" and each.at.tensor and each.value is not None:
            by_layer[each.at.node or each.at.tensor] = each.number
            low, high = each.detail["reference_range"]
            widths[each.at.tensor] = high - low
        elif each.name == "layer.nonfinite":
            by_layer[each.at.node or str(each.at.tensor)] = math.nan
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
    return Parity(tuple(outputs), by_layer, unobserved, found.data.samples)


def _steps(exported: StaticModel) -> dict[str, float]:
    """Step of the DequantizeLinear that each output comes from, through what only carries it."""
    graph = ExportedGraph(exported)
    found = {}
    for tensor in exported.graph.outputs:
        node = graph.made.get(tensor.name)
        while node is not None and node.op in _CARRIES:
            node = graph.made.get(node.inputs[0])
        if node is None or node.op != DEQUANTIZE:
            continue
        scale = graph.value(node.inputs[1])
        if scale is not None and scale.size and math.isfinite(scale.max()) and scale.max() > 0:
            found[tensor.name] = float(scale.max())
    return found
