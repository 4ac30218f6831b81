"""QNT2: every constant from this reference."""
# ruff: noqa: E501 - one case a line reads as a table

from qgate.records import Place, Verdict

from .cases import ERROR, NOTE, SILENT, Case, ladder, limits, measured, weight_of

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


def _bias(value: float, n: int = 10**9, name: str = "weight.bias_steps"):
    return (measured(name, value, n=n),)


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
    Case("QNT202", "RNG101 names the scale", (_weight("not-derived"), _BAD_SCALE), SILENT),
    Case("QNT202", "equalised", (_weight("equalised"),), SILENT),
    *(Case("QNT202", f"declared {d['derivation']}", (_weight("not-derived"),), SILENT, declared=d) for d in _NO_LINEAGE),
    Case("QNT203", "another bias", (_weight("not-derived", "bias"),), ERROR, "no bias correction", _SEEN),
    Case("QNT203", "its scale", (_weight("not-derived", "bias", diagnosis=_diagnosis("scale")),), ERROR, "twice"),
    Case("QNT203", "corrected", (_weight("bias-corrected", "bias"),), SILENT),
    *(Case("QNT203", f"declared {d['derivation']}", (_weight("not-derived", "bias"),), SILENT, declared=d) for d in _NO_LINEAGE),
    Case("QNT204", "another constant", (_weight("not-derived", "constant"),), ERROR, "the constant is not the reference's"),
    Case("QNT204", "one element", (_outsiders(role="constant"),), ERROR, ": -3 for 13", f"{_SEEN} [1, 2]"),
    Case("QNT204", "the same", (_weight("derived", "constant"),), SILENT),
    *(Case("QNT204", f"declared {d['derivation']}", (_outsiders(role="constant"),), SILENT, declared=d) for d in _NO_LINEAGE),
    Case("QNT205", "cannot tell", (_weight("unknown", reason="the scale is NaN"),), says="the scale is NaN", at=_SEEN, **_ORIGIN),
    *ladder("QNT205", "min_aligned", _aligned, at_least=True, step=1e-6, says="'a', 'b', 'c', ...", **_DOUBT),
    Case("QNT205", "RNG101 names the scale", (_weight("unknown"), _BAD_SCALE), SILENT),
    *(Case("QNT205", f"declared {d['derivation']}", (_weight("unknown"), *_aligned(0)), SILENT, declared=d) for d in _NO_LINEAGE),
    *ladder("QNT206", "max_steps", _bias, at_least=False, step=1e-3, says="downwards or upwards"),
    *ladder("QNT206", "max_steps", lambda v: _bias(-v, name="weight.shrink_steps"), at_least=False, step=1e-3, says="from zero"),
    Case("QNT206", "truncated", _bias(-0.5, n=1000), ERROR, "-0.50 steps"),
    Case("QNT206", "noise of 100 elements", _bias(limits("QNT206", "max_steps")[0] + 0.14, n=100), SILENT),
    Case("QNT206", "63 elements are too few", _bias(0.5, n=63), SILENT),
    Case("QNT206", "QNT202 explains it better", (*_bias(0.5), _weight("not-derived")), SILENT),
    Case("QNT207", "learned rounding", (_weight("other-rounding", family="adaround"),), NOTE, "another rule than to nearest"),
    Case("QNT207", "equalised", (_weight("equalised", reason="by 8 factors"),), NOTE, "by 8 factors"),
    Case("QNT207", "bias correction", (_weight("bias-corrected", "bias", reason="within bounds"),), NOTE),
    Case("QNT207", "declared exact", (_weight("other-rounding"),), ERROR, declared={"derivation": "exact"}),
    Case("QNT207", "equalised, declared exact", (_weight("equalised"),), ERROR, declared={"derivation": "exact"}),
    Case("QNT207", "to nearest", (_weight("derived"),), SILENT),
)  # fmt: skip
