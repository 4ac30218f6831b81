"""The page: self-contained, without script, and nothing in a report can become part of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qgate.records import Verdict
from qgate.report.evidence import PROOF
from qgate.report.html import render_html
from qgate.rules.base import Family

from . import samples

VOID = {"meta", "br"}
FORBIDDEN = {"script", "a", "img", "iframe", "object", "embed", "form", "link", "base", "svg"}
ATTRIBUTES = {
    "class",
    "role",
    "aria-label",
    "scope",
    "lang",
    "charset",
    "name",
    "content",
    "http-equiv",
    "title",
}


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open, self.seen, self.text = list[str](), list[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in FORBIDDEN
        assert {key for key, _ in attrs} <= ATTRIBUTES
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment in the page: {data}")

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return outline


@pytest.mark.parametrize(
    "name", ["passing", "untouched", "failing", "many_flips", "inconclusive", "error", "hostile"]
)
def test_every_page_is_whole_and_needs_nothing_else(name: str) -> None:
    page = render_html(getattr(samples, name)())
    assert page.lstrip().startswith("<!doctype html>")
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|src=|href=", page)
    assert getattr(samples, name)().verdict.value in read(page).text


def test_a_failure_shows_the_element_its_bits_and_the_remedy() -> None:
    text = re.sub(r"\s+", " ", read(render_html(samples.failing())).text)
    assert "tensor conv1.weight_quantized [3, 0, 1, 0] node /conv1/Conv_quant" in text
    assert "stored0x81 (-127)expected0x01 (1)xor0x80" in text
    assert "Fix Export the candidate again" in text
    assert "`" not in text


def test_what_is_invisible_is_spelled_out() -> None:
    page = render_html(samples.hostile())
    assert "\u202e" not in page
    assert "\u200b" not in page
    assert "\x1b" not in page
    assert "<script" not in page


def test_targets_of_one_name_keep_their_own_findings() -> None:
    broken = samples.failing().targets[0]
    report = samples.report(broken, samples.target("digits"), headline="h", verdict=samples.Verdict.FAIL)
    assert render_html(report).count("QNT203") == 1


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=15, deadline=None)
def test_no_text_anywhere_in_a_report_adds_a_tag(text: str) -> None:
    assume(text.strip()[:3].upper() not in Family.__members__)  # a family of its own is a column of its own
    assume(text.strip() not in PROOF)  # and evidence that proves is shown as proof
    ours = {"code"}  # passages in backticks are meant to become code
    plain = [tag for tag in read(render_html(samples.hostile("x"))).seen if tag not in ours]
    assert [tag for tag in read(render_html(samples.hostile(text))).seen if tag not in ours] == plain


def test_digests_are_shown_short_and_kept_whole() -> None:
    report = samples.passing()
    page = render_html(report)
    shown = page[: page.index("<h2>Measurements</h2>")]
    for artifact in (report.targets[0].candidate, report.targets[0].reference):
        assert artifact is not None and artifact.sha256 is not None
        assert f'title="{artifact.sha256}"' in shown
        assert f'<span class="short">{artifact.sha256[:12]}</span>' in shown
        assert f'<span class="whole">{artifact.sha256}</span>' in shown
    assert ".digest .whole { display: none; }" in page
    printed = page[page.index("@media print") :]
    assert ".digest .whole { display: inline; }" in printed[: printed.index("</style>")]


def test_measurements_without_a_value_are_none_of_those_that_the_verdict_counts() -> None:
    """One number, one meaning: nine of ten have a value in the verdict's line and in the page's."""
    page = render_html(samples.report(samples.target(), headline="h", verdict=Verdict.PASS))
    assert "9 measurements, 1 that could not be made" in page
    bare = samples.target(measured=samples.measurements()[:3])
    assert ">3 measurements<" in render_html(samples.report(bare, headline="h", verdict=Verdict.PASS))


def test_the_first_figure_stays_beside_its_sign_and_the_others_may_break() -> None:
    page = render_html(samples.report(samples.target(), headline="h", verdict=Verdict.PASS))
    assert re.search(
        r'<td><span class="figure"><span class="sign pass"[^>]*></span>&nbsp;int8</span></td>', page
    )
    assert re.search(r"</span><br>top1 ", page)
