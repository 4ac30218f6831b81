"""BEH and CST: the task metric with its interval, flips, classes, slices; size."""

import math

from qgate.records import Place, Verdict

from .cases import ERROR, SILENT, WARNING, Case, ladder, measured, missing

_NONE = Place()
_TIGHT = 1e-9


def _drop(value: float, low: float, high: float, n: int = 500, metric: str = "top1", reference: float = 1.0):
    return (
        measured("task.metric_reference", reference, _NONE, n=n, metric=metric),
        measured("task.metric_drop", value, _NONE, n=n, low=low, high=high, metric=metric),
    )


def _sure(value: float):
    return _drop(value, value - _TIGHT, value)


def _growth(value: float):
    return _drop(2 * value, 2 * value - _TIGHT, 2 * value, metric="mae", reference=2.0)


def _flips(share: float):
    return (
        measured("task.flips_to_wrong", share * 1000, _NONE, n=1000),
        measured("task.mcnemar_p", 0.01, _NONE, n=1000),
    )


def _group(name: str, value: float, n: int = 50, low: float | None = None):
    return (measured(f"task.{name}", value, Place(slice="label=3"), n=n, low=value / 2 if low is None else low,
                     high=value, lost=9),)  # fmt: skip


def _gain(value: float):
    return _drop(-value, -value - _TIGHT, -value + _TIGHT)


def _size(value: float):
    return (measured("artifact.size_ratio", value, _NONE, candidate=1, reference=1),)


CASES = (
    *ladder("BEH101", "max_drop", _sure, at_least=False, step=1e-4, says="top1 is worse by"),
    *ladder("BEH101", "max_error_growth", _growth, at_least=False, step=1e-3, says="mae is worse by"),
    Case("BEH101", "a drop that may be none", _drop(0.2, -0.1, 0.5, n=10), WARNING, "no drop at all"),
    Case("BEH101", "too few samples", _drop(0.0, -0.3, 0.3, n=8), ("error", "warning", "warning"),
         "8 samples cannot tell", effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "one sample, infinite interval", _drop(0.0, -math.inf, math.inf, n=1, metric="mae"),
         ("error", "warning", "warning"), "1 samples cannot tell", effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "NaN interval", _drop(0.0, math.nan, math.nan), ("error", "warning", "warning"),
         effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "a NaN drop that may be none", _drop(math.nan, -0.5, 0.5), ERROR),
    Case("BEH101", "error metric without a reference", _drop(0.1, 0.05, 0.2, metric="mae", reference=0.0), ERROR),
    Case("BEH101", "the same", _drop(0.0, 0.0, 0.0), SILENT),
    Case("BEH101", "not measured", (missing("task.metric_drop", "no labels", _NONE),), SILENT),
    *ladder("BEH102", "max_share", _flips, at_least=False, step=1e-3, says="are now wrong"),
    Case("BEH102", "two flips are too few to tell", (measured("task.flips_to_wrong", 2, _NONE, n=4),), SILENT),
    Case("BEH102", "three of four", (measured("task.flips_to_wrong", 3, _NONE, n=4),), ERROR, "3 of 4"),
    *ladder("BEH103", "max_drop", lambda v: _group("class_recall_drop", v), at_least=False, step=1e-3,
            says="class label=3", at="slice label=3"),
    Case("BEH103", "a class of seven", _group("class_recall_drop", 0.9, n=7), SILENT),
    Case("BEH103", "an interval that includes none", _group("class_recall_drop", 0.9, low=-0.1), SILENT),
    *ladder("BEH104", "max_drop", lambda v: _group("slice_drop", v), at_least=False, step=1e-3,
            says="slice label=3", at="slice label=3"),
    Case("BEH104", "no slice is worse", _group("slice_drop", 0.0), SILENT),
    *(case for case in ladder("BEH105", "max_gain", _gain, at_least=False, step=1e-4) if "nan" not in case.name),
    Case("BEH105", "a gain that may be none", _drop(-0.3, -0.7, 0.1), SILENT),
    Case("BEH105", "an error metric", _drop(-0.3, -0.4, -0.2, metric="mae"), SILENT),
    *ladder("CST101", "max_ratio", _size, at_least=False, step=1e-3,
            says="reference's size", at="file model"),
    Case("CST101", "two float models", _size(9.0), SILENT, declared={"scheme": "none"}),
)  # fmt: skip
