"""Scales that a quantizer moved from a normalisation, or from a linear's rows, into the columns of what reads it.

For pairs without a graph. A scale counts only where both ends show it: a changed vector, or rows, that divide, and
quantized weights that multiply by the same. Who reads whom is not in such files: that every reader was scaled is for
a run to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qgate.measure.judged import Judged, reference_values
from qgate.quant.channel_scales import Fit, Member, fit, outline, storage_error, unlikeness
from qgate.quant.comparison import compare
from qgate.quant.constants import Array, numbers
from qgate.quant.derivation import MAX_LISTED, Derivation, Outsider, conclude

MOVED = "moved_scale"
"""Evidence of a derivation: what the scale was moved between."""
_SUSPECT = ("not-derived", "outsiders")
_SEVERAL, _SHARE = 2, 0.05
"""Elements of a divided vector that may be off before it was not divided at all."""
_UNSURE = 0.01


@dataclass
class _Linear:
    """A quantized matrix that does not follow plainly.

    Args:
        entry: The constant.
        reference: Its reference, inputs by outputs, times the scales of the inputs that are known.
        inputs: Factor of each input by which the candidate roughly differs.
        slack: Relative uncertainty of the reference.
        before: What gave the inputs their scales, where the rows were divided as well.
        settled: It is explained.
    """

    entry: Judged
    reference: Array
    inputs: Array
    slack: float = 0.0
    before: tuple[_Source, Fit] | None = None
    settled: bool = False
    fitted: Fit | None = None
    tried: bool = False

    def fit_rows(self) -> Fit | None:
        """The factors of the outputs that explain all codes; None where there are none."""
        if not self.tried:
            size = self.reference.shape[1]
            member = Member(self.reference, self.entry.pair.candidate)
            found = fit([member], 1, np.zeros(size), np.full(size, np.inf), self.slack)
            # A row whose codes are all zero was not divided but erased.
            erased = found is not None and bool(((found.low <= 0) & self.reference.any(axis=0)).any())
            self.fitted, self.tried = None if erased else found, True
        return self.fitted

    def judge(self, reference: Array, slack: float, between: list[str]) -> bool:
        """Takes the verdict against a scaled reference, if that explains the codes."""
        candidate = self.entry.pair.candidate
        found = compare(reference, candidate, slack=slack)
        derivation = conclude(found, candidate)
        if derivation.verdict not in ("derived", "outsiders"):
            return False
        verdict, reason = derivation.verdict, "but for these, it follows with the scales of its channels"
        if verdict == "derived":
            verdict, reason = (
                "equalised",
                "the scales of its channels were taken from or given to a neighbour",
            )
        evidence = {MOVED: between}
        self.entry.derivation = replace(derivation, verdict=verdict, reason=reason, evidence=evidence)
        self.entry.comparison, self.settled = found, True
        return True


@dataclass(frozen=True)
class _Source:
    """Something that was divided by scales.

    Args:
        entry: A vector, or a matrix whose rows were.
        low: Least scale of each channel that it allows; ``high`` the greatest.
        slack: Relative rounding of its type.
        rows: The matrix, where it is one.
    """

    entry: Judged
    low: Array
    high: Array
    slack: float
    rows: _Linear | None = None

    def alone(self) -> Fit:
        """The scales as far as it tells them itself."""
        told = np.isfinite(self.high) & (self.high > 0)
        middle = np.where(told, (self.low + self.high) / 2, 1.0)
        return Fit(middle, self.low, self.high)


def undo_moved_scales(judged: Sequence[Judged]) -> None:
    """Judges again, with the scales that are found, what does not follow plainly.

    Args:
        judged: Every constant of a candidate without a graph; verdicts are replaced.
    """
    vectors = [source for entry in judged if (source := _divided(entry)) is not None]
    # Mild scales look like the errors that GPTQ leaves, all weights together; a vector that was divided tells.
    suspect = (*_SUSPECT, "other-rounding") if vectors else _SUSPECT
    linears = [linear for entry in judged if (linear := _linear(entry, suspect)) is not None]
    for source, readers in _assigned(vectors, linears):
        _settle(source, readers, judged)
    # Rows last: their own columns may have been scaled, and a reader's rows may have been divided for the next.
    progress = True
    while progress:
        sources = [made for linear in linears if not linear.settled and (made := _rows(linear)) is not None]
        progress = sum(_settle(one, readers, judged) for one, readers in _assigned(sources, linears)) > 0


def _linear(entry: Judged, suspect: tuple[str, ...]) -> _Linear | None:
    reference = reference_values(entry.pair)
    if (
        entry.derivation.verdict not in suspect or not entry.is_coded or entry.pair.role != "weight"
        or reference is None or reference.ndim != 2 or entry.comparison is None
    ):  # fmt: skip
        return None
    return _Linear(entry, reference, outline(reference, entry.pair.candidate.values())[0])


def _divided(entry: Judged) -> _Source | None:
    """A changed float vector: what it was divided by, within the rounding of its type."""
    pair = entry.pair
    reference = reference_values(pair)
    if (
        entry.derivation.verdict not in _SUSPECT or pair.candidate.is_quantized or len(pair.candidate.shape) != 1
        or pair.role != "constant" or reference is None or pair.candidate.name.endswith("bias")
    ):  # fmt: skip
        return None
    ours, theirs = numbers(reference), numbers(pair.candidate.values())
    slack = storage_error(pair.reference.dtype, pair.candidate.dtype, theirs)
    with np.errstate(all="ignore"):
        ratio = ours / theirs
        told = np.isfinite(ratio) & (ratio > 0)
        # An element that says nothing, or nonsense, leaves its channel to the codes.
        low, high = np.where(told, ratio * (1 - slack), 0.0), np.where(told, ratio * (1 + slack), np.inf)
    return _Source(entry, low, high, slack)


def _rows(linear: _Linear) -> _Source | None:
    """A matrix whose outputs were divided: its own codes tell by what."""
    found = linear.fit_rows()
    if found is None:
        return None
    with np.errstate(divide="ignore"):
        return _Source(linear.entry, 1 / found.high, 1 / np.maximum(found.low, 0), linear.slack, linear)


def _assigned(
    sources: Sequence[_Source], linears: Sequence[_Linear]
) -> Iterator[tuple[_Source, list[_Linear]]]:
    """Each source with the weights whose columns it explains best."""
    readers: dict[int, list[_Linear]] = {}
    scales = [source.alone().scale for source in sources]
    for linear in linears:
        if linear.settled:
            continue
        distances = [
            (unlikeness(linear.inputs, scale), number)
            for number, scale in enumerate(scales)
            if scale.size == linear.inputs.size and sources[number].rows is not linear
        ]
        best = min(distances, default=(np.inf, 0))
        if np.isfinite(best[0]):
            readers.setdefault(best[1], []).append(linear)
    for number, found in readers.items():
        yield sources[number], found


def _settle(source: _Source, readers: Sequence[_Linear], judged: Sequence[Judged]) -> bool:
    """Gives readers and source the verdicts that the scales lead to; whether any reader takes the scales back."""
    own = source.entry.pair.candidate.name
    slack = max([source.slack, *(reader.slack for reader in readers)])

    members = {id(reader): Member(reader.reference, reader.entry.pair.candidate) for reader in readers}

    def scales(some: Sequence[_Linear]) -> Fit | None:
        return fit([members[id(r)] for r in some], 0, source.low, source.high, slack) if some else None

    plain = [reader for reader in readers if not reader.settled and scales([reader]) is not None]
    found = scales(plain)
    taken = []
    for reader in plain if found is not None else ():
        if found is not None and reader.judge(reader.reference * found.scale[:, None], slack, [own]):
            taken.append(reader)
    known = found if found is not None and taken else source.alone()
    for reader in readers:
        if reader not in plain:
            _scale_inputs(reader, source, known)
    if taken:
        _excuse(source, known, [reader.entry.pair.candidate.name for reader in taken], judged)
    return bool(taken)


def _scale_inputs(reader: _Linear, source: _Source, known: Fit) -> None:
    """Keeps the scales of a reader whose rows were divided too, if with them only the rows are left to explain."""
    # Where no other reader narrows the scales, they are known no better than the source's type tells them.
    slack = max(reader.slack, 2 * source.slack)

    def scaled(fit: Fit) -> _Linear:
        reference = reader.reference * fit.scale[:, None]
        return _Linear(reader.entry, reference, np.ones_like(fit.scale), slack, (source, fit))

    kept = scaled(known)
    if kept.fit_rows() is None:
        mended = _mended(reader, source, known, slack)
        kept = scaled(mended) if mended is not None else kept
    if kept.fit_rows() is not None:
        vars(reader).update(vars(kept))


def _mended(reader: _Linear, source: _Source, known: Fit, slack: float) -> Fit | None:
    """The scales with those of a few inputs taken from the codes, where these overrule the source."""
    candidate, (inputs, outputs) = reader.entry.pair.candidate, reader.reference.shape
    member = Member(reader.reference * known.scale[:, None], candidate)
    rows = fit([member], 1, np.zeros(outputs), np.full(outputs, np.inf), slack, contested=1.0)
    if rows is None:
        return None
    with np.errstate(all="ignore"):
        unsure = float(np.nan_to_num(np.max((rows.high - rows.low) / (2 * rows.scale)), posinf=1.0))
    member = Member(reader.reference * rows.scale, candidate)
    found = fit([member], 0, source.low, source.high, slack + min(unsure, _UNSURE))
    if found is None:
        return None
    overruled = (found.scale < source.low) | (found.scale > source.high) | ~np.isfinite(source.high)
    if overruled.sum() > max(_SEVERAL, _SHARE * inputs):
        return None
    parts = ((found.scale, known.scale), (found.low, known.low), (found.high, known.high))
    return Fit(*(np.where(overruled, one, two) for one, two in parts))


def _excuse(source: _Source, found: Fit, readers: list[str], judged: Sequence[Judged]) -> None:
    """The verdict on what was divided, and on the bias that belongs to it."""
    pair = source.entry.pair
    shifts = [e for e in judged if e.pair.role == "bias" and e.pair.candidate_node is pair.candidate_node]
    if source.rows is None:
        _excuse_vector(source.entry, found, source.slack, readers)
        stem = pair.candidate.name.removesuffix("weight")
        shifts = [e for e in judged if stem != pair.candidate.name and e.pair.candidate.name == f"{stem}bias"]
    elif not source.rows.judge(source.rows.reference / found.scale, source.slack, readers):
        return
    for shift in shifts:
        _excuse_vector(shift, found, source.slack, readers)
    if source.rows is not None and source.rows.before is not None:
        first, known = source.rows.before
        if first.entry.derivation.verdict in _SUSPECT and MOVED not in first.entry.derivation.evidence:
            _excuse(first, known, [pair.candidate.name], judged)


def _excuse_vector(entry: Judged, found: Fit, slack: float, readers: list[str]) -> None:
    """A vector must be the reference's divided by the scales, element by element."""
    reference = reference_values(entry.pair)
    candidate = entry.pair.candidate
    if reference is None or reference.size != found.scale.size:
        return
    ours, theirs = (numbers(v).reshape(-1) for v in (reference, candidate.values()))
    step = float(np.max(candidate.scales())) if candidate.is_quantized else 0.0
    with np.errstate(all="ignore"):
        wanted = ours / found.scale
        wide = np.nan_to_num((found.high - found.low) / (2 * found.scale), nan=0.0, posinf=0.0)
        allowed = (slack + wide) * np.abs(wanted) * 1.01 + 0.5 * step
        off = np.flatnonzero(~(np.abs(theirs - wanted) <= allowed))
    evidence = {MOVED: readers}
    base = entry.derivation
    if off.size > max(_SEVERAL, _SHARE * ours.size):
        reason = f"it was not divided by the scales that {readers[0]!r} was multiplied by"
        entry.derivation = Derivation(
            "not-derived", "float", base.elements, count=int(off.size), reason=reason, evidence=evidence
        )
        return
    outsiders = tuple(
        Outsider((int(i),), float(theirs[i]), float(wanted[i]), float(abs(theirs[i] - wanted[i])), None)
        for i in off[:MAX_LISTED]
    )
    reason = "but for these, it was divided by the scales" if outsiders else "divided by the scales"
    entry.derivation = Derivation(
        "outsiders" if outsiders else "equalised", "float", base.elements, count=int(off.size),
        outsiders=outsiders, reason=f"{reason} that {readers[0]!r} was multiplied by", evidence=evidence,
    )  # fmt: skip
