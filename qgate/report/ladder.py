"""A text that fits its limit by construction: whole blocks are left out, nothing is ever cut.

A text is a sequence of sections; a section is an opening, rows and a closing, each of them complete
lines. Because only rows are dropped and a section without rows is dropped whole, no fence, tag or table
can be left open. Rungs are tried from the fullest to the barest; the last one takes what fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Section:
    """Rows between an opening and a closing.

    Args:
        items: What its rows are made of; rendered only when it is their turn.
        render: One item as complete lines.
        opening: Complete lines before the rows.
        closing: Complete lines after them.
        kind: What the rows are called when some are left out; empty for what nobody would miss.
        share: The most of the room left that it may take on the last rung, so that a long table does
            not starve what follows it.
        weigh: For how many things of its kind an item stands.
    """

    items: Sequence[Any]
    render: Callable[[Any], str]
    opening: str = ""
    closing: str = ""
    kind: str = ""
    share: float = 1.0
    weigh: Callable[[Any], int] = lambda _: 1

    @property
    def weight(self) -> int:
        """What its rows count for together."""
        return sum(map(self.weigh, self.items))


@dataclass(frozen=True)
class Rung:
    """A version of the text: its first lines (always kept), its sections, and what it does without."""

    head: str
    sections: tuple[Section, ...]
    without: Counter[str] = field(default_factory=Counter)


def block(text: str) -> Section:
    """Text that is kept or left out as a whole."""
    return Section(items=(text,), render=str)


def size(text: str) -> int:
    """Length in UTF-8 bytes, which is never less than the number of characters that GitHub counts."""
    return len(text.encode())


def compose(rungs: Sequence[Rung], limit: int, note: Callable[[Counter[str]], str]) -> str:
    """The fullest rung that fits; the last one with as many of its rows as fit.

    Args:
        rungs: From the fullest to the barest.
        limit: The most bytes, and so characters, of the result.
        note: Says in complete lines what was left out; its length may only fall with the counts.

    Raises:
        ValueError: Not even the last rung's head and note fit.
    """
    for rung in rungs:
        text = _whole(rung, limit, note)
        if text is not None:
            return text
    return _fitted(rungs[-1], limit, note)


def _whole(rung: Rung, limit: int, note: Callable[[Counter[str]], str]) -> str | None:
    pieces = [rung.head, *([f"\n{note(rung.without)}"] if rung.without.total() else [])]
    used = sum(map(size, pieces))
    for section in rung.sections:
        for piece in _pieces(section):
            used += size(piece)
            if used > limit:  # before the rest is rendered: it may be thousands of rows
                return None
            pieces.append(piece)
    return "".join(pieces)


def _pieces(section: Section) -> Iterator[str]:
    if section.items:
        yield f"\n{section.opening}"
        yield from map(section.render, section.items)
        yield section.closing


def _fitted(rung: Rung, limit: int, note: Callable[[Counter[str]], str]) -> str:
    everything = rung.without.copy()
    for section in rung.sections:
        everything[section.kind] += section.weight
    room = limit - size(rung.head) - size(f"\n{note(everything)}")
    if room < 0:
        raise ValueError(f"{limit} characters hold no report, not even its first lines")
    left_out = rung.without.copy()
    body: list[str] = []
    for section in rung.sections:
        taken, weight = _as_fits(section, int(room * section.share))
        room -= size(taken)
        left_out[section.kind] += section.weight - weight
        body.append(taken)
    head = rung.head + (f"\n{note(left_out)}" if left_out.total() else "")
    return head + "".join(body)


def _as_fits(section: Section, room: int) -> tuple[str, int]:
    """As much of a section as fits, and what its rows count for; nothing where no row fits."""
    opening = f"\n{section.opening}"
    room -= size(opening) + size(section.closing)
    rows: list[str] = []
    weight = 0
    for item in section.items:
        row = section.render(item)
        room -= size(row)
        if room < 0:
            break
        rows.append(row)
        weight += section.weigh(item)
    if not rows:
        return "", 0
    return "".join([opening, *rows, section.closing]), weight
