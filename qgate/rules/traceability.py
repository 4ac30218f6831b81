"""TRC: can the verdict be traced to a trusted policy, a trusted baseline and a decision that someone made?

These facts are known before or after a target is measured (policy, plan, baseline), so their findings are
made in the gate; the rules here carry words, thresholds and severity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qgate.records import Finding, Limit, Place, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule

_ALLOWANCES = (
    Param("sqnr_db", "How far an SQNR may fall below the baseline's.", 0.5, 1.0, 3.0, unit="dB"),
    Param("cosine", "How far a cosine similarity may fall.", 0.0001, 0.0005, 0.005),
    Param("agreement", "How far an agreement with the reference may fall.", 0.002, 0.005, 0.02, unit="ratio"),
    Param(
        "error_ratio",
        "How much an error (relative L2, mean relative error, KL, RMSE) may grow, as a share of "
        "the baseline's.",
        0.05,
        0.1,
        0.3,
        unit="ratio",
    ),
    Param(
        "extreme_ratio",
        "The same for errors that are one extreme value (max abs, largest KL), which move more.",
        0.25,
        0.5,
        1.0,
        unit="ratio",
    ),
    Param("error_abs", "Growth of an error that is never counted, however small it was.", 1e-6, 1e-5, 1e-4),
    Param("kl_abs", "The same for a KL divergence.", 0.0005, 0.001, 0.01, unit="nats"),
    Param("share", "How much a share (clipped, unused, outside) may grow.", 0.002, 0.005, 0.02, unit="ratio"),
    Param(
        "worst_db",
        "How far the SQNR of a single sample, the worst one or one at the edge, may fall.",
        3.0,
        6.0,
        12.0,
        unit="dB",
    ),
    Param(
        "distribution",
        "How much further two distributions may lie apart, or a probability may fall.",
        0.05,
        0.1,
        0.2,
    ),
    Param("metric", "How much further the task metric may drop.", 0.001, 0.003, 0.01),
    Param(
        "flips",
        "How many more samples may flip to wrong, as a share of all.",
        0.001,
        0.003,
        0.01,
        unit="ratio",
    ),
    Param("coverage", "How far the quantized share of the model may fall.", 0.0, 0.01, 0.05, unit="ratio"),
    Param("size", "How much the size may grow, as a share of the baseline's.", 0.05, 0.25, 0.5, unit="ratio"),
)

RULES = (
    rule(
        "TRC101",
        "A target has a baseline to be compared with",
        why="Without one, a model that decays a little with every change passes every time.",
        how="`.qgate/baseline/<target>.json` is read on the trusted side. Where it is missing or does not "
        "describe the trusted candidate, that candidate is measured again in this run. This finding says "
        "that neither was possible, or that the change deletes the file; it blocks where the policy says "
        "`require_baseline: true`.",
        remedy="Run `qgate accept TARGET --reason ...` and commit the file that it writes",
        severity=("note", "note", "note"),
    ),
    rule(
        "TRC102",
        "No measurement is worse than the baseline by more than the allowance",
        why="Absolute thresholds leave room; a drop that stays within them is still a drop that nobody "
        "decided on.",
        how="Each deterministic measurement is compared with the baseline's of the same name and place, in "
        "the direction that is better for it. Allowed is max(absolute, share x |baseline|), and two samples "
        "where it is a share of samples.",
        remedy="Fix the quantization, or run `qgate accept TARGET --reason ...` and have the change approved",
        params=_ALLOWANCES,
    ),
    rule(
        "TRC103",
        "What the baseline measured is still measured",
        why="A comparison over what both sides have passes a model whose failing output is no longer "
        "measured at all.",
        how="Measurements of the baseline without a counterpart (gone, or not measured this time) are "
        "listed. An output, a slice or a whole kind of measurement that is gone blocks; single tensors and "
        "nodes, whose names a new quantization may change, are listed as a note.",
        remedy="Restore the output or the data, or run `qgate accept TARGET --reason ...`",
    ),
    rule(
        "TRC104",
        "No waiver has run out",
        why="A waiver is a decision for a time; after that day it must be made again.",
        how="`waivers[].until` against the day of this run, in UTC. An expired waiver covers nothing.",
        remedy="Fix what it covered, or renew the waiver on the base branch",
        severity=("error", "warning", "warning"),
    ),
    rule(
        "TRC105",
        "A change that loosens the policy is approved",
        why="Whoever may change a model must not be able to change what it is judged by in the same breath.",
        how="Trusted and proposed policy are compared: thresholds, targets, waivers, requirements. Without "
        "the approval that the trusted policy asks for (`loosen`), the target is judged under both and the "
        "worse verdict counts.",
        remedy="Have a maintainer who is not the author add the approval label, or leave the policy as it is",
    ),
    rule(
        "TRC106",
        "A change of reference, data, labels or task is approved",
        why="A new reference makes old numbers mean something else: any candidate matches a reference that "
        "was chosen for it.",
        how="`reference`, `data` and `task` of both policies and the files behind them are compared. The "
        "target is judged in full against the new set; old against new is shown. The trusted policy's "
        "`rereference` says whether that needs an approval, is allowed or forbidden.",
        remedy="Have a maintainer who is not the author add the approval label",
    ),
    rule(
        "TRC107",
        "Every target that the change touches was run",
        why="Inputs of the action lie in the change's own hands; they may narrow a run, not decide it.",
        how="Targets of the trusted policy that the change touches, without those that were run.",
        remedy="Name the target in `targets` (--target) as well, or name none at all",
    ),
    rule(
        "TRC108",
        "The candidate of every target still exists",
        why="A target whose file is gone is silently no longer checked.",
        how="Deleted and renamed paths of the change against `candidate` of the target.",
        remedy="Point `candidate` at the new path, or remove the target in an approved change",
    ),
    rule(
        "TRC109",
        "The baseline file can be read",
        why="A gate that takes an unreadable baseline for an empty one passes everything.",
        how="JSON of the schema `qgate-baseline/v1`, for this target, at most 16 MiB.",
        remedy="Restore the file from history, or run `qgate accept TARGET --reason ...`",
    ),
    rule(
        "TRC110",
        "An accepted baseline is what this run measures",
        why="A baseline that was written by hand accepts numbers that nobody measured.",
        how="Where the change carries a new baseline file, it must be bound to this candidate, reference, "
        "data and seed, and each of its measurements must agree with this run's within the tolerance; "
        "neither side may have more than the other.",
        remedy="Run `qgate accept TARGET --reason ...` on these files and commit what it writes",
        params=(
            Param("relative", "Disagreement allowed, as a share.", 0.001, 0.001, 0.001, unit="ratio"),
            Param(
                "relative_across_isa",
                "The same where it was written on another ISA class.",
                0.05,
                0.05,
                0.05,
                unit="ratio",
            ),
            Param("absolute", "Disagreement that is never counted.", 1e-6, 1e-6, 1e-6),
        ),
    ),
    rule(
        "TRC111",
        "The baseline describes the files and the machine of this run",
        why="Numbers of other data, another seed or another kind of processor are not a comparison.",
        how="Digests of candidate, reference and data, seed, schema and ISA class of the stored baseline "
        "against the trusted side's. Where one differs, the trusted candidate is measured again.",
        remedy="Commit the refreshed baseline that this run wrote into the report's folder",
        severity=("note", "note", "note"),
    ),
    rule(
        "TRC112",
        "Every target that was to be verified could be",
        why="What could not be measured has not passed.",
        how="Errors while a target, or the trusted candidate that serves as its baseline, was fetched, read, "
        "run or judged.",
        remedy="Read the message; other targets have their verdicts",
    ),
    rule(
        "TRC113",
        "A target that the change adds is judged by no less than `balanced`",
        why="A change must not bring its own lower bar.",
        how="The target's own lines and the built-in profile `balanced` without any override; the worse "
        "verdict counts.",
        remedy="Raise the model to `balanced`, or add the target first and loosen it in an approved change",
        severity=("note", "note", "note"),
    ),
    rule(
        "TRC114",
        "What changed in the model since the accepted one is named",
        why="A file's digest says that something changed. Whether it is one weight, every scale or only the "
        "way of storing it decides what a reviewer looks at.",
        how="Every tensor has a Merkle root over leaves of 1,024 elements of its canonical bytes, the graph "
        "a digest of its own. They are compared with the baseline's. Which elements differ is read from the "
        "accepted model where the repository holds it, else from the leaves in its report.",
        remedy="Check that this is what the change means to change",
        severity=("note", "note", "note"),
    ),
    rule(
        "TRC115",
        "The samples that are answered otherwise than by the accepted model are named",
        why="The same number of right answers can be to other samples: what a customer relied on is wrong now.",
        how="The outcome of each sample is kept in the baseline, a bit each, with the classes that were answered; they are "
        "compared where data and labels are the same. More newly wrong samples than allowed, and at least three, weigh as the "
        "severity says; fewer are a note.",
        remedy="Look at these samples; accept them with `qgate accept` if they are as good",
        params=(
            Param(
                "max_share",
                "Largest share of samples that were right and are wrong.",
                0.005,
                0.02,
                0.05,
                unit="ratio",
            ),
        ),
        severity=("warning", "warning", "note"),
    ),
)

_BY_ID = {found.id: found for found in RULES}


def trace_finding(
    rule_id: str,
    message: str,
    *,
    limits: Mapping[str, Mapping[str, Limit]] | None = None,
    severity: Severity | None = None,
    effect: Verdict = Verdict.FAIL,
    at: Place | None = None,
    evidence: Mapping[str, Any] | None = None,
    remedy: str | None = None,
) -> Finding:
    """A finding of a TRC rule.

    Args:
        rule_id: One of this module's rules.
        message: What was found.
        limits: Thresholds in force by rule; where they do not name this rule, those of ``balanced``.
        severity: Replaces the severity in force.
        effect: What it does to the verdict if it is an error.
        at: Where it is.
        evidence: The numbers and names behind it.
        remedy: Replaces the rule's own.
    """
    found = _BY_ID[rule_id]
    own = (limits or {}).get(rule_id) or default_limits(rule_id)
    return RuleContext(found, {}, own).finding(
        message, at=at, evidence=evidence, severity=severity, effect=effect, remedy=remedy
    )


def default_limits(rule_id: str) -> dict[str, Limit]:
    """The thresholds of a TRC rule in the built-in profile ``balanced``."""
    limits = {}
    for param in _BY_ID[rule_id].params:
        value, origin = param.default("balanced", None)
        limits[param.name] = Limit(value=value, unit=param.unit, origin=origin)
    return limits
