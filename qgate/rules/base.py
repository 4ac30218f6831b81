"""What a rule is: its id, its words, its thresholds, and the pure function that judges measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from qgate.records import Finding, Limit, Measurement, Place, Severity, Value, Verdict

BUILT_IN = "built-in profile"
"""How the origin of every threshold begins that no policy set."""
PROFILES = ("strict", "balanced", "permissive")
SLICE_RULES = ("BEH101", "BEH102", "BEH104", "BEH110")
"""Rules whose thresholds may be others for single slices; without, only BEH104 looks at them."""

CLASS_RULES = ("BEH103",)
"""Rules whose thresholds may be others for single classes, as ``label=3``."""

METRIC_RULES = ("BEH101", "BEH105", "BEH106", "BEH110")
"""Rules whose thresholds may be others for single metrics."""

SCHEMES = ("int8", "int4", "fp16", "fp8", "none")


class Family(StrEnum):
    """The rule families of the design."""

    ART = "artifact"
    QNT = "quantization"
    RNG = "numeric range"
    FEA = "features and outputs"
    BEH = "behaviour"
    TRC = "traceability"
    DEP = "deployability"
    CST = "cost"


@dataclass(frozen=True)
class Param:
    """One threshold of a rule.

    Args:
        name: Key in the policy, for example ``min_db``.
        doc: What it bounds, one sentence.
        strict: Value in the profile ``strict``; likewise ``balanced`` and ``permissive``.
        unit: ``dB``, ``ratio``, ``steps``, ...; empty for plain numbers and words.
        by_scheme: Values that replace the profile's for a quantization scheme, by profile:
            ``{"int4": (strict, balanced, permissive)}``.
        choices: The only words allowed, for parameters that are words.
    """

    name: str
    doc: str
    strict: Value
    balanced: Value
    permissive: Value
    unit: str = ""
    by_scheme: Mapping[str, tuple[Value, Value, Value]] = field(default_factory=dict)
    choices: tuple[str, ...] = ()

    def default(self, profile: str, scheme: str | None) -> tuple[Value, str]:
        """The built-in value for a built-in profile and a scheme, and where it came from."""
        position = PROFILES.index(profile)
        if scheme is not None and scheme in self.by_scheme:
            return self.by_scheme[scheme][position], f"{BUILT_IN} {profile}, scheme {scheme}"
        return (self.strict, self.balanced, self.permissive)[position], f"{BUILT_IN} {profile}"


def severity_param(strict: str, balanced: str, permissive: str) -> Param:
    """The implicit parameter of every rule: how much its findings weigh."""
    return Param(
        "severity",
        "How much a finding of this rule weighs.",
        strict,
        balanced,
        permissive,
        choices=tuple(Severity),
    )


def slice_key(name: str, piece: str) -> str:
    """What the threshold of one slice is called among those in force: ``max_drop[country=DE]``."""
    return f"{name}[{piece}]"


def metric_key(measured: object) -> str:
    """What a policy calls the metric of a measurement: ``topk`` for ``top5``."""
    name = str(measured)
    if name != "top1" and name.startswith("top") and name[3:].isdecimal():
        return "topk"
    if name.startswith("recall_at_"):
        return "recall_at_k"
    return "python" if name in ("score", "error") else name


def slice_of(key: str) -> tuple[str, str]:
    """The parameter and the slice that ``slice_key`` was made of; no slice where it was not."""
    name, bracket, rest = key.partition("[")
    return (name, rest[:-1]) if bracket and rest.endswith("]") else (key, "")


def limit_in_force(limits: Mapping[str, Limit], name: str, piece: str | None, metric: object = None) -> Limit:
    """The threshold that a slice, class or metric is held to: the piece's own, else the metric's, else that of all.

    Rules judge by it and two policies are compared by it, so that what is told to be in force is what judges.

    Args:
        limits: One rule's thresholds.
        name: The parameter.
        piece: A slice or class, as ``country=DE``.
        metric: What was measured, as a policy or a measurement names it.
    """
    keys = [slice_key(name, each) for each in (piece, metric_key(metric) if metric else None) if each]
    return next((limits[key] for key in keys if key in limits), limits[name])


@dataclass(frozen=True)
class RuleContext:
    """What a rule may look at: measurements, its own thresholds and the target's declaration.

    Args:
        measurements: All measurements of the target, by name.
        limits: This rule's thresholds in force.
        scheme: The scheme that the candidate was found to have.
        declared: What the policy declares of the target (scheme, derivation, task, io, ...).
    """

    rule: Rule
    measurements: Mapping[str, tuple[Measurement, ...]]
    limits: Mapping[str, Limit]
    scheme: str | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)

    def all(self, name: str) -> tuple[Measurement, ...]:
        """Every measurement of that name, empty where there is none."""
        return self.measurements.get(name, ())

    def limit(self, name: str) -> float:
        """A threshold of this rule as a number."""
        return float(self.limits[name].value)

    def word(self, name: str) -> str:
        """A threshold of this rule as a word."""
        return str(self.limits[name].value)

    def limit_of(self, name: str, piece: str | None, metric: object = None) -> Limit:
        """A threshold of this rule for one slice, class or metric: its own where the policy gives one, a slice's first."""
        return limit_in_force(self.limits, name, piece, metric)

    def limit_for(self, name: str, found: Measurement) -> Limit:
        """A threshold of this rule for what was measured: by its slice or class, by its metric, or for all."""
        return self.limit_of(name, found.at.slice, found.detail.get("metric"))

    def own_pieces(self) -> tuple[str, ...]:
        """Slices and classes that have thresholds of their own, as ``country=DE``."""
        return tuple(p for p in dict.fromkeys(slice_of(key)[1] for key in self.limits) if "=" in p)

    def finding(
        self,
        message: str,
        *,
        at: Place | None = None,
        evidence: Mapping[str, Any] | None = None,
        severity: Severity | None = None,
        effect: Verdict = Verdict.FAIL,
        remedy: str | None = None,
    ) -> Finding:
        """A finding of this rule, with the severity in force unless another is named.

        ``effect`` is what it does to the verdict if its severity is ``error``.
        """
        weight = severity if severity is not None else Severity(self.word("severity"))
        return Finding(
            rule=self.rule.id,
            severity=weight,
            effect=effect if weight is Severity.ERROR else Verdict.PASS,
            at=at or Place(),
            message=message,
            evidence=dict(evidence or {}),
            remedy=self._remedy() if remedy is None else remedy,
        )

    def _remedy(self) -> str:
        generated = self.declared.get("data") == "generated" and self.rule.generated_remedy
        return self.rule.generated_remedy if generated else self.rule.remedy


