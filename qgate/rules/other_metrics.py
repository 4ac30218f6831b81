"""BEH: what the metric that is judged does not show: other metrics, calibration, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

from qgate.records import Finding, Measurement, Severity, Verdict
from qgate.rules.base import Param, RuleContext, metric_key, rule, slice_of
from qgate.rules.drops import allowed_drop, ends, first, pieces_of_their_own, told, unjudged_pieces

_OTHERS = re.compile(
    r"task\.(top[0-9]+|balanced_accuracy|macro_f1|mae|rmse|r2|recall_at_[0-9]+|neighbours|miou|pixel_accuracy|cer|"
    r"exact_match|map|map50|images_right)_drop"
)


def _others(context: RuleContext) -> Iterator[Finding]:
    for name, held in context.measurements.items():
        if not _OTHERS.fullmatch(name):
            continue
        for found in held:
            if found.value is None:
                continue
            allowed = allowed_drop(context, found, first(context, name.removesuffix("drop") + "reference"))
            if not (found.number <= allowed or ends(found)[0] <= 0):
                shown, evidence = told(found, allowed)
                weight = Severity(str(context.limit_for("severity", found).value))
                yield context.finding(shown, at=found.at, evidence=evidence, severity=weight)
    yield from _unheard(context)


def _unheard(context: RuleContext) -> Iterator[Finding]:
    """Metrics that have bounds of their own in the target's lines and were not measured: a bound is never silently off."""
    if all(found.value is None for found in context.all("task.metric_drop")):
        return
    names = (name.removeprefix("task.").removesuffix("_drop") for name in context.measurements)
    there = {metric_key(name) for name in names}
    for key, limit in context.limits.items():
        metric = slice_of(key)[1]
        if metric and "=" not in metric and metric not in there and limit.origin.startswith("target "):
            yield context.finding(
                f"{metric} has a threshold of its own and was not measured",
                evidence={"metric": metric},
                effect=Verdict.INCONCLUSIVE,
                severity=Severity(str(context.limit_of("severity", None, metric).value)),
                remedy="Remove it from `metric_thresholds`, or give data that it can be measured on",
            )


