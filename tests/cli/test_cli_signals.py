"""A command that is told to end leaves no copy of a model behind, and says that nothing was decided."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qgate.commands.guard import guarded

from .conftest import CANDIDATE, COMMAND, REFERENCE


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder that every user can reach, as the sandboxed process must."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_nothing_stays_behind(temporary: Path) -> None:
    with subprocess.Popen(
        [
            "env",
            "--default-signal=TERM",
            str(COMMAND),
            "verify",
            "-r",
            REFERENCE,
            "-c",
            CANDIDATE,
            "--samples",
            "100000",
        ],
        cwd=temporary,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as gate:
        while gate.poll() is None and not any(temporary.rglob("*.onnx")):
            os.sched_yield()
        gate.terminate()
        _, said = gate.communicate(timeout=60)
    assert (gate.returncode, said) == (2, "qgate: interrupted; nothing was decided\n")
    assert list(temporary.iterdir()) == []


@pytest.fixture
def disposed(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that is disposed of as the parameter says, and as before afterwards."""
    number, how = request.param
    before = signal.signal(number, how)
    yield number
    assert signal.getsignal(number) is how, "the command has put it back"
    signal.signal(number, before)


def told_to_end(number: signal.Signals) -> object:
    """The exit code of a command that sends itself a signal."""

    @guarded
    def command() -> int:
        signal.raise_signal(number)
        return 0

    with pytest.raises(SystemExit) as ended:
        command()
    return ended.value.code


ENDING = [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGHUP, signal.SIG_DFL)]


@pytest.mark.parametrize("disposed", ENDING, indirect=True)
def test_what_ends_a_command_is_told(disposed: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    assert told_to_end(disposed) == 2
    assert capsys.readouterr().err == "qgate: interrupted; nothing was decided\n"


@pytest.mark.parametrize("disposed", [(signal.SIGHUP, signal.SIG_IGN)], indirect=True)
def test_what_is_to_be_ignored_stays_ignored(disposed: signal.Signals) -> None:
    """As under nohup, whose terminal is closed."""
    assert told_to_end(disposed) == 0


def test_a_command_off_the_main_thread_runs() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(told_to_end, signal.SIGCONT).result() == 0
