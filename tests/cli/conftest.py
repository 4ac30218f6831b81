"""Real runs of the installed command, in a folder of their own, and what they left there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

COMMAND = Path(sys.executable).with_name("qgate")
DIGITS = Path(__file__).parents[2] / "examples" / "digits"
REFERENCE = DIGITS / "digits_fp32.onnx"
CANDIDATE = DIGITS / "digits_int8_pc.onnx"
INPUTS = DIGITS / "digits_test.npz"
SECONDS = 120


@dataclass(frozen=True)
class Ran:
    """What a run said. ``report`` is what it wrote, None where it wrote nothing."""

    code: int
    out: str
    err: str
    report: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def text(self) -> str:
        """Everything that was said, line breaks and table borders apart."""
        return " ".join((self.out + self.err).replace("│", " ").split())

    def error(self) -> dict[str, Any]:
        """The one finding that stands for the error; the message must also be on the terminal."""
        assert self.report is not None, self.text
        findings = [*self.report["findings"], *(f for t in self.report["targets"] for f in t["findings"])]
        (found,) = [f for f in findings if f["effect"] == "ERROR"]
        assert found["message"] in self.text
        assert found["remedy"] in self.text
        assert len(found["remedy"]) > 10
        return found

    def refusal(self) -> str:
        """The one line on standard error, where nothing was begun."""
        assert self.report is None
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("qgate: ")
        return line


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file of a folder by its name, with its bytes; folders and pipes with none."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        if ".git" not in path.parts:
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


class Shop:
    """A folder to run ``qgate`` in, with its reports written to ``report`` beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "work"
        self.root.mkdir()
        self.reports = root / "report"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "COLUMNS": "400",
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def path(self, name: str, content: bytes | str = b"") -> Path:
        made = self.root / name
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(content.encode() if isinstance(content, str) else content)
        return made

    def run(
        self,
        *arguments: str | Path,
        report: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
        **more: Any,
    ) -> Ran:
        """Runs ``qgate`` and holds it to what every run must keep: no traceback, nothing written over."""
        there = snapshot(self.root)
        done = subprocess.run(
            [*before, str(COMMAND), *map(str, arguments)],
            cwd=self.root, env={**self.environment, **(env or {})}, capture_output=True, text=True,
            timeout=SECONDS, check=False, stdin=subprocess.DEVNULL, **more,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        assert snapshot(self.root) == there, "the run changed its folder"
        written = (report or self.reports) / "report.json"
        stored = json.loads(written.read_text()) if written.is_file() else None
        return Ran(done.returncode, done.stdout, done.stderr, stored)

    def verify(
        self, candidate: Path = CANDIDATE, reference: Path = REFERENCE, *options: str | Path, **more: Any
    ) -> Ran:
        """Verifies a pair."""
        report = more.get("report", self.reports)
        return self.run("verify", "-r", reference, "-c", candidate, "-o", report, *options, **more)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def stall(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder that the tests of a module share."""
    return Shop(tmp_path_factory.mktemp("stall"))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "read_only"
    folder.mkdir(mode=0o555)
    yield folder
    folder.chmod(0o755)


@pytest.fixture(scope="session")
def may_mount() -> bool:
    """Whether this machine lets a process mount a disk of its own, seen by nobody else."""
    tried = subprocess.run([*own_mounts(), "true"], capture_output=True, check=False)
    return tried.returncode == 0


def own_mounts() -> tuple[str, ...]:
    return ("unshare", "-m", "--propagation", "private")


def without_overriding() -> tuple[str, ...]:
    """Before a command: root stays root, and may write only where a folder's owner may, as everybody else."""
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
