"""What a case of a rule is: measurements, and what they must lead to at each built-in profile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qgate.judge import judge
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Measurement, Place, Verdict
from qgate.rules.base import PROFILES
from qgate.rules.catalogue import catalogue

SILENT = (None, None, None)
ERROR = ("error", "error", "error")
WARNING = ("warning", "warning", "warning")
NOTE = ("note", "note", "note")
W1 = Place(tensor="w1_q", node="conv1")


@dataclass(frozen=True)
class Case:
    """Measurements of one candidate, judged by one rule.

    Args:
        rule: The rule that is looked at; what others find is not.
        name: What the case is about.
        measured: The measurements.
        weight: Severity that must be found at strict, balanced and permissive; None where nothing may be.
        says: Text that the message must hold.
        at: Where the finding must be, as ``str(Place)``.
        effect: What an error does to the verdict.
        scheme: The candidate's scheme.
        declared: What the policy declares and how the run went.
        thresholds: What a policy sets of this rule.
    """

    rule: str
    name: str
    measured: tuple[Measurement, ...]
    weight: tuple[str | None, str | None, str | None]
    says: str = ""
    at: str | None = None
    effect: Verdict = Verdict.FAIL
    scheme: str = "int8"
    declared: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.rule}-{self.name}".replace(" ", "_")


def measured(
    name: str,
    value: Any = None,
    at: Place = W1,
    /,
    *,
    n: int | None = None,
    low: Any = None,
    high: Any = None,
    **detail: Any,
) -> Measurement:
    return Measurement(name=name, at=at, value=value, n=n, low=low, high=high, detail=detail)


def missing(name: str, reason: str, at: Place = W1, **detail: Any) -> Measurement:
    return Measurement(name=name, at=at, not_measured=reason, detail=detail)


def found(case: Case, profile: str) -> tuple[Finding, ...]:
    """What the case's rule finds in it at a built-in profile."""
    limits = resolve(None, None, profile, case.scheme)
    for name, value in case.thresholds.items():
        limits[case.rule][name] = limits[case.rule][name].model_copy(update={"value": value})
    declared = {"scheme": "auto", "derivation": "auto", "data": "given", "ran": False, **case.declared}
    judged = judge(case.measured, limits, scheme=case.scheme, declared=declared)
    return tuple(finding for finding in judged if finding.rule == case.rule)


def limits(rule: str, param: str, scheme: str | None = None) -> list[Any]:
    """The built-in thresholds at strict, balanced and permissive."""
    limit = catalogue()[rule].param(param)
    assert limit is not None, f"{rule} has no {param}"
    return [limit.default(profile, scheme)[0] for profile in PROFILES]


def weight_of(rule: str) -> tuple[str, str, str]:
    """The severity of a rule's findings at strict, balanced and permissive."""
    strict, balanced, permissive = limits(rule, "severity")
    return strict, balanced, permissive


def ladder(
    rule: str,
    param: str,
    make: Callable[[float], tuple[Measurement, ...]],
    *,
    at_least: bool,
    step: float,
    **more: Any,
) -> Iterator[Case]:
    """Cases around each profile's threshold: on it nothing is found, a step beyond it something is.

    Every scheme with thresholds of its own gets its own rungs, and NaN is found at every profile.
    """
    limit = catalogue()[rule].param(param)
    assert limit is not None, f"{rule} has no {param}"
    weight = weight_of(rule)
    for scheme in ("int8", *limit.by_scheme):
        values = limits(rule, param, scheme)
        for profile, value in zip(PROFILES, values, strict=True):
            beyond = value - step if at_least else value + step
            past = tuple(
                w if (beyond < v if at_least else beyond > v) else None
                for w, v in zip(weight, values, strict=True)
            )
            on = tuple(
                w if (value < v if at_least else value > v) else None
                for w, v in zip(weight, values, strict=True)
            )
            yield Case(rule, f"{param} {scheme} on {profile}", make(value), on, scheme=scheme, **more)
            yield Case(rule, f"{param} {scheme} past {profile}", make(beyond), past, scheme=scheme, **more)
        yield Case(rule, f"{param} {scheme} nan", make(math.nan), weight, scheme=scheme, **more)
