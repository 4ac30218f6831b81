"""The catalogue as data: ids, words, thresholds, and the document that is made of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from qgate.errors import UsageError
from qgate.records import Severity
from qgate.rules.base import PROFILES, SCHEMES, Family, Param, Rule
from qgate.rules.catalogue import catalogue, find_rule
from qgate.rules.document import describe, document, list_rules
from qgate.rules.traceability import default_limits, trace_finding

DOCUMENT = Path(__file__).parents[2] / "docs" / "rules.md"
PLACEHOLDER = re.compile(r"\b(TODO|TBD|FIXME|XXX|lorem|placeholder)\b", re.IGNORECASE)
RULES = tuple(catalogue().values())
PARAMS = [(rule, param) for rule in RULES for param in rule.params]


def of(rule: Rule | tuple[Rule, Param]) -> str:
    return rule.id if isinstance(rule, Rule) else "-"


@pytest.mark.parametrize("rule", RULES, ids=of)
def test_a_rule_says_what_why_how_and_what_to_do(rule: Rule) -> None:
    for text in (rule.title, rule.why, rule.how, rule.remedy):
        assert len(text) >= 7
        assert text == text.strip()
        assert "  " not in text
        assert not PLACEHOLDER.search(text)
    assert not rule.title.endswith(".")
    assert not rule.remedy.endswith("."), "the document adds the full stop"
    assert rule.why.endswith((".", "!"))
    assert rule.how.endswith(".")
    assert all(
        word in catalogue() for word in re.findall(r"\b[A-Z]{3}\d{3}\b", rule.why + rule.how + rule.remedy)
    )


@pytest.mark.parametrize("rule", RULES, ids=of)
def test_an_id_is_a_family_and_a_number(rule: Rule) -> None:
    assert re.fullmatch(r"[A-Z]{3}[1-9]\d\d", rule.id)
    assert rule.family in Family
    assert catalogue()[rule.id] is find_rule(rule.id) is rule


def test_rules_stand_together_by_family() -> None:
    families = [rule.family for rule in RULES]
    assert families == sorted(families, key=families.index)
    assert len({rule.title for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(("rule", "param"), PARAMS, ids=[f"{r.id}-{p.name}" for r, p in PARAMS])
def test_thresholds_go_from_strict_to_permissive(rule: Rule, param: Param) -> None:
    assert param.doc.endswith(".")
    assert set(param.by_scheme) <= set(SCHEMES)
    for values in ((param.strict, param.balanced, param.permissive), *param.by_scheme.values()):
        if param.choices:
            # The first choice is the heaviest: error before warning before note, yes before no.
            ranks = [param.choices.index(str(value)) for value in values]
        else:
            sign = -1 if param.name.startswith("min_") else 1
            assert all(isinstance(value, int | float) for value in values)
            ranks = [sign * float(value) for value in values]
        assert ranks == sorted(ranks), "strict must ask for most"


@pytest.mark.parametrize("rule", RULES, ids=of)
def test_parameters_have_names_of_their_own_and_severity_is_among_them(rule: Rule) -> None:
    names = [param.name for param in rule.params]
    assert len(names) == len(set(names))
    severity = rule.param("severity")
    assert severity is not None
    assert severity.choices == tuple(Severity)
    assert rule.param("nothing") is None


@pytest.mark.parametrize("profile", PROFILES)
def test_a_scheme_without_thresholds_of_its_own_has_the_profiles(profile: str) -> None:
    param = Param("p", "D.", 1, 2, 3, by_scheme={"int4": (4, 5, 6)})
    at = PROFILES.index(profile)
    assert (
        param.default(profile, "int8")
        == param.default(profile, None)
        == (at + 1, f"built-in profile {profile}")
    )
    assert param.default(profile, "int4") == (at + 4, f"built-in profile {profile}, scheme int4")


def test_an_unknown_rule_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"there is no rule .RNG10x.\. Did you mean RNG1"):
        find_rule("RNG10x")
    assert find_rule("fea201").id == "FEA201"
    with pytest.raises(UsageError, match="`qgate explain` lists all rules"):
        find_rule("完全不同")


def test_the_document_is_fresh() -> None:
    written = subprocess.run(
        [sys.executable, "-m", "qgate.rules.document"], capture_output=True, check=True, encoding="utf-8"
    )
    assert written.stdout == DOCUMENT.read_text("utf-8"), "python -m qgate.rules.document > docs/rules.md"


def test_the_document_holds_every_rule_and_every_threshold() -> None:
    text = document(RULES)
    for rule in RULES:
        section = text.split(f"### {rule.id}\n")[1].split("\n### ")[0]
        assert rule.title in section
        assert all(f"| `{param.name}` |" in section for param in rule.params)
    for line in text.splitlines():
        assert not line.startswith("|") or line.count("|") == 6, line


@pytest.mark.parametrize("rule", RULES, ids=of)
def test_an_explanation_fits_a_terminal(rule: Rule) -> None:
    lines = describe(rule).splitlines()
    assert lines[0] == f"{rule.id}  {rule.title}"
    assert {"Why:", "How:", "Remedy:"} <= {line.split(" ")[0] for line in lines}
    words = lines[: lines.index("", 3)]
    assert all(len(line) <= 100 for line in words)


def test_the_list_names_every_rule_once() -> None:
    assert [line.split("  ")[0] for line in list_rules(RULES).splitlines()] == [rule.id for rule in RULES]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.family is Family.TRC], ids=of)
def test_a_finding_about_traceability_has_its_rules_words_and_weight(rule: Rule) -> None:
    finding = trace_finding(rule.id, "message")
    severity = rule.param("severity")
    assert severity is not None
    assert (finding.rule, finding.severity, finding.remedy) == (rule.id, severity.balanced, rule.remedy)
    assert set(default_limits(rule.id)) == {param.name for param in rule.params}
