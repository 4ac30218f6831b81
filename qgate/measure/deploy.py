"""What the runtimes that a target declares would do with the candidate, told without running it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from qgate.formats.model import StaticModel
from qgate.quant.deploy.fact import Fact
from qgate.quant.deploy.openvino import lint as openvino_lint
from qgate.quant.deploy.saturation import saturating_layers
from qgate.quant.deploy.tensorrt import lint as tensorrt_lint
from qgate.quant.floatgraph import FloatGraph
from qgate.records import Measurement, Place
from qgate.runtimes.registry import RUNTIMES

MOST_NODES = 32
"""Nodes that a measurement names."""

LINTS = {"tensorrt": tensorrt_lint, "openvino": openvino_lint}


def measure_deployment(
    candidate: StaticModel, view: FloatGraph | None, runtimes: Collection[str]
) -> Iterator[Measurement]:
    """``deploy.*``: a lint for each declared runtime that has one, and saturation on AVX2.

    Args:
        candidate: The candidate.
        view: Its float view; None where it is not looked at, so that nothing can be said of saturation. Of files
            that are not ONNX nothing is said in any case: their runtimes multiply in ways of their own.
        runtimes: Where it must run, as the target declares it.
    """
    for runtime, lint in LINTS.items():
        if runtime not in runtimes:
            continue
        if candidate.format != "onnx":
            reason = f"a {candidate.format} file is not what {runtime} reads; only ONNX models are looked at"
            yield Measurement(name=f"deploy.{runtime}", not_measured=reason)
            continue
        facts = lint(candidate)
        nodes = sum(1 for _ in candidate.graph.all_nodes())
        yield Measurement(name=f"deploy.{runtime}", value=len(facts), unit="kinds", n=nodes)
        yield from (_fact(runtime, fact) for fact in facts)
    if "torch" in runtimes and candidate.format not in RUNTIMES["torch"].formats:
        reason = f"PyTorch does not run {candidate.format} files, but checkpoints, safetensors, programs and TorchScript"
        yield Measurement(name="deploy.torch", not_measured=reason)
    if view is None or candidate.format != "onnx":
        reason = f"only ONNX models are looked at, and this is a {candidate.format} file"
        if candidate.format == "onnx":
            reason = "its graph was not followed"
        yield Measurement(name="deploy.avx2", not_measured=reason)
    else:
        yield from _saturation(view)


def _fact(runtime: str, fact: Fact) -> Measurement:
    return Measurement(
        name=f"deploy.{runtime}.{fact.kind}", at=Place(node=fact.node, tensor=fact.tensor), value=fact.count, unit="nodes",
        detail={"message": fact.message, "refused": fact.refused, "nodes": list(fact.nodes[:MOST_NODES])},
    )  # fmt: skip


def _saturation(view: FloatGraph) -> Iterator[Measurement]:
    layers = list(saturating_layers(view))
    if layers:
        worst = max(layers, key=lambda each: each.pairs / each.of)
        yield Measurement(
            name="deploy.avx2.saturating", at=Place(node=worst.node, tensor=worst.tensor), value=len(layers), unit="layers",
            detail={"pairs": worst.pairs, "of": worst.of, "nodes": [each.node for each in layers[:MOST_NODES]]},
        )  # fmt: skip
