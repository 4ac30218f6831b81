"""A running local GitHub whose every exchange must follow GitHub's OpenAPI description."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from local_github.faults import Fault
from local_github.server import GitHub

from qgate.github.client import Client
from qgate.github.patience import Patience
from qgate.records import Finding, Place, Severity, Verdict
from qgate.report.schema import Artifact, Provenance, Report, Summary, TargetReport
from qgate.settings import Settings

REPOSITORY = "acme/widgets"
HEAD = "1" * 40
RUN_URL = "https://github.com/acme/widgets/actions/runs/55"


@dataclass
class Time:
    """A clock that only pauses move; ``pauses`` are the seconds asked for."""

    seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds

    def patience(self, seconds: float = 90.0) -> Patience:
        return Patience(seconds, lambda: self.seconds, lambda: 1_000_000 + self.seconds, self.sleep)


class Rig:
    """The server, the repository in it, and what the code under test is given."""

    def __init__(self, github: GitHub) -> None:
        self.github = github
        self.time = Time()
        self.set_up(number=7)

    def set_up(self, *, permissions: dict[str, str] | None = None, **pull: Any) -> None:
        order = {
            "repository": REPOSITORY,
            "permissions": permissions or {},
            "pull_request": {"number": 7, **pull},
        }
        self.github.world.set_up(order)

    def client(
        self, token: str = "ghs_rw", *, seconds: float = 90.0, timeout: int = 15, prefix: str = ""
    ) -> Client:
        patience = self.time.patience(seconds)
        return Client(token, REPOSITORY, self.github.url + prefix, patience=patience, timeout=timeout)

    def settings(self, **changes: Any) -> Settings:
        given = {
            "token": "ghs_rw",
            "repository": REPOSITORY,
            "api_url": self.github.url,
            "run_id": "55",
            **changes,
        }
        return Settings(**given)

    def fault(self, match: str, **how: Any) -> None:
        self.github.faults.append(Fault(match, **how))

    @property
    def comments(self) -> list[Any]:
        return list(self.github.world.repositories[REPOSITORY].comments.values())

    @property
    def statuses(self) -> list[Any]:
        return self.github.world.repositories[REPOSITORY].statuses

    def asked(self, method: str, ending: str = "") -> int:
        """How many requests of a method went to paths with that ending."""
        return sum(r["method"] == method and r["path"].endswith(ending) for r in self.github.requests)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with GitHub().running() as github:
        yield Rig(github)
    assert github.violations == []


@pytest.fixture
def report() -> Callable[..., Report]:
    def build(verdict: Verdict = Verdict.PASS, **changes: Any) -> Report:
        blocking = verdict is not Verdict.PASS
        finding = Finding(
            rule="RNG103",
            severity=Severity.ERROR if blocking else Severity.NOTE,
            effect=verdict,
            at=Place(tensor=changes.pop("tensor", "conv1.weight")),
            message=changes.pop("message", "Weight SQNR is 9 dB where 30 dB are asked for"),
            remedy="Calibrate again",
        )
        target = TargetReport(
            name="plate-ocr",
            verdict=verdict,
            reason="One line",
            profile="balanced",
            candidate=Artifact(locator="models/plate_int8.onnx"),
            findings=(finding,),
        )
        provenance = Provenance(tool="qgate 0", head_sha=HEAD, pull_request=7, repository=REPOSITORY)
        fields = {
            "verdict": verdict,
            "summary": Summary(headline="1 target judged", targets=1),
            "targets": (target,),
            "provenance": provenance,
            **changes,
        }
        return Report(**fields)

    return build
