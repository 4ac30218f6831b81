"""The trusted job does not take a fork's word for which targets its change touches."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.errors import PolicyError
from qgate.gate.rejudge import rejudge_report
from qgate.git.changes import Change
from qgate.plan.proposed import Proposed
from qgate.records import Finding, Severity, Verdict
from qgate.report.schema import Report, Skipped
from qgate.settings import Settings

Lab = Any  # tests/gate/conftest.py

TWO = """\
version: 1
targets:
  - {name: plate, candidate: models/plate.onnx, reference: models/plate_fp32.onnx}
  - {name: face, candidate: models/face.onnx, reference: models/face_fp32.onnx}
"""
MODIFIED = Proposed((Change("models/plate.onnx", "modified"),))


@pytest.fixture
def fork(lab: Lab) -> Lab:
    """A repository with two targets, both measured by a change that touches one."""
    lab.start(TWO, models__face_fp32_onnx=b"x")
    lab.commit({"models/face.onnx": lab.model(), "models/face_fp32.onnx": b"r"})
    return lab


def measured(lab: Lab, files: dict[str, bytes | str | None]) -> Report:
    """What the fork's honest run says of its change."""
    report = lab.gate(lab.pull_request(files, fork=True))
    lab.git("checkout", "-q", "main")
    return report


def again(lab: Lab, report: Report, proposed: Proposed = MODIFIED) -> Report:
    return rejudge_report(report, "main", proposed, Settings(workspace=lab.root))


def trc107(report: Report) -> list[str]:
    return [finding.message for finding in report.findings if finding.rule == "TRC107"]


def test_an_honest_report_keeps_its_verdict(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    judged = again(fork, report)
    assert (report.verdict, judged.verdict) == (Verdict.PASS, Verdict.PASS), judged.summary.headline
    assert [target.name for target in judged.targets] == ["plate"]
    assert [skipped.name for skipped in judged.skipped] == ["face"]


def test_a_report_that_hides_the_touched_target_is_inconclusive(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(10)})
    assert report.verdict is Verdict.FAIL
    hidden = report.model_copy(
        update={
            "targets": (),
            "findings": (),
            "verdict": Verdict.PASS,
            "skipped": tuple(
                Skipped(name=n, reason="the change does not touch it") for n in ("plate", "face")
            ),
        }
    )
    judged = again(fork, hidden)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert trc107(judged) == [
        "The report has no measurement of the target plate: candidate models/plate.onnx is modified"
    ]
    assert [skipped.name for skipped in judged.skipped] == ["face"]


def test_a_report_about_another_target_does_not_stand_for_the_touched_one(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    judged = again(fork, report, Proposed((Change("models/face.onnx", "modified"),)))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "target face" in trc107(judged)[0]


@pytest.mark.parametrize(
    "path", ["models/face_fp32.onnx", ".qgate/baseline/face.json", "models/face.onnx.dvc"]
)
def test_references_baselines_and_pointers_count_as_well(fork: Lab, path: str) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    changes = (*(MODIFIED.changes or ()), Change(path, "modified"))
    assert again(fork, report, Proposed(changes)).verdict is Verdict.INCONCLUSIVE


def test_external_data_of_the_trusted_model_counts_as_well(fork: Lab) -> None:
    fork.git("checkout", "-q", "main")
    fork.commit({"models/face.onnx": b'{"output.sqnr_db": 40, "weights.bin": 1}'})
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    changes = (*(MODIFIED.changes or ()), Change("models/weights.bin", "modified"))
    judged = again(fork, report, Proposed(changes))
    assert "models/weights.bin belongs to the target" in trc107(judged)[0]


def test_a_change_of_the_policy_touches_what_it_alters(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    changes = (*(MODIFIED.changes or ()), Change("qgate.yml", "modified"))
    stricter = TWO.replace("face_fp32.onnx}", "face_fp32.onnx, profile: strict}").encode()
    judged = again(fork, report, Proposed(changes, policy=stricter))
    assert "the change alters `profile` of the target" in trc107(judged)[0]
    assert (
        again(fork, report, Proposed(changes, policy=b"# a comment\n" + TWO.encode())).verdict is Verdict.PASS
    )


@pytest.mark.parametrize("policy", [None, b"version: 2\n", b"\xff"])
def test_a_policy_that_is_gone_or_broken_touches_every_target(fork: Lab, policy: bytes | None) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    changes = (*(MODIFIED.changes or ()), Change("qgate.yml", "modified"))
    assert again(fork, report, Proposed(changes, policy=policy)).verdict is Verdict.INCONCLUSIVE


def test_what_github_does_not_tell_is_not_taken_from_the_report(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    judged = again(fork, report, Proposed(None, unknown="GitHub lists 3000 of 3001 changed files"))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "3000 of 3001" in trc107(judged)[0]


def test_a_change_that_touches_nothing_passes_by_github_s_word(fork: Lab) -> None:
    report = measured(fork, {"README.md": "more"})
    judged = again(fork, report, Proposed((Change("README.md", "modified"),)))
    assert judged.verdict is Verdict.PASS
    assert judged.summary.headline == "The change touches no target: 1 changed files, as GitHub lists them"
    empty = report.model_copy(update={"skipped": (), "summary": report.summary})
    assert again(fork, empty, Proposed((Change("README.md", "modified"),))).verdict is Verdict.PASS


def test_a_target_that_only_the_fork_has_is_never_green(fork: Lab) -> None:
    new = TWO + "  - {name: own, candidate: models/own.onnx}\n"
    report = measured(fork, {"qgate.yml": new, "models/own.onnx": fork.model(60)})
    assert [target.verdict for target in report.targets] == [Verdict.PASS]
    changes = (Change("qgate.yml", "modified"), Change("models/own.onnx", "added"))
    judged = again(fork, report, Proposed(changes, policy=new.encode()))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "The trusted policy has no target own" in judged.targets[0].reason


def test_a_failure_of_such_a_target_stays_one(fork: Lab) -> None:
    new = TWO + "  - {name: own, candidate: models/own.onnx}\n"
    report = measured(fork, {"qgate.yml": new, "models/own.onnx": fork.model(1)})
    judged = again(fork, report, Proposed((Change("qgate.yml", "modified"),), policy=new.encode()))
    assert judged.targets[0].verdict is Verdict.FAIL


def test_a_failure_is_believed(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(10)})
    assert again(fork, report).verdict is Verdict.FAIL


def test_an_expired_waiver_is_told_once(fork: Lab) -> None:
    late = TWO + "waivers:\n  - {target: plate, rule: QNT201, reason: old, until: 2020-01-01}\n"
    fork.git("checkout", "-q", "main")
    fork.commit({"qgate.yml": late})
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    (target,) = report.targets
    told = Finding(rule="TRC104", severity=Severity.WARNING, message="the waiver has run out", remedy="x")
    report = report.model_copy(
        update={"targets": (target.model_copy(update={"findings": (*target.findings, told)}),)}
    )
    (judged,) = again(fork, report).targets
    assert [finding.rule for finding in judged.findings].count("TRC104") == 1


def test_without_the_base_branch_nothing_is_judged(fork: Lab) -> None:
    report = measured(fork, {"models/plate.onnx": fork.model(41)})
    with pytest.raises(PolicyError, match="not checked out here"):
        rejudge_report(report, "release", MODIFIED, Settings(workspace=fork.root))
