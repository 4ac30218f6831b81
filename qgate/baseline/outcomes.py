"""Which samples are answered otherwise than by the accepted model. Pure."""

from __future__ import annotations

from qgate.records import DataUsed, Finding, Limit, Outcomes, Place, Severity
from qgate.report.schema import OutcomeChange, OutcomeDelta
from qgate.rules.traceability import default_limits, trace_finding

LISTED = 100
"""Most samples that are listed in the report."""

_NAMED = 5
_FEW = 3


def bound_outcomes(outcomes: Outcomes | None, of: DataUsed, now: DataUsed) -> Outcomes | None:
    """The outcomes if they are of the very data set and labels that this run used, else None."""
    same = of.sha256 is not None and (of.sha256, of.labels) == (now.sha256, now.labels)
    return outcomes if same else None


def compare_outcomes(accepted: Outcomes | None, now: Outcomes | None) -> OutcomeDelta | None:
    """The samples whose outcome or answer is another than the accepted model's; None where one is not known."""
    if accepted is None or now is None or accepted.n != now.n:
        return None
    before, after = accepted.right("candidate"), now.right("candidate")
    told, tells = accepted.answers("candidate"), now.answers("candidate")
    reference = now.right("reference")
    changes = []
    for sample in range(now.n):
        other = told is not None and tells is not None and told[sample] != tells[sample]
        if before[sample] == after[sample] and not other:
            continue
        changes.append(
            OutcomeChange(
                sample=sample,
                was_right=before[sample],
                is_right=after[sample],
                reference_right=reference[sample],
                was=told[sample] if told is not None else None,
                now=tells[sample] if tells is not None else None,
            )
        )
    # What was right and is wrong matters most.
    changes.sort(key=lambda change: (change.is_right - change.was_right, change.sample))
    return OutcomeDelta(
        samples=now.n,
        to_wrong=sum(change.was_right and not change.is_right for change in changes),
        to_right=sum(change.is_right and not change.was_right for change in changes),
        changed=len(changes),
        changes=tuple(changes[:LISTED]),
    )


def agreeing_outcomes(carried: Outcomes | None, measured: Outcomes | None, *, most: int) -> bool:
    """Whether a file's outcomes are those of this run, but for ``most`` samples."""
    if carried is None or measured is None:
        return carried is measured
    delta = compare_outcomes(carried, measured)
    return delta is not None and carried.width == measured.width and delta.changed <= most


def outcome_finding(delta: OutcomeDelta, limits: dict[str, Limit] | None = None) -> Finding | None:
    """What the difference means; None where every sample is answered as before."""
    if not delta.changed:
        return None
    most = float((limits or default_limits("TRC115"))["max_share"].value)
    share = delta.to_wrong / max(delta.samples, 1)
    lost = [change for change in delta.changes if change.was_right and not change.is_right]
    listed = ", ".join(map(_shown, (lost or list(delta.changes))[:_NAMED]))
    what = f"{delta.to_wrong} of {delta.samples} samples that the accepted model got right are wrong now"
    message = (
        f"{what}, {delta.to_right} the other way about, {delta.changed} are answered otherwise in all: {listed}"
        f"{', ...' if delta.changed > _NAMED else ''}"
    )
    beyond = share > most and delta.to_wrong >= _FEW
    return trace_finding(
        "TRC115",
        message,
        limits={"TRC115": limits} if limits else None,
        severity=None if beyond else Severity.NOTE,
        at=Place(index=(lost[0].sample,)) if lost else Place(),
        evidence={
            "to_wrong": delta.to_wrong,
            "to_right": delta.to_right,
            "answered_otherwise": delta.changed,
            "samples": delta.samples,
            "allowed": most,
        },
    )


def _shown(change: OutcomeChange) -> str:
    if change.was is None or change.now is None:
        return f"sample {change.sample}"
    return f"sample {change.sample} ({change.was} before, {change.now} now)"
