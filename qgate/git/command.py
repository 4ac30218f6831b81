"""Running git on a repository that is not trusted.

Its content is the pull request's, so git runs without hooks, file-system monitor, external diff, textconv,
replace objects, network or anyone's configuration, and never through a shell.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from qgate.errors import SourceError, UsageError

_TIMEOUT = 300.0
_CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=",
    "core.untrackedCache=false",
    "core.quotePath=false",
    "protocol.allow=never",
    "diff.external=",
    "submodule.recurse=false",
)


def run_git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs git in a folder with an environment and a configuration of our own.

    Raises:
        UsageError: git is not installed.
        SourceError: git took longer than five minutes.
    """
    try:
        return subprocess.run(
            git_command(folder, *arguments),
            cwd=folder,
            env=git_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"git {arguments[0]} took longer than {_TIMEOUT:.0f} s", where=str(folder), remedy="Run again"
        ) from error


def git_command(folder: Path, *arguments: str) -> list[str]:
    """The argument vector of a hardened git.

    Raises:
        UsageError: git is not installed.
    """
    git = shutil.which("git")
    if git is None:
        raise UsageError("git is not installed", remedy="Install git, version 2.38 or later")
    # safe.directory counts only where it comes from the command line or the user's own files. The work
    # tree belongs to the runner's user while a container action runs as root; its top is not known yet
    # where ``folder`` is below it.
    settings = [*_CONFIGURATION, f"safe.directory={folder}", "safe.directory=*"]
    return [git, "--no-pager", *(part for setting in settings for part in ("-c", setting)), *arguments]


def git_environment() -> dict[str, str]:
    """An environment with nothing of the user's: no GIT_ variable, no home, no configuration."""
    git = shutil.which("git")
    folders = ["/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "PATH": ":".join([str(Path(git).parent), *folders] if git else folders),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ATTR_NOSYSTEM": "1",
    }
