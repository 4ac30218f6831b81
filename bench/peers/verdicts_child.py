"""What measures a pair, without its sandbox: for processors that are emulated, where neither Landlock nor seccomp is there.

``bench/verdicts_runs.py`` starts it once under ``qemu-x86_64`` and hands it requests, each a line of JSON; an answer is its
length in eight bytes, then the bytes that the confined process would have handed over.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in qgate.sandbox.body, before numpy is imported
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def main() -> None:
    """Answers until there are no more requests."""
    from qgate.measure.answer import answer, import_common_libraries, prepare

    import_common_libraries()
    for line in sys.stdin:
        request = json.loads(line)
        prepare(request)
        told = answer(request, lambda done, of: None)
        sys.stdout.buffer.write(len(told).to_bytes(8, "little") + told)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
