"""Scales that a quantizer moved from a normalisation, or from a linear's rows, into the columns of what reads it.

For pairs without a graph. A scale counts only where both ends show it: a changed vector, or rows, that divide, and
quantized weights that multiply by the same. Who reads whom is not in such files: that every reader was scaled is for
a run to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from qgate.measure.judged import Judged
from qgate.measure.moved_doubts import MOVED, of_blocks, of_channels
from qgate.measure.moved_ends import SUSPECT, Linear, Source, divided, divided_rows, linear_of
from qgate.measure.moved_vectors import SEVERAL, SHARE, Division, excuse_vector
from qgate.quant.channel_scales import EXACT, Fit, Member, fit, unlikeness
from qgate.quant.comparison import compare

_UNSURE = 0.01
_FEW = 0.02
"""Share of the codes that rounding to a coarse type sets at odds, up to which there was none."""


def undo_moved_scales(judged: Sequence[Judged]) -> None:
    """Judges again, with the scales that are found, what does not follow plainly.

    Args:
        judged: Every constant of a candidate without a graph; verdicts are replaced.
    """
    vectors = [source for entry in judged if (source := divided(entry)) is not None]
    # Mild scales look like the errors that GPTQ leaves, all weights together; a vector that was divided tells.
    suspect = (*SUSPECT, "other-rounding") if vectors else SUSPECT
    linears = [linear for entry in judged if (linear := linear_of(entry, suspect)) is not None]
    for source, readers in _assigned(vectors, linears):
        _settle(source, readers, judged)
    # Rows last: their own columns may have been scaled, and a reader's rows may have been divided for the next.
    progress = True
    while progress:
        sources = [
            made for linear in linears if not linear.settled and (made := divided_rows(linear)) is not None
        ]
        progress = sum(_settle(one, readers, judged) for one, readers in _assigned(sources, linears)) > 0


def _assigned(sources: Sequence[Source], linears: Sequence[Linear]) -> Iterator[tuple[Source, list[Linear]]]:
    """Each source with the weights whose columns it explains best."""
    readers: dict[int, list[Linear]] = {}
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


def _settle(source: Source, readers: Sequence[Linear], judged: Sequence[Judged]) -> bool:
    """Gives readers and source the verdicts that the scales lead to; whether any reader takes the scales back."""
    own = source.entry.pair.candidate.name
    slack = max([source.slack, *(reader.slack for reader in readers)])

    members = {id(reader): Member(reader.reference, reader.entry.pair.candidate) for reader in readers}

    def scales(some: Sequence[Linear], error: float) -> Fit | None:
        return fit([members[id(r)] for r in some], 0, source.low, source.high, error) if some else None

    plain = [reader for reader in readers if not reader.settled and scales([reader], slack) is not None]
    found = scales(plain, slack)
    # Scales of rows are known by their codes alone, which leaves room to make most of a rounding good.
    exact = scales(plain, EXACT) if slack > EXACT and source.rows is None else None
    if exact is not None and all(_follows(reader, members[id(reader)], exact, slack) for reader in plain):
        # The vector is stored in a coarse type, but the weights were not rounded to it.
        found, slack = exact, EXACT
    taken: list[Linear] = []
    odd = of_channels(source.entry, found) if found is not None else ""
    for reader in plain if found is not None else ():
        doubts = (of_blocks(source.entry, reader.entry), odd)
        if reader.judge(found, None, source, slack, [own], doubts):
            taken.append(reader)
    known = found if found is not None and taken else source.alone()
    for reader in readers:
        if reader not in plain:
            _scale_inputs(reader, source, known)
    if taken:
        _excuse(source, known, [reader.entry for reader in taken], judged)
    return bool(taken)


def _follows(reader: Linear, member: Member, exact: Fit, slack: float) -> bool:
    """Whether far fewer codes contradict exact scales than would if the weights had been rounded by ``slack``."""
    if reader.slack > EXACT:
        return False
    found = compare(reader.reference * exact.scale[:, None], reader.entry.pair.candidate, slack=EXACT)
    return found is not None and found.off <= _FEW * member.torn_by(slack)


def _scale_inputs(reader: Linear, source: Source, known: Fit) -> None:
    """Keeps the scales of a reader whose rows were divided too, if with them only the rows are left to explain."""
    # Where no other reader narrows the scales, they are known no better than the source's type tells them.
    slack = max(reader.slack, 2 * source.slack)

    def scaled(fit: Fit) -> Linear:
        reference = reader.reference * fit.scale[:, None]
        return Linear(reader.entry, reference, np.ones_like(fit.scale), slack, fit, (source, fit))

    kept = scaled(known)
    if kept.fit_rows() is None:
        mended = _mended(reader, source, known, slack)
        kept = scaled(mended) if mended is not None else kept
    if kept.fit_rows() is not None:
        vars(reader).update(vars(kept))


def _mended(reader: Linear, source: Source, known: Fit, slack: float) -> Fit | None:
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
    overruled = (found.scale < source.low) | (found.scale > source.high) | (source.alone().error > slack)
    if overruled.sum() > max(SEVERAL, SHARE * inputs):
        return None
    parts = ((found.scale, known.scale), (found.low, known.low), (found.high, known.high))
    return Fit(*(np.where(overruled, one, two) for one, two in parts))


def _excuse(source: Source, found: Fit, readers: list[Judged], judged: Sequence[Judged]) -> None:
    """The verdict on what was divided, and on the bias that belongs to it."""
    pair = source.entry.pair
    doubts = [of_channels(source.entry, found), *(of_blocks(source.entry, reader) for reader in readers)]
    division = Division(found, readers, source.slack, tuple(doubt for doubt in doubts if doubt))
    shifts = [e for e in judged if e.pair.role == "bias" and e.pair.candidate_node is pair.candidate_node]
    if source.rows is None:
        excuse_vector(source.entry, division)
        stem = pair.candidate.name.removesuffix("weight")
        shifts = [e for e in judged if stem != pair.candidate.name and e.pair.candidate.name == f"{stem}bias"]
    else:
        names = [reader.pair.candidate.name for reader in readers]
        before = source.rows.before
        first = (
            (of_blocks(before[0].entry, source.entry), of_channels(before[0].entry, before[1]))
            if before
            else ()
        )
        if not source.rows.judge(None, found, source, source.slack, names, (*division.doubts, *first)):
            return
    for shift in shifts:
        excuse_vector(shift, division)
    if source.rows is not None and source.rows.before is not None:
        vector, known = source.rows.before
        if vector.entry.derivation.verdict in SUSPECT and MOVED not in vector.entry.derivation.evidence:
            _excuse(vector, known, [source.entry], judged)
