"""What running each model costs: time beside each other, memory and load time by itself. In the child.

Times are of one machine at one moment: both models take turns on the same samples, and what counts is the ratio of
each turn. They are never deterministic, and so never in a baseline.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import DataError
from qgate.measure.data import DataFile
from qgate.measure.load import load_pair, load_side, processors
from qgate.measure.open_data import open_data
from qgate.measure.side import Side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.measure.request import PairRequest

BUDGET = 1.0
"""Seconds that the turns of one kind may take, the fewest turns apart."""

MOST_TURNS = 200
FEWEST_TURNS = 7
"""With so many, the smallest and the largest ratio are a 95 % interval of their median."""

BATCH = 16
STATUS = Path("/proc/self/status")
"""What a child that measures memory may read beside its files."""

_SLOW = 2.0


def measure_cost(request: PairRequest) -> dict[str, Any]:
    """The turns of both models, or load time and memory of one, as ``request.cost`` says.

    Raises:
        SideError: A model was refused or failed.
        DataError: Data do not fit.
    """
    if request.inputs is None:
        return _measured(request, None)
    with open_data(request.inputs, request.label("inputs"), request.images) as file:
        return _measured(request, file)


def _measured(request: PairRequest, file: DataFile | None) -> dict[str, Any]:
    if request.cost not in ("reference", "candidate"):
        return {"turns": _turns(request, file)}
    before = _largest()
    began = time.perf_counter()
    side, samples = load_side(request, request.cost, file, threads=processors(request))
    loaded = time.perf_counter() - began
    side.run(samples.first(), 1)
    after = _largest()
    memory = None if before is None or after is None else after - before
    return {"load": loaded, "memory": memory, "turns": []}


def _largest() -> int | None:
    """The largest resident set of this process so far, in bytes; None where the kernel does not say.

    ``getrusage`` would tell that of the process which started this one, where that is larger.
    """
    try:
        lines = STATUS.read_text("ascii").splitlines()
    except OSError:
        return None
    found = next((line.split() for line in lines if line.startswith("VmHWM:")), [])
    return int(found[1]) * 1024 if len(found) == 3 and found[1].isdecimal() else None


def _turns(request: PairRequest, file: DataFile | None) -> list[dict[str, Any]]:
    pair = load_pair(request, file, threads=processors(request))
    if len(pair.sides) < 2:
        raise DataError("the models cannot be given the same inputs", where=request.label("candidate"))
    found = [_kind(pair.sides, pair.samples.first(), 1)]
    if pair.samples.count > 1 and all(side.batched and not side.plan.batch for side in pair.sides.values()):
        size = min(BATCH, pair.samples.count)
        found.append(_kind(pair.sides, next(pair.samples.chunks(size)), size))
    return found


def _kind(sides: Mapping[str, Side], chunk: Any, samples: int) -> dict[str, Any]:
    """Seconds of each turn, with ``samples`` at once; the first turn of each, which warms it up, left out."""
    seconds: dict[str, list[float]] = {role: [] for role in sides}
    order = list(sides)
    began = time.perf_counter()
    for turn in range(MOST_TURNS + 1):
        for role in order if turn % 2 else reversed(order):
            started = time.perf_counter()
            sides[role].run(chunk, samples)
            spent = time.perf_counter() - started
            if turn:
                seconds[role].append(spent)
        passed = time.perf_counter() - began
        if turn >= FEWEST_TURNS and passed > BUDGET:
            break
        if turn >= 3 and passed > _SLOW * FEWEST_TURNS:
            break
    return {"samples": samples, **seconds}
