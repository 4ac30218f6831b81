"""What a difference of content means, in words: one note, most telling first. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.records import Finding, Place
from qgate.report.content import described, headline
from qgate.report.schema import ContentDelta
from qgate.rules.traceability import trace_finding

_LISTED = 3


def content_finding(delta: ContentDelta) -> Finding | None:
    """The note about a difference; None where the file is the accepted one, byte for byte."""
    if delta.state == "same" and not delta.files:
        return None
    told = list(_told(delta))
    first = next((t for t in delta.tensors if t.kind in ("changed", "renamed") and t.elements != 0), None)
    place = Place()
    if first is not None:
        place = Place(tensor=first.name, index=first.at[0] if first.at else None)
    evidence: dict[str, object] = {
        **{kind: number for kind, number in delta.counts.items() if number},
        **({"tensors": delta.total} if delta.counts else {}),
        **({"was": first.was, "now": first.now} if first is not None and first.was and first.now else {}),
    }
    return trace_finding("TRC114", "".join(told), at=place, evidence=evidence)


def _told(delta: ContentDelta) -> Iterator[str]:
    text = headline(delta)
    yield text[:1].upper() + text[1:]
    shown = [described(tensor) for tensor in delta.tensors[:_LISTED]]
    number = sum(delta.counts.values())
    if shown:
        more = f", and {number - len(shown)} more" if number > len(shown) else ""
        yield f": {', '.join(shown)}{more}"
    if delta.reason and delta.state == "changed":
        yield f" (places are not known better: {delta.reason})"
