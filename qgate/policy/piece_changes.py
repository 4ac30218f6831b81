"""Which slices, classes and metrics a target has thresholds of its own for, and which it has no longer.

A slice that is named is looked at by rules that look at no other, and is INCONCLUSIVE where it cannot be judged; a metric
that is named must be measured. So a line can be worth something although its value is the one that holds for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qgate.policy.document import quoted
from qgate.policy.places import Difference
from qgate.policy.schema import Target
from qgate.policy.values import Thresholds
from qgate.records import Value
from qgate.rules.base import slice_key


def piece_differences(before: Target, after: Target) -> Iterator[Difference]:
    """Lines of ``slice_thresholds`` and ``metric_thresholds`` that are added or removed.

    A rule that loses its last line for a slice, class or metric counts as loosened; what another value does is said by
    ``threshold_changes``.

    Args:
        before: The target before.
        after: The target of the same name after.
    """
    for key in ("slice_thresholds", "metric_thresholds"):
        old, new = _lines(getattr(before, key)), _lines(getattr(after, key))
        for piece, rule in dict.fromkeys((*old, *new)):
            yield from _one(rule, piece, old.get((piece, rule), {}), new.get((piece, rule), {}))


def _lines(pieces: Mapping[Any, Thresholds]) -> dict[tuple[str, str], Mapping[str, Value]]:
    return {
        (piece, rule): values for piece, rules in pieces.items() for rule, values in rules.items() if values
    }


def _one(rule: str, piece: str, old: Mapping[str, Value], new: Mapping[str, Value]) -> Iterator[Difference]:
    if old and not new:
        yield "loosened", f"{rule} has no thresholds of its own for {quoted(piece)} any more"
        return
    for name in dict.fromkeys((*old, *new)):
        if (name in old) != (name in new):
            verb = "is given by a line of its own" if name in new else "has no line of its own any more"
            yield "changed", f"{quoted(f'{rule}.{slice_key(name, piece)}')} {verb}"
