"""FEA3xx: what happens between input and output (特征一致性)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgate.records import Finding, Measurement, Severity
from qgate.rules.base import ADD_INPUTS, Param, RuleContext, rule

_REMEDY = "Leave this layer unquantized, or calibrate it on data that are like those in use"


def _evidence(found: Measurement) -> dict[str, Any]:
    kept = (
        "operator",
        "reference_tensor",
        "before_db",
        "own_sqnr_db",
        "outside",
        "cosine",
        "reference_range",
    )
    return {key: found.detail[key] for key in (*kept, "quantizer_range") if key in found.detail}


def _floor(context: RuleContext) -> Iterator[Finding]:
    least = context.limit("min_db")
    for found in context.all("layer.sqnr_db"):
        if found.value is not None and not found.number >= least:
            yield context.finding(
                f"the layer keeps {found.number:.3g} dB of its signal, at least {least:g} dB asked for",
                at=found.at,
                evidence=_evidence(found),
            )


def _drop(context: RuleContext) -> Iterator[Finding]:
    most, least = context.limit("max_drop"), context.limit("min_db")
    for found in context.all("layer.sqnr_db"):
        drop = found.detail.get("drop_db")
        if found.value is None or not isinstance(drop, int | float) or found.number >= least:
            continue
        if not drop <= most:
            yield context.finding(
                f"the signal falls here from {found.number + drop:.3g} dB to {found.number:.3g} dB: look at this layer "
                "first",
                at=found.at,
                evidence=_evidence(found),
            )


def _nonfinite(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("layer.nonfinite"):
        yield context.finding(
            "the layer holds values that are NaN, infinite or too large to square, where the reference's are not",
            at=found.at,
            evidence={"batches": found.value, **found.detail},
        )


def _compared(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("layer.count"):
        if found.value is None:
            yield context.finding(
                f"layers were not compared: {found.not_measured}", evidence={"reason": found.not_measured}
            )


def _channels(context: RuleContext) -> Iterator[Finding]:
    most = context.limit("max_share")
    for found in context.all("layer.sqnr_db"):
        channels = found.detail.get("channels")
        if not isinstance(channels, dict) or not channels.get("dead"):
            continue
        count, dead, stuck = (int(channels[key]) for key in ("count", "dead", "saturated"))
        if dead <= most * count:
            continue
        parts = [f"{dead - stuck} say nothing"] if dead > stuck else []
        parts += [f"{stuck} stick at the end of the range"] if stuck else []
        yield context.finding(
            f"of {count} channels that vary in the reference, {' and '.join(parts)}: first "
            f"{', '.join(str(each) for each in channels['first'])}",
            at=found.at,
            evidence={"operator": found.detail.get("operator"), **channels},
            # Noise as an input keeps channels where no real input does.
            severity=Severity.NOTE if context.declared.get("data") == "generated" else None,
        )


def _optimised(context: RuleContext) -> Iterator[Finding]:
    least = context.limit("min_db")
    for found in context.all("output.unoptimised_db"):
        if found.value is not None and not found.number >= least:
            yield context.finding(
                f"optimised by the runtime, the candidate keeps {found.number:.3g} dB of what it answers as it is written",
                at=found.at,
            )


RULES = (
    rule(
        "FEA301",
        "Every layer keeps some of its signal",
        severity=("error", "warning", "note"),
        why="An output can look right while an inner feature is noise: another input will tell.",
        how="SQNR of the candidate's activation against the reference's, 10 log10(sum a^2 / sum (a - b)^2) over all "
        "samples; the candidate's codes are dequantized beside the graph, so that observing them changes nothing.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("min_db", "Least SQNR of a layer.", 8.0, 3.0, 0.0, unit="dB",
                  by_scheme={"int4": (3.0, 0.0, -3.0), "fp16": (30.0, 20.0, 10.0), "none": (60.0, 50.0, 40.0)}),
        ),
        check=_floor,
    ),
    rule(
        "FEA302",
        "No layer loses its signal at once",
        severity=("error", "warning", "note"),
        why="Rounding costs each layer a little; a sudden loss has one place, and this is it.",
        how="SQNR of a layer against the lowest of the layers that it reads.",
        remedy=_REMEDY,
        generated_remedy=ADD_INPUTS,
        params=(
            Param("max_drop", "Largest fall that is not looked at.", 15.0, 20.0, 30.0, unit="dB"),
            Param("min_db", "Layers that keep this are not looked at, however much they lose.", 18.0, 15.0, 8.0, unit="dB",
                  by_scheme={"int4": (10.0, 8.0, 4.0), "fp16": (35.0, 30.0, 20.0), "none": (60.0, 50.0, 40.0)}),
        ),
        check=_drop,
    ),
    rule(
        "FEA303",
        "Every layer's values stay finite where the reference's do",
        why="A later layer can hide NaN and infinity, and a quantizer always does.",
        how="Sums of squares of each batch; values beyond 1e19 count as infinite in float32.",
        remedy="Look for a scale, a bias or a half-precision value that overflows in this layer",
        check=_nonfinite,
    ),
    rule(
        "FEA304",
        "Layers are compared without changing what is observed",
        severity=("warning", "note", "note"),
        why="A tool that reads inner tensors keeps a runtime from fusing them, and tests another model than the one that is "
        "deployed.",
        how="Both models run in one session, or in two where they cannot be joined; the candidate's outputs must be those "
        "of its plain session bit for bit, otherwise nothing is said about its layers.",
        remedy="Outputs are judged all the same; to compare layers, export both models for the same operator set",
        check=_compared,
    ),
    rule(
        "FEA305",
        "No channel is dead or saturated",
        severity=("error", "warning", "note"),
        why="A channel that is one value whatever the input carries no feature any more, and an average over the layer "
        "hardly shows it.",
        how="Least and greatest value of each channel of convolutions and products over all samples. Counted are channels "
        "that are one value in the candidate while the reference's span an eighth of the candidate's range or more: "
        "saturated where that value is an end of the range and not zero, dead otherwise. A note on generated data.",
        remedy="Look at this channel's scale and bias, quantize per channel, or leave this layer unquantized",
        params=(Param("max_share", "Largest share of such channels in a layer.", 0.0, 0.0, 0.02, unit="ratio"),),
        check=_channels,
    ),
    rule(
        "FEA306",
        "The runtime's optimisations leave the candidate what it is",
        severity=("warning", "warning", "note"),
        why="A fused operator is another implementation, and some have been wrong (onnxruntime#11576, #25259, #32132). Codes "
        "of 8 bits by codes of 8 bits also saturate without them on processors that have AVX2 and no VNNI.",
        how="The first sample through ONNX Runtime with all graph optimisations and with none, through LiteRT with XNNPACK "
        "and without; SQNR of the former against the latter.",
        remedy="Report it to the runtime with this model, and deploy it with the optimisation that it names turned off",
        params=(Param("min_db", "Least SQNR.", 12.0, 6.0, 3.0, unit="dB"),),
        check=_optimised,
    ),
)  # fmt: skip
