"""Targets, findings and notices to one report with its verdict, counts and headline. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from qgate.records import Finding, Severity, Verdict, worst
from qgate.report.schema import PolicyUsed, Provenance, Report, Skipped, Summary, TargetReport
from qgate.report.unproven import with_doubts, without_data


def compose_report(
    *,
    targets: Iterable[TargetReport],
    provenance: Provenance,
    findings: Iterable[Finding] = (),
    skipped: Iterable[Skipped] = (),
    notices: Iterable[str] = (),
    policy: PolicyUsed | None = None,
    nothing_to_judge: str = "",
) -> Report:
    """Builds the report of a run.

    Args:
        targets: What was judged.
        provenance: Who measured.
        findings: About the run as a whole.
        skipped: Targets that were not run, and why.
        notices: What the reader must know.
        policy: The policy that judged.
        nothing_to_judge: Why it is right that no target was judged. Without it a run of no targets has
            not passed: it is an ERROR.
    """
    judged, about = tuple(targets), tuple(findings)
    weighing = [finding for finding in about if finding.waived is None]
    verdict = worst([*(t.verdict for t in judged), *(f.effect for f in weighing)])
    if not judged and not nothing_to_judge and verdict is Verdict.PASS:
        verdict = Verdict.ERROR
    counted = Counter(target.verdict for target in judged)
    severities = Counter(
        "waived" if finding.waived is not None else finding.severity.value
        for finding in (*about, *(f for target in judged for f in target.findings))
    )
    return Report(
        verdict=verdict,
        summary=Summary(
            headline=_headline(verdict, judged, weighing, nothing_to_judge),
            targets=len(judged),
            passed=counted[Verdict.PASS],
            failed=counted[Verdict.FAIL],
            inconclusive=counted[Verdict.INCONCLUSIVE],
            errors=counted[Verdict.ERROR],
            findings={key: severities[key] for key in (*Severity, "waived") if severities[key]},
        ),
        targets=judged,
        skipped=tuple(skipped),
        findings=about,
        notices=tuple(dict.fromkeys(notices)),
        policy=policy or PolicyUsed(),
        provenance=provenance,
    )


def _headline(
    verdict: Verdict, judged: tuple[TargetReport, ...], about: list[Finding], nothing_to_judge: str
) -> str:
    """The verdict's first reason: a finding about the run, else the first target that has this verdict."""
    for finding in about:
        if finding.effect is verdict and verdict is not Verdict.PASS:
            return finding.message
    bad = [target for target in judged if target.verdict is verdict and verdict is not Verdict.PASS]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return f"{bad[0].name}: {bad[0].reason}{more}"
    if not judged:
        return nothing_to_judge or "No target was judged"
    lacking = len(without_data(judged)) if verdict is Verdict.PASS else 0
    doubted = len(with_doubts(judged)) if verdict is Verdict.PASS else 0
    if len(judged) == 1:
        said = "; no data" * bool(lacking) + "; labels in doubt" * bool(doubted)
        return f"{judged[0].name}: {judged[0].reason}{said}"
    said = f", {lacking} of them without data" * bool(lacking) + f", {doubted} with labels in doubt" * bool(
        doubted
    )
    return f"All {len(judged)} targets pass{said}"
