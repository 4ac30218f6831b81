"""What a run compares with, and how a worse candidate is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qgate.baseline.acceptance import accept_target, failing
from qgate.errors import BaselineError, QgateError, UsageError
from qgate.events import Activity, Kind
from qgate.records import Verdict
from qgate.settings import Settings

Lab = Any  # tests/gate/conftest.py
FILE = ".qgate/baseline/plate.json"


def accepted(lab: Lab, reason: str = "first", *, despite: bool = False) -> str:
    accept_target(Settings(workspace=lab.root), "plate", reason, lab.verifier, despite_findings=despite)
    return (lab.root / FILE).read_text()


def with_baseline(lab: Lab) -> None:
    lab.start()
    accepted(lab)
    lab.commit({})
    lab.verifier.runs.clear()


def only(report: Any) -> Any:
    (target,) = report.targets
    return target


def blocking(report: Any) -> list[str]:
    return [rule for rule, severity in lab_rules(report) if severity == "error"]


def lab_rules(report: Any) -> list[tuple[str, str]]:
    return [(f.rule, f.severity.value) for f in (*report.findings, *only(report).findings)]


def test_a_stored_baseline_is_compared_with(lab: Lab) -> None:
    with_baseline(lab)
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    used = only(report).baseline
    assert (used.state, used.path, report.verdict) == ("stored", FILE, Verdict.PASS)
    (delta,) = used.deltas
    assert (delta.baseline, delta.current, delta.worse) == (40.0, 41, False)
    assert lab.verifier.of("baseline") == []


def test_worse_than_the_baseline_fails_although_above_the_threshold(lab: Lab) -> None:
    with_baseline(lab)
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(38)}))
    assert report.verdict is Verdict.FAIL
    assert blocking(report) == ["TRC102"]
    assert only(report).baseline.deltas[0].worse


def test_a_loss_within_the_allowance_passes(lab: Lab) -> None:
    with_baseline(lab)
    assert lab.gate(lab.pull_request({"models/plate.onnx": lab.model(39)})).verdict is Verdict.PASS


def test_what_vanished_is_a_finding_and_what_is_new_is_listed(lab: Lab) -> None:
    lab.start()
    lab.commit({"models/plate.onnx": lab.model(40, **{"output.cosine": 0.999})})
    accepted(lab)
    lab.commit({})
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(40, **{"output.kl_mean": 0.1})}))
    assert blocking(report) == ["TRC103"]
    assert {d.name: (d.gone, d.new) for d in only(report).baseline.deltas if d.gone or d.new} == {
        "output.cosine": (True, False),
        "output.kl_mean": (False, True),
    }


def test_without_a_file_the_trusted_candidate_is_measured_again(lab: Lab) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(38)}))
    (run,) = lab.verifier.of("baseline")
    assert run.candidate_revision == report.provenance.base_sha
    assert only(report).baseline.state == "remeasured"
    assert blocking(report) == ["TRC102"]


def test_the_refreshed_file_is_offered_and_serves_when_committed(lab: Lab, tmp_path: Path) -> None:
    lab.start()
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    refreshed = (tmp_path / "report" / str(only(report).baseline.path)).read_bytes()
    lab.git("checkout", "-q", "main")
    lab.git("branch", "-q", "-D", "patch")
    lab.commit({FILE: refreshed})
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    assert only(report).baseline.state == "stored"


def test_an_unchanged_candidate_is_not_measured_twice(lab: Lab) -> None:
    lab.start()
    report = lab.gate()
    assert only(report).baseline.state == "remeasured"
    assert len(lab.verifier.runs) == 1


def test_a_stale_file_is_said_and_not_trusted(lab: Lab) -> None:
    with_baseline(lab)
    lab.commit({"models/plate.onnx": lab.model(50)})
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    assert only(report).baseline.state == "remeasured"
    assert "does not describe" in only(report).baseline.reason
    assert blocking(report) == ["TRC102"]
    assert ("TRC111", "note") in lab_rules(report)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("isa", "x86-64-v0", "ISA class"),
        ("schema", "qgate-baseline/v0", "schema"),
        ("data", {"origin": "given", "sha256": "0" * 64, "samples": 100, "seed": 0}, "data"),
    ],
)
def test_what_a_baseline_is_bound_to_must_agree(lab: Lab, key: str, value: object, said: str) -> None:
    with_baseline(lab)
    content = json.loads((lab.root / FILE).read_text())
    content[key] = value
    lab.commit({FILE: json.dumps(content)})
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    assert only(report).baseline.state == "remeasured"
    assert said in only(report).baseline.reason


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": "qgate-baseline/v1"}', '{"a": NaN}', "\x00\xff", "[" * 9999],
)
def test_a_corrupt_file_is_an_error(lab: Lab, content: str) -> None:
    lab.start()
    lab.commit({FILE: content})
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    assert report.verdict is Verdict.ERROR
    assert ("TRC109", "error") in lab_rules(report)


def test_a_corrupt_file_can_be_repaired_by_a_change(lab: Lab) -> None:
    lab.start()
    good = accepted(lab)
    lab.commit({FILE: "{"})
    report = lab.gate(lab.pull_request({FILE: good}))
    assert report.verdict is Verdict.PASS
    assert ("TRC109", "note") in lab_rules(report)


def test_a_trusted_candidate_that_cannot_be_measured_is_inconclusive(lab: Lab) -> None:
    lab.start()
    lab.commit({"models/plate.onnx": "crash"})
    report = lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)}))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert blocking(report) == ["TRC112"]


def test_no_baseline_at_all_is_a_note_unless_required(lab: Lab) -> None:
    policy = "version: 1\nrequire_baseline: {}\ntargets:\n  - {{name: plate, candidate: models/plate.onnx}}\n"
    lab.start(policy.format("false"))
    lab.commit({"models/plate.onnx": None})
    activity = lab.pull_request({"models/plate.onnx": lab.model(41)})
    report = lab.gate(activity)
    assert (report.verdict, only(report).baseline.state) == (Verdict.PASS, "none")
    assert ("TRC101", "note") in lab_rules(report)
    lab.git("checkout", "-q", "main")
    lab.git("branch", "-q", "-D", "patch")
    lab.commit({"qgate.yml": policy.format("true")})
    assert lab.gate(lab.pull_request({"models/plate.onnx": lab.model(41)})).verdict is Verdict.FAIL


class TestAcceptance:
    def propose(self, lab: Lab, sqnr: float = 37.0) -> Activity:
        """A change that brings a worse candidate together with the baseline that accepts it."""
        with_baseline(lab)
        (lab.root / "models/plate.onnx").write_bytes(lab.model(sqnr))
        content = accepted(lab, "smaller is worth it", despite=sqnr < 30)
        lab.git("checkout", "-q", ".")
        return lab.pull_request({"models/plate.onnx": lab.model(sqnr), FILE: content})

    def test_a_worse_candidate_waits_for_approval(self, lab: Lab) -> None:
        report = lab.gate(self.propose(lab))
        assert report.verdict is Verdict.INCONCLUSIVE
        finding = next(f for f in only(report).findings if f.rule == "TRC102")
        assert "qgate-approved" in finding.remedy

    def test_and_passes_with_it(self, lab: Lab) -> None:
        activity = self.propose(lab)
        lab.approve(activity)
        report = lab.gate(activity)
        assert report.verdict is Verdict.PASS
        assert report.policy.approved_by == "bob"
        finding = next(f for f in only(report).findings if f.rule == "TRC102")
        assert "smaller is worth it" in finding.message
        assert "bob" in finding.message

    def test_an_approval_of_an_older_head_does_not_count(self, lab: Lab) -> None:
        activity = self.propose(lab)
        lab.approve(activity, at_sha="0" * 40)
        assert lab.gate(activity).verdict is Verdict.INCONCLUSIVE

    def test_acceptance_lowers_no_threshold(self, lab: Lab) -> None:
        activity = self.propose(lab, sqnr=20.0)
        lab.approve(activity)
        assert lab.gate(activity).verdict is Verdict.FAIL

    def test_a_file_that_was_edited_by_hand_fails(self, lab: Lab) -> None:
        with_baseline(lab)
        content = json.loads((lab.root / FILE).read_text())
        content["measurements"][0]["value"] = 30.0
        report = lab.gate(lab.pull_request({FILE: json.dumps(content)}))
        assert report.verdict is Verdict.FAIL
        assert blocking(report) == ["TRC110"]

    def test_a_file_for_another_candidate_fails(self, lab: Lab) -> None:
        activity = self.propose(lab)
        lab.git("checkout", "-q", "patch")
        head = lab.commit({"models/plate.onnx": lab.model(36.9999)})
        lab.git("checkout", "-q", "--detach", "main")
        lab.git("merge", "-q", "--no-ff", "-m", "merge", "patch")
        moved = Activity(**{**activity.__dict__, "head_sha": head, "merge_sha": lab.git("rev-parse", "HEAD")})
        report = lab.gate(moved)
        assert "TRC110" in blocking(report)

    def test_deleting_the_file_is_said(self, lab: Lab) -> None:
        with_baseline(lab)
        report = lab.gate(lab.pull_request({FILE: None}))
        assert any("deletes the baseline" in f.message for f in only(report).findings)
        assert only(report).baseline.state == "stored"

    def test_accept_writes_canonical_json_and_keeps_the_reason(self, lab: Lab) -> None:
        lab.start()
        first = accepted(lab)
        assert first == json.dumps(json.loads(first), sort_keys=True, indent=1) + "\n"
        content = json.loads(first)
        assert content["acceptance"] == {"reason": "first"}
        assert content["measurements"][0]["value"] == 40.0
        second = json.loads(accepted(lab, " again\n and again "))
        assert second["acceptance"]["reason"] == "again and again"
        assert len(second["acceptance"]["previous"]) == 64

    @pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
    def test_accept_wants_a_reason(self, lab: Lab, reason: str) -> None:
        lab.start()
        with pytest.raises(UsageError, match="--reason"):
            accept_target(Settings(workspace=lab.root), "plate", reason, lab.verifier)

    def test_accept_refuses_what_could_not_be_measured(self, lab: Lab) -> None:
        lab.start()
        before = accepted(lab)
        (lab.root / "models/plate.onnx").write_text("{}")
        with pytest.raises(BaselineError):
            accept_target(Settings(workspace=lab.root), "plate", "why", lab.verifier)
        assert (lab.root / FILE).read_text() == before

    def test_accept_refuses_a_candidate_that_breaks_a_rule_unless_it_is_told_to(self, lab: Lab) -> None:
        lab.start()
        before = accepted(lab)
        (lab.root / "models/plate.onnx").write_text(lab.model(12.0).decode())
        settings = Settings(workspace=lab.root)
        with pytest.raises(BaselineError, match="plate fails, so nothing was accepted") as caught:
            accept_target(settings, "plate", "why", lab.verifier)
        assert "--despite-findings" in (caught.value.remedy or "")
        assert (lab.root / FILE).read_text() == before
        done = accept_target(settings, "plate", "why", lab.verifier, despite_findings=True)
        assert done.report.verdict is Verdict.FAIL
        assert [f.rule for f in failing(done.report)]
        assert json.loads((lab.root / FILE).read_text())["measurements"][0]["value"] == 12.0

    def test_accept_names_what_is_missing(self, lab: Lab) -> None:
        lab.start(None)
        with pytest.raises(UsageError, match="no policy"):
            accept_target(Settings(workspace=lab.root), "plate", "why", lab.verifier)
        lab.git("checkout", "-q", "-B", "x")
        lab.commit({"qgate.yml": "version: 1\ntargets:\n  - {name: a, candidate: a}\n"})
        with pytest.raises(UsageError, match="It has a"):
            accept_target(Settings(workspace=lab.root), "plate", "why", lab.verifier)

    def test_accept_does_not_follow_a_link_out_of_the_repository(self, lab: Lab, tmp_path: Path) -> None:
        lab.start()
        (tmp_path / "outside").mkdir()
        (lab.root / ".qgate").mkdir()
        (lab.root / ".qgate/baseline").symlink_to(tmp_path / "outside")
        with pytest.raises(QgateError, match="repository"):
            accept_target(Settings(workspace=lab.root), "plate", "why", lab.verifier)
        assert list((tmp_path / "outside").iterdir()) == []


class TestBranches:
    def push(self, lab: Lab, before: str | None, ref: str = "main") -> Activity:
        head = lab.git("rev-parse", "HEAD")
        return Activity(
            Kind.PUSH, "push", default_branch="main", base_ref=ref, base_sha=before, head_sha=head
        )

    def test_a_push_to_the_default_branch_is_compared_with_what_was_before(self, lab: Lab) -> None:
        before = lab.start()
        lab.commit({"models/plate.onnx": lab.model(38)})
        report = lab.gate(self.push(lab, before))
        assert blocking(report) == ["TRC102"]
        assert lab.verifier.of("baseline")[0].candidate_revision == before

    def test_a_push_of_an_accepted_baseline_passes(self, lab: Lab) -> None:
        with_baseline(lab)
        before = lab.git("rev-parse", "HEAD")
        (lab.root / "models/plate.onnx").write_bytes(lab.model(37))
        accepted(lab, "worth it")
        lab.commit({})
        report = lab.gate(self.push(lab, before))
        assert (report.verdict, only(report).baseline.state) == (Verdict.PASS, "stored")

    def test_the_first_push_runs_every_target(self, lab: Lab) -> None:
        lab.start()
        report = lab.gate(self.push(lab, None))
        assert (report.verdict, report.summary.targets) == (Verdict.PASS, 1)

    def test_another_branch_is_judged_by_the_default_branch(self, lab: Lab) -> None:
        lab.start()
        lab.git("update-ref", "refs/remotes/origin/main", "main")
        lab.git("checkout", "-q", "-b", "loose")
        lab.commit({"qgate.yml": (lab.root / "qgate.yml").read_text() + "profile: permissive\n"})
        report = lab.gate(self.push(lab, None, "loose"))
        assert report.verdict is Verdict.INCONCLUSIVE
        lab.git("update-ref", "-d", "refs/remotes/origin/main")
        report = lab.gate(self.push(lab, None, "loose"))
        assert report.verdict is Verdict.ERROR
        assert "fetch-depth: 0" in report.findings[0].remedy

    def test_locally_the_work_tree_is_judged_with_what_is_not_committed(self, lab: Lab) -> None:
        lab.start()
        (lab.root / "models/plate.onnx").write_bytes(lab.model(10))
        report = lab.gate()
        assert report.verdict is Verdict.FAIL
        assert lab.verifier.of("judge")[0].candidate_revision is None
        assert any("own policy" in notice for notice in report.notices)

    def test_locally_against_a_base(self, lab: Lab) -> None:
        base = lab.start()
        lab.git("checkout", "-q", "-b", "work")
        (lab.root / "models/plate.onnx").write_bytes(lab.model(38))
        report = lab.gate(base="main")
        assert report.provenance.base_sha == base
        assert blocking(report) == ["TRC102"]
        assert lab.gate(base="nowhere").verdict is Verdict.ERROR
        assert lab.gate(base="--upload-pack=x").verdict is Verdict.ERROR

    def test_outside_of_a_repository_is_an_error(self, lab: Lab, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        for place in (empty, tmp_path / "nowhere"):
            report = lab.gate(workspace=place)
            assert report.verdict is Verdict.ERROR
            assert report.findings[0].remedy

    def test_the_same_run_gives_the_same_bytes(self, lab: Lab) -> None:
        with_baseline(lab)
        activity = lab.pull_request({"models/plate.onnx": lab.model(38)})
        assert lab.gate(activity).to_json() == lab.gate(activity).to_json()
