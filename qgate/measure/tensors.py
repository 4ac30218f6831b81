"""The static inspection of pairs of which one has no graph that is followed: tensors alone.

Where a side cannot be run, such a pair is judged by its tensors and is INCONCLUSIVE at best: which operations use
them, and what comes out, was not measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from qgate.align.flat import align_flat
from qgate.align.names import align_by_name
from qgate.formats.model import StaticModel
from qgate.formats.torch.operators import policy_name, why_unknown
from qgate.measure.beside import measure_beside
from qgate.measure.demand.measured import measure_demand
from qgate.measure.deploy import measure_deployment
from qgate.measure.executable import why_not_run
from qgate.measure.flat_programs import measure_flat_programs
from qgate.measure.flat_quantizers import given_scales
from qgate.measure.flat_scales import measure_flat_scales
from qgate.measure.flat_signatures import measure_flat_signatures
from qgate.measure.inspection import (
    Inspection,
    measure_constants,
    measure_reference_bits,
    measure_sizes,
)
from qgate.measure.layers.by_module import plan_modules
from qgate.measure.layers.by_place import plan_places
from qgate.measure.layers.layer import Layer
from qgate.measure.layers.module_ranges import plan_ranges
from qgate.measure.operators import unknown_operators
from qgate.measure.program_steps import measure_program_steps
from qgate.measure.programs import measure_programs
from qgate.measure.request import Tap
from qgate.measure.structure import measure_structure
from qgate.measure.untouched import measure_untouched
from qgate.measure.weights import measure_weights
from qgate.quant.alignment import Alignment
from qgate.quant.build import float_view
from qgate.quant.flatview import flat_view
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.scheme import detect_scheme
from qgate.quant.tensorview import tensor_view
from qgate.records import Measurement, Place
from qgate.sandbox.limits import Limits

_SCRIPTS = {"torchscript": "TorchScript", "executorch": "an ExecuTorch program"}


def inspect_tensors(
    reference: StaticModel | None,
    candidate: StaticModel,
    *,
    allowed_operators: frozenset[str] = frozenset(),
    limits: Limits | None = None,
    runtimes: Collection[str] = ("onnxruntime",),
    not_run: Mapping[str, str] | None = None,
) -> Inspection:
    """Inspects a pair by its tensors, or a candidate alone where there is no reference.

    Args:
        reference: The full-precision model.
        candidate: The quantized one.
        allowed_operators: Operators that the policy adds.
        limits: What a run may use; by default what the sandbox gives.
        runtimes: Where the candidate must run.
        not_run: Why a side cannot be run, see ``executable``; by default as if there were no factory and no trust.
    """
    formats = {"candidate": candidate.format, **({"reference": reference.format} if reference else {})}
    reasons = why_not_run(formats, (), "data") if not_run is None else not_run
    operators = list(_operators(candidate, allowed_operators))
    found = [
        Measurement(name="artifact.bytes", value=_bytes(candidate), unit="bytes"),
        *_not_run(formats, {**_unread(formats), **reasons}),
        *operators,
    ]
    demand = list(measure_demand(candidate, limits or Limits())) if candidate.format == "onnx" else []
    found += demand
    loops = any(node.op in ("Loop", "Scan") for node in candidate.graph.all_nodes())
    layers: tuple[Layer, ...] = ()
    taps: tuple[Tap, ...] = ()
    for side, model in (("reference", reference), ("candidate", candidate)):
        found += (*_checksums(side, model), *measure_beside(side, model)) if model is not None else ()
    view = _view(candidate)
    scheme = detect_scheme(view)
    found += measure_constants(view, scheme)
    found += measure_deployment(candidate, view, runtimes)
    if candidate.format == "tflite":
        found += measure_flat_scales(candidate)
    if reference is not None:
        found.append(measure_sizes(_bytes(reference), _bytes(candidate)))
        original = _view(reference)
        found += measure_reference_bits(original)
        roots = (reference.root, candidate.root)
        flat = None
        if reference.format == candidate.format == "tflite":
            flat = align_flat(reference, candidate, original, view)
        # Where the programs differ, which is told below, names are what is left to go by.
        alignment = flat or align_by_name(
            original, view, roots, ordered=reference.format == candidate.format == "torch-export"
        )
        found += _left_over(alignment, aligned=flat is not None)
        found += measure_structure(alignment, original, view)
        found += measure_programs(reference, candidate, alignment)
        found += measure_program_steps(reference, candidate, alignment)
        found += measure_flat_programs(reference, candidate)
        found += measure_flat_signatures(reference, candidate)
        found += measure_untouched(alignment, scheme)
        given = given_scales(candidate) if candidate.format == "tflite" else set()
        found += [
            each
            for each in measure_weights(alignment, view).measurements
            if each.name != "weight.coarse_scale" or each.detail["codes"] not in given
        ]
        layers = plan_modules(alignment, reference, candidate)
        if layers:
            taps, watching = plan_ranges(layers, reference, candidate, view.quantizers)
            layers += watching
        if flat is not None:
            layers, taps = plan_places(reference, candidate, view.quantizers)
    runnable = not (reasons or operators or demand or loops)
    return Inspection(tuple(found), scheme, view.dynamic, taps, runnable=runnable, layers=layers)


def _bytes(model: StaticModel) -> int:
    """Size of a file; of a program that of the tensors that it uses: PT2E leaves the float weights behind."""
    if model.format != "torch-export":
        return model.file_bytes
    read = {name for node in model.graph.all_nodes() for name in node.inputs}
    read |= {tensor.name for tensor in model.graph.outputs}
    return sum(held.bytes for name, held in model.graph.constants.items() if name in read)


def _left_over(alignment: Alignment, *, aligned: bool) -> Iterator[Measurement]:
    """Tensors of either side without a counterpart: what they are for, a file without a graph does not say.

    ``aligned``: The programs were aligned by place, so that nothing is left to doubt.
    """
    for difference in alignment.differences:
        yield Measurement(
            name="structure.difference", at=Place(tensor=difference.evidence["tensor"]), value=difference.kind,
            detail={"message": difference.message, "tensors": list(difference.evidence["tensors"]),
                    **({"rewritten": False} if aligned else {})},
        )  # fmt: skip
    alignment.differences.clear()


def _view(model: StaticModel) -> FloatGraph:
    if model.format == "tflite":
        return flat_view(model)
    return float_view(model) if model.format == "onnx" else tensor_view(model)


def _unread(formats: Mapping[str, str]) -> dict[str, str]:
    """Scripts are run where they are trusted; what they hold is not read."""
    return {
        side: f"the {side} is {_SCRIPTS[form]}, whose weights are not read: they were not held against the other side's. "
        "Save the state_dict, or export both models to ONNX"
        for side, form in formats.items()
        if form in _SCRIPTS
    }


def _not_run(formats: Mapping[str, str], reasons: Mapping[str, str]) -> Iterator[Measurement]:
    for side in ("candidate", "reference"):
        if side in reasons:
            yield Measurement(
                name="artifact.not_run", at=Place(file=side), value=formats[side],
                detail={"message": reasons[side]},
            )  # fmt: skip
            return


def _operators(candidate: StaticModel, allowed: frozenset[str]) -> Iterator[Measurement]:
    """Operators of an exported program that are not PyTorch's own."""
    if candidate.format == "onnx":
        yield from unknown_operators(candidate, allowed)
        return
    seen: set[str] = set()
    for node in candidate.graph.all_nodes():
        flat = candidate.format == "tflite"
        key = node.op.replace(".", "::", 1) if flat else policy_name(node.op)
        why = _why_custom(node.op) if flat else why_unknown(node.op)
        why = "" if node.op in seen else why
        seen.add(node.op)
        if why and key not in allowed:
            yield Measurement(
                name="artifact.operator", at=Place(node=node.label), value=key,
                detail={"message": f"operator {key} is not allowed: {why}", "operator": key},
            )  # fmt: skip


def _why_custom(op: str) -> str:
    """Why an operator of a LiteRT model is not let through; empty if it is."""
    return "it is none of LiteRT's own" if op.startswith("tfl.custom.") else ""


def _checksums(side: str, model: StaticModel) -> Iterator[Measurement]:
    """Members of an archive whose bytes changed after their checksum was made."""
    damaged = model.metadata.get("qgate.damaged")
    if damaged:
        yield Measurement(
            name="artifact.checksum", at=Place(file=side), value=damaged,
            detail={"message": f"the {side}'s archive has other bytes than its own checksums say, in {damaged}"},
        )  # fmt: skip
