"""FEA21x: whole distributions of outputs and of confidence, single samples, single errors (输出分布一致性)."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding
from qgate.rules.base import ADD_INPUTS, Param, RuleContext, rule
from qgate.rules.features import GENERATED, bound

_MOVED = {
    "psi": ("max_psi", "the population stability index"),
    "wasserstein": ("max_wasserstein", "the 1-Wasserstein distance"),
    "ks": ("max_ks", "the Kolmogorov-Smirnov statistic"),
    "js": ("max_js", "the Jensen-Shannon distance"),
}


def _moved(context: RuleContext, prefix: str, what: str) -> Iterator[Finding]:
    """One finding for each output whose distribution moved, by whichever distances say so."""
    wrong: dict[str, list[str]] = {}
    places = {}
    evidence: dict[str, dict[str, object]] = {}
    for short, (param, said) in _MOVED.items():
        limit = context.limit(param)
        for found in context.all(f"{prefix}.{short}"):
            if found.value is not None and not found.number <= limit:
                at = str(found.at)
                places[at] = found.at
                wrong.setdefault(at, []).append(f"{said} is {found.number:.3g}, at most {limit:g} asked for")
                evidence.setdefault(at, {"values": found.n})[short] = found.number
    for at, reasons in wrong.items():
        yield context.finding(f"{what}: {'; '.join(reasons)}", at=places[at], evidence=evidence[at])


def _values(context: RuleContext) -> Iterator[Finding]:
    return _moved(context, "output", "the values are distributed otherwise than the reference's")


def _confidence(context: RuleContext) -> Iterator[Finding]:
    return _moved(context, "confidence", "the model is otherwise sure of itself than the reference")


def _ranks(context: RuleContext) -> Iterator[Finding]:
    least = context.limit("min_ratio")
    for found in context.all("output.top5_agreement"):
        # The whole interval must be below, as for the top class (FEA203).
        if found.value is None or (found.high if found.high is not None else found.number) >= least:
            continue
        yield context.finding(
            f"the five highest classes are the reference's in {found.number:.1%} of {found.n} samples, "
            f"{least:.1%} asked for",
            at=found.at,
            evidence={"value": found.number, "high": found.high, "limit": least, **found.detail},
        )


def _change(context: RuleContext) -> Iterator[Finding]:
    most = context.limit("max_drop")
    for found in context.all("output.top_change_p01"):
        if found.value is not None and not -found.number <= most:
            yield context.finding(
                f"in one sample of 100 the probability of the reference's top class falls by {-found.number:.3g} or more, "
                f"at most {most:g} asked for",
                at=found.at,
                evidence={"value": found.number, "limit": most, "samples": found.n, **found.detail},
            )


_INFINITE = (float("inf"),) * 3
_REMEDY = "Calibrate on data like those that the model will see, and look at the layers that FEA302 names"
_KS = Param("max_ks", "Largest Kolmogorov-Smirnov statistic; infinite unless a policy sets it.", *_INFINITE)
_JS = Param("max_js", "Largest Jensen-Shannon distance; infinite unless a policy sets it.", *_INFINITE)
_HOW = (
    "From at most 16,384 pairs of values, chosen by a fixed hash of sample and place, all of them where there are fewer. "
    "Population stability index over the reference's deciles, from 100 values on (Siddiqi, Credit Risk Scorecards, 2006: "
    "above 0.25 the population is another)"
)
RULES = (
    rule(
        "FEA210",
        "Outputs are distributed as the reference's",
        severity=("warning", "warning", "note"),
        why="Thresholds and monitors downstream were set on the reference's distribution; a shift moves what they let "
        "through, though each value is near its own.",
        how=f"{_HOW}; 1-Wasserstein distance in standard deviations of the reference; Kolmogorov-Smirnov statistic; "
        "Jensen-Shannon distance in at most 64 equal bins. Values within a tenth of the reference's standard deviation count "
        "as one, the Wasserstein distance apart.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("max_psi", "Largest population stability index.", 0.1, 0.25, 0.5,
                  by_scheme={"fp16": (0.05, 0.1, 0.25), "none": (0.01, 0.05, 0.1)}),
            Param("max_wasserstein", "Largest 1-Wasserstein distance.", 0.15, 0.25, 0.5, unit="deviations",
                  by_scheme={"int4": (0.25, 0.4, 0.8), "fp16": (0.02, 0.05, 0.1), "none": (0.005, 0.01, 0.05)}),
            _KS,
            _JS,
        ),
        check=_values,
    ),
    rule(
        "FEA211",
        "No output moves by a standard deviation",
        why="Values that lie where the reference's never do are no rounding.",
        how="1-Wasserstein distance of the values in standard deviations of the reference, as in FEA210.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            GENERATED,
            Param("max_deviations", "Largest distance.", 0.5, 1.0, 2.0, unit="deviations",
                  by_scheme={"int4": (0.75, 1.5, 3.0), "fp16": (0.1, 0.2, 0.5), "none": (0.05, 0.1, 0.2)}),
        ),
        check=bound("output.wasserstein", "max_deviations", " deviations", "the 1-Wasserstein distance", at_least=False),
    ),
    rule(
        "FEA212",
        "The model is as sure of itself as the reference",
        severity=("warning", "warning", "note"),
        why="Rejection and escalation go by confidence; it can collapse while the top class stays.",
        how=f"Highest probability of each sample. {_HOW}; 1-Wasserstein distance as a probability; Kolmogorov-Smirnov "
        "statistic and Jensen-Shannon distance. Confidences within 0.01 count as one, the Wasserstein distance apart.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("max_psi", "Largest population stability index.", 0.1, 0.25, 0.5),
            Param("max_wasserstein", "Largest 1-Wasserstein distance.", 0.05, 0.1, 0.2, unit="probability",
                  by_scheme={"fp16": (0.005, 0.01, 0.05), "none": (0.001, 0.005, 0.01)}),
            _KS,
            _JS,
        ),
        check=_confidence,
    ),
    rule(
        "FEA213",
        "The five highest classes agree with the reference's",
        severity=("warning", "warning", "note"),
        why="Rankings and retrieval read more than the first class.",
        how="Share of samples with the same five highest classes in any order, where there are more than five, with Wilson's "
        "95 % interval; found only where the whole interval is below.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("min_ratio", "Least share of samples.", 0.9, 0.75, 0.5, unit="ratio",
                  by_scheme={"int4": (0.8, 0.6, 0.3), "fp16": (0.99, 0.97, 0.9), "none": (0.998, 0.99, 0.97)}),
        ),
        check=_ranks,
    ),
    rule(
        "FEA214",
        "Probabilities of the top class hold",
        severity=("warning", "warning", "note"),
        why="A mean divergence hides the few samples whose certainty is gone.",
        how="Candidate's minus the reference's probability of the reference's top class after softmax, 1 % quantile over "
        "samples (llama.cpp's delta p); the smallest and its sample stand beside it.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("max_drop", "Largest fall.", 0.2, 0.35, 0.6, unit="probability",
                  by_scheme={"int4": (0.3, 0.5, 0.75), "fp16": (0.01, 0.03, 0.1), "none": (0.001, 0.003, 0.01)}),
        ),
        check=_change,
    ),
    rule(
        "FEA215",
        "Every single sample keeps some of its signal",
        severity=("warning", "warning", "note"),
        why="A candidate that fails on one sample passes every mean.",
        how="SQNR of each sample's output by itself, the lowest of all; the sample's number stands beside it.",
        remedy="Look at that sample: is it unlike the calibration data, or does something in it set the model off",
        params=(
            Param("min_db", "Least SQNR of a sample.", 3.0, 0.0, -6.0, unit="dB",
                  by_scheme={"int4": (0.0, -3.0, -10.0), "fp16": (20.0, 12.0, 6.0), "none": (50.0, 40.0, 20.0)}),
        ),
        check=bound("output.worst_sample_db", "min_db", " dB", "SQNR of the worst sample", at_least=True),
    ),
    rule(
        "FEA216",
        "Largest error in steps of the output's own scale",
        why="A step is the least error that such an output can have, so it says how many of them went wrong.",
        how="max |x - y| over the step of the quantizer that stands right before the output; the widest where it has several.",
        remedy="Leave the last layers in float, or calibrate the output's quantizer anew",
        params=(Param("max_steps", "Largest error; infinite unless a policy sets it.", *_INFINITE, unit="steps"),),
        check=bound("output.max_abs_steps", "max_steps", " steps", "the largest error", at_least=False),
    ),
    rule(
        "FEA217",
        "Error that all but one value in 100 keep below",
        why="The largest error is one value's; a quantile tells how common large ones are.",
        how="99 % quantile of |x - y|, a value that occurred, from the values that FEA210 reads.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(Param("max_value", "Largest error; infinite unless a policy sets it.", *_INFINITE),),
        check=bound("output.abs_error_p99", "max_value", "", "the 99 % quantile of the error", at_least=False),
    ),
)  # fmt: skip
