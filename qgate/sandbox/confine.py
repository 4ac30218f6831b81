"""What the child gives up before a hostile byte is read.

``confine`` is the one place that the child passes through, after the trusted libraries are imported and before
a model or data file is opened. In this order:

1. limits on memory, processor time, files and processes;
2. the libraries and the request, which come from the installation and the parent;
3. the user, where the parent is root; every capability; no new privileges;
4. death with the parent;
5. every descriptor but the channel and the standard streams;
6. Landlock: the request's files and the libraries can be read, nothing can be written;
7. seccomp: no sockets, no processes, no signals to others; it comes last because it refuses all of the above.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qgate.sandbox.engaged import LEFT_OUT, REDUCIBLE, Engaged
from qgate.sandbox.kernel import die_with_parent, drop_capabilities, forbid_new_privileges
from qgate.sandbox.landlock import restrict_files
from qgate.sandbox.limits import Limits
from qgate.sandbox.seccomp import filter_calls
from qgate.sandbox.trusted import library_folders

NOBODY = 65534
"""User and group that the child becomes where the parent is root."""

MAX_TASKS = 8192
"""Processes and threads of the child's user. A bomb meets it; a busy user's own work, which is counted too,
does not. That the child itself starts no process is the filter's business."""

_MIB = 2**20
_STREAMS = (0, 1, 2)


class StepError(Exception):
    """A step could not be engaged.

    Args:
        step: Which one, in the words of ``engaged``.
        number: The kernel's error number, 0 where it gave none.
    """

    def __init__(self, step: str, number: int) -> None:
        super().__init__(f"{step}: {os.strerror(number)}")
        self.step = step
        self.number = number


def confine(limits: Limits, parent: int, channel: int, libraries: Callable[[], Iterable[Path]]) -> Engaged:
    """Confines this process for ever.

    The libraries come before the change of user because an interpreter that only root can read (under
    ``/root``, where several installers put it) could not import them afterwards. They are imported under
    the resource limits already.

    Args:
        limits: Resources allowed.
        parent: Process id that must still be the parent.
        channel: The descriptor that stays open beside the standard streams.
        libraries: Imports whatever will be needed and says which files (and folders) the work reads beside
            the libraries themselves; must not read models or data.

    Returns:
        What is in force. The caller must not read a hostile byte unless that suffices.
    """
    lacking: dict[str, int] = {}
    version, filtered = 0, False
    try:
        _tie_to(parent)
        with _step("limits"):
            _limit_resources(limits)
        inputs = [*libraries()]
        _become_nobody(parent)
        if not limits.emulated:  # the emulator has threads of its own
            with _step("threads"):
                _require_one_thread()
        with _step("descriptors"):
            _close_descriptors(channel)
        if limits.devices or limits.emulated:
            lacking = dict.fromkeys(REDUCIBLE, LEFT_OUT)
            return Engaged(os.geteuid(), version, filtered, lacking)
        with _optional("landlock", lacking):
            version = restrict_files([*inputs, *library_folders()])
        with _optional("seccomp", lacking):
            filter_calls()
            filtered = True
    except StepError as error:
        # A step that is needed for the least of promises; what was optional is no longer of interest.
        lacking = {error.step: error.number}
    return Engaged(os.geteuid(), version, filtered, lacking)


@contextmanager
def _step(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, OverflowError) as error:
        raise StepError(name, getattr(error, "errno", None) or 0) from error


@contextmanager
def _optional(name: str, lacking: dict[str, int]) -> Iterator[None]:
    if name not in REDUCIBLE:
        raise ValueError(f"{name} is not optional")
    try:
        yield
    except OSError as error:
        lacking[name] = error.errno or 0


def _become_nobody(parent: int) -> None:
    if os.geteuid() == 0:
        with _step("user"):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
    with _step("privileges"):
        drop_capabilities()
        forbid_new_privileges()
    # Changing the user clears the death signal, so it is asked for again.
    _tie_to(parent)


def _tie_to(parent: int) -> None:
    """This process dies with its parent; the check closes the race with a parent that is gone already."""
    with _step("parent"):
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            raise ProcessLookupError("the parent process is gone")


def _require_one_thread() -> None:
    """Landlock binds the thread that asks for it: one that a library has started would stay free."""
    if len([*Path("/proc/self/task").iterdir()]) != 1:
        raise OSError(0, "there are other threads")


def _close_descriptors(channel: int) -> None:
    """The request has been read, so standard input is closed too: it becomes the null device."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor not in {*_STREAMS, channel}:
            with suppress(OSError):  # the folder's own, which is closed by now
                os.close(descriptor)


def _limit_resources(limits: Limits) -> None:
    wanted = {
        # A GPU's driver reserves addresses by the terabyte.
        **({} if limits.devices else {resource.RLIMIT_AS: limits.memory_mb * _MIB}),
        resource.RLIMIT_FSIZE: limits.file_mb * _MIB,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_NPROC: MAX_TASKS,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for what, value in wanted.items():
        _limit(what, value, value)
    # One second between SIGXCPU, which names the reason, and SIGKILL.
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)


def _limit(what: int, soft: int, hard: int) -> None:
    """Lowers a limit; one that is lower already stays."""
    ceiling = resource.getrlimit(what)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(what, (soft, hard))
