"""What a step leaves behind in the runner's files: its outputs and the job's summary."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

OUTPUT_BYTES = 512 * 1024
"""Below GitHub's limit of 1 MB a job, counted there in UTF-16."""

SUMMARY_BYTES = 1024 * 1024 - 1024
"""Below GitHub's limit of 1 MiB a step, past which the summary is dropped."""

SMALLEST_SUMMARY = 2000
"""What the renderer needs at least."""

_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def write_outputs(path: Path | None, values: Mapping[str, str]) -> tuple[str, ...]:
    """Appends a step's outputs to the file that ``GITHUB_OUTPUT`` names.

    Each value stands between delimiters that nobody can guess, so that none can pose as another output.
    A value that would exceed the limit is left empty.

    Args:
        path: The file; None outside of GitHub, and then nothing is written.
        values: The outputs by name.

    Returns:
        What went wrong, one sentence each.

    Raises:
        ValueError: A name is none that an output can have.
    """
    if path is None:
        return ()
    problems: list[str] = []
    text, used = "", 0
    for name, value in values.items():
        if not _OUTPUT_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name an output")
        used += 2 * len(value)
        if used > OUTPUT_BYTES:
            problems.append(
                f"The output {name} is left empty: it has {len(value)} characters, too many for GitHub."
            )
            used -= 2 * len(value)
            value = ""  # noqa: PLW2901
        text += _heredoc(name, value)
    return (*problems, *_append(path, text, "The outputs"))


def append_summary(path: Path | None, render: Callable[[int], str], *, notes: str = "") -> tuple[str, ...]:
    """Appends to the job's summary, in the file that ``GITHUB_STEP_SUMMARY`` names.

    Args:
        path: The file; None outside of GitHub, and then nothing is written.
        render: The text in at most so many bytes. It is never cut here: that could leave a fence open.
        notes: Text that goes after it.

    Returns:
        What went wrong, one sentence each.
    """
    if path is None:
        return ()
    try:
        room = SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
    except OSError as error:
        return (f"The job summary cannot be written ({error.strerror}).",)
    after = f"\n{notes.strip()}\n" if notes.strip() else ""
    room -= len(after.encode("utf-8", "backslashreplace")) + 2
    text = "" if room < SMALLEST_SUMMARY else render(room).rstrip("\n") + "\n"
    if not text or len(text.encode("utf-8", "backslashreplace")) > room:
        return (f"The job summary is left out: {SUMMARY_BYTES // 1024} KiB do not hold it.",)
    return _append(path, text + after, "The job summary")


def _heredoc(name: str, value: str) -> str:
    delimiter = f"qgate_{secrets.token_hex(16)}"
    while delimiter in value:
        delimiter = f"qgate_{secrets.token_hex(16)}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def _append(path: Path, text: str, what: str) -> tuple[str, ...]:
    """Appends all of it or nothing, for half a delimiter would fail the step."""
    try:
        with path.open("ab", buffering=0) as stream:
            start = stream.seek(0, 2)
            data = text.encode("utf-8", "backslashreplace")
            try:
                while data:
                    data = data[stream.write(data) :]
            except OSError:
                stream.truncate(start)
                raise
    except OSError as error:
        return (f"{what} cannot be written to {path.name} ({error.strerror}).",)
    return ()
