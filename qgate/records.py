"""The words of qgate as types: verdicts, places, measurements, findings.

These are data and nothing else. A measurement knows no threshold; a finding is a rule's judgement of
measurements. Both travel unchanged into the report.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _to_number(value: object) -> object:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def _from_number(value: float) -> float | str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


Number = Annotated[
    float,
    BeforeValidator(_to_number),
    PlainSerializer(_from_number, return_type=float | str, when_used="json"),
]
"""A float whose non-finite values are the strings "nan", "inf" and "-inf" in JSON."""


class Record(BaseModel):
    """Base of everything that is stored: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Verdict(StrEnum):
    """The outcome for a target or a run. Only PASS is green."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"
    ERROR = "ERROR"

    @property
    def rank(self) -> int:
        """Position from best (0) to worst (3)."""
        return list(Verdict).index(self)

    @property
    def exit_code(self) -> int:
        """0 for PASS, 1 for FAIL, 2 for the verdicts that could not be reached."""
        return {Verdict.PASS: 0, Verdict.FAIL: 1}.get(self, 2)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict; PASS for none, so callers must have checked that something was judged."""
    return max(verdicts, key=lambda verdict: verdict.rank, default=Verdict.PASS)


class Severity(StrEnum):
    """How much a finding weighs: an error blocks, a warning and a note inform."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Place(Record):
    """Where something is, in the file's own names."""

    file: str | None = None
    input: str | None = None
    output: str | None = None
    tensor: str | None = None
    node: str | None = None
    index: tuple[int, ...] | None = None
    slice: str | None = None
    runtime: str | None = None

    def __str__(self) -> str:
        parts = [f"{key} {value}" for key, value in self if value is not None and key != "index"]
        if self.index is not None:
            parts.append("[" + ", ".join(map(str, self.index)) + "]")
        return " ".join(parts)


def _from_value(value: bool | int | float | str) -> bool | int | float | str:
    return _from_number(value) if isinstance(value, float) else value


Value = Annotated[
    bool | int | float | str,
    BeforeValidator(_to_number),
    PlainSerializer(_from_value, return_type=bool | int | float | str, when_used="json"),
]
"""A number or a word; non-finite numbers as in Number."""


