"""A real git repository to gate, and a verifier that reads its numbers out of small JSON "models"."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qgate.errors import SourceError
from qgate.events import Activity, Kind
from qgate.gate.run import run_gate
from qgate.git.repository import open_repository
from qgate.plan.approval import Approval, Granted
from qgate.plan.digests import file_digest
from qgate.plan.targets import TargetRun
from qgate.records import DataUsed, Finding, Measurement, Place, Severity, Verdict
from qgate.report.schema import Artifact, Report, TargetReport
from qgate.rules.traceability import default_limits
from qgate.settings import Settings
from tests.git.scratch import ScratchRepository

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIN_DB = {"strict": 35.0, "balanced": 30.0, "permissive": 20.0}

POLICY = """\
version: 1
targets:
  - name: plate
    candidate: models/plate.onnx
    reference: models/plate_fp32.onnx
    data: {inputs: data/plates.npz}
"""


@dataclass
class FakeVerifier:
    """Measures what the candidate's JSON says, and fails it below the profile's SQNR."""

    runs: list[TargetRun] = field(default_factory=list)

    def __call__(self, run: TargetRun) -> TargetReport:
        self.runs.append(run)
        repo = open_repository(run.repo)
        path = run.candidate.repository_path or getattr(run.candidate, "path", "")
        content = repo.read(run.candidate_revision, path, 2**20)
        if content is None:
            raise SourceError("there is no such file", where=path, remedy="Commit it")
        if content == b"crash":
            raise RuntimeError("the verifier fell over")
        numbers = json.loads(content)
        reference = run.reference.repository_path if run.reference else None
        data = run.data.inputs.repository_path if run.data else None
        digest = file_digest(repo, run.candidate_revision, path)
        report = TargetReport(
            name=run.name,
            verdict=Verdict.PASS,
            reason="sound",
            profile=self._profile(run),
            candidate=Artifact(locator=path, sha256=digest, files={Path(path).name: str(digest)}),
            reference=Artifact(locator=reference, sha256=file_digest(repo, run.reference_revision, reference))
            if reference
            else None,
            data=DataUsed(
                origin="given", sha256=file_digest(repo, run.data_revision, data), samples=100, seed=run.seed
            )
            if data
            else DataUsed(origin="generated", samples=32, seed=run.seed),
            measurements=tuple(
                Measurement(name=name, at=Place(output="logits"), value=value, unit="dB")
                for name, value in numbers.items()
            ),
            thresholds={"TRC102": default_limits("TRC102")},
        )
        return self.judge(report, run)

    def judge(self, report: TargetReport, run: TargetRun) -> TargetReport:
        sqnr = next((m.number for m in report.measurements if m.name == "output.sqnr_db"), float("inf"))
        least = MIN_DB[self._profile(run)]
        if sqnr >= least:
            return report.model_copy(update={"verdict": Verdict.PASS, "reason": "sound", "findings": ()})
        waived = next(
            (w.reason for w in run.policy.waivers if w.target == run.name and w.rule == "FEA201"), None
        )
        finding = Finding(
            rule="FEA201",
            severity=Severity.ERROR,
            effect=Verdict.FAIL,
            message=f"SQNR {sqnr} dB is below {least} dB",
            waived=waived,
        )
        verdict = Verdict.FAIL if waived is None else Verdict.PASS
        return report.model_copy(
            update={"verdict": verdict, "reason": finding.message, "findings": (finding,)}
        )

    @staticmethod
    def _profile(run: TargetRun) -> str:
        return run.profile or run.target.profile or run.policy.profile

    def of(self, purpose: str) -> list[TargetRun]:
        return [run for run in self.runs if run.purpose == purpose]


class Lab(ScratchRepository):
    """A git repository with a policy, a model, a reference and data on ``main``."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.verifier = FakeVerifier()
        self.approvals: tuple[Approval, ...] = ()

    @staticmethod
    def model(sqnr: float = 40.0, **more: float) -> bytes:
        """A "model": the numbers that measuring it gives."""
        return json.dumps({"output.sqnr_db": sqnr, **more}).encode()

    @staticmethod
    def rules(report: Report) -> list[tuple[str, str]]:
        """Rule and severity of every finding, the run's first."""
        found = [*report.findings, *(f for target in report.targets for f in target.findings)]
        return [(finding.rule, finding.severity.value) for finding in found]

    def start(self, policy: str | None = POLICY, **more: bytes | str) -> str:
        """The first commit of main."""
        files: dict[str, bytes | str | None] = {
            "models/plate.onnx": self.model(),
            "models/plate_fp32.onnx": b"reference",
            "data/plates.npz": b"data",
            "README.md": "hello",
            **{name.replace("__", "/"): content for name, content in more.items()},
        }
        if policy is not None:
            files["qgate.yml"] = policy
        return self.commit(files)

    def pull_request(
        self, files: dict[str, bytes | str | None], *, base: str = "main", **more: Any
    ) -> Activity:
        """Commits files on a branch and checks out its test merge, as actions/checkout does."""
        self.git("checkout", "-q", "-b", "patch")
        head = self.commit(files)
        self.git("checkout", "-q", "--detach", base)
        self.git("merge", "-q", "--no-ff", "-m", "merge", "patch")
        return Activity(
            Kind.PULL_REQUEST,
            "pull_request",
            repository="octo/models",
            default_branch=more.pop("default_branch", "main"),
            base_ref=base,
            base_sha=self.git("rev-parse", base),
            head_sha=head,
            merge_sha=self.git("rev-parse", "HEAD"),
            number=7,
            author="alice",
            **more,
        )

    def approve(self, activity: Activity, **changes: Any) -> None:
        facts = {"label": "qgate-approved", "actor": "bob", "role": "write", "author": "alice"}
        self.approvals = (Approval(**{**facts, "at_sha": str(activity.head_sha), **changes}),)

    def gate(self, activity: Activity | None = None, **settings: Any) -> Report:
        """Runs the gate on what is checked out."""
        settings.setdefault("workspace", self.root)
        settings.setdefault("report_dir", self.root.parent / "report")
        return run_gate(
            Settings(**settings),
            activity or Activity(Kind.LOCAL),
            verify=self.verifier,
            judge_again=self.verifier.judge,
            approvals=lambda label: Granted(self.approvals),
            now=NOW,
        )


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "repo")


@pytest.fixture
def new_lab(tmp_path: Path) -> Callable[[str], Lab]:
    return lambda name: Lab(tmp_path / name)
