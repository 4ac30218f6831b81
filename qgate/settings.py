"""Inputs and environment, read once into one immutable record. Nothing else reads ``os.environ``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NoReturn, cast, get_args
from urllib.parse import urlsplit

from qgate.errors import UsageError

Comment = Literal["always", "on-change", "on-failure", "never"]
Mode = Literal["auto", "verify", "publish"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,59}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,119}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Settings:
    """Everything that a run is told from outside. Tokens never appear in its text.

    Args:
        config: The policy's path in the repository.
        token: GitHub token, None where there is none.
        hub_token: Token of the model hub, None where there is none.
        comment: When the pull request gets a comment.
        targets: Only these targets; empty for all that the change touches.
        report_dir: Where report.json and summary.md go.
        leaves_dir: Report folder of the accepted models' run, to locate changes by; None for none.
        name: Name of this step where a job has several; part of comment marker and status context.
        mode: ``auto`` measures, judges and publishes; ``verify`` does not publish; ``publish`` only does.
        base: Revision to judge against, for local runs.
        workspace: The checked-out repository.
        cache: Folder for downloads, None for none.
        in_actions: Whether a GitHub runner started this process.
        event_name: Name of GitHub's event, empty outside of GitHub.
        event_path: GitHub's event file.
        sha: The commit that GitHub says the run is for.
        ref: The ref that GitHub says the run is for.
        repository: ``owner/name``.
        run_id: GitHub's run; ``run_attempt`` counts its re-runs.
        output_path: File for outputs; likewise ``summary_path`` for the job's summary.
    """

    config: str = "qgate.yml"
    token: str | None = field(default=None, repr=False)
    hub_token: str | None = field(default=None, repr=False)
    comment: Comment = "always"
    targets: tuple[str, ...] = ()
    report_dir: Path = Path("qgate-report")
    leaves_dir: Path | None = None
    name: str = ""
    mode: Mode = "auto"
    base: str | None = None
    workspace: Path = Path()
    cache: Path | None = None
    in_actions: bool = False
    debug: bool = False
    event_name: str = ""
    event_path: Path | None = None
    sha: str | None = None
    ref: str | None = None
    repository: str | None = None
    server_url: str = "https://github.com"
    api_url: str = "https://api.github.com"
    run_id: str | None = None
    run_attempt: int = 1
    output_path: Path | None = None
    summary_path: Path | None = None

    @property
    def run_url(self) -> str | None:
        """The page of this run on GitHub, None outside of GitHub."""
        if self.repository is None or self.run_id is None:
            return None
        return f"{self.server_url}/{self.repository}/actions/runs/{self.run_id}"

    @property
    def status_context(self) -> str:
        """The commit status' context: ``qgate / verdict``, with the step's name where it has one."""
        return f"qgate / verdict ({self.name})" if self.name else "qgate / verdict"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the action's inputs and GitHub's variables. An empty value is the default.

    Args:
        environ: The environment to read; the process's own if it is None.

    Raises:
        UsageError: A value cannot be used; the input or variable is named, a token's value never is.
    """
    env = os.environ if environ is None else environ
    workspace = Path(_text(env, "GITHUB_WORKSPACE") or ".")
    return Settings(
        config=_repository_path(env, "INPUT_CONFIG", "qgate.yml"),
        token=_token(env, "INPUT_GITHUB-TOKEN") or _token(env, "GITHUB_TOKEN"),
        hub_token=_token(env, "HF_TOKEN"),
        comment=cast(Comment, _choice(env, "INPUT_COMMENT", get_args(Comment), "always")),
        targets=_targets(env, "INPUT_TARGETS"),
        report_dir=_report_dir(env, "INPUT_REPORT-DIR", workspace),
        leaves_dir=_report_dir(env, "INPUT_LEAVES-DIR", workspace)
        if _text(env, "INPUT_LEAVES-DIR")
        else None,
        name=_matching(env, "INPUT_NAME", _NAME, "up to 60 letters, digits, spaces and ._/-") or "",
        mode=cast(Mode, _choice(env, "INPUT_MODE", get_args(Mode), "auto")),
        workspace=workspace,
        cache=_cache(env),
        in_actions=_text(env, "GITHUB_ACTIONS") == "true",
        debug=_text(env, "RUNNER_DEBUG") == "1",
        event_name=_text(env, "GITHUB_EVENT_NAME") or "",
        event_path=_path(env, "GITHUB_EVENT_PATH"),
        sha=_matching(env, "GITHUB_SHA", _SHA, "a full commit id"),
        ref=_text(env, "GITHUB_REF"),
        repository=_matching(env, "GITHUB_REPOSITORY", _REPOSITORY, "owner/name"),
        server_url=_url(env, "GITHUB_SERVER_URL", "https://github.com"),
        api_url=_url(env, "GITHUB_API_URL", "https://api.github.com"),
        run_id=_matching(env, "GITHUB_RUN_ID", re.compile(r"[0-9]{1,20}"), "a number"),
        run_attempt=int(
            _matching(env, "GITHUB_RUN_ATTEMPT", re.compile(r"[0-9]{1,9}"), "a number") or "1",
        ),
        output_path=_path(env, "GITHUB_OUTPUT"),
        summary_path=_path(env, "GITHUB_STEP_SUMMARY"),
    )


