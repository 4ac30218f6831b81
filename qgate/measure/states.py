"""Outputs in the child's result as the parent believes them: every field typed, every number checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from qgate.records import Number, Record
from qgate.stats.sketch import SIZE

Count = Annotated[int, Field(ge=0, le=2**62, strict=True)]
Position = Annotated[int, Field(ge=-1, le=2**62, strict=True)]
Energy = Annotated[Number, Field(ge=0)]
Text = Annotated[str, Field(max_length=4096)]
Shape = Annotated[tuple[Count, ...], Field(max_length=64)]
Share = Annotated[float, Field(ge=0, le=1)]
Change = Annotated[float, Field(ge=-1, le=1)]


class ErrorState(Record):
    """``stats.errors.PairErrors`` as data."""

    samples: Count
    elements: Count
    differing: Count
    nonfinite_reference: Count
    nonfinite_candidate: Count
    first_sample: Position
    first_index: Position
    rr: Energy
    cc: Energy
    rc: Number
    dd: Energy
    relative: Energy
    max_abs: Energy
    max_sample: Position
    max_index: Position
    worst_ratio: Energy
    worst_sample: Position
    reference_min: Number
    reference_max: Number
    candidate_min: Number
    candidate_max: Number


class SpreadState(Record):
    """``measure.spread.spread_state`` as data."""

    n: Annotated[int, Field(gt=0, le=SIZE, strict=True)]
    seen: Count
    ks: Share
    js: Share
    wasserstein: Energy
    psi: Energy | None
    deviation: Energy
    errors: Annotated[tuple[Energy, ...], Field(min_length=3, max_length=3)]

    @model_validator(mode="after")
    def _consistent(self) -> SpreadState:
        if self.n > self.seen:
            raise ValueError("more values kept than seen")
        if list(self.errors) != sorted(self.errors):
            raise ValueError("quantiles that are not in order")
        return self


class ClassState(Record):
    """``measure.outputs.ClassErrors`` as data."""

    form: Literal["scores", "log", "probabilities"]
    n: Count
    agree: Count
    near_ties: Count
    ranked: Count
    agree_top: Count
    near_ties_top: Count
    rows: Count
    kl_mean: Energy | None = None
    kl_median: Energy | None = None
    kl_p99: Energy | None = None
    kl_p999: Energy | None = None
    kl_max: Energy | None = None
    kl_sample: Position = -1
    change: Annotated[tuple[Change, ...], Field(min_length=3, max_length=3)] | None = None
    change_min: Change | None = None
    change_sample: Position = -1
    confidence: SpreadState | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ClassState:
        if self.agree + self.near_ties > self.n or self.rows > self.n:
            raise ValueError("more rows counted than seen")
        if self.agree_top + self.near_ties_top > self.ranked or self.ranked > self.n:
            raise ValueError("more rows ranked than seen")
        if self.rows and None in {self.kl_mean, self.kl_median, self.kl_p99, self.kl_p999, self.kl_max}:
            raise ValueError("a divergence is missing")
        if (self.rows > 0) != (None not in (self.change, self.change_min, self.confidence)):
            raise ValueError("a change of probability is missing, or of nothing")
        if self.change is not None and list(self.change) != sorted(self.change):
            raise ValueError("quantiles that are not in order")
        if self.confidence is not None and self.confidence.seen != self.rows:
            raise ValueError("confidences of other rows")
        return self


class OutputState(Record):
    """One output; ``missing`` says why it was not compared, ``boxes`` that the task compares its rows."""

    name: Text
    missing: Text | None = None
    integer: bool = False
    boxes: bool = False
    errors: ErrorState | None = None
    spread: SpreadState | None = None
    classes: ClassState | None = None
    batch: tuple[Energy, Energy] | None = None
    mismatched: Count = 0
    first_mismatch: Position = -1
    shapes: tuple[Shape, Shape] | None = None
    unsupported: Count = 0

    @model_validator(mode="after")
    def _either(self) -> OutputState:
        if (self.missing is None and not self.boxes) != (self.errors is not None):
            raise ValueError("an output was either compared or has a reason")
        if self.boxes and (self.missing is not None or self.classes is not None or self.mismatched):
            raise ValueError("boxes that were compared row by row, or are not there")
        if self.spread is not None:
            if self.errors is None or self.spread.seen > self.errors.elements:
                raise ValueError("distributions of more elements than there are")
            # Both are of the same float64 differences; the largest of some is at most the largest of all.
            if self.spread.errors[-1] > self.errors.max_abs:
                raise ValueError("an error is larger than the largest")
        return self


class EdgeState(Record):
    """``measure.edges.Edge`` as data."""

    kind: Text
    reason: Text
    refused: bool
    outside: bool
    nonfinite: Count
    mismatched: Count
    output: Position
    signal: Energy
    noise: Energy

    @model_validator(mode="after")
    def _consistent(self) -> EdgeState:
        if self.reason and (self.nonfinite or self.mismatched or self.output >= 0):
            raise ValueError("figures of an input that was not run")
        if self.refused and not self.reason:
            raise ValueError("refused without a word")
        return self
