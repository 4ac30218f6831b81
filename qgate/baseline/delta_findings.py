"""What differences to a baseline mean: findings, the most telling first. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from qgate.baseline.compare import DIRECTIONS, direction_of, number_of
from qgate.baseline.record import Entry
from qgate.records import Finding, Limit, Place, Severity, unit_of
from qgate.report.schema import Delta
from qgate.rules.traceability import default_limits, trace_finding

_LISTED = 10
_CAUSES = {"quant.scheme": "scheme", "quant.recipe": "recipe"}
"""Words that explain whatever else goes with them when they change."""
_ANY_SCHEME = ("output.", "task.", "interface.")
_SIZES = re.compile(r"artifact\.(bytes|size_ratio)|quant\.(bits|share|activation_share)")
_REMEDY = "Fix the quantization, or run `qgate accept {} --reason ...` and have the change approved"


def delta_findings(
    deltas: Iterable[Delta],
    entries: Iterable[Entry],
    limits: Mapping[str, Mapping[str, Limit]],
    *,
    target: str = "TARGET",
    accepted: str | None = None,
    informational: bool = False,
) -> tuple[Finding, ...]:
    """What the differences mean.

    Args:
        deltas: From ``compare``.
        entries: The baseline's measurements, for their places.
        limits: Thresholds in force, by rule.
        target: The target's name, for what the reader does next.
        accepted: How the differences were accepted; they then are notes that say so.
        informational: They inform and no more (the reference or the data changed).
    """
    tail = f"; accepted: {accepted}" if accepted else "; informational" if informational else ""
    words = _Words(
        {entry.key: entry for entry in entries},
        limits,
        severity=Severity.NOTE if tail else None,
        tail=tail,
        remedy="" if tail else _REMEDY.format(target),
    )
    found = tuple(deltas)
    cause = _other_scheme(found)
    explained = tuple(delta for delta in found if cause is not None and _of_the_scheme(delta, words))
    told = {(delta.name, delta.at) for delta in explained}
    worse, gone, kept = defaultdict(list), defaultdict(list), set()
    for delta in found:
        if (delta.name, delta.at) in told:
            continue
        if delta.gone:
            gone[delta.name].append(delta)
        else:
            kept.add(delta.name)
        if delta.worse:
            worse[delta.name].append(delta)
    return (
        *((_scheme_finding(cause, explained, words),) if cause is not None and explained else ()),
        *(_worse_finding(worse[name], words) for name in sorted(worse, key=_telling)),
        *(
            finding
            for name in sorted(gone, key=_telling)
            for finding in _gone_findings(gone[name], name in kept, words)
        ),
    )


@dataclass(frozen=True)
class _Words:
    """What all findings of one comparison share."""

    entries: Mapping[tuple[str, str], Entry]
    limits: Mapping[str, Mapping[str, Limit]]
    severity: Severity | None
    tail: str
    remedy: str

    def place(self, delta: Delta) -> Place:
        """Where a baseline's measurement was made."""
        entry = self.entries.get((delta.name, delta.at))
        return entry.at if entry is not None else Place()

    def allowed(self, delta: Delta) -> str:
        """The allowance in words."""
        entry, direction = self.entries.get((delta.name, delta.at)), direction_of(delta.name)
        if entry is None or direction is None:
            return ""
        limits = self.limits.get("TRC102") or default_limits("TRC102")
        return f"; {direction.allowance(entry, None, limits):.4g}{_unit(delta)} is allowed"


def _telling(name: str) -> tuple[bool, int, str]:
    """Orders kinds of measurements: outputs and task first, then by what tells most at a glance."""
    kinds = [direction.names.fullmatch(name) is not None for direction in DIRECTIONS]
    order = kinds.index(True) if True in kinds else len(kinds)
    return not name.startswith(("output.", "task.")), order, name


def _other_scheme(deltas: tuple[Delta, ...]) -> Delta | None:
    """The difference of the scheme itself, else of the recipe (static, dynamic, weights only), where there is one."""
    changed = {d.name: d for d in deltas if d.name in _CAUSES and d.baseline != d.current and not d.new}
    return next((changed[name] for name in _CAUSES if name in changed), None)


