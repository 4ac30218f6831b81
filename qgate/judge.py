"""Measurements and thresholds to findings, findings to a verdict. Pure: no file is opened here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qgate.records import Finding, Limit, Measurement, Severity, Verdict, weigher, worst
from qgate.rules.base import Family, Rule, RuleContext
from qgate.rules.catalogue import catalogue

_FAMILIES = [family.name for family in Family]
_SEVERITIES = list(Severity)


def judge(
    measurements: Sequence[Measurement],
    limits: Mapping[str, Mapping[str, Limit]],
    *,
    scheme: str | None,
    declared: Mapping[str, Any],
) -> tuple[Finding, ...]:
    """Applies every rule.

    Args:
        measurements: All measurements of the target.
        limits: Thresholds in force, by rule and parameter.
        scheme: The scheme that the candidate was found to have.
        declared: What the policy declares (scheme, derivation) and how the run went (data, ran).

    Returns:
        Findings, the most telling first.
    """
    by_name: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        by_name.setdefault(measurement.name, []).append(measurement)
    frozen = {name: tuple(held) for name, held in by_name.items()}
    found: list[Finding] = []
    for rule in catalogue().values():
        context = RuleContext(rule, frozen, limits[rule.id], scheme, declared)
        try:
            found.extend(rule.check(context))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            found.append(_unjudged(rule, error))
    return order(found)


def _unjudged(rule: Rule, error: Exception) -> Finding:
    """What a rule cannot make sense of has not passed it; a stored report can hold anything."""
    return Finding(
        rule=rule.id,
        severity=Severity.ERROR,
        effect=Verdict.ERROR,
        message=f"the measurements cannot be judged by this rule ({type(error).__name__}: {error})"[:300],
        remedy="Measure again with this version of qgate; if that does not help, report it as a defect",
    )


def order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The most telling first: by severity, by effect on the verdict, by family from cause to symptom."""
    found = tuple(findings)
    weight = weigher(found)
    return tuple(
        sorted(
            found,
            key=lambda f: (
                _SEVERITIES.index(f.severity),
                *weight(f),
                _FAMILIES.index(f.rule[:3]),
                not _explains_the_baseline(f),
                f.rule,
            ),
        )
    )


def _explains_the_baseline(finding: Finding) -> bool:
    """Whether it names the one change of scheme or recipe that most other differences to the baseline go with."""
    return finding.rule in ("TRC102", "TRC103") and not {"scheme", "recipe"}.isdisjoint(finding.evidence)


def conclude(findings: Sequence[Finding], measurements: Sequence[Measurement]) -> tuple[Verdict, str]:
    """The verdict and its reason in one line.

    Nothing measured is no PASS: without a single measurement and without a finding the verdict is
    INCONCLUSIVE.
    """
    weighing = [f for f in findings if f.waived is None]
    verdict = worst(f.effect for f in weighing)
    if verdict is Verdict.PASS:
        return _green(weighing, measurements)
    blocking = [f for f in weighing if f.effect is verdict]
    first = min((f for f in weighing if f.effect is not Verdict.PASS), key=weigher(weighing))
    if first.effect is not verdict:
        return verdict, f"{first.at}: {first.message}; the models could not be run"
    more = f" (and {len(blocking) - 1} more)" if len(blocking) > 1 else ""
    place = f"{first.at}: " if str(first.at) else ""
    return verdict, f"{place}{first.message}{more}"


def _green(weighing: Sequence[Finding], measurements: Sequence[Measurement]) -> tuple[Verdict, str]:
    if not any(m.value is not None for m in measurements):
        return Verdict.INCONCLUSIVE, "nothing was measured"
    warnings = sum(1 for f in weighing if f.severity is Severity.WARNING)
    measured = sum(1 for m in measurements if m.value is not None)
    if not warnings:
        return Verdict.PASS, f"all rules hold on {measured:,} measurements"
    return (
        Verdict.PASS,
        f"{warnings:,} warning{'s' if warnings != 1 else ''}, no error, on {measured:,} measurements",
    )
