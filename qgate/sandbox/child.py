"""The process that runs untrusted models: ``python -I -m qgate.sandbox.child``; started by ``launch``.

Arguments: descriptor of the channel, process id of the parent, then the limits. The request comes on
standard input once the parent has it; until then this process imports what any request needs. It ends with
status 0 once it has handed over a result, which may be an error that it understood; anything else is for
the parent to explain.
"""

from __future__ import annotations

import os
import sys

from qgate.sandbox.confine import confine
from qgate.sandbox.limits import Limits
from qgate.sandbox.protocol import Talker


def main(arguments: list[str]) -> int:
    """Confines this process, runs the request and returns the exit status."""
    channel, parent, memory, cpu, file_mb, open_files = map(int, arguments)
    talker = Talker(channel)
    talker.hello()
    limits = Limits(memory_mb=memory, cpu_seconds=cpu, file_mb=file_mb, open_files=open_files)
    # Sums of products must not depend on the number of processors; written, never read, before numpy starts.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    received: list[str] = []

    def import_libraries() -> None:
        from qgate.measure.answer import import_common_libraries, import_libraries

        import_common_libraries()
        # The request was written by the parent and is trusted; it says which other libraries are needed.
        received.append(sys.stdin.read())
        import_libraries(received[0])

    confine(limits, parent, import_libraries)
    from qgate.measure.answer import answer

    talker.result(answer(received[0], talker.progress))
    return 0


def _run() -> int:
    """``main``, with anything unexpected as one line on standard error instead of a traceback."""
    try:
        return main(sys.argv[1:])
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}"[:2000].encode("utf-8", "replace"))
        return 1


if __name__ == "__main__":
    # The runtime's threads are not worth waiting for, and its destructors are not worth running.
    os._exit(_run())
