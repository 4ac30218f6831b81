"""What was measured of single tensors and nodes, as tables: a row a place, a column a measurement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qgate.records import Measurement, Place


@dataclass(frozen=True)
class ElementTable:
    """The measurements of one kind (``weight``, ``activation``, ...).

    Args:
        kind: The part of the measurements' names before the dot.
        columns: The rest of their names, in the order of first appearance.
        rows: Places, each with its measurements by column.
    """

    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Place, dict[str, Measurement]], ...]

    @property
    def size(self) -> int:
        """How many measurements it holds."""
        return sum(len(cells) for _, cells in self.rows)


def is_of_the_whole(measurement: Measurement) -> bool:
    """Whether it is of the model or one of its outputs, and not of a single tensor or node."""
    return measurement.at.tensor is None and measurement.at.node is None


def element_tables(measurements: Iterable[Measurement], rows: int) -> tuple[ElementTable, ...]:
    """Tables of the measurements of single tensors and nodes, ``rows`` rows together at most.

    A measurement that stands twice at one place begins a row of its own: nothing is written over.
    """
    tables: dict[str, list[tuple[Place, dict[str, Measurement]]]] = {}
    latest: dict[tuple[str, Place], dict[str, Measurement]] = {}
    for measurement in measurements:
        if is_of_the_whole(measurement):
            continue
        kind, _, column = measurement.name.partition(".")
        cells = latest.get((kind, measurement.at))
        if cells is None or column in cells:
            if rows <= 0:
                continue
            rows -= 1
            cells = latest[kind, measurement.at] = {}
            tables.setdefault(kind, []).append((measurement.at, cells))
        cells[column] = measurement
    return tuple(
        ElementTable(kind, tuple(dict.fromkeys(c for _, cells in found for c in cells)), tuple(found))
        for kind, found in tables.items()
    )
