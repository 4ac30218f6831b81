"""What TensorRT takes: an export as it is, or the same model written in symmetric int8; and what the change costs.

The recipe is changed from what the quantized model records, its ranges and its weights. Quantizing the float model anew would
need that model and its calibration data, and would be another model than the one that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from qgate.errors import MeasureError
from qgate.export.layers import QUANTIZE, ExportedGraph, coded_layer
from qgate.export.parity import ALONE_DB, FLOOR_DB, Given, Parity
from qgate.formats.model import StaticModel
from qgate.judge import judge
from qgate.measure.deploy import measure_deployment
from qgate.measure.deployed.oracle import judge_file
from qgate.measure.deployed.request import RuntimeRequest
from qgate.measure.layers.layer import Layer
from qgate.measure.pair import measure_pair
from qgate.measure.request import PairRequest
from qgate.policy.thresholds import resolve
from qgate.records import Severity
from qgate.rules.catalogue import catalogue
from qgate.runtimes.registry import known
from qgate.sandbox.limits import Limits

MAX_COST_DB = 10.0
"""By how much more the changed model may differ from the quantized one than that differs from its unrounded self. A
symmetric step is at most 2.01 times as long, and both roundings add up to 3.01 times the amplitude at worst: 9.6 dB."""

LAYER_DB = 8.0
"""Least signal-to-noise ratio of a layer, as FEA301 has it for int8."""


@dataclass(frozen=True)
class Change:
    """A recipe that was changed.

    Args:
        parity: The changed model against the PyTorch model, with what rounding costs that one.
        calibrated: Its ranges are those that given inputs reach.
    """

    parity: Parity
    calibrated: bool

    @property
    def problem(self) -> str:
        """Why the change costs too much; empty where it does not."""
        for each in self.parity.outputs:
            least = max(FLOOR_DB, min(ALONE_DB, each.rounding_db - MAX_COST_DB))
            if each.reason or math.isnan(each.rounding_db):
                why = each.reason or "rounding could not be measured"
                return f"output {each.name!r} cannot be judged: {why}; give more inputs with --inputs"
            if not each.sqnr_db >= least:
                return (
                    f"output {each.name!r} keeps {each.sqnr_db:.1f} dB of the quantized model's, at least {least:.1f} dB "
                    "asked for"
                )
        for name, db in self.parity.layers.items():
            if not db >= LAYER_DB:
                return f"the layer {name!r} keeps {db:.1f} dB of the quantized model's, at least {LAYER_DB:g} dB asked for"
        return "" if self.parity.outputs else "it has no outputs"


def refused_by_tensorrt(model: StaticModel) -> tuple[str, ...]:
    """What the rules of ``runtimes: [tensorrt]`` call an error, one line each."""
    declared = {"runtimes": ["tensorrt"], "deploy": None}
    limits = resolve(None, None, "balanced", None, rules=catalogue())
    found = judge(
        tuple(measure_deployment(model, None, ("tensorrt",))), limits, scheme=None, declared=declared
    )
    return tuple(
        f"{each.message} ({each.rule})"
        for each in found
        if each.rule.startswith("DEP") and each.severity is Severity.ERROR
    )


def refused_by_parser(model: StaticModel, limits: Limits, where: str) -> tuple[str, str]:
    """What NVIDIA's own parser and builder say of a file.

    Args:
        model: The export.
        limits: What they may use.
        where: What messages call it.

    Returns:
        Why they refuse it, or empty; and who was asked, in words.

    Raises:
        MeasureError: They gave no verdict.
    """
    if not known("tensorrt").installed:
        return "", "by the rules; NVIDIA's parser was not asked: the extra `tensorrt` is not installed"
    asked = RuntimeRequest("judge", "tensorrt", model.path, shapes=dict(_shapes(model)))
    # The first of each name, of which refusals have several.
    told = {each.name: each for each in reversed([*judge_file(asked, limits, where)])}
    parsed, refused = told["tensorrt.parsed"], told.get("tensorrt.refused")
    version = str(parsed.detail.get("version", ""))
    if parsed.value is None:
        raise MeasureError(f"NVIDIA's parser gave no verdict: {parsed.not_measured}", where=where)
    if refused is not None:
        return f"NVIDIA's parser refuses {refused.at.node or 'it'}: {refused.detail['what']}", version
    built = told["tensorrt.built"]
    if built.value is None:
        return "", f"{version} parses it; no engine was built, for {built.not_measured}"
    if built.value is not True:
        return f"NVIDIA's builder refuses it: {'; '.join(built.detail['words'])}", version
    return "", f"{version} parses it and builds an engine"


def _shapes(model: StaticModel) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One sample for each input of which nothing else is free."""
    for tensor in model.graph.inputs:
        sizes = tensor.shape or ()
        if tensor.name in model.graph.constants or not all(isinstance(size, int) for size in sizes[1:]):
            continue
        yield tensor.name, tuple(size if isinstance(size, int) else 1 for size in sizes)


def reached_ranges(exported: StaticModel, inputs: Given, limits: Limits) -> dict[str, tuple[float, float]]:
    """Least and greatest number that each quantizer of an activation makes of some inputs, by the tensor of its codes.

    Args:
        exported: The export, which is run.
        inputs: The inputs.
        limits: What the run may use.

    Raises:
        MeasureError: It does not run, or its codes cannot be observed.
        DataError: The inputs do not fit.
    """
    layers = tuple(_quantizers(exported))
    if not layers:
        return {}
    request = PairRequest(
        candidate=exported.path, reference=exported.path, inputs=inputs.path, scheme="none", layers=layers, limits=limits,
        edges=False, reference_label="the export", candidate_label="the export", inputs_label=inputs.label,
    )  # fmt: skip
    found = {}
    for each in measure_pair(request).measurements:
        if each.name == "layer.count" and each.not_measured:
            raise MeasureError(f"its ranges cannot be observed: {each.not_measured}", where="the export")
        if each.name == "layer.sqnr_db" and each.at.tensor:
            low, high = each.detail["candidate_range"]
            if math.isfinite(low) and math.isfinite(high) and low < high:
                found[each.at.tensor] = (float(low), float(high))
    return found


def _quantizers(exported: StaticModel) -> Iterator[Layer]:
    graph = ExportedGraph(exported)
    for node in graph.nodes:
        if node.op == QUANTIZE and graph.value(node.inputs[0]) is None:
            # Nothing is compared: the codes stand on both sides, and their range is told.
            layer = coded_layer(graph, node.outputs[0], node)
            if layer is not None:
                yield layer
