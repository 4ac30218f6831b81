"""The steps that measure: looking at both models, then running them in the sandbox."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import DataError, FormatError, MeasureError, SandboxError
from qgate.records import Finding, Measurement, Sandbox, Severity
from qgate.verify.pair import Pair, Progress
from qgate.verify.state import State, error_finding, timed

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel
    from qgate.measure.inspection import Inspection
    from qgate.measure.pair import Known
    from qgate.measure.plugin import Plugin
    from qgate.measure.request import PairRequest
    from qgate.sandbox.engaged import Engaged
    from qgate.sandbox.launch import Child
    from qgate.sandbox.limits import Limits

JOINED = "joined.onnx"
"""Both models as one graph, in the folder that holds both."""


def inspect(
    pair: Pair, state: State, candidate: StaticModel, reference: StaticModel | None
) -> Inspection | None:
    """Looks at both models without running them; None where one cannot be followed."""
    from qgate.measure.executable import why_not_run
    from qgate.measure.interface import Interface
    from qgate.measure.static import inspect_pair

    started = time.perf_counter()
    try:
        inspection = inspect_pair(
            reference,
            candidate,
            pair.interface or Interface(),
            allowed_operators=pair.allowed_operators,
            limits=pair.limits,
            runtimes=pair.runtimes,
            not_run=why_not_run(_formats(candidate, reference), pair.code, pair.trust),
        )
    except FormatError as error:
        state.findings.append(error_finding(error, error.rule))
        return None
    finally:
        timed(state, "inspect", started)
    state.scheme = inspection.scheme.name
    state.measurements += inspection.measurements
    return inspection


def _formats(candidate: StaticModel, reference: StaticModel | None) -> dict[str, str]:
    """Format by side."""
    return {"candidate": candidate.format, **({} if reference is None else {"reference": reference.format})}


def _is_torchao(model: StaticModel) -> bool:
    """Whether its tensors are of torchao's classes, or its operations of torchao's."""
    own = ("torch.ops.torchao.", "torch.ops.pt2e_quant.", "torch.ops.quant.")
    return "qgate.torchao" in model.metadata or any(node.op.startswith(own) for node in model.graph.nodes)


def run(
    pair: Pair,
    state: State,
    inspection: Inspection,
    models: tuple[StaticModel, StaticModel | None],
    data: Path | bool | None,
    progress: Progress | None,
    child: Child | None,
    code: Mapping[str, Plugin],
) -> None:
    """Runs both models in the sandbox and keeps what was measured; without a finding of its own where
    the inspection says that they must not be run."""
    from qgate.measure.pair import measure_pair

    if not inspection.runnable:
        return
    request, known = pair_request(pair, inspection, models, data, code)
    started = time.perf_counter()
    try:
        require_runtimes(request, pair.candidate_locator)
        result = measure_pair(request, progress, child, believed(request, known))
    except SandboxError as error:
        state.findings.append(error_finding(error, "ART116"))
        return
    except MeasureError as error:
        state.findings.append(error_finding(error, "ART112"))
        return
    except DataError as error:
        state.findings.append(error_finding(error, "ART113"))
        return
    finally:
        timed(state, "run", started)
    state.ran = True
    state.sandbox = _sandbox(result.engaged, request.limits)
    state.measurements += result.measurements
    state.outcomes = result.outcomes
    if pair.cost == "full":
        state.measurements += _costs(request, state)
    state.data = result.data.model_copy(
        update={"locator": state.data.locator, "sha256": state.data.sha256 or result.data.sha256}
    )
    state.timings.update({f"run.{step}": seconds for step, seconds in result.timings.items()})
    depends = [m for k, m in result.problems if k == "batch" and "the candidate" in m]
    if (
        depends
        and not inspection.dynamic
        and not any("the reference" in m for k, m in result.problems if k == "batch")
    ):
        state.measurements.append(
            Measurement(name="output.batch_dependence", value=True, detail={"message": depends[0]})
        )
    for kind, message in result.problems:
        state.findings.append(
            Finding(rule="ART113", severity=Severity.NOTE, message=message, evidence={"kind": kind})
        )


def require_runtimes(request: PairRequest, where: str) -> None:
    """Says that a library is missing before a child is started without it.

    Raises:
        MeasureError: It is missing.
    """
    from qgate.runtimes.required import require

    forms = set(request.forms.values())
    for package, needed in (
        ("ai_edge_litert", "tflite" in forms),
        ("torch", bool(forms - {"tflite"})),
        ("executorch", "executorch" in forms),
        ("torchao", request.torchao),
    ):
        if needed:
            require(package, where)


def believed(request: PairRequest, known: Known) -> Known | None:
    """What an answer is held against; PyTorch's files name neither inputs nor outputs."""
    return None if set(request.forms.values()) - {"tflite"} else known


def _costs(request: PairRequest, state: State) -> tuple[Measurement, ...]:
    """What running both models costs."""
    from qgate.measure.cost_runs import measure_costs

    started = time.perf_counter()
    found = measure_costs(request)
    timed(state, "cost", started)
    return found


