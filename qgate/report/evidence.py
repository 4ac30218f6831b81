"""Evidence in reading order: the element that is wrong first, then numbers, then circumstances."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qgate.records import Finding, Place
from qgate.report import figures

PROOF = ("stored", "expected", "xor")
"""What shows a changed element, always first."""

_CIRCUMSTANCES = ("family", "role", "operator", "dtype", "matched_by", "scale", "zero_point", "elements")
_ITEMS = 8
_ELEMENTS = 4
_IN_A_ROW = 3


def flat(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Evidence without what is empty, its first listed element spelled out, in reading order.

    A list of elements (mappings with ``stored``, ``expected`` and so on) gives its first one as the
    proof and a few of the others as one line named ``also``.
    """
    found = {key: item for key, item in evidence.items() if item not in (None, "", [], {}, ())}
    for key, item in list(found.items()):
        if _lists_elements(item):
            del found[key]
            found = {name: item[0][name] for name in PROOF if name in item[0]} | found
            if len(item) > 1:
                found["also"] = ", ".join(map(_element, item[1:_ELEMENTS])) + ", …" * (len(item) > _ELEMENTS)
    if isinstance(found.get("xor"), int):
        found["xor"] = _hexadecimal(found["xor"])
    order = {key: position for position, key in enumerate((*PROOF, "also"))}
    order |= {key: 200 + position for position, key in enumerate(_CIRCUMSTANCES)}
    return dict(sorted(found.items(), key=lambda pair: order.get(pair[0], 100)))


def _lists_elements(item: object) -> bool:
    return (
        isinstance(item, list | tuple)
        and all(isinstance(element, Mapping) for element in item)
        and any(name in item[0] for name in PROOF)
    )


def _element(element: Mapping[str, Any]) -> str:
    place, stored, expected = (figures.plain(element.get(k, "?")) for k in ("index", "stored", "expected"))
    return f"{place} {stored} for {expected}"


def _hexadecimal(bits: int) -> str:
    return f"0x{bits:02x}" if 0 <= bits < 2**64 else figures.plain(bits)


def evidence_items(finding: Finding) -> list[tuple[str, str]]:
    """A finding's evidence as labels and short values, at most eight; not escaped.

    What the message says in the same words is left out, so that nothing is read twice.
    """
    items = [(key.replace("_", " "), figures.plain(item)) for key, item in flat(finding.evidence).items()]
    told = f" {finding.message} "
    return [(label, item) for label, item in items if not _is_told(label, item, told)][:_ITEMS]


def _is_told(label: str, item: str, message: str) -> bool:
    """Whether the message has the value with its label, or a name that is no everyday word."""
    if re.search(rf"\b{re.escape(label)}\W{{1,3}}{re.escape(item)}(?!\w)", message):
        return True
    return len(item) > 3 and not item.isalpha() and f"'{item}'" in message


def beside_the_proof(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of a table has room for: the first things that are neither proof nor circumstance."""
    told = {key: item for key, item in flat(evidence).items() if key not in (*PROOF, *_CIRCUMSTANCES)}
    return dict(list(told.items())[:_IN_A_ROW])


def place_items(place: Place) -> list[tuple[str, str]]:
    """A place as labels and names; an index follows the tensor, output or input that it counts in."""
    items = [(key, str(text)) for key, text in place if text is not None and key != "index"]
    if place.index is not None:
        owner = next((key for key in ("tensor", "output", "input") if getattr(place, key) is not None), None)
        after = next((position + 1 for position, (key, _) in enumerate(items) if key == owner), len(items))
        items.insert(after, ("", "[" + ", ".join(map(figures.whole, place.index)) + "]"))
    return items
