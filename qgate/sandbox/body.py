"""What every confined process does around its work: greet, import, be confined, work, hand over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from qgate.sandbox.confine import confine
from qgate.sandbox.limits import Limits
from qgate.sandbox.protocol import Talker

UNCONFINED = 3
"""Exit status of a process that could not be confined and has done nothing."""


@dataclass(frozen=True)
class Work:
    """What a confined process is for.

    Args:
        import_common: Imports what every request needs; called while the request is still on its way.
        prepare: Imports what only this request needs, and names every file (and folder) that the answer
            reads. The request was written by the parent and is trusted.
        answer: From the request to the bytes of the result, telling the samples done and in all. Only this
            sees hostile bytes.
    """

    import_common: Callable[[], None]
    prepare: Callable[[str], Iterable[Path]]
    answer: Callable[[str, Callable[[int, int], None]], bytes]


def run(arguments: list[str], load: Callable[[], Work]) -> int:
    """Runs one request from standard input; returns the exit status.

    Args:
        arguments: As ``launch`` writes them: the channel, the parent's process id, the limits.
        load: Imports and describes the work.
    """
    channel, parent, memory, cpu, file_mb, open_files, flags = map(int, arguments)
    limits = Limits(
        memory_mb=memory, cpu_seconds=cpu, file_mb=file_mb, open_files=open_files, reduced=bool(flags & 1),
        devices=bool(flags & 2), emulated=bool(flags & 4),
    )  # fmt: skip
    talker = Talker(channel)
    talker.hello()
    # Libraries read these when they are imported. Sums of products must not depend on the number of processors.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # ONNX Runtime would open a database in the user's home, start a thread and upload; see its Privacy.md.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    work: list[Work] = []
    request: list[str] = []

    def libraries() -> Iterable[Path]:
        work.append(load())
        work[0].import_common()
        request.append(sys.stdin.read())
        return work[0].prepare(request[0])

    engaged = confine(limits, parent, channel, libraries)
    talker.confined(engaged)
    if not engaged.suffices(limits.reduced):
        return UNCONFINED
    talker.result(work[0].answer(request[0], talker.progress))
    return 0


def run_and_exit(load: Callable[[], Work]) -> None:
    """``run`` with this process's arguments; anything unexpected is one line on standard error."""
    try:
        status = run(sys.argv[1:], load)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}"[:2000].encode("utf-8", "replace"))
        status = 1
    # A runtime's threads are not worth waiting for, and its destructors are not worth running.
    os._exit(status)
