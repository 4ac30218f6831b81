"""Publishing as a whole: what fails is said, and the verdict does not depend on it."""

from __future__ import annotations

import os
import re

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options

from qgate.errors import QgateError
from qgate.events import Activity, Kind
from qgate.github.publish import READ_ONLY, Destination, publish, texts_of, write_results
from qgate.github.stored import MAX_ARTIFACT_BYTES, publish_stored
from qgate.records import Verdict
from qgate.report.schema import Provenance

HEAD, GROUP = "1" * 40, "9" * 40
PULL = Destination(HEAD, 7)


def go(rig, report, destination=PULL, **settings):
    return publish(
        report, texts_of(report), destination, rig.settings(**settings), patience=rig.time.patience()
    )


def test_comment_and_status_of_a_failing_pull_request(rig, report):
    published = go(rig, report(Verdict.FAIL))
    assert published.problems == ()
    assert published.comment_url.endswith(f"#issuecomment-{rig.comments[0].id}")
    assert "conv1.weight" in rig.comments[0].body
    (status,) = rig.statuses
    assert (status.sha, status.state, status.context) == (HEAD, "failure", "qgate / verdict")
    assert status.target_url == "https://github.com/acme/widgets/actions/runs/55"


def test_a_rerun_edits_and_turns_green(rig, report):
    go(rig, report(Verdict.FAIL), comment="on-failure")
    published = go(rig, report(Verdict.PASS), comment="on-failure")
    assert published.comment == "updated"
    assert len(rig.comments) == 1
    assert "PASS" in rig.comments[0].body
    assert [status.state for status in rig.statuses] == ["failure", "success"]


def test_two_steps_do_not_share(rig, report):
    go(rig, report(Verdict.FAIL), name="nightly")
    go(rig, report(Verdict.PASS))
    assert len(rig.comments) == 2
    assert {status.context for status in rig.statuses} == {
        "qgate / verdict",
        rig.settings(name="nightly").status_context,
    }


def test_a_merge_group_gets_its_status_and_no_comment(rig, report):
    activity = Activity(Kind.MERGE_GROUP, "merge_group", head_sha=GROUP)
    published = go(rig, report(), Destination.of(activity))
    assert (published.comment, published.comment_url) == ("none", None)
    assert [status.sha for status in rig.statuses] == [GROUP]
    assert rig.comments == []


def test_a_read_only_token_is_said_once(rig, report):
    published = go(rig, report(Verdict.FAIL), token="ghs_ro")
    assert published.problems == (READ_ONLY,)
    assert (published.comment_url, published.status_url) == (None, None)
    assert (rig.comments, rig.statuses) == ([], [])


def test_without_a_token_nothing_is_asked(rig, report):
    published = go(rig, report(), token=None)
    assert "there is no token" in published.problems[0]
    assert rig.github.requests == []


@pytest.mark.parametrize("repository", [None, "acme/gone"])
def test_without_a_repository_it_says_so(rig, report, repository):
    assert go(rig, report(), repository=repository).problems


def test_what_fails_does_not_stop_the_rest(rig, report):
    rig.fault("POST .*/comments", status=502, times=99)
    published = go(rig, report())
    assert "The comment could not be written" in published.problems[0]
    assert published.status_url is not None
    rig.github.faults.clear()
    rig.fault("POST .*/statuses", status=422, body={"message": "Validation Failed"})
    published = go(rig, report())
    assert "The commit status could not be written" in published.problems[0]
    assert published.comment_url is not None


def test_a_limit_costs_the_run_little(rig, report):
    limit = {"message": "API rate limit exceeded for installation."}
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(1_000_000 + 3600)}
    rig.fault("", status=403, body=limit, headers=headers, times=99)
    published = go(rig, report())
    assert len(published.problems) == 2
    assert rig.time.pauses == []


def test_results_reach_the_runner(rig, report, tmp_path):
    output, summary = tmp_path / "output", tmp_path / "summary"
    settings = rig.settings(output_path=output, summary_path=summary, workspace=tmp_path, token="ghs_ro")
    judged = report(Verdict.FAIL)
    published = publish(judged, texts_of(judged), PULL, settings, patience=rig.time.patience())
    path = tmp_path / "qgate-report" / "report.json"
    assert write_results(judged, texts_of(judged), published, settings, path) == ()
    lines = output.read_text().splitlines()
    values = {line.partition("<<")[0]: lines[n + 1] for n, line in enumerate(lines) if "<<" in line}
    assert values == {
        "verdict": "FAIL",
        "report": "qgate-report/report.json",
        "failed-targets": "plate-ocr",
        "comment-url": "",
    }
    assert "conv1.weight" in summary.read_text()
    assert "may only read" in summary.read_text()


