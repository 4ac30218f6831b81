"""The report on terminals of every kind, and in a log that a runner reads."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from qgate.records import Finding, Severity, Verdict
from qgate.report.schema import Report
from qgate.report.terminal import FINDINGS, print_report

from . import samples

SAMPLES = ("passing", "untouched", "failing", "many_flips", "inconclusive", "error", "hostile")


def printed(report: Report, width: int = 80, **options: object) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=width, **options), directory="qgate-report")  # type: ignore[arg-type]
    return stream.getvalue()


def flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_report_fits_the_width_and_is_plain_when_piped(name: str, width: int) -> None:
    report = getattr(samples, name)()
    text = printed(report, width)
    assert "\x1b" not in text
    assert report.verdict.value in text
    bordered = [line for line in text.splitlines() if line[:1] in "│┌├└╭╰"]
    assert bordered
    if name != "hostile":  # its wide characters are counted by cells, not by characters
        assert max(map(len, bordered)) <= width


def test_a_failure_names_the_element_and_shows_its_bits() -> None:
    text = flat(printed(samples.failing(), 200))
    assert "tensor conv1.weight_quantized [3, 0, 1, 0]" in text
    assert "stored 0x81 (-127) · expected 0x01 (1) · xor 0x80" in text
    assert "Report: qgate-report (report.json, summary.md, report.html)" in text


def test_colour_is_used_only_where_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31m" in printed(samples.failing(), force_terminal=True, color_system="standard")
    plain = printed(samples.failing(), force_terminal=True, no_color=True)
    assert "\x1b[31m" not in plain
    assert "\x1b[1;31m" not in plain


def test_an_ascii_console_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_report(samples.hostile(), Console(file=stream, width=80))
    print_report(samples.failing(), Console(file=stream, width=80))
    stream.flush()
    assert b"x FAIL" in raw.getvalue()


def test_a_long_list_says_how_many_more() -> None:
    assert f"More: {40 - FINDINGS} more findings are in the report" in printed(samples.many_flips(40))


def assert_obeyed_by_nobody(text: str) -> None:
    assert "##[" not in text
    for line in text.splitlines():
        assert not line.strip().startswith("::"), line
        assert line.isprintable(), line


def test_hostile_text_is_obeyed_by_nobody() -> None:
    for width in (40, 80, 120):
        assert_obeyed_by_nobody(printed(samples.hostile(), width))
        assert_obeyed_by_nobody(printed(samples.hostile("::error::x " * 20), width))


@given(
    st.one_of(
        st.text(min_size=1, max_size=60), st.text(st.sampled_from(":#[ \n]/x"), min_size=1, max_size=60)
    )
)
@settings(max_examples=15, deadline=None)
def test_no_text_in_a_report_is_a_command_or_markup(text: str) -> None:
    assert_obeyed_by_nobody(printed(samples.hostile(text)))


def test_rich_is_imported_only_when_something_is_printed() -> None:
    code = "import sys, qgate.report.terminal; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_valid_signature_is_told() -> None:
    note = Finding(
        rule="ART119", severity=Severity.NOTE, message="The candidate is signed with the key 0123 (keys/k.pub)",
        evidence={"state": "valid"},
    )  # fmt: skip
    text = flat(
        printed(
            samples.report(
                samples.target("digits", findings=(note,)), headline="As it should be", verdict=Verdict.PASS
            ),
            120,
        )
    )
    assert "Signed: digits: The candidate is signed with the key 0123 (keys/k.pub)" in text
    assert "Signed:" not in printed(samples.passing())
