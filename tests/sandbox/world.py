"""What surrounds a confined process in the tests: things to steal, to break and to reach; and how to start one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import qgate
from qgate.sandbox.confine import NOBODY
from qgate.sandbox.launch import Outcome, run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory

PROBES = Path(__file__).parent / "probes"
PROBE = (str(PROBES / "program.py"),)
SECRET = "ghs_canary_77aa"


class World:
    """A folder of inputs, another target's folder, a home, sockets that listen, and a count of signals taken."""

    def __init__(self, stage: Path, other: Path) -> None:
        self.stage, self.other = stage, other
        self.signals: list[int] = []
        self.connections = 0
        self.facts: dict[str, Any] = {}

    def run(self, *attempts: str, limits: Limits | None = None, **facts: Any) -> dict[str, str]:
        """What a confined process saw of these attempts."""
        return json.loads(self.outcome(*attempts, limits=limits, **facts).payload)

    def outcome(self, *attempts: str, limits: Limits | None = None, **facts: Any) -> Outcome:
        progress = facts.pop("progress", None)
        request = {**self.facts, **facts, "attempts": attempts}
        return run_child(
            json.dumps(request), limits or LIMITS, where="the probe", program=PROBE, progress=progress
        )

    def free(self, *attempts: str, **facts: Any) -> dict[str, str]:
        """What a process of the same user saw that nothing confines."""
        as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
        request = json.dumps({**self.facts, **facts, "attempts": attempts})
        done = subprocess.run(
            [interpreter(), "-I", "-B", *PROBE, "--free", request],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={},
            pass_fds=(self.facts["descriptor"],),
            **as_user,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


LIMITS = Limits(memory_mb=4096, cpu_seconds=30, wall_seconds=60, open_files=128)


def interpreter() -> str:
    """An interpreter with this one's packages that every user of the machine may start."""
    for choice in (sys.executable, *map(shutil.which, _NAMES)):
        if choice is not None and _starts(choice):
            return choice
    raise AssertionError("no interpreter here can be started by an ordinary user")


_NAMES = ("/usr/local/bin/python3", f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3")


def _starts(choice: str) -> bool:
    if os.geteuid() != 0:
        return True
    with contextlib.suppress(OSError):
        command = [choice, "-I", "-c", f"import sys; assert sys.version_info[:2] == {sys.version_info[:2]}"]
        done = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=(), check=False)
        return done.returncode == 0
    return False


def equipped_interpreter(folder: Path) -> str:
    """An interpreter that every user may start and that has this one's packages, qgate among them."""
    found = interpreter()
    if found == sys.executable:
        return found
    subprocess.run([found, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    packages = folder / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    places = [path for path in sys.path if path.endswith("site-packages")]
    packages.joinpath("tests.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in places)
    )
    return str(folder / "venv" / "bin" / "python")


@contextlib.contextmanager
def made_world() -> Iterator[World]:
    """A world, gone afterwards."""
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(staging_directory())
        other = stack.enter_context(staging_directory())
        home = stack.enter_context(staging_directory())
        world = World(stage, other)
        inputs, writable = stage / "inputs", stage / "open"
        inputs.mkdir()
        writable.mkdir()
        writable.chmod(0o777)
        for path in (
            inputs / "allowed",
            inputs / "beside",
            other / "secret",
            home / "token",
            writable / "own",
        ):
            path.write_text(SECRET)
            path.chmod(0o666)
        if os.geteuid() == 0:
            os.chown(writable / "own", NOBODY, NOBODY)
        (inputs / "link").symlink_to(other / "secret")
        (inputs / "linked").symlink_to(other)
        descriptor = os.open(other, os.O_RDONLY | os.O_DIRECTORY)
        os.set_inheritable(descriptor, True)
        stack.callback(os.close, descriptor)
        before = signal.signal(signal.SIGUSR1, lambda number, _: world.signals.append(number))
        stack.callback(signal.signal, signal.SIGUSR1, before)
        world.facts = {
            "files": [str(inputs / "allowed")],
            "allowed": str(inputs / "allowed"),
            "beside": str(inputs / "beside"),
            "link": str(inputs / "link"),
            "linked": str(inputs / "linked"),
            "stage": str(stage),
            "staging": str(other),
            "home": str(home),
            "open": str(writable),
            "own": str(writable / "own"),
            "library": str(Path(qgate.__file__).parent),
            "descriptor": descriptor,
            "parent": os.getpid(),
            "group": os.getpgid(0),
            **_listening(world, stage, stack),
        }
        yield world


def _listening(world: World, stage: Path, stack: contextlib.ExitStack) -> dict[str, Any]:
    abstract = f"\0{stage.name}"
    places: dict[str, Any] = {"unix": str(stage / "socket"), "abstract": abstract}
    sockets = []
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_UNIX, places["unix"]),
        (socket.AF_UNIX, abstract),
    ):
        listener = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.bind(address)
        listener.listen()
        sockets.append(listener)
    Path(places["unix"]).chmod(0o777)
    places["tcp"] = list(sockets[0].getsockname())

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                listener.accept()[0].close()
                world.connections += 1

    for listener in sockets:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
    return places


def children() -> list[int]:
    """Every child of this process, of whatever thread."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found
