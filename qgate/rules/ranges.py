"""RNG: numeric range consistency (数值范围一致性)."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity, Verdict
from qgate.rules.base import ADD_INPUTS, Param, RuleContext, rule
from qgate.rules.causes import derivation_fails


def _scales(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("scale.defect"):
        yield context.finding(
            str(found.detail["message"]),
            at=found.at,
            evidence={"kind": found.value, **{k: v for k, v in found.detail.items() if k != "message"}},
        )


def _weight_sqnr(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("derivation") == "none":
        return
    for found in context.all("weight.sqnr_db"):
        if found.value is None or derivation_fails(context, found.at.tensor):
            continue
        least = context.limit(_by_dtype(str(found.detail.get("dtype", ""))))
        if not found.number >= least:
            yield context.finding(
                f"the dequantized weight has {found.number:.1f} dB SQNR against the reference ({least:g} dB asked for)",
                at=found.at,
                evidence={"sqnr_db": found.number, "minimum": least, "dtype": found.detail.get("dtype")},
            )


def _by_dtype(dtype: str) -> str:
    """Each tensor is held to what its own storage type can do, whatever the model's scheme."""
    if dtype in ("int4", "uint4", "int2", "uint2", "float4e2m1"):
        return "min_db_int4"
    if dtype.startswith("float8"):
        return "min_db_fp8"
    if dtype in ("float16", "bfloat16"):
        return "min_db_fp16"
    return "min_db" if dtype in ("int8", "uint8", "int16", "uint16", "int32") else "min_db_float"


