"""The article's model, five ways of quantizing it and its two mistakes, by its own rule and by qgate.

    python bench/article.py [--write]

Verifies each file of `examples/article` in the sandbox. With --write the table goes into
`docs/why-not-relative-error.md`, between its markers.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILES = ROOT / "examples" / "article"
PAGE = ROOT / "docs" / "why-not-relative-error.md"
BEGIN, END = "<!-- article:begin -->", "<!-- article:end -->"
ARTICLE_LIMIT = 0.05
"""The article passes a model whose mean relative error is below this."""


@dataclass(frozen=True)
class Entry:
    """One comparison.

    Args:
        what: In words.
        candidate: The file.
        factory: Function of ``model.py`` that builds the candidate's module; empty for programs.
        reference: The file that it is compared with.
        honest: Whether it must pass.
    """

    what: str
    candidate: str
    factory: str
    reference: str = "fp32.pt"
    honest: bool = True


ENTRIES = (
    Entry("eager mode", "eager_int8.pt", "eager"),
    Entry("FX graph mode", "fx_int8.pt", "fx"),
    Entry("dynamic", "dynamic_int8.pt", "dynamic"),
    Entry("PT2E, X86", "pt2e_x86.pt2", ""),
    Entry("PT2E, symmetric", "pt2e_symmetric.pt2", ""),
    Entry("no `qconfig`: nothing was converted", "no_qconfig.pt", "fp32", honest=False),
    Entry("a fresh `Model()` as reference", "eager_int8.pt", "eager", "fresh.pt", honest=False),
)


def verified(entry: Entry) -> Any:
    """The report of one comparison, on 64 seeded inputs."""
    from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

    code = {"factory.reference": f"{FILES}/model.py:fp32"}
    if entry.factory:
        code["factory.candidate"] = f"{FILES}/model.py:{entry.factory}"
    trust: Any = "data" if entry.factory else "code"
    return verify_ad_hoc(
        AdHoc(FILES / entry.candidate, FILES / entry.reference, code=code, trust=trust, samples=64)
    )


def value(report: Any, name: str) -> float:
    """A figure of the only output; NaN where it was not measured."""
    found = [m.number for m in report.measurements if m.name == name]
    return found[0] if len(found) == 1 else float("nan")


def rules(report: Any) -> list[str]:
    """Rules that block, once each."""
    return list(dict.fromkeys(f.rule for f in report.findings if f.severity.value == "error"))


def row(entry: Entry, report: Any) -> str:
    """One line of the table."""
    relative = value(report, "output.mean_relative_error")
    by_article = "passes" if relative < ARTICLE_LIMIT else "fails"
    named = ", ".join(rules(report))
    verdict = report.verdict.value + (f" ({named})" if named else "")
    sqnr = value(report, "output.sqnr_db")
    shown = "equal" if sqnr >= 200 or sqnr == float("inf") else f"{sqnr:.1f} dB"
    return f"| {entry.what} | {relative:.3f} | {by_article} | {shown} | {value(report, 'output.cosine'):.4f} | {verdict} |"


def table(reports: list[tuple[Entry, Any]]) -> str:
    """The table as Markdown."""
    head = "| model | mean relative error | by the article (< 0.05) | SQNR | cosine | qgate |\n|---|---|---|---|---|---|"
    return "\n".join((head, *(row(entry, report) for entry, report in reports)))


def written(page: str, text: str) -> str:
    """The page with the text between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{PAGE.name} has no markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main() -> int:
    """Verifies all; 0 where the honest ones pass and the mistakes fail."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    asked = parser.parse_args()
    reports = [(entry, verified(entry)) for entry in ENTRIES]
    text = table(reports)
    print(text)
    if asked.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    wrong = [e.what for e, report in reports if (report.verdict.value == "PASS") is not e.honest]
    if wrong:
        print("not as expected:", ", ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
