from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import PolicyError
from qgate.policy.yaml_reader import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_document


def read(text: str) -> object:
    return parse_document(text.encode(), "p.yml").plain()


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("1e999", math.inf),
        ("-.inf", -math.inf),
        ("2027-01-31", "2027-01-31"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("5%", "5%"),
        ("9" * 5000, "9" * 5000),
        ("|\n  5", "5"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(scalar: str, value: object) -> None:
    found = read(f"a: {scalar}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


def test_nan_is_a_number_and_keys_are_always_text() -> None:
    found = read("1876: .nan\nnull: x\ntrue: y\n010: z")
    assert list(found) == ["1876", "null", "true", "010"]
    assert math.isnan(found["1876"])


def test_a_byte_order_mark_windows_lines_and_comments_are_fine() -> None:
    assert parse_document(b"\xef\xbb\xbf# hi\r\na: 1\r\nb: [x,\r\n y]\r\n", "p").plain() == {
        "a": 1,
        "b": ["x", "y"],
    }


def test_aliases_repeat_a_value() -> None:
    assert read("a: &x {k: [1]}\nb: *x") == {"a": {"k": [1]}, "b": {"k": [1]}}


BAD = [
    ("", "p.yml", "the policy is empty"),
    ("# only a comment\n", "p.yml", "the policy is empty"),
    ("---\n", "p.yml", "the policy is empty"),
    ("- a\n", "p.yml:1:1", "is a list, not a mapping"),
    ("just words\n", "p.yml:1:1", "is the text 'just words', not a mapping"),
    ("42", "p.yml:1:1", "is the number 42, not a mapping"),
    ("a:\n\tb: 1\n", "p.yml:2:1", "Indent with spaces"),
    ("a: 1\nb: 2\na: 3\n", "p.yml:3:1", "the key 'a' is given twice, first on line 1"),
    ("a: 1\n---\nb: 2\n", "p.yml:2:1", "a second document begins here"),
    ("a: !!python/object:os.system x\n", "p.yml:1:4", "python/object:os.system' is not read"),
    ("a: !!binary eA==\n", "p.yml:1:4", "Remove the tag"),
    ("!!set {a}\n", "p.yml:1:1", "Remove the tag"),
    ("%YAML 1.1\n---\na: yes\n", "p.yml:2:1", "read as YAML 1.2"),
    ("a: &x [*x]\n", "p.yml:1:8", "no complete anchor before it"),
    ("a: *nowhere\n", "p.yml:1:4", "the alias 'nowhere'"),
    ("x: &x {k: 1}\ny:\n  <<: *x\n", "p.yml:3:3", "merge keys (<<) are not part of YAML 1.2"),
    ("? [a, b]\n: 1\n", "p.yml:1:3", "a key is not plain text"),
    ("? *x\n: 1\n", "p.yml:1:3", "a key is not plain text"),
    ("a: [1, 2\n", "p.yml", "not valid YAML"),
    ("a: b: c\n", "p.yml:1:5", "mapping values are not allowed here"),
    ('a: "\\UFFFFFFFF"\n', "p.yml", "not valid YAML"),
    ("a: \x00\n", "p.yml", "control character"),
    ("a: \x1b[31m\n", "p.yml", "control character"),
    ("{" * 200, "p.yml", "p.yml:1"),
    ("[" * 200, "p.yml", f"nested more than {MAX_DEPTH} deep"),
]


@pytest.mark.parametrize(("text", "where", "part"), BAD, ids=[repr(text)[:24] for text, _, _ in BAD])
def test_what_is_not_a_policy_is_refused_with_its_place(text: str, where: str, part: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_document(text.encode(), "p.yml")
    assert caught.value.where.startswith(where)
    assert part in str(caught.value)
    assert caught.value.remedy
    assert str(caught.value).isprintable()


def test_bytes_that_are_not_utf8_are_refused_by_line() -> None:
    with pytest.raises(
        PolicyError, match=r"p\.yml:2: the policy is not UTF-8 text \(byte 0xff at offset 5\)"
    ):
        parse_document(b"a: 1\n\xff\xfe", "p.yml")
    with pytest.raises(PolicyError, match="not UTF-8"):
        parse_document("a: 1".encode("utf-16"), "p.yml")


def bombs() -> dict[str, bytes]:
    laughs = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)]
    tower = [b"a0: &a0 [x]"] + [b"a%d: &a%d [*a%d]" % (i, i, i - 1) for i in range(1, 2000)]
    return {
        "a billion laughs": b"\n".join(laughs),
        "a tower of aliases": b"\n".join(tower),
        "too many bytes": b"#" * (MAX_BYTES + 1),
        "too many values": b"a: [" + b"1,\n " * (MAX_NODES + 1) + b"]",
        "one long line of brackets": b"[" * 500_000,
        "one long tag": b"!" * 500_000,
        "deep blocks": b"\n".join(b" " * i + b"a:" for i in range(600)),
    }


@pytest.mark.parametrize("name", list(bombs()))
def test_bombs_are_refused_quickly(name: str) -> None:
    started = time.process_time()
    with pytest.raises(PolicyError):
        parse_document(bombs()[name], "p.yml")
    assert time.process_time() - started < 20


def test_a_path_is_traced_past_what_the_document_does_not_have() -> None:
    root = parse_document(
        b"version: 1\ntargets:\n  - name: a\n    candidate:\n      path: m\n      sha256: z\n", "p"
    )
    found = root.trace(("targets", 0, "candidate", "path", "sha256"))  # 'path' is also a union's tag
    assert (found.path, found.line, found.column) == (("targets", 0, "candidate", "sha256"), 6, 7)
    missing = root.trace(("targets", 0, "reference"))
    assert (missing.path, missing.line, missing.column) == (("targets", 0), 3, 5)
    assert root.trace(("nothing",)).path == ()


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass"))
    )
)
def test_any_bytes_are_a_document_or_a_policy_error(data: bytes) -> None:
    try:
        assert isinstance(parse_document(data, "p").plain(), dict)
    except PolicyError as error:
        assert error.what


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=" \n\t-:?{}[],&*!|>'\"%@`#<ab1.~\\x0U\r", max_size=60))
def test_any_yaml_like_text_is_a_document_or_a_policy_error(text: str) -> None:
    try:
        assert isinstance(read(text), dict)
    except PolicyError as error:
        assert error.what
