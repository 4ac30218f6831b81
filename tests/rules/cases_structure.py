"""QNT3: the candidate computes what the reference computes."""
# ruff: noqa: E501 - one case a line reads as a table

import math

from qgate.records import Place, Verdict

from .cases import ERROR, SILENT, Case, ladder, limits, measured, missing, weight_of

_DOUBT = {"effect": Verdict.INCONCLUSIVE}
_STRUCTURE = {"weight": limits("QNT301", "severity_unclear"), **_DOUBT}
_COVERED = {"weight": weight_of("QNT303"), **_DOUBT}
_MODEL = Place()


def _difference(kind: str, ours: tuple[str, ...], theirs: tuple[str, ...], **detail: object):
    at = Place(node="n3", tensor="t3")
    return measured("structure.difference", kind, at, message=f"{kind}: {theirs} for {ours}",
                    reference_operators=list(ours), candidate_operators=list(theirs), **detail)  # fmt: skip


_REQUANTIZED = measured(
    "structure.defect", "requantized", Place(tensor="t"), message="read with another scale", scale=2.0
)

CASES = (
    Case("QNT301", "another activation", (_difference("replaced", ("Relu",), ("Sigmoid",)),), ERROR, "Sigmoid", "tensor t3 node n3"),
    Case("QNT301", "another attribute", (_difference("attribute", ("Conv",), ("Conv",), attribute="strides"),), ERROR),
    Case("QNT301", "a trigger", (_difference("operator", (), ("If",)),), ERROR),
    Case("QNT301", "a fusion", (_difference("replaced", ("Erf",), ("Gelu",)),), **_STRUCTURE),
    Case("QNT301", "what the walk does not meet", (_difference("unmatched", ("Conv",), ()),), **_STRUCTURE),
    Case("QNT301", "only layout", (_difference("added", (), ("Transpose",)),), **_STRUCTURE),
    Case("QNT301", "an axis, nothing moved", (_difference("attribute", ("Gather",), ("Gather",), attribute="axis"),), ERROR),
    Case("QNT301", "the same", (), SILENT),
    Case("QNT302", "read with another scale", (_REQUANTIZED,), ERROR, "another scale", "tensor t"),
    Case("QNT302", "another kind of defect", (measured("structure.defect", "graph", message="m"),), SILENT),
    *ladder("QNT303", "min_share", lambda v: (measured("alignment.coverage", v, _MODEL, n=20),), at_least=True, step=1e-6,
            says="compute layers", **_DOUBT),
    Case("QNT303", "nothing to align", (missing("alignment.coverage", "no compute layer", _MODEL),), SILENT),
    Case("QNT303", "nothing aligned", (measured("alignment.coverage", 0.0, _MODEL, n=20),), **_COVERED),
    Case("QNT303", "NaN", (measured("alignment.coverage", math.nan, _MODEL, n=20),), **_COVERED),
)  # fmt: skip
