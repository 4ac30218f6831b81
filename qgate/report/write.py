"""Writes a report to its folder: report.json, summary.md, report.html. Each whole or not at all."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from qgate.errors import QgateError
from qgate.files import replacing
from qgate.report.schema import Report

NAMES = ("report.json", "summary.md", "report.html")


def prepare_folder(folder: Path) -> None:
    """Makes the folder and tries whether it can be written to, before any work is done.

    Raises:
        QgateError: It cannot be made or written to.
    """
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            # Reports are no part of the repository that they lie in.
            (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".qgate-"):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_report(report: Report, folder: Path) -> Path:
    """Writes all three forms and returns the path of report.json.

    Raises:
        QgateError: The folder cannot be written to, or the disk is full; files that were there before
            are then still what they were.
    """
    from qgate.report.html import render_html
    from qgate.report.render import render_summary

    texts = (report.to_json(), render_summary(report), render_html(report))
    prepare_folder(folder)
    try:
        for name, text in zip(NAMES, texts, strict=True):
            _replace(folder / name, text)
    except QgateError:
        _forget_leaves(report, folder)
        raise
    return folder / NAMES[0]


def leaves_file(folder: Path, target: str) -> Path:
    """Where the leaves of a target's content digests lie in a report's folder."""
    return folder / "leaves" / f"{target}.leaves"


def _forget_leaves(report: Report, folder: Path) -> None:
    """Leaves are written while a target is verified; without their report they belong to nothing."""
    with suppress(OSError):
        for target in report.targets:
            leaves_file(folder, target.name).unlink(missing_ok=True)
        (folder / "leaves").rmdir()


def _replace(path: Path, text: str) -> None:
    try:
        with replacing(path, mode=0o644) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> QgateError:
    return QgateError(
        f"the report cannot be written ({error.strerror})",
        where=str(path),
        remedy="Name a folder with room that this user may write to: --report DIR",
    )
