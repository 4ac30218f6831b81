"""BEH: does the model still do what it did? Judged where labels exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

from qgate.records import Finding, Measurement, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.drops import (
    ERRORS,
    JUDGED,
    allowed_drop,
    ends,
    first,
    pieces_of_their_own,
    told,
    unjudged_pieces,
)

_ALPHA = 0.05


def _drop(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.metric_drop"):
        if found.value is not None:
            yield from _one_drop(context, found, first(context, "task.metric_reference"))
        else:
            yield context.finding(
                f"the task could not be measured: {found.not_measured}",
                at=found.at,
                evidence={**found.detail},
                effect=Verdict.INCONCLUSIVE,
                remedy="See that the task fits the model's outputs and the labels, or name another one; `none` where behaviour "
                "is not to be judged",
            )
    for found in pieces_of_their_own(context, "task.slice_drop"):
        yield from _one_drop(context, found, _side(found, "reference"))
    yield from unjudged_pieces(context, "task.slice_drop")


def _side(found: Measurement, side: str) -> Measurement:
    """The metric of one model in a slice or class, which its difference tells beside itself."""
    value = found.detail.get(side)
    if not isinstance(value, int | float):
        raise ValueError(f"the {side}'s value is missing")
    return found.model_copy(update={"value": float(value), "low": None, "high": None})


def _one_drop(context: RuleContext, found: Measurement, reference: Measurement | None) -> Iterator[Finding]:
    """Judges the drop of all samples, or of a slice."""
    allowed = allowed_drop(context, found, reference)
    low, high = ends(found)
    shown, evidence = told(found, allowed)
    if found.number <= allowed:
        if not high <= allowed:
            text = f"cannot tell whether the drop is within {allowed:.4g} (the interval reaches {high:.4g})"
            yield _untold(context, found, text, (high, allowed), evidence)
    elif found.number > allowed and low <= 0:
        text = f"cannot tell whether the metric drops at all: {shown}"
        yield _untold(context, found, text, (low, 0.0), evidence)
    else:  # also where one of the numbers is NaN
        yield context.finding(shown, at=found.at, evidence=evidence, severity=_weight(context, found))


def _weight(context: RuleContext, found: Measurement) -> Severity:
    return Severity(str(context.limit_for("severity", found).value))


def _untold(
    context: RuleContext, found: Measurement, what: str, end: tuple[float, float], evidence: dict[str, Any]
) -> Finding:
    """What the samples cannot tell, and how many would do.

    Args:
        context: The rule's.
        found: The drop.
        what: What they cannot tell.
        end: The end of the interval that is in the way, and where it would have to be.
        evidence: What is known.
    """
    required = context.limit_for("require_power", found).value == "yes"
    needed = _needed(found, *end)
    more = f"; about {needed:,} samples would do" if needed is not None else ""
    mde = found.detail.get("mde")
    seen = f"; they show a drop of {mde:.4g} and more" if isinstance(mde, float) and isfinite(mde) else ""
    return context.finding(
        f"{found.n} samples {what}{seen}{more}",
        at=found.at,
        evidence={**evidence, "samples_needed": needed},
        severity=Severity.ERROR if required else Severity.WARNING,
        effect=Verdict.INCONCLUSIVE,
        remedy="Give more labelled samples",
    )


def _needed(found: Measurement, end: float, wanted: float) -> int | None:
    """Samples that would move the interval's end to where it is wanted: its width shrinks with their root."""
    room = abs(wanted - found.number)
    if not found.n or not isfinite(end) or not room > 0:
        return None
    needed = found.n * ((end - found.number) / room) ** 2
    return int(needed) + 1 if needed < 1e12 else None


