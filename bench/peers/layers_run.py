"""One contender of ``bench/layers.py``, a process to itself: ``layers_run.py HOW REFERENCE CANDIDATE INPUTS BATCH``.

HOW is ``floor`` (both plain sessions, ONNX Runtime's own defaults), ``tuned`` (one thread a session, two workers),
``engine`` (qgate's layers in one joined session), ``loss_debug`` (onnxruntime.quantization.qdq_loss_debug), or
``polygraphy`` (in the virtual environment that has it); ``weights`` and ``loss_debug_weights`` compare the weights alone
and tell the seconds of that step. The engine takes ``--figures all|five|sqnr``, ``--layers
all|compute``, ``--workers N``, ``--check``. The last line that is printed is JSON: what was done, and seconds by step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

CPU = ["CPUExecutionProvider"]
FIVE = ("aa", "bb", "dd", "d_max", "d_min")
"""Five reductions; the length comes with them."""

SQNR = ("aa", "dd")
COMPUTE = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


class Given:
    """The inputs in batches, read from the file once."""

    def __init__(self, path: str, batch: int) -> None:
        import numpy as np

        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.count = len(next(iter(self.arrays.values())))
        self.batch = batch

    def starts(self) -> range:
        """First sample of each batch."""
        return range(0, self.count, self.batch)

    def feeds(self, start: int) -> dict[str, Any]:
        """One batch by the names of the inputs."""
        return {name: each[start : start + self.batch] for name, each in self.arrays.items()}


def floor(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """Both models, one after the other."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    for path in (options.reference, options.candidate):
        session = onnxruntime.InferenceSession(path, settings, providers=CPU)
        for start in given.starts():
            session.run(None, given.feeds(start))
    return {}


