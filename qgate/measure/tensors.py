"""The static inspection of pairs of which one has no graph that is followed: tensors alone.

Nothing of PyTorch's is run by this version, so such a pair is judged by its tensors and is INCONCLUSIVE at
best: which operations use them, and what comes out, was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from qgate.align.names import align_by_name
from qgate.formats.model import StaticModel
from qgate.formats.torch.operators import policy_name, why_unknown
from qgate.measure.inspection import (
    Inspection,
    measure_constants,
    measure_reference_bits,
    measure_sizes,
)
from qgate.measure.operators import unknown_operators
from qgate.measure.programs import measure_programs
from qgate.measure.structure import measure_structure
from qgate.measure.weights import measure_weights
from qgate.quant.alignment import Alignment
from qgate.quant.build import float_view
from qgate.quant.floatgraph import FloatGraph
from qgate.quant.scheme import detect_scheme
from qgate.quant.tensorview import tensor_view
from qgate.records import Measurement, Place

NOT_RUN = (
    "no model of this format is run by this version: its operations, features and behaviour were not measured. "
    "Export both models to ONNX to have them compared in full"
)


def inspect_tensors(
    reference: StaticModel | None,
    candidate: StaticModel,
    *,
    allowed_operators: frozenset[str] = frozenset(),
) -> Inspection:
    """Inspects a pair by its tensors, or a candidate alone where there is no reference."""
    found = [
        Measurement(name="artifact.bytes", value=candidate.file_bytes, unit="bytes"),
        *_not_run(reference, candidate),
        *_operators(candidate, allowed_operators),
    ]
    for side, model in (("reference", reference), ("candidate", candidate)):
        found += _checksums(side, model) if model is not None else ()
    view = _view(candidate)
    scheme = detect_scheme(view)
    found += measure_constants(view, scheme)
    if reference is not None:
        found.append(measure_sizes(reference.file_bytes, candidate.file_bytes))
        original = _view(reference)
        found += measure_reference_bits(original)
        roots = (reference.metadata.get("qgate.root", ""), candidate.metadata.get("qgate.root", ""))
        alignment = align_by_name(
            original, view, roots, ordered=reference.format == candidate.format == "torch-export"
        )
        found += _left_over(alignment)
        found += measure_structure(alignment, original, view)
        found += measure_programs(reference, candidate, alignment)
        found += measure_weights(alignment, view).measurements
    return Inspection(tuple(found), scheme, view.dynamic, (), runnable=False)


def _left_over(alignment: Alignment) -> Iterator[Measurement]:
    """Tensors of either side without a counterpart: what they are for, a file without a graph does not say."""
    for difference in alignment.differences:
        yield Measurement(
            name="structure.difference", at=Place(tensor=difference.evidence["tensor"]), value=difference.kind,
            detail={"message": difference.message, "tensors": list(difference.evidence["tensors"])},
        )  # fmt: skip
    alignment.differences.clear()


def _view(model: StaticModel) -> FloatGraph:
    return float_view(model) if model.format == "onnx" else tensor_view(model)


def _not_run(reference: StaticModel | None, candidate: StaticModel) -> Iterator[Measurement]:
    for side, model in (("candidate", candidate), ("reference", reference)):
        if model is not None and model.format != "onnx":
            yield Measurement(
                name="artifact.not_run", at=Place(file=side), value=model.format,
                detail={"message": f"the {side} is a {model.format} file, and {NOT_RUN}"},
            )  # fmt: skip
            return


def _operators(candidate: StaticModel, allowed: frozenset[str]) -> Iterator[Measurement]:
    """Operators of an exported program that are not PyTorch's own."""
    if candidate.format == "onnx":
        yield from unknown_operators(candidate, allowed)
        return
    seen: set[str] = set()
    for node in candidate.graph.all_nodes():
        key = policy_name(node.op)
        why = "" if node.op in seen else why_unknown(node.op)
        seen.add(node.op)
        if why and key not in allowed:
            yield Measurement(
                name="artifact.operator", at=Place(node=node.label), value=key,
                detail={"message": f"operator {key} is not allowed: {why}", "operator": key},
            )  # fmt: skip


def _checksums(side: str, model: StaticModel) -> Iterator[Measurement]:
    """Members of an archive whose bytes changed after their checksum was made."""
    damaged = model.metadata.get("qgate.damaged")
    if damaged:
        yield Measurement(
            name="artifact.checksum", at=Place(file=side), value=damaged,
            detail={"message": f"the {side}'s archive has other bytes than its own checksums say, in {damaged}"},
        )  # fmt: skip
