"""TensorRT on a real GPU: the candidate's engine beside the reference's.

A GPU cannot be reached from within the sandbox: the run takes `sandbox: reduced`, which is the trusted side's word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from qgate.errors import MeasureError
from qgate.measure.deployed.asking import ask
from qgate.measure.deployed.runs import Runs, request_of
from qgate.records import Measurement, Place
from qgate.runtimes.registry import DEVICE, Runtime
from qgate.runtimes.tensorrt_device import unavailable
from qgate.sandbox.limits import Limits

_AT = Place(runtime=DEVICE.name)


def device_limits(limits: Limits) -> Limits:
    """What a process may use that must reach a GPU."""
    return replace(limits, devices=True)


def device_measurements(
    runs: Runs, run: Callable[[Runtime, Runs], Iterator[Measurement]]
) -> Iterator[Measurement]:
    """``tensorrt.device`` (whether it ran there), what ``run`` measures of a runtime, and the ratio of latencies.

    Args:
        runs: What the other runtimes answered.
        run: Runs the candidate in a runtime and compares it with the reference.
    """
    reason = unavailable()
    if not reason and not runs.request.limits.reduced:
        reason = "a GPU cannot be reached from within the sandbox; it takes `sandbox: reduced`"
    if reason:
        yield Measurement(name="tensorrt.device", at=_AT, not_measured=reason)
        return
    found = list(run(DEVICE, runs))
    yield from found
    ran = any(each.name == "runtime.ran" and each.value is True for each in found)
    told = {"value": True} if ran else {"not_measured": "the candidate did not run there"}
    yield Measurement.model_validate({"name": "tensorrt.device", "at": _AT, **told})
    if ran and runs.request.reference is not None:
        yield _latency(runs)


def _latency(runs: Runs) -> Measurement:
    """Median time of the candidate's engine over that of the reference's, both for the same samples."""
    name, limits = "tensorrt.latency_ratio", device_limits(runs.request.limits)
    form = runs.request.forms.get("reference", "onnx")
    if form != "onnx":
        return Measurement(
            name=name, at=_AT, not_measured=f"TensorRT reads no {form} file, which the reference is"
        )
    asked = request_of(runs, DEVICE.name)
    original = replace(
        asked, model=runs.request.reference or asked.model, names=runs.inputs.arrays, types={}, single=False
    )
    try:
        spent = [ask(each, limits, runs.request.label("candidate"))[0].seconds for each in (asked, original)]
    except MeasureError as error:
        return Measurement(name=name, at=_AT, not_measured=error.what)
    if not spent[0] or not spent[1]:
        return Measurement(name=name, at=_AT, not_measured="no time was taken")
    detail = {"candidate_seconds": spent[0], "reference_seconds": spent[1]}
    return Measurement(
        name=name, at=_AT, value=spent[0] / spent[1], unit="ratio", n=runs.inputs.samples, deterministic=False, detail=detail
    )  # fmt: skip