def _weight_rmse(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("weight.rmse_steps"):
        if found.value is None or (found.n or 0) < 64 or derivation_fails(context, found.at.tensor):
            continue
        most = context.limit("max_steps")
        if not found.number <= most:
            yield context.finding(
                f"the rounding error is {found.number:.3f} steps (0.289 is healthy, {most:g} allowed): weights are clipped",
                at=found.at,
                evidence={"rmse_steps": found.number, "maximum": most},
            )


def _levels(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("weight.levels"):
        least = context.limit("min_codes")
        if not found.number >= least:
            yield context.finding(
                f"{found.number:.0f} of 256 codes are used by {found.n} elements: this is not 8-bit content",
                at=found.at,
                evidence={"codes": found.value, "elements": found.n},
            )


def _clipping(context: RuleContext) -> Iterator[Finding]:
    real = context.declared.get("data") == "given"
    for found in context.all("activation.clipped_share"):
        if found.value is None:
            continue
        energy = float(found.detail.get("clipped_energy", 0.0))
        share, most = context.limit("max_share"), context.limit("max_energy")
        if energy <= most and not (found.number > share and energy > most / 2):
            continue
        low, high = found.detail.get("low"), found.detail.get("high")
        observed = (found.detail.get("observed_min"), found.detail.get("observed_max"))
        yield context.finding(
            f"the quantizer's range [{_g(low)}, {_g(high)}] clips {found.number:.2%} of the reference's activations "
            f"in [{_g(observed[0])}, {_g(observed[1])}], {energy:.2%} of their energy",
            at=found.at,
            evidence={"clipped_share": found.number, **found.detail},
            severity=None if real else Severity.NOTE,
        )


def _unused(context: RuleContext) -> Iterator[Finding]:
    real = context.declared.get("data") == "given"
    for found in context.all("activation.used_range"):
        if found.value is None or found.number >= context.limit("min_used"):
            continue
        if int(found.detail.get("bits", 8)) > 8 and found.number >= context.limit("min_used") / 256:
            # Sixteen bits have eight to spare.
            continue
        yield context.finding(
            f"the activations use {found.number:.1%} of the quantizer's range: "
            f"{_lost_bits(found.number):.1f} bits of resolution are lost",
            at=found.at,
            evidence={"used": found.number, **found.detail},
            severity=None if real else Severity.NOTE,
        )


def _wide(context: RuleContext) -> Iterator[Finding]:
    real = context.declared.get("data") == "given"
    for found in context.all("activation.clipped_share"):
        if found.value is None:
            continue
        low, high, least, most = (
            _number(found.detail.get(key)) for key in ("low", "high", "observed_min", "observed_max")
        )
        reached = max(least / low if low < 0 else 0.0, most / high if high > 0 else 0.0)
        if found.detail.get("half_range"):
            reached *= 2
        if reached >= context.limit("min_reached") or _is_given(low, high):
            continue
        yield context.finding(
            f"the reference's activations in [{_g(least)}, {_g(most)}] reach {reached:.0%} of the quantizer's range "
            f"[{_g(low)}, {_g(high)}]: it is {1 / max(reached, 1e-9):.3g} times too wide",
            at=found.at,
            evidence={"reached": reached, **found.detail},
            severity=None if real else Severity.NOTE,
        )


def _is_given(low: float, high: float) -> bool:
    """The range of a sigmoid, a softmax, a tangent or a picture, which converters set without looking."""
    return abs(high - 1) < 0.01 and min(abs(low), abs(low + 1)) < 0.01


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _not_measured(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("activation.clipped_share"):
        if found.value is None:
            yield context.finding(
                f"the range was not compared with the reference's activations: {found.not_measured}",
                at=found.at,
                effect=Verdict.INCONCLUSIVE,
            )
            return


def _unseen(context: RuleContext) -> Iterator[Finding]:
    ranges = context.all("activation.clipped_share")
    if context.declared.get("data") != "generated" or not ranges:
        return
    noun = "activation range" if len(ranges) == 1 else "activation ranges"
    yield context.finding(
        f"no data: inputs were generated, so that the calibration of {len(ranges):,} {noun} is not judged",
        effect=Verdict.INCONCLUSIVE,
    )


def _lost_bits(used: float) -> float:
    from math import log2

    return -log2(max(used, 1e-9))


def _g(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


RULES = (
    rule(
        "RNG101",
        "Scales are finite, positive and normal numbers, as many as the axis asks for",
        why="A NaN or infinite scale hides: QuantizeLinear maps what comes of it to an ordinary code.",
        how="Every scale of weights and activations is read from the file, not observed.",
        remedy="Calibrate again; look for a channel that is all zero or an activation that overflows",
        check=_scales,
    ),
    rule(
        "RNG102",
        "Dequantized weights keep enough signal",
        why="A scale that is too coarse rounds honestly and still throws the model away.",
        how="SQNR = 20 log10(|w| / |w - dq(q)|), float64 sums, by tensor; the floor goes by the tensor's own type.",
        remedy="Quantize per channel, or leave this layer out of quantization",
        params=(
            Param("min_db", "Least SQNR of an 8-bit or 16-bit integer tensor.", 26.0, 20.0, 12.0, unit="dB"),
            Param("min_db_int4", "Least SQNR of a tensor of 4 bits or fewer.", 12.0, 8.0, 4.0, unit="dB"),
            Param("min_db_fp16", "Least SQNR of a float16 or bfloat16 tensor.", 45.0, 40.0, 30.0, unit="dB"),
            Param("min_db_fp8", "Least SQNR of a float8 tensor.", 22.0, 18.0, 12.0, unit="dB"),
            Param("min_db_float", "Least SQNR of a float32 tensor.", 100.0, 80.0, 60.0, unit="dB"),
        ),
        check=_weight_sqnr,
    ),
    rule(
        "RNG103",
        "Weights are rounded, not clipped",
        why="Saturated weights lose the outliers that carry the most.",
        how="Root mean square of code minus unclipped quotient; a uniform rounding error gives 1/sqrt(12) = 0.289 steps. "
        "Scales chosen for the least square error clip a few outliers on purpose.",
        remedy="Choose the scale from the weight's own range",
        params=(
            Param("max_steps", "Largest root mean square error.", 2.0, 8.0, 16.0, unit="steps",
                  by_scheme={"int4": (0.6, 1.0, 2.0)}),
        ),
        check=_weight_rmse,
    ),
    rule(
        "RNG104",
        "Activation ranges hold the reference's activations",
        why="A range that was calibrated on the wrong data clips what it never saw.",
        how="The reference's tensor behind each quantizer is observed on the given data; reported are the share of "
        "values outside the range and the share of energy that clipping removes. A range in front of Relu or Clip is not "
        "watched where the one behind it cuts off as much, for the function flattens what is cut off before. A note on "
        "generated data. NNCF's default recipe takes the mean of the batches' extremes, which clips up to 5 % of the values and "
        "3 % of the energy of honest models.",
        remedy="Calibrate again on data like those that the model will see",
        generated_remedy=ADD_INPUTS,
        params=(
            Param("max_share", "Largest share of clipped values, where energy is lost with them.", 0.02, 0.08, 0.2, unit="ratio"),
            Param("max_energy", "Largest share of energy lost.", 0.005, 0.04, 0.1, unit="ratio"),
        ),
        check=_clipping,
    ),
    rule(
        "RNG105",
        "Activation ranges are not far wider than the activations",
        why="Each doubling of an unused range costs a bit.",
        how="Observed span over representable span, on the given data. A note on generated data.",
        remedy="Calibrate again; look for an outlier in the calibration data",
        generated_remedy=ADD_INPUTS,
        params=(Param("min_used", "Least share of the range that is used.", 0.15, 0.08, 0.03, unit="ratio"),),
        check=_unused,
    ),
    rule(
        "RNG109",
        "Activations come near the ends of their ranges",
        why="A doubled scale costs one bit of every activation behind it, which no accuracy need show.",
        how="The larger of observed minimum over least and observed maximum over greatest representable value, on the "
        "given data; the fixed ranges [0, 1] and [-1, 1] are left out, and of PyTorch's eager and FX modules half of the "
        "range counts, as their default calibration leaves the upper codes free. A note on generated data. Honest ranges on real "
        "data measured .71 and more.",
        remedy="Calibrate again on data like those that the model will see",
        generated_remedy=ADD_INPUTS,
        params=(Param("min_reached", "Least share of the range that is reached.", 0.6, 0.55, 0.3, unit="ratio"),),
        severity=("warning", "warning", "note"),
        check=_wide,
    ),
    rule(
        "RNG106",
        "8-bit weights have 8-bit content",
        why="Four-bit weights stored as int8 cost the size of one and the accuracy of the other.",
        how="Distinct codes of each int8 or uint8 weight of at least 1,024 elements.",
        remedy="Quantize from the float reference, with the range of the weight itself",
        params=(Param("min_codes", "Least number of distinct codes.", 24, 17, 9, unit="codes"),),
        check=_levels,
    ),
    rule(
        "RNG107",
        "Activation ranges were compared with the reference's",
        why="A range that nobody looked at may be any range.",
        how="Says why the comparison of RNG104 could not be made.",
        remedy="Give inputs, and the graph that was quantized as the reference",
        severity=("warning", "note", "note"),
        check=_not_measured,
    ),
    rule(
        "RNG111",
        "Calibrated activation ranges are judged on real inputs",
        why="Static quantization fixes the range of every activation by calibration data. Generated inputs are like no data, "
        "so that a model that was calibrated on the wrong ones can pass every other rule.",
        how="Quantizers of activations with fixed ranges whose tensors the reference has, in a run without inputs of its own. "
        "Dynamic and weight-only quantization have none.",
        remedy="Add `data.inputs` to the target; a few dozen samples like those that the model will see are enough",
        pair_remedy="Add --inputs X.npz; a few dozen samples like those that the model will see are enough",
        severity=("error", "warning", "note"),
        check=_unseen,
    ),
)  # fmt: skip
