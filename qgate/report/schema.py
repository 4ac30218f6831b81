"""The report ``qgate-report/v1``: what was judged, what was measured, what was found.

Everything that renders, publishes, compares or audits works from this one record. The JSON Schema in
``schemas/`` is generated from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from qgate.errors import QgateError
from qgate.merkle import content_digest, parse_entry
from qgate.records import (
    DataUsed,
    Detail,
    Finding,
    Limit,
    Measurement,
    Number,
    Outcomes,
    Record,
    Sandbox,
    Severity,
    Value,
    Verdict,
)
from qgate.report.canonical import parse_sealed, sealed

SCHEMA = "qgate-report/v1"
MAX_BYTES = 256 * 2**20
MAX_TENSORS = 50_000
"""The most tensors whose roots are listed."""


class Artifact(Record):
    """One model as it was judged: where it came from and the digest of every byte of it."""

    locator: str
    format: str | None = None
    sha256: str | None = None
    content: str | None = Field(
        default=None,
        description="Digest of the decoded tensors and the graph, the same for every way of storing them",
    )
    bytes: int | None = None
    files: dict[str, str] = Field(default={}, description="sha256 of every file it consists of")


class Content(Record):
    """What a model holds, whatever file it is held in: digests of its graph and of each tensor."""

    graph: str = Field(description="sha256 of the graph in canonical order, tensors left out")
    count: int = Field(ge=0, description="How many tensors there are")
    tensors: tuple[str, ...] = Field(
        default=(),
        description="DTYPE SHAPE ROOT NAME of each, in the order in which the graph uses them; none if too many",
    )

    @field_validator("tensors")
    @classmethod
    def _told_apart(cls, tensors: tuple[str, ...]) -> tuple[str, ...]:
        names = {parse_entry(text).name for text in tensors}
        if len(names) != len(tensors):
            raise ValueError("a tensor is listed twice")
        return tensors

    def agrees_with(self, artifact: Artifact) -> bool:
        """Whether the artifact's content digest is the one of these tensors; True where they are too many."""
        if self.count != len(self.tensors):
            return not self.tensors and self.count > MAX_TENSORS
        return artifact.content == content_digest(self.graph, self.tensors)


class TensorDelta(Record):
    """One tensor that is not what it was in the accepted model, and where."""

    name: str
    kind: Literal["changed", "added", "removed", "renamed", "retyped"]
    dtype: str
    shape: tuple[int, ...]
    before: str | None = Field(default=None, description="Its old name, or its old type and shape")
    same_as: str | None = Field(default=None, description="The tensor whose accepted values it now holds")
    elements: int | None = Field(default=None, description="How many elements differ, where that is known")
    at: tuple[tuple[int, ...], ...] = Field(default=(), description="The first of them")
    was: str | None = Field(default=None, description="Bits of the first of them in the accepted model")
    now: str | None = Field(default=None, description="Its bits now")
    ranges: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = Field(
        default=(), description="First and last element of each run of leaves that differ, in order of memory"
    )


class ContentDelta(Record):
    """The content of the candidate against that of the accepted model."""

    state: Literal["same", "changed", "unknown"]
    reason: str = Field(default="", description="Why it is unknown, or why places are not known better")
    files: bool = Field(default=False, description="Whether the files' bytes differ")
    graph: bool = Field(default=False, description="Whether the graph differs")
    wiring: bool = Field(default=False, description="Whether the same graph uses other tensors at its places")
    total: int = Field(default=0, description="How many tensors the candidate has")
    counts: dict[str, int] = Field(default={}, description="Tensors that differ, by kind")
    located: Literal["elements", "leaves", "tensors"] = "tensors"
    tensors: tuple[TensorDelta, ...] = Field(default=(), description="The first of them")


class Delta(Record):
    """One measurement against the baseline's."""

    name: str
    at: str
    baseline: Value | None
    current: Value | None
    unit: str = ""
    worse: bool = False
    gone: bool = False
    new: bool = False


class OutcomeChange(Record):
    """One sample that is answered otherwise than by the accepted model."""

    sample: int
    was_right: bool
    is_right: bool
    reference_right: bool
    was: int | None = Field(
        default=None, description="The class that the accepted model answered, -1 for none"
    )
    now: int | None = Field(default=None, description="The class that the candidate answers")


class OutcomeDelta(Record):
    """Outcomes of the samples against those of the accepted model."""

    samples: int
    to_wrong: int = Field(description="Samples that the accepted model got right and the candidate does not")
    to_right: int
    changed: int = Field(description="Samples with another answer, right or wrong")
    changes: tuple[OutcomeChange, ...] = Field(
        default=(), description="The first of them, the newly wrong first"
    )


