"""Behaviour that a report leaves unproven though no finding blocks: for want of inputs, or of labels to believe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from qgate.records import Finding, Severity
from qgate.report import figures
from qgate.report.marks import informing
from qgate.report.schema import Report, TargetReport

DOUBTING = "BEH111"
"""The rule that a reference, and with it the labels, is to be doubted by."""

_NAMED = 3


class Unproven(NamedTuple):
    """Why behaviour is not proven, as every text says it beside the verdict.

    Args:
        label: Two or three words.
        text: Which targets, why, and what to do.
    """

    label: str
    text: str


def without_data(targets: Sequence[TargetReport]) -> tuple[TargetReport, ...]:
    """The targets that were run on generated inputs."""
    return tuple(target for target in targets if target.data.origin == "generated")


def with_doubts(targets: Sequence[TargetReport]) -> tuple[TargetReport, ...]:
    """The targets whose reference is not shown to know what their labels say, where that is no more than a warning."""
    return tuple(target for target in targets if _doubt(target) is not None)


def unproven(report: Report) -> tuple[Unproven, ...]:
    """What nobody may take the verdict for; nothing where every target has its own inputs and labels that say something."""
    return tuple(Unproven(label, text) for label, text in (_no_data(report), _doubted(report)) if text)


def _no_data(report: Report) -> Unproven:
    found = without_data(report.targets)
    seeds = {target.data.seed for target in found}
    seed = seeds.pop() if len(seeds) == 1 else None
    made = "inputs were generated" + (f" from seed {figures.whole(seed)}" if seed is not None else "")
    add = "--inputs X.npz" if report.policy.path is None else "`data.inputs` in the policy"
    return Unproven("No data", f"{_about(made, found, report)}. Add inputs: {add}" if found else "")


def _doubted(report: Report) -> Unproven:
    found = with_doubts(report.targets)
    doubt = _doubt(found[0]) if found else None
    unlike = "the reference itself is not shown to know what its labels say"
    return Unproven("Labels in doubt", f"{_about(unlike, found, report)}. {doubt.remedy}" if doubt else "")


def _doubt(target: TargetReport) -> Finding | None:
    warnings = informing(target.findings, Severity.WARNING)
    return next((finding for finding in warnings if finding.rule == DOUBTING), None)


def _about(what: str, found: Sequence[TargetReport], report: Report) -> str:
    if len(report.targets) == 1:
        return f"{what}, so behaviour is not proven"
    names = ", ".join(target.name for target in found[:_NAMED]) + ", …" * (len(found) > _NAMED)
    return (
        f"{what} for {len(found)} of {len(report.targets)} targets ({names}), whose behaviour is not proven"
    )
