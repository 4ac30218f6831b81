"""Running git on a repository that is not trusted.

Its content is the pull request's, so git runs without hooks, file-system monitor, external diff, textconv,
filter, replace objects, credential helper, network or anyone's configuration, never through a shell, and
ends with everything that it started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qgate.errors import SourceError

_ANSWER_SECONDS = 300.0
_STREAM_SECONDS = 600.0
_CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.untrackedCache=false",
    "core.quotePath=false",
    "credential.helper=",
    "protocol.allow=never",
    "diff.external=",
    "submodule.recurse=false",
)


def run_git(folder: Path, *arguments: str, climb: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Runs git in a folder and waits for its answer.

    Args:
        folder: Where it runs.
        arguments: The command and its arguments.
        climb: Whether the repository may also begin in a folder above.

    Raises:
        SourceError: git is not installed, or took longer than five minutes.
    """
    with _running(folder, arguments, climb=climb, stderr=subprocess.PIPE) as process:
        try:
            said = process.communicate(timeout=_ANSWER_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"git {arguments[0]} took longer than {_ANSWER_SECONDS:.0f} s",
                where=str(folder),
                remedy="Run again",
            ) from error
    return subprocess.CompletedProcess(arguments, process.returncode, *said)


@contextmanager
def streaming(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs git in a folder while the body reads its standard output; after ten minutes the pipe ends.

    Raises:
        SourceError: git is not installed.
    """
    with _running(folder, arguments, climb=False, stderr=subprocess.DEVNULL) as process:
        timer = threading.Timer(_STREAM_SECONDS, _end_group, (process,))
        timer.daemon = True
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()


@contextmanager
def _running(
    folder: Path, arguments: tuple[str, ...], *, climb: bool, stderr: int
) -> Iterator[subprocess.Popen[bytes]]:
    git = shutil.which("git")
    if git is None:
        raise SourceError(
            "git is not installed", where=str(folder), remedy="Install git, version 2.38 or later"
        )
    # safe.directory counts only where it comes from the command line or the user's own files. The work
    # tree belongs to the runner's user while a container action runs as root; its top is not known yet
    # where ``folder`` is below it.
    settings = [*_CONFIGURATION, f"safe.directory={folder}", "safe.directory=*"]
    options = [part for setting in settings for part in ("-c", setting)]
    with subprocess.Popen(
        [git, "--no-pager", *options, "-C", str(folder), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=_environment(git, None if climb else folder.parent),
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            _end_group(process)


def _environment(git: str, ceiling: Path | None) -> dict[str, str]:
    """An environment with nothing of the user's: no GIT_ variable, no home, no configuration."""
    found = {
        "PATH": f"{Path(git).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_LITERAL_PATHSPECS": "1",
    }
    if ceiling is not None:
        # Without a ceiling git would climb to whatever repository the folder happens to lie in.
        found["GIT_CEILING_DIRECTORIES"] = str(ceiling)
    return found


def _end_group(process: subprocess.Popen[bytes]) -> None:
    # A child of git's that holds the pipe open would keep us reading after git itself has ended. Until
    # git has been waited for, its number is nobody else's.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
