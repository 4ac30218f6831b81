"""What a section of ``bench/integrity.py`` hands back: rows of a table, each with its goal.

A section is a module ``integrity_NAME.py`` beside this one with ``run(scale: float) -> Iterator[Row]``;
``scale`` 1 is the published size, smaller is quicker. It prints nothing and asserts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        what: What was counted or timed, a phrase.
        value: The figure as it is printed, for example ``10000 of 10000``.
        goal: What it is held to, for example ``all``; empty where it is information alone.
        met: Whether the goal is met; None where there is none.
        others: The same figure for peers on the same files, by the peer's name.
        misses: Names of the cases that missed the goal.
    """

    what: str
    value: str
    goal: str = ""
    met: bool | None = None
    others: tuple[tuple[str, str], ...] = ()
    misses: tuple[str, ...] = ()
