"""Where a report's numbers come from, as labelled lines: commits, policy, machine, versions."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Sandbox
from qgate.report import figures
from qgate.report.schema import Report


def run_origin(report: Report) -> Iterator[tuple[str, str]]:
    """Label and text of every line of provenance that the report has; the text is not escaped."""
    used, policy = report.provenance, report.policy
    commits = (("Head", used.head_sha), ("Base", used.base_sha), ("Merge", used.merge_sha))
    yield from ((f"{label} commit", sha) for label, sha in commits if sha)
    if used.event:
        pull = f", pull request {figures.whole(used.pull_request)}" if used.pull_request is not None else ""
        yield "Event", f"{used.event}{pull}"
    if policy.path or policy.bootstrap:
        yield "Policy", _policy(report)
    if used.cpu or used.isa:
        flags = f" ({', '.join(used.cpu_flags)})" if used.cpu_flags else ""
        yield "Processor", f"{used.cpu or 'unknown'}, ISA class {used.isa or 'unknown'}{flags}"
    if held := list(dict.fromkeys(_sandbox(t.sandbox) for t in report.targets if t.sandbox is not None)):
        yield "Sandbox", "; ".join(held)
    if used.versions:
        yield "Versions", ", ".join(f"{name} {version}" for name, version in sorted(used.versions.items()))
    yield "Seed", figures.whole(used.seed)
    if used.generated_at:
        yield "Measured at", used.generated_at
    if used.run_url:
        yield "Run", used.run_url


def _sandbox(held: Sandbox) -> str:
    """What confined the models' process, the least of it first."""
    parts = [f"without {what}" for what in held.lacking.values()]
    if held.landlock:
        parts.append(f"Landlock (version {figures.whole(held.landlock)})")
    if held.seccomp:
        parts.append("system calls filtered")
    limits = f"{figures.whole(held.memory_mb)} MiB, {figures.whole(held.cpu_seconds)} s of processor time"
    return ", ".join((*parts, f"user {held.user}", limits))


def _policy(report: Report) -> str:
    policy = report.policy
    parts = [policy.path or "none"]
    if policy.revision:
        parts.append(f"at {policy.revision}")
    if policy.sha256:
        parts.append(f"sha256 {policy.sha256[:12]}")
    if policy.bootstrap:
        parts.append("(bootstrap: this change introduces it)")
    if policy.approved_by:
        parts.append(f"approved by {policy.approved_by}")
    return " ".join(parts)
