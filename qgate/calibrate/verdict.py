"""What the candidate itself would be told with the thresholds that are proposed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from qgate.calibrate.measuring import Calibration
from qgate.calibrate.proposal import Proposal
from qgate.judge import judge
from qgate.records import Finding, Limit, Verdict

MISSED = "your candidate itself would FAIL with this"


def held_against(
    found: Calibration,
    proposals: Iterable[Proposal],
    limits: Mapping[str, Mapping[str, Limit]],
    declared: Mapping[str, Any],
) -> tuple[tuple[Proposal, Finding | None], ...]:
    """The proposals, each with what its rule would find in the candidate and block; None where it would not.

    Args:
        found: What was measured of the candidate.
        proposals: What is proposed; one that the candidate does not hold says so in its reason.
        limits: Thresholds in force for the target, by rule and parameter.
        declared: What the target declares, see ``judge``.
    """
    told = []
    for each in proposals:
        own = limits[each.rule]
        asked = {
            **own,
            each.param: Limit(value=each.value, unit=own[each.param].unit, origin="qgate calibrate"),
        }
        judged = judge(
            tuple(found.values.values()), {**limits, each.rule: asked}, scheme=found.scheme, declared=declared
        )
        blocking = (f for f in judged if f.rule == each.rule and f.effect in (Verdict.FAIL, Verdict.ERROR))
        error = next(blocking, None)
        told.append((replace(each, why=f"{each.why}; {MISSED}") if error is not None else each, error))
    return tuple(told)
