"""BEH and CST: the task metric with its interval, flips, classes, slices; size."""

import math

from qgate.records import Place, Verdict

from .cases import ERROR, NOTE, SILENT, WARNING, Case, ladder, measured, missing

_NONE = Place()
_TIGHT = 1e-9
_DOUBTED = ("error", "warning", "warning")


def _drop(value: float, low: float, high: float, n: int = 500, metric: str = "top1", reference: float = 1.0):
    return (
        measured("task.metric_reference", reference, _NONE, n=n, metric=metric),
        measured("task.metric_drop", value, _NONE, n=n, low=low, high=high, metric=metric),
    )


def _sure(value: float):
    return _drop(value, value - _TIGHT, value)


def _growth(value: float):
    return _drop(2 * value, 2 * value - _TIGHT, 2 * value, metric="mae", reference=2.0)


def _flips(share: float, low: float | None = None):
    low = share - _TIGHT if low is None else low
    return (
        measured("task.flips_to_wrong", share * 1000, _NONE, n=1000, low=low * 1000),
        measured("task.mcnemar_p", 0.01, _NONE, n=1000),
    )


def _group(name: str, value: float, n: int = 50, low: float | None = None, **more):
    return (measured(f"task.{name}", value, Place(slice="label=3"), n=n, low=value / 2 if low is None else low,
                     high=value, lost=9, **more),)  # fmt: skip


def _other(name: str, value: float, reference: float = 2.0):
    return (
        measured(f"task.{name}_reference", reference, _NONE, n=500, metric=name),
        measured(f"task.{name}_drop", value, _NONE, n=500, low=value - _TIGHT, high=value, metric=name),
    )


def _above(value: float, low: float, metric: str = "top1", reference: float = 0.12, **more):
    return (
        measured(
            "task.above_chance",
            value,
            _NONE,
            n=500,
            low=low,
            high=0.1,
            metric=metric,
            reference=reference,
            chance=0.1,
            **more,
        ),
    )


def _read(found: float, low: float | None, scale: str = "as_is"):
    """A detector at 0.2 whose boxes are better as centre and size."""
    told = {
        "format": "cxcywh",
        "label_format": "xyxy",
        "scale": scale,
        "images": 32,
        "declared": 0.2,
        "found": found,
        "low": low,
    }
    return _above(0.1, 0.05, metric="map50", reference=0.2, reading=told)


def _gain(value: float):
    return _drop(-value, -value - _TIGHT, -value + _TIGHT)


def _size(value: float):
    return (measured("artifact.size_ratio", value, _NONE, candidate=1, reference=1),)


def _time(value: float, size: float = 0.3, name: str = "latency_ratio"):
    return (
        measured("artifact.size_ratio", size, _NONE),
        measured(f"cost.{name}", value, _NONE, n=50, low=value - _TIGHT, high=value + _TIGHT, samples=1),
    )


def _load_time(value: float, seconds: float = 9.0):
    return (measured("cost.load_ratio", value, _NONE, reference_s=seconds / max(value - 1, 1e-9),
                     candidate_s=seconds / max(value - 1, 1e-9) + seconds),)  # fmt: skip


