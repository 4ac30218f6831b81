"""The step after the run: the candidate in the other runtimes that the target declares."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.records import Measurement, Place
from qgate.runtimes.registry import RUNTIMES
from qgate.verify.measuring import pair_request
from qgate.verify.pair import Pair
from qgate.verify.state import State, timed

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel
    from qgate.measure.inspection import Inspection
    from qgate.measure.plugin import Plugin

PYTORCH = "torch"


def run_elsewhere(
    pair: Pair,
    state: State,
    inspection: Inspection,
    models: tuple[StaticModel, StaticModel | None],
    data: Path | bool | None,
    staging: Path,
    code: Mapping[str, Plugin],
) -> None:
    """Runs the candidate in every other declared runtime, each in a process of its own.

    Nothing is run that ONNX Runtime was not given or refused: that is told already, and blocks. PyTorch runs what only
    it can run, and that is measured in it already.
    """
    from qgate.measure.deployed.runtimes import MEASURING, measure_runtimes

    candidate, _ = models
    if not state.ran:
        return
    if PYTORCH in pair.runtimes and candidate.format in RUNTIMES[PYTORCH].formats:
        # It is what everything was measured in.
        state.measurements.append(
            Measurement(name="runtime.ran", at=Place(runtime=PYTORCH), value=True, n=state.data.samples)
        )
    others = tuple(name for name in pair.runtimes if name != PYTORCH)
    if set(others) <= {MEASURING}:
        return
    started = time.perf_counter()
    plain = replace(inspection, layers=())
    request, known = pair_request(pair, plain, models, data, code)
    try:
        state.measurements += measure_runtimes(request, candidate, others, known.steps, staging)
    finally:
        timed(state, "runtimes", started)
