"""From the inside: what a confined process can still do. The launcher and the confinement are the real ones."""

import os
import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from world import LIMITS, SECRET, children, equipped_interpreter, made_world

from qgate.errors import MeasureError, SandboxError
from qgate.sandbox import landlock, syscalls
from qgate.sandbox.confine import MAX_TASKS, NOBODY
from qgate.sandbox.staging import staging_directory

REFUSED = {"EPERM", "EACCES"}

READING = (
    "read /etc/passwd", "read a home", "read another target's staging", "read through a symbolic link",
    "read below a linked folder", "read beside its input", "read by a climbing path",
    "read by the root link of /proc", "read by an inherited descriptor", "read the parent's environment",
    "read the parent's memory", "read the parent's map", "read the parent's command",
    "read the parent's descriptor", "read the parent's folder", "read its own environment",
    "read the kernel's log", "list the root", "list processes", "list the staging", "open as a path alone",
)  # fmt: skip
WRITING = (
    "write its input", "read and write its input", "append to its input", "truncate while reading",
    "make a file", "make a file in /tmp", "make a file in /dev/shm", "make a nameless file",
    "make a file in memory", "map its input for writing", "write the parent's memory", "truncate", "rename",
    "remove", "link", "link symbolically", "make a folder", "remove a folder", "make a pipe in a folder",
    "change a mode", "change an owner", "change times", "set an attribute", "make a message queue",
    "make shared memory", "watch files", "change its folder",
)  # fmt: skip
REACHING = (
    "connect to the network", "connect to a local socket", "connect to an abstract socket",
    "a pair of sockets", "resolve a name", "a pipe",
)  # fmt: skip
PROCESSES = (
    "fork", "fork as a thread group of its own", "fork sharing memory", "fork into a user namespace",
    "fork by clone3", "start a program", "spawn a program", "signal the parent",
    "ask whether the parent lives", "signal everybody", "signal the parent's group",
    "signal a thread of the parent", "signal any thread", "queue a signal", "queue a signal to a thread",
    "signal by a descriptor's owner", "signal by ioctl", "type into a terminal", "a session of its own",
    "a group of its own", "become root", "become a group", "take groups", "stay when the parent dies",
    "be dumpable", "the parent's limits", "slow the parent", "move the parent",
)  # fmt: skip
ALL = (*READING, *WRITING, *REACHING, *PROCESSES)

FREELY = (
    "read /etc/passwd", "read a home", "read another target's staging", "read through a symbolic link",
    "read below a linked folder", "read beside its input", "read by a climbing path",
    "read by the root link of /proc", "read by an inherited descriptor", "read the parent's command",
    "list the root", "list processes", "open as a path alone", "write its input", "truncate while reading",
    "make a file in memory", "make a nameless file", "truncate", "change times", "watch files",
    "change its folder", "connect to the network", "connect to a local socket",
    "connect to an abstract socket", "a pair of sockets", "a pipe", "fork", "fork by clone3",
    "start a program", "spawn a program", "be dumpable", "stay when the parent dies",
)  # fmt: skip
"""What the same user can do where nothing is engaged; otherwise a refusal above would prove nothing."""


TRIED = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "bpf",
    "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "mount", "unshare", "open_by_handle_at",
)  # fmt: skip
"""Each ends a process; the others are judged in ``test_seccomp.py``."""


@pytest.fixture(scope="module")
def seen(world):
    """Every attempt in one confined process, each by itself."""
    return world.run(*ALL)


@pytest.mark.parametrize("attempt", ALL)
def test_an_attempt_is_refused(seen, attempt):
    allowed = (
        REFUSED
        | ({"EBADF"} if "descriptor" in attempt else set())
        | ({"ENOSYS"} if "clone3" in attempt else set())
    )
    assert seen[attempt] in allowed


def test_the_attempts_are_real():
    with made_world() as victim:
        free = victim.free(*FREELY)
    assert {name: how for name, how in free.items() if how != "done"} == {}


def test_nothing_reached_the_parent_and_nothing_changed(world, seen):
    assert world.signals == []
    assert world.connections == 0
    for name in ("allowed", "beside", "own"):
        assert Path(world.facts[name]).read_text() == SECRET
    assert not [path for path in Path(world.facts["open"]).iterdir() if path.name != "own"]
    assert children() == []


