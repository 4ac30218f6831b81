"""The command that looks further into a failing target, ready to paste."""

from __future__ import annotations

import re
import shlex

from qgate.records import Finding, Severity, Verdict
from qgate.report.schema import Report, TargetReport

POLICY = "qgate.yml"
"""Where the policy is looked for when nobody names another."""

_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./:@+=,%? -]{0,299}")
"""What may be pasted into a shell once it is quoted: nothing that an option, a line or a terminal could be made of."""


def _asks(finding: Finding, target: TargetReport) -> bool:
    """Whether it is an error of outputs or behaviour, or points at a layer of a target that does not pass."""
    if finding.severity is Severity.ERROR:
        return finding.rule[:3] in ("FEA", "BEH")
    points = finding.severity is Severity.WARNING and finding.rule.startswith("FEA3")
    return points and target.verdict is not Verdict.PASS


def bisect_command(report: Report, target: TargetReport) -> str:
    """``qgate bisect`` for a target whose outputs, layers or behaviour fail.

    Returns:
        Empty where nothing of that kind fails, no layer was compared, the candidate is not ONNX, or a name is not
        plain enough to be pasted.
    """
    failing = any(finding.waived is None and _asks(finding, target) for finding in target.findings)
    compared = any(m.name == "layer.sqnr_db" and m.value is not None for m in target.measurements)
    by_pytorch = target.candidate.format not in (None, "onnx")  # it repairs graphs of ONNX
    if not failing or not compared or by_pytorch:
        return ""
    if report.policy.path is not None:
        words = ["--target", target.name]
        words += ["--config", report.policy.path] if report.policy.path != POLICY else []
    else:
        words = [
            "-r",
            target.reference.locator if target.reference is not None else "",
            "-c",
            target.candidate.locator,
        ]
        words += ["-i", target.data.locator or ""] if target.data.origin == "given" else []
        words += [word for pair in target.declared.get("io", []) for word in pair]
    if not all(_PLAIN.fullmatch(word) for word in words[1::2]):
        return ""
    return shlex.join(["qgate", "bisect", *words])
