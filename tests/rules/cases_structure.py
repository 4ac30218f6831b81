"""QNT3: the candidate computes what the reference computes."""
# ruff: noqa: E501 - one case a line reads as a table

import math

from qgate.records import Place, Verdict

from .cases import ERROR, SILENT, Case, ladder, limits, measured, missing

_DOUBT = {"effect": Verdict.INCONCLUSIVE}
_STRUCTURE = {"weight": limits("QNT301", "severity_unclear"), **_DOUBT}
_MODEL = Place()


def _difference(kind: str, ours: tuple[str, ...], theirs: tuple[str, ...], **detail: object):
    at = Place(node="n3", tensor="t3")
    return measured("structure.difference", kind, at, message=f"{kind}: {theirs} for {ours}",
                    reference_operators=list(ours), candidate_operators=list(theirs), **detail)  # fmt: skip


_REQUANTIZED = measured(
    "structure.defect", "requantized", Place(tensor="t"), message="read with another scale", scale=2.0
)

_QUANTIZER = Place(tensor="s2", node="q2")


def _odd(kind: str):
    return measured("structure.quantizer", kind, _QUANTIZER, message="quantized again by 'q2'", coarser=3.0)


def _unread(size: float, nodes: int = 0):
    model = Place(file="model")
    return (
        measured(
            "artifact.unread_bytes", size, model, n=2, tensors=[["blob", size - 4], ["rest", 4]], share=0.1
        ),
        measured("artifact.unread_nodes", nodes, model, nodes=["n1"] * nodes, operators=["Mul"] * nodes),
    )


def _beside(side: str, rivals: int):
    held = [["optimizer.state.0.exp_avg", 4096]]
    return (
        measured(
            "artifact.beside_bytes",
            4096,
            Place(file=side),
            n=1,
            dictionary="model",
            tensors=held,
            rivals=rivals,
        ),
    )


CASES = (
    Case("ART118", "an optimizer beside the candidate", _beside("candidate", 0), ("note", "note", "note"), "no part"),
    Case("ART118", "a second model beside the candidate", _beside("candidate", 1), ERROR, "second model"),
    Case("ART118", "averaged weights beside the reference", _beside("reference", 1), ("note", "note", "note"), "no part"),
    Case("ART118", "nothing unread", _unread(0), SILENT),
    Case("ART118", "what exporters leave", _unread(200), SILENT),
    Case("ART118", "a kilobyte", _unread(1000), ("error", None, None), "'blob'", "tensor blob"),
    Case("ART118", "two kilobytes", _unread(2000), ("error", "warning", None), "2,000 bytes"),
    Case("ART118", "a payload", _unread(70_000), ("error", "error", "note"), "70,000 bytes"),
    Case("ART118", "a large payload", _unread(2**25), ERROR),
    Case("ART118", "NaN", _unread(math.nan)[:1], ERROR, effect=Verdict.ERROR),
    Case("ART118", "an operation without use", _unread(0, 1), ("error", "warning", None), "Mul 'n1'", "node n1"),
    Case("ART118", "many operations without use", _unread(0, 20), ("error", "warning", "note")),
    Case("QNT304", "a second quantizer", (_odd("series"),), ERROR, "again by 'q2'", "tensor s2 node q2"),
    Case("QNT304", "a handful of levels", (_odd("levels"),), ERROR),
    Case("QNT304", "a little narrower", (_odd("series-mild"),), limits("QNT304", "severity_mild")),
    Case("QNT304", "none", (), SILENT),
    Case("QNT301", "what no optimiser makes", (_difference("unmatched", ("Conv",), (), rewritten=False),), ERROR),
    Case("QNT301", "options that were not compared", (_difference("uncompared", ("Conv",), ("Conv",), rewritten=False),), ERROR, **_DOUBT),
    Case("QNT301", "another activation", (_difference("replaced", ("Relu",), ("Sigmoid",)),), ERROR, "Sigmoid", "tensor t3 node n3"),
    Case("QNT301", "another attribute", (_difference("attribute", ("Conv",), ("Conv",), attribute="strides"),), ERROR),
    Case("QNT301", "a trigger", (_difference("operator", (), ("If",)),), ERROR),
    Case("QNT301", "a fusion", (_difference("replaced", ("ReduceMean", "Sub", "Div"), ("LayerNormalization",)),), **_STRUCTURE),
    Case("QNT301", "an activation that is another", (_difference("replaced", ("Erf", "Mul"), ("Gelu",)),), ERROR),
    Case("QNT301", "what the walk does not meet", (_difference("unmatched", ("Conv",), ()),), **_STRUCTURE),
    Case("QNT301", "only layout", (_difference("added", (), ("Reshape",)),), **_STRUCTURE),
    Case("QNT301", "a transposition of its own", (_difference("added", (), ("Transpose",)),), ERROR),
    Case("QNT301", "an axis, nothing moved", (_difference("attribute", ("Gather",), ("Gather",), attribute="axis"),), ERROR),
    Case("QNT301", "the same", (), SILENT),
    Case("QNT302", "read with another scale", (_REQUANTIZED,), ERROR, "another scale", "tensor t"),
    Case("QNT302", "a scale that no kernel reads", (measured("structure.defect", "ignored", message="takes no zero point"),),
         ERROR, "no zero point"),
    Case("QNT302", "another kind of defect", (measured("structure.defect", "graph", message="m"),), SILENT),
    *ladder("QNT303", "min_share", lambda v: (measured("alignment.coverage", v, _MODEL, n=20),), at_least=True, step=1e-6,
            says="compute layers", **_DOUBT),
    *ladder("QNT303", "min_share", lambda v: (measured("alignment.macs", v, _MODEL, n=20, basis="macs"),), at_least=True,
            step=1e-6, says="of the multiplications", **_DOUBT),
    Case("QNT303", "shapes not declared", (measured("alignment.macs", 0.0, _MODEL, n=20, basis="parameters"),), ERROR,
         says="of the parameters", **_DOUBT),
    Case("QNT303", "nothing to align", (missing("alignment.coverage", "no compute layer", _MODEL),), SILENT),
    Case("QNT303", "nothing aligned", (measured("alignment.coverage", 0.0, _MODEL, n=20),), ERROR, **_DOUBT),
    Case("QNT303", "a tenth aligned", (measured("alignment.coverage", 0.1, _MODEL, n=20),), ("error", "error", "note"), **_DOUBT),
    Case("QNT303", "a quarter aligned", (measured("alignment.coverage", 0.25, _MODEL, n=20),), ("error", "warning", "note"), **_DOUBT),
)  # fmt: skip
