"""Which of the reference's answers became which of the candidate's, as a table of classes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

from qgate.records import Measurement

MEASURED = "task.answers_changed"
MAX_CLASSES = 16
"""Classes that the table has room for: those with the most changed answers."""

_NONE = -1


@dataclass(frozen=True)
class Confusion:
    """A square table of changed answers.

    Args:
        classes: Its classes, in order; -1 stands for no answer.
        rows: Samples by the reference's answer, then by the candidate's; None on the diagonal, where nothing changed.
        shown: Samples in the table.
        changed: Samples that are answered otherwise in all.
    """

    classes: tuple[int, ...]
    rows: tuple[tuple[int | None, ...], ...]
    shown: int
    changed: int

    @property
    def largest(self) -> int:
        """The fullest cell."""
        return max((cell or 0 for row in self.rows for cell in row), default=0)


def confusion(measurements: Iterable[Measurement]) -> Confusion | None:
    """The table of a target; None where no answer changed, or none was a class."""
    for found in measurements:
        if found.name == MEASURED and found.not_measured is None:
            cells = Counter(dict(_cells(found)))
            weights: Counter[int] = Counter()
            for (before, after), count in cells.items():
                weights[before] += count
                weights[after] += count
            most = sorted(weights, key=lambda each: (-weights[each], each))[:MAX_CLASSES]
            classes = tuple(sorted(most))
            rows = tuple(tuple(None if a == b else cells[a, b] for b in classes) for a in classes)
            shown = sum(cell or 0 for row in rows for cell in row)
            return Confusion(classes, rows, shown, int(found.number)) if shown else None
    return None


def _cells(found: Measurement) -> Iterator[tuple[tuple[int, int], int]]:
    """The pairs of answers; what is none in a report from elsewhere is left out."""
    pairs = found.detail.get("confusion")
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        if not isinstance(pair, dict):
            continue
        before, after, count = (pair.get(key) for key in ("reference", "candidate", "samples"))
        if _whole(before, _NONE) and _whole(after, _NONE) and _whole(count, 1) and before != after:
            yield (before, after), count


def _whole(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**53
