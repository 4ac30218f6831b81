"""What a run can have shown at all: the child's answer held against what the parent knows by itself.

A child that a hostile model has taken over can lie about the numbers. It cannot answer for other outputs than the
models have, for other samples than the data hold, leave out what was asked for, or tell of what was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qgate.errors import MeasureError
from qgate.measure.part import sample_numbers
from qgate.measure.request import BOXES, EDGES, NO_SUCH_OUTPUT, UNLABELLED, WHOLE_CLASSES, PairRequest
from qgate.measure.result import PairState
from qgate.measure.states import OutputState


@dataclass(frozen=True)
class Known:
    """What static reading says about a pair.

    Args:
        inputs: Names of the inputs of the model that leads: the reference, or a candidate that is alone.
        outputs: Names of its outputs, in order.
        candidate_outputs: Names of the candidate's outputs.
        steps: Step of the scale that the candidate gives an output, by the leading model's name of it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    candidate_outputs: tuple[str, ...]
    steps: Mapping[str, float] = field(default_factory=dict)


def require_belief(request: PairRequest, state: PairState, known: Known | None, where: str) -> None:
    """Refuses an answer that cannot be one to this request.

    Args:
        request: What was asked.
        state: What was answered.
        known: What the models' files say; without it only what the request says is held against the answer.
        where: What messages name as the place.

    Raises:
        MeasureError: The answer contradicts what is known.
    """
    for contradiction in _contradictions(request, state, known):
        raise MeasureError(
            f"the model run returned malformed data ({contradiction})",
            where=where,
            remedy="Treat the model as hostile: a model cannot do this by accident",
        )


def _contradictions(request: PairRequest, state: PairState, known: Known | None) -> Iterator[str]:
    if state.generated != (request.inputs is None) or state.alone != (request.reference is None):
        yield "it answers another request"
    elif state.samples not in _possible_samples(request, known):
        yield "it ran another number of samples than there are"
    if dict(state.loaded) != dict(request.states):
        yield "other tensors were loaded than were judged"
    if state.unfed and state.alone:
        yield "a model that is alone has no inputs but its own"
    if len(state.taps) != (0 if state.untapped or state.alone else len(request.taps)):
        yield "activations that nobody asked for, or none of those"
    if state.unobserved and not request.layers:
        yield "layers that nobody asked for"
    if len(state.layers) != (0 if state.unobserved else len(request.layers)):
        yield "layers that nobody asked for, or none of those"
    if state.unoptimised is not None and not request.layers:
        yield "a run without optimisations that nobody asked for"
    elif state.unoptimised is not None and not set(state.unoptimised.broken) <= set(request.fronts.values()):
        yield "tensors in front of quantizers that nobody asked for"
    if tuple(edge.kind for edge in state.edges) != _edges(request, state):
        yield "inputs at the edge that nobody asked for, or none of those"
    if not request.dynamic and any(output.batch is not None for output in state.outputs):
        yield "a batch's effect that nobody asked for"
    if known is not None:
        yield from _interface(request, state, known)
    for output in state.outputs:
        yield from _output(state, output)
        if output.boxes and not _may_be_boxes(request, output.name):
            yield "boxes that nobody asked for"
    yield from _task(request, state)


def _edges(request: PairRequest, state: PairState) -> tuple[str, ...]:
    return EDGES if request.edges and not state.alone and not state.unfed else ()


def _possible_samples(request: PairRequest, known: Known | None) -> set[int]:
    if request.inputs is None:
        return {request.samples}
    if request.part is not None:
        return {len(sample_numbers(request.part))}
    return _rows(request, request.inputs, None if known is None else frozenset(known.inputs))


def _rows(request: PairRequest, path: Path, names: frozenset[str] | None) -> set[int]:
    """Lengths of the arrays that feed the models, from their headers; of all arrays where names are unknown.

    Headers that take a library to be read are read by a process that is confined as well and loads no model.
    """
    from qgate.measure.arrow import is_columnar
    from qgate.measure.count_rows import count_rows
    from qgate.measure.open_data import open_data

    if is_columnar(path):
        return {count_rows(request)}
    with open_data(path, images=request.images) as file:
        chosen = [spec for name, spec in file.arrays.items() if names is None or name in names]
        return {spec.shape[0] for spec in chosen or file.arrays.values() if spec.shape}


def _interface(request: PairRequest, state: PairState, known: Known) -> Iterator[str]:
    if tuple(output.name for output in state.outputs) != known.outputs:
        yield "its outputs are not those of the model"
        return
    for output in state.outputs:
        theirs = output.name if state.alone else request.io_map.get(output.name, output.name)
        there = theirs in known.candidate_outputs and not state.unfed
        if there != (output.missing is None):
            yield "an output is missing that is there, or there that is missing"


def _may_be_boxes(request: PairRequest, name: str) -> bool:
    """Whether an output can be one whose rows are boxes: of those that are named, where any is."""
    if request.task not in BOXES or "task" in request.code:
        return False
    options = request.task_options
    named = {request.task_output, *(options.get(role) for role in ("boxes", "scores", "classes"))} - {None}
    return not named or name in named


def _output(state: PairState, output: OutputState) -> Iterator[str]:
    if output.missing is not None and output.missing not in {state.unfed, NO_SUCH_OUTPUT}:
        yield "an output is missing for a reason that there is not"
    errors = output.errors
    if errors is None:
        return
    seen = errors.samples + output.mismatched
    if seen > state.samples or (seen < state.samples and not output.unsupported):
        yield "an output was compared for some samples only"
    if errors.differing > errors.elements + errors.nonfinite_candidate + errors.nonfinite_reference:
        yield "more elements differ than there are"
    if (output.shapes is None) != (output.mismatched == 0):
        yield "shapes differ and do not"


def _task(request: PairRequest, state: PairState) -> Iterator[str]:
    task = state.task
    labelled = request.labels is not None or request.task in UNLABELLED
    wanted = request.inputs is not None and labelled and request.task != "none"
    if (task is not None) != wanted:
        yield "a task that nobody asked for, or none"
    if task is None:
        return
    if request.task is not None and task.kind != request.task:
        yield "another task than was asked for"
    if task.n + task.broken not in {0, state.samples}:
        yield "a task of some samples only"
    if not task.n + task.broken and all(output.missing is None for output in state.outputs):
        yield "a task without samples"
    if task.slices and request.slices is None:
        yield "slices that nobody asked for"
    if task.slices and sum(each.n for each in task.slices.values()) != task.n:
        yield "slices that do not make up the whole"
    if (
        task.classes
        and task.kind in WHOLE_CLASSES
        and sum(each.n for each in task.classes.values()) != task.n
    ):
        yield "classes that do not make up the whole"
