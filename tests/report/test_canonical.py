"""The digest that a report carries of itself: not a byte of the file can change unseen."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from qgate.errors import QgateError
from qgate.report.canonical import parse_sealed, sealed
from qgate.report.schema import read_report

from . import samples

POSITIONS = {"flip": 1000, "drop": 200, "double": 200, "blank": 200}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(samples.failing().to_json())
    return path


def test_a_report_reads_back(stored: Path) -> None:
    assert read_report(stored).to_json() == stored.read_text()


def test_the_digest_is_that_of_the_file_without_its_line(stored: Path) -> None:
    command = f"sed '/^ \"digest\": /d' {stored} | sha256sum"
    told = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == read_report(stored).digest


@pytest.mark.parametrize("edit", POSITIONS)
def test_any_byte_that_is_changed_is_seen(stored: Path, edit: str) -> None:
    whole = stored.read_bytes()
    places = random.Random(20).sample(range(len(whole)), POSITIONS[edit])
    bits = random.Random(21)
    accepted = []
    for at in places:
        byte = whole[at : at + 1]
        put = {
            "flip": bytes([whole[at] ^ 1 << bits.randrange(8)]),
            "drop": b"",
            "double": byte * 2,
            "blank": b" " if byte != b" " else b"\t",
        }[edit]
        stored.write_bytes(whole[:at] + put + whole[at + 1 :])
        try:
            read_report(stored)
        except QgateError:
            continue
        accepted.append(at)
    assert accepted == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "carries no digest"),
        (b"[]", "no JSON object"),
        (b'{"digest": NaN}', "bare NaN"),
        (sealed({"a": 1}).encode() + b"\n", "changed"),
        (sealed({"a": 1}).replace('"a": 1', '"a": 1.0').encode(), "changed"),
        (sealed({"a": 1}).replace('"a": 1', '"a": 2, "a": 1').encode(), "changed"),
        (b"\xef\xbb\xbf" + sealed({"a": 1}).encode(), ""),
        (b"[" * 100_000, ""),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(content: bytes, said: str) -> None:
    with pytest.raises((ValueError, RecursionError), match=said or None):
        parse_sealed(content)


def test_an_edit_with_a_new_digest_is_another_report(stored: Path) -> None:
    """A digest is no signature: it says so in the documentation, and this shows it."""
    report = read_report(stored)
    stored.write_text(report.model_copy(update={"notices": ("forged",)}).to_json())
    assert read_report(stored).digest != report.digest
    assert read_report(stored).notices == ("forged",)


def test_sealing_again_changes_nothing() -> None:
    once = sealed({"z": [1.5, "é"], "a": None})
    raw = parse_sealed(once.encode())
    assert sealed(raw) == once
    bare = "".join(line for line in once.splitlines(keepends=True) if not line.startswith(' "digest": '))
    assert raw["digest"] == hashlib.sha256(bare.encode()).hexdigest()
