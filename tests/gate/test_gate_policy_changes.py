"""A change must not be able to change what it is judged by in the same breath."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.records import Verdict

Lab = Any  # tests/gate/conftest.py

PLATE = "  - {name: plate, candidate: models/plate.onnx, reference: models/plate_fp32.onnx}\n"


def policy(top: str = "") -> str:
    return f"version: 1\n{top}targets:\n{PLATE}"


def test_a_loosened_profile_is_judged_by_both_and_the_worse_counts(lab: Lab) -> None:
    lab.start(policy())
    loose = policy("profile: permissive\n")
    report = lab.gate(lab.pull_request({"qgate.yml": loose, "models/plate.onnx": lab.model(25)}))
    assert report.verdict is Verdict.FAIL
    assert ("TRC105", "error") in lab.rules(report)
    assert report.policy.changes
    assert {run.policy.profile for run in lab.verifier.runs} == {"balanced"}  # measured once, judged twice
    assert "FAIL by the trusted policy, PASS by the policy as changed" in str(report.targets[0].findings)


def test_loosening_alone_is_inconclusive_without_approval(lab: Lab) -> None:
    lab.start(policy())
    report = lab.gate(lab.pull_request({"qgate.yml": policy("profile: permissive\n")}))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.targets[0].verdict is Verdict.PASS
    assert "qgate-approved" in report.findings[0].remedy


def test_an_approved_loosening_lets_the_new_policy_judge(lab: Lab) -> None:
    lab.start(policy())
    change = {"qgate.yml": policy("profile: permissive\n"), "models/plate.onnx": lab.model(38)}
    activity = lab.pull_request(change)
    lab.approve(activity)
    report = lab.gate(activity)
    assert report.policy.approved_by == "bob"
    assert ("TRC105", "note") in lab.rules(report)
    assert lab.verifier.of("judge")[0].policy.profile == "permissive"
    assert report.verdict is Verdict.PASS or ("TRC102", "error") in lab.rules(report)


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": "alice"},
        {"actor": "ALICE"},
        {"role": "triage"},
        {"role": "read"},
        {"at_sha": "f" * 40},
        {"label": "lgtm"},
        {"author": None},
        {"actor": ""},
    ],
)
def test_an_approval_that_does_not_count(lab: Lab, changes: dict[str, Any]) -> None:
    lab.start(policy())
    activity = lab.pull_request({"qgate.yml": policy("profile: permissive\n")})
    lab.approve(activity, **changes)
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.policy.approved_by is None


def test_the_label_that_approves_is_the_trusted_policy_s(lab: Lab) -> None:
    lab.start(policy("approval: {label: ok-by-us}\n"))
    activity = lab.pull_request({"qgate.yml": policy("approval: {label: mine}\nprofile: permissive\n")})
    lab.approve(activity, label="mine")
    assert lab.gate(activity).verdict is Verdict.INCONCLUSIVE
    lab.approve(activity, label="ok-by-us")
    assert lab.gate(activity).verdict is Verdict.PASS


def test_a_policy_may_allow_loosening(lab: Lab) -> None:
    lab.start(policy("loosen: allow\n"))
    report = lab.gate(lab.pull_request({"qgate.yml": policy("loosen: allow\nprofile: permissive\n")}))
    assert report.verdict is Verdict.PASS
    assert ("TRC105", "note") in lab.rules(report)


def test_a_tightened_policy_needs_no_approval(lab: Lab) -> None:
    lab.start(policy())
    report = lab.gate(lab.pull_request({"qgate.yml": policy("profile: strict\n")}))
    assert report.verdict is Verdict.PASS
    assert report.policy.changes == ()


def test_a_change_of_form_alone_touches_nothing(lab: Lab) -> None:
    lab.start(policy())
    report = lab.gate(lab.pull_request({"qgate.yml": "# a comment\n" + policy()}))
    assert report.verdict is Verdict.PASS
    assert report.summary.targets == 0


def test_a_waiver_that_the_change_brings_waives_nothing_yet(lab: Lab) -> None:
    lab.start(policy())
    waiver = "waivers:\n  - {target: plate, rule: TRC103, reason: later, until: 2026-12-31}\n"
    report = lab.gate(lab.pull_request({"qgate.yml": policy() + waiver, "models/plate.onnx": lab.model(25)}))
    assert report.verdict is Verdict.FAIL
    assert "TRC103" in report.policy.changes[0]


def test_removing_a_target_with_its_file_needs_approval(lab: Lab) -> None:
    two = policy() + "  - {name: other, candidate: models/other.onnx}\n"
    lab.start(two)
    lab.commit({"models/other.onnx": lab.model()})
    activity = lab.pull_request({"qgate.yml": policy(), "models/other.onnx": None})
    report = lab.gate(activity)
    assert report.verdict is Verdict.FAIL
    assert {rule for rule, _ in lab.rules(report)} >= {"TRC105", "TRC108"}
    lab.approve(activity)
    report = lab.gate(activity)
    assert report.verdict is Verdict.PASS
    assert {skipped.name for skipped in report.skipped} == {"plate", "other"}


def test_deleting_the_policy_is_judged_by_the_one_that_was_there(lab: Lab) -> None:
    lab.start(policy())
    report = lab.gate(lab.pull_request({"qgate.yml": None, "models/plate.onnx": lab.model(10)}))
    assert report.verdict is Verdict.FAIL
    assert "deleted" in report.policy.changes[0]


def test_a_broken_policy_is_an_error_that_names_it(lab: Lab) -> None:
    lab.start(policy())
    report = lab.gate(lab.pull_request({"qgate.yml": policy().replace("candidate", "candidat")}))
    assert report.verdict is Verdict.ERROR
    assert "candidat" in report.summary.headline


def test_moving_the_candidate_is_how_a_change_proposes_a_model(lab: Lab) -> None:
    lab.start(policy())
    moved = policy().replace("models/plate.onnx", "models/v2.onnx")
    change = {"qgate.yml": moved, "models/v2.onnx": lab.model(41), "models/plate.onnx": None}
    report = lab.gate(lab.pull_request(change))
    assert report.verdict is Verdict.PASS
    assert lab.verifier.of("judge")[0].candidate.describe() == "models/v2.onnx"
    assert lab.verifier.of("baseline")[0].candidate.describe() == "models/plate.onnx"


@pytest.mark.parametrize("altered", [True, False])
def test_a_candidate_that_stays_where_nothing_judges_it_needs_approval(lab: Lab, altered: bool) -> None:
    """Whoever deploys the old path goes on doing so, with whatever this change or a later one puts there."""
    lab.start(policy())
    moved = policy().replace("models/plate.onnx", "models/v2.onnx")
    change = {"qgate.yml": moved, "models/v2.onnx": lab.model(41)}
    activity = lab.pull_request(change | ({"models/plate.onnx": lab.model(5)} if altered else {}))
    report = lab.gate(activity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.policy.changes == ("models/plate.onnx stays, and target plate no longer judges it",)
    lab.approve(activity)
    assert lab.gate(activity).verdict is Verdict.PASS


def test_a_candidate_at_a_revision_that_no_change_moves_needs_approval(lab: Lab) -> None:
    lab.start(policy())
    fixed = policy().replace("models/plate.onnx", "{git: main, path: models/plate.onnx}")
    report = lab.gate(lab.pull_request({"qgate.yml": fixed, "models/plate.onnx": None}))
    assert report.verdict is not Verdict.PASS
    assert any("the candidate is 'main:models/plate.onnx'" in told for told in report.policy.changes)


def test_hosts_that_the_change_allows_itself_are_not_allowed(lab: Lab) -> None:
    lab.start(policy())
    asked = policy("allow_hosts: [internal]\nprofile: strict\n")
    report = lab.gate(lab.pull_request({"qgate.yml": asked}))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert all(run.policy.allow_hosts == () for run in lab.verifier.runs)


class TestRereference:
    CHANGE = "models/plate_fp32.onnx"

    def test_a_new_reference_is_judged_in_full_and_waits_for_approval(self, lab: Lab) -> None:
        lab.start(policy())
        activity = lab.pull_request({self.CHANGE: lab.model(1), "models/plate.onnx": lab.model(41)})
        report = lab.gate(activity)
        assert report.verdict is Verdict.INCONCLUSIVE
        blocking = [f for f in report.targets[0].findings if f.severity == "error"]
        assert [f.rule for f in blocking] == ["TRC106"]
        assert lab.verifier.of("judge")[0].reference_revision == activity.merge_sha
        lab.approve(activity)
        assert lab.gate(activity).verdict is Verdict.PASS

    def test_old_against_new_is_shown(self, lab: Lab) -> None:
        lab.start(policy())
        report = lab.gate(lab.pull_request({self.CHANGE: lab.model(1)}))
        shown = [f.message for f in report.targets[0].findings if "For information" in f.message]
        assert len(shown) == 2
        assert "output.sqnr_db" in shown[0]

    def test_an_approved_new_reference_still_needs_a_sound_candidate(self, lab: Lab) -> None:
        lab.start(policy())
        activity = lab.pull_request({self.CHANGE: lab.model(1), "models/plate.onnx": lab.model(10)})
        lab.approve(activity)
        assert lab.gate(activity).verdict is Verdict.FAIL

    @pytest.mark.parametrize("rule, verdict", [("allow", Verdict.PASS), ("forbid", Verdict.FAIL)])
    def test_the_trusted_policy_may_say_otherwise(self, lab: Lab, rule: str, verdict: Verdict) -> None:
        lab.start(policy(f"rereference: {rule}\n"))
        assert lab.gate(lab.pull_request({self.CHANGE: lab.model(1)})).verdict is verdict

    def test_dropping_the_reference_counts_as_both(self, lab: Lab) -> None:
        lab.start(policy())
        without = policy().replace(", reference: models/plate_fp32.onnx", "")
        report = lab.gate(lab.pull_request({"qgate.yml": without}))
        assert report.verdict is Verdict.INCONCLUSIVE
        assert {"TRC105", "TRC106"} <= {rule for rule, severity in lab.rules(report) if severity == "error"}


class TestProposed:
    def test_a_target_that_the_change_adds_has_balanced_as_its_floor(self, lab: Lab) -> None:
        lab.start(policy())
        added = policy() + "  - {name: new, candidate: models/new.onnx, profile: permissive}\n"
        report = lab.gate(lab.pull_request({"qgate.yml": added, "models/new.onnx": lab.model(25)}))
        new = next(target for target in report.targets if target.name == "new")
        assert new.proposed
        assert new.verdict is Verdict.FAIL
        assert any(finding.rule == "TRC113" for finding in new.findings)

    def test_the_floor_knows_no_thresholds_of_slices(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        judged = []
        judge = lab.verifier.judge
        monkeypatch.setattr(
            lab.verifier, "judge", lambda report, run: judged.append(run) or judge(report, run)
        )
        lab.start(policy())
        new = "{name: new, candidate: models/new.onnx, data: {inputs: data/d.npz, labels: y, slices: s}, "
        added = f"{policy()}  - {new}slice_thresholds: {{s=a: {{BEH104: {{max_drop: 0.9}}}}}}}}\n"
        lab.gate(lab.pull_request({"qgate.yml": added, "models/new.onnx": lab.model(31)}))
        bounds = [bool(run.target.slice_thresholds) for run in judged if run.name == "new"]
        assert set(bounds) == {True, False}, "its own lines, and the floor"

    def test_a_sound_one_passes(self, lab: Lab) -> None:
        lab.start(policy())
        added = policy() + "  - {name: new, candidate: models/new.onnx}\n"
        report = lab.gate(lab.pull_request({"qgate.yml": added, "models/new.onnx": lab.model(31)}))
        assert report.verdict is Verdict.PASS
        assert report.policy.changes == ()


class TestBootstrap:
    def test_the_first_policy_is_judged_by_its_own_lines_and_says_so(self, lab: Lab) -> None:
        lab.start(None)
        report = lab.gate(lab.pull_request({"qgate.yml": policy("profile: permissive\n")}))
        assert report.policy.bootstrap
        assert report.verdict is Verdict.PASS
        assert report.targets[0].proposed
        assert any("introduces" in notice for notice in report.notices)

    def test_its_floor_is_balanced(self, lab: Lab) -> None:
        lab.start(None)
        change = {"qgate.yml": policy("profile: permissive\n"), "models/plate.onnx": lab.model(25)}
        assert lab.gate(lab.pull_request(change)).verdict is Verdict.FAIL

    def test_another_path_is_no_bootstrap(self, lab: Lab) -> None:
        lab.start(policy())
        activity = lab.pull_request({"mine.yml": policy("profile: permissive\n")})
        report = lab.gate(activity, config="mine.yml")
        assert report.verdict is Verdict.INCONCLUSIVE
        assert not report.policy.bootstrap
        assert "qgate.yml" in report.policy.changes[0]
        lab.approve(activity)
        assert lab.gate(activity, config="mine.yml").verdict is Verdict.PASS

    def test_another_branch_is_no_bootstrap(self, lab: Lab) -> None:
        lab.start(None)
        lab.git("branch", "develop")
        lab.commit({"gates/edge.yml": policy()})
        lab.git("update-ref", "refs/remotes/origin/main", "main")
        lab.git("checkout", "-q", "develop")
        activity = lab.pull_request({"qgate.yml": policy("profile: permissive\n")}, base="develop")
        report = lab.gate(activity)
        assert report.verdict is Verdict.INCONCLUSIVE
        assert "gates/edge.yml" in report.policy.changes[0]

    def test_a_default_branch_that_cannot_be_seen_is_an_error(self, lab: Lab) -> None:
        lab.start(None)
        lab.git("branch", "develop")
        activity = lab.pull_request({"qgate.yml": policy()}, base="develop")
        report = lab.gate(activity)
        assert report.verdict is Verdict.ERROR
        assert "fetch-depth: 0" in report.findings[0].remedy

    def test_no_policy_at_all_is_an_error(self, lab: Lab) -> None:
        lab.start(None)
        report = lab.gate(lab.pull_request({"README.md": "x"}))
        assert report.verdict is Verdict.ERROR
        assert "no policy" in report.summary.headline


def test_a_large_change_is_told_in_short_and_kept_whole(lab: Lab) -> None:
    """What may run and what is judged no longer stands before thresholds, and what loosens nothing is counted."""
    lab.start(policy())
    new = "".join(
        f"  - {{name: new{i}, candidate: models/n{i}.onnx, reference: models/r.onnx}}\n" for i in range(8)
    )
    loose = PLATE.replace(
        "}", ", derivation: none, thresholds: {FEA201: {min_db: 1.0}, BEH101: {max_drop: 0.9}}}"
    )
    report = lab.gate(lab.pull_request({"qgate.yml": f"version: 1\ntargets:\n{loose}{new}"}))
    assert len(report.policy.other_changes) == 8
    (notice,) = [each for each in report.notices if "alters the policy" in each]
    assert notice.count("is added") == 5 and notice.endswith("; and 3 more, all in the report.")
    assert "derivation" in report.policy.changes[0], report.policy.changes
    assert all(
        each.startswith("target plate: FEA201.min_db is ") or "BEH101.max_drop" in each
        for each in report.policy.changes[1:]
    )
