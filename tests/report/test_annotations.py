"""Annotations: few, the worst first, each exactly one command."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.records import Verdict
from qgate.report.annotations import PER_SEVERITY, annotations

from . import samples

COMMAND = re.compile(r"::(error|warning|notice) (?:file=[^:,]+,)?title=[^:,]+::.+")


def test_a_finding_becomes_a_command_at_its_file() -> None:
    first, second, third = annotations(samples.failing())
    assert first.startswith(
        "::error file=models/digits_int8.onnx,title=qgate QNT203 digits::"
        "tensor conv1.weight_quantized node /conv1/Conv_quant [3, 0, 1, 0]: 1 of 864 weights"
    )
    assert "%0AExport the candidate again" in first
    assert "95 %25 interval" in second
    assert third.startswith("::warning file=models/digits_int8.onnx,title=qgate RNG107 digits::")


def test_green_has_none_and_waived_findings_have_none() -> None:
    finding = samples.flip().model_copy(update={"waived": "known"})
    report = samples.report(samples.target(findings=(finding,)), headline="h", verdict=Verdict.PASS)
    assert annotations(report) == []
    assert annotations(samples.untouched()) == []


def test_at_most_ten_of_a_kind_and_the_last_counts_the_rest() -> None:
    lines = annotations(samples.mixed(300))
    for kind, total in (("error", 3600), ("warning", 120)):
        mine = [line for line in lines if line.startswith(f"::{kind} ")]
        assert len(mine) == PER_SEVERITY
        assert f"::{total - PER_SEVERITY + 1} more {kind}s" in mine[-1]
    # what could not be measured comes before what failed: model-004 is the first ERROR
    assert "model-004" in lines[0]


def test_a_verdict_without_a_finding_is_not_silent() -> None:
    report = samples.report(
        samples.target(verdict=Verdict.ERROR, reason="out of memory"), headline="h", verdict=Verdict.ERROR
    )
    assert annotations(report) == ["::error title=qgate ERROR digits::out of memory"]


def test_a_path_that_leaves_the_repository_is_no_file() -> None:
    for path in ("/etc/passwd", "../x", "a/../../x", "https://e.vil/x", "a,b"):
        finding = samples.flip().model_copy(update={"at": samples.Place(file=path)})
        report = samples.report(samples.target(findings=(finding,)), headline="h", verdict=Verdict.FAIL)
        assert "file=" not in annotations(report)[0]


@given(
    st.one_of(
        st.text(min_size=1, max_size=60), st.text(st.sampled_from(":,%#[]\r\n x"), min_size=1, max_size=30)
    )
)
@settings(max_examples=50, deadline=None)
def test_any_text_gives_one_line_and_one_command(text: str) -> None:
    for line in annotations(samples.hostile(text)):
        assert len(line.splitlines()) == 1
        assert COMMAND.fullmatch(line), line
        assert "##[" not in line
