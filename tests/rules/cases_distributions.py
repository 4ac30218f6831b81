"""FEA21x: distributions, ranks, single samples."""

import math

from qgate.records import Place

from .cases import ERROR, SILENT, Case, ladder, measured, missing, weight_of

_OUT = Place(output="logits")
_SHIFTS = (("FEA210", "output"), ("FEA212", "confidence"))


def _one(name: str, value: object, **detail: object):
    return (measured(name, value, _OUT, n=100, **detail),)


def _ranks(value: float, high: float):
    return (
        measured("output.top5_agreement", value, _OUT, n=100, low=value - 0.1, high=high, disagreements=1),
    )


CASES = (
    *(case for rule, prefix in _SHIFTS for param, says in (("psi", "stability"), ("wasserstein", "1-Wasserstein"))
      for case in ladder(rule, f"max_{param}", lambda v, n=f"{prefix}.{param}": _one(n, v), at_least=False, step=1e-6,
                         says=says, at="output logits")),
    *(Case(rule, f"{short} infinite by default", _one(f"{prefix}.{short}", 1.0), SILENT)
      for rule, prefix in _SHIFTS for short in ("ks", "js")),
    *(Case(rule, f"{short} NaN", _one(f"{prefix}.{short}", math.nan), weight_of(rule), "nan")
      for rule, prefix in _SHIFTS for short in ("ks", "js")),
    *(Case(rule, "several at once", (*_one(f"{prefix}.psi", 9.0), *_one(f"{prefix}.wasserstein", 8.0)), weight_of(rule),
           "index is 9") for rule, prefix in _SHIFTS),
    *(Case(rule, "too few values", (missing(f"{prefix}.psi", "fewer", _OUT),), SILENT) for rule, prefix in _SHIFTS),
    *ladder("FEA211", "max_deviations", lambda v: _one("output.wasserstein", v), at_least=False, step=1e-6, says="1-Wass"),
    Case("FEA211", "infinitely far", _one("output.wasserstein", math.inf), ERROR),
    *ladder("FEA213", "min_ratio", lambda v: _ranks(v, v), at_least=True, step=1e-4, says="five highest"),
    Case("FEA213", "the interval reaches the threshold", _ranks(0.1, 1.0), SILENT),
    Case("FEA213", "unknown interval", (measured("output.top5_agreement", 0.1, _OUT, n=4),), weight_of("FEA213")),
    *ladder("FEA214", "max_drop", lambda v: _one("output.top_change_p01", -v), at_least=False, step=1e-6, says="falls by"),
    Case("FEA214", "it grows", _one("output.top_change_p01", 0.3), SILENT),
    *ladder("FEA215", "min_db", lambda v: _one("output.worst_sample_db", v), at_least=True, step=0.01, says="worst sample"),
    Case("FEA215", "identical", _one("output.worst_sample_db", math.inf), SILENT),
    Case("FEA215", "zero throughout", (missing("output.worst_sample_db", "zero", _OUT),), SILENT),
    *(Case(rule, "infinite by default", _one(name, 1e30), SILENT)
      for rule, name in (("FEA216", "output.max_abs_steps"), ("FEA217", "output.abs_error_p99"))),
    *(Case(rule, "NaN", _one(name, math.nan), ERROR, "nan")
      for rule, name in (("FEA216", "output.max_abs_steps"), ("FEA217", "output.abs_error_p99"))),
)  # fmt: skip
