"""The candidate in every runtime that its target declares: run where it runs, asked where it is only read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasureError
from qgate.formats.model import StaticModel
from qgate.measure.deployed.asking import RuntimeRefusedError, ask
from qgate.measure.deployed.avx2 import about, avx2_limits, unavailable
from qgate.measure.deployed.compare import Difference, compare, range_step
from qgate.measure.deployed.device import device_limits, device_measurements
from qgate.measure.deployed.inputs import materialise
from qgate.measure.deployed.locate import APART, first_parting, spots
from qgate.measure.deployed.oracle import oracle_measurements
from qgate.measure.deployed.runs import Runs, request_of
from qgate.measure.request import PairRequest
from qgate.records import Measurement, Place
from qgate.runtimes.processor import saturates
from qgate.runtimes.registry import AVX2, DEVICE, RUNTIMES, Runtime
from qgate.sandbox.limits import Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASURING = "onnxruntime"
"""The runtime that everything else is measured in."""


def measure_runtimes(
    request: PairRequest,
    candidate: StaticModel,
    runtimes: Sequence[str],
    steps: Mapping[str, float],
    folder: Path,
) -> Iterator[Measurement]:
    """``runtime.*`` and ``tensorrt.*``: who takes the candidate, and whether they compute the same.

    Args:
        request: The pair, as it was run in ONNX Runtime.
        candidate: The candidate's file.
        runtimes: What the target declares.
        steps: Steps of quantized outputs, by the reference's names.
        folder: A folder that a confined process can read.
    """
    others = [RUNTIMES[name] for name in RUNTIMES if name in runtimes and name != MEASURING]
    present = [each for each in others if each.installed and candidate.format in each.formats]
    yield from (_absent(each) for each in others if not each.installed)
    if not present and "tensorrt" not in runtimes:
        return
    plain = replace(request, layers=(), joined=None, labels=None, slices=None, task=None, cost="")
    try:
        inputs = materialise(plain, candidate, folder)
    except MeasureError as error:
        yield from (_lost(each, f"no inputs to run it on: {error.what}", "failed") for each in present)
        return
    runs = Runs(plain, candidate, steps, inputs, {MEASURING: inputs.candidate})
    for runtime in present:
        reason = unavailable(plain.limits) if runtime.name == AVX2 else ""
        if reason:
            yield _lost(runtime, reason, "failed")
        else:
            yield from _run(runtime, runs) if runtime.runs else oracle_measurements(plain, candidate, inputs)
    if "tensorrt" in runtimes:
        yield from device_measurements(runs, _run)
    for one, other in combinations(runs.outputs, 2):
        # What saturates is compared with what is exact; other runtimes have nothing to do with it.
        if AVX2 not in (one, other) or MEASURING in (one, other):
            yield from _pair(runs, one, other)


def _absent(runtime: Runtime) -> Measurement:
    reason = f"{runtime.title} is not installed here (pip install 'qgate[{runtime.extra}]')"
    if not runtime.runs:
        return Measurement(name=f"{runtime.name}.parsed", at=Place(runtime=runtime.name), not_measured=reason)
    return _lost(runtime, reason, "absent")


def _lost(runtime: Runtime, reason: str, cause: str) -> Measurement:
    name = "runtime.ran" if runtime.runs else f"{runtime.name}.parsed"
    detail = {"cause": cause, "extra": runtime.extra}
    return Measurement(name=name, at=Place(runtime=runtime.name), not_measured=reason, detail=detail)


def _run(runtime: Runtime, runs: Runs) -> Iterator[Measurement]:
    try:
        answer, arrays = ask(
            request_of(runs, runtime.name), _limits(runs, runtime.name), runs.request.label("candidate")
        )
    except RuntimeRefusedError as error:
        yield _lost(runtime, error.what, "refused")
        return
    except MeasureError as error:
        yield _lost(runtime, error.what, "failed")
        return
    found = [values for (kind, _), values in arrays.items() if kind == "candidate"]
    if len(found) != len(runs.inputs.candidate):
        yield _lost(runtime, f"{runtime.title} returns {len(found)} outputs that can be compared, ONNX Runtime "
                    f"{len(runs.inputs.candidate)}", "failed")  # fmt: skip
        return
    # By position: a runtime may call an output by another of its tensor's names.
    runs.outputs[runtime.name] = dict(zip(runs.inputs.candidate, found, strict=True))
    yield Measurement(
        name="runtime.ran", at=Place(runtime=runtime.name), value=True, n=answer.samples,
        detail={"version": answer.version, "against": f"onnxruntime {runs.inputs.version}",
                **(about(runs.request.limits) if runtime.name == AVX2 else {})},
    )  # fmt: skip
    yield from _against_reference(runtime, runs)


def _limits(runs: Runs, runtime: str) -> Limits:
    if runtime == AVX2:
        return avx2_limits(runs.request.limits)
    return device_limits(runs.request.limits) if runtime == DEVICE.name else runs.request.limits


def _outputs(runs: Runs) -> Iterator[tuple[str, str, NDArray[Any] | None]]:
    """The reference's name of each output, the candidate's, and the reference's values where there are any."""
    back = {theirs: ours for ours, theirs in runs.request.io_map.items()}
    for theirs in runs.inputs.candidate:
        ours = back.get(theirs, theirs)
        yield ours, theirs, runs.inputs.reference.get(ours)


