import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import MeasureError
from qgate.sandbox import protocol
from qgate.sandbox.engaged import Engaged
from qgate.sandbox.protocol import Listener, Talker
from qgate.sandbox.quoting import one_line


def spoken(*calls):
    """The bytes that a talker writes."""
    ours, theirs = os.pipe()
    talker = Talker(theirs)
    for name, *arguments in calls:
        getattr(talker, name)(*arguments)
    os.close(theirs)
    with os.fdopen(ours, "rb") as stream:
        return stream.read()


ENGAGED = Engaged(user=65534, landlock=7, seccomp=True)
WHOLE = spoken(("hello",), ("confined", ENGAGED), ("progress", 3, 7), ("result", b"{}\nprogress 9 1\n"))
BEGUN = b"hello\n" + ENGAGED.line() + b"\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_what_is_said_is_heard_however_the_pipe_cuts_it(cuts):
    listener = Listener()
    edges = [0, *sorted(cuts), len(WHOLE)]
    for start, stop in itertools.pairwise(edges):
        listener.feed(WHOLE[start:stop])
    assert listener.greeted
    assert listener.engaged == ENGAGED
    assert listener.progress == (3, 7)
    assert listener.payload() == b"{}\nprogress 9 1\n"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"hello\n", BEGUN, b"progress 1 2\n", b"result 3\n", b"abc", b"\n", b"\x00", b"9" * 70]
        )
    )
)
def test_anything_else_is_refused_or_incomplete_never_a_crash(pieces):
    listener = Listener()
    data = b"".join(pieces)
    try:
        listener.feed(data)
    except MeasureError:
        return
    payload = listener.payload()
    if payload is not None:
        assert data == data[: len(data) - len(payload)] + payload
        assert len(payload) == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HELLO\n", "does not begin"),
        (b"hello\nprogress 1 3\n", "how it is confined"),
        (b"hello\nresult 2\n{}", "how it is confined"),
        (b"hello\nconfined 0 0 0 -\n", "how it is confined"),
        (b"hello\nconfined 0 7 1 landlock:38\n", "how it is confined"),
        (b"hello\nconfined 0 0 1 magic:38\n", "how it is confined"),
        (b"hello\nconfined 0 0 0 landlock:38,landlock:38\n", "how it is confined"),
        (BEGUN + b"progress 5 3\n", "more samples"),
        (BEGUN + b"progress 2 3\nprogress 2 3\n", "progress is none"),
        (BEGUN + b"progress 2 3\nprogress 1 3\n", "progress is none"),
        (BEGUN + b"progress 1 3\nprogress 2 9\n", "progress is none"),
        (BEGUN + b"progress 0 3\n", "progress is none"),
        (BEGUN + b"progress -1 3\n", "not of the protocol"),
        (BEGUN + b"progress 1e3 3\n", "not of the protocol"),
        (BEGUN + b"::error::x\n", "not of the protocol"),
        (BEGUN + BEGUN, "not of the protocol"),
        (BEGUN + b"x" * 100, "too long"),
        (BEGUN + b"result 2\nabc", "follow the result"),
        (BEGUN + b"result 9999999999\n", "more than"),
    ],
)
def test_malformed_bytes_are_named(data, reason):
    with pytest.raises(MeasureError, match=reason):
        Listener().feed(data)


def test_a_result_cut_short_is_no_result():
    listener = Listener()
    listener.feed(BEGUN + b"result 10\nabc")
    assert listener.payload() is None


def test_the_size_is_capped_before_the_bytes_come():
    with pytest.raises(MeasureError, match="returned 11 bytes, more than 10"):
        Listener(limit=10).feed(BEGUN + b"result 11\n")


def test_a_flood_of_lines_is_taken_in_one_pass_and_bounded(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_STEPS", 1000)
    listener = Listener()
    listener.feed(BEGUN)
    with pytest.raises(MeasureError, match="progress is none"):
        listener.feed(b"".join(b"progress %d 9999\n" % number for number in range(1, 1500)))
    assert listener.progress == (1000, 9999)


@settings(max_examples=100, deadline=None)
@given(st.text(), st.integers(10, 60))
def test_quoted_text_is_one_visible_line(text, limit):
    quoted = one_line(text, limit)
    assert len(quoted) <= limit
    assert quoted.isprintable()
    assert "\n" not in quoted


def test_nothing_in_quoted_text_moves_the_cursor_or_begins_a_line():
    assert one_line("a\n::error::b\x1b[31m\u202egnp") == "a ::error::b\\x1b[31m\\u202egnp"
