"""QNT1: is it really quantized, and as declared?"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Place, Verdict
from qgate.rules.base import Param, RuleContext, rule

_FULL = 16
"""Bits of a weight that is stored whole: float16 is the least that serves as a reference."""

_EXCHANGED = 0.7
"""A reference whose weights take no more than this share of the candidate's bits is the quantized one of the two."""


def _share(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") == "none":
        return
    for found in context.all("quant.share"):
        least = context.limit("min_share")
        if found.value is None:
            yield context.finding(
                f"it cannot be told whether the model is quantized: {found.not_measured}",
                at=Place(file="model"),
                effect=Verdict.INCONCLUSIVE,
            )
        if found.value is None or found.number >= least:
            continue
        nothing = found.number == 0
        what = (
            "nothing is quantized: every weight is stored in full precision"
            if nothing
            else f"only {found.number:.1%} of the parameters are stored in fewer than 32 bits ({least:.0%} asked for)"
        )
        evidence = {"share": found.number, "minimum": least, **found.detail}
        bits = [m.number for m in context.all("quant.bits") if m.value is not None]
        before = [m.number for m in context.all("quant.reference_bits") if m.value is not None]
        if nothing and bits and before and before[0] <= _EXCHANGED * bits[0]:
            yield context.finding(
                f"reference and candidate are exchanged: the reference's weights take {before[0]:.1f} bits on average and the "
                f"candidate's {bits[0]:.1f}, so the quantized model is the one that was named as the reference",
                at=Place(file="model"),
                evidence={**evidence, "reference_bits": before[0], "bits": bits[0]},
                remedy="Name the full-precision model as the reference and the quantized one as the candidate",
            )
            continue
        yield context.finding(what, at=Place(file="model"), evidence=evidence)


def _scheme(context: RuleContext) -> Iterator[Finding]:
    declared = context.declared.get("scheme", "auto")
    for found in context.all("quant.scheme"):
        if declared in ("auto", found.value):
            continue
        if declared == "none":
            yield context.finding(
                f"declared as a float model, but its weights are {found.value}",
                at=Place(file="model"),
                evidence=found.detail,
            )
        elif found.value != "none":
            yield context.finding(
                f"declared {declared}, found {found.value}", at=Place(file="model"), evidence=found.detail
            )


def _bits(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") == "none":
        return
    references = context.all("quant.reference_bits")
    for found in context.all("quant.bits"):
        if not references:
            return
        before = references[0].number
        ratio = found.number / before
        if not ratio <= context.limit("max_ratio"):
            evidence = {"bits": found.number, "reference_bits": before, "ratio": ratio}
            if before < _FULL:
                exchanged = before <= _EXCHANGED * found.number
                yield context.finding(
                    "the reference is a quantized model itself: its weights take "
                    f"{before:.1f} bits on average and the candidate's {found.number:.1f}"
                    + (", so that the two may be exchanged" if exchanged else ""),
                    at=Place(file="model"),
                    evidence=evidence,
                    remedy="Name the full-precision model that the candidate was made of as the reference",
                )
                continue
            yield context.finding(
                f"a weight takes {found.number:.1f} bits on average, {ratio:.0%} of the reference's "
                f"{before:.1f}",
                at=Place(file="model"),
                evidence=evidence,
            )


def _activations(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") != "int8":
        return
    for found in context.all("quant.activation_share"):
        if found.value is None or found.number >= context.limit("min_share"):
            continue
        layers, some = found.n or 0, found.detail.get("quantized", 0)
        what = (
            f"only {some:,} take integer activations"
            if some
            else "none takes integer activations: only weights are int8"
        )
        yield context.finding(
            f"declared int8, but of {layers:,} layers with integer weights {what}",
            at=Place(file="model"),
            evidence={"minimum": context.limit("min_share"), "first": found.detail.get("first", [])},
        )


def _untouched(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("scheme") == "none":
        return
    for found in context.all("quant.untouched"):
        yield context.finding(
            f"the conversion did nothing: all {found.number:.0f} weights are the reference's to the bit, and none is "
            "stored in fewer than 32 bits",
            at=Place(file="model"),
            evidence=found.detail,
        )


RULES = (
    rule(
        "QNT101",
        "The model is really quantized",
        why="Converters fail silently: a file without a single quantized weight comes out with no error, and "
        "scores perfectly.",
        how="The share of weight elements that are stored in fewer than 32 bits. Names and metadata count for "
        "nothing.",
        remedy="Check that the quantizer ran on this model, or declare `scheme: none` for two float models",
        pair_remedy="Check that the quantizer ran on this model, or give --scheme none for two float models",
        params=(Param("min_share", "Least share of the parameters.", 0.5, 0.25, 0.1, unit="ratio"),),
        check=_share,
    ),
    rule(
        "QNT102",
        "The scheme is the declared one",
        why="Thresholds go by scheme: int4 behind an int8 label is judged too kindly, or runs on other hardware.",
        how="The class of storage types that holds most of the shortened weights.",
        remedy="Correct `scheme` in the policy, or quantize as declared",
        pair_remedy="Correct --scheme, or quantize as it says",
        check=_scheme,
    ),
    rule(
        "QNT103",
        "Weights take clearly fewer bits than the reference's",
        why="Dead full-precision copies and layers left out cost what quantization was to save.",
        how="Mean storage bits of a weight element, against the reference's.",
        remedy="Quantize the layers that the report lists as float",
        params=(
            Param("max_ratio", "Largest ratio of bits.", 0.7, 0.85, 0.95, unit="ratio",
                  by_scheme={"fp16": (0.6, 0.9, 0.95)}),
        ),
        check=_bits,
    ),
    rule(
        "QNT105",
        "Where int8 is declared, layers compute on integer activations too",
        why="A file whose weights alone are int8 is smaller and no faster: hardware that the declaration promises integer "
        "arithmetic to runs it in float.",
        how="Of the layers of an ONNX graph with integer weights, those that read their other operand behind a quantizer, with "
        "calibrated or with dynamic ranges; a quantizer beside it counts for nothing. Operations that only "
        "move, choose or clip codes are looked through. Judged where "
        "`scheme: int8` is declared, not under `auto`.",
        remedy="Quantize activations too (calibrated or dynamically), or declare `scheme: auto` for weight-only quantization",
        pair_remedy="Quantize activations too (calibrated or dynamically), or leave --scheme out for weight-only quantization",
        params=(Param("min_share", "Least share of those layers.", 0.5, 0.25, 0.1, unit="ratio"),),
        severity=("error", "warning", "note"),
        check=_activations,
    ),
    rule(
        "QNT104",
        "The conversion did something",
        why="PyTorch's eager mode converts the modules that have a `qconfig`, and leaves the others without a word. A model "
        "without any comes out as it went in, and scores perfectly.",
        how="A candidate without a weight in fewer than 32 bits, all of whose weights are the reference's, bit for bit.",
        remedy="Set `qconfig` on the model before `prepare` (PyTorch), look at the quantizer's list of converted nodes "
        "(others), or declare `scheme: none` for two float models",
        pair_remedy="Set `qconfig` on the model before `prepare` (PyTorch), look at the quantizer's list of converted nodes "
        "(others), or give --scheme none for two float models",
        check=_untouched,
    ),
)  # fmt: skip
