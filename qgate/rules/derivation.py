"""QNT2: was every constant made from this reference, and by which rounding?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgate.records import Finding, Measurement, Place, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.causes import derivation_fails, scale_is_defective

_DOUBT = ("error", "warning", "note")


def _relevant(context: RuleContext, verdict: str, *roles: str) -> Iterator[Measurement]:
    for found in context.all("weight.derivation"):
        if (
            found.value == verdict
            and found.detail.get("role") in roles
            and not scale_is_defective(context, found)
        ):
            yield found


def _lineage_off(context: RuleContext) -> bool:
    return context.declared.get("derivation") in ("none", "qat")


def _outsiders(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for found in _relevant(context, "outsiders", "weight", "bias"):
        count = int(found.detail["outsiders_count"])
        if count <= context.limit("max_outsiders"):
            continue
        diagnosis = found.detail.get("diagnosis")
        if diagnosis is not None and diagnosis["kind"] in ("scale", "zero-point"):
            yield _diagnosed(context, found, diagnosis)
            continue
        listed = found.detail.get("outsiders") or [{}]
        index = tuple(listed[0].get("index", ()))
        yield context.finding(
            _outsider_words(listed[0], count, found, diagnosis),
            at=Place(tensor=found.at.tensor, node=found.at.node, index=index or None),
            evidence=_evidence(found),
        )


def _outsider_words(
    first: dict[str, Any], count: int, found: Measurement, diagnosis: dict[str, Any] | None
) -> str:
    """The sentence for elements that no rounding rule allows."""
    stored, expected = first.get("stored"), first.get("expected")
    mask = f", xor 0x{int(first['xor']):x}" if isinstance(first.get("xor"), int) else ""
    kind = "value" if found.detail.get("family") == "float" else "code"
    many = f"{count} of {found.n} {kind}s do" if count != 1 else f"1 {kind} does"
    text = f"{many} not follow from the reference's {found.detail.get('reference_tensor')!r}"
    if stored is not None:
        text += f": stored {_short(stored)}, expected {_short(expected)}{mask}"
    return f"{text}; {diagnosis['message']}" if diagnosis is not None else text


def _short(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _evidence(found: Measurement) -> dict[str, Any]:
    evidence = {**found.detail, "elements": found.n}
    diagnosis = evidence.pop("diagnosis", None)
    if diagnosis is not None:
        # The message says it already; what a reader may want to compute with stays.
        evidence["diagnosis"] = diagnosis["kind"]
        evidence.update(
            {k: v for k, v in diagnosis.items() if k not in ("kind", "message", "tensor", "index")}
        )
    return evidence


def _diagnosed(context: RuleContext, found: Measurement, diagnosis: dict[str, Any]) -> Finding:
    index = diagnosis.get("index")
    return context.finding(
        f"{diagnosis['message']} (codes {found.at.tensor!r})" if diagnosis["tensor"] != found.at.tensor else diagnosis["message"],
        at=Place(tensor=diagnosis["tensor"], node=found.at.node, index=tuple(index) if index else None),
        evidence={**_evidence(found), "codes": found.at.tensor},
    )  # fmt: skip


def _not_derived(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for found in _relevant(context, "not-derived", "weight"):
        diagnosis = found.detail.get("diagnosis")
        if diagnosis is not None:
            yield _diagnosed(context, found, diagnosis)
        else:
            reason = found.detail.get("reason", "no rounding rule explains it")
            yield context.finding(
                f"not made from the reference's {found.detail.get('reference_tensor')!r}: {reason}",
                at=found.at,
                evidence=_evidence(found),
            )


def _biases(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for found in _relevant(context, "not-derived", "bias"):
        diagnosis = found.detail.get("diagnosis")
        if diagnosis is not None:
            yield _diagnosed(context, found, diagnosis)
        else:
            yield context.finding(
                f"the bias is not the reference's {found.detail.get('reference_tensor')!r}, and no bias correction "
                "explains the difference",
                at=found.at,
                evidence=_evidence(found),
            )


def _constants(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for verdict in ("not-derived", "outsiders"):
        for found in _relevant(context, verdict, "constant"):
            first = (found.detail.get("outsiders") or [{}])[0]
            shown = (
                f": {_short(first['stored'])} for {_short(first['expected'])}" if "stored" in first else ""
            )
            index = tuple(first.get("index", ()))
            yield context.finding(
                f"the constant is not the reference's {found.detail.get('reference_tensor')!r}{shown}",
                at=Place(tensor=found.at.tensor, node=found.at.node, index=index or None),
                evidence=_evidence(found),
            )


def _unknown(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for found in context.all("weight.derivation"):
        if found.value == "unknown" and not scale_is_defective(context, found):
            yield context.finding(
                f"cannot tell whether it was made from the reference: {found.detail.get('reason', '')}",
                at=found.at,
                evidence=_evidence(found),
                effect=Verdict.INCONCLUSIVE,
            )
    for found in context.all("alignment.weights"):
        if not found.number >= context.limit("min_aligned"):
            names = list(found.detail.get("unaligned", ()))
            yield context.finding(
                f"{1 - found.number:.1%} of the candidate's parameters have no counterpart in the reference that "
                f"was found ({', '.join(map(repr, names[:3]))}{', ...' if len(names) > 3 else ''})",
                evidence={"aligned": found.number, "unaligned": names},
                effect=Verdict.INCONCLUSIVE,
            )


def _rounding(context: RuleContext) -> Iterator[Finding]:
    exact = context.declared.get("derivation") == "exact"
    for found in context.all("weight.derivation"):
        if found.value == "other-rounding" and found.detail.get("role") == "weight":
            yield context.finding(
                f"rounded by another rule than to nearest ({found.detail.get('family')}, "
                f"{found.detail.get('outsiders_count', 0)} of {found.n} codes)",
                at=found.at,
                evidence=_evidence(found),
                severity=Severity.ERROR if exact else None,
            )
        elif found.value in ("equalised", "bias-corrected"):
            yield context.finding(
                f"{found.value}: {found.detail.get('reason', '')}",
                at=found.at,
                evidence=_evidence(found),
                severity=Severity.ERROR if exact else None,
            )


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


RULES = (
    rule(
        "QNT201",
        "Every code follows from the reference's weight by the tensor's rounding rule",
        why="A flipped bit or an edited weight moves no metric and may still be an attack or a broken disk.",
        how="For w/s + z in float64 the admissible codes are ceil(x - 1/2 - eps) to floor(x + 1/2 + eps), saturation "
        "allowed for, eps from the storage type of the scale. The rounding family (nearest, AdaRound-like floor or "
        "ceiling, GPTQ-like) is recognised first. Float weights must be the reference's, rounded to their type.",
        remedy="Quantize again from the reference and compare the file's digest; treat the file as tampered until then",
        params=(Param("max_outsiders", "Elements of a tensor that may not follow.", 0, 0, 0, unit="elements"),),
        check=_outsiders,
    ),
    rule(
        "QNT202",
        "Every weight was made from this reference",
        why="Another checkpoint, another layer's weights or an edited scale is another model.",
        how="No rounding family and no equalisation that the neighbours cancel leads from the reference to the "
        "codes; what happened instead is worked out (scale, zero point, swap, permutation, drift).",
        remedy="Quantize from the reference that the policy names; declare `derivation: qat` for a fine-tuned model",
        check=_not_derived,
    ),
    rule(
        "QNT203",
        "Every bias was made from this reference",
        why="A bias shifts a class by exactly what an attacker wants and is too small for any norm to see.",
        how="int32 biases: nearest rounding with input scale times weight scale. Float biases: equal, or moved by no "
        "more than the rounding error of the layer can shift its output (bias correction).",
        remedy="Quantize again from the reference",
        check=_biases,
    ),
    rule(
        "QNT204",
        "Other constants are the reference's",
        why="An epsilon, an index or a slope that changed is a change of the model.",
        how="Constants in the same place of both graphs, rounded to their storage type at most.",
        remedy="Export again from the reference",
        check=_constants,
    ),
    rule(
        "QNT205",
        "It is known of every weight where it comes from",
        why="A tensor that nobody can trace is where one would hide something.",
        how="Constants without a counterpart in the reference, or with a scale that allows no comparison.",
        remedy="Quantize without graph optimisation, or give the optimised float model as the reference",
        params=(Param("min_aligned", "Least share of the parameters with a counterpart.", 1.0, 0.98, 0.9, unit="ratio"),),
        severity=_DOUBT,
        check=_unknown,
    ),
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
        how="The family that QNT201 recognised. An error where the policy says `derivation: exact`.",
        remedy="Nothing, if it is meant",
        severity=("note", "note", "note"),
        check=_rounding,
    ),
)  # fmt: skip
