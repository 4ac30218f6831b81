"""What the child gives up before a hostile byte is read.

This is the seam for every further confinement: ``confine`` is the one place that the child passes
through, after the trusted libraries are imported and before a model or data file is opened. Resource
limits, the change of user, ``no_new_privs`` and death with the parent are applied here. Landlock and
seccomp are not; the child needs read access to the two models, their side files and the inputs, the
channel to its parent, and nothing to write.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

from qgate.sandbox.kernel import die_with_parent, forbid_new_privileges
from qgate.sandbox.limits import Limits

NOBODY = 65534
"""User and group that the child becomes where the parent is root."""

_MIB = 2**20


def confine(limits: Limits, parent: int, libraries: Callable[[], None]) -> None:
    """Limits this process, imports the trusted libraries, then drops privileges.

    The libraries come before the change of user because an interpreter that only root can read (under
    ``/root``, where several installers put it) could not import them afterwards. They are imported under
    the resource limits already.

    Args:
        limits: Resources allowed.
        parent: Process id that must still be the parent.
        libraries: Imports whatever will be needed; must not read models or data.

    Raises:
        OSError: The kernel refuses a step.
        ProcessLookupError: The parent is gone.
    """
    _limit_resources(limits)
    libraries()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    forbid_new_privileges()
    # Changing the user clears the death signal, so it is asked for last; the check closes the race.
    die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent process is gone")


def _limit_resources(limits: Limits) -> None:
    wanted = {
        resource.RLIMIT_AS: limits.memory_mb * _MIB,
        resource.RLIMIT_FSIZE: limits.file_mb * _MIB,
        resource.RLIMIT_NOFILE: limits.open_files,
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
