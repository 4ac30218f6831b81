"""QNT2: every constant from this reference."""
# ruff: noqa: E501 - one case a line reads as a table

from qgate.records import Place, Verdict

from .cases import ERROR, SILENT, Case, ladder, measured, weight_of

_DOUBT = {"effect": Verdict.INCONCLUSIVE}
_ORIGIN = {"weight": weight_of("QNT205"), **_DOUBT}
_MODEL = Place()
_FLIPPED = {"index": [1, 2], "stored": -3, "expected": 13, "xor": 16}
_NO_LINEAGE = ({"derivation": "none"}, {"derivation": "qat"})


def _weight(verdict: str, role: str = "weight", **detail: object):
    return measured("weight.derivation", verdict, n=1000, role=role, family=detail.pop("family", "nearest"),
                    reference_tensor="w1", scale="w1_scale", **detail)  # fmt: skip


def _outsiders(count: int = 1, role: str = "weight", **detail: object):
    return _weight("outsiders", role, outsiders_count=count, outsiders=[_FLIPPED], **detail)


def _diagnosis(kind: str, tensor: str = "w1_scale"):
    return {
        "kind": kind,
        "message": f"the {kind} of channel 3 is twice what it was",
        "tensor": tensor,
        "index": [3],
    }


def _aligned(share: float):
    return (measured("alignment.weights", share, _MODEL, n=1000, unaligned=["a", "b", "c", "d"]),)


def _kept(db: float):
    return measured("weight.sqnr_db", db, n=1000, dtype="int8")


_QAT = {"derivation": "qat"}
_SEEN = "tensor w1_q node conv1"
_BAD_SCALE = measured("scale.defect", "zero", Place(tensor="w1_scale"), message="zero")

CASES = (
    Case("QNT201", "a flipped bit", (_outsiders(),), ERROR, "stored -3, expected 13, xor 0x10", f"{_SEEN} [1, 2]"),
    Case("QNT201", "several", (_outsiders(7),), ERROR, "7 of 1000 codes do not follow"),
    Case("QNT201", "a bias", (_outsiders(role="bias"),), ERROR, "1 code does"),
    Case("QNT201", "a float weight", (_outsiders(family="float"),), ERROR, "1 value does"),
    Case("QNT201", "a scale explains it", (_outsiders(diagnosis=_diagnosis("scale")),), ERROR, "twice what it was", "tensor w1_scale node conv1 [3]"),
    Case("QNT201", "a zero point explains it", (_outsiders(diagnosis=_diagnosis("zero-point", "w1_zp")),), ERROR,
         "twice what it was (codes 'w1_q')", "tensor w1_zp node conv1 [3]"),
    Case("QNT201", "something else explains it", (_outsiders(9, diagnosis=_diagnosis("drift")),), ERROR, "; the drift of", f"{_SEEN} [1, 2]"),
    Case("QNT201", "RNG101 names the scale", (_outsiders(), _BAD_SCALE), SILENT),
    Case("QNT201", "derived", (_weight("derived"),), SILENT),
    *(Case("QNT201", f"declared {d['derivation']}", (_outsiders(),), SILENT, declared=d) for d in _NO_LINEAGE),
    Case("QNT202", "another model", (_weight("not-derived", reason="no rounding explains it"),), ERROR, "not made from the reference's 'w1'", _SEEN),
    Case("QNT202", "swapped", (_weight("not-derived", diagnosis=_diagnosis("swap", "w1_q")),), ERROR, "the swap of", f"{_SEEN} [3]"),
    Case("QNT202", "rewritten", (_weight("not-derived", diagnosis=_diagnosis("rewritten", "w1_q")),), ERROR, "the rewritten of", f"{_SEEN} [3]"),
    Case("QNT202", "RNG101 names the scale", (_weight("not-derived"), _BAD_SCALE), SILENT),
    Case("QNT202", "equalised", (_weight("equalised"),), SILENT),
    Case("QNT202", "declared none", (_weight("not-derived"),), SILENT, declared={"derivation": "none"}),
    Case("QNT202", "trained on", (_weight("not-derived"), _kept(12.0)), SILENT, declared=_QAT),
    Case("QNT202", "trained on, scale edited", (_weight("not-derived", diagnosis=_diagnosis("scale")), _kept(12.0)), SILENT, declared=_QAT),
    *ladder("QNT202", "min_db_qat", lambda v: (_weight("not-derived"), _kept(v)), at_least=True, step=1e-6, says="is left", at=_SEEN, declared=_QAT),
    Case("QNT202", "trained on, but swapped", (_weight("not-derived", diagnosis=_diagnosis("swapped", "w1_q")), _kept(12.0)), ERROR, "the swapped of", f"{_SEEN} [3]", declared=_QAT),
    Case("QNT202", "trained on, nothing measured", (_weight("not-derived"),), ERROR, "nothing of the reference's", declared=_QAT),
    Case("QNT202", "flipped after training", (_outsiders(), _kept(12.0)), SILENT, declared=_QAT),
    Case("QNT203", "another bias", (_weight("not-derived", "bias"),), ERROR, "no bias correction", _SEEN),
    Case("QNT203", "its scale", (_weight("not-derived", "bias", diagnosis=_diagnosis("scale")),), ERROR, "twice"),
    Case("QNT203", "corrected", (_weight("bias-corrected", "bias"),), SILENT),
    Case("QNT203", "not as a correction moves it", (_weight("not-derived", "bias", reason="no bias correction moves it so: all one way"),), ERROR, "all one way", _SEEN),
    *(Case("QNT203", f"declared {d['derivation']}", (_weight("not-derived", "bias"),), SILENT, declared=d) for d in _NO_LINEAGE),
    Case("QNT204", "another constant", (_weight("not-derived", "constant"),), ERROR, "the constant is not the reference's"),
    Case("QNT204", "another place", (_weight("not-derived", "constant", diagnosis=_diagnosis("rewritten", "w1_q")),), ERROR, "the rewritten of", f"{_SEEN} [3]"),
    Case("QNT204", "one element", (_outsiders(role="constant"),), ERROR, ": -3 for 13", f"{_SEEN} [1, 2]"),
    Case("QNT204", "the same", (_weight("derived", "constant"),), SILENT),
    *(Case("QNT204", f"declared {d['derivation']}", (_outsiders(role="constant"),), SILENT, declared=d) for d in _NO_LINEAGE),
    Case("QNT205", "cannot tell", (_weight("unknown", reason="the scale is NaN"),), says="the scale is NaN", at=_SEEN, **_ORIGIN),
    *ladder("QNT205", "min_aligned", _aligned, at_least=True, step=1e-6, says="'a', 'b', 'c', ...", **_DOUBT),
    Case("QNT205", "RNG101 names the scale", (_weight("unknown"), _BAD_SCALE), SILENT),
    *(Case("QNT205", f"declared {d['derivation']}", (_weight("unknown"), *_aligned(0)), SILENT, declared=d) for d in _NO_LINEAGE),
)  # fmt: skip
