"""What confining a process costs: ``python bench/sandbox.py [RUNS]``.

Each run starts the real child, with the libraries that a measurement imports, and takes the time between the last
import and the first byte of the request's work: the change of user, Landlock with its rules, the filter of system
calls, and the proof of both. Then a pair is measured with the walls, and on a kernel that lacks them, in turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "examples" / "digits"
REFERENCE, CANDIDATE = DIGITS / "digits_fp32.onnx", DIGITS / "digits_int8_pc.onnx"
WITHOUT = [sys.executable, "-I", str(ROOT / "tests" / "sandbox" / "probes" / "kernel.py"), "landlock,seccomp"]
GOAL_MS = 20.0


def timing() -> Any:
    """Work that says how long it was confined for."""
    from qgate.measure.answer import import_common_libraries, prepare
    from qgate.sandbox.body import Work

    marks: list[float] = []

    def prepared(request: str) -> list[Path]:
        found = prepare(request)
        marks.append(time.perf_counter())
        return found

    return Work(import_common_libraries, prepared, lambda *_: str(time.perf_counter() - marks[0]).encode())


def confined(runs: int) -> list[float]:
    """Milliseconds of each run from the last import to the first work."""
    from qgate.measure.request import PairRequest
    from qgate.sandbox.launch import run_child
    from qgate.sandbox.limits import Limits

    request = PairRequest(candidate=CANDIDATE, reference=REFERENCE).to_json()
    program = (str(Path(__file__).resolve()),)
    return [1000 * float(run_child(request, Limits(), program=program).payload) for _ in range(runs)]


def measured(before: list[str]) -> float:
    """Seconds that the child spends on loading and running a pair, on this kernel or on one without walls."""
    script = (
        "from pathlib import Path\nfrom qgate.measure.pair import Limits, PairRequest, measure_pair\n"
        f"request = PairRequest(candidate=Path({str(CANDIDATE)!r}), reference=Path({str(REFERENCE)!r}), "
        "samples=512, limits=Limits(reduced=True))\n"
        "timings = measure_pair(request).timings\nprint(timings['load'] + timings['run'])"
    )
    done = subprocess.run([*before, sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(arguments: list[str]) -> int:
    """Prints the figures; 1 where confining takes longer than it may."""
    runs = int(arguments[0]) if arguments else 20
    times = confined(runs)
    median = statistics.median(times)
    print(
        f"confining: {median:.1f} ms (median of {runs}, worst {max(times):.1f} ms; at most {GOAL_MS:.0f} ms)"
    )
    rounds = [(measured([]), measured(WITHOUT)) for _ in range(max(3, runs // 4))]
    inside, outside = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(
        f"loading and running a pair: {inside:.3f} s with the walls, {outside:.3f} s without (medians of {len(rounds)})"
    )
    print(
        json.dumps(
            {"confine_ms": round(median, 2), "inside_s": round(inside, 4), "outside_s": round(outside, 4)}
        )
    )
    return int(median > GOAL_MS)


if __name__ == "__main__":
    if len(sys.argv) > 3:  # started by the launcher, which gives the channel and the limits
        from qgate.sandbox.body import run_and_exit

        run_and_exit(timing)
    raise SystemExit(main(sys.argv[1:]))
