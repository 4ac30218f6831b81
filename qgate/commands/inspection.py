"""``qgate inspect``: what a model file holds, and what is wrong with it, told without running anything of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qgate.errors import FormatError
from qgate.records import Finding, Severity

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel, TensorType
    from qgate.measure.portrait import Affine, Portrait, TensorPortrait

SCHEMA = "qgate-inspect/v1"
SHOWN = 40
"""Tensors and activations that are printed; --all and --json have every one."""

_SUFFIXES = {
    "onnx": (".onnx",), "safetensors": (".safetensors",), "torch-export": (".pt2",),
    "torch-checkpoint": (".pt", ".pth", ".bin", ".ckpt"), "torch-legacy": (".pt", ".pth", ".bin", ".ckpt"),
    "torchscript": (".pt", ".ts", ".pth"), "tensorrt-engine": (".engine", ".plan", ".trt"), "tflite": (".tflite",),
    "executorch": (".pte",),
}  # fmt: skip
_UNJUDGED = {"ART115"}
"""Rules about what a run would have shown: nothing is run here."""


def inspect_file(path: Path, *, as_json: bool, everything: bool) -> int:
    """Prints what a file is; 0 where it was read, 1 where that shows an error, 2 where it is refused.

    Raises:
        FormatError: There is no such file, or nothing can be said of it.
    """
    from qgate.formats.detect import FORMAT_NAMES, detect_format
    from qgate.formats.read import read_model

    kind = detect_format(path)
    head = {
        "schema": SCHEMA,
        "file": str(path),
        "format": kind,
        "name": FORMAT_NAMES[kind],
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }
    try:
        model = read_model(path)
        portrait, findings = _portrayed(model)
    except FormatError as error:
        refused = {"rule": error.rule, "what": error.what, "remedy": error.remedy, "tensor": error.tensor}
        found = {**head, "format": getattr(error, "kind", kind), "refused": refused}
        _say(found, None, (), as_json=as_json, everything=everything)
        return 2
    findings = (*_renamed(path, kind, str(head["name"])), *findings)
    head["bytes"] = model.file_bytes
    _say(head, portrait, findings, as_json=as_json, everything=everything)
    return 1 if any(finding.severity is Severity.ERROR for finding in findings) else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _portrayed(model: StaticModel) -> tuple[Portrait, tuple[Finding, ...]]:
    from qgate.judge import judge
    from qgate.measure.interface import Interface
    from qgate.measure.portrait import portray
    from qgate.measure.static import inspect_pair
    from qgate.policy.thresholds import resolve
    from qgate.rules.catalogue import catalogue

    portrait = portray(model)
    inspection = inspect_pair(None, model, Interface())
    scheme = inspection.scheme.name
    # A float model is no mistake here: nobody has said what this file should be.
    declared = {"scheme": scheme, "derivation": "none", "data": "none", "ran": False, "sandbox": "required",
                "unconfined": {}, "require_signature": False}  # fmt: skip
    limits = resolve(None, None, "balanced", scheme, rules=catalogue())
    found = judge(inspection.measurements, limits, scheme=scheme, declared=declared)
    return portrait, tuple(finding for finding in found if finding.rule not in _UNJUDGED)


def _renamed(path: Path, kind: str, name: str) -> Iterator[Finding]:
    suffix = path.suffix.lower()
    known = {end for ends in _SUFFIXES.values() for end in ends}
    if suffix in known and suffix not in _SUFFIXES.get(kind, (suffix,)):
        yield Finding(
            rule="ART104",
            severity=Severity.WARNING,
            message=f"the file is named {suffix} and is {name}",
            remedy="Rename it: other programs go by the name",
        )


def _say(
    head: dict[str, Any],
    portrait: Portrait | None,
    findings: Iterable[Finding],
    *,
    as_json: bool,
    everything: bool,
) -> None:
    if as_json:
        body = {} if portrait is None else asdict(portrait)
        risks = [finding.model_dump(mode="json") for finding in findings]
        click.echo(json.dumps(_plain({**head, **body, "risks": risks}), indent=2, allow_nan=False))
        return
    for line in _lines(head, portrait, tuple(findings), everything):
        click.echo(line)


def _plain(value: Any) -> Any:
    """The value as JSON has it; what is not finite as a word."""
    from qgate.measure.plain import plain_number

    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _lines(
    head: dict[str, Any], portrait: Portrait | None, findings: tuple[Finding, ...], everything: bool
) -> Iterator[str]:
    from qgate.report.escape import name, visible
    from qgate.report.figures import size

    yield f"{visible(str(head['file']))}: {head['name']}, {size(head['bytes'])}"
    yield f"sha256 {head['sha256']}"
    if portrait is None:
        refused = head["refused"]
        yield f"Refused ({refused['rule']}): {visible(refused['what'])}"
        yield f"What to do: {visible(refused['remedy'])}"
        return
    if portrait.producer:
        yield f"Producer: {name(portrait.producer)}"
    yield _scheme(portrait)
    for what, held in (("Inputs", portrait.inputs), ("Outputs", portrait.outputs)):
        if held:
            yield f"{what}: {', '.join(map(_typed, held[:SHOWN]))}"
    if portrait.operators:
        counted = [f"{name(op)} {count}" for op, count in list(portrait.operators.items())[:12]]
        more = len(portrait.operators) - len(counted)
        yield f"Operators: {', '.join(counted)}{f' and {more} other kinds' if more > 0 else ''}"
    if portrait.unused_bytes:
        yield f"Not read by anything: {size(portrait.unused_bytes)} of constants, not counted as weights"
    yield from _tensors(portrait, everything)
    yield from _activations(portrait, everything)
    yield from _risks(findings)


def _scheme(portrait: Portrait) -> str:
    from qgate.report.figures import percent

    scheme = portrait.scheme
    if not scheme.parameters:
        return "Scheme: none, for there are no weights"
    types = ", ".join(f"{dtype} {count:,}" for dtype, count in scheme.types.items())
    what = "none: every weight is in full precision" if scheme.name == "none" else scheme.name
    dynamic = ", activations quantized while it runs" if portrait.dynamic else ""
    return (
        f"Scheme: {what}{dynamic}; {scheme.bits:.3g} bits a weight, "
        f"{percent(scheme.share)} of {scheme.parameters:,} weights in fewer than 32 bits ({types})"
    )


def _typed(tensor: TensorType) -> str:
    from qgate.report.escape import name

    shape = (
        "?"
        if tensor.shape is None
        else ", ".join(name(str(d)) if d is not None else "?" for d in tensor.shape)
    )
    return f"{name(tensor.name)} {tensor.dtype} [{shape}]"


def _tensors(portrait: Portrait, everything: bool) -> Iterator[str]:
    from qgate.report.escape import name

    # Scales and zero points are told with what they belong to.
    told = [each for each in portrait.tensors if everything or each.role != "parameter"]
    order = {"weight": 0, "constant": 1, "unused": 2, "parameter": 3}
    told.sort(key=lambda each: order[each.role])
    yield f"Tensors ({len(portrait.tensors)}):"
    for each in told if everything else told[:SHOWN]:
        role = "" if each.role in ("weight", "constant") else f", {each.role}"
        shape = "x".join(map(str, each.shape)) or "scalar"
        yield f"  {name(each.name)}  {each.dtype} {shape}{role}  {_range(each)}{_mapped(each.affine)}"
    if not everything and len(told) > SHOWN:
        yield f"  and {len(told) - SHOWN} more: --all"


def _range(tensor: TensorPortrait) -> str:
    from qgate.report.figures import number

    broken = f", {tensor.nonfinite} not finite" if tensor.nonfinite else ""
    if tensor.low is None or tensor.high is None:
        return f"no numbers{broken}"
    return f"{number(tensor.low)} … {number(tensor.high)}{broken}"


def _mapped(affine: Affine | None) -> str:
    from qgate.report.figures import number

    if affine is None:
        return ""
    scale = number(affine.scale_low)
    if affine.scale_low != affine.scale_high:
        scale += f" … {number(affine.scale_high)}"
    many = f"{affine.scales} scales" if affine.scales > 1 else "scale"
    where = "" if affine.axis is None else f" along axis {affine.axis}"
    where += f" in blocks of {affine.block}" if affine.block else ""
    zero = number(affine.zero_low)
    if affine.zero_low != affine.zero_high:
        zero += f" … {number(affine.zero_high)}"
    return f"; {many}{where} {scale}, zero point {zero}"


def _activations(portrait: Portrait, everything: bool) -> Iterator[str]:
    from qgate.report.escape import name
    from qgate.report.figures import number

    if not portrait.activations:
        return
    yield f"Activations ({len(portrait.activations)}):"
    for each in portrait.activations if everything else portrait.activations[:SHOWN]:
        reach = f"{number(each.low)} … {number(each.high)}" if math.isfinite(each.low + each.high) else "?"
        yield f"  {name(each.name)}  {each.dtype}  {reach}{_mapped(each.affine)}"
    if not everything and len(portrait.activations) > SHOWN:
        yield f"  and {len(portrait.activations) - SHOWN} more: --all"


def _risks(findings: tuple[Finding, ...]) -> Iterator[str]:
    from qgate.report.escape import visible

    if not findings:
        yield "Risks: none that the file shows by itself"
        return
    yield f"Risks ({len(findings)}):"
    for finding in findings[:SHOWN]:
        place = f" ({visible(str(finding.at))})" if str(finding.at) else ""
        yield f"  {finding.severity} {finding.rule}{place}: {visible(finding.message)}"
    if len(findings) > SHOWN:
        yield f"  and {len(findings) - SHOWN} more: --json"
