"""The look at the wire format: whole files pass, everything ambiguous is refused, nothing else happens."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.wire import check_model_bytes, fields

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "digits").glob("*.onnx"))
WHOLE = EXAMPLES[0].read_bytes()


def length(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


NODE = length(1, b"")
GRAPH = length(7, NODE)


def check(data, max_nodes=100):
    check_model_bytes(data, "m.onnx", max_nodes=max_nodes)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_real_files_pass(path):
    check(path.read_bytes(), 10_000)


@pytest.mark.parametrize(
    ("data", "rule", "words"),
    [
        (b"", "ART104", "no graph"),
        (b"\x08\x07", "ART104", "no graph"),
        (b"\x08", "ART104", "runs past the end"),
        (b"\x08" + b"\xff" * 10, "ART104", "runs past the end"),
        (GRAPH[:-1], "ART104", "past the end"),
        (b"\x0b", "ART104", "wire type 3"),
        (length(7, length(1, b"\0\0")[:-1]), "ART104", "past the end"),
        (length(7, b"\x0d\0\0"), "ART104", "past the end"),
        (length(7, b"\x09\0\0"), "ART104", "past the end"),
        (length(9, b"x") + GRAPH, "ART105", "unknown field 9"),
        (GRAPH + GRAPH, "ART105", "a second graph"),
        (b"\x08\x07\x08\x07" + GRAPH, "ART105", "field 1 a second time"),
        (length(7, length(3, b"")), "ART105", "unknown field 3"),
        (length(7, length(2, b"a") + length(2, b"b")), "ART105", "field 2 of the graph stands there twice"),
        (length(7, NODE * 101), "ART105", "101 nodes"),
    ],
)
def test_what_is_cut_ambiguous_or_too_much_is_refused(data, rule, words):
    with pytest.raises(FormatError) as caught:
        check(data)
    assert caught.value.rule == rule
    assert words in caught.value.what
    assert (caught.value.where, bool(caught.value.remedy)) == ("m.onnx", True)


def test_as_many_nodes_as_allowed_pass():
    check(length(7, NODE * 100))


def test_fields_tell_number_and_place_of_every_kind():
    data = b"\x08\x96\x01" + b"\x11" + b"\0" * 8 + b"\x1d" + b"\0" * 4 + length(4, b"abc")
    assert list(fields(data, 0, len(data))) == [(1, 1, 3), (2, 4, 12), (3, 13, 17), (4, 19, 22)]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_pass_or_are_refused(data):
    started = time.monotonic()
    try:
        check(data)
    except FormatError as error:
        assert error.rule in ("ART104", "ART105")
    assert time.monotonic() - started < 1


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.integers(1, len(WHOLE) - 1))
def test_every_cut_is_noticed(kept):
    with pytest.raises(FormatError):
        check(WHOLE[:kept])


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_bytes_appended_never_hide_a_second_graph(tail):
    """protobuf would merge them into the first; what passes has no graph of its own."""
    try:
        check(WHOLE + tail, 10_000)
    except FormatError:
        return
    numbers = [number for number, _, _ in fields(WHOLE + tail, 0, len(WHOLE) + len(tail))]
    assert numbers.count(7) == 1


def test_many_empty_nodes_are_counted_in_bounded_time():
    started = time.monotonic()
    with pytest.raises(FormatError, match="nodes, more than"):
        check(length(7, NODE * 300_000))
    assert time.monotonic() - started < 20
