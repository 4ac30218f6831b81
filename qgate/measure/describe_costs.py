"""Measurements of cost, from what the children returned, each number checked. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from qgate.errors import MeasureError
from qgate.measure.states import Count
from qgate.records import Measurement, Record
from qgate.sandbox.quoting import one_line
from qgate.stats.intervals import median_interval

SMALLEST_MEMORY = 4 * 2**20
"""A model that takes less than this beside the libraries cannot be told from them."""

Seconds = Annotated[float, Field(gt=0, le=1e9)]
Turns = Annotated[tuple[Seconds, ...], Field(min_length=1, max_length=1000)]


class TurnState(Record):
    """Turns of one kind."""

    samples: Annotated[int, Field(gt=0, le=1_000_000, strict=True)]
    reference: Turns
    candidate: Turns


class CostState(Record):
    """What one child returned."""

    turns: Annotated[tuple[TurnState, ...], Field(max_length=2)]
    load: Seconds | None = None
    memory: Count | None = None


class _Answer(Record):
    schema_: Literal["qgate-child/v1"] = Field(alias="schema")
    cost: CostState | None = None
    error: Any = None


def parse_cost(payload: bytes, where: str) -> CostState:
    """Validates what a child returned.

    Raises:
        MeasureError: It is an error, or not of the schema.
    """
    try:
        answer = _Answer.model_validate(json.loads(payload))
    except (ValidationError, ValueError, RecursionError) as error:
        raise MeasureError("the model run returned malformed data about its cost", where=where) from error
    if answer.cost is None or any(len(t.reference) != len(t.candidate) for t in answer.cost.turns):
        raise MeasureError(f"the cost could not be measured ({_reason(answer.error)})", where=where)
    return answer.cost


def cost_measurements(turns: CostState, alone: dict[str, CostState]) -> Iterator[Measurement]:
    """All ``cost.*`` measurements: ratios of the candidate's cost to the reference's.

    Args:
        turns: Both models beside each other.
        alone: Each by itself, by role.
    """
    for turn in turns.turns:
        ratios = [c / r for r, c in zip(turn.reference, turn.candidate, strict=True)]
        value, low, high = median_interval(ratios)
        name = "cost.latency_ratio" if turn.samples == 1 else "cost.batch_time_ratio"
        detail = {
            "samples": turn.samples,
            **{f"{role}_s": median_interval(getattr(turn, role))[0] for role in ("reference", "candidate")},
        }
        yield Measurement(
            name=name,
            value=value,
            unit="ratio",
            n=len(ratios),
            low=low,
            high=high,
            deterministic=False,
            detail=detail,
        )
    reference, candidate = alone["reference"], alone["candidate"]
    if reference.memory is not None and candidate.memory is not None:
        yield _ratio("memory", reference.memory, candidate.memory, SMALLEST_MEMORY, "bytes")
    else:
        reason = "the kernel does not tell the process how much it took"
        yield Measurement(name="cost.memory_ratio", not_measured=reason, unit="ratio", deterministic=False)
    if reference.load is not None and candidate.load is not None:
        yield _ratio("load", reference.load, candidate.load, 0.0, "s")


def _ratio(what: str, reference: float, candidate: float, least: float, unit: str) -> Measurement:
    detail = {f"reference_{unit}": reference, f"candidate_{unit}": candidate}
    name = f"cost.{what}_ratio"
    if max(reference, candidate) < least or not reference or not math.isfinite(candidate / reference):
        reason = "both take too little to be told from the libraries around them"
        return Measurement(name=name, not_measured=reason, unit="ratio", deterministic=False, detail=detail)
    return Measurement(
        name=name, value=candidate / reference, unit="ratio", deterministic=False, detail=detail
    )


def _reason(error: Any) -> str:
    what = error.get("what") if isinstance(error, dict) else None
    return one_line(what, 200) if isinstance(what, str) and what else "no figures"
