"""The comment and the summary: what a reviewer reads, what must never render, what must always fit."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from qgate.records import Finding, Severity, Verdict
from qgate.report.ladder import size
from qgate.report.markdown import environment
from qgate.report.render import MINIMUM, render_comment, render_summary
from qgate.report.schema import Report

from . import samples

SAMPLES = ("passing", "untouched", "failing", "many_flips", "inconclusive", "error", "hostile")
TAGS = "h3 h4 p blockquote strong br code ul li details summary sub table thead tbody tr th td"
ALLOWED = set(TAGS.split(" "))
VOID = {"br"}


class Page(HTMLParser):
    """Fails on a tag that is not expected or not closed, and counts the cells of every row."""

    def __init__(self, links: set[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.links, self.open, self.rows, self.text = links, list[str](), list[int](), ""
        self.tables = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            assert dict(attrs)["href"] in self.links
        else:
            assert tag in ALLOWED, tag
            assert {key for key, _ in attrs} <= {"align"}
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag
        if tag == "table":
            self.tables += 1
            assert len(set(self.rows)) == 1, self.rows
            self.rows = []

    def handle_data(self, data: str) -> None:
        if "code" not in self.open:
            assert not re.search(r"@|#\d|\b[0-9a-f]{7,40}\b|:\w+:|www\.|//|\||```", data), data
        self.text += data

    def handle_comment(self, data: str) -> None:
        assert data in (samples.MARKER[4:-3],), data


def read(markdown: str, links: set[str] | None = None) -> Page:
    """The page that GitHub would show, checked while it is read."""
    for line in markdown.splitlines():
        assert not line.strip().startswith("::")
        assert "##[" not in line
        assert line.isprintable(), line
    page = Page(links or set())
    page.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE))
    page.close()
    assert not page.open
    return page


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("limit", [65_000, 4_000, MINIMUM])
def test_every_comment_is_whole_and_fits(name: str, limit: int) -> None:
    comment = render_comment(
        getattr(samples, name)(), marker=samples.MARKER, limit=limit, report_url=samples.RUN
    )
    assert comment.startswith(samples.MARKER + "\n")
    assert size(comment) <= limit
    page = read(comment, {samples.RUN})
    assert f"qgate: {getattr(samples, name)().verdict.value}" in page.text


@pytest.mark.parametrize("name", SAMPLES)
def test_every_summary_is_whole(name: str) -> None:
    summary = render_summary(getattr(samples, name)())
    assert "<!--" not in summary
    assert read(summary).text.startswith("\n") or summary.startswith("###")


def test_a_failure_says_the_reason_and_the_remedy_before_anything_else() -> None:
    lines = render_comment(samples.failing(), marker=samples.MARKER).splitlines()
    assert lines[1] == "### ❌ qgate: FAIL · 1 of 2 targets"
    assert "one int8 weight of `conv1.weight_quantized` has a flipped bit" in lines[4]
    assert lines[6].startswith("> **What to do:** Export the candidate again")


def test_a_failure_names_the_element_and_shows_its_bits() -> None:
    comment = render_comment(samples.failing(), marker=samples.MARKER)
    place = "`QNT203` · tensor `conv1.weight_quantized` `[3, 0, 1, 0]` · node `/conv1/Conv_quant`"
    assert place in comment
    assert "stored `0x81 (-127)` · expected `0x01 (1)` · xor `0x80`" in comment


def test_the_table_has_a_mark_and_a_figure_for_each_dimension() -> None:
    comment = render_comment(samples.failing(), marker=samples.MARKER)
    row = next(line for line in comment.splitlines() if line.startswith("| `digits`<br>"))
    assert row == (
        "| `digits`<br>❌&nbsp;FAIL | ❌&nbsp;int8 | ⚠️&nbsp;38.2&nbsp;dB | ✅&nbsp;21.9&nbsp;dB "
        "| ❌&nbsp;90.3&nbsp;%<br>top1&nbsp;−8.1&nbsp;pp (−8.6&nbsp;…&nbsp;−7.7) "
        "| ⚠️&nbsp;−6.2&nbsp;dB<br>2&nbsp;worse, 1&nbsp;gone | ✅&nbsp;27.1&nbsp;% |"
    )


def test_green_is_quiet() -> None:
    comment = render_comment(samples.passing(), marker=samples.MARKER)
    in_the_open = re.sub(r"<details>.*?</details>", "", comment, flags=re.DOTALL)
    assert len(in_the_open.splitlines()) < 25
    assert "[!" not in comment
    assert "1 warning" in comment


def test_a_dimension_that_nobody_looked_at_has_no_tick() -> None:
    row = next(
        line
        for line in render_comment(samples.error(), marker=samples.MARKER).splitlines()
        if line.startswith("| `digits`<br>")
    )
    assert "✅" not in row.replace("✅&nbsp;27.1&nbsp;%", "")  # sizes are known without opening the file


def test_a_change_of_the_policy_is_said_with_who_approved_it() -> None:
    report = samples.inconclusive()
    assert "nobody has approved that yet" in render_comment(report, marker=samples.MARKER)
    approved = report.model_copy(update={"policy": report.policy.model_copy(update={"approved_by": "ann"})})
    assert "approved by `ann`" in render_comment(approved, marker=samples.MARKER)


def test_many_findings_of_one_rule_are_one_table_with_a_fold() -> None:
    page = read(render_comment(samples.many_flips(100), marker=samples.MARKER))
    assert "100 findings" in page.text
    assert "60 more" in page.text
    assert "34 more of the same: see report.json." in page.text


@pytest.mark.parametrize("targets", [300, 2000])
def test_hundreds_of_targets_are_counted_and_as_many_failures_shown_as_fit(targets: int) -> None:
    report = samples.mixed(targets)
    comment = render_comment(report, marker=samples.MARKER)
    assert 55_000 < size(comment) <= 65_000
    page = read(comment)
    assert "Shortened to fit." in page.text
    assert f"{targets * 2 // 5:,} warnings" in page.text
    assert "conv1.weight_quantized" in page.text  # the long table did not starve the findings
    shown = len(re.findall(r"\*\*Quantization\*\* `QNT203` · 20 findings", comment))
    assert f"{(targets * 3 // 5 - shown) * 20:,} blocking findings" in page.text


def test_between_all_and_counts_are_the_failures() -> None:
    targets = [samples.target(f"ok-{i}") for i in range(60)]
    broken = samples.failing().targets[0]
    report = samples.report(broken, *targets, headline="digits is broken.", verdict=Verdict.FAIL)
    everything = render_comment(report, marker=samples.MARKER, limit=1_000_000)
    failures = render_comment(report, marker=samples.MARKER, limit=12_000)
    assert "Shortened" not in everything
    assert "60 targets pass" in everything
    assert "Left out: 1 warnings, 610 measurements, 60 passing targets." in failures
    assert "Provenance" in failures
    assert "xor `0x80`" in failures


@given(limit=st.integers(MINIMUM, 30_000), name=st.sampled_from(SAMPLES))
@settings(max_examples=40, deadline=None)
def test_any_limit_holds(limit: int, name: str) -> None:
    comment = render_comment(
        getattr(samples, name)(), marker=samples.MARKER, limit=limit, report_url=samples.RUN
    )
    assert size(comment) <= limit
    read(comment, {samples.RUN})


ACTIVE = "`|<>@#&*_~[]()!:/\\$^{}-+=.\n\r\t \"'w0a%"


@given(
    st.one_of(st.text(st.sampled_from(ACTIVE), min_size=1, max_size=40), st.text(min_size=1, max_size=100))
)
@settings(max_examples=25, deadline=None)
def test_no_text_anywhere_in_a_report_breaks_out(text: str) -> None:
    report = samples.hostile(text)
    assert read(render_summary(report)).tables == read(render_summary(samples.hostile("x"))).tables
    read(render_comment(report, marker=samples.MARKER))


def test_a_limit_that_holds_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2000"):
        render_comment(samples.passing(), marker=samples.MARKER, limit=MINIMUM - 1)


@pytest.mark.parametrize(
    "marker", ["", "qgate", "<!-- a --> b", "<!-- a\n-->", "<!-- --> <!-- -->", f"<!-- {'x' * 600} -->"]
)
def test_a_marker_is_one_short_html_comment(marker: str) -> None:
    with pytest.raises(ValueError, match="marker"):
        render_comment(samples.passing(), marker=marker)


@pytest.mark.parametrize(
    "url", [None, "javascript:alert(1)", "https://e.vil/a) [x](b", "https://e.vil/ x", "//e.vil"]
)
def test_only_a_plain_address_becomes_a_link(url: str | None) -> None:
    assert "](" not in render_comment(samples.failing(), marker=samples.MARKER, report_url=url)


def test_a_template_cannot_print_what_no_filter_made_safe() -> None:
    template = environment().from_string("{{ name }} {{ number }}")
    with pytest.raises(TypeError, match="bare str"):
        template.render(name="conv1", number=1)
    with pytest.raises(UndefinedError):
        template.render(number=1)
    assert (
        environment().from_string("{{ name|code }} {{ number }}").render(name="a|b", number=1)
        == "`a\\x7cb` 1"
    )


def test_the_same_report_gives_the_same_text_after_storing() -> None:
    report = samples.failing()
    stored = Report.model_validate_json(report.to_json())
    assert render_comment(stored, marker=samples.MARKER) == render_comment(report, marker=samples.MARKER)


def test_a_verdict_that_no_target_has_counts_none() -> None:
    """The run can be INCONCLUSIVE for a target that was not run, while the one that was passes."""
    asked = Finding(rule="TRC107", severity=Severity.ERROR, effect=Verdict.INCONCLUSIVE, message="not run")
    report = samples.report(
        samples.target(), headline="not run", verdict=Verdict.INCONCLUSIVE, findings=(asked,)
    )
    comment = render_comment(report, marker=samples.MARKER)
    assert "qgate: INCONCLUSIVE\n" in comment
    assert "0 of 1" not in comment
