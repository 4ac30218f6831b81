"""Which rounding a model was made with, told from all its weights together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgate.quant.derivation import Derivation


class Family(StrEnum):
    """Rounding rules."""

    NEAREST = "nearest"
    ADAPTIVE = "adaptive"
    """Floor or ceiling, chosen (AdaRound, SQuant)."""
    COMPENSATED = "compensated"
    """Rounded to nearest after others' errors were added (GPTQ): within a few steps."""


MIN_ELEMENTS = 32
# Shares of codes that tell a rule from damage.
ADAPTIVE_SHARE = 0.008
MIN_MOVED = 12
COMPENSATED_LEAST = 0.02
MIN_FADING = 3
JUST_BEYOND = 1.1
COMPENSATED_SHARE = 0.45
COMPENSATED_UNTOLD = 0.35
BEYOND_OF_MODEL = 0.15
BEYOND_UNTOLD = 0.05
BEYOND_OF_COMPENSATED = 0.2
# One code this far off is an outsider that must not keep the others from being recognised.
MAX_STRAY = 300.0
STRAYS = 0.001
# Flipped lowest bits lie anywhere between half a step and one and a half from the reference; where nearly
# all that moved lie within a tenth of a step of a tie, something chose them.
CHOSEN_SHARE = 0.5
MIN_CHOSEN = 4


def family_of(
    judged: Iterable[Derivation], columns: Callable[[], Iterable[bool | None]] | None = None
) -> str:
    """The rule that a model's weights were rounded by.

    Nearest leaves no code away from the nearest. Learned rounding moves several percent of the codes, or
    fewer where only those near a tie are turned, but none beyond floor and ceiling. GPTQ moves more, a few
    of them beyond, and does so in most tensors.

    Args:
        judged: Verdicts under the rule of nearest rounding.
        columns: Asked where codes lie further off than GPTQ usually leaves them: for each weight whether
            a whole column of it is rounded to nearest though others are not, None where it is too small to
            tell. The column that GPTQ takes first has no errors of others to make good.
    """
    seen = [d for d in judged if d.verdict != "unknown" and d.elements >= MIN_ELEMENTS]
    total = sum(d.elements for d in seen)
    if not total:
        return Family.NEAREST
    off, near, beyond, more = (
        round(sum(getattr(d, name) * d.elements for d in seen))
        for name in ("nonnearest", "near_tie", "beyond_one", "beyond_more")
    )
    worst = max(d.max_steps for d in seen)
    if worst > MAX_STRAY or beyond > max(off / 2, 2):
        return Family.NEAREST
    learned = off >= ADAPTIVE_SHARE * total and off >= MIN_MOVED and _most(seen, ADAPTIVE_SHARE / 2)
    chosen = near >= MIN_CHOSEN and near >= CHOSEN_SHARE * off and _most(seen, 0.0)
    # GPTQ's errors fade out beyond one step; what a flipped bit does to learned rounding stands alone there.
    few = beyond <= STRAYS * total
    fading = beyond - more >= max(MIN_FADING, more) or (
        beyond > 0 and (worst <= JUST_BEYOND or (more == 0 and not few))
    )
    compensates = learned and off >= COMPENSATED_LEAST * total and fading
    if not compensates and few and (learned or (chosen and beyond <= 0.1 * off)):
        return Family.ADAPTIVE
    if not compensates or off > COMPENSATED_SHARE * total:
        return Family.NEAREST
    if off <= COMPENSATED_UNTOLD * total and beyond <= BEYOND_UNTOLD * total:
        return Family.COMPENSATED
    told = [] if columns is None else [exact for exact in columns() if exact is not None]
    fits = bool(told) and sum(told) >= 0.5 * len(told) and beyond <= BEYOND_OF_MODEL * total
    return Family.COMPENSATED if fits else Family.NEAREST


def _most(seen: list[Derivation], share: float) -> bool:
    """At least half of the tensors have more than this share of codes that are not the nearest."""
    return sum(d.nonnearest > share for d in seen) >= 0.5 * len(seen)
