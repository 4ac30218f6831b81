"""Whose policy judges: the trusted side's, the change's own, or both, and who has approved what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from qgate.errors import QgateError, UsageError
from qgate.events import Activity
from qgate.git.changes import Change, shown
from qgate.git.repository import Repository
from qgate.plan.abandoned import abandoned_candidates
from qgate.plan.approval import Consent, Grants
from qgate.plan.bootstrap import Existing, other_policies, policies_at
from qgate.plan.code import code_changes
from qgate.plan.sides import Sides
from qgate.plan.targets import gate_files
from qgate.plan.touch import signer_changes
from qgate.policy.load import load_policy
from qgate.policy.loosening import compare
from qgate.policy.schema import ApprovalSpec, Policy
from qgate.policy.trust_changes import beyond_defaults
from qgate.policy.yaml_reader import MAX_BYTES
from qgate.records import Finding, Severity, Verdict
from qgate.report.schema import PolicyUsed
from qgate.rules.traceability import trace_finding

_GATE_WORD = b"qgate"


_NAMED = 5
"""Changes of the policy that loosen nothing are named up to here; the report holds all."""


@dataclass(frozen=True)
class Authority:
    """The policies of a run.

    Args:
        trusted: The policy that judges; None for a bootstrap.
        judged: The policy as the change leaves it; None where it deletes it.
        loosening_granted: The change's policy judges alone: it loosens nothing that needed an approval
            and has none.
    """

    trusted: Policy | None
    judged: Policy | None
    loosening_granted: bool = False

    @property
    def changed(self) -> bool:
        """Whether the change alters the policy."""
        return self.trusted != self.judged


@dataclass(frozen=True)
class Ruling:
    """Who judges in this run, and what there is to say about it.

    Args:
        authority: The policies.
        consent: Where approvals are asked for.
        used: For the report; ``approved_by`` is known only at the end.
        findings: About the policy itself.
        notices: What the reader must know.
    """

    authority: Authority
    consent: Consent
    used: PolicyUsed
    findings: tuple[Finding, ...] = ()
    notices: tuple[str, ...] = field(default=())


def decide_authority(
    repo: Repository,
    config: str,
    activity: Activity,
    sides: Sides,
    changes: Collection[Change] | None,
    *,
    fetch: Callable[[str], Grants],
) -> Ruling:
    """Reads the policy on both sides and decides which of them judges.

    Raises:
        UsageError: Neither side has a policy at ``config``.
        PolicyError: A policy cannot be used.
        SourceError: A policy cannot be read, or the clone lacks what must be looked at.
    """
    content = repo.read(sides.trusted, config, MAX_BYTES)
    proposed = content
    if any(change.path == config for change in changes or ()) or content is None:
        proposed = repo.read(sides.judged, config, MAX_BYTES)
    if content is None and (proposed is None or sides.own_policy):
        raise UsageError(
            "there is no policy",
            where=config,
            remedy="Write a qgate.yml, or name the file: the action's input `config`, --config in a terminal",
        )
    trusted = _load(content, config, sides.trusted)
    judged = trusted if proposed == content else _load(proposed, config, sides.judged)
    used = PolicyUsed(
        path=config,
        revision=sides.trusted,
        sha256=hashlib.sha256(content or proposed or b"").hexdigest(),
        bootstrap=trusted is None,
    )
    workflow = _workflow_notices(repo, config, sides, changes or ())
    if trusted is None:
        ruling = _bootstrap(judged, other_policies(repo, activity, sides), used, sides.head, fetch)
    else:
        changed = {change.path: change for change in changes or ()}
        beside = (
            *abandoned_candidates(repo, sides, trusted, judged),
            *signer_changes(trusted, changed),
            *code_changes(repo, sides, trusted, changed),
        )
        consent = Consent(fetch, label=trusted.approval.label, head_sha=sides.head)
        ruling = _with_policy(trusted, judged, used, consent, beside)
    return Ruling(
        ruling.authority, ruling.consent, ruling.used, ruling.findings, (*ruling.notices, *workflow)
    )


def _with_policy(
    trusted: Policy, judged: Policy | None, used: PolicyUsed, consent: Consent, beside: tuple[str, ...]
) -> Ruling:
    if judged == trusted and not beside:
        return Ruling(Authority(trusted, trusted), consent, used)
    if judged is None:
        looser: tuple[str, ...] = ("the policy file is deleted",)
        other: tuple[str, ...] = ()
    else:
        difference = compare(trusted, judged)
        looser, other = (*beside, *difference.loosened), difference.changed
    # What is looser is told by the finding.
    also = "also " if looser else ""
    more = f"; and {len(other) - _NAMED} more, all in the report" if len(other) > _NAMED else ""
    said = "; ".join(other[:_NAMED]) + more or ("" if looser else "only its form")
    notices = [f"The change {also}alters the policy: {said}."] if said else []
    used = used.model_copy(update={"changes": looser, "other_changes": other})
    if not looser:
        return Ruling(Authority(trusted, judged), consent, used, (), tuple(notices))
    by = "the trusted policy (loosen: allow)" if trusted.loosen == "allow" else consent.given_by()
    finding = _loosening(looser, by, consent.label)
    return Ruling(Authority(trusted, judged, by is not None), consent, used, (finding,), tuple(notices))


def _loosening(looser: tuple[str, ...], by: str | None, label: str) -> Finding:
    more = f" (and {len(looser) - 1} more)" if len(looser) > 1 else ""
    told = f"The change loosens the policy: {looser[0]}{more}"
    evidence = {"loosened": list(looser[:50]), "count": len(looser)}
    if by is not None:
        return trace_finding(
            "TRC105", f"{told}; granted by {by}", severity=Severity.NOTE, evidence=evidence, remedy=""
        )
    return trace_finding(
        "TRC105",
        f"needs the label {label}: {told[0].lower()}{told[1:]}, which nobody has approved for this commit",
        effect=Verdict.INCONCLUSIVE,
        evidence=evidence,
        remedy=f"A maintainer who is not the author adds the label {label}, or the policy stays as it is",
    )


def _bootstrap(
    judged: Policy | None,
    existing: tuple[Existing, ...],
    used: PolicyUsed,
    head: str | None,
    fetch: Callable[[str], Grants],
) -> Ruling:
    config = used.path or ""
    known = next((item.policy for item in existing if item.policy is not None), None)
    label = known.approval.label if known else ApprovalSpec().label
    consent = Consent(fetch, label=label, head_sha=head)
    if not existing:
        notice = (
            f"The change introduces {config}: nothing on the trusted side judges yet. Every target is judged "
            "by its own lines and by no less than the built-in profile balanced."
        )
        looser = beyond_defaults(judged) if judged is not None else ()
        if not looser:
            return Ruling(Authority(None, judged), consent, used, (), (notice,))
        # Nothing trusted says that code may run, so somebody else than the author must.
        by = consent.given_by()
        used = used.model_copy(update={"changes": looser})
        finding = _loosening(looser, by, label)
        return Ruling(Authority(None, judged, by is not None), consent, used, (finding,), (notice,))
    return Ruling(
        Authority(None, judged),
        consent,
        used.model_copy(update={"bootstrap": False, "changes": (_second(config, existing),)}),
        (_loosening((_second(config, existing),), consent.given_by(), label),),
        ("This is no bootstrap: a policy exists already.",),
    )


def _second(config: str, existing: tuple[Existing, ...]) -> str:
    there = ", ".join(f"{item.path} at {item.revision[:12]}" for item in existing[:5])
    return f"it brings a policy of its own at {config}, while there is one already ({there})"


def _workflow_notices(
    repo: Repository, config: str, sides: Sides, changes: Collection[Change]
) -> tuple[str, ...]:
    """Says so where the change alters what runs the gate; only a reader can judge that."""
    touched = [path for path in gate_files(changes) if _speaks_of_gate(repo, sides, path)]
    if not touched:
        return ()
    names = ", ".join(map(shown, touched))
    notices = [f"The change alters what runs the gate: {names}. Read that difference with care."]
    if sides.trusted is not None:
        try:
            others = [item.path for item in policies_at(repo, sides.trusted) if item.path != config]
        except QgateError:
            others = []
        if others:
            notices.append(f"This run was told to use {config}; there also is {', '.join(others[:5])}.")
    return tuple(notices)


def _speaks_of_gate(repo: Repository, sides: Sides, path: str) -> bool:
    for revision in (sides.judged, sides.trusted):
        try:
            if _GATE_WORD in (repo.read(revision, path, MAX_BYTES) or b"").lower():
                return True
        except QgateError:
            return True
    return False


def _load(content: bytes | None, config: str, revision: str | None) -> Policy | None:
    if content is None:
        return None
    return load_policy(content, f"{config} at {revision[:12]}" if revision else config)
