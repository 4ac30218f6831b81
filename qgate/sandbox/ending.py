"""Why a child ended without a result, in words for whoever reads the report."""

from __future__ import annotations

import signal
import sys

from qgate.errors import MeasureError
from qgate.sandbox.limits import Limits
from qgate.sandbox.quoting import one_line


def explain_end(status: int, words: str, greeted: bool, limits: Limits, where: str) -> MeasureError:
    """Why there is no result.

    Args:
        status: The child's exit status; negative for a signal.
        words: What it wrote to its standard streams.
        greeted: It came as far as to import its own modules.
        limits: What it was allowed.
        where: What messages name as the place.
    """
    last = one_line(words[-600:], 300)
    if not greeted and "No module named" in words:
        return MeasureError(
            "the process that runs models cannot import qgate",
            where=sys.executable,
            remedy="Install qgate into this interpreter; a source tree on PYTHONPATH is not enough",
        )
    if any(
        sign in words
        for sign in ("bad_alloc", "MemoryError", "Cannot allocate memory", "failed to map segment")
    ):
        return out_of_memory(limits, where)
    if status == -signal.SIGXCPU:
        return MeasureError(
            f"the model run used more than {limits.cpu_seconds} s of processor time and was stopped",
            where=where,
            remedy="Use fewer samples, or raise limits.cpu_seconds",
        )
    if status == -signal.SIGSYS:
        return MeasureError(
            "the model run made a system call that running a model never needs, and was killed",
            where=where,
            remedy="Treat the model as hostile: it tried to start, watch or reach something outside of its process",
        )
    if status == -signal.SIGXFSZ:
        return MeasureError(
            f"the model run wrote a file larger than {limits.file_mb} MiB and was stopped",
            where=where,
            remedy="Treat the model as hostile: running a model writes no files",
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
        hint = (
            "the machine may be out of memory"
            if status == -signal.SIGKILL
            else "the runtime failed on this model"
        )
        return MeasureError(
            f"the model run crashed with signal {-status} ({name}){': ' + last if last else ''}",
            where=where,
            remedy=f"Run the model in its runtime, without qgate, to see the cause; {hint}",
        )
    if status == 0:
        return MeasureError(
            "the model run ended without a result", where=where, remedy="Treat the model as hostile"
        )
    return MeasureError(
        f"the model run failed with exit status {status}{': ' + last if last else ''}",
        where=where,
        remedy="Run the model in its runtime, without qgate, to see the cause",
    )


def out_of_memory(limits: Limits, where: str) -> MeasureError:
    """The error for a child that reached its memory limit."""
    return MeasureError(
        f"the model run needs more than the memory limit of {limits.memory_mb} MiB",
        where=where,
        remedy="Use smaller inputs, or raise limits.memory_mb",
    )
