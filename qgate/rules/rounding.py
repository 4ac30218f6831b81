"""QNT206 to QNT209: how the codes were rounded, and whether that looks prepared."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Severity
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.causes import derivation_fails
from qgate.rules.derivation import evidence_of

_ASKED = {
    "exact": ("other-rounding", "equalised", "bias-corrected"),
    "folded": ("other-rounding", "bias-corrected"),
}
"""What is an error, by declared derivation."""
_DOUBTED = "Run both models and compare what they answer; give the reference in the type that the candidate was made from"


def _rounding_bias(context: RuleContext) -> Iterator[Finding]:
    for name, what in (
        ("weight.bias_steps", "downwards or upwards"),
        ("weight.shrink_steps", "towards or from zero"),
    ):
        for found in context.all(name):
            if found.value is None or (found.n or 0) < 64 or derivation_fails(context, found.at.tensor):
                continue
            # The mean of n rounding errors has a standard deviation of 0.289 / sqrt(n) steps.
            noise = 5 * 0.289 / (found.n or 1) ** 0.5
            if not abs(found.number) <= context.limit("max_steps") + noise:
                yield context.finding(
                    f"codes are rounded {what} by {found.number:+.2f} steps on average, not to nearest",
                    at=found.at,
                    evidence={"mean_steps": found.number, "n": found.n},
                )


def _rounding(context: RuleContext) -> Iterator[Finding]:
    wrong = _ASKED.get(str(context.declared.get("derivation")), ())
    for found in context.all("weight.derivation"):
        if found.value == "other-rounding" and found.detail.get("role") == "weight":
            yield context.finding(
                f"rounded by another rule than to nearest ({found.detail.get('family')}, "
                f"{found.detail.get('outsiders_count', 0)} of {found.n} codes)",
                at=found.at,
                evidence=evidence_of(found),
                severity=Severity.ERROR if found.value in wrong else None,
            )
        elif found.value in ("equalised", "bias-corrected"):
            doubts = [str(doubt) for doubt in found.detail.get("moved_doubt", ())]
            reason = f"{found.value}: {found.detail.get('reason', '')}"
            yield context.finding(
                f"{reason}; doubtful: {'; '.join(doubts)}" if doubts else reason,
                at=found.at,
                evidence={**evidence_of(found), **({"doubts": doubts} if doubts else {})},
                severity=Severity.ERROR if found.value in wrong else Severity.WARNING if doubts else None,
                remedy=_DOUBTED if doubts else None,
            )


def _spread(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("weight.residual_ks"):
        if found.value is None or derivation_fails(context, found.at.tensor):
            continue
        elsewhere = float(found.detail.get("elsewhere", 0.0))
        most = context.limit("max_distance")
        if found.number <= most or found.number <= context.limit("max_ratio") * elsewhere:
            continue
        yield context.finding(
            f"the residuals of rounding lie {found.number:.3f} from uniform (KS distance; {elsewhere:.3f} with steps that "
            "nobody chose): the reference looks prepared for this quantizer. A divergence from what rounding leaves; no "
            "proof of a backdoor",
            at=found.at,
            evidence={"distance": found.number, "maximum": most, **found.detail},
        )


def _share(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("weight.nonnearest"):
        if found.value is None or derivation_fails(context, found.at.tensor):
            continue
        most = context.limit("max_share")
        if not found.number <= most:
            yield context.finding(
                f"{found.number:.1%} of the codes are not the nearest ({most:.0%} at most): no usual rounding leaves so "
                "many. A divergence from the reference; no proof of a backdoor",
                at=found.at,
                evidence={"share": found.number, "maximum": most, "elements": found.n},
            )


_WARNING = ("warning", "warning", "warning")
RULES = (
    rule(
        "QNT206",
        "Rounding is unbiased",
        why="Truncation instead of rounding shifts every output the same way.",
        how="Mean of code minus exact quotient, and of the same in the direction of the weight's sign; 0 for nearest, "
        "0.5 for floor or truncation.",
        remedy="Round to nearest",
        params=(Param("max_steps", "Largest mean, in steps, beyond five standard errors.", 0.05, 0.1, 0.25, unit="steps"),),
        check=_rounding_bias,
    ),
    rule(
        "QNT207",
        "Rounding to nearest, without equalisation or bias correction",
        why="Learned rounding, equalisation and bias correction are honest, and a reviewer should know of them.",
        how="The family that QNT201 recognised. An error where the policy says `derivation: exact`; "
        "with `folded` equalisation is none. A warning where channel scales were moved between weights of different "
        "blocks, where a few channels have scales beyond 8 times the others' and those hardly any, or where the type that "
        "they were rounded to leaves more than a quarter of a step open.",
        remedy="Nothing, if it is meant",
        severity=("note", "note", "note"),
        check=_rounding,
    ),
    rule(
        "QNT208",
        "The residuals of rounding are spread as rounding leaves them",
        why="A reference can be trained so that rounding it switches something on: every code then follows from it, and "
        "only the weights' places between the codes can tell.",
        how="Kolmogorov-Smirnov distance of w/s minus the nearest integer from U(-1/2, 1/2), over the weights that are "
        "not zero, from 10,000 of them on; only where it is more than with steps that no quantizer chose, which "
        "takes care of few distinct weights and of steps as wide as the weights. Weights that lie on the codes "
        "already are left out: rounding changes nothing there. Honest weights measured .002 to .020, a backdoor "
        "planted by keeping the codes while the float model is repaired .07 to .22; one that was trained jointly "
        "measured as honest weights do. Silence proves nothing.",
        remedy="Find out where the reference comes from; quantize it with other scales and compare how both behave",
        params=(
            Param("max_distance", "Largest distance.", 0.05, 0.05, 0.1, unit="ratio"),
            Param("max_ratio", "Largest multiple of the distance with other steps.", 1.5, 1.5, 2.0),
        ),
        severity=_WARNING,
        check=_spread,
    ),
    rule(
        "QNT209",
        "Most codes are the nearest",
        why="Whoever chooses the direction of rounding chooses, within a step, what the weight becomes.",
        how="Share of the codes that are not the nearest, whatever the family. Learned rounding measured up to .2, "
        "GPTQ .08 to .38.",
        remedy="Quantize again to nearest and compare how both behave; declare `derivation: folded` or `exact` to forbid it",
        pair_remedy="Quantize again to nearest and compare how both behave; --derivation folded or exact forbids it",
        params=(Param("max_share", "Largest share of a tensor's codes.", 0.4, 0.45, 0.5, unit="ratio"),),
        severity=_WARNING,
        check=_share,
    ),
)  # fmt: skip
