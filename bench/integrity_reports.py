"""Stored reports: what digests take of a whole run, edits of any byte, and edits that contradict themselves.

An edit of a byte is refused where the report is not read at all; its own digest does that. An edit with a digest made
anew is found where the audit names a contradiction. An edit that contradicts nothing is another report, and nothing
but a signature or a run of one's own tells it apart: none of those is counted here.
``python bench/integrity_reports.py [SCALE]`` prints the rows by themselves.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from integrity_rows import Row

from qgate.errors import QgateError
from qgate.gate.audit import audit_report
from qgate.records import Severity, Verdict
from qgate.report.compose import compose_report
from qgate.report.provenance import build_provenance
from qgate.report.schema import Report, TargetReport, read_report
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BYTES = 2000


def run(scale: float) -> Iterator[Row]:
    """The rows of this section."""
    with tempfile.TemporaryDirectory() as name:
        yield from _reports(Path(name), random.Random(4), max(1, int(BYTES * scale)))


def _reports(folder: Path, chance: random.Random, count: int) -> Iterator[Row]:
    """A report of a real run: what hashing took of it, edits of any byte, and edits with a fresh digest."""
    digits = EXAMPLES / "digits"
    inputs, reference = digits / "digits_test.npz", digits / "digits_fp32.onnx"
    asked = AdHoc(EXAMPLES / "ppocr_cls/quark_a8w8.onnx", EXAMPLES / "ppocr_cls/ref.onnx", samples=32)
    timings = verify_ad_hoc(asked).timings
    share = timings["content"] / sum(timings[step] for step in ("acquire", "content", "inspect", "run"))
    yield Row("digests' share of a verify (ppocr_cls)", f"{100 * share:.1f} %", "at most 5 %", share <= 0.05)
    target = verify_ad_hoc(AdHoc(digits / "digits_badcalib.onnx", reference, inputs=inputs, labels="label"))
    report = compose_report(targets=(target,), provenance=build_provenance())
    path = folder / "report.json"
    whole = report.to_json().encode("ascii")
    accepted = []
    for at in chance.sample(range(len(whole)), min(count, len(whole))):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        try:
            read_report(path)
        except QgateError:
            continue
        accepted.append(f"byte {at}")
    refused = min(count, len(whole)) - len(accepted)
    yield Row("one bit of a report changed: refused", f"{refused} of {refused + len(accepted)}", "all", not accepted,
              misses=tuple(accepted))  # fmt: skip
    forged = dict(_forged(report, target))
    missed = tuple(what for what, edited in forged.items() if not audit_report(edited))
    yield Row("edited so that it contradicts itself, digest made anew: found by the audit",
              f"{len(forged) - len(missed)} of {len(forged)}", "all", not missed, misses=missed)  # fmt: skip
    honest = audit_report(report)
    yield Row("the report as it was: contradictions", f"{len(honest)}", "0", not honest, misses=honest)


def _forged(report: Report, target: TargetReport) -> Iterator[tuple[str, Report]]:
    def edited(**changes: object) -> Report:
        return report.model_copy(update={"targets": (target.model_copy(update=changes),)})

    for verdict in Verdict:
        if verdict is not report.verdict:
            yield f"the run's verdict {verdict}", report.model_copy(update={"verdict": verdict})
            yield f"the target's verdict {verdict}", edited(verdict=verdict)
    for position, finding in enumerate(target.findings):
        if finding.rule != "ART113":
            kept = target.findings[:position] + target.findings[position + 1 :]
            yield f"without {finding.rule} at {finding.at}", edited(findings=kept)
    for rule in sorted({finding.rule for finding in target.findings if finding.severity is Severity.ERROR}):
        limits = {key: held for key, held in target.thresholds.items() if key != rule}
        yield f"without thresholds of {rule}", edited(thresholds=limits)


if __name__ == "__main__":
    for row in run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0):
        print(row.what, "|", row.value, "|", row.goal, "|", row.met, row.others or "", row.misses[:5] or "")
