"""Scans files with picklescan and modelscan, by the functions that their command lines call.

Runs in the virtual environment that ``bench/integrity_peers.py`` makes, never in qgate's. Standard input: a JSON
list of paths; output: by tool its version and, by path, ``flagged``, ``error`` (their exit status 2), ``clean``
or ``skipped`` (no scanner for it).
"""

import contextlib
import io
import json
import logging
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version

SECONDS = 60


def picklescan(path: str) -> str:
    """As ``picklescan -p PATH``: exit status 1 flagged, 2 error."""
    from picklescan.scanner import scan_file_path

    found = scan_file_path(path)
    if found.scan_err:
        return "error"
    if found.issues_count:
        return "flagged"
    return "clean" if found.scanned_files else "skipped"


def modelscan(path: str) -> str:
    """As ``modelscan -p PATH``: exit status 1 flagged, 2 error, 3 nothing scanned."""
    from modelscan.modelscan import ModelScan

    scanner = ModelScan()
    scanner.scan(path)
    if not scanner.scanned:
        return "skipped"
    if scanner.errors:
        return "error"
    return "flagged" if scanner.issues.all_issues else "clean"


def outcome(tool: Callable[[str], str], path: str) -> str:
    """One tool on one file; a crash, or no end within a minute, is an error like any other."""
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(2))
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return tool(path)
    except (Exception, SystemExit):
        return "error"
    finally:
        signal.alarm(0)


logging.disable(logging.CRITICAL)
paths = json.load(sys.stdin)
tools = {"picklescan": picklescan, "modelscan": modelscan}
print(
    json.dumps(
        {n: {"version": version(n), "files": {p: outcome(t, p) for p in paths}} for n, t in tools.items()}
    )
)