def _step(runs: Runs, ours: str, theirs: str, reference: NDArray[Any] | None) -> tuple[float, bool]:
    """One step of an output, and whether it is a quantizer's."""
    values = runs.inputs.candidate[theirs]
    if ours in runs.steps:
        return runs.steps[ours], True
    if values.dtype.kind in "iub":
        return 1.0, False
    return range_step(values if reference is None else reference), False


def _against_reference(runtime: Runtime, runs: Runs) -> Iterator[Measurement]:
    for ours, theirs, reference in _outputs(runs):
        mine, base = runs.outputs[runtime.name][theirs], runs.inputs.candidate[theirs]
        if reference is None or mine.dtype.kind != "f" or base.dtype.kind != "f":
            continue
        found, usual = compare(reference, mine, 1.0), compare(reference, base, 1.0)
        at = Place(output=ours, runtime=runtime.name)
        if found is None or usual is None:
            yield Measurement(name="runtime.sqnr_db", at=at, not_measured="the shapes differ")
        else:
            yield Measurement(name="runtime.sqnr_db", at=at, value=found.sqnr_db, unit="dB", n=runs.inputs.samples,
                              detail={"onnxruntime_db": usual.sqnr_db, "saturates": saturates()})  # fmt: skip


def _pair(runs: Runs, one: str, other: str) -> Iterator[Measurement]:
    """How far two runtimes differ, and where they part first."""
    far = False
    for ours, theirs, reference in _outputs(runs):
        step, quantized = _step(runs, ours, theirs, reference)
        left, right = runs.outputs[one][theirs], runs.outputs[other][theirs]
        found = compare(left, right, step)
        at = Place(output=ours, runtime=f"{one} and {other}")
        if found is None:
            far = True
            shapes = f"{list(left.shape)} and {list(right.shape)}"
            yield Measurement(name="runtime.lsb", at=at, not_measured=f"the outputs have the shapes {shapes}")
            continue
        own = None if reference is None else compare(reference, left, step)
        far = far or not (found.most <= APART or (own is not None and found.rms <= own.rms))
        yield Measurement(name="runtime.lsb", at=at, value=found.most, unit="steps", n=runs.inputs.samples,
                          detail=_detail(found, own, quantized=quantized))  # fmt: skip
    if far:
        yield _parting(runs, one, other)


def _detail(found: Difference, own: Difference | None, *, quantized: bool) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "rms": found.rms,
        "sqnr_db": found.sqnr_db,
        "step": found.step,
        "index": list(found.index),
        "step_of": "quantizer" if quantized else "range",
        "saturates": saturates(),
    }
    # What quantization itself costs: rounding that falls otherwise adds noise of that size and no more.
    return detail if own is None else {**detail, "own_rms": own.rms}


def _parting(runs: Runs, one: str, other: str) -> Measurement:
    """Both runtimes on the first sample, with inner tensors handed back one by one."""
    at = Place(runtime=f"{one} and {other}")

    def look(taps: Sequence[str]) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, NDArray[Any]]]:
        return _tapped(runs, one, tuple(taps)), _tapped(runs, other, tuple(taps))

    every = spots(runs.candidate)
    try:
        found = first_parting(every, look)
    except MeasureError as error:
        return Measurement(name="runtime.parting", at=at, not_measured=error.what)
    if isinstance(found, int):
        told = f"none of the {found} inner tensors that could be looked at differs by more than a step in the first sample"
        return Measurement(name="runtime.parting", at=at, not_measured=told)
    return Measurement(
        name="runtime.parting", at=Place(tensor=found.spot.tensor, node=found.spot.node, runtime=at.runtime), value=found.most,
        unit="steps", n=1, detail={"agree_until": found.after, "compared": found.compared, "step": found.spot.step},
    )  # fmt: skip


def _tapped(runs: Runs, runtime: str, taps: tuple[str, ...]) -> Mapping[str, NDArray[Any]]:
    _, arrays = ask(request_of(runs, runtime, taps), _limits(runs, runtime), runs.request.label("candidate"))
    return {name: values for (kind, name), values in arrays.items() if kind == "tap"}
