"""BEH: does the model still do what it did? Judged where labels exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite

from qgate.records import Finding, Measurement, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule


def _first(context: RuleContext, name: str) -> Measurement | None:
    return next(iter(context.all(name)), None)


def _relative(context: RuleContext, drop: Measurement) -> float:
    """The allowed drop in the metric's own unit: a ratio metric's is absolute, an error's is a share of it."""
    if drop.detail.get("metric") in ("mae", "rmse"):
        reference = _first(context, "task.metric_reference")
        return context.limit("max_error_growth") * (abs(reference.number) if reference is not None else 0.0)
    return context.limit("max_drop")


def _drop(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.metric_drop"):
        if found.value is None:
            continue
        allowed = _relative(context, found)
        low = found.low if found.low is not None else found.number
        high = found.high if found.high is not None else found.number
        metric = found.detail.get("metric", "metric")
        shown = f"{metric} is worse by {found.number:.4g} [{low:.4g}, {high:.4g}] on {found.n} samples, {allowed:.4g} allowed"
        evidence = {
            "drop": found.number,
            "low": low,
            "high": high,
            "allowed": allowed,
            "n": found.n,
            **found.detail,
        }
        if found.number <= allowed:
            if not high <= allowed:
                yield from _underpowered(context, found, allowed, evidence)
        elif found.number > allowed and low <= 0:
            yield context.finding(f"{shown}; the interval includes no drop at all", at=found.at, evidence=evidence,
                                  severity=Severity.WARNING)  # fmt: skip
        else:  # also where one of the numbers is NaN
            yield context.finding(shown, at=found.at, evidence=evidence)


def _underpowered(
    context: RuleContext, found: Measurement, allowed: float, evidence: dict[str, object]
) -> Iterator[Finding]:
    required = context.word("require_power") == "yes"
    needed = ""
    if found.n and found.high is not None and isfinite(found.high) and allowed > found.number:
        # The interval's half-width shrinks with the square root of the number of samples.
        needed = f"; about {int(found.n * ((found.high - found.number) / (allowed - found.number)) ** 2) + 1} samples would do"
    yield context.finding(
        f"{found.n} samples cannot tell whether the drop is within {allowed:.4g} (the interval reaches {found.high:.4g}){needed}",
        at=found.at,
        evidence=evidence,
        severity=Severity.ERROR if required else Severity.WARNING,
        effect=Verdict.INCONCLUSIVE,
        remedy="Give more labelled samples",
    )


def _flips(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.flips_to_wrong"):
        if found.value is None or not found.n:
            continue
        share, most = found.number / found.n, context.limit("max_share")
        if not share <= most and not found.number < 3:
            p = _first(context, "task.mcnemar_p")
            yield context.finding(
                f"{found.number:.0f} of {found.n} samples ({share:.1%}) that the reference gets right are now "
                f"wrong, {most:.1%} allowed",
                at=found.at,
                evidence={
                    "flips": found.value,
                    "n": found.n,
                    "mcnemar_p": p.number if p is not None else None,
                },
            )


def _group(name: str, what: str) -> Callable[[RuleContext], Iterator[Finding]]:
    """A rule on the same figure of every class or slice."""

    def check(context: RuleContext) -> Iterator[Finding]:
        groups = [m for m in context.all(name) if m.value is not None and (m.n or 0) >= 8]
        for found in groups:
            most = context.limit("max_drop")
            low = found.low if found.low is not None else found.number
            if found.number <= most or low <= 0:
                continue
            yield context.finding(
                f"{what} {found.at.slice}: worse by {found.number:.3g} [{low:.3g}, {found.high or found.number:.3g}] "
                f"on {found.n} samples, {most:g} allowed",
                at=found.at,
                evidence={"drop": found.number, "low": low, "high": found.high, "n": found.n, **found.detail},
            )

    return check


def _gain(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.metric_drop"):
        if found.value is None or found.detail.get("metric") in ("mae", "rmse"):
            continue
        if found.number < -context.limit("max_gain") and (found.high or 0.0) < 0:
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
        how="Both models on the same samples; paired difference with a 95 % interval. An error where the drop exceeds the "
        "allowance and the interval excludes zero; where the data cannot tell, a warning with the number of samples needed.",
        remedy="Calibrate on more data, quantize per channel, or exclude the worst layers",
        params=(
            Param("max_drop", "Largest drop of a metric between 0 and 1.", 0.005, 0.02, 0.05, by_scheme=_BY_DROP),
            Param("max_error_growth", "Largest growth of an error metric, as a share of the reference's.", 0.02, 0.1, 0.25,
                  unit="ratio", by_scheme={"int4": (0.05, 0.2, 0.5), "fp16": (0.005, 0.02, 0.1)}),
            Param("require_power", "Whether too few samples are INCONCLUSIVE instead of a warning.", "yes", "no", "no",
                  choices=("yes", "no")),
        ),
        check=_drop,
    ),
    rule(
        "BEH102",
        "Right answers stay right",
        why="Equal accuracy hides flips in both directions.",
        how="Samples that the reference classifies rightly and the candidate wrongly.",
        remedy="Calibrate on more data, quantize per channel, or exclude the worst layers",
        params=(Param("max_share", "Largest share of samples that flip to wrong.", 0.01, 0.04, 0.1, unit="ratio",
                      by_scheme={"int4": (0.03, 0.1, 0.2), "fp16": (0.002, 0.01, 0.03)}),),
        check=_flips,
    ),
    rule(
        "BEH103",
        "No class collapses",
        why="A class can be lost whole while the total hardly moves.",
        how="Recall of each class with at least 8 samples, reference minus candidate, paired; the interval must exclude zero.",
        remedy="Calibrate on data of every class",
        params=(Param("max_drop", "Largest drop of a class's recall.", 0.05, 0.15, 0.3, by_scheme={"int4": (0.1, 0.25, 0.4)}),),
        check=_group("task.class_recall_drop", "class"),
    ),
    rule(
        "BEH104",
        "No slice collapses",
        why="The mean hides the customers it is bad for.",
        how="The task metric of each declared slice with at least 8 samples, as for BEH103.",
        remedy="Calibrate on data of every slice",
        params=(Param("max_drop", "Largest drop of a slice's metric.", 0.05, 0.15, 0.3, by_scheme={"int4": (0.1, 0.25, 0.4)}),),
        check=_group("task.slice_drop", "slice"),
    ),
    rule(
        "BEH105",
        "The task metric does not improve beyond noise",
        why="Rounding teaches a model nothing: a clear gain says that it is another model, or other data.",
        how="The paired interval of BEH101 lies wholly on the better side, beyond the allowance.",
        remedy="Check that reference and candidate are from the same training run",
        params=(Param("max_gain", "Largest gain that is taken for noise.", 0.005, 0.02, 0.05),),
        severity=("warning", "warning", "note"),
        check=_gain,
    ),
)  # fmt: skip
