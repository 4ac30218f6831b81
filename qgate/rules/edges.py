"""FEA22x: inputs at the edge of what a model may be given, and batches of dynamic models (边界输入)."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity
from qgate.rules.base import Param, RuleContext, rule


def _answered(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("edge.answered"):
        if found.value is False:
            yield context.finding(
                f"the candidate refuses an input that the reference answers: {found.detail.get('reason', '')}",
                at=found.at,
                evidence=found.detail,
            )
    for name, what in (
        ("edge.nonfinite_candidate", "values are NaN or infinite where the reference's are finite"),
        ("edge.shape_mismatch", "outputs have another shape than the reference's"),
    ):
        for found in context.all(name):
            if found.value is not None and not found.number <= 0:
                yield context.finding(
                    f"{found.number:.0f} {what}",
                    at=found.at,
                    evidence={"count": found.number, **found.detail},
                    # What a calibration never saw need not be answered well.
                    severity=Severity.WARNING if found.detail.get("outside") is True else None,
                )


def _signal(context: RuleContext) -> Iterator[Finding]:
    least = context.limit("min_db")
    for found in context.all("edge.signal_db"):
        if found.value is not None and not found.number >= least and found.detail.get("outside") is not True:
            yield context.finding(
                f"the answer keeps {found.number:.3g} dB of its signal, at least {least:g} dB asked for",
                at=found.at,
                evidence={"value": found.number, "limit": least, **found.detail},
            )


def _batch(context: RuleContext) -> Iterator[Finding]:
    least = context.limit("min_db")
    for found in context.all("output.batch_effect_db"):
        if found.value is not None and not found.number >= least:
            yield context.finding(
                f"beside other samples the answers keep {found.number:.3g} dB of what they are alone: samples of one batch "
                "share the scales of dynamic quantization",
                at=found.at,
                evidence={"value": found.number, "limit": least},
            )


_EDGES = (
    "Zeros, ones, the ends and the middle of the input's calibrated range (of the first sample's where it has none), the first "
    "channel alone, and the smallest and twice the first sample's free dimensions, each once through both models"
)
RULES = (
    rule(
        "FEA220",
        "Inputs at the edge are answered as the reference answers them",
        severity=("error", "error", "warning"),
        why="A black frame, a saturated sensor or a short sequence comes one day; test sets seldom hold them.",
        how=f"{_EDGES}. Found are refusals, values that are not finite and shapes, where the reference has none of it; what the "
        "reference refuses is left out.",
        remedy="Look for an overflow in fp16, or a shape that the conversion fixed",
        check=_answered,
    ),
    rule(
        "FEA221",
        "Inputs at the edge keep some signal",
        severity=("warning", "warning", "note"),
        why="Where every value is at an end of a range, a wrong zero point or scale has nowhere to hide.",
        how=f"{_EDGES}: SQNR of the output with the least; the signal counts as no weaker than it is in a usual sample. Inputs "
        "outside of the calibrated range are not judged.",
        remedy="Look at the input's quantizer: does its range hold what the model may be given",
        params=(
            Param("min_db", "Least SQNR.", 3.0, 0.0, -6.0, unit="dB",
                  by_scheme={"int4": (0.0, -3.0, -10.0), "fp16": (20.0, 12.0, 6.0), "none": (50.0, 40.0, 20.0)}),
        ),
        check=_signal,
    ),
    rule(
        "FEA222",
        "A batch changes little in a dynamic model's answers",
        severity=("note", "note", "note"),
        why="Dynamic quantization takes one scale for a whole batch, so what is measured one by one is not what a server gives.",
        how="SQNR of the answers to the first samples as one batch, the answers one by one are the signal.",
        remedy="Serve one sample at a time, or quantize activations statically",
        params=(Param("min_db", "Least SQNR.", 30.0, 20.0, 10.0, unit="dB"),),
        check=_batch,
    ),
)  # fmt: skip
