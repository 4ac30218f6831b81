"""Measurements of every aligned constant: derivation, rounding, signal to noise, equalisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qgate.measure.bias_corrections import explain_bias_corrections
from qgate.measure.coarse_scales import coarse_scales
from qgate.measure.judged import Judged, judge_constants, reference_values
from qgate.measure.moved_doubts import MOVED
from qgate.measure.moved_scales import undo_moved_scales
from qgate.measure.rewritten import Elsewhere
from qgate.measure.weight_records import records
from qgate.quant.alignment import Alignment
from qgate.quant.diagnosis import diagnose
from qgate.quant.equalisation import infer
from qgate.quant.floatgraph import FloatGraph
from qgate.records import Measurement


@dataclass(frozen=True)
class WeightResult:
    """``weight.*`` measurements, and the candidate's tensors that equalisation scaled."""

    measurements: tuple[Measurement, ...]
    scaled: frozenset[str]


def measure_weights(
    alignment: Alignment, candidate: FloatGraph, reference: FloatGraph | None = None
) -> WeightResult:
    """Measures every aligned constant of the candidate.

    Args:
        alignment: What is paired with what.
        candidate: The candidate's view.
        reference: The reference's, to look in for weights that a rewritten graph has in other places; None not to.
    """
    judged = judge_constants(alignment.constants)
    scaled = _undo_equalisation(judged, alignment, candidate)
    if not candidate.outputs:
        undo_moved_scales(judged)
    explain_bias_corrections(judged, candidate)
    _diagnose(judged)
    if reference is not None:
        found_elsewhere = Elsewhere(reference, alignment)
        for entry in judged:
            entry.diagnosis = found_elsewhere.explain(entry) or entry.diagnosis
    found = [m for entry in judged for m in records(entry)]
    return WeightResult((*found, *coarse_scales(judged, candidate), *_pooled(judged)), scaled)


def _undo_equalisation(
    judged: Sequence[Judged], alignment: Alignment, candidate: FloatGraph
) -> frozenset[str]:
    suspects = {
        e.pair.candidate.name for e in judged
        if e.derivation.verdict in ("not-derived", "outsiders")
    }  # fmt: skip
    if not suspects:
        return frozenset()
    found = infer(alignment, candidate, suspects)
    for entry in judged:
        name = entry.pair.candidate.name
        if name in found.explained and name in suspects:
            entry.derivation = replace(
                entry.derivation,
                verdict="equalised",
                family="nearest",
                outsiders=(),
                max_steps=found.explained[name],
                reason="factors on its channels are cancelled by the layers around it",
            )
        elif name in found.uncancelled:
            entry.derivation = replace(entry.derivation, reason=found.uncancelled[name])
    return found.scaled


def _diagnose(judged: Sequence[Judged]) -> None:
    weights = [(e.pair.reference.name, e) for e in judged if e.pair.role == "weight"]
    for entry in judged:
        derivation = entry.derivation
        numbers = entry.pair.candidate.dtype.startswith(("float", "bfloat", "double"))
        if not entry.is_coded and not (numbers and entry.pair.role == "weight"):
            continue
        if derivation.verdict == "not-derived" or (
            derivation.verdict == "outsiders" and derivation.count > 8
        ):
            reference = reference_values(entry.pair)
            if reference is None or MOVED in derivation.evidence:
                continue
            others = (
                (name, other.pair.reference.values())
                for name, other in weights
                if other is not entry and other.pair.reference.size == entry.pair.candidate.size
            )
            entry.diagnosis = diagnose(entry.pair, derivation, others)


def _pooled(judged: Sequence[Judged]) -> Iterator[Measurement]:
    """Figures over all weights together, for the comparison with a baseline."""
    weights = [e for e in judged if e.pair.role == "weight"]
    if not weights:
        yield Measurement(name="weight.derived_share", not_measured="no weight is aligned with the reference")
        return
    total = sum(e.derivation.elements for e in weights)
    good = ("derived", "other-rounding", "equalised")
    # Of a tensor with outsiders all other elements are derived.
    derived = sum(
        e.derivation.elements - (e.derivation.count if e.derivation.verdict == "outsiders" else 0)
        for e in weights
        if e.derivation.verdict in (*good, "outsiders")
    )
    yield Measurement(name="weight.derived_share", value=derived / total, unit="ratio", n=total)
    outsiders = sum(e.derivation.count for e in judged if e.derivation.verdict == "outsiders")
    yield Measurement(name="weight.outsiders", value=outsiders, unit="elements", n=total)