def pair_request(
    pair: Pair,
    inspection: Inspection,
    models: tuple[StaticModel, StaticModel | None],
    data: Path | bool | None,
    code: Mapping[str, Plugin],
) -> tuple[PairRequest, Known]:
    """What is asked of the child for a pair, and what its answer can be at all.

    Args:
        pair: The pair.
        inspection: What looking at it showed.
        models: Candidate and reference.
        data: The copy of the inputs; anything but a path generates them.
        code: Copies of the code that the pair names, by role.
    """
    from qgate.measure.pair import Known
    from qgate.measure.request import DEFAULT_SAMPLES, PairRequest
    from qgate.sandbox.limits import Limits

    candidate, reference = models
    interface = pair.interface
    request = PairRequest(
        candidate=candidate.path,
        reference=reference.path if reference is not None else None,
        inputs=data if isinstance(data, Path) else None,
        labels=pair.labels,
        slices=pair.slices,
        task=pair.task,
        task_output=pair.task_output,
        task_options=dict(pair.task_options),
        images=pair.images,
        io_map={**_by_position(candidate, reference), **(interface.map if interface else {})},
        io_optional=interface.optional if interface else (),
        io_types={**_halved(candidate, reference), **(interface.types if interface else {})},
        scheme=inspection.scheme.name,
        dynamic=inspection.dynamic,
        taps=inspection.taps,
        layers=inspection.layers,
        seed=pair.seed,
        samples=pair.samples or DEFAULT_SAMPLES,
        limits=pair.limits or Limits(),
        reference_label=pair.reference_locator or "",
        candidate_label=pair.candidate_locator,
        inputs_label=pair.data_locator or "",
        forms={side: form for side, form in _formats(candidate, reference).items() if form != "onnx"},
        states={
            side: model.state
            for side, model in (("candidate", candidate), ("reference", reference))
            if model is not None and model.state
        },
        code=dict(code),
        torchao=any(_is_torchao(model) for model in models if model is not None),
        side_files=tuple(
            model.path.parent / name for model in models if model is not None for name in model.side_files
        ),
    )
    leading = reference or candidate
    request = replace(request, fronts=_fronts(request, candidate))
    request = _observed(request, reference, candidate)
    known = Known(
        inputs=tuple(each.name for each in leading.graph.inputs),
        outputs=tuple(each.name for each in leading.graph.outputs),
        candidate_outputs=tuple(each.name for each in candidate.graph.outputs),
        steps=_steps(request, inspection, leading),
    )
    return request, known


def _steps(request: PairRequest, inspection: Inspection, leading: StaticModel) -> dict[str, float]:
    """Steps of the candidate's outputs by the leading model's names of them."""
    names = {each.name: request.io_map.get(each.name, each.name) for each in leading.graph.outputs}
    return {ours: inspection.steps[theirs] for ours, theirs in names.items() if theirs in inspection.steps}


def _fronts(request: PairRequest, candidate: StaticModel) -> dict[str, str]:
    """The tensor in front of the QuantizeLinear that makes each layer's codes, where an operation makes it."""
    made = {name for node in candidate.graph.nodes for name in node.outputs}
    codes = {layer.candidate for layer in request.layers}
    return {
        node.outputs[0]: node.inputs[0]
        for node in candidate.graph.nodes
        if node.op == "QuantizeLinear" and node.outputs[0] in codes and node.inputs[0] in made
    }


def _observed(request: PairRequest, reference: StaticModel | None, candidate: StaticModel) -> PairRequest:
    """The request with both models in one file, so that their layers are compared at little cost; as it is where
    they cannot be one, and their layers are compared in two sessions."""
    from qgate.measure.layers.join import join, mark_for
    from qgate.measure.layers.parts import UnjoinableError

    if reference is None or not request.layers or request.forms:
        return request
    graph = candidate.graph
    names = [*(t.name for t in graph.inputs), *graph.constants]
    names += [name for node in graph.all_nodes() for name in (*node.inputs, *node.outputs)]
    target = Path(os.path.commonpath([reference.path.parent, candidate.path.parent])) / JOINED
    mark = mark_for(names)
    try:
        join(reference.path, candidate.path, request.layers, target, mark)
    except (UnjoinableError, OSError, ValueError):
        return request
    target.chmod(0o644)
    return replace(request, joined=target, mark=mark)


def _sandbox(engaged: Engaged | None, limits: Limits) -> Sandbox | None:
    """What was engaged, as the report tells it."""
    if engaged is None:
        return None
    return Sandbox(
        user=engaged.user,
        landlock=engaged.landlock,
        seccomp=engaged.seccomp,
        lacking=engaged.reasons(),
        memory_mb=limits.memory_mb,
        cpu_seconds=limits.cpu_seconds,
        wall_seconds=limits.wall_seconds,
        file_mb=limits.file_mb,
    )


def _by_position(candidate: StaticModel, reference: StaticModel | None) -> dict[str, str]:
    """Inputs and outputs of two LiteRT models, which their converter names anew each time: the reference's name to the
    candidate's."""
    if reference is None or not reference.format == candidate.format == "tflite":
        return {}
    ours, theirs = reference.graph, candidate.graph
    ends = [(ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)]
    named = [
        (a.name, b.name) for one, two in ends if len(one) == len(two) for a, b in zip(one, two, strict=True)
    ]
    return {a: b for a, b in named if a != b}


def _halved(candidate: StaticModel, reference: StaticModel | None) -> dict[str, str]:
    """Inputs that a converter to fp16 made half; a caller's data are cast, and the interface rule says so."""
    ours = {t.name: t.dtype for t in reference.graph.inputs} if reference is not None else {}
    return {
        t.name: "float16"
        for t in candidate.graph.inputs
        if t.dtype == "float16" and ours.get(t.name) == "float"
    }