def _flips(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.flips_to_wrong"):
        if found.value is None or not found.n:
            continue
        p, changed = first(context, "task.mcnemar_p"), first(context, "task.answers_changed")
        evidence = {
            "mcnemar_p": p.number if p is not None else None,
            "confusion": changed.detail.get("confusion", [])[:5] if changed is not None else [],
        }
        low = found.low if found.low is not None else found.number
        yield from _one_share(context, found, (found.number, low), evidence)
    for found in pieces_of_their_own(context, "task.slice_drop"):
        if found.detail.get("counted"):
            lost = _number(found.detail.get("lost")), _number(found.detail.get("lost_low"))
            yield from _one_share(context, found, lost, {})
    yield from unjudged_pieces(context, "task.slice_drop", counted=True)


def _number(value: object) -> float:
    """A number of a slice's detail; a stored report can hold anything."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("the samples that flip are missing")
    return float(value)


def _one_share(
    context: RuleContext, found: Measurement, lost: tuple[float, float], evidence: dict[str, Any]
) -> Iterator[Finding]:
    """Judges right answers that are wrong now, of all samples or of a slice.

    Args:
        context: The rule's.
        found: What they are of.
        lost: How many, and the lower end of their interval.
        evidence: What is known beside that.
    """
    n, most = found.n or 1, float(context.limit_for("max_share", found).value)
    share, low = lost[0] / n, lost[1] / n
    if share <= most or lost[0] < 3:
        return
    evidence = {"flips": lost[0], "n": n, "low": low, **evidence}
    text = f"{lost[0]:.0f} of {n} samples ({share:.1%}) that the reference gets right are now wrong, "
    if low <= most:
        yield context.finding(
            f"{text}{most:.1%} allowed; so few samples do not tell that apart from what is allowed",
            at=found.at,
            evidence=evidence,
            severity=Severity.WARNING,
        )
    else:  # also where one of the numbers is NaN
        text = f"{text}{most:.1%} allowed"
        yield context.finding(text, at=found.at, evidence=evidence, severity=_weight(context, found))


def _group(name: str, what: str) -> Callable[[RuleContext], Iterator[Finding]]:
    """A rule on the same figure of every class or slice."""

    def check(context: RuleContext) -> Iterator[Finding]:
        chance = []
        for found in context.all(name):
            if found.value is None or (found.n or 0) < JUDGED:
                continue
            most = _most(context, found)
            low, high = ends(found)
            if found.number <= most or low <= 0:
                continue
            evidence = {"drop": found.number, "low": low, "high": high, "n": found.n, **found.detail}
            if found.detail.get("p_adjusted", 0.0) > _ALPHA:
                chance.append((found, evidence))
                continue
            yield context.finding(
                f"{what} {found.at.slice}: worse by {found.number:.3g} [{low:.3g}, {high:.3g}] "
                f"on {found.n} samples, {most:.3g} allowed",
                at=found.at,
                evidence=evidence,
                severity=Severity(str(context.limit_of("severity", found.at.slice).value)),
            )
        if chance:
            worst, evidence = max(chance, key=lambda pair: pair[0].number)
            yield context.finding(
                f"{what} {worst.at.slice}: worse by {worst.number:.3g} on {worst.n} samples, the worst of {len(chance)} "
                f"that chance alone explains among {evidence.get('groups')}",
                at=worst.at,
                evidence=evidence,
                severity=Severity.NOTE,
                remedy="More samples of it would tell",
            )
        yield from unjudged_pieces(context, name)

    return check


def _most(context: RuleContext, found: Measurement) -> float:
    """The allowance of a group: of an error, as a share of the reference's in that group."""
    if found.detail.get("metric") in ERRORS:
        reference = found.detail.get("reference", 0.0)
        return float(context.limit_of("max_error_growth", found.at.slice).value) * abs(float(reference))
    return float(context.limit_of("max_drop", found.at.slice).value)


def _gain(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.metric_drop"):
        if found.value is None:
            continue
        most = float(context.limit_for("max_gain", found).value)
        if found.detail.get("metric") in ERRORS:
            reference = first(context, "task.metric_reference")
            most = float(context.limit_for("max_error_gain", found).value)
            most *= abs(reference.number) if reference is not None else 0.0
        if found.number < -most and (found.high or 0.0) < 0:
            yield context.finding(
                f"the metric improves by {-found.number:.3g}, more than rounding explains",
                at=found.at,
                evidence={"drop": found.number, "low": found.low, "high": found.high, "n": found.n},
            )


_BY_DROP = {"int4": (0.01, 0.05, 0.1), "fp16": (0.001, 0.005, 0.01)}
RULES = (
    rule(
        "BEH101",
        "The task metric does not drop",
        why="It is what the model is for.",
        how="Both models on the same samples; paired difference with a 95 % interval: Tango's for shares of right samples, "
        "never beyond what the flips allow; Student's t, with the delta method for ratios and roots; a paired bootstrap with "
        "a fixed seed for metrics that are no mean. An error where the drop exceeds the allowance and the interval excludes "
        "zero; where the data cannot tell, a warning with the smallest drop that they show and the number of samples that "
        "would do (INCONCLUSIVE where require_power is yes); INCONCLUSIVE "
        "where a task is asked for and could not be measured. A slice with `slice_thresholds` of its own is judged likewise.",
        remedy="Calibrate on more data, quantize per channel, or exclude the worst layers",
        params=(
            Param("max_drop", "Largest drop of a metric between 0 and 1.", 0.005, 0.02, 0.05, by_scheme=_BY_DROP),
            Param("max_error_growth", "Largest growth of an error metric, as a share of the reference's.", 0.02, 0.1, 0.25,
                  unit="ratio", by_scheme={"int4": (0.05, 0.2, 0.5), "fp16": (0.005, 0.02, 0.1)}),
            Param("max_other_boxes", "Largest share of boxes that only one of the models finds, for `same_boxes`: those near the "
                  "lowest score come and go.", 0.05, 0.1, 0.2, unit="ratio",
                  by_scheme={"int4": (0.1, 0.2, 0.35), "fp16": (0.01, 0.02, 0.05)}),
            Param("require_power", "Whether too few samples are INCONCLUSIVE instead of a warning.", "yes", "no", "no",
                  choices=("yes", "no")),
        ),
        check=_drop,
    ),
    rule(
        "BEH102",
        "Right answers stay right",
        why="Equal accuracy hides flips in both directions.",
        how="Samples that the reference gets right and the candidate wrong, at least three. An error where Wilson's 95 % "
        "interval of their share lies above the allowance, a warning where the share does and the interval does not. A slice "
        "with `slice_thresholds` of its own is judged likewise, where the metric counts samples.",
        remedy="Calibrate on more data, quantize per channel, or exclude the worst layers",
        params=(Param("max_share", "Largest share of samples that flip to wrong.", 0.01, 0.04, 0.1, unit="ratio",
                      by_scheme={"int4": (0.03, 0.1, 0.2), "fp16": (0.002, 0.01, 0.03)}),),
        check=_flips,
    ),
    rule(
        "BEH103",
        "No class collapses",
        why="A class can be lost whole while the total hardly moves.",
        how="Recall (of segmentation: intersection over union; of detection: average precision) of each class with at least 8 "
        "samples, reference minus candidate, paired; the interval must exclude zero, and the one-sided p-value must be at "
        "most 0.05 when all classes are counted (Tarone 1990 with Holm 1979: classes whose test could not speak are not "
        "counted). A class with `slice_thresholds` of its own, as `label=3`, is held to those.",
        remedy="Calibrate on data of every class",
        params=(Param("max_drop", "Largest drop of a class's recall.", 0.05, 0.15, 0.3, by_scheme={"int4": (0.1, 0.25, 0.4)}),),
        check=_group("task.class_recall_drop", "class"),
    ),
    rule(
        "BEH104",
        "No slice collapses",
        why="The mean hides the customers it is bad for.",
        how="The task metric of each declared slice with at least 8 samples, as for BEH103. A slice with `slice_thresholds` of "
        "its own in the policy is held to those; where it has fewer samples, or none, it is INCONCLUSIVE.",
        remedy="Calibrate on data of every slice",
        params=(
            Param("max_drop", "Largest drop of a slice's metric.", 0.05, 0.15, 0.3, by_scheme={"int4": (0.1, 0.25, 0.4)}),
            Param("max_error_growth", "Largest growth of an error metric, as a share of the reference's in that slice.",
                  0.1, 0.3, 0.6, unit="ratio", by_scheme={"int4": (0.2, 0.5, 1.0)}),
        ),
        check=_group("task.slice_drop", "slice"),
    ),
    rule(
        "BEH105",
        "The task metric does not improve beyond noise",
        why="Rounding teaches a model nothing: a clear gain says that it is another model, or other data.",
        how="The paired interval of BEH101 lies wholly on the better side, beyond the allowance.",
        remedy="Check that reference and candidate are from the same training run",
        params=(
            Param("max_gain", "Largest gain that is taken for noise.", 0.005, 0.02, 0.05),
            Param("max_error_gain", "Largest fall of an error metric that is taken for noise, as a share of the reference's.",
                  0.02, 0.1, 0.25, unit="ratio"),
        ),
        severity=("warning", "warning", "note"),
        check=_gain,
    ),
)  # fmt: skip
