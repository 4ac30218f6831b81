"""The accepted measurements of a candidate: read, checked against what they are bound to, made, written.

A baseline is bound to the digests of candidate, reference and data, to the seed, to this schema and to
the ISA class of the machine. Only what is bound to the same things is compared.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from qgate.errors import BaselineError
from qgate.files import replacing
from qgate.records import DataUsed, Measurement, Outcomes, Place, Record, Value, Verdict
from qgate.report.canonical import canonical_json, refuse_too_much
from qgate.report.schema import Artifact, Content, Provenance, TargetReport

SCHEMA: Literal["qgate-baseline/v1"] = "qgate-baseline/v1"
MAX_BASELINE_BYTES = 16 * 2**20
_FAMILY = "qgate-baseline/"
# Measured only where something is wrong: its absence is no loss, and its presence has rules of its own.
_SIGN = re.compile(
    r".*\.(defect|difference|operator|shape_mismatch|signature)|constant\.nonfinite"
    r"|deploy\.\w+\.\w+|runtime\.parting|tensorrt\.\w+"
)


class Entry(Record):
    """One accepted measurement."""

    name: str
    at: Place = Place()
    value: Value
    unit: str = ""
    n: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What it is matched by: name and place."""
        return self.name, str(self.at)


class Acceptance(Record):
    """Why these numbers were accepted."""

    reason: str = Field(min_length=1, max_length=500)
    previous: str | None = Field(default=None, description="sha256 of the baseline file that it replaces")


