"""Every rule on measurements that must fire and on others that must not, at every built-in profile."""

from __future__ import annotations

import pytest

from qgate.records import Severity, Verdict
from qgate.rules.base import PROFILES
from qgate.rules.catalogue import catalogue

from . import (
    cases_artifact,
    cases_behaviour,
    cases_deployability,
    cases_derivation,
    cases_distributions,
    cases_edges,
    cases_features,
    cases_layers,
    cases_ranges,
    cases_rounding,
    cases_scheme,
    cases_signature,
    cases_structure,
)
from .cases import Case, found

CASES = tuple(
    case
    for module in (
        cases_artifact,
        cases_signature,
        cases_scheme,
        cases_derivation,
        cases_rounding,
        cases_structure,
        cases_ranges,
        cases_features,
        cases_distributions,
        cases_edges,
        cases_layers,
        cases_behaviour,
        cases_deployability,
    )
    for case in module.CASES
)
MADE_WHERE_THE_FACT_IS_KNOWN = {
    "ART101", "ART102", "ART103", "ART104", "ART105", "ART107", "ART108", "ART112", "ART113", "ART114",
    *(f"TRC{number}" for number in range(101, 116)),
}  # fmt: skip
"""Findings of acquisition, readers, run, policy, plan and baseline; tested there."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_finds_what_it_must_and_nothing_else(case: Case) -> None:
    for profile, weight in zip(PROFILES, case.weight, strict=True):
        findings = found(case, profile)
        assert [finding.severity for finding in findings] == ([weight] if weight else []), profile
        for finding in findings:
            assert finding.effect is (case.effect if weight == Severity.ERROR else Verdict.PASS)
            assert case.says in finding.message
            assert case.at is None or str(finding.at) == case.at
            assert finding.remedy
            assert not {"nan", "inf"} & set(map(repr, finding.model_dump(mode="json")["evidence"].values()))


def test_cases_have_names_of_their_own() -> None:
    names = [(case.id, case.says) for case in CASES]
    assert sorted(names) == sorted(set(names))


def test_every_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires = {case.rule for case in CASES if any(case.weight)}
    silent = {case.rule for case in CASES if not all(case.weight)}
    checked = set(catalogue()) - MADE_WHERE_THE_FACT_IS_KNOWN
    assert fires == silent == checked


def test_every_threshold_that_differs_by_profile_is_told_apart() -> None:
    """A rule whose thresholds differ has a case with different outcomes at every two profiles."""
    for rule in catalogue().values():
        for param in rule.params:
            if rule.id in MADE_WHERE_THE_FACT_IS_KNOWN or param.choices or float("inf") in (param.strict,):
                continue
            values = (param.strict, param.balanced, param.permissive)
            outcomes = [case.weight for case in CASES if case.rule == rule.id]
            for one, two in ((0, 1), (1, 2)):
                if values[one] != values[two]:
                    told = [o for o in outcomes if (o[one] is None) != (o[two] is None)]
                    assert told, (rule.id, param.name, PROFILES[one], PROFILES[two])


def test_rules_without_a_check_are_those_whose_findings_are_made_elsewhere() -> None:
    from qgate.rules.base import no_check

    assert {r.id for r in catalogue().values() if r.check is no_check} == MADE_WHERE_THE_FACT_IS_KNOWN
