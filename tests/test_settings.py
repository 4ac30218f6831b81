"""Inputs and environment to settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgate.errors import UsageError
from qgate.settings import Settings, read_settings


def test_nothing_set_gives_the_defaults() -> None:
    assert read_settings({}) == Settings(report_dir=Path("qgate-report"))


def test_empty_inputs_are_the_defaults() -> None:
    names = ("CONFIG", "GITHUB-TOKEN", "COMMENT", "TARGETS", "REPORT-DIR", "NAME", "MODE")
    assert read_settings({f"INPUT_{name}": "  " for name in names}) == read_settings({})


def test_reads_everything_that_the_action_passes() -> None:
    settings = read_settings(
        {
            "INPUT_CONFIG": "./gates//edge.yml",
            "INPUT_GITHUB-TOKEN": "ghs_secret",
            "INPUT_COMMENT": "on-failure",
            "INPUT_TARGETS": "plate-ocr, face\nplate-ocr",
            "INPUT_REPORT-DIR": "out/report",
            "INPUT_NAME": "edge models",
            "INPUT_MODE": "verify",
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": "/github/workspace",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": "/github/workflow/event.json",
            "GITHUB_SHA": "a" * 40,
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_REPOSITORY": "octo/models",
            "GITHUB_SERVER_URL": "https://github.example/",
            "GITHUB_API_URL": "https://github.example/api/v3",
            "GITHUB_RUN_ID": "123",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_OUTPUT": "/o",
            "GITHUB_STEP_SUMMARY": "/s",
            "RUNNER_TEMP": "/tmp/runner",
        }
    )
    assert settings.config == "gates/edge.yml"
    assert settings.token == "ghs_secret"
    assert settings.targets == ("plate-ocr", "face")
    assert settings.report_dir == Path("/github/workspace/out/report")
    assert (settings.comment, settings.mode) == ("on-failure", "verify")
    assert settings.in_actions
    assert settings.cache == Path("/tmp/runner/qgate")
    assert settings.run_attempt == 2
    assert settings.run_url == "https://github.example/octo/models/actions/runs/123"
    assert settings.status_context == "qgate / verdict (edge models)"


def test_tokens_are_never_shown() -> None:
    settings = read_settings({"INPUT_GITHUB-TOKEN": "ghs_secret", "HF_TOKEN": "hf_secret"})
    assert "secret" not in repr(settings)
    assert settings.hub_token == "hf_secret"


def test_the_input_wins_over_the_environment_s_token() -> None:
    assert read_settings({"INPUT_GITHUB-TOKEN": "one", "GITHUB_TOKEN": "two"}).token == "one"
    assert read_settings({"GITHUB_TOKEN": "two"}).token == "two"


def test_run_url_needs_a_run() -> None:
    assert read_settings({"GITHUB_REPOSITORY": "octo/models"}).run_url is None
    assert read_settings({}).status_context == "qgate / verdict"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("INPUT_COMMENT", "sometimes", "input comment"),
        ("INPUT_MODE", "AUTO", "input mode"),
        ("INPUT_CONFIG", "/etc/passwd", "input config"),
        ("INPUT_CONFIG", "../qgate.yml", "input config"),
        ("INPUT_CONFIG", "a/../../b", "input config"),
        ("INPUT_CONFIG", ".git/config", "input config"),
        ("INPUT_CONFIG", "a\nb", "input config"),
        ("INPUT_CONFIG", ".", "input config"),
        ("INPUT_TARGETS", "plate-ocr;rm", "input targets"),
        ("INPUT_TARGETS", "../x", "input targets"),
        ("INPUT_REPORT-DIR", "..", "input report-dir"),
        ("INPUT_REPORT-DIR", ".git/x", "input report-dir"),
        ("INPUT_REPORT-DIR", ".", "input report-dir"),
        ("INPUT_NAME", "x" * 61, "input name"),
        ("INPUT_NAME", "a -->", "input name"),
        ("GITHUB_SHA", "HEAD", "GITHUB_SHA"),
        ("GITHUB_REPOSITORY", "models", "GITHUB_REPOSITORY"),
        ("GITHUB_RUN_ID", "12x", "GITHUB_RUN_ID"),
        ("GITHUB_API_URL", "file:///etc", "GITHUB_API_URL"),
        ("GITHUB_API_URL", "https://user:pw@host", "GITHUB_API_URL"),
        ("GITHUB_API_URL", "https://host:99999", "GITHUB_API_URL"),
        ("GITHUB_API_URL", "https://host/?x=1", "GITHUB_API_URL"),
    ],
)
def test_a_bad_value_is_refused_by_name(variable: str, value: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings({variable: value})
    assert named in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "caf\u00e9"])
def test_a_malformed_token_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings({"INPUT_GITHUB-TOKEN": value})
    assert value not in str(caught.value)
    assert "github-token" in caught.value.where
