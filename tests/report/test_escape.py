"""Hostile text in every medium."""

from __future__ import annotations

import re
import unicodedata

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.report.escape import (
    NAME_LIMIT,
    code,
    name,
    prose,
    visible,
    workflow_message,
    workflow_property,
)

from . import samples

ACTIVE = "`|<>@#&*_~[]()!:/\\$^{}-+=.\n\r\t \"'w0a%"
hostile_text = st.one_of(
    st.text(st.sampled_from(ACTIVE), max_size=60),
    st.text(max_size=200),
    st.lists(st.sampled_from(samples.HOSTILE.split()), max_size=12).map(" ".join),
)
LINKED = re.compile(r"<a |<img|<script|<h\d|<hr|<ul|<ol|<blockquote|<pre|<em|<strong|<del|<input")


def html(markdown: str) -> str:
    return cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)


def outside_code(rendered: str) -> str:
    return re.sub(r"<code>.*?</code>", " ", rendered)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("/model/layers.0/conv-1/Conv_quant", "/model/layers.0/conv-1/Conv_quant"),
        ("aten::conv2d", "aten::conv2d"),
        ("a`b|c<d>e@f#g", "a\\x60b\\x7cc\\x3cd>e\\x40f\\x23g"),
        ("-->", "-->"),
        ("Mul->out's", "Mul->out's"),
        ("a\nb\x1b[31m", "a\\x0ab\\x1b[31m"),
        ("a\\x60", "a\\x5cx60"),
        ("\u202egnp", "\\u{202e}gnp"),
        ("量化", "\\u{91cf}\\u{5316}"),
        (" a  b ", "\\x20a \\x20b\\x20"),
        ("", "(empty)"),
    ],
)
def test_a_name_keeps_few_characters_and_spells_out_the_rest(given_name: str, shown: str) -> None:
    assert name(given_name) == shown


def test_a_long_name_keeps_both_ends() -> None:
    shown = name("/encoder/" + "x" * 100_000 + "/weight_quantized")
    assert len(shown) == NAME_LIMIT
    assert shown.startswith("/encoder/x")
    assert shown.endswith("x/weight_quantized")


@given(hostile_text)
@settings(max_examples=200, deadline=None)
def test_any_name_is_short_plain_and_no_command(text: str) -> None:
    shown = name(text)
    assert 1 <= len(shown) <= NAME_LIMIT
    assert re.fullmatch(r"[A-Za-z0-9._/:,=+()\[\]% '>\\x{}…−∞±×-]+", shown)
    assert "##[" not in shown
    # a code span never continues into what follows, whatever it holds
    assert html(f"{code(text)} end").count("<code>") == 1


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_short_names_stay_apart(one: str, other: str) -> None:
    long = max(len(name(one, 10_000)), len(name(other, 10_000)))
    if one != other and long <= NAME_LIMIT and "" not in (one, other):
        assert name(one) != name(other)


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("SQNR is 12.3 dB (95 % interval −0.1 to 0.7), below 20 dB.",) * 2,
        ("Run `qgate accept x`, then commit.", "Run `qgate accept x`, then commit."),
        ("weight conv1_w of 'fc' moved", "weight `conv1_w` of 'fc' moved"),
        ("tensor 'conv_1' [0, 3, 1]: 2 of 3", "tensor `conv_1` `[0, 3, 1]`: 2 of 3"),
        ("in [0, 0.25], not [-inf, 3.5]", "in `[0, 0.25]`, not `[-inf, 3.5]`"),
        ("shape [N, 1, 8, 8] (axis 0)", "shape `[N, 1, 8, 8]` (axis 0)"),
        ("outside ('../../etc_x')", "outside (`../../etc_x`)"),
        ("see (http://e.vil/x).", "see (`http://e.vil/x`)."),
        ("by @octocat for #12 at deadbeef", "by `\\x40octocat` for `\\x2312` at `deadbeef`"),
        ("GH-12 TICKET-7 CVE-2026-1 www.e.vil", "`GH-12` `TICKET-7` `CVE-2026-1` `www.e.vil`"),
        ("at www. and (www.)", "at `www`. and (`www`.)"),
        ("- item", "`-` item"),
        ("1. item", "`1.` item"),
        ("a ` b", "a `\\x60` b"),
        ("`a``b`", "`a` `b`"),
        ("two\n\nlines", "two lines"),
        ("", ""),
    ],
)
def test_prose_stays_readable(sentence: str, shown: str) -> None:
    assert prose(sentence) == shown


@given(hostile_text)
@settings(max_examples=300, deadline=None)
def test_prose_renders_as_text_and_code_and_nothing_else(text: str) -> None:
    shown = prose(text)
    assert "\n" not in shown
    assert "|" not in shown
    assert "##[" not in shown
    assert not shown.startswith("::")
    for context in (shown, f"x {shown}", f"- x {shown}", f"> {shown}"):
        rendered = html(context)
        inner = (
            rendered if context in (shown, f"x {shown}") else re.sub(r"</?(ul|li|blockquote)>", "", rendered)
        )
        assert set(re.findall(r"<(/?\w+)", inner)) <= {"p", "/p", "code", "/code"}, rendered
        # what GitHub links after rendering: mentions, issues, commits, emoji, mathematics
        assert not re.search(r"[@#$]|::|:\w+:|\b[0-9a-fA-F]{7,40}\b|//|www\.", outside_code(inner)), rendered


def test_prose_that_is_too_long_loses_whole_words() -> None:
    shown = prose("word `a b` " * 1000, 100)
    assert len(shown) <= 100
    assert shown.endswith(" …")
    assert shown.count("`") % 2 == 0


@given(hostile_text)
@settings(max_examples=200, deadline=None)
def test_visible_text_hides_nothing(text: str) -> None:
    shown = visible(text)
    assert "##[" not in shown
    assert all(c == " " or unicodedata.category(c)[0] not in "CZ" for c in shown)


@given(hostile_text)
@settings(max_examples=100, deadline=None)
def test_a_workflow_command_is_one_line_with_its_own_properties(text: str) -> None:
    line = f"::error file=a,title={workflow_property(text)}::{workflow_message(text)}"
    assert len(line.splitlines()) == 1
    properties, _, _ = line.removeprefix("::error ").partition("::")
    assert len(properties.split(",")) == 2
    assert "##[" not in line


def test_a_percent_sign_cannot_forge_a_line_break() -> None:
    assert workflow_message("50 %0A::error::x") == "50 %250A::error::x"
    assert workflow_property("a:b,c") == "a%3Ab%2Cc"
