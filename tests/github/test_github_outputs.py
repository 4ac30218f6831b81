"""The runner's files: no value can pose as another output, and half of nothing is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.github.outputs import SUMMARY_BYTES, append_summary, write_outputs


def read_outputs(path):
    """The outputs as the runner reads them."""
    lines, outputs = path.read_bytes().decode().split("\n"), {}
    while lines and lines != [""]:
        name, _, delimiter = lines.pop(0).partition("<<")
        end = lines.index(delimiter)
        outputs[name] = "\n".join(lines[:end])
        lines = lines[end + 1 :]
    return outputs


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), st.text(st.characters(codec="utf-8")))
)
def test_the_runner_reads_back_what_was_written(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("runner") / "output"
    assert write_outputs(path, values) == ()
    assert read_outputs(path) == values


def test_a_value_cannot_end_itself(tmp_path):
    path = tmp_path / "output"
    path.write_text("earlier=1\n")
    write_outputs(path, {"verdict": "PASS\nEOF\nqgate_0\nverdict=FAIL"})
    write_outputs(path, {"verdict": "PASS"})
    delimiters = [line.partition("<<")[2] for line in path.read_text().splitlines() if "<<" in line]
    assert path.read_text().startswith("earlier=1\n")
    assert len(set(delimiters)) == 2
    assert all(len(delimiter) >= 32 for delimiter in delimiters)


def test_what_is_too_large_is_left_empty_and_said(tmp_path):
    path = tmp_path / "output"
    (problem,) = write_outputs(path, {"failed-targets": "x" * 600_000, "verdict": "FAIL"})
    assert "failed-targets" in problem
    assert read_outputs(path) == {"failed-targets": "", "verdict": "FAIL"}


def test_a_bad_name_is_a_defect(tmp_path):
    with pytest.raises(ValueError, match="cannot name"):
        write_outputs(tmp_path / "output", {"a\nb": ""})


def test_outside_of_github_nothing_is_written():
    assert write_outputs(None, {"verdict": "PASS"}) == ()
    assert append_summary(None, lambda room: "text") == ()


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path):
    missing = tmp_path / "nowhere" / "file"
    for problems in (
        write_outputs(tmp_path, {"verdict": "PASS"}),
        write_outputs(missing, {"verdict": "PASS"}),
        append_summary(tmp_path, lambda room: "text"),
        append_summary(missing, lambda room: "text"),
    ):
        assert len(problems) == 1
        assert "cannot be written" in problems[0]


def test_a_full_disk_is_a_problem():
    (problem,) = write_outputs(Path("/dev/full"), {"verdict": "PASS"})
    assert os.strerror(errno.ENOSPC) in problem or os.strerror(errno.EINVAL) in problem


def test_the_summary_is_given_the_room_that_is_left(tmp_path):
    path = tmp_path / "summary"
    path.write_text("x" * 1000)
    rooms = []

    def render(room):
        rooms.append(room)
        return "é" * (room // 2 - 1)

    assert append_summary(path, render, notes="> a note") == ()
    assert SUMMARY_BYTES - 1100 < rooms[0] < SUMMARY_BYTES - 1000
    assert path.stat().st_size <= SUMMARY_BYTES
    assert path.read_text().endswith("é\n\n> a note\n")
    (problem,) = append_summary(path, render)
    assert "left out" in problem


def test_a_summary_that_overruns_is_left_out_whole(tmp_path):
    path = tmp_path / "summary"
    (problem,) = append_summary(path, lambda room: "```" + "é" * room)
    assert "left out" in problem
    assert not path.exists()
