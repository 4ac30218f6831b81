"""Measurements against a baseline's, in both directions: what got worse, what is gone, what is new. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from qgate.baseline import Entry, is_comparable
from qgate.records import Finding, Measurement, Place, Severity
from qgate.report.schema import Delta, Limit
from qgate.rules.traceability import trace_finding

# Beyond this an SQNR tells rounding of the float32 arithmetic itself apart, and nothing of the model.
_SQNR_CEILING_DB = 120.0
_SAMPLES = 2.0
_LISTED = 10


@dataclass(frozen=True)
class Direction:
    """How a kind of measurement may move.

    Args:
        names: What the measurement's name ends with.
        better: +1 where higher is better, -1 where lower is.
        absolute: Parameter of TRC102 with the absolute allowance; empty for none.
        relative: Parameter with the allowance as a share of the baseline's value; empty for none.
        of_samples: The value is a share of samples, so two of them are always allowed.
        counted: The value counts samples; ``absolute`` is a share of them.
    """

    names: re.Pattern[str]
    better: int
    absolute: str = ""
    relative: str = ""
    of_samples: bool = False
    counted: bool = False

    def worsening(self, entry: Entry, now: Measurement, limits: Mapping[str, Limit]) -> tuple[float, float]:
        """How much worse than the baseline (positive is worse), and how much is allowed."""
        old, new = _number(entry.value), now.number
        if entry.name.endswith("sqnr_db"):
            old, new = min(old, _SQNR_CEILING_DB), min(new, _SQNR_CEILING_DB)
        n = now.n or entry.n or 0
        absolute = float(limits[self.absolute].value) if self.absolute else 0.0
        relative = float(limits[self.relative].value) if self.relative else 0.0
        allowed = max(absolute * n if self.counted else absolute, relative * abs(old))
        if self.counted:
            allowed = max(allowed, _SAMPLES)
        if self.of_samples and n:
            allowed = max(allowed, _SAMPLES / n)
        if math.isnan(new) or math.isnan(old):
            return (math.inf if math.isnan(new) and not math.isnan(old) else 0.0), allowed
        return (0.0 if old == new else (old - new) * self.better), allowed


def _ending(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*[._])?(?:{words})")


DIRECTIONS = (
    Direction(_ending("sqnr_db"), +1, "sqnr_db"),
    Direction(_ending("cosine"), +1, "cosine"),
    Direction(_ending("top1_agreement|agreement"), +1, "agreement", of_samples=True),
    Direction(_ending(r"coverage|derived_share|quant\.share|alignment\.weights"), +1, "coverage"),
    Direction(
        _ending("relative_l2|mean_relative_error|kl_mean|kl_p99|rmse|rmse_over_scale|rmse_steps"),
        -1,
        "error_abs",
        "error_ratio",
    ),
    Direction(_ending("max_abs|kl_max"), -1, "error_abs", "extreme_ratio"),
    Direction(_ending("clipped_share|differing_share"), -1, "share"),
    Direction(_ending("metric_drop"), -1, "metric", of_samples=True),
    Direction(_ending("class_recall_drop|slice_drop"), -1, "metric", of_samples=True),
    Direction(_ending("flips_to_wrong"), -1, "flips", counted=True),
    Direction(_ending("nonfinite_candidate|nonfinite|outsiders"), -1),
    Direction(_ending(r"bytes|size_ratio|quant\.bits"), -1, "", "size"),
)


def direction_of(name: str) -> Direction | None:
    """How a measurement of that name may move; None where neither way is better."""
    return next((d for d in DIRECTIONS if d.names.fullmatch(name)), None)


def compare(
    entries: Iterable[Entry], measurements: Iterable[Measurement], limits: Mapping[str, Limit]
) -> tuple[Delta, ...]:
    """Every difference to the baseline, and every measurement of an output even if it is the same.

    Args:
        entries: The baseline's measurements.
        measurements: This run's; those that are not deterministic are left out.
        limits: Allowances of TRC102 in force.
    """
    old = {entry.key: entry for entry in entries}
    new = {(m.name, str(m.at)): m for m in measurements if is_comparable(m)}
    deltas = [_delta(old.get(key), new.get(key), limits) for key in sorted({*old, *new})]
    return tuple(d for d in deltas if d.worse or d.gone or d.new or d.baseline != d.current or _headline(d))


def _headline(delta: Delta) -> bool:
    return delta.at == "" or delta.at.startswith("output ")


def _delta(entry: Entry | None, now: Measurement | None, limits: Mapping[str, Limit]) -> Delta:
    if entry is None:
        if now is None:
            raise ValueError("a delta has at least one side")
        return Delta(name=now.name, at=str(now.at), baseline=None, current=now.value, unit=now.unit, new=True)
    common = {"name": entry.name, "at": str(entry.at), "baseline": entry.value, "unit": entry.unit}
    if now is None:
        return Delta.model_validate({**common, "current": None, "gone": True})
    direction = direction_of(entry.name)
    amount, allowed = direction.worsening(entry, now, limits) if direction else (0.0, 0.0)
    # The allowance is a decimal number, the difference a sum of binary ones: equal must not count as more.
    worse = amount > allowed and not math.isclose(amount, allowed, rel_tol=1e-9)
    return Delta.model_validate({**common, "current": now.value, "worse": worse})


def delta_findings(
    deltas: Iterable[Delta],
    entries: Iterable[Entry],
    limits: Mapping[str, Mapping[str, Limit]],
    *,
    accepted: str | None = None,
    informational: bool = False,
) -> tuple[Finding, ...]:
    """What the differences mean.

    Args:
        deltas: From ``compare``.
        entries: The baseline's measurements, for their places.
        limits: Thresholds in force, by rule.
        accepted: How the differences were accepted; they then are notes that say so.
        informational: They inform and no more (the reference or the data changed).
    """
    note = Severity.NOTE if accepted or informational else None
    tail = f"; accepted: {accepted}" if accepted else "; informational" if informational else ""
    by_name: dict[str, list[Delta]] = defaultdict(list)
    gone: dict[str, list[Delta]] = defaultdict(list)
    kept, places = set(), {str(entry.at): entry.at for entry in entries}
    for delta in deltas:
        if delta.gone:
            gone[delta.name].append(delta)
        else:
            kept.add(delta.name)
        if delta.worse:
            by_name[delta.name].append(delta)
    return (
        *(_worse_finding(found, places, limits, note, tail) for found in by_name.values()),
        *(
            finding
            for name, found in gone.items()
            for finding in _gone_findings(
                found, kept=name in kept, places=places, limits=limits, note=note, tail=tail
            )
        ),
    )


def _worse_finding(
    found: list[Delta],
    places: Mapping[str, Place],
    limits: Mapping[str, Mapping[str, Limit]],
    note: Severity | None,
    tail: str,
) -> Finding:
    worst = max(found, key=_distance)
    more = f" and at {len(found) - 1} more places" if len(found) > 1 else ""
    unit = f" {worst.unit}" if worst.unit else ""
    return trace_finding(
        "TRC102",
        f"{worst.name} was {_shown(worst.baseline)}{unit} in the baseline and is "
        f"{_shown(worst.current)}{unit}{more}, which is more than the allowance{tail}",
        limits=limits,
        severity=note,
        at=places.get(worst.at),
        evidence={
            "measurement": worst.name,
            "baseline": _evidence(worst.baseline),
            "current": _evidence(worst.current),
            "places": [d.at for d in found[:_LISTED]],
            "count": len(found),
        },
    )


def _gone_findings(
    found: list[Delta],
    *,
    kept: bool,
    places: Mapping[str, Place],
    limits: Mapping[str, Mapping[str, Limit]],
    note: Severity | None,
    tail: str,
) -> Iterator[Finding]:
    """One finding for what blocks and one for what does not, of one kind of measurement."""
    blocking = [d for d in found if not kept or _declared(places.get(d.at, Place()))]
    informing = [d for d in found if d not in blocking]
    for group, severity in ((blocking, note), (informing, Severity.NOTE)):
        if not group:
            continue
        more = f" and at {len(group) - 1} more places" if len(group) > 1 else ""
        yield trace_finding(
            "TRC103",
            f"{group[0].name} is in the baseline and was not measured{' at all' if not kept else ''}"
            f"{f', at {group[0].at}' if group[0].at else ''}{more}{tail}",
            limits=limits,
            severity=severity,
            at=places.get(group[0].at),
            evidence={
                "measurement": group[0].name,
                "places": [d.at for d in group[:_LISTED]],
                "count": len(group),
            },
        )


def _declared(place: Place) -> bool:
    """Whether the reference or the data name the place, so that no new quantization can rename it."""
    return place.tensor is None and place.node is None


def _distance(delta: Delta) -> float:
    old, new = _number(delta.baseline), _number(delta.current)
    if not math.isfinite(old) or not math.isfinite(new):
        return math.inf
    return abs(new - old) / (abs(old) or 1.0)


def _number(value: object) -> float:
    return float(value) if isinstance(value, bool | int | float) else math.nan


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _evidence(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