@pytest.fixture
def stored(rig, report, tmp_path):
    """Runs the trusted job on a report."""

    def go(judged=None, *, raw=None, head=HEAD, rejudge=lambda report, facts, proposed: report):
        path = tmp_path / "report.json"
        path.write_text((judged or report(Verdict.FAIL)).to_json() if raw is None else raw)
        activity = Activity(Kind.PUBLISH, "workflow_run", head_sha=head, run_id=3)
        patience = rig.time.patience()
        return publish_stored(
            path, activity, rig.settings(), rejudge=rejudge, render=texts_of, patience=patience
        )

    return go


def test_the_trusted_job_publishes_its_own_judgement(rig, report, stored):
    rig.set_up(fork="eve/widgets")
    seen = []

    def rejudge(told, facts, proposed):
        seen.append((told.verdict, facts.number, facts.fork, proposed.changes))
        return report(Verdict.FAIL)

    judged, _, published = stored(report(Verdict.PASS), rejudge=rejudge)
    assert seen == [(Verdict.PASS, 7, True, ())]
    assert judged.verdict is Verdict.FAIL
    assert published.problems == ()
    assert [status.state for status in rig.statuses] == ["failure"]


def provenance(**changes):
    return Provenance(**{"tool": "qgate 0", "head_sha": HEAD, **changes})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"provenance": provenance(head_sha="2" * 40)}, "about commit"),
        ({"provenance": provenance(head_sha=None)}, "about commit"),
        ({"provenance": provenance(repository="evil/widgets")}, "another repository"),
        ({"provenance": provenance(pull_request=8)}, "another pull request"),
    ],
)
def test_a_report_about_something_else_is_refused(rig, report, stored, changes, why):
    with pytest.raises(QgateError, match=why):
        stored(report(Verdict.PASS, **changes))
    assert (rig.comments, rig.statuses) == ([], [])


def test_a_verdict_better_than_its_findings_is_refused(rig, report, stored):
    honest = report(Verdict.FAIL)
    (target,) = honest.targets
    with pytest.raises(QgateError, match="better than"):
        stored(honest.model_copy(update={"verdict": Verdict.PASS}))
    greened = target.model_copy(update={"verdict": Verdict.PASS})
    with pytest.raises(QgateError, match="better than"):
        stored(honest.model_copy(update={"verdict": Verdict.PASS, "targets": (greened,)}))
    assert rig.asked("POST") == 0


@pytest.mark.parametrize("raw", ["", "{}", "[" * 100_000, '{"schema": "qgate-report/v2"}', "NaN", "\x00\xff"])
def test_an_artifact_that_is_no_report_is_refused(rig, stored, raw):
    with pytest.raises(QgateError):
        stored(raw=raw)
    assert rig.github.requests == []


def test_an_artifact_that_is_no_plain_file_is_refused(rig, tmp_path):
    activity = Activity(Kind.PUBLISH, "workflow_run", head_sha=HEAD, run_id=3)
    link, pipe, huge = tmp_path / "link", tmp_path / "pipe", tmp_path / "huge"
    link.symlink_to("/etc/passwd")
    os.mkfifo(pipe)
    with huge.open("wb") as stream:
        stream.truncate(MAX_ARTIFACT_BYTES + 1)
    for path in (link, pipe, huge, tmp_path, tmp_path / "missing"):
        with pytest.raises(QgateError):
            publish_stored(
                path, activity, rig.settings(), rejudge=lambda told, facts, proposed: told, render=texts_of
            )
    assert rig.github.requests == []


def test_a_head_that_moved_on_is_not_published(rig, report, stored):
    rig.set_up(head_sha="2" * 40)
    with pytest.raises(QgateError, match="no open pull request"):
        stored(report(Verdict.PASS))


def test_hostile_names_reach_github_harmless(rig, report):
    hostile = "a`|<img src=x>@octocat [x](http://evil) --> #1\n::error::x ##[error]"
    go(rig, report(Verdict.FAIL, tensor=hostile, message=hostile))
    body = rig.comments[0].body
    page = cmarkgfm.github_flavored_markdown_to_html(body, options=Options.CMARK_OPT_UNSAFE)
    assert "src=x" in page
    assert "<img" not in page
    assert "evil" not in re.sub(r"<code>[^<]*</code>", "", page)
    assert "##[" not in body
    assert "\n::error" not in body
