"""QNT2: was every constant made from this reference, and by which rounding?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qgate.records import Finding, Measurement, Place, Verdict
from qgate.rules.base import Param, RuleContext, rule
from qgate.rules.causes import scale_is_defective

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
            evidence=evidence_of(found),
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


def evidence_of(found: Measurement) -> dict[str, Any]:
    """What a derivation was judged by."""
    evidence = {**found.detail, "elements": found.n}
    diagnosis = evidence.pop("diagnosis", None)
    if diagnosis is not None:
        # The message says it already; what a reader may want to compute with stays.
        evidence["diagnosis"] = diagnosis["kind"]
        evidence.update(
            {k: v for k, v in diagnosis.items() if k not in ("kind", "message", "tensor", "index")}
        )
    return evidence


_EDITED = "Restore what the quantizer wrote for this tensor, or quantize again from the reference; no training explains it"
_REMEDIES = {
    "scale": _EDITED,
    "zero-point": _EDITED,
    "zeroed": "Quantize again from the reference; if channels were pruned on purpose, prune the reference as well",
    "permuted": _EDITED,
    "sign": _EDITED,
    "swapped": "Put every layer's own weights back, or quantize again from the reference",
    "rewritten": "Give the graph that was quantized as the reference, or quantize the reference without rewriting its graph",
    "low-bit": "Quantize with the bits that the scheme says, or declare the scheme that this is",
}


def _diagnosed(context: RuleContext, found: Measurement, diagnosis: dict[str, Any]) -> Finding:
    index = diagnosis.get("index")
    return context.finding(
        f"{diagnosis['message']} (codes {found.at.tensor!r})" if diagnosis["tensor"] != found.at.tensor else diagnosis["message"],
        at=Place(tensor=diagnosis["tensor"], node=found.at.node, index=tuple(index) if index else None),
        evidence={**evidence_of(found), "codes": found.at.tensor},
        remedy=_REMEDIES.get(diagnosis["kind"]),
    )  # fmt: skip


def _not_derived(context: RuleContext) -> Iterator[Finding]:
    if context.declared.get("derivation") == "qat":
        yield from _replaced(context)
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
                evidence=evidence_of(found),
            )


def _replaced(context: RuleContext) -> Iterator[Finding]:
    """Weights that training on from the reference does not lead to."""
    kept = {found.at.tensor: found.value for found in context.all("weight.sqnr_db")}
    least = context.limit("min_db_qat")
    for found in _relevant(context, "not-derived", "weight"):
        diagnosis = found.detail.get("diagnosis")
        left = kept.get(found.at.tensor)
        if diagnosis is not None and diagnosis["kind"] in ("swapped", "permuted", "sign", "rewritten"):
            yield _diagnosed(context, found, diagnosis)
        elif not (isinstance(left, int | float) and left >= least):
            shown = f"{left:.1f} dB" if isinstance(left, int | float) else "nothing"
            yield context.finding(
                f"{shown} of the reference's {found.detail.get('reference_tensor')!r} is left ({least:g} dB asked for): "
                "this is another tensor, not the reference's trained on",
                at=found.at,
                evidence={**evidence_of(found), "sqnr_db": left, "minimum": least},
            )


def _biases(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for found in _relevant(context, "not-derived", "bias"):
        diagnosis = found.detail.get("diagnosis")
        if diagnosis is not None:
            yield _diagnosed(context, found, diagnosis)
        else:
            reason = found.detail.get("reason") or "no bias correction explains the difference"
            yield context.finding(
                f"the bias is not the reference's {found.detail.get('reference_tensor')!r}: {reason}",
                at=found.at,
                evidence=evidence_of(found),
            )


def _constants(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for verdict in ("not-derived", "outsiders"):
        for found in _relevant(context, verdict, "constant"):
            diagnosis = found.detail.get("diagnosis")
            if diagnosis is not None and diagnosis["kind"] == "rewritten":
                yield _diagnosed(context, found, diagnosis)
                continue
            first = (found.detail.get("outsiders") or [{}])[0]
            shown = (
                f": {_short(first['stored'])} for {_short(first['expected'])}" if "stored" in first else ""
            )
            index = tuple(first.get("index", ()))
            yield context.finding(
                f"the constant is not the reference's {found.detail.get('reference_tensor')!r}{shown}",
                at=Place(tensor=found.at.tensor, node=found.at.node, index=index or None),
                evidence=evidence_of(found),
            )


def _unknown(context: RuleContext) -> Iterator[Finding]:
    if _lineage_off(context):
        return
    for found in context.all("weight.derivation"):
        if found.value == "unknown" and not scale_is_defective(context, found):
            yield context.finding(
                f"cannot tell whether it was made from the reference: {found.detail.get('reason', '')}",
                at=found.at,
                evidence=evidence_of(found),
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
        "codes; what happened instead is worked out (scale, zero point, swap, permutation, drift). With "
        "`derivation: qat` training may move a weight, but not replace, exchange or reorder it.",
        remedy="Quantize from the reference that the policy names; declare `derivation: qat` for a fine-tuned model",
        pair_remedy="Quantize from the model that --reference names; give --derivation qat for a fine-tuned model",
        params=(
            Param("min_db_qat", "With `derivation: qat`, least SQNR of a weight that training moved.", 6.0, 3.0, 1.0,
                  unit="dB"),
        ),
        check=_not_derived,
    ),
    rule(
        "QNT203",
        "Every bias was made from this reference",
        why="A bias shifts a class by exactly what an attacker wants and is too small for any norm to see.",
        how="int32 biases: nearest rounding with input scale times weight scale. Float biases: equal. Either may be "
        "moved as bias correction moves it (Nagel et al. 2019): by no more than the layer's rounding error can shift "
        "its output, by one mean of each input at each place of a kernel within the range of the quantizer before, "
        "neither all outputs the same way nor one far more than the others.",
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
)  # fmt: skip