CASES = (
    *ladder("BEH101", "max_drop", _sure, at_least=False, step=1e-4, says="top1 is worse by"),
    *ladder("BEH101", "max_other_boxes", lambda v: _drop(v, v - _TIGHT, v, metric="same_boxes"), at_least=False, step=1e-3,
            says="same_boxes is worse by"),
    *ladder("BEH101", "max_error_growth", _growth, at_least=False, step=1e-3, says="mae is worse by"),
    Case("BEH101", "a drop that may be none", _drop(0.2, -0.1, 0.5, n=10), ("error", "warning", "warning"),
         "10 samples cannot tell whether the metric drops at all: top1 is worse by 0.2", effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "how many samples would do", _drop(0.2, -0.1, 0.5, n=100), ("error", "warning", "warning"),
         "about 226 samples would do", effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "perplexity is judged by its growth", _drop(1.0, 0.9, 1.1, metric="perplexity", reference=20.0),
         ("error", None, None), "perplexity is worse by 1"),
    Case("BEH101", "too few samples", _drop(0.0, -0.3, 0.3, n=8), ("error", "warning", "warning"),
         "8 samples cannot tell", effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "one sample, infinite interval", _drop(0.0, -math.inf, math.inf, n=1, metric="mae"),
         ("error", "warning", "warning"), "1 samples cannot tell", effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "NaN interval", _drop(0.0, math.nan, math.nan), ("error", "warning", "warning"),
         effect=Verdict.INCONCLUSIVE),
    Case("BEH101", "a NaN drop that may be none", _drop(math.nan, -0.5, 0.5), ERROR),
    Case("BEH101", "error metric without a reference", _drop(0.1, 0.05, 0.2, metric="mae", reference=0.0), ERROR),
    Case("BEH101", "the same", _drop(0.0, 0.0, 0.0), SILENT),
    Case("BEH101", "not measured", (missing("task.metric_drop", "1 of 9 samples have no finite output", _NONE),), ERROR,
         "the task could not be measured: 1 of 9 samples have no finite output", effect=Verdict.INCONCLUSIVE),
    *ladder("BEH102", "max_share", _flips, at_least=False, step=1e-3, says="are now wrong"),
    Case("BEH102", "a share that may be allowed", _flips(0.2, low=0.001), WARNING, "so few samples do not tell"),
    Case("BEH102", "two flips are too few to tell", (measured("task.flips_to_wrong", 2, _NONE, n=4),), SILENT),
    Case("BEH102", "three of four", (measured("task.flips_to_wrong", 3, _NONE, n=4),), ERROR, "3 of 4"),
    *ladder("BEH103", "max_drop", lambda v: _group("class_recall_drop", v), at_least=False, step=1e-3,
            says="class label=3", at="slice label=3"),
    Case("BEH103", "a class of seven", _group("class_recall_drop", 0.9, n=7), SILENT),
    Case("BEH103", "an interval that includes none", _group("class_recall_drop", 0.9, low=-0.1), SILENT),
    *ladder("BEH104", "max_drop", lambda v: _group("slice_drop", v), at_least=False, step=1e-3,
            says="slice label=3", at="slice label=3"),
    Case("BEH103", "chance among many classes", _group("class_recall_drop", 0.9, p_adjusted=0.3, groups=500),
         NOTE, "chance alone explains among 500"),
    Case("BEH103", "one of many classes", _group("class_recall_drop", 0.9, p_adjusted=0.001, groups=500), ERROR),
    *ladder("BEH104", "max_error_growth", lambda v: _group("slice_drop", 2 * v, metric="mae", reference=2.0),
            at_least=False, step=1e-3, says="slice label=3", at="slice label=3"),
    Case("BEH104", "no slice is worse", _group("slice_drop", 0.0), SILENT),
    *(case for case in ladder("BEH105", "max_gain", _gain, at_least=False, step=1e-4) if "nan" not in case.name),
    Case("BEH105", "a gain that may be none", _drop(-0.3, -0.7, 0.1), SILENT),
    Case("BEH105", "an error that falls", _drop(-0.6, -0.7, -0.5, metric="mae", reference=2.0),
         ("warning", "warning", "note"), "improves by 0.6"),
    Case("BEH105", "an error that falls a little", _drop(-0.02, -0.03, -0.01, metric="mae", reference=2.0), SILENT),
    *ladder("BEH106", "max_drop", lambda v: _other("macro_f1", v), at_least=False, step=1e-4, says="macro_f1 is worse"),
    *ladder("BEH106", "max_error_growth", lambda v: _other("rmse", 2 * v), at_least=False, step=1e-3, says="rmse is worse"),
    Case("BEH106", "top five", _other("top5", 0.5), ("error", "warning", "note"), "top5 is worse"),
    Case("BEH106", "the judged metric is not told twice", _drop(0.5, 0.4, 0.6), SILENT),
    Case("BEH106", "the calibration has a rule of its own", _other("ece", 0.5), SILENT),
    *ladder("BEH107", "max_growth", lambda v: _other("ece", v), at_least=False, step=1e-4, says="less deserved"),
    Case("BEH107", "a growth that may be none", (measured("task.ece_drop", 0.2, _NONE, n=9, low=-0.1, high=0.5),), SILENT),
    *ladder("BEH108", "max_changed", lambda v: _other("same_top", v), at_least=False, step=1e-3,
            says="of the tokens have another favourite"),
    *ladder("BEH108", "max_divergence", lambda v: _other("divergence", v), at_least=False, step=1e-4,
            says="nats between the distributions"),
    Case("BEH109", "no yardstick", (*_drop(0.5, 0.4, 0.6), measured("output.sqnr_db", 1.0, _NONE)), SILENT),
    *(Case("BEH109", f"{left} dB", (measured("output.sqnr_db", 40.0 - left, _NONE),), weight, "a plain recipe keeps 40.0 dB"
           if any(weight) else "", thresholds={"yardstick_db": 40.0})
      for left, weight in ((3.0, SILENT), (3.1, ("error", None, None)), (6.1, ("error", "error", None)), (12.1, ERROR))),
    Case("BEH109", "NaN", (measured("output.sqnr_db", math.nan, _NONE),), ERROR, thresholds={"yardstick_db": 40.0}),
    *(Case("BEH109", f"a drop of {drop}", _drop(drop, drop - _TIGHT, drop), weight, "a plain recipe drops 0.1"
           if any(weight) else "", thresholds={"yardstick_drop": 0.1})
      for drop, weight in ((0.104, SILENT), (0.108, ("error", None, None)), (0.12, ("error", "error", None)), (0.2, ERROR))),
    Case("BEH109", "a drop that may be the recipe's", _drop(0.2, 0.05, 0.3), SILENT, thresholds={"yardstick_drop": 0.1}),
    Case("BEH110", "no bound", (measured("task.metric_candidate", 0.0, _NONE, n=9, metric="top1"),), SILENT),
    Case("BEH110", "a bound that is reached", (measured("task.metric_candidate", 0.9, _NONE, n=9, metric="top1"),), SILENT,
         thresholds={"min_value": 0.9}),
    Case("BEH110", "a bound that is missed", (measured("task.metric_candidate", 0.89, _NONE, n=9, metric="top1"),), ERROR,
         "top1 is 0.89 on 9 samples, at least 0.9 asked for", thresholds={"min_value": 0.9}),
    Case("BEH110", "an error", (measured("task.metric_candidate", 2.0, _NONE, n=9, metric="mae"),), ERROR,
         "mae is 2 on 9 samples, at most 1.5", thresholds={"max_value": 1.5}),
    Case("BEH110", "NaN", (measured("task.metric_candidate", math.nan, _NONE, n=9, metric="mae"),), ERROR, "mae is nan",
         thresholds={"max_value": 1.5}),
    Case("BEH111", "a reference that knows", _above(0.3, 0.2), SILENT),
    Case("BEH111", "one that knows no more than chance", _above(0.02, -0.01), ("error", "warning", "warning"),
         "the reference itself is not shown to be better than chance: its top1 is 0.12 on 500 samples, and always naming the "
         "most frequent class gives 0.1", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "exactly chance", _above(0.02, 0.0), ("error", "warning", "warning"), "better by [0, 0.1]",
         effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "vectors", _above(0.0, -0.1, metric="recall_at_5"), ("error", "warning", "warning"),
         "dealing out its vectors anyhow", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "boxes", _above(0.0, -0.1, metric="map"), ("error", "warning", "warning"),
         "looking for the labels of another image", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "places", _above(0.0, -0.1, metric="miou"), ("error", "warning", "warning"),
         "holding its answers to the labels of another sample gives", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "NaN", _above(math.nan, math.nan), ("error", "warning", "warning"), "better by [nan, 0.1]",
         effect=Verdict.INCONCLUSIVE),
    *(Case("BEH111", f"{metric} that is next to nothing", _above(0.05, 0.04, metric=metric, reference=0.0999), _DOUBTED,
           f"finds next to nothing: its {metric} is 0.0999 on 500 samples, below 0.1", effect=Verdict.INCONCLUSIVE)
      for metric in ("map", "map50")),
    Case("BEH111", "NaN of what it finds", _above(0.05, 0.04, metric="map", reference=math.nan), _DOUBTED,
         "its map is nan on", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "a detector that finds something", _above(0.05, 0.04, metric="map", reference=0.1), SILENT),
    Case("BEH111", "another metric may be low", _above(0.05, 0.04, metric="balanced_accuracy", reference=0.09), SILENT),
    Case("BEH111", "boxes in another format", _read(0.4, 0.01), _DOUBTED, "read as `format: cxcywh` and labels as "
         "`label_format: xyxy`: AP50 is 0.4 instead of 0.2 on the first 32 labelled images", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "boxes that are shares", _read(0.9, 0.5, "shares"), _DOUBTED, "the outputs are taken for shares of the image:",
         effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "labels that are shares", _read(0.9, 0.5, "pixels"), _DOUBTED, "the labels are shares of the image:",
         effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "a format that is a little better", _read(0.39, 0.3), SILENT),
    Case("BEH111", "one that may be no better", _read(0.9, 0.0), SILENT),
    Case("BEH111", "one whose interval is unknown", _read(0.9, None), SILENT),
    Case("BEH111", "no better than chance in one format, and in another",
         _above(0.0, -0.1, metric="map", reading={**_read(0.4, 0.01)[0].detail["reading"], "declared": 0.0}), _DOUBTED,
         "[-0.1, 0.1]); the reference's boxes meet the labels far better", effect=Verdict.INCONCLUSIVE),
    Case("BEH111", "unlabelled", (measured("task.metric_drop", 0.0, _NONE, n=9, metric="same_boxes"),), SILENT),
    *ladder("CST101", "max_ratio", _size, at_least=False, step=1e-3,
            says="reference's size", at="file model"),
    *(c for c in ladder("CST102", "max_ratio", _time, at_least=False, step=1e-3,
                        says="takes", at="file model") if "nan" not in c.name),
    Case("CST102", "batches", _time(2.0, name="batch_time_ratio"), ("warning", "warning", "note"), "a batch takes 2.00"),
    Case("CST102", "a time that may be the same",
         (measured("cost.latency_ratio", 2.0, _NONE, n=7, low=0.9, high=3.0),), SILENT),
    Case("CST102", "not measured", (missing("cost.latency_ratio", "a crash", _NONE),), SILENT),
    *(c for c in ladder("CST103", "min_saving", lambda v: _time(2.0, size=1 - v - 2 * _TIGHT), at_least=True, step=1e-3,
                        says="neither smaller", at="file model") if "nan" not in c.name),
    Case("CST103", "faster", _time(0.5, size=1.0), SILENT),
    Case("CST103", "two float models", _time(2.0, size=1.0), SILENT, declared={"scheme": "none"}),
    *ladder("CST104", "max_ratio", lambda v: (measured("cost.memory_ratio", v, _NONE),), at_least=False, step=1e-3,
            says="times the reference's memory"),
    *(c for c in ladder("CST105", "max_ratio", _load_time, at_least=False, step=1e-3, says="as long to load")
      if "nan" not in c.name),
    Case("CST105", "not much longer", _load_time(9.0, seconds=0.1), SILENT),
    Case("CST105", "half a second longer", _load_time(9.0, seconds=0.3), ("warning", None, None)),
    Case("CST105", "a second longer", _load_time(9.0, seconds=0.8), ("warning", "warning", None)),
    Case("CST101", "two float models", _size(9.0), SILENT, declared={"scheme": "none"}),
)  # fmt: skip