def _of_the_scheme(delta: Delta, words: _Words) -> bool:
    """Whether another scheme alone explains it: what only one of both has, and what their sizes come to.

    Measurements of outputs and of the task are made whatever the scheme is, so it explains none of them.
    """
    if delta.name.startswith(_ANY_SCHEME) or (delta.gone and _declared(words.place(delta)) and delta.at):
        return False
    return delta.gone or (delta.worse and _SIZES.fullmatch(delta.name) is not None)


def _scheme_finding(cause: Delta, explained: tuple[Delta, ...], words: _Words) -> Finding:
    """One cause for everything that goes with another scheme, the rest folded into its evidence."""
    gone = [delta for delta in explained if delta.gone]
    larger = [delta for delta in explained if delta.worse]
    kinds = sorted({delta.name for delta in gone})
    parts = []
    if gone:
        noun = "measurement" if len(gone) == 1 else "measurements"
        have = "has" if len(gone) == 1 else "have"
        of_kinds = f" of {len(kinds)} kinds" if len(kinds) > 1 else ""
        parts.append(f"{len(gone)} {noun}{of_kinds} {have} no counterpart")
    parts += [
        f"{delta.name} was {_shown(delta.baseline)}{_unit(delta, delta.baseline)} and is "
        f"{_shown(delta.current)}{_unit(delta, delta.current)}"
        for delta in larger
    ]
    what = _CAUSES[cause.name]
    now = f"to {cause.current}" if cause.current is not None else "to what is not known"
    return trace_finding(
        "TRC103" if gone else "TRC102",
        f"the {what} changed from {cause.baseline} {now}: {'; '.join(parts)}{words.tail}",
        limits=words.limits,
        severity=words.severity,
        evidence={
            what: cause.current,
            "baseline": cause.baseline,
            "count": len(explained),
            "measurements": [d.name for d in larger] + kinds,
        },
        remedy=words.remedy and f"Restore the {what}, or {words.remedy.partition(', or ')[2]}",
    )


def _worse_finding(found: list[Delta], words: _Words) -> Finding:
    worst = max(found, key=_distance)
    more = f" and worse at {len(found) - 1} more places" if len(found) > 1 else ""
    return trace_finding(
        "TRC102",
        f"{worst.name} was {_shown(worst.baseline)}{_unit(worst, worst.baseline)} in the baseline and is "
        f"{_shown(worst.current)}{_unit(worst, worst.current)}{words.allowed(worst)}{more}{words.tail}",
        limits=words.limits,
        severity=words.severity,
        at=words.place(worst),
        evidence={
            "measurement": worst.name,
            "baseline": _evidence(worst.baseline),
            "current": _evidence(worst.current),
            "places": [d.at for d in found[:_LISTED] if d.at],
            "count": len(found),
        },
        remedy=words.remedy,
    )


def _gone_findings(found: list[Delta], kept: bool, words: _Words) -> Iterator[Finding]:
    """One finding for what blocks and one for what does not, of one kind of measurement."""
    blocking = [d for d in found if not kept or _declared(words.place(d))]
    informing = [d for d in found if d not in blocking]
    for group, severity in ((blocking, words.severity), (informing, Severity.NOTE)):
        if not group:
            continue
        more = f" and at {len(group) - 1} more places" if len(group) > 1 else ""
        yield trace_finding(
            "TRC103",
            f"{group[0].name} is in the baseline and was not measured{' at all' if not kept else ''}"
            f"{f', at {group[0].at}' if group[0].at else ''}{more}{words.tail}",
            limits=words.limits,
            severity=severity,
            at=words.place(group[0]),
            evidence={
                "measurement": group[0].name,
                "places": [d.at for d in group[:_LISTED] if d.at],
                "count": len(group),
            },
            remedy=words.remedy if group is blocking else "",
        )


def _declared(place: Place) -> bool:
    """Whether the reference or the data name the place, so that no new quantization can rename it."""
    return place.tensor is None and place.node is None


def _distance(delta: Delta) -> float:
    old, new = number_of(delta.baseline), number_of(delta.current)
    if not math.isfinite(old) or not math.isfinite(new):
        return math.inf
    return abs(new - old) / (abs(old) or 1.0)


def _unit(delta: Delta, value: object = None) -> str:
    return f" {unit_of(value, delta.unit)}" if delta.unit not in ("", "ratio") else ""


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _evidence(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
