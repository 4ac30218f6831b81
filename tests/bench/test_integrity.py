"""The integrity bench's own judgement: what it counts as blocked, what it prints, when it fails."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(BENCH))
    try:
        names = ("integrity", "integrity_rows", "integrity_containers", "integrity_peers", "integrity_verify")
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(BENCH))


def test_every_section_is_found_and_helpers_are_none(modules) -> None:
    found = set(modules["integrity"].sections())
    assert found >= {"containers", "injection", "content", "faults"}
    assert not found & {"rows", "peers", "verify"}


def test_a_missed_goal_is_told_with_its_cases(modules) -> None:
    row = modules["integrity_rows"].Row
    text = modules["integrity"].table(
        {
            "some_section": [
                row("things | found", "9 of 10", "all", False, (("peer 1.0", "3 of 10"),), ("the tenth",)),
                row("a figure", "7"),
            ]
        }
    )
    assert "### Some section" in text
    assert "| things \\| found | 9 of 10; peer 1.0: 3 of 10 | all | **missed** |" in text
    assert "| a figure | 7 |  |  |" in text
    assert "`the tenth`" in text


def test_a_section_that_raises_or_says_nothing_misses_its_goal(modules, tmp_path: Path) -> None:
    for body in ("raise ValueError('x')", "return iter(())"):
        (tmp_path / "bench").mkdir(exist_ok=True)
        for path in BENCH.glob("*.py"):
            if path.name in (
                "integrity.py",
                "integrity_rows.py",
                "evaluate.py",
                "evaluate_cases.py",
                "evaluate_render.py",
            ):
                (tmp_path / "bench" / path.name).write_bytes(path.read_bytes())
        (tmp_path / "bench" / "integrity_broken.py").write_text(f"\n\ndef run(scale: float):\n    {body}\n")
        line = [sys.executable, str(tmp_path / "bench" / "integrity.py"), "--no-docs", "--sections", "broken"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1, done.stderr
        assert "**missed**" in done.stdout


@pytest.mark.parametrize(
    ("verdict", "code", "rules", "blocked"),
    [
        ("ERROR", 2, {"ART114"}, True),
        ("FAIL", 1, {"QNT202"}, True),
        ("INCONCLUSIVE", 2, {"ART115"}, False),  # the honest twin has that one too
        ("PASS", 0, set(), False),
        ("PASS", 0, {"ART114"}, False),
        ("ERROR", 0, {"ART114"}, False),  # an exit status that lets a pipeline go on
        ("CRASH", 1, set(), False),
        ("HUNG", -1, set(), False),
    ],
)
def test_what_counts_as_blocked(modules, verdict, code, rules, blocked) -> None:
    said = modules["integrity_verify"].Said
    twin = said("INCONCLUSIVE", 2, frozenset({"ART115"}), "", Path())
    case = said(verdict, code, frozenset(rules), "", Path())
    assert modules["integrity_containers"]._blocked(case, twin) is blocked


def test_what_counts_as_blocked_by_a_peer(modules) -> None:
    files = {"/a": "flagged", "/b": "error", "/c": "clean", "/d": "skipped"}
    peer = modules["integrity_peers"].Peer("scanner", "1.0", files)
    assert peer.blocked(map(Path, files)) == 2
    assert peer.label == "scanner 1.0"