def _calibration(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.ece_drop"):
        if found.value is not None and not (
            found.number <= context.limit("max_growth") or ends(found)[0] <= 0
        ):
            shown, evidence = told(found, context.limit("max_growth"))
            yield context.finding(f"confidence is less deserved: {shown}", at=found.at, evidence=evidence)


def _tokens(context: RuleContext) -> Iterator[Finding]:
    for name, param, what in (
        ("task.same_top_drop", "max_changed", "of the tokens have another favourite"),
        ("task.divergence_drop", "max_divergence", "nats between the distributions of tokens"),
    ):
        for found in context.all(name):
            if found.value is None or found.number <= context.limit(param) or ends(found)[0] <= 0:
                continue
            shown = f"{found.number:.1%}" if param == "max_changed" else f"{found.number:.4g}"
            _, evidence = told(found, context.limit(param))
            yield context.finding(
                f"{shown} {what}, {context.limit(param):.4g} allowed", at=found.at, evidence=evidence
            )


def _yardstick(context: RuleContext) -> Iterator[Finding]:
    plain, drop = context.limit("yardstick_db"), context.limit("yardstick_drop")
    for found in context.all("output.sqnr_db") if plain > 0 else ():
        least = plain - context.limit("max_worse_db")
        if found.value is not None and not found.number >= least:
            yield context.finding(
                f"the output keeps {found.number:.1f} dB, and a plain recipe keeps {plain:.1f} dB",
                at=found.at,
                evidence={"sqnr_db": found.number, "yardstick_db": plain, "least": least},
            )
    for found in context.all("task.metric_drop") if drop >= 0 else ():
        most = drop + context.limit("max_worse_drop")
        if found.value is not None and not (found.number <= most or ends(found)[0] <= drop):
            shown, evidence = told(found, most)
            yield context.finding(
                f"{shown}; a plain recipe drops {drop:.4g}",
                at=found.at,
                evidence={**evidence, "yardstick_drop": drop},
            )


def _own_value(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("task.metric_candidate"):
        if found.value is not None:
            yield from _bounded(context, found)
    for found in pieces_of_their_own(context, "task.slice_drop"):
        value = found.detail.get("candidate")
        if not isinstance(value, int | float):
            raise ValueError("the candidate's value is missing")
        yield from _bounded(
            context, found.model_copy(update={"value": float(value), "low": None, "high": None})
        )
    yield from unjudged_pieces(context, "task.slice_drop")


def _bounded(context: RuleContext, found: Measurement) -> Iterator[Finding]:
    """Holds a value, of all samples or of a slice, against its bounds."""
    least, most = (float(context.limit_for(name, found).value) for name in ("min_value", "max_value"))
    metric = found.detail.get("metric", "metric")
    for bound, missed, words in (
        (least, not found.number >= least, "at least"),
        (most, not found.number <= most, "at most"),
    ):
        if isfinite(bound) and missed:
            yield context.finding(
                f"{metric} is {found.number:.4g} on {found.n} samples, {words} {bound:.4g} asked for",
                at=found.at,
                evidence={
                    "value": found.number,
                    "asked": bound,
                    "n": found.n,
                    "low": found.low,
                    "high": found.high,
                },
                severity=Severity(str(context.limit_for("severity", found).value)),
            )


_INFINITE, _BELOW = (float("inf"),) * 3, (float("-inf"),) * 3
RULES = (
    rule(
        "BEH106",
        "No other metric of the task drops",
        why="Accuracy that holds hides classes that are confused, and a mean error hides the largest ones.",
        how="Beside the metric that BEH101 judges, the others that the same labels give (top-k, balanced accuracy, macro-F1; "
        "MAE, RMSE, R²; neighbours; pixel accuracy; exact match; mAP, AP50 and images that are right), paired, judged in the "
        "same way.",
        remedy="Calibrate on more data, quantize per channel, or exclude the worst layers",
        params=(
            Param("max_drop", "Largest drop of a metric between 0 and 1.", 0.01, 0.03, 0.08,
                  by_scheme={"int4": (0.02, 0.08, 0.15), "fp16": (0.002, 0.01, 0.02)}),
            Param("max_error_growth", "Largest growth of an error metric, as a share of the reference's.", 0.04, 0.15, 0.4,
                  unit="ratio", by_scheme={"int4": (0.1, 0.3, 0.6), "fp16": (0.01, 0.04, 0.15)}),
        ),
        severity=("error", "warning", "note"),
        check=_others,
    ),
    rule(
        "BEH107",
        "Confidence stays as deserved as it was",
        why="Who acts on a score above 0.9 needs it to mean that, whatever the highest class is.",
        how="Expected calibration error (Guo et al. 2017) of both models in the same equal bins, at most 15 and one for each "
        "100 samples; paired bootstrap, judged as BEH101.",
        remedy="Calibrate the quantized model's temperature, or quantize its last layers with more bits",
        params=(Param("max_growth", "Largest growth of the calibration error.", 0.02, 0.05, 0.1,
                      by_scheme={"int4": (0.03, 0.08, 0.15), "fp16": (0.005, 0.02, 0.05)}),),
        severity=("error", "warning", "note"),
        check=_calibration,
    ),
    rule(
        "BEH108",
        "Tokens keep their distributions",
        why="Perplexity averages over all tokens; a text takes another turn at the first one that changes.",
        how="Over the judged tokens: the share whose likeliest token is another, and the mean KL divergence from the "
        "reference in nats; samples are what is resampled, because the tokens of one depend on each other.",
        remedy="Quantize in smaller groups, or leave the last layer in float",
        params=(
            Param("max_changed", "Largest share of tokens with another favourite.", 0.02, 0.06, 0.15, unit="ratio",
                  by_scheme={"int4": (0.06, 0.15, 0.3), "fp16": (0.005, 0.02, 0.05)}),
            Param("max_divergence", "Largest mean divergence.", 0.01, 0.05, 0.2, unit="nats",
                  by_scheme={"int4": (0.05, 0.25, 0.6), "fp16": (0.001, 0.005, 0.02)}),
        ),
        check=_tokens,
    ),
    rule(
        "BEH109",
        "The candidate is not much worse than a plain recipe would be",
        why="What ONNX Runtime gives to everybody who asks for no more is what a model that was quantized with care must reach.",
        how="The lowest SQNR of an output and the drop of the metric against those of the same reference quantized by ONNX "
        "Runtime's own recipe, as `qgate calibrate` measured them with a margin; silent until a policy holds its figures.",
        remedy="Start from the plain recipe, and look at what was done beyond it; `qgate bisect` names the layers",
        params=(
            Param("yardstick_db", "What the plain recipe keeps; 0 where it was not measured.", 0.0, 0.0, 0.0, unit="dB"),
            Param("yardstick_drop", "What the metric drops by with it; -1 where it was not measured.", -1.0, -1.0, -1.0),
            Param("max_worse_db", "How much less signal is allowed.", 3.0, 6.0, 12.0, unit="dB"),
            Param("max_worse_drop", "How much more the metric may drop.", 0.005, 0.01, 0.03),
        ),
        check=_yardstick,
    ),
    rule(
        "BEH110",
        "The candidate's own metric reaches what is asked for",
        why="A candidate that is as bad as its reference has lost nothing and may still be no good.",
        how="The value of the metric that BEH101 judges, of the candidate by itself; silent until a policy sets a bound.",
        remedy="Train a better reference, or quantize a better one",
        params=(
            Param("min_value", "Smallest value of a metric that is better when higher; unset by default.",
                  *_BELOW),
            Param("max_value", "Largest value of an error metric; unset by default.", *_INFINITE),
        ),
        check=_own_value,
    ),
)  # fmt: skip
