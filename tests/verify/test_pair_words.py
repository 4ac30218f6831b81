"""Where one pair is verified there is no policy, so nobody is sent to look into one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from qgate.cli import main
from qgate.records import Verdict
from qgate.rules.base import Rule
from qgate.rules.catalogue import catalogue
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
# Of keys that a policy has and the command line has not, of baselines and of pull requests.
_ELSEWHERE = {"ART108", "ART115"}
_KEYS = re.compile(r"\bpolicy\b|`(scheme|derivation|io|runtimes|deploy|task|data|allow_ops|limits)\b")


@pytest.mark.parametrize(
    "rule", [r for r in catalogue().values() if not r.id.startswith("TRC")], ids=lambda r: r.id
)
def test_a_remedy_that_names_a_policy_has_one_for_a_pair(rule: Rule) -> None:
    if rule.id not in _ELSEWHERE and _KEYS.search(rule.remedy):
        assert rule.pair_remedy
        assert "in the policy" not in rule.pair_remedy
        assert not _KEYS.search(rule.pair_remedy.replace("only a policy can", ""))


def test_a_pair_of_another_scheme_is_sent_to_the_option() -> None:
    report = verify_ad_hoc(
        AdHoc(
            reference=EXAMPLES / "digits_fp32.onnx", candidate=EXAMPLES / "digits_int8_pc.onnx", scheme="int4"
        )
    )
    (found,) = [f for f in report.findings if f.rule == "QNT102"]
    assert (found.effect, found.remedy) == (Verdict.FAIL, "Correct --scheme, or quantize as it says")


@pytest.mark.parametrize(
    ("word", "says"), [("top-1", "Did you mean 'top1'?"), ("zzzzz", "is not one of 'top1'")]
)
def test_a_task_that_there_is_not_is_answered_with_the_nearest(word: str, says: str) -> None:
    result = CliRunner().invoke(main, ["verify", "--task", word])
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())
