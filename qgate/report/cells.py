"""One dimension of one target: its mark, how many findings made it, its key figures. Nothing here is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from qgate.records import Finding, Measurement, Severity
from qgate.report import content, figures
from qgate.report.marks import MARK_OF_VERDICT, Mark, blocking, informing
from qgate.report.schema import TargetReport

_LOWEST_SQNR: Mapping[str, str] = {"RNG": "weight.sqnr_db", "FEA": "output.sqnr_db"}


@dataclass(frozen=True)
class Cell:
    """One dimension of one target: its mark, how many findings made it, its key figures."""

    mark: Mark
    count: int = 0
    figures: tuple[str, ...] = ()


_OF_INPUTS = ("FEA", "BEH")
GENERATED = "generated"
"""What stands beside figures that no real input made."""


def by_name(measurements: Iterable[Measurement]) -> dict[str, list[Measurement]]:
    """Those that have a value, by their names."""
    held: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        if measurement.not_measured is None:
            held.setdefault(measurement.name, []).append(measurement)
    return held


def cell(target: TargetReport, family: str, measured: Mapping[str, list[Measurement]]) -> Cell:
    """One dimension of a target; ``measured`` is what ``by_name`` gives."""
    found = [f for f in target.findings if f.rule.startswith(family)]
    shown = tuple(_figures(target, family, measured))
    generated = target.data.origin == "generated" and family in _OF_INPUTS and bool(shown)
    shown = (*shown, GENERATED) if generated else shown
    errors = blocking(found)
    if not errors and family in _LOWEST_SQNR:
        # Another dimension blames the very layer whose figure stands here: no tick beside it.
        errors = _about(_lowest(measured, _LOWEST_SQNR[family]), blocking(target.findings))
        if errors:
            return Cell(MARK_OF_VERDICT[errors[0].effect], 0, shown)
    if errors:
        return Cell(MARK_OF_VERDICT[errors[0].effect], len(errors), shown)
    warnings = informing(found, Severity.WARNING)
    if warnings or (family == "TRC" and any(_lost(target))):
        return Cell(Mark.WARNING, len(warnings), shown)
    # What a model does with inputs that nobody chose is a figure, and no behaviour that holds.
    silent = not _judged(target, family, measured) or (generated and family == "BEH")
    return Cell(Mark.NONE if silent else Mark.PASS, 0, shown)


def _about(measurement: Measurement | None, found: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings at the tensor or the node that a measurement is of."""
    if measurement is None:
        return ()
    tensor, node = measurement.at.tensor, measurement.at.node
    return tuple(f for f in found if (tensor and f.at.tensor == tensor) or (node and f.at.node == node))


def _judged(target: TargetReport, family: str, measured: Mapping[str, list[Measurement]]) -> bool:
    """Whether silence means that the dimension was looked at: a tick is never shown for less."""
    prefixes = {measured_name.partition(".")[0] for measured_name in measured}
    if family == "TRC":
        return target.baseline.state in ("stored", "remeasured")
    if family == "CST":
        return _size_ratio(target) is not None
    if family == "DEP":
        return any(rule.startswith(family) for rule in target.thresholds)
    if family == "BEH":
        return "task" in prefixes or "output.top1_agreement" in measured
    return {
        "ART": bool(measured),
        "QNT": bool(prefixes & {"quant", "weight"}),
        "RNG": bool(prefixes & {"weight", "scale", "activation"}),
        "FEA": "output" in prefixes,
    }[family]


def _figures(target: TargetReport, family: str, measured: Mapping[str, list[Measurement]]) -> Iterator[str]:
    if family == "QNT" and target.scheme:
        covered = measured.get("quant.activation_share", [])
        alone = bool(covered) and all(m.number == 0 for m in covered)
        yield target.scheme + (", weights only" if alone else "")
    elif family in _LOWEST_SQNR:
        if lowest := _lowest(measured, _LOWEST_SQNR[family]):
            yield figures.value(lowest.value, "dB")
        if family == "FEA" and (lowest := _lowest(measured, "output.same_boxes")):
            yield f"{figures.value(lowest.value, 'ratio')} same boxes"
    elif family == "BEH":
        if lowest := _lowest(measured, "output.top1_agreement"):
            yield figures.value(lowest.value, "ratio")
        if drop := _largest_drop(measured):
            both = [_lowest(measured, f"task.metric_{side}") for side in ("reference", "candidate")]
            values = [figures.value(each.value, each.unit) for each in both if each is not None]
            if len(values) == 2:
                yield f"{_metric(drop)} {values[0]} → {values[1]}"
                yield _drop(drop)
            else:
                yield f"{_metric(drop)} {_drop(drop)}"
    elif family == "TRC":
        yield from _against_baseline(target)
    elif family == "CST" and (ratio := _size_ratio(target)) is not None:
        yield figures.percent(ratio)


def _lowest(measured: Mapping[str, list[Measurement]], name: str) -> Measurement | None:
    """The measurement with the smallest number; NaN is below any, for it says less than any."""
    found = measured.get(name, [])
    return min(found, key=lambda m: -math.inf if math.isnan(m.number) else m.number, default=None)


def _largest_drop(measured: Mapping[str, list[Measurement]]) -> Measurement | None:
    found = measured.get("task.metric_drop", [])
    return max(found, key=lambda m: math.inf if math.isnan(m.number) else m.number, default=None)


def _metric(drop: Measurement) -> str:
    metric = drop.detail.get("metric")
    return metric if isinstance(metric, str) else "metric"


def _drop(drop: Measurement) -> str:
    """A drop with its interval as a change of the metric: positive drops are losses."""
    shown = figures.signed(-drop.number, drop.unit)
    if drop.low is None or drop.high is None:
        return shown
    ends = (figures.signed(-drop.high, drop.unit), figures.signed(-drop.low, drop.unit))
    return f"{shown} ({ends[0].removesuffix(' pp')} … {ends[1].removesuffix(' pp')})"


def _against_baseline(target: TargetReport) -> Iterator[str]:
    baseline = target.baseline
    if baseline.state == "none":
        yield "no baseline"
        return
    if baseline.state == "not-compared":
        return
    sqnr = [
        delta.current - delta.baseline
        for delta in baseline.deltas
        if delta.name == "output.sqnr_db"
        and isinstance(delta.current, float)
        and isinstance(delta.baseline, float)
    ]
    yield figures.signed(min(sqnr), "dB") if sqnr else "compared"
    lost = [f"{count} {what}" for count, what in zip(_lost(target), ("worse", "gone"), strict=True) if count]
    if lost:
        yield ", ".join(lost)
    if baseline.content is not None:
        yield from content.short(baseline.content)


def _lost(target: TargetReport) -> tuple[int, int]:
    """How many of the baseline's numbers are worse, and how many are gone."""
    deltas = target.baseline.deltas
    return sum(delta.worse for delta in deltas), sum(delta.gone for delta in deltas)


def _size_ratio(target: TargetReport) -> float | None:
    measured = [m.number for m in target.measurements if m.name == "artifact.size_ratio"]
    if measured:
        return measured[0]
    if target.reference is None or not target.reference.bytes or target.candidate.bytes is None:
        return None
    try:
        return target.candidate.bytes / target.reference.bytes
    except OverflowError:  # a stored report may claim any size
        return math.inf
