"""A change that loosens a policy in many places: the worst are named, none is hidden, and the report has all of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from qgate.records import Verdict
from qgate.report.html import render_html
from qgate.report.render import MINIMUM, render_comment, render_summary
from qgate.report.schema import PolicyUsed, Report
from qgate.report.terminal import print_report
from qgate.report.view import POLICY_CHANGES

from . import samples


def edited(count: int, others: int = 0) -> Report:
    changes = tuple(f"target plate{i}: FEA201 is looser" for i in range(count))
    altered = tuple(f"target plate{i} is added" for i in range(others))
    policy = PolicyUsed(
        path="qgate.yml", revision="a" * 40, sha256="5a" * 32, changes=changes, other_changes=altered
    )
    return samples.report(
        samples.target("digits"), headline="one target passes", verdict=Verdict.PASS, policy=policy
    )


def told(report: Report, where: str) -> str:
    if where == "terminal":
        stream = io.StringIO()
        print_report(report, Console(file=stream, width=200))
        return stream.getvalue()
    return render_comment(report, marker="<!-- qgate -->") if where == "comment" else render_summary(report)


@pytest.mark.parametrize("where", ["comment", "summary", "terminal"])
@pytest.mark.parametrize("count", [1, POLICY_CHANGES, POLICY_CHANGES + 1, 300])
def test_the_worst_are_named_and_the_others_counted(where: str, count: int) -> None:
    text = told(edited(count), where)
    assert text.count("FEA201 is looser") == min(count, POLICY_CHANGES)
    hidden = count - POLICY_CHANGES
    assert (f"{hidden} more" in text) == (hidden > 0)


def test_the_page_and_the_report_have_all() -> None:
    report = edited(300, 40)
    page = render_html(report)
    assert page.count("FEA201 is looser") == 300
    assert page.count("is added</li>") == 40
    kept = Report.model_validate_json(report.model_dump_json(by_alias=True))
    assert kept.policy == report.policy and len(kept.policy.changes) == 300


def test_where_nothing_else_fits_every_loosening_is_still_counted() -> None:
    report = edited(300)
    text = render_comment(report, marker="<!-- qgate -->", limit=MINIMUM)
    assert "300 changes of the policy" in text or text.count("FEA201 is looser") == POLICY_CHANGES
