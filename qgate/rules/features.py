"""FEA: feature and output consistency (特征输出一致性)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from qgate.records import Finding, Measurement, Severity, Verdict
from qgate.rules.base import ADD_INPUTS, Param, RuleContext, rule


def _nonfinite(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("output.nonfinite_candidate"):
        if found.value is not None and not found.number <= 0:
            sample = found.detail.get("first_sample")
            yield context.finding(
                f"{found.number:.0f} values are NaN or infinite where the reference's are finite (first in sample {sample})",
                at=found.at,
                evidence={"count": found.value, **found.detail},
            )


def _shape(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("output.shape_mismatch"):
        if found.value:
            yield context.finding(
                "the output has another shape than the reference's", at=found.at, evidence=found.detail
            )


GENERATED = Param(
    "severity_generated",
    "How much it weighs on generated inputs that lie outside the candidate's calibrated ranges.",
    "error",
    "warning",
    "note",
    choices=tuple(Severity),
)
CLIPPED_ENERGY = 0.02


def weight(context: RuleContext) -> tuple[Severity | None, Verdict]:
    """Severity and effect: generated inputs outside of what a model was calibrated for prove no damage.

    They prove no health either, so that a profile may ask for real ones (INCONCLUSIVE).
    """
    outside = any(
        float(found.detail.get("clipped_energy", 0.0)) > CLIPPED_ENERGY
        for found in context.all("activation.clipped_share")
        if found.value is not None
    )
    if context.declared.get("data") != "generated" or not outside or GENERATED.name not in context.limits:
        return None, Verdict.FAIL
    return Severity(context.word(GENERATED.name)), Verdict.INCONCLUSIVE


def bound(
    name: str, param: str, unit: str, what: str, *, at_least: bool
) -> Callable[[RuleContext], Iterator[Finding]]:
    """A rule on one figure of every output."""

    def check(context: RuleContext) -> Iterator[Finding]:
        limit = context.limit(param)
        for found in context.all(name):
            if found.value is None:
                continue
            wrong = not found.number >= limit if at_least else not found.number <= limit
            if wrong:
                severity, effect = weight(context)
                word = "at least" if at_least else "at most"
                yield context.finding(
                    f"{what} is {found.number:.4g}{unit}, {word} {limit:g}{unit} asked for",
                    at=found.at,
                    evidence={"value": found.number, "limit": limit, "samples": found.n, **found.detail},
                    severity=severity,
                    effect=effect,
                )

    return check


def _agreement(context: RuleContext) -> Iterator[Finding]:
    least = context.limit("min_ratio")
    for found in context.all("output.top1_agreement"):
        if found.value is None or found.number >= least:
            continue
        # With few samples the interval decides: one flip in 24 is no evidence of 4 %.
        unsure = found.high is not None and found.high >= least
        severity, effect = weight(context)
        yield context.finding(
            f"the top class is the reference's in {found.number:.1%} of {found.n} samples, {least:.1%} asked for"
            + (" (too few samples to be sure)" if unsure else ""),
            at=found.at,
            evidence={
                "value": found.number,
                "low": found.low,
                "high": found.high,
                "limit": least,
                **found.detail,
            },
            severity=Severity.WARNING if unsure else severity,
            effect=effect,
        )


def _measured(context: RuleContext) -> Iterator[Finding]:
    for found in (*context.all("output.sqnr_db"), *context.all("output.same_boxes")):
        if found.value is None and not _names_nonfinite(context, found):
            yield context.finding(
                f"the output could not be compared: {found.not_measured}",
                at=found.at,
                effect=Verdict.INCONCLUSIVE,
            )
    compared = ("output.sqnr_db", "output.differing_share", "output.same_boxes")
    if context.declared.get("ran") and not any(context.all(name) for name in compared):
        yield context.finding("no output was compared", effect=Verdict.INCONCLUSIVE)


def _batch(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("output.batch_dependence"):
        yield context.finding(f"{found.detail.get('message', 'the answers differ')}; the reference does not")


def _names_nonfinite(context: RuleContext, found: Measurement) -> bool:
    """Whether FEA101 or FEA102 already says why this output has no figure."""
    told = ("output.nonfinite_candidate", "output.shape_mismatch")
    return any(
        m.at == found.at and m.value is not None and m.number > 0 for name in told for m in context.all(name)
    )


_UNSET = (float("inf"),) * 3
_REMEDY = (
    "Calibrate on data like those that the model will see, quantize per channel, or leave the most sensitive layers "
    "(often the first and the last) in float"
)
RULES = (
    rule(
        "FEA101",
        "No output is NaN or infinite where the reference's is finite",
        why="A NaN compares false with every threshold, so it is looked for before any figure is formed.",
        how="Elements that are not finite in the candidate and finite in the reference, over all samples.",
        remedy="Look for an overflow in fp16 or a scale that is wrong",
        check=_nonfinite,
    ),
    rule(
        "FEA102",
        "Outputs have the reference's shapes",
        why="A caller indexes outputs by position.",
        how="Shapes of both models' outputs for the same inputs.",
        remedy="Export with the reference's shapes",
        check=_shape,
    ),
    rule(
        "FEA103",
        "Every output was compared",
        why="What was not measured must not pass.",
        how="Says which output has no figure, and why.",
        remedy="Give inputs that both models accept",
        check=_measured,
    ),
    rule(
        "FEA201",
        "Outputs keep enough signal",
        why="SQNR follows damage where mean relative error follows near-zero denominators.",
        how="20 log10(|x| / |x - y|), the reference is the signal, float64 sums over all samples.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            GENERATED,
            Param("min_db", "Least SQNR of an output.", 15.0, 5.0, 1.0, unit="dB",
                  by_scheme={"int4": (8.0, 2.0, 0.0), "fp16": (40.0, 30.0, 20.0), "fp8": (12.0, 5.0, 1.0),
                             "none": (70.0, 50.0, 30.0)}),
        ),
        check=bound("output.sqnr_db", "min_db", " dB", "SQNR", at_least=True),
    ),
    rule(
        "FEA202",
        "Outputs point where the reference's point",
        why="Embeddings and scores are used by direction.",
        how="Cosine of the flattened outputs; both zero counts as 1, one zero as 0. Blind to scale, so never alone.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            GENERATED,
            Param("min_cosine", "Least cosine.", 0.98, 0.85, 0.6,
                  by_scheme={"int4": (0.92, 0.75, 0.5), "fp16": (0.9999, 0.999, 0.99), "none": (0.99999, 0.9999, 0.999)}),
        ),
        check=bound("output.cosine", "min_cosine", "", "the cosine", at_least=True),
    ),
    rule(
        "FEA203",
        "The top class agrees with the reference's",
        why="Equal accuracy can hide as many flips one way as the other (Accuracy is Not All You Need, NeurIPS 2024).",
        how="Share of samples with the same arg max, with Wilson's 95 % interval; an error only where the whole interval "
        "is below.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            GENERATED,
            Param("min_ratio", "Least share of samples.", 0.98, 0.93, 0.8, unit="ratio",
                  by_scheme={"int4": (0.95, 0.85, 0.7), "fp16": (0.998, 0.99, 0.97), "none": (0.999, 0.998, 0.99)}),
        ),
        check=_agreement,
    ),
    rule(
        "FEA204",
        "Class probabilities stay close to the reference's",
        why="Confidence drives thresholds and rejections downstream.",
        how="KL(P_ref || P_cand) in nats after softmax, mean over samples.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            GENERATED,
            Param("max_mean", "Largest mean divergence.", 0.05, 0.3, 1.0, unit="nats",
                  by_scheme={"int4": (0.15, 0.6, 2.0), "fp16": (0.001, 0.01, 0.1), "none": (0.0001, 0.001, 0.01)}),
        ),
        check=bound("output.kl_mean", "max_mean", " nats", "the mean divergence", at_least=False),
    ),
    rule(
        "FEA208",
        "Whole-number outputs are the reference's",
        why="A class index or a token has no distance: it is right or another one.",
        how="Share of elements of an integer or boolean output that differ, over all samples.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("max_share", "Largest share of elements that differ.", 0.02, 0.07, 0.2, unit="ratio",
                  by_scheme={"int4": (0.05, 0.15, 0.3), "fp16": (0.002, 0.01, 0.03), "none": (0.001, 0.002, 0.01)}),
        ),
        check=bound("output.differing_share", "max_share", "", "the share of elements that differ", at_least=False),
    ),
    rule(
        "FEA209",
        "The answer to a sample does not depend on its batch",
        why="A model that answers differently beside other samples passes every test that is made one by one.",
        how="The first batch is run once whole and once sample by sample. Dynamically quantized models share a scale over "
        "a batch, so it is not judged there, nor where the reference does the same.",
        remedy="Look for an operation that reads the batch's size",
        check=_batch,
    ),
    rule(
        "FEA205",
        "Relative L2 error of outputs",
        why="Teams that think in relative error set it here; it is SQNR in other words.",
        how="|x - y| / |x| over all samples.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(Param("max_ratio", "Largest relative error; infinite unless a policy sets it.", *_UNSET, unit="ratio"),),
        check=bound("output.relative_l2", "max_ratio", "", "the relative L2 error", at_least=False),
    ),
    rule(
        "FEA206",
        "Classic mean relative error of outputs",
        why="The usual check, mean(|a - b| / (|a| + 1e-8)) < 0.05, refuses correct int8 models and passes a model that was "
        "not quantized at all; it is reported, and gates only where a policy sets it.",
        how="Mean over all elements and samples.",
        remedy="Gate on FEA201 and FEA203 instead",
        params=(
            Param("max_ratio", "Largest mean relative error; infinite unless a policy sets it.", *_UNSET, unit="ratio"),
        ),
        check=bound("output.mean_relative_error", "max_ratio", "", "the mean relative error", at_least=False),
    ),
    rule(
        "FEA207",
        "Largest absolute error of outputs",
        why="One wild value can matter more than the mean of all.",
        how="max |x - y| over all elements and samples.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(Param("max_value", "Largest error; infinite unless a policy sets it.", *_UNSET),),
        check=bound("output.max_abs", "max_value", "", "the largest error", at_least=False),
    ),
)  # fmt: skip
