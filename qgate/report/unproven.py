"""What a report cannot show for want of inputs, in the words of every text."""

from __future__ import annotations

from collections.abc import Sequence

from qgate.report import figures
from qgate.report.schema import Report, TargetReport

_NAMED = 3


def without_data(targets: Sequence[TargetReport]) -> tuple[TargetReport, ...]:
    """The targets that were run on generated inputs."""
    return tuple(target for target in targets if target.data.origin == "generated")


def no_data(report: Report) -> str:
    """That inputs were generated, what follows from that and what to do; empty where every target has its own."""
    found = without_data(report.targets)
    if not found:
        return ""
    seeds = {target.data.seed for target in found}
    seed = seeds.pop() if len(seeds) == 1 else None
    made = "inputs were generated" + (f" from seed {figures.whole(seed)}" if seed is not None else "")
    if len(report.targets) == 1:
        where = f"{made}, so behaviour is not proven"
    else:
        names = ", ".join(target.name for target in found[:_NAMED]) + ", …" * (len(found) > _NAMED)
        where = f"{made} for {len(found)} of {len(report.targets)} targets ({names}), whose behaviour is not proven"
    add = "--inputs X.npz" if report.policy.path is None else "`data.inputs` in the policy"
    return f"{where}. Add inputs: {add}"
