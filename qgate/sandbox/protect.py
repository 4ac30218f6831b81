"""Keeps the parent's secrets out of the child's reach."""

from __future__ import annotations

from qgate.errors import MeasureError


def protect_parent() -> None:
    """Makes this process unreadable to others of its user: no ptrace, no ``/proc/PID/mem``, no ``environ``.

    Called by the entry points before anything untrusted is touched; children do not inherit it across
    ``execve``.

    Raises:
        MeasureError: The kernel refuses.
    """
    from qgate.sandbox.kernel import dumpable, set_dumpable

    try:
        set_dumpable(False)
        engaged = not dumpable()
    except OSError as error:
        raise MeasureError(
            f"this process cannot be protected from the models it runs ({error})",
            remedy="Run qgate on Linux, where the kernel allows prctl(PR_SET_DUMPABLE)",
        ) from error
    if not engaged:
        raise MeasureError(
            "this process cannot be protected from the models it runs",
            remedy="Run qgate on Linux, where the kernel honours prctl(PR_SET_DUMPABLE)",
        )
