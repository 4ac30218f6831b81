"""Runs a pair as it is asked for; what comes back are the records that measurements are made of."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from qgate.measure.meeting import is_whole, plan_comparison
from qgate.measure.request import BOXES, NO_SUCH_OUTPUT, PairRequest

Progress = Callable[[int, int], None]


def measure(request: PairRequest, progress: Progress) -> dict[str, Any]:
    """Runs the pair; returns the records that measurements are made of.

    Where the layers cannot be compared without changing what is observed, the pair is run without them.

    Raises:
        SideError: A model was refused or failed.
        DataError: Data do not fit.
    """
    from qgate.measure.layers.statistics import LayersError

    told = 0

    def onward(done: int, total: int) -> None:
        """Progress that never goes back, though the samples are run again."""
        nonlocal told
        if done > told:
            told = done
            progress(done, total)

    reason = ""
    for attempt in _attempts(request):
        try:
            return {**_measure(attempt, onward), "unobserved": "" if attempt.layers else reason}
        except LayersError as error:
            reason = str(error) or "the layers cannot be compared"
    raise AssertionError("without layers there is no error of theirs")


def _attempts(request: PairRequest) -> Iterator[PairRequest]:
    """The request in one graph, in two sessions, and without layers: what is asked for and possible."""
    if request.joined is not None:
        yield request
    if request.layers:
        yield replace(request, joined=None)
    yield replace(request, joined=None, layers=())


def _measure(request: PairRequest, progress: Progress) -> dict[str, Any]:
    from qgate.measure.load import MAX_WORKERS, load_pair, processors
    from qgate.measure.run import PairRun, chunk_size

    began = time.perf_counter()
    with _opened(request) as file:
        count = (
            request.samples
            if file is None
            else max((s.shape[0] for s in file.arrays.values() if s.shape), default=1)
        )
        workers = max(1, min(processors(request), MAX_WORKERS, count))
        pair = load_pair(request, file, threads=max(1, processors(request) // workers))
        loaded = time.perf_counter()
        probes, tap_bytes = _probe(pair)
        comparison = plan_comparison(request, pair, probes, file)
        size = chunk_size(pair, probes, tap_bytes + pair.kept)
        run = PairRun(pair, comparison, probes, workers, pair.session)
        record = run.run(size, progress)
        if pair.session is not None:
            pair.session.close()
        unoptimised = _unoptimised(request, pair, probes)
        edges = _edges(request, pair, comparison, record)
        effects = _batch_effects(request, pair, run)
    finished = time.perf_counter()
    return {
        "samples": record.samples,
        "generated": file is None,
        "alone": request.reference is None,
        "unfed": pair.unfed,
        "untapped": pair.untapped,
        "loaded": dict(pair.loaded),
        "outputs": _output_states(comparison, record, pair, effects),
        "unoptimised": unoptimised,
        "edges": edges,
        "taps": [] if pair.untapped else [each.state() for _, each in sorted(record.taps.items())],
        "layers": [] if record.layers is None else record.layers.states(),
        "task": None if record.task is None else record.task.state(),
        "problems": sorted(set(pair.problems)),
        "timings": {
            "load": loaded - began,
            "run": finished - loaded,
            **{f"run_{role}": seconds for role, seconds in sorted(record.seconds.items())},
        },
    }


@contextlib.contextmanager
def _opened(request: PairRequest) -> Iterator[Any]:
    """The data that are asked for, opened; None where inputs are generated."""
    from qgate.measure.open_data import open_data

    if request.inputs is None:
        yield None
        return
    with open_data(request.inputs, request.label("inputs"), request.images) as file:
        if request.part is None:
            yield file
            return
        from qgate.measure.part import PartFile

        boxes = request.task in BOXES and request.labels in file.arrays
        yield PartFile(file, request.part, (request.labels or "",) if boxes else ())


def rows(request: PairRequest) -> int:
    """How many samples the data hold; no model is loaded."""
    with _opened(request) as file:
        return max((spec.shape[0] for spec in file.arrays.values() if spec.shape), default=0)


def _probe(pair: Any) -> tuple[dict[str, Any], int]:
    """What each model says about the first sample alone, and the bytes of its tapped activations."""
    first = pair.samples.first()
    sizes: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        pending = {
            role: pool.submit(side.run, first, 1, lambda _, values: sizes.append(values.nbytes))
            for role, side in pair.sides.items()
        }
        return {role: future.result()[0] for role, future in pending.items()}, sum(sizes)


def _unoptimised(request: PairRequest, pair: Any, probes: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the candidate answers as it is written; None where its layers are not looked at."""
    from qgate.measure.unoptimised import unoptimised_state

    if (
        not request.layers
        or "candidate" not in pair.sides
        or request.forms.get("candidate", "tflite") != "tflite"
    ):
        return None
    return unoptimised_state(request, pair.sides, pair.samples.first(), probes["candidate"])


def _edges(request: PairRequest, pair: Any, comparison: Any, record: Any) -> list[dict[str, Any]]:
    """What both models answer to inputs at the edge; nothing where they are not both run."""
    from dataclasses import asdict

    from qgate.measure.edges import EdgeRun

    if not request.edges or len(pair.sides) < 2:
        return []
    outputs = {i: comparison.outputs[i] for i in sorted(comparison.sketched)}
    sums = {i: record.outputs[i].errors for i in outputs}
    told = {i: each.elements > 0 and math.isfinite(each.rr) for i, each in sums.items()}
    usual = {i: each.rr / each.elements if told[i] else 0.0 for i, each in sums.items()}
    return [asdict(each) for each in EdgeRun(pair, request.taps, outputs, usual).run()]


def _batch_effects(request: PairRequest, pair: Any, run: Any) -> Mapping[int, tuple[float, float]]:
    """What a batch changes in a dynamically quantized candidate's outputs, by their position in it."""
    from qgate.measure.edges import batch_effect

    side = pair.sides.get("candidate")
    if not request.dynamic or side is None or len(pair.sides) < 2 or run.opening is None:
        return {}
    chunk, answers = run.opening
    return batch_effect(side, chunk, answers["candidate"])


def _output_states(
    comparison: Any, record: Any, pair: Any, effects: Mapping[int, tuple[float, float]]
) -> list[dict[str, Any]]:
    states = []
    for ours, theirs in comparison.outputs.items():
        if theirs is None:
            reason = pair.unfed or NO_SUCH_OUTPUT
            states.append({"name": comparison.names[ours], "missing": reason})
            continue
        whole = is_whole(pair, ours, theirs)
        if ours in comparison.boxes:
            states.append({"name": comparison.names[ours], "boxes": True, "integer": whole})
            continue
        states.append({**record.outputs[ours].state(), "integer": whole, "batch": effects.get(theirs)})
    return states
