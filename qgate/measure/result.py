"""The child's result as the parent believes it: every field typed, every number checked.

A child that a hostile model has taken over can still lie within these bounds; it cannot do more.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, ValidationError, model_validator

from qgate.errors import MeasureError
from qgate.measure.request import EDGES
from qgate.measure.states import Count, EdgeState, Energy, OutputState, Share, Text
from qgate.records import Number, Record

MAX_OUTPUTS = 1000
MAX_TAPS = 100_000
MAX_GROUPS = 10_000
MAX_PROBLEMS = 64

Kind = Literal["data", "interface", "batch", "taps", "nondeterministic", "runtime", "task"]
Step = Literal["load", "run", "run_reference", "run_candidate", "run_pair"]
Five = Annotated[tuple[Number, ...], Field(min_length=5, max_length=5)]


class TapState(Record):
    """``measure.activations.RangeUse`` as data."""

    elements: Count
    nonfinite: Count
    outside: Count
    energy: Energy
    clipped_energy: Energy
    minimum: Number
    maximum: Number

    @model_validator(mode="after")
    def _consistent(self) -> TapState:
        if self.outside > self.elements:
            raise ValueError("more elements outside than there are")
        return self


class LayerState(Record):
    """One layer of ``measure.layers.statistics.LayerRecord`` as data."""

    n: Energy
    aa: Energy
    bb: Energy
    dd: Energy
    ee: Energy
    outside: Energy
    d_max: Number
    d_min: Number
    a_max: Number
    a_min: Number
    a_broken: Count
    b_broken: Count
    batches: Count
    a_quantiles: Five
    b_quantiles: Five
    a_zero: Share
    b_zero: Share
    sampled: Count
    sample_energy: Energy
    rounding_energy: Energy

    @model_validator(mode="after")
    def _consistent(self) -> LayerState:
        if self.outside > self.n or self.a_broken + self.b_broken > self.batches:
            raise ValueError("more of a layer counted than there is")
        return self


class CountState(Record):
    """``stats.paired.PairedCounts`` as data."""

    n: Count
    reference: Count
    candidate: Count
    lost: Count
    gained: Count

    @model_validator(mode="after")
    def _consistent(self) -> CountState:
        both = self.reference - self.lost
        if both < 0 or both != self.candidate - self.gained or both + self.lost + self.gained > self.n:
            raise ValueError("counts of right and wrong contradict each other")
        return self


class MomentState(Record):
    """``stats.paired.PairedMoments`` as data."""

    n: Count
    r: Energy
    c: Energy
    rr: Energy
    cc: Energy
    rc: Energy


class TaskState(Record):
    """``measure.behaviour.TaskRecord`` as data."""

    kind: Literal["top1", "mae", "rmse"]
    total: CountState | MomentState
    classes: Annotated[dict[Text, CountState], Field(max_length=MAX_GROUPS)]
    slices: Annotated[dict[Text, CountState | MomentState], Field(max_length=MAX_GROUPS)]
    broken: Count

    @model_validator(mode="after")
    def _of_one_kind(self) -> TaskState:
        wanted = CountState if self.kind == "top1" else MomentState
        if not all(isinstance(each, wanted) for each in (self.total, *self.slices.values())):
            raise ValueError("records of another task")
        if any(each.n > self.total.n for each in (*self.classes.values(), *self.slices.values())):
            raise ValueError("a group is larger than the whole")
        return self


class PairState(Record):
    """Everything that a run showed."""

    samples: Annotated[int, Field(gt=0, le=2**40, strict=True)]
    generated: bool
    alone: bool
    unfed: Text
    untapped: Text
    outputs: Annotated[tuple[OutputState, ...], Field(max_length=MAX_OUTPUTS)]
    taps: Annotated[tuple[TapState, ...], Field(max_length=MAX_TAPS)]
    layers: Annotated[tuple[LayerState, ...], Field(max_length=MAX_TAPS)]
    unobserved: Text
    edges: Annotated[tuple[EdgeState, ...], Field(max_length=len(EDGES))]
    task: TaskState | None
    problems: Annotated[tuple[tuple[Kind, Text], ...], Field(max_length=MAX_PROBLEMS)]
    timings: dict[Step, Annotated[Number, Field(ge=0, le=1e9)]]

    @model_validator(mode="after")
    def _within_samples(self) -> PairState:
        for output in self.outputs:
            if output.errors is not None and output.errors.samples > self.samples:
                raise ValueError("an output has more samples than were run")
            if output.classes is not None and output.classes.n > self.samples:
                raise ValueError("class scores of more samples than were run")
        if any(edge.output >= len(self.outputs) for edge in self.edges):
            raise ValueError("an output that there is not")
        if self.task is not None and self.task.total.n + self.task.broken > self.samples:
            raise ValueError("a task of more samples than were run")
        return self


class Failure(Record):
    """Why there is no result, as the child understood it."""

    kind: Literal["refused", "memory", "data", "code"]
    role: Literal["reference", "candidate", ""] = ""
    what: Text = ""
    where: Text = ""
    remedy: Text = ""


class Answer(Record):
    """A result or a failure."""

    schema_: Literal["qgate-child/v1"] = Field(alias="schema")
    result: PairState | None = None
    error: Failure | None = None

    @model_validator(mode="after")
    def _one(self) -> Answer:
        if (self.result is None) == (self.error is None):
            raise ValueError("neither a result nor an error, or both")
        return self


def parse_answer(payload: bytes, where: str) -> Answer:
    """Validates what the child returned.

    Raises:
        MeasureError: It is not of the schema, or contradicts itself.
    """
    try:
        raw: Any = json.loads(payload, parse_constant=_refuse)
        return Answer.model_validate(raw)
    except (ValidationError, ValueError, RecursionError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = str(first["msg"])[:120] if first else type(error).__name__
        place = ".".join(str(part)[:40] for part in first["loc"][:6]) if first else "JSON"
        raise MeasureError(
            f"the model run returned malformed data ({place}: {reason})".replace("\n", " "),
            where=where,
            remedy="Treat the model as hostile: a model cannot do this by accident",
        ) from error


def _refuse(token: str) -> NoReturn:
    raise ValueError(f"bare {token} is not JSON")
