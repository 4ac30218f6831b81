"""Which output of the candidate meets which of the reference, which are class scores, and what the task is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qgate.measure.plugin import load_function
from qgate.measure.request import PairRequest

_LOGITS = re.compile(r"(logit|softmax|prob)", re.IGNORECASE)


def plan_comparison(request: PairRequest, pair: Any, probes: Mapping[str, Any], file: Any) -> Any:
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
    held = getattr(task.task, "outputs", ()) if task is not None else ()
    found.boxes = frozenset(i for i, name in enumerate(names) if name in held)
    if leading == "reference":
        there = {i: j for i, j in outputs.items() if j is not None and i not in found.boxes}
        compared = (i for i, j in there.items() if not is_whole(pair, i, j))
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


def is_whole(pair: Any, ours: int, theirs: int) -> bool:
    """Whether an output holds whole numbers on both sides, which are equal or not and have no distance."""
    leading = pair.sides.get("reference", pair.sides.get("candidate"))
    dtypes = leading.runner.outputs[ours].dtype, pair.sides["candidate"].runner.outputs[theirs].dtype
    return not any(dtype.startswith("float") for dtype in dtypes)