def tuned(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """Both models, one thread a session, samples shared by the workers."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    paths = (options.reference, options.candidate)
    with ThreadPoolExecutor(options.workers) as pool:
        for session in pool.map(lambda p: onnxruntime.InferenceSession(p, settings, providers=CPU), paths):
            for _ in pool.map(
                lambda start, s=session: s.run(None, given.feeds(start)) and None, given.starts()
            ):
                pass
    return {}


def engine(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """qgate's own: read, align, plan, join, load, run; as ``qgate verify`` does it, without the gate around it."""
    clock = Clock()
    from qgate.align.fingerprint import match_by_values
    from qgate.align.walk import align
    from qgate.formats.read import read_model
    from qgate.measure.layers.join import join, mark_for
    from qgate.measure.layers.plan import plan_layers
    from qgate.measure.layers.session import JoinedModel
    from qgate.measure.layers.statistics import LayerRecord
    from qgate.quant.build import float_view
    from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

    clock.lap("import")
    reference, candidate = Path(options.reference), Path(options.candidate)
    models = [read_model(path) for path in (reference, candidate)]
    views = [float_view(model) for model in models]
    alignment = align(*views, {}, {})
    match_by_values(alignment, *views)
    layers = plan_layers(alignment, *views)
    if options.layers == "compute":
        layers = tuple(each for each in layers if each.op in COMPUTE)
    if options.figures != "all":
        layers = tuple(replace(each, sampled=False, channel=None) for each in layers)
    mark = mark_for(_names(models[1].graph))
    counts = len(views[0].outputs), len(views[1].outputs)
    inputs = {
        role: [t.name for t in view.inputs]
        for role, view in zip(("reference", "candidate"), views, strict=True)
    }
    del models, views, alignment
    clock.lap("plan")
    _restrict(options.figures)
    top = Path(os.path.commonpath([reference.parent, candidate.parent]))
    joined = top / f"joined-{os.getpid()}.onnx"
    try:
        join(reference, candidate, layers, joined, mark)
        clock.lap("join")
        runner = OnnxRuntimeRunner(joined, threads=1)
    finally:
        joined.unlink(missing_ok=True)
    model = JoinedModel(runner, mark, layers, counts)
    clock.lap("load")
    total = LayerRecord(layers)

    def work(start: int) -> tuple[int, Any, Any]:
        feeds = given.feeds(start)
        outputs, figures = model.run({role: {n: feeds[n] for n in names} for role, names in inputs.items()})
        return start, outputs["candidate"] if start == 0 else None, figures

    with ThreadPoolExecutor(options.workers) as pool:
        for start, outputs, figures in pool.map(work, given.starts()):
            total.add(figures, start)
            if outputs is not None and options.check:
                _check(candidate, given.feeds(start), outputs)
    total.states()
    clock.lap("run")
    return {"layers": len(layers), "seconds": clock.seconds, "cpu": clock.cpu}


class Clock:
    """Seconds by step, of the clock and of the processors."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._last = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """Ends a step."""
        now = time.perf_counter(), time.process_time()
        self.seconds[name] = round(now[0] - self._last[0], 3)
        self.cpu[name] = round(now[1] - self._last[1], 3)
        self._last = now


def _restrict(figures: str) -> None:
    """Has fewer figures written and read for each layer, to see what each costs."""
    chosen = {"five": FIVE, "sqnr": SQNR}.get(figures)
    if chosen is not None:
        from qgate.measure.layers import figures as read
        from qgate.measure.layers import ledger

        ledger.statistics_of = read.statistics_of = lambda layer: chosen


def _names(graph: Any) -> list[str]:
    return [
        *(t.name for t in graph.inputs),
        *graph.constants,
        *(name for node in graph.nodes for name in node.outputs),
    ]


def _check(candidate: Path, feeds: dict[str, Any], outputs: list[Any]) -> None:
    """The candidate alone answers the same, bit for bit."""
    from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

    alone = OnnxRuntimeRunner(candidate, threads=1).run(feeds)
    if [each.tobytes() for each in alone] != [each.tobytes() for each in outputs]:
        raise SystemExit("observing the layers changes what the candidate answers")


def loss_debug(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """As its documentation has it: both models with every tensor an output, then compared."""
    from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows: Iterator[dict[str, Any]] = iter([given.feeds(start) for start in given.starts()])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rows, None)

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for role, path in (("reference", options.reference), ("candidate", options.candidate)):
            marked = str(Path(folder) / f"{role}.onnx")
            qdq_loss_debug.modify_model_output_intermediate_tensors(path, marked)
            found.append(qdq_loss_debug.collect_activations(marked, Reader(), execution_providers=CPU))
    matching = qdq_loss_debug.create_activation_matching(found[1], found[0])
    return {"layers": len(qdq_loss_debug.compute_activation_error(matching))}


def weights(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """qgate's comparison of every weight: derivation, rounding, signal to noise."""
    from qgate.align.fingerprint import match_by_values
    from qgate.align.walk import align
    from qgate.formats.read import read_model
    from qgate.measure.weights import measure_weights
    from qgate.quant.build import float_view

    views = [float_view(read_model(Path(path))) for path in (options.reference, options.candidate)]
    alignment = align(*views, {}, {})
    match_by_values(alignment, *views)
    sizes = {
        pair.reference.name: 4 * pair.reference.size for pair in alignment.constants if pair.role == "weight"
    }
    began = time.perf_counter()
    list(measure_weights(alignment, views[1]).measurements)
    return {"seconds": time.perf_counter() - began, "bytes": sum(sizes.values()), "weights": len(sizes)}


def loss_debug_weights(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """The same by qdq_loss_debug, which tells signal to noise alone."""
    from onnxruntime.quantization import qdq_loss_debug

    began = time.perf_counter()
    matching = qdq_loss_debug.create_weight_matching(options.reference, options.candidate)
    found = qdq_loss_debug.compute_weight_error(matching)
    sizes = sum(4 * each["float"].size for each in matching.values())
    return {"seconds": time.perf_counter() - began, "bytes": sizes, "weights": len(found)}


def polygraphy(options: argparse.Namespace, given: Given) -> dict[str, Any]:
    """Every tensor an output, iteration by iteration, each compared as it comes."""
    from polygraphy import constants
    from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromPath
    from polygraphy.backend.onnxrt import OnnxrtRunner, SessionFromOnnx
    from polygraphy.comparator import Comparator, CompareFunc

    runners = []
    for path in (options.reference, options.candidate):
        marked = ModifyOutputs(OnnxFromPath(path), outputs=constants.MARK_ALL)
        runners.append(OnnxrtRunner(SessionFromOnnx(BytesFromOnnx(marked), providers=["cpu"])))
    compare = CompareFunc.simple(check_error_stat="mean")
    layers = 0
    for start in given.starts():
        with contextlib.redirect_stdout(sys.stderr):
            results = Comparator.run(runners, data_loader=[given.feeds(start)])
            layers = len(Comparator.compare_accuracy(results, compare_func=compare).output_names())
    return {"layers": layers}


def main() -> int:
    """Runs one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    how = {
        each.__name__: each
        for each in (floor, tuned, engine, loss_debug, polygraphy, weights, loss_debug_weights)
    }
    parser.add_argument("how", choices=how)
    parser.add_argument("reference")
    parser.add_argument("candidate")
    parser.add_argument("inputs")
    parser.add_argument("batch", type=int)
    parser.add_argument("--figures", choices=("all", "five", "sqnr"), default="all")
    parser.add_argument("--layers", choices=("all", "compute"), default="all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    print(json.dumps(how[options.how](options, Given(options.inputs, options.batch))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
