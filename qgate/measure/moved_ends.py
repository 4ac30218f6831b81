"""The two ends of moved scales: what was divided by them, and the quantized weights that multiply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from qgate.measure.judged import Judged, Scaled, reference_values
from qgate.measure.moved_doubts import DOUBT, FRACTION, MOVED, of_rounding
from qgate.quant.channel_scales import Fit, Member, fit, outline, storage_error, type_error
from qgate.quant.comparison import compare
from qgate.quant.constants import Array, numbers
from qgate.quant.derivation import conclude

SUSPECT = ("not-derived", "outsiders")
"""Verdicts that moved scales may explain."""


@dataclass
class Linear:
    """A quantized matrix that does not follow plainly.

    Args:
        entry: The constant.
        reference: Its reference, inputs by outputs, times the scales of the inputs that are known.
        inputs: Factor of each input by which the candidate roughly differs.
        slack: Relative uncertainty of the reference.
        scale: The scales of the inputs that are known.
        before: What gave the inputs their scales, where the rows were divided as well.
        settled: It is explained.
    """

    entry: Judged
    reference: Array
    inputs: Array
    slack: float = 0.0
    scale: Fit | None = None
    before: tuple[Source, Fit] | None = None
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

    def judge(
        self,
        inputs: Fit | None,
        outputs: Fit | None,
        source: Source,
        slack: float,
        others: list[str],
        doubts: Iterable[str],
    ) -> bool:
        """Takes the verdict against a scaled reference, if that explains the codes.

        Args:
            inputs: Scales of the inputs, beside those that are known; ``outputs`` what divides the outputs.
            source: What gave the scales.
            slack: Relative uncertainty of the reference.
            others: Names of what the scales were taken from or given to.
            doubts: Why that is doubted.
        """
        candidate = self.entry.pair.candidate
        scaled = _scaled(self, inputs, outputs)
        reference = reference_values(self.entry.pair)
        if reference is None:
            return False
        found = compare(reference * scaled.inputs[:, None] * scaled.outputs, candidate, slack=slack)
        derivation = conclude(found, candidate)
        if derivation.verdict not in ("derived", "outsiders"):
            return False
        open_steps = slack * float(np.max(Member(reference, candidate).largest(0), initial=0.0))
        verdict, reason = derivation.verdict, "but for these, it follows with the scales of its channels"
        if verdict == "derived":
            verdict, reason = (
                "equalised",
                "the scales of its channels were taken from or given to a neighbour",
            )
            if open_steps > FRACTION and source.converted:
                verdict = "unknown"
                reason = (
                    f"{source.entry.pair.candidate.name!r} was stored in a coarser type than the reference's, which leaves "
                    f"up to {open_steps:.2g} steps of its codes open: take a reference of that type"
                )
        told = [doubt for doubt in (*doubts, of_rounding(open_steps)) if doubt]
        evidence = {MOVED: others, **({DOUBT: told} if told else {})}
        self.entry.derivation = replace(derivation, verdict=verdict, reason=reason, evidence=evidence)
        self.entry.comparison, self.entry.scaled, self.settled = found, scaled, True
        return True


@dataclass(frozen=True)
class Source:
    """Something that was divided by scales.

    Args:
        entry: A vector, or a matrix whose rows were.
        low: Least scale of each channel that it allows; ``high`` the greatest.
        slack: Relative rounding of its type, of normal numbers.
        rows: The matrix, where it is one.
        converted: It is stored in a type of lesser precision than the reference's.
    """

    entry: Judged
    low: Array
    high: Array
    slack: float
    rows: Linear | None = None
    converted: bool = False

    def alone(self) -> Fit:
        """The scales as far as it tells them itself."""
        told = np.isfinite(self.high) & (self.high > 0)
        middle = np.where(told, (self.low + self.high) / 2, 1.0)
        return Fit(middle, self.low, self.high)


def linear_of(entry: Judged, suspect: tuple[str, ...]) -> Linear | None:
    """A quantized matrix with one of the verdicts, as something that scales may explain; None for all else."""
    reference = reference_values(entry.pair)
    if (
        entry.derivation.verdict not in suspect or not entry.is_coded or entry.pair.role != "weight"
        or reference is None or reference.ndim != 2 or entry.comparison is None
    ):  # fmt: skip
        return None
    return Linear(entry, reference, outline(reference, entry.pair.candidate.values())[0])


def divided(entry: Judged) -> Source | None:
    """A changed float vector: what it was divided by, within the rounding of its type."""
    pair = entry.pair
    reference = reference_values(pair)
    if (
        entry.derivation.verdict not in SUSPECT or pair.candidate.is_quantized or len(pair.candidate.shape) != 1
        or pair.role != "constant" or reference is None or pair.candidate.name.endswith("bias")
    ):  # fmt: skip
        return None
    ours, theirs = numbers(reference), numbers(pair.candidate.values())
    types = pair.reference.dtype, pair.candidate.dtype
    # What a subnormal element leaves open is its own channel's: weights are rounded as normal numbers are.
    own, slack = storage_error(*types, theirs), type_error(*types)
    with np.errstate(all="ignore"):
        ratio = ours / theirs
        told = np.isfinite(ratio) & (ratio > 0)
        # An element that says nothing, or nonsense, leaves its channel to the codes.
        low = np.where(told, ratio / (1 + own), 0.0)
        high = np.where(told & (own < 1), ratio / (1 - own), np.inf)
    return Source(entry, low, high, slack, converted=types[0] != types[1])


def _scaled(linear: Linear, inputs: Fit | None, outputs: Fit | None) -> Scaled:
    """All factors of a matrix, those of its inputs that are known included."""
    rows, columns = linear.reference.shape
    error = linear.slack
    by_input, by_output = np.ones(rows), np.ones(columns)
    for known in (linear.scale, inputs):
        if known is not None:
            by_input, error = by_input * known.scale, error + float(np.max(known.error, initial=0.0))
    if outputs is not None:
        by_output, error = 1 / outputs.scale, error + float(np.max(outputs.error, initial=0.0))
    return Scaled(by_input, by_output, error)


def divided_rows(linear: Linear) -> Source | None:
    """A matrix whose outputs were divided: its own codes tell by what."""
    found = linear.fit_rows()
    if found is None:
        return None
    converted = linear.before is not None and linear.before[0].converted
    with np.errstate(divide="ignore"):
        return Source(
            linear.entry, 1 / found.high, 1 / np.maximum(found.low, 0), linear.slack, linear, converted
        )
