from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from qgate.errors import UsageError
from qgate.policy.schema import Policy
from qgate.policy.thresholds import profile_name, resolve
from qgate.rules.base import Rule

TEXT = """
version: 1
profile: medical
profiles:
  medical: {extends: careful, thresholds: {FEA201: {min_db: 35}}}
  careful: {extends: strict, thresholds: {FEA201: {min_db: 33, severity: error}, BEH301: {max_drop: 0.002}}}
targets:
  - name: plate-ocr
    candidate: m.onnx
    thresholds: {FEA201: {severity: note}, BEH301: {require_power: false}}
  - {name: small, candidate: s.onnx, scheme: int4, profile: permissive}
"""


@pytest.fixture
def policy(load: Callable[[str], Policy]) -> Policy:
    return load(TEXT)


def test_without_a_policy_the_built_in_profile_is_in_force(rules: Mapping[str, Rule]) -> None:
    limits = resolve(None, None, None, None, rules=rules)
    assert set(limits) == set(rules)
    limit = limits["FEA201"]["min_db"]
    assert (limit.value, limit.unit, limit.origin) == (20.0, "dB", "built-in profile balanced")
    assert resolve(None, None, "strict", None, rules=rules)["FEA201"]["min_db"].value == 30.0


def test_a_scheme_has_thresholds_of_its_own(rules: Mapping[str, Rule]) -> None:
    limits = resolve(None, None, "permissive", "int4", rules=rules)
    assert limits["FEA201"]["min_db"].value == 5.0
    assert limits["FEA201"]["min_db"].origin == "built-in profile permissive, scheme int4"
    assert limits["FEA201"]["severity"].origin == "built-in profile permissive"


def test_profile_over_built_in_and_target_over_profile(policy: Policy, rules: Mapping[str, Rule]) -> None:
    limits = resolve(policy, policy.targets[0], None, "int4", rules=rules)
    shown = {
        (rule, name): (limit.value, limit.origin)
        for rule, values in limits.items()
        for name, limit in values.items()
        if "built-in" not in limit.origin
    }
    assert shown == {
        ("FEA201", "min_db"): (35, "profile medical (qgate.yml)"),
        ("FEA201", "severity"): ("note", "target plate-ocr (qgate.yml)"),
        ("BEH301", "max_drop"): (0.002, "profile careful (qgate.yml)"),
        ("BEH301", "require_power"): (False, "target plate-ocr (qgate.yml)"),
    }
    assert limits["FEA202"]["max_l2"].origin == "built-in profile strict"


def test_the_targets_profile_and_scheme_come_before_the_policys(
    policy: Policy, rules: Mapping[str, Rule]
) -> None:
    limits = resolve(policy, policy.targets[1], None, None, rules=rules)
    assert limits["FEA201"]["min_db"].origin == "built-in profile permissive, scheme int4"


def test_the_command_lines_profile_comes_before_all(policy: Policy, rules: Mapping[str, Rule]) -> None:
    target = policy.targets[1]
    assert profile_name(policy, target) == "permissive"
    assert profile_name(policy, target, "strict") == "strict"
    assert resolve(policy, target, "careful", "int8", rules=rules)["FEA201"]["min_db"].value == 33


@pytest.mark.parametrize("with_policy", [True, False])
def test_an_unknown_profile_is_refused_with_the_nearest(
    policy: Policy, rules: Mapping[str, Rule], with_policy: bool
) -> None:
    with pytest.raises(UsageError, match=r"no profile 'stricct'\. Did you mean `strict`"):
        resolve(policy if with_policy else None, None, "stricct", None, rules=rules)


def test_resolving_changes_nothing(policy: Policy, rules: Mapping[str, Rule]) -> None:
    before = policy.model_dump_json()
    resolve(policy, policy.targets[0], None, "int8", rules=rules)
    assert policy.model_dump_json() == before
    assert resolve(None, None, None, None, rules=rules)["FEA201"]["min_db"].value == 20.0
