"""How much a difference of two policies weighs, so that a flood of harmless ones cannot hide a grave one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from typing import TypeVar

_EACH = 3
_Told = TypeVar("_Told")


class Weight(IntEnum):
    """Kinds of differences, the gravest first."""

    TRUST = 0
    SANDBOX = 1
    APPROVAL = 2
    SIGNATURE = 3
    PERMISSION = 4
    CODE = 5
    DATA = 6
    CLAIM = 7
    REQUIREMENT = 8
    INTERFACE = 9
    DELETION = 10
    WAIVED_ERROR = 11
    WAIVED_WARNING = 12
    WAIVED_NOTE = 13
    THRESHOLD = 14


def by_weight(found: Iterable[tuple[Weight, _Told]]) -> list[_Told]:
    """The gravest first, and of the grave kinds a few of each before the others of any.

    Trust, sandbox and approval are a handful of keys; of every other kind there can be as many as somebody cares to
    write. So the first thirty have something of each grave kind, whatever there is of one of them.

    Args:
        found: Each difference with its weight; those of one weight keep their order.
    """
    met: Counter[Weight] = Counter()
    ranked: list[tuple[tuple[int, ...], _Told]] = []
    for weight, told in found:
        grave = weight < Weight.WAIVED_ERROR
        later = weight > Weight.APPROVAL and met[weight] >= _EACH
        met[weight] += 1
        ranked.append(((0, later, weight) if grave else (weight,), told))
    return [told for _, told in sorted(ranked, key=lambda each: each[0])]
