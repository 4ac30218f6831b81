"""The child's result as the parent believes it: every field typed, every number checked.

A child that a hostile model has taken over can still lie within these bounds; it cannot do more.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, ValidationError, model_validator

from qgate.errors import MeasureError
from qgate.measure.request import EDGES
from qgate.measure.states import Count, EdgeState, Energy, OutputState, Position, Share, Text
from qgate.records import Number, Outcomes, Record

MAX_OUTPUTS = 1000
MAX_TAPS = 100_000
MAX_GROUPS = 10_000
MAX_PROBLEMS = 64
MAX_FIGURES = 16
MAX_CONFUSIONS = 20
_SLACK = 1e-9
_LABELS: dict[str, str | tuple[str, ...]] = {
    "topk": "top",
    "recall_at_k": "recall_at_",
    "python": ("score", "error"),
}

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


class ChannelState(Record):
    """``measure.layers.channels.channel_state`` as data."""

    count: Count
    dead: Count
    saturated: Count
    first: Annotated[tuple[Count, ...], Field(max_length=8)]

    @model_validator(mode="after")
    def _consistent(self) -> ChannelState:
        if not self.saturated <= self.dead <= self.count or len(self.first) != min(8, self.dead):
            raise ValueError("more channels counted than there are")
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
    b_max: Number
    b_min: Number
    channels: ChannelState | None
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


class FigureState(Record):
    """``measure.tasks.base.Figure`` as data."""

    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    n: Count
    reference: Number
    candidate: Number
    drop: Number
    low: Number
    high: Number
    mde: Number
    p: Share
    p_min: Share
    lost: Count
    gained: Count
    counted: bool

    @model_validator(mode="after")
    def _consistent(self) -> FigureState:
        if self.lost + self.gained > self.n:
            raise ValueError("more samples changed than there are")
        if self.low > self.drop or self.high < self.drop:
            raise ValueError("a difference outside of its interval")
        between = self.reference - self.candidate
        if self.counted:
            share = (self.lost - self.gained) / max(self.n, 1)
            if not (0 <= self.reference <= 1 and 0 <= self.candidate <= 1):
                raise ValueError("a share of more than all")
            if abs(between - share) > _SLACK or abs(self.drop - share) > _SLACK:
                raise ValueError("counts of right and wrong contradict each other")
        # A relative slack: sums of large numbers round.
        size = _SLACK * (1 + abs(self.reference) + abs(self.candidate))
        if math.isfinite(size) and math.isfinite(self.drop) and abs(abs(between) - abs(self.drop)) > size:
            raise ValueError("a difference that is not that of its values")
        return self


BoxFormat = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
Scale = Literal["as_is", "shares", "pixels"]


class ReadingState(Record):
    """``measure.tasks.readings.BestReading`` as data."""

    format: BoxFormat
    label_format: BoxFormat
    scale: Scale
    images: Count
    declared: Share
    found: Share
    low: Number


class TaskState(Record):
    """``measure.behaviour.TaskRecord`` as data."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    n: Count
    broken: Count
    figures: Annotated[tuple[FigureState, ...], Field(max_length=MAX_FIGURES)]
    classes: Annotated[dict[Text, FigureState], Field(max_length=MAX_GROUPS)]
    slices: Annotated[dict[Text, FigureState], Field(max_length=MAX_GROUPS)]
    confusion: Annotated[tuple[tuple[Position, Position, Count], ...], Field(max_length=MAX_CONFUSIONS)]
    changes: Count
    outcomes: Outcomes | None
    chance: FigureState | None = None
    reading: ReadingState | None = None

    @model_validator(mode="after")
    def _whole(self) -> TaskState:
        if bool(self.figures) != (self.n > 0 and self.broken == 0):
            raise ValueError("figures of nothing, or none")
        if self.figures and not self.figures[0].metric.startswith(_LABELS.get(self.kind, self.kind)):
            raise ValueError("figures of another task")
        groups = self.classes or self.slices or self.confusion or self.outcomes or self.chance or self.reading
        if not self.figures and groups:
            raise ValueError("groups of nothing")
        if any(each.n != self.n for each in (*self.figures, *([self.chance] if self.chance else []))):
            raise ValueError("figures of other samples")
        if self.reading is not None and self.reading.images > self.n:
            raise ValueError("boxes of more images than there are")
        if any(each.n > self.n for each in (*self.classes.values(), *self.slices.values())):
            raise ValueError("a group is larger than the whole")
        if self.changes > self.n or sum(count for _, _, count in self.confusion) > self.changes:
            raise ValueError("more answers changed than there are")
        if self.outcomes is not None and self.outcomes.n != self.n:
            raise ValueError("outcomes of other samples")
        return self


class UnoptimisedState(Record):
    """``measure.unoptimised.unoptimised_state`` as data."""

    reason: Text
    outputs: Annotated[tuple[tuple[Count, Energy, Energy], ...], Field(max_length=MAX_OUTPUTS)]
    broken: Annotated[tuple[Text, ...], Field(max_length=MAX_TAPS)]

    @model_validator(mode="after")
    def _consistent(self) -> UnoptimisedState:
        if self.reason and (self.outputs or self.broken):
            raise ValueError("figures of what was not run")
        return self


class PairState(Record):
    """Everything that a run showed."""

    samples: Annotated[int, Field(gt=0, le=2**40, strict=True)]
    generated: bool
    alone: bool
    unfed: Text
    untapped: Text
    loaded: dict[Literal["reference", "candidate"], Text] = Field(default_factory=dict)
    outputs: Annotated[tuple[OutputState, ...], Field(max_length=MAX_OUTPUTS)]
    taps: Annotated[tuple[TapState, ...], Field(max_length=MAX_TAPS)]
    layers: Annotated[tuple[LayerState, ...], Field(max_length=MAX_TAPS)]
    unobserved: Text
    unoptimised: UnoptimisedState | None = None
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
        if self.task is not None and self.task.n + self.task.broken > self.samples:
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
