"""Runs one pair of models in the sandbox and returns measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import NoReturn

from qgate.errors import DataError, MeasureError
from qgate.measure.belief import Known, require_belief
from qgate.measure.describe_activations import activation_measurements
from qgate.measure.describe_edges import edge_measurements
from qgate.measure.describe_outputs import output_measurements
from qgate.measure.describe_task import task_measurements
from qgate.measure.describe_unoptimised import unoptimised_measurements
from qgate.measure.layers.describe import layer_measurements
from qgate.measure.open_data import required_library
from qgate.measure.request import BOXES, DEFAULT_SAMPLES, TEXTS, UNLABELLED, PairRequest, Tap
from qgate.measure.result import Failure, PairState, parse_answer
from qgate.records import DataUsed, Measurement, Outcomes
from qgate.sandbox.ending import out_of_memory
from qgate.sandbox.engaged import Engaged
from qgate.sandbox.launch import Child, run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.quoting import one_line
from qgate.sandbox.staging import unreadable_part

__all__ = [
    "DEFAULT_SAMPLES",
    "Known",
    "Limits",
    "PairRequest",
    "PairResult",
    "Progress",
    "Tap",
    "measure_pair",
]

Progress = Callable[[int, int], None]
"""Called with the samples done and the samples in all."""


@dataclass(frozen=True)
class PairResult:
    """What running a pair showed.

    Args:
        measurements: In a fixed order; the same request gives the same values bit for bit.
        data: The inputs that were used.
        problems: Kind and one-line message of what the reader must know: ``data``, ``interface``,
            ``batch``, ``taps``, ``nondeterministic``, ``runtime``, ``task``.
        timings: Seconds by step; not deterministic.
        engaged: How the process was confined that ran them.
        outcomes: Of each sample, where the task has right and wrong and the pair answers the same way twice.
    """

    measurements: tuple[Measurement, ...]
    data: DataUsed
    problems: tuple[tuple[str, str], ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    engaged: Engaged | None = None
    outcomes: Outcomes | None = None


def measure_pair(
    request: PairRequest,
    progress: Progress | None = None,
    child: Child | None = None,
    known: Known | None = None,
) -> PairResult:
    """Runs the pair in a sandboxed child and turns what it returns into measurements.

    Args:
        request: What to run on which inputs.
        progress: Told how many samples are done.
        child: One that waits for the request; see ``sandbox.launch.waiting_child``.
        known: What the models' files say about the answer.

    Raises:
        DataError: The inputs do not fit the model, or none could be generated.
        SandboxError: The child could not be confined as the limits ask; nothing was run.
        MeasureError: A model was refused, or the child crashed or ran out of time or memory.
    """
    _check(request)
    where = request.label("candidate")
    outcome = run_child(request.to_json(), request.limits, where=where, progress=progress, child=child)
    answer = parse_answer(outcome.payload, where)
    if answer.error is not None:
        _raise(request, answer.error)
    if answer.result is None:
        raise AssertionError("an answer is a result or an error")
    require_belief(request, answer.result, known, where)
    return replace(_assemble(request, answer.result, known), engaged=outcome.engaged)


def _check(request: PairRequest) -> None:
    """What can be said before a process is started."""
    if request.inputs is None and (request.labels or request.slices):
        raise DataError(
            "labels or slices are named without inputs",
            where=request.label("candidate"),
            remedy="Give the .npz that holds them with --inputs",
        )
    for library, metrics in (("rapidfuzz", TEXTS), ("pycocotools", BOXES)):
        if request.task in metrics and find_spec(library) is None:
            raise DataError(
                f"the task {request.task} needs {library}, which is not installed",
                where=request.label("candidate"),
                remedy="Install qgate with its tasks: pip install 'qgate[tasks]'",
            )
    lacking = None if request.inputs is None else required_library(request.inputs, request.images)
    if lacking is not None:
        raise DataError(
            f"the data need {lacking[0]}, which is not installed",
            where=request.label("inputs"),
            remedy=f"Install qgate with its readers of data: pip install 'qgate[{lacking[1]}]'",
        )
    for role, path in (
        ("reference", request.reference),
        ("candidate", request.candidate),
        ("inputs", request.inputs),
        *(("candidate", side) for side in (*request.side_files, request.joined)),
    ):
        if path is None:
            continue
        kind = DataError if role == "inputs" else MeasureError
        if not path.exists():
            raise kind(
                f"the file of the {role} is missing", where=request.label(role), remedy="Check the path"
            )
        blocked = unreadable_part(path)
        if blocked is not None:
            raise kind(
                "the unprivileged user that models run as cannot read it",
                where=f"{request.label(role)} ({blocked})",
                remedy="Give the file mode 0644 and its directories 0755, or stage a copy elsewhere",
            )


def _raise(request: PairRequest, failure: Failure) -> NoReturn:
    role = failure.role or "candidate"
    where = request.label(role)
    if failure.kind == "memory":
        raise out_of_memory(request.limits, where)
    what, remedy = one_line(failure.what, 600), one_line(failure.remedy, 600)
    if failure.kind == "data":
        raise DataError(what, where=one_line(failure.where, 500) or request.label("inputs"), remedy=remedy)
    if failure.kind == "code":
        raise MeasureError(what, where=one_line(failure.where, 500), remedy=remedy)
    if request.forms.get(role) == "tflite":
        raise MeasureError(
            f"LiteRT refuses the {role}: {what}",
            where=where,
            remedy="Convert the model again, and open it with ai_edge_litert.interpreter.Interpreter to see the cause",
        )
    if request.forms.get(role) == "executorch":
        raise MeasureError(
            f"ExecuTorch refuses the {role}: {what}",
            where=where,
            remedy="Lower the model again, and open it with executorch.runtime.Runtime to see the cause",
        )
    if role in request.forms:
        raise MeasureError(
            f"PyTorch refuses the {role}: {what}",
            where=where,
            remedy=_other_factory(request, what)
            or "Load and run it as its factory does, outside of qgate, to see the cause",
        )
    raise MeasureError(
        f"ONNX Runtime refuses the {role}: {what}",
        where=where,
        remedy="Export the model again, and open it with onnxruntime.InferenceSession to see the cause",
    )


def _other_factory(request: PairRequest, what: str) -> str:
    """What to do where one factory builds both sides' modules, and cannot: eager mode's are of other classes."""
    labels = {
        request.code[key].label for key in ("factory.candidate", "factory.reference") if key in request.code
    }
    if "do not fit the factory's module" not in what or len(labels) != 1:
        return ""
    return (
        "One factory builds both modules here: give each model its own (--reference-factory and --candidate-factory, or "
        "`factory` with `reference` and `candidate` in the policy)"
    )


def _assemble(request: PairRequest, state: PairState, known: Known | None = None) -> PairResult:
    problems = tuple((one_line(kind, 40), one_line(message)) for kind, message in state.problems)
    deterministic = not any(kind == "nondeterministic" for kind, _ in problems)
    found: list[Measurement] = [
        *output_measurements(state, known.steps if known is not None else {}, dynamic=request.dynamic),
        *activation_measurements(state, request.taps),
        *(layer_measurements(request.layers, state.layers, state.unobserved) if request.layers else ()),
        *task_measurements(state, request.slices, _has_task(request)),
        *unoptimised_measurements(request, state),
        *edge_measurements(state),
    ]
    data = DataUsed(
        origin="generated" if state.generated else "given",
        locator=None if request.inputs is None else request.label("inputs"),
        samples=state.samples,
        seed=request.seed if state.generated else None,
        labels=request.labels,
    )
    measurements = found if deterministic else list(_marked(found))
    timings = {str(k): v for k, v in state.timings.items()}
    outcomes = state.task.outcomes if state.task is not None and deterministic else None
    return PairResult(tuple(measurements), data, problems, timings, outcomes=outcomes)


def _has_task(request: PairRequest) -> bool:
    return request.task != "none" and (request.labels is not None or request.task in UNLABELLED)


def _marked(measurements: Iterable[Measurement]) -> Iterable[Measurement]:
    """The measurements of a pair that does not answer the same way twice."""
    return (each.model_copy(update={"deterministic": False}) for each in measurements)
