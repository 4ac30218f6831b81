"""Outcomes as Markdown: the table, the totals by family, and the list of misses."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluate import Outcome

CLASSIC_LIMIT = 0.05


def classic(outcome: Outcome) -> str:
    """What the check ``mean relative error < 0.05`` would say."""
    value = outcome.relative_error
    if value is None:
        return "cannot run"
    return f"{value:.3g}: " + ("accepts" if value < CLASSIC_LIMIT else "refuses")


def _rules(outcome: Outcome) -> str:
    counts = Counter((f["severity"], f["rule"]) for f in outcome.findings if f["severity"] != "note")
    errors = [f"**{rule}**" for (severity, rule), _ in sorted(counts.items()) if severity == "error"]
    warnings = [rule for (severity, rule), _ in sorted(counts.items()) if severity == "warning"]
    return " ".join([*errors, *warnings]) or "-"


def _place(finding: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in finding["at"].items() if value is not None)


def table(outcomes: list[Outcome]) -> str:
    """One row a case."""
    rows = [
        "| case | kind | expected | verdict | located | findings (errors bold) | seconds "
        "| mean relative error < 0.05 |",
        "|---|---|---|---|---|---|---:|---|",
    ]
    for o in outcomes:
        located = o.located if o.case.kind == "fault" and o.case.locate else "-"
        mark = "" if o.right else (" (debatable)" if o.case.debatable else " **wrong**")
        expected = " or ".join(o.case.expected)
        rows.append(
            f"| `{o.case.id}` | {o.case.kind} | {expected} | {o.verdict}{mark} | {located} | {_rules(o)} "
            f"| {o.seconds:.1f} | {classic(o)} |"
        )
    return "\n".join(rows)


def totals(outcomes: list[Outcome]) -> str:
    """Counts: faults blocked and located, honest files blocked, tracebacks; debatable cases apart."""
    rows = []
    for title, part in (
        ("", [o for o in outcomes if not o.case.debatable]),
        (" (debatable)", [o for o in outcomes if o.case.debatable]),
    ):
        faults = [o for o in part if o.case.kind == "fault"]
        good = [o for o in part if o.case.kind in ("honest", "control")]
        other = [o for o in part if o.case.kind == "unsupported"]
        placed = [o for o in faults if o.case.locate]
        if faults:
            rows.append(
                f"- faults blocked{title}: {sum(o.caught for o in faults)} of {len(faults)}"
                f" (with a verdict as expected: {sum(o.right for o in faults)})"
            )
        if placed:
            rows.append(
                f"- faults located{title}: {sum(o.located != 'no' for o in placed)} of {len(placed)}"
                f" ({sum(o.located == 'place' for o in placed)} by the finding's place)"
            )
        if good:
            rows.append(
                f"- honest files and harmless changes blocked{title}:"
                f" {sum(o.blocked for o in good)} of {len(good)}"
            )
        if other:
            rows.append(f"- not supported yet, said so: {sum(o.right for o in other)} of {len(other)}")
    wrong = sum(
        o.relative_error is not None and o.relative_error < CLASSIC_LIMIT
        for o in outcomes
        if o.case.kind == "fault"
    )
    refused = sum(
        o.relative_error is not None and o.relative_error >= CLASSIC_LIMIT
        for o in outcomes
        if o.case.kind in ("honest", "control")
    )
    twins = any(o.case.kind == "honest" and "base" in o.case.truth for o in outcomes)
    rows += [_clean(outcomes)] if twins else []
    rows += [
        f"- mean relative error < 0.05 would accept {wrong} of the faults and refuse {refused} of the honest",
        f"- tracebacks: {sum(o.traceback for o in outcomes)}",
        f"- time per case: median {sorted(o.seconds for o in outcomes)[len(outcomes) // 2]:.1f} s,"
        f" longest {max(o.seconds for o in outcomes):.1f} s",
    ]
    return "\n".join(rows)


def _clean(outcomes: list[Outcome]) -> str:
    """Faults on candidates whose honest twin passes: there, what blocks is the fault."""
    passing = {o.case.truth.get("base") for o in outcomes if o.case.kind == "honest" and not o.blocked}
    faults = [o for o in outcomes if o.case.kind == "fault" and o.case.truth.get("base") in passing - {None}]
    faults = [o for o in faults if not o.case.debatable]
    located = sum(o.located != "no" for o in faults)
    return (
        f"- of {len(faults)} faults planted on honest files that pass:"
        f" blocked {sum(o.caught for o in faults)}, located {located}"
    )


def families(outcomes: list[Outcome]) -> str:
    """Faults by family and form of candidate."""
    names = {"w": "weights", "s": "scales", "g": "graph", "d": "disguise", "i": "interface", "f": "file"}
    rows = ["| family | planted | blocked | located |", "|---|---:|---:|---:|"]
    for letter, title in names.items():
        part = [o for o in outcomes if o.case.kind == "fault" and o.case.truth.get("family") == letter]
        if part:
            located = sum(o.located != "no" for o in part)
            rows.append(f"| {title} | {len(part)} | {sum(o.caught for o in part)} | {located} |")
    return "\n".join(rows)


def section(outcomes: list[Outcome], *, full: bool) -> str:
    """The part of the page for one group: every case, or families and the wrong ones only."""
    if full:
        return f"{totals(outcomes)}\n\n{table(outcomes)}\n"
    wrong = [
        o for o in outcomes if not o.right or (o.case.kind == "fault" and o.case.locate and o.located == "no")
    ]
    listed = f"\n\nWrong or not located:\n\n{table(wrong)}\n" if wrong else "\n\nNothing wrong.\n"
    return f"{totals(outcomes)}\n\n{families(outcomes)}{listed}"


def misses(outcomes: list[Outcome]) -> str:
    """What went wrong, case by case, with the file and what the report said."""
    parts = ["# Misses\n", totals(outcomes), ""]
    for title, chosen in _classes(outcomes).items():
        parts.append(f"\n## {title} ({len(chosen)})\n")
        for o in chosen:
            flag = f" [debatable: {o.case.debatable}]" if o.case.debatable else ""
            parts.append(
                f"- **{o.case.id}**{flag}: {o.verdict}, not {' or '.join(o.case.expected)}. {o.case.about}"
            )
            wanted = ", ".join(o.case.locate[:5])
            extra = {
                k: o.case.truth[k]
                for k in ("detail", "effect_db", "sqnr_db", "top1_drop")
                if o.case.truth.get(k)
            }
            parts.append(f"  - file `{o.case.candidate}`; must name: {wanted or '-'}; {extra}")
            for f in sorted(o.findings, key=lambda f: ["error", "warning", "note"].index(f["severity"]))[:6]:
                parts.append(f"  - {f['severity']} {f['rule']} at {_place(f) or '-'}: {f['message'][:220]}")
            if o.reason or not o.findings:
                parts.append(f"  - reason: {o.reason or o.output[-400:].strip()!r}")
            parts += [f"  - {problem}" for problem in o.problems]
    return "\n".join(parts) + "\n"


def _classes(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    classes: dict[str, list[Outcome]] = {
        "Tracebacks, hangs, wrong exit codes": [],
        "Honest or harmless, but blocked": [],
        "Faults that passed": [],
        "Faults blocked with another verdict than expected": [],
        "Faults blocked but not located": [],
        "Not supported, but not said so": [],
    }
    for o in outcomes:
        if o.traceback or o.verdict == "HUNG" or "without report" in o.verdict or o.problems:
            classes["Tracebacks, hangs, wrong exit codes"].append(o)
        if o.case.kind in ("honest", "control") and o.blocked:
            classes["Honest or harmless, but blocked"].append(o)
        elif o.case.kind == "unsupported" and not o.right:
            classes["Not supported, but not said so"].append(o)
        elif o.case.kind == "fault" and not o.blocked:
            classes["Faults that passed"].append(o)
        elif o.case.kind == "fault" and not o.right:
            classes["Faults blocked with another verdict than expected"].append(o)
        elif o.case.kind == "fault" and o.case.locate and o.located == "no":
            classes["Faults blocked but not located"].append(o)
    return {title: chosen for title, chosen in classes.items() if chosen}