class Baseline(Record):
    """A target's baseline file."""

    schema_: Literal["qgate-baseline/v1"] = Field(default=SCHEMA, alias="schema")
    target: str
    candidate: Artifact
    reference: Artifact | None = None
    data: DataUsed = DataUsed(origin="none")
    seed: int = 0
    isa: str
    verdict: Verdict
    scheme: str | None = None
    profile: str = ""
    versions: dict[str, str] = Field(default={})
    acceptance: Acceptance | None = None
    content: Content | None = Field(default=None, description="Roots of the candidate's tensors")
    measurements: tuple[Entry, ...] = ()
    outcomes: Outcomes | None = Field(default=None, description="Of each sample of the data above")

    def to_json(self) -> str:
        """Canonical JSON: the same measurements give the same bytes."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))


@dataclass(frozen=True)
class Stored:
    """What the repository holds as a target's baseline.

    Args:
        state: ``stored`` can be compared with, ``stale`` describes something else, ``corrupt`` cannot be
            read, ``missing`` is not there.
        reason: Why it is not ``stored``.
        baseline: The file, unless it is corrupt, missing or of another schema.
        sha256: Digest of the file's bytes.
    """

    state: Literal["stored", "stale", "corrupt", "missing"]
    reason: str = ""
    baseline: Baseline | None = None
    sha256: str | None = None


def read_baseline(content: bytes | None, target: str) -> Stored:
    """Reads a baseline file as hostile data; never raises, for a corrupt file is a finding.

    Args:
        content: The file's bytes; None where there is no file.
        target: The target that it must be of.
    """
    if content is None:
        return Stored("missing", "there is no baseline file")
    digest = hashlib.sha256(content).hexdigest()
    try:
        if len(content) > MAX_BASELINE_BYTES:
            raise ValueError(f"larger than {MAX_BASELINE_BYTES // 2**20} MiB")
        refuse_too_much(content)
        raw = json.loads(content, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
        schema = raw.get("schema") if isinstance(raw, dict) else None
        if isinstance(schema, str) and schema.startswith(_FAMILY) and schema != SCHEMA:
            return Stored("stale", f"the baseline has the schema {schema[:40]}, not {SCHEMA}", None, digest)
        baseline = Baseline.model_validate(raw)
        if baseline.target != target:
            raise ValueError(f"it is the baseline of {baseline.target[:80]!r}, not of {target!r}")
        if len({entry.key for entry in baseline.measurements}) != len(baseline.measurements):
            raise ValueError("it holds a measurement twice")
        if baseline.content is not None and not baseline.content.agrees_with(baseline.candidate):
            raise ValueError("its tensors' roots do not give the candidate's content digest")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Stored("corrupt", f"the baseline is not {SCHEMA}: {where}: {first['msg']}"[:300], None, digest)
    except (ValueError, RecursionError) as error:
        return Stored("corrupt", f"the baseline cannot be read: {error}"[:300], None, digest)
    return Stored("stored", baseline=baseline, sha256=digest)


def check_bound(stored: Stored, report: TargetReport, *, isa: str, describes: bool) -> Stored:
    """Makes a readable baseline ``stale`` where it is bound to other things than this run.

    Args:
        stored: What was read.
        report: What this run measured of the judged candidate, with the same reference and data.
        isa: ISA class of this machine.
        describes: Whether its candidate is the trusted side's.
    """
    if stored.state != "stored" or stored.baseline is None:
        return stored
    reasons = list(unbound(stored.baseline, report, isa=isa))
    if not describes:
        reasons.insert(0, "it does not describe the trusted side's candidate")
    return replace(stored, state="stale", reason="; ".join(reasons)) if reasons else stored


def unbound(baseline: Baseline, report: TargetReport, *, isa: str | None) -> tuple[str, ...]:
    """What a baseline is bound to that this run has otherwise, candidate apart; empty if all agrees."""
    mine, now = baseline.data, report.data
    reference = report.reference.sha256 if report.reference else None
    pairs: tuple[tuple[str, object, object], ...] = (
        ("reference", baseline.reference.sha256 if baseline.reference else None, reference),
        ("data", (mine.origin, mine.sha256, mine.samples), (now.origin, now.sha256, now.samples)),
        ("labels", mine.labels, now.labels),
        ("seed", mine.seed, now.seed),
        ("ISA class", baseline.isa, baseline.isa if isa is None else isa),
    )
    return tuple(
        f"it was written for another {what}"
        + (f" ({old}, here {new})" if isinstance(old, str) and isinstance(new, str) else "")
        for what, old, new in pairs
        if old != new
    )


def make_baseline(
    report: TargetReport, provenance: Provenance, *, acceptance: Acceptance | None = None
) -> Baseline:
    """A baseline of what a run measured: everything deterministic that has a value.

    Raises:
        BaselineError: The run measured nothing that could be compared.
    """
    entries = entries_of(report.measurements)
    if not entries or report.candidate.sha256 is None:
        raise BaselineError(
            f"target {report.name} measured nothing that a baseline could hold ({report.verdict.value})",
            remedy="Fix what its report says, then accept",
        )
    return Baseline(
        target=report.name,
        candidate=report.candidate,
        reference=report.reference,
        data=report.data,
        seed=provenance.seed,
        isa=provenance.isa,
        verdict=report.verdict,
        scheme=report.scheme,
        profile=report.profile,
        versions=provenance.versions,
        acceptance=acceptance,
        content=report.content,
        measurements=entries,
        outcomes=report.outcomes,
    )


def entries_of(measurements: tuple[Measurement, ...]) -> tuple[Entry, ...]:
    """The comparable measurements, sorted by name and place."""
    found = {
        (m.name, str(m.at)): Entry(name=m.name, at=m.at, value=m.value, unit=m.unit, n=m.n)
        for m in measurements
        if m.value is not None and is_comparable(m)
    }
    return tuple(found[key] for key in sorted(found))


def is_comparable(measurement: Measurement) -> bool:
    """Whether a measurement has a value that two runs agree on and that both runs would take."""
    return (
        measurement.deterministic and measurement.value is not None and not _SIGN.fullmatch(measurement.name)
    )


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Writes a baseline file so that a reader sees the old one or the new one, never a part.

    Raises:
        BaselineError: The folder or the file cannot be written; what was there is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, mode=0o644) as file:
            file.write(baseline.to_json().encode("ascii"))
    except OSError as error:
        raise BaselineError(
            f"the baseline cannot be written ({error.strerror})",
            where=str(path),
            remedy="Make the folder writable and free some space; the old file is unchanged",
        ) from error


def _refuse_constant(token: str) -> float:
    raise ValueError(f"bare {token} is not JSON")


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found
