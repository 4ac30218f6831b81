"""The article's model: honest conversions and the article's two mistakes, and the page that tells of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

ROOT = Path(__file__).parents[2]
FILES = ROOT / "examples" / "article"


def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_article", ROOT / "bench" / "article.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ARTICLE = bench()


@pytest.mark.parametrize("entry", ARTICLE.ENTRIES, ids=lambda entry: entry.what)
def test_the_files_alone_tell_the_honest_from_the_mistaken(entry: Any) -> None:
    """Nothing is run here: no factory, no trust."""
    report = verify_ad_hoc(AdHoc(FILES / entry.candidate, FILES / entry.reference))
    blocking = {finding.rule for finding in report.findings if finding.severity.value == "error"}
    if entry.honest:
        assert (report.verdict, blocking) == (Verdict.INCONCLUSIVE, {"ART115"})
        assert report.scheme == "int8"
    else:
        assert report.verdict is Verdict.FAIL
        assert ("QNT104" if "qconfig" in entry.what else "QNT202") in blocking


@pytest.mark.slow
@pytest.mark.parametrize("entry", ARTICLE.ENTRIES, ids=lambda entry: entry.what)
def test_run_they_get_the_verdict_that_the_page_tells(entry: Any) -> None:
    pytest.importorskip("torch", reason="of the extra `torch`")
    report = ARTICLE.verified(entry)
    assert (report.verdict is Verdict.PASS) is entry.honest
    (line,) = [
        each for each in ARTICLE.PAGE.read_text("utf-8").splitlines() if each.startswith(f"| {entry.what} |")
    ]
    told = [cell.strip() for cell in line.strip("|").split("|")]
    now = [cell.strip() for cell in ARTICLE.row(entry, report).strip("|").split("|")]
    # Figures depend on the processor in the last digits; which side of the line they are on does not.
    assert (now[2], now[5]) == (told[2], told[5])
    assert float(now[1]) == pytest.approx(float(told[1]), rel=0.2, abs=0.01)


def test_the_page_shows_every_entry_and_the_files_stay_small() -> None:
    page = ARTICLE.PAGE.read_text("utf-8")
    body = page[page.index(ARTICLE.BEGIN) : page.index(ARTICLE.END)]
    assert all(f"| {entry.what} |" in body for entry in ARTICLE.ENTRIES)
    assert sum(path.stat().st_size for path in FILES.iterdir() if path.is_file()) < 300_000


def test_a_page_without_markers_is_not_written_over() -> None:
    with pytest.raises(SystemExit, match="no markers"):
        ARTICLE.written("no table here", "| x |")
