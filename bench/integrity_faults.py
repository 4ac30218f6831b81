"""Faults that must never turn green: every case of ``tests/sandbox/fault_cases.py``, done for real.

Processes that crash, hang, lie or are killed at several phases; machines without Landlock, seccomp, memory,
descriptors or disk; commands that are interrupted. Beside them the same runs without a fault, which must be green,
or the count would prove nothing.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "sandbox"))

from fault_cases import CASES, CONTROLS
from faults import Ended, Fault
from integrity_rows import Row

FEWEST = 12
"""Cases of a quick run."""


def run(scale: float) -> Iterator[Row]:
    """The rows of this section.

    Args:
        scale: Share of the cases that is run, evenly spread; 1 runs all of them.
    """
    wanted = max(FEWEST, round(len(CASES) * min(scale, 1.0)))
    chosen = [CASES[number * len(CASES) // wanted] for number in range(min(wanted, len(CASES)))]
    controls = [(case, _once(case)) for case in CONTROLS]
    ended = [(case, _once(case)) for case in chosen]
    red = [case.name for case, how in controls if not how.green]
    yield Row(
        "runs without a fault that are green",
        _of(len(controls) - len(red), controls),
        "all",
        not red,
        misses=tuple(red),
    )
    green = [case.name for case, how in ended if how.green]
    yield Row("faults that turn green", _of(len(green), ended), "0", not green, misses=tuple(green))
    left = [case.name for case, how in ended if how.survivors]
    yield Row("faults that leave a process behind", _of(len(left), ended), "0", not left, misses=tuple(left))
    mute = [case.name for case, how in ended if case.says not in how.said]
    yield Row(
        "faults that are explained as what they are",
        _of(len(ended) - len(mute), ended),
        "all",
        not mute,
        misses=tuple(mute),
    )


def _once(case: Fault) -> Ended:
    with tempfile.TemporaryDirectory() as folder:
        return case.run(Path(folder))


def _of(count: int, cases: list[tuple[Fault, Ended]]) -> str:
    return f"{count} of {len(cases)}"