def test_what_a_run_needs_is_there(world):
    found = world.run(
        "read its input", "a thread", "a thread is confined", "a signal to itself", "keep its processors"
    )
    assert found == {
        "read its input": SECRET,
        "a thread": "1 ran",
        "a thread is confined": "0 read",
        "a signal to itself": "1 taken",
        "keep its processors": "True",
    }


def test_no_socket_of_any_family_can_be_made(world):
    assert world.run("any socket") == {"any socket": "0 made, errors [1]"}


def test_only_the_channel_and_the_standard_streams_are_open(world):
    assert world.run("descriptors that are open") == {"descriptors that are open": "4 open"}


def test_the_environment_holds_switches_and_no_secret(world):
    names = set(world.run("environment")["environment"].split(","))
    assert names - {"LC_CTYPE"} == {"OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY"}  # Python sets the locale


def test_limits_hold_and_cannot_be_raised(world):
    found = world.run("limits", "raise limits")
    assert found["raise limits"] in REFUSED
    hard = dict(pair.split("=") for pair in found["limits"].split())
    assert int(hard["AS"]) == LIMITS.memory_mb << 20
    assert (int(hard["CPU"]), int(hard["NOFILE"])) == (LIMITS.cpu_seconds + 1, LIMITS.open_files)
    assert (int(hard["FSIZE"]), int(hard["CORE"]), int(hard["MSGQUEUE"])) == (LIMITS.file_mb << 20, 0, 0)
    assert 0 < int(hard["NPROC"]) <= MAX_TASKS


def test_there_are_no_6_gb(world):
    found = world.run("6 GB at once", "6 GB in pieces")
    assert found == {"6 GB at once": "MemoryError", "6 GB in pieces": "ENOMEM"}


def test_a_thread_bomb_is_stopped(world):
    limits = replace(LIMITS, memory_mb=160)
    assert world.run("a thread bomb", limits=limits) == {"a thread bomb": "stopped"}


def test_every_call_that_is_not_listed_is_refused(world):
    column = 1 if platform.machine() == "aarch64" else 0
    listed = (syscalls.ALLOWED, syscalls.CONDITIONAL, syscalls.FATAL)
    skip = [numbers[column] for calls in listed for numbers in calls.values()]
    # The kernel lets these two past every filter: they serve a tracer's breakpoints, and end who has none.
    skip += [] if column else [335, 336]
    assert world.run("every other call", skip=skip, until=700) == {"every other call": "through: []"}


@pytest.mark.parametrize("name", [*TRIED, "x32"])
def test_a_fatal_call_ends_the_process_and_is_named(world, name):
    machine = platform.machine()
    if name == "x32" and machine != "x86_64":
        pytest.skip("an interface of x86-64")
    number = 0x40000000 | 39 if name == "x32" else syscalls.FATAL[name][1 if machine == "aarch64" else 0]
    with pytest.raises(MeasureError, match="a system call that running a model never needs") as caught:
        world.run("a fatal call", number=number)
    assert "hostile" in caught.value.remedy


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an interface of x86-64")
def test_the_32_bit_interface_ends_the_process(world):
    with pytest.raises(MeasureError, match="never needs"):
        world.run("the 32-bit interface")


def test_what_is_engaged_is_said(world):
    engaged = world.outcome("say nothing").engaged
    assert engaged.lacking == {}
    assert engaged.landlock == landlock.version()
    assert engaged.seccomp
    assert engaged.user == (NOBODY if os.geteuid() == 0 else os.geteuid())


def test_a_library_that_has_started_a_thread_is_found(world):
    with pytest.raises(SandboxError, match="a library has started others") as caught:
        world.run("say nothing", linger=True)
    assert "sandbox: reduced" not in caught.value.remedy
    assert caught.value.where == "the probe"


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests around this one are run by an ordinary user already")
def test_all_of_it_holds_for_an_ordinary_user():
    """These tests once more, by a user who is neither root nor the one that root's children become."""
    root = Path(__file__).parents[2]
    with staging_directory() as folder:
        folder.chmod(0o777)
        options = ("-q", "-n", "0", "-p", "no:cacheprovider", "-k", "not fatal and not bomb")
        done = subprocess.run(
            [equipped_interpreter(folder), "-m", "pytest", *options, __file__],
            user=4242,
            group=4242,
            extra_groups=(),
            cwd=root,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