def _spelled_out(value: Any) -> Any:
    """The same JSON value with its non-finite numbers as words, at any depth."""
    if isinstance(value, dict):
        return {key: _spelled_out(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled_out(item) for item in value]
    return _from_number(value) if isinstance(value, float) else value


Detail = Annotated[
    dict[str, Any], PlainSerializer(_spelled_out, return_type=dict[str, Any], when_used="json")
]
"""JSON values by name; non-finite numbers as in Number, at any depth."""


class Measurement(Record):
    """One number (or word) with unit, place, sample size and uncertainty.

    ``not_measured`` carries the reason where there is no value: absence is a type, never silence.
    """

    name: str
    at: Place = Place()
    value: Value | None = None
    unit: str = ""
    not_measured: str | None = None
    n: int | None = None
    low: Number | None = Field(default=None, description="Lower end of the 95 % interval")
    high: Number | None = Field(default=None, description="Upper end of the 95 % interval")
    deterministic: bool = True
    detail: Detail = {}

    @model_validator(mode="after")
    def _one_of_value_and_reason(self) -> Measurement:
        if (self.value is None) == (self.not_measured is None):
            raise ValueError("a measurement has either a value or a reason why it has none")
        return self

    @property
    def number(self) -> float:
        """The value as a float; NaN where it was not measured, is a word or is beyond every float."""
        try:
            return math.nan if self.value is None or isinstance(self.value, str) else float(self.value)
        except OverflowError:
            return math.nan


class Limit(Record):
    """One threshold in force and where it came from."""

    value: Value
    unit: str = ""
    origin: str


class Sandbox(Record):
    """How the process was confined that ran the models."""

    user: int = Field(description="Who it ran as")
    landlock: int = Field(description="Version of Landlock in force; 0 where it was not")
    seccomp: bool = Field(description="Whether a filter of system calls was in force")
    lacking: dict[str, str] = Field(default={}, description="What could not be engaged, and why")
    memory_mb: int
    cpu_seconds: int
    wall_seconds: Number
    file_mb: int


class DataUsed(Record):
    """The inputs that the models were run on."""

    origin: Literal["given", "generated", "none"]
    locator: str | None = None
    sha256: str | None = None
    samples: int = 0
    seed: int | None = None
    labels: str | None = None


MAX_OUTCOMES = 4_000_000
"""Most samples whose outcomes are kept one by one."""

MAX_OUTCOME_BYTES = 2**18
"""Most bytes that the answers of one model may take."""


class Outcomes(Record):
    """What became of each sample: whether each model was right, as bits, and what it answered."""

    n: int = Field(ge=0, le=MAX_OUTCOMES, strict=True)
    reference: str = Field(description="Base64 of a bit a sample, the lowest first: whether it is right")
    candidate: str = Field(description="The same of the candidate")
    width: Literal[0, 1, 2, 4] = Field(default=0, description="Bytes of an answer; 0 where none are kept")
    reference_answers: str = Field(
        default="", description="Base64 of the class that it answers plus one, little endian; 0 for none"
    )
    candidate_answers: str = Field(default="", description="The same of the candidate")

    @model_validator(mode="after")
    def _of_the_size(self) -> Outcomes:
        bits = (self.n + 7) // 8
        wanted = {"reference": bits, "candidate": bits}
        wanted |= {f"{name}_answers": self.n * self.width for name in ("reference", "candidate")}
        if self.n * self.width > MAX_OUTCOME_BYTES:
            raise ValueError("more answers than are kept")
        for name, size in wanted.items():
            text: str = getattr(self, name)
            if len(text) != 4 * ((size + 2) // 3):
                raise ValueError(f"{name} is of another number of samples")
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"{name} is not base64") from error
            if len(data) != size:
                raise ValueError(f"{name} is of another number of samples")
        return self

    def right(self, side: Literal["reference", "candidate"]) -> list[bool]:
        """Whether that model is right on each sample."""
        data = base64.b64decode(getattr(self, side))
        return [bool(data[i >> 3] >> (i & 7) & 1) for i in range(self.n)]

    def answers(self, side: Literal["reference", "candidate"]) -> tuple[int, ...] | None:
        """The class that it answers to each sample, -1 for none; None where answers are not kept."""
        if not self.width:
            return None
        data = base64.b64decode(getattr(self, f"{side}_answers"))
        kind = {1: "B", 2: "H", 4: "I"}[self.width]
        return tuple(each - 1 for each in struct.unpack(f"<{self.n}{kind}", data))


class Finding(Record):
    """A rule's judgement. ``effect`` is what it does to the verdict."""

    rule: str
    severity: Severity
    effect: Verdict = Verdict.PASS
    at: Place = Place()
    message: str
    evidence: Detail = {}
    remedy: str = ""
    waived: str | None = Field(default=None, description="The reason of the waiver that covers it")

    @model_validator(mode="after")
    def _only_errors_block(self) -> Finding:
        if (self.severity is Severity.ERROR) == (self.effect is Verdict.PASS):
            raise ValueError("an error finding blocks, a warning or a note does not")
        return self


_NOT_RUN = "ART112"
"""The rule of files that a runtime refuses."""


EXPLAINED_BY = "explained_by"
"""In a finding's evidence: the rule whose finding of the same target is its cause."""

Weight = tuple[int, bool, bool]


def weigher(findings: Iterable[Finding]) -> Callable[[Finding], Weight]:
    """The key by which findings of one target are told: by effect on the verdict, a cause before what a runtime makes of it.

    A runtime that refuses a file says so in its own words, of the first thing that it stumbles over. Where the graph was
    read and an error has a place in it, that is the finding to begin with. Nor does what names another finding as its cause
    stand before it.
    """
    findings = tuple(findings)
    refused = any(f.rule == _NOT_RUN and f.effect is Verdict.ERROR and f.waived is None for f in findings)

    causes = {f.rule for f in findings if f.severity is Severity.ERROR and f.waived is None}

    def weight(finding: Finding) -> Weight:
        cause = refused and _is_located_cause(finding)
        explained = str(finding.evidence.get(EXPLAINED_BY)) in causes
        return -(Verdict.ERROR if cause else finding.effect).rank, not cause, explained

    return weight


def _is_located_cause(finding: Finding) -> bool:
    located = finding.at.node is not None or finding.at.tensor is not None
    structural = finding.rule.startswith(("ART", "QNT", "RNG1")) and finding.rule != _NOT_RUN
    return finding.severity is Severity.ERROR and finding.waived is None and located and structural


_COUNTED = (
    "bits", "codes", "deviations", "elements", "kinds", "layers", "nodes", "outputs", "samples", "steps", "weights"
)  # fmt: skip


def unit_of(value: object, unit: str) -> str:
    """The unit as it stands behind a value: one element, two elements."""
    return unit.removesuffix("s") if unit in _COUNTED and value in (1, -1) else unit
