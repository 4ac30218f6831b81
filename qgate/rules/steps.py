"""RNG108, RNG110, RNG112: the steps of weights, biases and constants beside what they scale."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.causes import derivation_fails


def _odd_scales(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("weight.odd_scale"):
        codes = str(found.detail.get("codes"))
        if abs(found.number - 1) <= context.limit("max_deviation") or derivation_fails(context, codes):
            continue
        yield context.finding(
            f"this scale is {found.number:.4g} times what the rule of all the tensor's other scales gives",
            at=found.at,
            evidence={"ratio": found.number, **found.detail},
        )


def _coarse(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("derivation") == "none":
        return
    for found in context.all("weight.coarse_scale"):
        codes, role = str(found.detail.get("codes")), str(found.detail.get("role"))
        least = context.limit("min_used" if role == "weight" else "min_used_constant")
        if found.number >= least or derivation_fails(context, codes):
            continue
        yield context.finding(
            f"the step {_g(found.detail.get('scale'))} is far too coarse for the {role} {codes!r}: the largest of its values, "
            f"{_g(found.detail.get('largest'))}, is {found.number:.2g} of what the codes can hold",
            at=found.at,
            evidence={"used": found.number, "minimum": least, "scales": found.n, **found.detail},
        )


def _biases(context: RuleContext) -> Iterator[Finding]:
    most = context.limit("max_deviation")
    for found in context.all("bias.odd_scale"):
        if found.number <= most:
            continue
        seen = found.detail
        channel = f" of channel {found.at.index[0]}" if found.at.index else ""
        zero = seen.get("zero_point")
        what = f"zero point {zero}" if zero else f"the step {_g(seen.get('scale'))}"
        right = f"{_g(seen.get('natural'))} (input scale times weight scale)"
        yield context.finding(
            f"the int32 bias {seen.get('codes')!r}{channel} is written with {what}; integer arithmetic reads its codes in steps "
            f"of {right} from zero, so that it adds {_g(seen.get('added'))} where the file says {_g(seen.get('stated'))}",
            at=found.at,
            evidence={"deviation": found.number, "allowed": most, "channels": found.n, **seen},
        )


def _g(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


RULES = (
    rule(
        "RNG108",
        "All scales of a 4-bit tensor follow one rule",
        why="A scale can be edited by a few percent without any 4-bit code changing; every weight of its channel "
        "changes.",
        how="Scale over the range of the reference's channel or block is the same number wherever one quantizer made "
        "them all; judged only where at least 95 % of a tensor's scales (of eight or more) agree.",
        remedy="Quantize again from the reference",
        params=(Param("max_deviation", "Largest deviation from the rule.", 0.001, 0.002, 0.05, unit="ratio"),),
        check=_odd_scales,
    ),
    rule(
        "RNG110",
        "No scale is far coarser than what it scales",
        why="A wide enough step rounds a channel, a bias or a bound to nothing, and every code of it still follows from the "
        "reference.",
        how="Largest value of the reference under each scale over half the range of the codes, in steps (int32 counts as eight "
        "bits). Left out: channels a thousandth of the tensor's largest and less, biases with up to 16 times the product of "
        "input and weight step, and steps that only repeat one step for the whole tensor, which are judged as one.",
        remedy="Choose the scale from the tensor's own range",
        params=(
            Param("min_used", "Least share of the codes that a weight uses.", 0.12, 0.06, 0.02, unit="ratio"),
            Param("min_used_constant", "Least share that a bias or another constant uses.", 0.25, 0.12, 0.03, unit="ratio"),
        ),
        check=_coarse,
    ),
    rule(
        "RNG112",
        "An int32 bias has the scale that integer arithmetic reads it with",
        why="A fused layer adds the codes of its bias to the sum of products as they are, and never looks at the scale that the "
        "file has beside them: with another one the file says the reference's bias, and what is deployed has any bias at all.",
        how="Of layers with a quantized input and a quantized weight: input scale times weight scale over the bias's own scale, "
        "less one, by channel, less what a scale in half precision leaves open; the zero point is 0. Rounding in float32 makes "
        "up to 2e-7 of it. Holds for every profile and whatever is declared of the derivation.",
        remedy="Quantize the biases again with input scale times weight scale, or leave them in float",
        params=(Param("max_deviation", "Largest deviation.", 1e-4, 1e-3, 1e-2, unit="ratio"),),
        check=_biases,
    ),
)  # fmt: skip
