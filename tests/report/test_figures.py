"""Numbers as they are read, and a text that is only ever shortened by whole blocks."""

from __future__ import annotations

from collections import Counter
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.records import Finding, Severity
from qgate.report import figures
from qgate.report.evidence import evidence_items
from qgate.report.ladder import Rung, Section, block, compose, size


@pytest.mark.parametrize(
    ("measured", "unit", "shown"),
    [
        (28.34, "dB", "28.3 dB"),
        (-0.04, "dB", "0.0 dB"),
        (-6.25, "dB", "−6.2 dB"),
        (inf, "dB", "∞ dB"),
        (nan, "dB", "NaN dB"),
        (1, "ratio", "100 %"),
        (0.99999, "ratio", "99.99 %"),
        (0.9821, "ratio", "98.2 %"),
        (0.0, "ratio", "0 %"),
        (nan, "ratio", "NaN"),
        (1_012_004, "bytes", "1.01 MB"),
        (999, "bytes", "999 B"),
        (1797, "", "1,797"),
        (0.012345678, "", "0.01235"),
        (1.5e-7, "", "1.500e-07"),
        (-3, "steps", "−3 steps"),
        (10**400, "", "an integer beyond 64 bits"),
        (10**400, "dB", "∞ dB"),
        (True, "", "yes"),
        (None, "dB", "not measured"),
        ("int8", "", "int8"),
    ],
)
def test_a_value_is_short_and_has_its_unit(measured: object, unit: str, shown: str) -> None:
    assert figures.value(measured, unit) == shown


@pytest.mark.parametrize(
    ("difference", "unit", "shown"),
    [
        (0.24, "dB", "+0.2 dB"),
        (-0.081, "ratio", "−8.1 pp"),
        (0.0, "ratio", "±0 pp"),
        (0.0, "dB", "±0.0 dB"),
        (nan, "dB", "NaN dB"),
    ],
)
def test_a_change_has_its_sign(difference: float, unit: str, shown: str) -> None:
    assert figures.signed(difference, unit) == shown


def test_evidence_of_any_depth_is_one_short_line() -> None:
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    assert figures.plain(deep) == "[[[…]]]"
    assert figures.plain({"a": [1, nan, None, True, "x"]}) == "a=[1, NaN, none, yes, x]"
    assert figures.plain(list(range(100))) == "[0, 1, 2, 3, 4, 5, 6, 7, …]"


def found(message: str, evidence: dict[str, Any]) -> Finding:
    return Finding(rule="QNT201", severity=Severity.NOTE, message=message, evidence=evidence)


def test_the_first_listed_element_is_the_proof() -> None:
    outsiders = [
        {"index": [0, 3, 1, 0], "stored": -121, "expected": 7, "xor": 128, "steps": -128.3},
        {"index": [0, 6, 0, 1], "stored": -101, "expected": 27, "xor": 128, "steps": -128.1},
    ]
    evidence = {"dtype": "int8", "max_steps": 128.3, "family": "", "outsiders": outsiders}
    items = evidence_items(found("2 codes do not follow", evidence))
    assert items == [
        ("stored", "-121"),
        ("expected", "7"),
        ("xor", "0x80"),
        ("also", "[0, 6, 0, 1] -101 for 27"),
        ("max steps", "128.3"),
        ("dtype", "int8"),
    ]


@pytest.mark.parametrize("odd", [[1, {"stored": 1}], [{}], "outsiders", [{"stored": {"a": 1}}], {"xor": -1}])
def test_evidence_of_any_shape_is_shown(odd: object) -> None:
    assert evidence_items(found("", {"outsiders": odd, "xor": 10**400}))


def test_evidence_that_the_message_tells_is_not_told_again() -> None:
    message = "2 codes do not follow from the reference's 'conv_1': stored -121, expected 7, xor 0x80"
    evidence = {"stored": -121, "expected": 7, "xor": 128, "reference_tensor": "conv_1", "max_steps": 7}
    assert evidence_items(found(message, evidence)) == [("max steps", "7")]


def test_an_everyday_word_in_the_message_hides_no_evidence() -> None:
    evidence = {"operator": "Conv", "dtype": "int8"}
    assert evidence_items(found("the Conv holds int8 and 'Conv'", evidence)) == [
        ("operator", "Conv"),
        ("dtype", "int8"),
    ]


def note(left_out: Counter[str]) -> str:
    return "left out: " + ", ".join(f"{n} {kind}" for kind, n in left_out.items() if kind and n) + "\n"


@given(
    sections=st.lists(
        st.tuples(st.lists(st.text("aé\n", max_size=30), max_size=20), st.floats(0, 1)), max_size=6
    ),
    limit=st.integers(200, 1500),
)
@settings(max_examples=100, deadline=None)
def test_what_is_shown_and_what_is_left_out_are_all_there_is(
    sections: list[tuple[list[str], float]], limit: int
) -> None:
    made = tuple(
        Section(
            [f"row {row}" for row in rows], lambda row: f"{row}\n", f"<{i}>\n", f"</{i}>\n", "rows", share
        )
        for i, (rows, share) in enumerate(sections)
    )
    text = compose((Rung("head\n", made), Rung("head\n", made, Counter(extra=3))), limit, note)
    assert size(text) <= limit
    for i in range(len(sections)):
        assert text.count(f"<{i}>") == text.count(f"</{i}>") <= 1
    shown = text.count("row ")
    total = sum(len(rows) for rows, _ in sections)
    left = total - shown
    assert (f"{left} rows" in text) == bool(left)
    assert ("3 extra" in text) == ("left out" in text)


def test_rows_are_not_rendered_once_they_cannot_fit() -> None:
    rendered = []

    def render(item: int) -> str:
        rendered.append(item)
        return "x" * 99 + "\n"

    rung = Rung("head\n", (Section(range(1_000_000), render, kind="rows", weigh=lambda _: 1),))
    assert size(compose((rung,), 1000, note)) <= 1000
    assert len(rendered) < 30


def test_a_limit_below_the_first_lines_is_an_error() -> None:
    with pytest.raises(ValueError, match="not even its first lines"):
        compose((Rung("head\n" * 100, (block("x\n"),)),), 100, note)


@pytest.mark.parametrize(
    ("count", "unit", "says"),
    [(1, "elements", "1 element"), (-1, "steps", "−1 step"), (2, "elements", "2 elements"), (1.5, "steps", "1.5 steps"),
     (1, "dB", "1.0 dB"), (0, "codes", "0 codes")],
)  # fmt: skip
def test_one_of_what_is_counted_is_no_plural(count: float, unit: str, says: str) -> None:
    assert figures.value(count, unit) == says
