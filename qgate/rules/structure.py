"""QNT3: does the candidate compute what the reference computes?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from qgate.quant.layout import ARITHMETIC, FUSED, LAYOUT, PARTS
from qgate.records import Finding, Measurement, Severity, Verdict
from qgate.rules.base import Param, RuleContext, rule

_STRUCTURE = "severity_unclear"
_DOUBT = ("error", "warning", "note")


def _unclear(strict: str, balanced: str, permissive: str) -> Param:
    return Param(
        _STRUCTURE,
        "How much it weighs where the graphs differ in a way that an optimiser may have made.",
        strict,
        balanced,
        permissive,
        choices=tuple(Severity),
    )


def _structure(context: RuleContext) -> Iterator[Finding]:
    every = context.all("structure.difference")
    moved = any(_is_layout(found) for found in every)
    for found in every:
        unclear = _may_be_optimised(found) or (moved and _is_moved_axis(found))
        if unclear and len(every) == 1 and _operators(found) & _CHANGES_DATA:
            # A transposition or padding that was moved leaves two traces: what left one place came to another.
            unclear = False
        yield context.finding(
            str(found.detail["message"]),
            at=found.at,
            evidence={k: v for k, v in found.detail.items() if k != "message"},
            severity=Severity(context.word(_STRUCTURE)) if unclear else None,
            effect=Verdict.INCONCLUSIVE if unclear or found.value == "uncompared" else Verdict.FAIL,
        )


_CHANGES_DATA = {"Transpose", "Pad", "Expand"}


def _operators(found: Measurement) -> set[str]:
    return {*found.detail.get("reference_operators", ()), *found.detail.get("candidate_operators", ())}


def _is_layout(found: Measurement) -> bool:
    """Only operations that move data, and change none, were added or taken out."""
    return found.value in ("added", "removed", "replaced") and _operators(found) <= LAYOUT


def _is_moved_axis(found: Measurement) -> bool:
    """Another axis of an operation that only selects: optimisers trade it for a transposition."""
    operators = set(found.detail.get("candidate_operators", ()))
    return found.detail.get("attribute") in ("axis", "axes", "perm") and operators <= {
        *LAYOUT,
        "Gather",
        "Concat",
        "Slice",
        "Split",
    }


def _may_be_optimised(found: Measurement) -> bool:
    """Whether an honest optimiser makes such a difference: changes of layout alone, and fusions.

    A fusion stands *for* operators of the other side and for nothing else; what is merely added is none.
    """
    ours: Counter[str] = Counter(found.detail.get("reference_operators", ()))
    theirs: Counter[str] = Counter(found.detail.get("candidate_operators", ()))
    if found.value == "unmatched":
        return bool(found.detail.get("rewritten", True))
    if set(theirs - ours) & {"Pad", "Expand"}:
        # What only the candidate pads or spreads is data that the reference does not have.
        return False
    if found.value != "replaced" or _is_layout(found):
        return _is_layout(found)
    fused = FUSED | LAYOUT
    more, fewer = set(theirs - ours), set(ours - theirs)
    if not (more | fewer) & fused:
        # The same operators in the same place, with other inputs: nothing was fused.
        return False
    return (more <= fused and fewer <= PARTS | fused) or (fewer <= fused and more <= ARITHMETIC | fused)


def _requantized(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("structure.defect"):
        if found.value in ("requantized", "computed", "ignored"):
            yield context.finding(
                str(found.detail["message"]),
                at=found.at,
                evidence={k: v for k, v in found.detail.items() if k != "message"},
            )


def _coverage(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("alignment.coverage"):
        if found.value is None or found.number >= context.limit("min_share"):
            continue
        yield context.finding(
            f"{found.number:.1%} of the reference's compute layers are aligned with the candidate's",
            evidence={"coverage": found.number, "layers": found.n, **found.detail},
            severity=_unproven(context, found),
            effect=Verdict.INCONCLUSIVE,
        )
    for found in context.all("alignment.macs"):
        if found.value is None or found.number >= context.limit("min_share"):
            continue
        what = "multiplications" if found.detail.get("basis") == "macs" else "parameters"
        yield context.finding(
            f"layers with {found.number:.1%} of the {what} of the reference's compute layers are aligned with the "
            "candidate's",
            evidence={"coverage": found.number, what: found.n},
            severity=_unproven(context, found),
            effect=Verdict.INCONCLUSIVE,
        )


def _unproven(context: RuleContext, found: Measurement) -> Severity | None:
    """An error, whatever the profile, where so little is aligned that what holds of it says nothing of the model."""
    return Severity.ERROR if found.number < context.limit("min_proven") else None


def _quantizers(context: RuleContext) -> Iterator[Finding]:
    for found in context.all("structure.quantizer"):
        yield context.finding(
            str(found.detail["message"]),
            at=found.at,
            evidence={k: v for k, v in found.detail.items() if k != "message"},
            severity=Severity(context.word("severity_mild")) if found.value == "series-mild" else None,
        )


RULES = (
    rule(
        "QNT301",
        "The candidate computes what the reference computes",
        why="A trigger, a permuted output, a changed activation or a dropped branch need not show on test data.",
        how="Both graphs are walked from the outputs with quantization looked through; operators, attributes and "
        "wiring must agree but for folds that converters make.",
        remedy="Quantize the reference again without editing its graph",
        params=(_unclear(*_DOUBT),),
        check=_structure,
    ),
    rule(
        "QNT302",
        "Codes are read with the scale that they were made with, and it is a constant",
        why="Another scale or zero point on the reading side multiplies or shifts a tensor unseen.",
        how="Scale and zero point of every quantizer against those of the operations that read its codes; in LiteRT models those "
        "of every constant against what the kernel that reads it goes by: the axis of several scales, no zero point of signed "
        "weights, biases in units of input scale times weight scale, one scale before and behind what copies codes (LiteRT's "
        "quantization specification).",
        remedy="Quantize again",
        check=_requantized,
    ),
    rule(
        "QNT303",
        "Enough of the graph is aligned to judge it",
        why="A comparison that covers half of a model proves half of it.",
        how="Share of the reference's compute layers (convolutions, matrix products, recurrent cells) that were matched, by "
        "number and by multiplications (by parameters where its file does not declare every shape). Below `min_proven` it is "
        "INCONCLUSIVE in every profile; the honest pairs measured in docs/evaluation.md, rewritten or not, all have 1.0.",
        remedy="Give the graph that was quantized as the reference",
        params=(
            Param("min_share", "Least share of the compute layers.", 0.95, 0.8, 0.5, unit="ratio",
                  by_scheme={"fp16": (0.98, 0.9, 0.7), "none": (0.98, 0.9, 0.7)}),
            Param("min_proven", "Least share that a verdict may rest on, whatever the severity.", 0.5, 0.25, 0.1, unit="ratio"),
        ),
        severity=_DOUBT,
        check=_coverage,
    ),
    rule(
        "QNT304",
        "No quantizer of an activation is out of line",
        why="An extra pair of QuantizeLinear and DequantizeLinear is no operation of the model, and yet clips what a trigger "
        "needs clipped, or leaves a tensor a handful of values.",
        how="A quantizer behind another of the same tensor must not narrow its range nor coarsen its steps (error from twice "
        "on); and at least 16 codes, or a quarter of them, must be able to occur, by interval arithmetic (Moore 1966) "
        "from the ranges of the quantizers before it.",
        remedy="Quantize again; if a converter placed it, raise it with the converter and waive it",
        params=(
            Param("severity_mild", "How much it weighs where it is less than twice out of line.", "error", "warning", "note",
                  choices=tuple(Severity)),
        ),
        check=_quantizers,
    ),
)  # fmt: skip
