"""The content of a candidate against the accepted model's, through the gate; and files that lie about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from qgate.baseline.acceptance import accept_target
from qgate.merkle import content_digest
from qgate.plan.targets import TargetRun
from qgate.records import Verdict
from qgate.report.schema import Content, ContentDelta, TargetReport
from qgate.settings import Settings

Lab = Any  # tests/gate/conftest.py
FILE = ".qgate/baseline/plate.json"


class Digesting:
    """The lab's verifier, where each number of a "model" is a tensor of it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, run: TargetRun) -> TargetReport:
        report: TargetReport = self.inner(run)
        roots = {m.name: f"{m.value:09.4f}".replace(".", "_").ljust(43, "-") for m in report.measurements}
        entries = [f"float - {root} {name}" for name, root in sorted(roots.items())]
        artifact = report.candidate.model_copy(update={"content": content_digest("g", entries)})
        content = Content(graph="g", count=len(entries), tensors=tuple(entries))
        return report.model_copy(update={"candidate": artifact, "content": content})


@pytest.fixture
def digesting(lab: Lab) -> Lab:
    lab.verifier = Digesting(lab.verifier)
    lab.start()
    return lab


def accept(lab: Lab) -> dict[str, Any]:
    accept_target(Settings(workspace=lab.root), "plate", "first", lab.verifier)
    found: dict[str, Any] = json.loads((lab.root / FILE).read_text())
    return found


def only(report: Any) -> Any:
    (target,) = report.targets
    return target


def told(report: Any, rule: str) -> str:
    return " | ".join(f.message for f in only(report).findings if f.rule == rule)


def test_the_baseline_holds_the_roots(digesting: Lab) -> None:
    stored = accept(digesting)
    assert stored["content"]["count"] == 1
    assert stored["content"]["tensors"][0].endswith(" output.sqnr_db")
    assert stored["candidate"]["content"] == content_digest("g", stored["content"]["tensors"])


@pytest.mark.parametrize("baseline", [True, False])
def test_what_changed_is_a_note(digesting: Lab, baseline: bool) -> None:
    if baseline:
        accept(digesting)
        digesting.commit({})
    report = digesting.gate(digesting.pull_request({"models/plate.onnx": digesting.model(40.5)}))
    assert report.verdict is Verdict.PASS
    content = only(report).baseline.content
    assert (content.state, content.counts, content.files) == ("changed", {"changed": 1}, True)
    assert "1 of 1 tensors changed since the accepted model" in told(report, "TRC114")


def test_a_file_saved_otherwise_is_no_alarm(digesting: Lab) -> None:
    accept(digesting)
    digesting.commit({})
    same = digesting.model(40.0) + b"\n"
    report = digesting.gate(digesting.pull_request({"models/plate.onnx": same}))
    assert (report.verdict, only(report).baseline.content.state) == (Verdict.PASS, "same")
    assert "to the bit; only the way of storing it differs" in told(report, "TRC114")


def test_an_unchanged_candidate_says_nothing(digesting: Lab) -> None:
    accept(digesting)
    report = digesting.gate(digesting.pull_request({"data/plates.npz": b"other"}))
    assert told(report, "TRC114") == ""


def changed(stored: dict[str, Any], *, digest: bool) -> str:
    """The file with another root, and with a content digest that fits it or not."""
    entry = stored["content"]["tensors"][0]
    stored["content"]["tensors"][0] = entry.replace(" 0040_0000", " 0041_0000")
    assert stored["content"]["tensors"][0] != entry
    if digest:
        stored["candidate"]["content"] = content_digest("g", stored["content"]["tensors"])
    return json.dumps(stored)


def test_a_root_that_was_edited_makes_the_file_corrupt(digesting: Lab) -> None:
    digesting.commit({FILE: changed(accept(digesting), digest=False)})
    report = digesting.gate(digesting.pull_request({"models/plate.onnx": digesting.model(41)}))
    assert report.verdict is Verdict.ERROR
    assert "roots do not give the candidate's content digest" in told(report, "TRC109")


def test_a_carried_baseline_with_other_roots_is_refused(digesting: Lab) -> None:
    first = accept(digesting)
    digesting.commit({})
    report = digesting.gate(digesting.pull_request({FILE: changed(first, digest=True)}))
    assert report.verdict is Verdict.FAIL
    assert "digests of the content are not those of the candidate (output.sqnr_db)" in told(report, "TRC110")


def test_a_carried_baseline_without_roots_is_refused(digesting: Lab) -> None:
    first = accept(digesting)
    digesting.commit({})
    del first["content"], first["candidate"]["content"]
    report = digesting.gate(digesting.pull_request({FILE: json.dumps(first)}))
    assert report.verdict is Verdict.FAIL
    assert "the content is digested here only" in told(report, "TRC110")


def test_a_stored_baseline_without_roots_is_said(digesting: Lab) -> None:
    first = accept(digesting)
    del first["content"], first["candidate"]["content"]
    digesting.commit({FILE: json.dumps(first)})
    report = digesting.gate(digesting.pull_request({"models/plate.onnx": digesting.model(40.5)}))
    assert report.verdict is Verdict.PASS
    assert "not known: the accepted model's content was not digested" in told(report, "TRC114")


def test_the_accepted_candidate_is_handed_to_who_locates(
    digesting: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qgate.gate.run as gate_run

    asked: list[tuple[TargetRun, TargetRun | None]] = []

    def locate(run: TargetRun, older: TargetRun | None, delta: ContentDelta, accepted: Any) -> ContentDelta:
        asked.append((run, older))
        assert accepted[0].sha256 != only_digest(digesting)
        return delta.model_copy(update={"located": "elements"})

    plain = gate_run.Circumstances
    monkeypatch.setattr(gate_run, "Circumstances", lambda **known: replace(plain(**known), locate=locate))
    accept(digesting)
    base = digesting.commit({})
    report = digesting.gate(digesting.pull_request({"models/plate.onnx": digesting.model(40.5)}))
    ((run, older),) = asked
    assert older is not None
    assert (older.candidate_revision, older.candidate) == (base, run.candidate)
    assert only(report).baseline.content.located == "elements"


def only_digest(lab: Lab) -> str:
    import hashlib

    return hashlib.sha256(lab.model(40.5)).hexdigest()
