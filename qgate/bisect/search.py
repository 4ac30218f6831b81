"""Finds the layers that cost the most and tries each of them in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.align.walk import align
from qgate.bisect.ranking import Clipping, Suspect, clipping, first_to_drift, rank
from qgate.bisect.repair import Repair, What
from qgate.errors import MeasureError
from qgate.measure.interface import Interface
from qgate.measure.pair import measure_pair
from qgate.quant.build import float_view
from qgate.quant.repeated import reference_view
from qgate.records import Measurement
from qgate.verify.pair import Pair
from qgate.verify.ready import ready

if TYPE_CHECKING:
    from qgate.formats.model import StaticModel
    from qgate.measure.request import PairRequest

REPAIRED = "repaired.onnx"
WORTH_DB = 0.5
"""A layer is worth naming where putting it back gives at least this."""


@dataclass(frozen=True)
class Quality:
    """What the outputs keep: the lowest SQNR, and the least agreement of top classes, None without classes."""

    sqnr_db: float
    agreement: float | None
    samples: int


@dataclass(frozen=True)
class Trial:
    """A suspect and what putting it back gave; None where that could not be tried.

    Args:
        suspect: The layer.
        reference_node: What the reference calls it: the name that quantizers take.
        readers: What the reference calls the operations that read it.
        restored: With weights, inputs and output in float.
        parts: With one of them; those that it has.
        bytes: What its weights take more in float32.
        problems: Why something could not be tried.
    """

    suspect: Suspect
    reference_node: str
    readers: tuple[str, ...]
    restored: Quality | None
    parts: Mapping[What, Quality | None]
    bytes: int
    problems: tuple[str, ...] = ()

    def names(self, before: Quality) -> tuple[str, ...]:
        """What a quantizer is told to leave out: the layer, and its readers where its output's rounding counts.

        A quantizer that leaves a layer out still rounds what a quantized reader takes from it.
        """
        own = (self.reference_node or self.suspect.node,)
        most = max((_gain(quality, before) for quality in self.parts.values()), default=0.0)
        rounding = _gain(self.parts.get(What.OUTPUT), before)
        return (*own, *self.readers) if rounding > 0 and rounding >= 0.5 * most else own


@dataclass(frozen=True)
class Advice:
    """Layers to leave unquantized, and what that gives."""

    nodes: tuple[str, ...]
    names: tuple[str, ...]
    quality: Quality
    bytes: int


@dataclass(frozen=True)
class Bisection:
    """Everything that was found.

    Args:
        quality: Of the candidate as it is.
        layers: All layers, the worst first.
        first: The first that drifts, if any does.
        trials: The suspects that were tried, by what putting them back gives.
        advice: What to leave unquantized, None where nothing helps.
        clipping: What the ranges of activations cut off.
        untried: Why no layer was put back, empty where some were or none adds anything.
    """

    quality: Quality
    layers: tuple[Suspect, ...]
    first: Suspect | None
    trials: tuple[Trial, ...]
    advice: Advice | None
    clipping: Clipping
    untried: str = ""


def bisect(
    pair: Pair,
    staging: Path,
    *,
    most: int,
    write: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Bisection:
    """Finds the layers of a pair that cost the most.

    Args:
        pair: The pair.
        staging: An empty folder that the sandboxed child can read.
        most: How many suspects are tried; each takes up to three runs.
        write: Where the candidate with the advised layers in float is written.
        told: Called with what is being done.

    Raises:
        QgateError: The pair cannot be read, run or compared layer by layer.
    """
    found = ready(pair, staging)
    request = found.request
    told("running both models")
    base = measure_pair(request, None, None, found.known)
    ranked = rank(base.measurements)
    if not ranked:
        raise MeasureError(_unlayered(base.measurements), where=pair.candidate_locator, remedy=_NO_LAYERS)
    lab = _Lab(request, found.candidate, found.reference, pair.interface or Interface(), told)
    before = _quality(base.measurements)
    # The reference's weights under another scaling would be no repair.
    scaled = {
        m.at.node
        for m in found.inspection.measurements
        if m.name == "weight.derivation" and m.value == "equalised"
    }
    written = found.candidate.format == "onnx"  # what a repair is written in
    adding = [s for s in ranked if s.added > 0]
    suspects = [s for s in adding if written and s.node not in scaled and lab.repair.can_restore(s.node)][
        :most
    ]
    trials = sorted((lab.trial(s) for s in suspects), key=lambda t: -_gain(t.restored, before))
    advice = lab.advise(trials, before)
    if write is not None and advice is not None:
        lab.repair.write(advice.nodes, What.ALL, write)
    # Generated inputs say nothing of ranges that were calibrated on others.
    ranges = clipping(base.measurements) if request.inputs is not None else Clipping(0, ())
    untried = "" if suspects or not adding else _untried(found.candidate.format)
    return Bisection(before, ranked, first_to_drift(ranked), tuple(trials), advice, ranges, untried)


def _untried(form: str) -> str:
    if form != "onnx":
        return f"layers are put back to float in ONNX files alone, and the candidate is a {form} file"
    return "none of these layers has a counterpart whose float weights or inputs could be put in its place"


_NO_LAYERS = "Export both models for the same operator set, and compare what they share with `qgate verify`"


class _Lab:
    """Puts layers back and runs what comes of it."""

    def __init__(
        self,
        request: PairRequest,
        candidate: StaticModel,
        reference: StaticModel,
        interface: Interface,
        told: Callable[[str], None],
    ) -> None:
        view, original = float_view(candidate), reference_view(reference)
        alignment = align(original, view, interface.map, interface.map)
        self.repair = Repair(candidate.path, alignment, original, view)
        self._target = candidate.path.parent / REPAIRED
        # Generated inputs stay within the ranges that are watched, and must be the same in every run.
        taps = () if request.inputs is not None else request.taps
        self._request = replace(
            request, candidate=self._target, joined=None, layers=(), taps=taps, edges=False
        )
        self._told = told

    def trial(self, suspect: Suspect) -> Trial:
        """Tries one layer in float."""
        self._told(f"putting {suspect.node} back to float")
        problems: list[str] = []
        node = suspect.node
        parts = [
            *((What.WEIGHTS, What.INPUTS) if self.repair.has_weights(node) else ()),
            *((What.OUTPUT,) if self.repair.rounds_output(node) else ()),
        ]
        found = {what: self._try([node], what, problems) for what in (What.ALL, *parts)}
        return Trial(
            suspect,
            self.repair.reference_name(node),
            self.repair.readers(node),
            found[What.ALL],
            {what: quality for what, quality in found.items() if what is not What.ALL},
            self.repair.cost(node),
            tuple(dict.fromkeys(problems)),
        )

    def advise(self, trials: Iterable[Trial], before: Quality) -> Advice | None:
        """Adds layer after layer, the most helpful first, for as long as each is worth it."""
        best: Advice | None = None
        quality = before
        for trial in trials:
            if _gain(trial.restored, before) < WORTH_DB:
                break
            nodes = (*(best.nodes if best else ()), trial.suspect.node)
            reached = trial.restored if best is None else self._try(nodes, What.ALL, [])
            if reached is None or reached.sqnr_db - quality.sqnr_db < WORTH_DB:
                continue
            names = tuple(dict.fromkeys((*(best.names if best else ()), *trial.names(before))))
            quality = reached
            best = Advice(nodes, names, reached, (best.bytes if best else 0) + trial.bytes)
        return best

    def _try(self, nodes: Iterable[str], what: What, problems: list[str]) -> Quality | None:
        try:
            self.repair.write(nodes, what, self._target)
            self._target.chmod(0o644)
            return _quality(measure_pair(self._request).measurements)
        except MeasureError as error:
            problems.append(error.what)  # this form of the layer has no such half, or the run failed
            return None


def _quality(measurements: Iterable[Measurement]) -> Quality:
    found = list(measurements)
    sqnr = [m for m in found if m.name == "output.sqnr_db" and m.value is not None]
    if not sqnr:
        raise MeasureError("no output can be compared", remedy="See `qgate verify` for the reason")
    agreement = [m.number for m in found if m.name == "output.top1_agreement" and m.value is not None]
    return Quality(min(m.number for m in sqnr), min(agreement, default=None), max(m.n or 0 for m in sqnr))


def _gain(after: Quality | None, before: Quality) -> float:
    return float("-inf") if after is None else after.sqnr_db - before.sqnr_db


def _unlayered(measurements: Iterable[Measurement]) -> str:
    reason = next((m.not_measured for m in measurements if m.name == "layer.count" and m.not_measured), None)
    return f"the layers cannot be compared: {reason or 'the models share none'}"
