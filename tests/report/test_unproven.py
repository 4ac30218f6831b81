"""What leaves behaviour unproven stands where the verdict stands, in every text: no data, or labels that say nothing."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from qgate.records import DataUsed, Finding, Place, Severity, Verdict
from qgate.report.compose import compose_report
from qgate.report.html import render_html
from qgate.report.render import render_comment, render_summary
from qgate.report.schema import PolicyUsed, Report, TargetReport
from qgate.report.terminal import print_report
from qgate.report.unproven import DOUBTING, unproven
from qgate.report.view import Mark, columns, row
from qgate.rules.catalogue import catalogue

from . import samples


def generated(name: str = "digits", verdict: Verdict = Verdict.PASS, seed: int = 7) -> TargetReport:
    data = DataUsed(origin="generated", samples=32, seed=seed)
    return samples.target(name, verdict, "all rules hold on 9 measurements").model_copy(update={"data": data})


def report(*targets: TargetReport, policy: PolicyUsed | None = None) -> Report:
    return compose_report(targets=targets, provenance=samples.provenance(), policy=policy)


def printed(of: Report) -> str:
    stream = io.StringIO()
    print_report(of, Console(file=stream, width=100))
    return stream.getvalue()


def test_the_box_of_the_terminal_says_it_beside_the_verdict() -> None:
    text = printed(report(generated()))
    box = " ".join(text[: text.index("╰")].replace("│", " ").split())
    assert "✓ PASS digits: all rules hold on 9 measurements; no data" in box
    assert (
        "No data: inputs were generated from seed 7, so behaviour is not proven. Add inputs: --inputs X.npz"
        in box
    )


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL])
def test_the_comment_says_it_before_the_table(verdict: Verdict) -> None:
    of = report(generated(verdict=verdict), policy=samples.policy())
    for text in (render_comment(of, marker=samples.MARKER), render_summary(of)):
        head = text[: text.index("| Target |")]
        assert (
            "> [!WARNING]\n> **No data:** inputs were generated from seed 7, so behaviour is not proven"
            in head
        )
        assert "`data.inputs` in the policy" in head
    assert "| Samples (generated) |" in text


def test_the_page_says_it_under_the_verdict() -> None:
    page = render_html(report(generated()))
    head = page[: page.index("</header>")]
    assert "No data" in head
    assert "so behaviour is not proven. Add inputs: --inputs X.npz" in head
    assert "Samples<br><small>generated</small>" in page


def test_agreement_on_generated_inputs_is_a_figure_and_no_tick() -> None:
    told = row(generated())
    assert told.cells["BEH"].mark is Mark.NONE
    assert told.cells["BEH"].figures[-1] == told.cells["FEA"].figures[-1] == "generated"
    assert "BEH" in columns([told])
    assert row(samples.target()).cells["BEH"].mark is Mark.PASS
    assert "generated" not in row(samples.target()).cells["FEA"].figures


def test_targets_without_data_are_counted_and_named() -> None:
    of = report(samples.target("a"), generated("b"), generated("c", seed=8))
    assert of.summary.headline == "All 3 targets pass, 2 of them without data"
    (told,) = unproven(of)
    assert told.text.startswith(
        "inputs were generated for 2 of 3 targets (b, c), whose behaviour is not proven"
    )
    (told,) = unproven(report(samples.target("a"), *(generated(f"t{i}") for i in range(5))))
    assert "from seed 7 for 5 of 6 targets (t0, t1, t2, …)" in told.text


def test_nothing_is_said_where_inputs_were_given() -> None:
    of = report(samples.target())
    assert unproven(of) == ()
    assert (
        "no data" not in (printed(of) + render_comment(of, marker=samples.MARKER) + render_html(of)).lower()
    )


LABELS = "the reference itself is not shown to know what its labels say"


def doubted(name: str = "digits", **change: object) -> TargetReport:
    finding = Finding(
        rule=DOUBTING,
        severity=Severity.WARNING,
        at=Place(),
        message="the reference itself is not shown to be better than chance",
        remedy="Check that the labels belong to these inputs.",
    ).model_copy(update=change)
    return samples.target(name, reason="all rules hold on 9 measurements", findings=(finding,))


def test_the_rule_that_doubts_labels_is_one_of_the_rules() -> None:
    assert catalogue()[DOUBTING].title == "The reference itself knows what the labels say"


def test_doubted_labels_stand_beside_the_verdict_in_every_text() -> None:
    of = report(doubted())
    assert of.verdict is Verdict.PASS
    assert of.summary.headline == "digits: all rules hold on 9 measurements; labels in doubt"
    box = " ".join(printed(of).partition("╰")[0].replace("│", " ").split())
    assert f"Labels in doubt: {LABELS}, so behaviour is not proven. Check that the labels belong" in box
    for text in (render_comment(of, marker=samples.MARKER), render_summary(of)):
        head = text[: text.index("| Target |")]
        assert f"> [!WARNING]\n> **Labels in doubt:** {LABELS}, so behaviour is not proven" in head
    page = render_html(of)
    assert f"{LABELS}, so behaviour is not proven" in page[: page.index("</header>")]
    assert row(doubted()).cells["BEH"].mark is Mark.WARNING


def test_targets_with_doubted_labels_are_counted_and_named() -> None:
    of = report(generated("a"), doubted("b"), samples.target("c"))
    assert of.summary.headline == "All 3 targets pass, 1 of them without data, 1 with labels in doubt"
    data, labels = unproven(of)
    assert (data.label, labels.label) == ("No data", "Labels in doubt")
    assert labels.text.startswith(f"{LABELS} for 1 of 3 targets (b), whose behaviour is not proven")


def test_a_doubt_that_blocks_or_is_waived_is_told_elsewhere() -> None:
    waived = doubted(waived="labels of this set are noise on purpose")
    blocking = doubted(severity=Severity.ERROR, effect=Verdict.INCONCLUSIVE)
    assert unproven(report(waived)) == unproven(report(blocking)) == ()
