"""From what was measured to thresholds, each with the reason why. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from qgate.calibrate.measuring import Calibration, Values, lowest
from qgate.records import Measurement
from qgate.rules.drops import ERRORS
from qgate.stats.intervals import wilson

MARGIN_DB = 3.0
"""How far below what was measured an SQNR may fall: half the noise power more."""

WORSE_DB = 6.0
"""A candidate that keeps so much less than the plain recipe is no measure of what is right."""


DRAWN_DB = {"none": 0.0, "others": 1.0, "same": 2.0}
"""How far below what the recipe keeps its yardstick lies, by the samples that its ranges were taken from: which ones are drawn
moves the figure by about a decibel, and where they are those that it is judged on, it keeps one to two too much: measured on
`examples/digits`."""

_SEEN = {
    "none": "",
    "others": ", none of which its ranges were taken from",
    "same": ", the very ones that its ranges were taken from, which is too good",
}


@dataclass(frozen=True)
class Proposal:
    """One threshold and why."""

    rule: str
    param: str
    value: float
    why: str


def propose(found: Calibration) -> tuple[Proposal, ...]:
    """Thresholds that the candidate, or the plain recipe where the candidate is much worse, holds with a margin."""
    return (*_signal(found), *_metric(found), *_flips(found), *_baseline(found), *_yardstick(found))


def _damaged(found: Calibration) -> bool:
    """Whether the candidate is much worse than the plain recipe."""
    mine = lowest(found.values, "output.sqnr_db")
    plain = lowest(found.yardstick.values, "output.sqnr_db") if found.yardstick is not None else None
    return mine is not None and plain is not None and mine < plain - WORSE_DB


def _signal(found: Calibration) -> Iterator[Proposal]:
    mine = lowest(found.values, "output.sqnr_db")
    plain = lowest(found.yardstick.values, "output.sqnr_db") if found.yardstick is not None else None
    if mine is None:
        return
    told = f"the candidate keeps {mine:.1f} dB"
    base = mine
    if plain is not None and found.yardstick is not None:
        told += f", the plain recipe ({found.yardstick.recipe}) {plain:.1f} dB"
        base = plain if _damaged(found) else min(mine, plain)
    if _damaged(found):
        told += ": the candidate is much worse than it need be"
    noise = _noise(found, "output.sqnr_db")
    value = max(0.0, math.floor(2 * (base - MARGIN_DB - noise)) / 2)
    yield Proposal(
        "FEA201", "min_db", value, f"{told}; threads, batches and repeats move it by {noise:.2g} dB"
    )


def _metric(found: Calibration) -> Iterator[Proposal]:
    mine = _one(found.values, "task.metric_drop")
    if mine is None:
        return
    metric, reference = str(mine.detail.get("metric")), _one(found.values, "task.metric_reference")
    drops = [("the candidate's drop", mine)] if not _damaged(found) else []
    plain = _one(found.yardstick.values, "task.metric_drop") if found.yardstick is not None else None
    if plain is not None:
        drops.append(("the plain recipe's", plain))
    if not drops or not all(math.isfinite(m.number) for _, m in drops):
        return
    half = max(_half(m) for _, m in drops)
    noise = _noise(found, "task.metric_drop")
    most = max(0.0, *(m.number for _, m in drops)) + half + noise
    if not math.isfinite(most):
        return
    param, unit = "max_drop", 1.0
    if metric in ERRORS:
        param, unit = "max_error_growth", abs(reference.number) if reference is not None else 0.0
    if unit <= 0:
        return
    told = ", ".join(f"{what} {m.number:.4g} [{_end(m.low)}, {_end(m.high)}]" for what, m in drops)
    yield Proposal(
        "BEH101",
        param,
        _upwards(most / unit),
        f"{told} on {mine.n} samples ({metric}); half an interval of {half:.3g} is the noise of drawing other samples, "
        f"threads, batches and repeats move it by {noise:.2g}",
    )


def _flips(found: Calibration) -> Iterator[Proposal]:
    sides = [found.values] if not _damaged(found) else []
    sides += [found.yardstick.values] if found.yardstick is not None else []
    flips = [m for m in (_one(side, "task.flips_to_wrong") for side in sides) if m is not None and m.n]
    if not flips:
        return
    worst = max(flips, key=lambda m: m.number / (m.n or 1))
    high = wilson(int(worst.number), worst.n or 1)[1]
    told = f"{worst.number:.0f} of {worst.n} right answers flip, and the interval reaches {high:.1%}"
    yield Proposal("BEH102", "max_share", _upwards(high), told)


def _baseline(found: Calibration) -> Iterator[Proposal]:
    noise = _noise(found, "output.sqnr_db")
    told = f"threads, batches and repeats move the SQNR by {noise:.2g} dB; twice that, and at least 0.1 dB"
    yield Proposal("TRC102", "sqnr_db", _upwards(max(0.1, 2 * noise)), told)


def _yardstick(found: Calibration) -> Iterator[Proposal]:
    plain = found.yardstick
    if plain is None:
        return
    told, where = f"ONNX Runtime's recipe ({plain.recipe})", f"{plain.samples:,} samples{_SEEN[plain.ranges]}"
    kept, noise = lowest(plain.values, "output.sqnr_db"), _noise(found, "output.sqnr_db")
    margin = DRAWN_DB[plain.ranges]
    value = 0.0 if kept is None else math.floor(10 * (kept - margin - noise)) / 10
    if kept is not None and value > 0:
        less = (
            f"{margin:g} dB less, because other samples would have given other ranges, and"
            if margin
            else "less"
        )
        why = f"{told} keeps {kept:.1f} dB on {where}; {less} {noise:.2g} dB of noise"
        yield Proposal("BEH109", "yardstick_db", value, why)
    drop = _one(plain.values, "task.metric_drop")
    if drop is None or str(drop.detail.get("metric")) in ERRORS:
        return
    half = _half(drop)
    if math.isfinite(drop.number) and math.isfinite(half):
        why = f"{told} drops the metric by {drop.number:.4g} on {where}; half an interval of {half:.3g} is the draw's noise"
        yield Proposal("BEH109", "yardstick_drop", _upwards(max(drop.number, 0.0) + half), why)


def _one(values: Values, name: str) -> Measurement | None:
    return next((m for (own, _), m in values.items() if own == name), None)


def _noise(found: Calibration, name: str) -> float:
    return max((moved for (own, _), moved in found.noise.items() if own == name), default=0.0)


def _half(measurement: Measurement) -> float:
    if measurement.low is None or measurement.high is None:
        return math.inf
    return (measurement.high - measurement.low) / 2


def _end(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _upwards(value: float) -> float:
    """Two digits, rounded up, so that what was measured holds."""
    if value <= 0:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / scale - 1e-9) * scale:.6g}")
