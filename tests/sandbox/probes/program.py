"""A program that the real launcher starts and the real confinement holds: it tries what a hostile model would.

    python -I program.py CHANNEL PARENT LIMITS...   confined, as a child is
    python -I program.py --free REQUEST             the same attempts with nothing engaged, for comparison

The request is JSON: ``attempts`` (names, see the other files here), ``files`` that may be read, and whatever
facts the attempts need. The answer maps each attempt to ``done``, the name of an error number, or what it saw.
"""

from __future__ import annotations

import errno
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent))


def attempts() -> dict[str, Any]:
    import behaviours
    import files
    import processes
    import sockets

    found = {}
    for module in (files, processes, sockets, behaviours):
        found.update(module.ATTEMPTS)
    return found


def outcome(attempt: Any, facts: dict[str, Any]) -> str:
    try:
        seen = attempt(facts)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "OSError")
    except MemoryError:
        return "MemoryError"
    return "done" if seen is None else str(seen)


def answer(request: str, progress: Any) -> bytes:
    facts = json.loads(request)
    facts["progress"] = progress
    known = attempts()
    return json.dumps({name: outcome(known[name], facts) for name in facts["attempts"]}).encode()


def prepare(request: str) -> list[Path]:
    attempts()
    facts = json.loads(request)
    if facts.get("linger"):
        # A library that has started a thread when the process is confined.
        import threading

        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return [Path(name) for name in facts["files"]]


def work() -> Any:
    from qgate.sandbox.body import Work

    return Work(attempts, prepare, answer)


if __name__ == "__main__":
    if sys.argv[1] == "--free":
        print(answer(sys.argv[2], None).decode())
    else:
        from qgate.sandbox.body import run_and_exit

        run_and_exit(work)
