"""Constants of the candidate beside the reference's, with the verdict on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qgate.quant.alignment import ConstantPair
from qgate.quant.columns import exact_columns
from qgate.quant.comparison import Comparison, compare
from qgate.quant.constants import INTEGER_RANGES, Array
from qgate.quant.derivation import Derivation, conclude
from qgate.quant.families import Family, family_of
from qgate.quant.floats import derive_float
from qgate.quant.likeness import Diagnosis


@dataclass(frozen=True)
class Scaled:
    """What a matrix of the reference was multiplied by before it was compared.

    Args:
        inputs: Factor of each row of the candidate's layout; ``outputs`` of each column.
        error: Largest relative uncertainty of their product.
    """

    inputs: Array
    outputs: Array
    error: float


@dataclass
class Judged:
    """One constant of the candidate and what became of it.

    Args:
        pair: The two constants.
        derivation: The verdict, which equalisation and bias correction may still change.
        comparison: Its codes against the reference, where it has codes.
        diagnosis: What happened instead, where nothing explains it.
        scaled: The factors of the channels that the comparison is with; None where it is with the plain reference.
    """

    pair: ConstantPair
    derivation: Derivation
    comparison: Comparison | None = None
    diagnosis: Diagnosis | None = None
    scaled: Scaled | None = None

    @property
    def is_coded(self) -> bool:
        """Whether the candidate stores it as integer codes with a scale."""
        return self.pair.candidate.is_quantized and self.pair.candidate.dtype in INTEGER_RANGES


def judge_constants(pairs: Sequence[ConstantPair]) -> list[Judged]:
    """The verdict on every constant under the rounding that the model as a whole was made with."""
    judged = [_judge(pair) for pair in _unique(pairs)]
    weights = [entry for entry in judged if entry.is_coded and entry.pair.role == "weight"]
    rounding = family_of(
        (entry.derivation for entry in weights), lambda: [_exact_columns(entry) for entry in weights]
    )
    for entry in judged if rounding != Family.NEAREST else ():
        if entry.derivation.verdict in ("outsiders", "not-derived") and entry.is_coded:
            entry.derivation = conclude(entry.comparison, entry.pair.candidate, rounding=rounding)
    return judged


def reference_values(pair: ConstantPair) -> Array | None:
    """The reference's values in the candidate's layout; None where the sizes differ."""
    if pair.reference.size != pair.candidate.size:
        return None
    if pair.reference.dtype == "string" or pair.candidate.dtype == "string":
        return None
    return pair.reference.values().reshape(pair.candidate.shape)


def compared_values(entry: Judged) -> Array | None:
    """What the comparison is with: the reference's values, times the scales of their channels where these moved."""
    reference = reference_values(entry.pair)
    if reference is None or entry.scaled is None:
        return reference
    return np.asarray(reference * entry.scaled.inputs[:, None] * entry.scaled.outputs)


def _unique(pairs: Sequence[ConstantPair]) -> list[ConstantPair]:
    """Each constant of the candidate once for each constant of the reference in its place."""
    found: dict[tuple[str, str, str], ConstantPair] = {}
    for pair in pairs:
        found.setdefault((pair.candidate.name, pair.reference.name, pair.role), pair)
    return list(found.values())


def _judge(pair: ConstantPair) -> Judged:
    reference, candidate = reference_values(pair), pair.candidate
    if reference is None:
        why = f"{list(candidate.shape)} where the reference has {list(pair.reference.shape)}"
        return Judged(pair, Derivation("not-derived", "", candidate.size, reason=f"its shape is {why}"))
    if candidate.dtype in INTEGER_RANGES and candidate.is_quantized:
        found = compare(reference, candidate)
        return Judged(pair, conclude(found, candidate), found)
    if candidate.dtype.startswith(("float", "bfloat", "double")):
        return Judged(pair, derive_float(reference, candidate, copied=_is_copied(pair)))
    same = np.array_equal(candidate.codes(), pair.reference.codes().reshape(candidate.shape))
    verdict = "derived" if same else "not-derived"
    return Judged(pair, Derivation(verdict, "float", candidate.size, reason="" if same else "changed"))


def _is_copied(pair: ConstantPair) -> bool:
    """Whether both files hold the tensor as it is, so that nothing but copying lies between them."""
    one, two = pair.reference, pair.candidate
    changed = one.folded or two.folded or one.factor is not None or two.factor is not None
    return not changed and one.dtype == two.dtype and not one.is_quantized and not two.is_quantized


def _exact_columns(entry: Judged) -> bool | None:
    reference = reference_values(entry.pair)
    if reference is None or entry.comparison is None or not entry.comparison.off:
        return None
    return exact_columns(reference, entry.pair.candidate)