def repository_path(value: str, name: str) -> str:
    """A path inside the repository in its plain form (``./a//b`` becomes ``a/b``).

    Raises:
        UsageError: The path is absolute, leaves the repository, or lies in ``.git``.
    """
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0].lower() == ".git":
        _refuse(name, value, "a path inside the repository, such as qgate.yml")
    return str(path)


def _label(variable: str) -> str:
    """How the user knows a variable: ``INPUT_REPORT-DIR`` is the input ``report-dir``."""
    if variable.startswith("INPUT_"):
        return f"input {variable.removeprefix('INPUT_').lower()}"
    return f"environment variable {variable}"


def _refuse(name: str, value: str, expected: str) -> NoReturn:
    shown = value if len(value) <= 80 else value[:80] + "..."
    raise UsageError(f"{shown!r} cannot be used", where=name, remedy=f"Give {expected}")


def _text(env: Mapping[str, str], variable: str) -> str | None:
    value = env.get(variable, "").strip()
    if "\x00" in value:
        _refuse(_label(variable), value, "text without NUL characters")
    return value or None


def _token(env: Mapping[str, str], variable: str) -> str | None:
    value = _text(env, variable)
    if value is not None and (_CONTROL.search(value) or not value.isascii() or " " in value):
        raise UsageError(
            "the token holds characters that no token has",
            where=_label(variable),
            remedy="Pass the secret itself, without quotes, spaces or line breaks",
        )
    return value


def _choice(env: Mapping[str, str], variable: str, choices: tuple[str, ...], default: str) -> str:
    value = _text(env, variable) or default
    if value not in choices:
        _refuse(_label(variable), value, "one of " + ", ".join(choices))
    return value


def _matching(env: Mapping[str, str], variable: str, pattern: re.Pattern[str], expected: str) -> str | None:
    value = _text(env, variable)
    if value is not None and not pattern.fullmatch(value):
        _refuse(_label(variable), value, expected)
    return value


def _repository_path(env: Mapping[str, str], variable: str, default: str) -> str:
    value = _text(env, variable) or default
    if _CONTROL.search(value):
        _refuse(_label(variable), value, "a path without control characters")
    return repository_path(value, _label(variable))


def _targets(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    names = [name for name in re.split(r"[,\s]+", _text(env, variable) or "") if name]
    for name in names:
        if not _TARGET.fullmatch(name):
            _refuse(_label(variable), name, "target names separated by commas or line breaks")
    return tuple(dict.fromkeys(names))


def _report_dir(env: Mapping[str, str], variable: str, workspace: Path) -> Path:
    value = _text(env, variable) or "qgate-report"
    if _CONTROL.search(value):
        _refuse(_label(variable), value, "a path without control characters")
    inside = workspace / value
    if ".." in Path(value).parts or ".git" in Path(value).parts or inside == workspace:
        _refuse(_label(variable), value, "a folder of its own, such as qgate-report")
    return inside


def _path(env: Mapping[str, str], variable: str) -> Path | None:
    value = _text(env, variable)
    return Path(value) if value else None


def _cache(env: Mapping[str, str]) -> Path | None:
    for variable, below in (("QGATE_CACHE", ""), ("RUNNER_TEMP", "qgate"), ("XDG_CACHE_HOME", "qgate")):
        if (base := _path(env, variable)) is not None:
            return base / below if below else base
    home = _path(env, "HOME")
    return home / ".cache" / "qgate" if home is not None and home.is_absolute() else None


def _url(env: Mapping[str, str], variable: str, default: str) -> str:
    value = (_text(env, variable) or default).rstrip("/")
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        usable = usable and not (parts.username or parts.password or parts.query or parts.fragment)
    if not usable or _CONTROL.search(value):
        _refuse(_label(variable), value, f"an address such as {default}")
    return value
