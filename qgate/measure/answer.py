"""What the child does with a request: measure the pair and say so in JSON, or say why not."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from qgate.errors import DataError
from qgate.measure.plugin import PluginError, installed_packages, load_function, prepare_plugins
from qgate.measure.request import BOXES, NO_SUCH_OUTPUT, TEXTS, PairRequest

SCHEMA = "qgate-child/v1"

_LIBRARIES = (
    *("numpy", "numpy.random", "numpy.char", "numpy.ma", "onnxruntime", "mmap", "zipfile", "zlib"),
    *(
        "qgate.measure.run",
        "qgate.measure.open_data",
        "qgate.measure.task",
        "qgate.measure.generate",
        "qgate.measure.edges",
        "qgate.measure.unoptimised",
    ),
)
_CODECS = ("unicode_escape", "ascii", "latin-1", "cp437", "utf-8")
_LOGITS = re.compile(r"(logit|softmax|prob)", re.IGNORECASE)

Progress = Callable[[int, int], None]


def import_common_libraries() -> None:
    """Imports what every request needs, because afterwards nothing may be readable any more."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in _CODECS:
        codecs.lookup(name)


def prepare(request: str) -> list[Path]:
    """Imports what only this request needs as well; returns the files that its answer reads."""
    asked = PairRequest.from_json(request)
    if asked.inputs is None:
        for name in ("onnx", "onnx.numpy_helper"):
            importlib.import_module(name)
    if asked.inputs is not None:
        from qgate.measure.open_data import import_readers

        import_readers(asked.inputs, asked.images)
    if asked.task in TEXTS:
        importlib.import_module("rapidfuzz.distance")
    if asked.task in BOXES:
        importlib.import_module("pycocotools.cocoeval")
    folders = prepare_plugins(asked.code.values())
    forms = set(asked.forms.values())
    if "tflite" in forms:
        from qgate.runtimes.litert import import_library

        import_library()
    if forms - {"tflite"}:
        from qgate.runtimes.pytorch.libraries import import_torch

        import_torch(forms - {"tflite"}, torchao=asked.torchao)
        folders += installed_packages()
    if asked.cost in ("reference", "candidate"):
        from qgate.measure.costs import STATUS

        folders.append(STATUS)
    return [*asked.files(), *folders]


def answer(request: str, progress: Progress) -> bytes:
    """The result, or the error, as JSON."""
    from qgate.measure.side import SideError

    asked = PairRequest.from_json(request)
    try:
        if asked.cost == "rows":
            found: dict[str, Any] = {"rows": _rows(asked)}
        elif asked.cost:
            from qgate.measure.costs import measure_cost

            found = {"cost": measure_cost(asked)}
        else:
            found = {"result": measure(asked, progress)}
    except SideError as error:
        found = {"error": {"kind": error.cause, "role": error.role, "what": error.what}}
    except DataError as error:
        found = {"error": {"kind": "data", "what": error.what, "where": error.where, "remedy": error.remedy}}
    except PluginError as error:
        found = {"error": {"kind": "code", "what": error.what, "where": error.where, "remedy": error.remedy}}
    except MemoryError:
        found = {"error": {"kind": "memory"}}
    return json.dumps(_encoded({"schema": SCHEMA, **found}), allow_nan=False).encode()


def _encoded(value: Any) -> Any:
    """The value with non-finite numbers as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {key: _encoded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    return value


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
        comparison = _comparison(request, pair, probes, file)
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
    from qgate.measure.open_data import open_data

    if request.inputs is None:
        yield None
        return
    with open_data(request.inputs, request.label("inputs"), request.images) as file:
        yield file


def _rows(request: PairRequest) -> int:
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


def _comparison(request: PairRequest, pair: Any, probes: Mapping[str, Any], file: Any) -> Any:
    """Decides which output meets which, which are class scores, and what the task is."""
    import numpy as np

    from qgate.measure.classes import score_form
    from qgate.measure.request import WHOLE_CLASSES
    from qgate.measure.run import Comparison
    from qgate.measure.task import plan_task
    from qgate.measure.tasks.base import Options

    leading = "reference" if "reference" in pair.sides else "candidate"
    names = tuple(info.name for info in pair.sides[leading].runner.outputs)
    theirs = (
        [info.name for info in pair.sides["candidate"].runner.outputs] if "candidate" in pair.sides else []
    )
    renamed = {name: request.io_map.get(name, name) if leading == "reference" else name for name in names}
    outputs = {i: theirs.index(renamed[n]) if renamed[n] in theirs else None for i, n in enumerate(names)}
    samples = {i: np.asarray(v[0]) for i, v in enumerate(probes[leading]) if v is not None}
    shapes = [_shape(name, samples.get(i)) for i, name in enumerate(names)]
    task, own = None, request.code.get("task")
    if file is not None:
        task, remarks = plan_task(
            file,
            labels=request.labels,
            slices=request.slices,
            task=request.task,
            wanted_output=request.task_output,
            outputs=shapes,
            count=pair.samples.count,
            options=Options.of(request.task_options),
            function=(load_function(own), own.label) if own is not None else None,
        )
        pair.problems += [("task", remark) for remark in remarks]
    forms = {i: score_form(each) for i, each in samples.items()}
    for i, shape in enumerate(shapes):
        scored = task is not None and task.task.metric in WHOLE_CLASSES and task.output == i
        if shape.is_scores and forms.get(i) is None and (scored or _LOGITS.search(shape.name)):
            forms[i] = "scores"
    observed = pair.session is not None
    taps = request.taps if pair.sides[leading].watched or observed else ()
    layers = request.layers if observed else ()
    found = Comparison(outputs, names, {i: f for i, f in forms.items() if f}, taps, task, layers)
    if leading == "reference":
        compared = (i for i, j in outputs.items() if j is not None and not _is_whole(pair, i, j))
        found.sketched = frozenset(compared)
    return found


def _shape(name: str, sample: Any) -> Any:
    """An output as its first sample shows it; of no kind where that is not made of numbers."""
    import numpy as np

    from qgate.measure.choose_task import OutputShape
    from qgate.measure.classes import score_form

    if sample is None:
        return OutputShape(name, (), np.dtype("O"))
    row = sample.reshape(-1, sample.shape[-1])[0] if sample.ndim and sample.size else None
    return OutputShape(name, sample.shape, sample.dtype, score_form(row) if row is not None else None)


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
        whole = _is_whole(pair, ours, theirs)
        states.append({**record.outputs[ours].state(), "integer": whole, "batch": effects.get(theirs)})
    return states


def _is_whole(pair: Any, ours: int, theirs: int) -> bool:
    """Whether an output holds whole numbers on both sides, which are equal or not and have no distance."""
    leading = pair.sides.get("reference", pair.sides.get("candidate"))
    dtypes = leading.runner.outputs[ours].dtype, pair.sides["candidate"].runner.outputs[theirs].dtype
    return not any(dtype.startswith("float") for dtype in dtypes)