@dataclass(frozen=True)
class Rule:
    """A rule of the catalogue.

    Args:
        id: Stable id, family and number, for example ``RNG103``.
        title: One sentence: what must hold.
        why: Why it matters.
        how: How it is measured, with the source of the formula.
        remedy: What to do when it fails.
        check: Pure function from a context to findings.
        params: Its thresholds; ``severity`` is among them.
        pair_remedy: The remedy in the words of the command line, where one pair is verified and there is no policy.
        generated_remedy: The remedy where inputs were generated, if what the rule looks at depends on them.
    """

    id: str
    title: str
    why: str
    how: str
    remedy: str
    check: Callable[[RuleContext], Iterator[Finding]]
    params: tuple[Param, ...]
    pair_remedy: str = ""
    generated_remedy: str = ""

    @property
    def family(self) -> Family:
        """The family that the id begins with."""
        return Family[self.id[:3]]

    def param(self, name: str) -> Param | None:
        """The parameter of that name, if the rule has it."""
        return next((p for p in self.params if p.name == name), None)


ADD_INPUTS = (
    "Add real inputs (--inputs X.npz, or `data.inputs` in the policy): generated ones do not tell a bad calibration from "
    "inputs that the model was not made for"
)
"""The remedy of what generated inputs show: whether to calibrate anew, they do not tell."""


def no_check(_: RuleContext) -> Iterator[Finding]:
    """For rules whose findings are made where the fact is known (acquisition, policy, baseline)."""
    return iter(())


def rule(
    rule_id: str,
    title: str,
    *,
    why: str,
    how: str,
    remedy: str,
    pair_remedy: str = "",
    generated_remedy: str = "",
    params: Iterable[Param] = (),
    severity: tuple[str, str, str] = ("error", "error", "error"),
    check: Callable[[RuleContext], Iterator[Finding]] = no_check,
) -> Rule:
    """Builds a rule and adds its implicit ``severity`` parameter."""
    thresholds = (severity_param(*severity), *params)
    return Rule(rule_id, title, why, how, remedy, check, thresholds, pair_remedy, generated_remedy)