class BaselineUsed(Record):
    """Which baseline the target was compared with."""

    state: Literal["stored", "remeasured", "none", "not-compared"]
    reason: str = ""
    path: str | None = None
    sha256: str | None = None
    deltas: tuple[Delta, ...] = ()
    content: ContentDelta | None = None
    outcomes: OutcomeDelta | None = Field(
        default=None, description="None where either side's are not known, or are of other data"
    )


class CodeUsed(Record):
    """Code of the trusted side that took part in measuring."""

    role: str = Field(description="What it was for, for example factory.candidate")
    locator: str = Field(description="module:function as policy or command line write it")
    files: dict[str, str] = Field(default={}, description="sha256 of every file of it, by path")


class TargetReport(Record):
    """One target: its verdict and everything that led to it."""

    name: str
    verdict: Verdict
    reason: str = Field(description="The verdict in one line")
    profile: str
    scheme: str | None = None
    proposed: bool = Field(default=False, description="The change itself added this target")
    candidate: Artifact
    reference: Artifact | None = None
    content: Content | None = Field(default=None, description="Of the candidate")
    data: DataUsed = DataUsed(origin="none")
    code: tuple[CodeUsed, ...] = Field(default=(), description="Code of the trusted side that took part")
    sandbox: Sandbox | None = Field(default=None, description="None where nothing was run")
    measurements: tuple[Measurement, ...] = ()
    outcomes: Outcomes | None = Field(
        default=None, description="Of each sample, where the task has right and wrong"
    )
    findings: tuple[Finding, ...] = ()
    thresholds: dict[str, dict[str, Limit]] = Field(default={}, description="Thresholds in force, by rule")
    declared: Detail = Field(
        default={}, description="What rules were told beside measurements and thresholds"
    )
    baseline: BaselineUsed = BaselineUsed(state="not-compared")
    timings: dict[str, Number] = Field(default={}, description="Seconds by step; not deterministic")

    def count(self, severity: Severity) -> int:
        """How many findings of that severity are not waived."""
        return sum(1 for f in self.findings if f.severity is severity and f.waived is None)


class Skipped(Record):
    """A target that was not run, and why."""

    name: str
    reason: str


class PolicyUsed(Record):
    """The policy that judged, and what the change does to it."""

    path: str | None = None
    revision: str | None = None
    sha256: str | None = None
    bootstrap: bool = False
    changes: tuple[str, ...] = Field(
        default=(), description="What the change loosens, deletes or waives, the worst first"
    )
    other_changes: tuple[str, ...] = Field(
        default=(), description="What else the change alters of the policy"
    )
    approved_by: str | None = None


class Provenance(Record):
    """Who measured, with what, on which machine, for which commits."""

    tool: str
    versions: dict[str, str] = Field(default={}, description="Versions by package")
    cpu: str = ""
    cpu_flags: tuple[str, ...] = ()
    isa: str = Field(default="", description="ISA class that numbers may be compared within")
    seed: int = 0
    repository: str | None = None
    event: str | None = None
    pull_request: int | None = None
    base_sha: str | None = None
    head_sha: str | None = None
    merge_sha: str | None = None
    run_url: str | None = None
    generated_at: str | None = Field(default=None, description="UTC, RFC 3339; not deterministic")


class Summary(Record):
    """The whole run in one line and a few counts."""

    headline: str
    targets: int = 0
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    errors: int = 0
    findings: dict[str, int] = Field(default={}, description="Findings by severity, waived ones apart")


class Report(Record):
    """The whole run."""

    schema_: Literal["qgate-report/v1"] = Field(default="qgate-report/v1", alias="schema")
    verdict: Verdict
    summary: Summary
    targets: tuple[TargetReport, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    findings: tuple[Finding, ...] = Field(default=(), description="Findings about the run, not one target")
    notices: tuple[str, ...] = Field(default=(), description="What the reader must know about this run")
    policy: PolicyUsed = PolicyUsed()
    provenance: Provenance
    digest: str | None = Field(
        default=None, description="sha256 of the file without this line; against accidents, no signature"
    )

    def to_json(self) -> str:
        """Canonical JSON with the digest of itself: sorted keys, no NaN, one final newline."""
        return sealed(self.model_dump(mode="json", by_alias=True))


def read_report(path: Path) -> Report:
    """Reads and validates a stored report, treating it as hostile data.

    Raises:
        QgateError: The file is missing, too large, not as it was written, or not of the schema.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise QgateError("the report is larger than 256 MiB", where=str(path))
        return Report.model_validate(parse_sealed(path.read_bytes()))
    except OSError as error:
        raise QgateError(f"the report cannot be read ({error.strerror})", where=str(path)) from error
    except (ValidationError, ValueError, RecursionError) as error:
        first = str(error).splitlines()[0][:200]
        raise QgateError(
            f"not a {SCHEMA} report: {first}", where=str(path), remedy="Run `qgate verify` again"
        ) from error
