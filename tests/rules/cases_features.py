"""FEA: outputs against the reference's."""

import math

from qgate.records import Place, Verdict

from .cases import ERROR, SILENT, WARNING, Case, ladder, measured, missing

_OUT = Place(output="logits")
_NAMES = (
    ("FEA205", "relative_l2"),
    ("FEA206", "mean_relative_error"),
    ("FEA207", "max_abs"),
)


def _one(name: str, value: object, **detail: object):
    return (measured(f"output.{name}", value, _OUT, n=100, **detail),)


def _agreement(value: float, high: float):
    return (
        measured("output.top1_agreement", value, _OUT, n=100, low=value - 0.1, high=high, disagreements=1),
    )


_NOT_COMPARED = missing("output.sqnr_db", "the reference has no finite value", _OUT)
_NAN = measured("output.nonfinite_candidate", 4, _OUT, n=100, first_sample=2, index=[0])
_SHAPES = measured("output.shape_mismatch", 3, _OUT, n=3, reference=[1, 10], candidate=[1, 9])

_CLIPPED = measured("activation.clipped_share", 0.4, Place(tensor="act_scale"), clipped_energy=0.3)

CASES = (
    Case("FEA101", "NaN where the reference is finite", (_NAN,), ERROR, "4 values", "output logits"),
    Case("FEA101", "not a count", _one("nonfinite_candidate", "many"), ERROR),
    Case("FEA101", "all finite", _one("nonfinite_candidate", 0), SILENT),
    Case("FEA102", "another shape", (_SHAPES,), ERROR, "another shape", "output logits"),
    Case("FEA102", "the same shape", _one("shape_mismatch", 0), SILENT),
    Case("FEA103", "no figure", (_NOT_COMPARED,), ERROR, "no finite value", "output logits", Verdict.INCONCLUSIVE),
    Case("FEA103", "FEA101 says why", (_NOT_COMPARED, _NAN), SILENT),
    Case("FEA103", "FEA102 says why", (_NOT_COMPARED, _SHAPES), SILENT),
    Case("FEA103", "ran without outputs", (), ERROR, "no output", effect=Verdict.INCONCLUSIVE, declared={"ran": True}),
    Case("FEA103", "did not run", (), SILENT),
    Case("FEA103", "boxes", _one("same_boxes", 0.9), SILENT, declared={"ran": True}),
    Case("FEA103", "boxes that are none", (missing("output.same_boxes", "9 of 9 samples have no finite boxes",
                                                         Place(output="b")),),
         ERROR, "9 of 9 samples have no finite boxes", "output b", Verdict.INCONCLUSIVE),
    Case("FEA103", "measured", _one("sqnr_db", 30.0), SILENT, declared={"ran": True}),
    *ladder("FEA201", "min_db", lambda v: _one("sqnr_db", v), at_least=True, step=0.01, says="SQNR", at="output logits"),
    Case("FEA201", "generated inputs beyond the calibration", (*_one("sqnr_db", -1.0), _CLIPPED), ("error", "warning", "note"),
         "SQNR", effect=Verdict.INCONCLUSIVE, declared={"data": "generated"}),
    Case("FEA201", "given inputs beyond the calibration", (*_one("sqnr_db", -1.0), _CLIPPED), ERROR, declared={"data": "given"}),
    Case("FEA201", "generated inputs within the calibration", _one("sqnr_db", -1.0), ERROR, declared={"data": "generated"}),
    Case("FEA201", "identical", _one("sqnr_db", math.inf), SILENT),
    Case("FEA201", "nothing left", _one("sqnr_db", -math.inf), ERROR),
    *ladder("FEA202", "min_cosine", lambda v: _one("cosine", v), at_least=True, step=1e-6, says="cosine"),
    Case("FEA202", "opposite", _one("cosine", -1.0), ERROR, scheme="int4"),
    *ladder("FEA203", "min_ratio", lambda v: _agreement(v, v), at_least=True, step=1e-4, says="top class"),
    Case("FEA203", "the interval reaches the threshold", _agreement(0.5, 1.0), WARNING, "too few samples"),
    Case("FEA203", "unknown interval", (measured("output.top1_agreement", 0.5, _OUT, n=4),), ERROR),
    *ladder("FEA204", "max_mean", lambda v: _one("kl_mean", v), at_least=False, step=1e-5, says="divergence"),
    Case("FEA204", "infinite", _one("kl_mean", math.inf), ERROR),
    *ladder("FEA208", "max_share", lambda v: _one("differing_share", v), at_least=False, step=1e-5, says="differ"),
    Case("FEA209", "another answer in a batch", (measured("output.batch_dependence", True, message="no"),), ERROR, "no"),
    Case("FEA209", "the same answer", _one("sqnr_db", 30.0), SILENT),
    Case("FEA103", "whole numbers only", _one("differing_share", 0.0), SILENT, declared={"ran": True}),
    *(Case(rule, "infinite by default", _one(name, 1e30), SILENT) for rule, name in _NAMES),
    *(Case(rule, "NaN", _one(name, math.nan), ERROR, "nan") for rule, name in _NAMES),
)  # fmt: skip
