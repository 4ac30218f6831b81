"""FEA22x: inputs at the edge, and batches of dynamic models."""

import math

from qgate.records import Place

from .cases import NOTE, SILENT, WARNING, Case, ladder, measured, missing, weight_of

_AT = Place(slice="edge: zeros")
_OUT = Place(output="logits")


def _edge(name: str, value: object, *, outside: bool = False, **detail: object):
    return (measured(f"edge.{name}", value, _AT, outside=outside, **detail),)


CASES = (
    Case("FEA220", "refused", _edge("answered", False, reason="no kernel"), weight_of("FEA220"), "no kernel",
         "slice edge: zeros"),
    Case("FEA220", "answered", _edge("answered", True), SILENT),
    Case("FEA220", "the reference refuses", (missing("edge.answered", "the reference does not take it", _AT),), SILENT),
    Case("FEA220", "NaN", _edge("nonfinite_candidate", 4), weight_of("FEA220"), "4 values"),
    Case("FEA220", "not a count", _edge("nonfinite_candidate", "many"), weight_of("FEA220")),
    Case("FEA220", "NaN beyond the calibration", _edge("nonfinite_candidate", 4, outside=True), WARNING, "4 values"),
    Case("FEA220", "all finite", _edge("nonfinite_candidate", 0), SILENT),
    Case("FEA220", "another shape", (measured("edge.shape_mismatch", 1, _AT),), weight_of("FEA220"), "another shape"),
    Case("FEA220", "the same shape", (measured("edge.shape_mismatch", 0, _AT),), SILENT),
    *ladder("FEA221", "min_db", lambda v: _edge("signal_db", v), at_least=True, step=0.01, says="keeps", at="slice edge: zeros"),
    Case("FEA221", "nothing left", _edge("signal_db", -math.inf), weight_of("FEA221")),
    Case("FEA221", "beyond the calibration", _edge("signal_db", -30.0, outside=True), SILENT),
    Case("FEA221", "no numbers", (missing("edge.signal_db", "none", _AT),), SILENT),
    *ladder("FEA222", "min_db", lambda v: (measured("output.batch_effect_db", v, _OUT),), at_least=True, step=0.01,
            says="share the scales", at="output logits"),
    Case("FEA222", "another answer", (measured("output.batch_effect_db", -math.inf, _OUT),), NOTE),
    Case("FEA222", "one at a time", (missing("output.batch_effect_db", "one", _OUT),), SILENT),
)  # fmt: skip
