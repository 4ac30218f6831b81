"""The content of a candidate against that of the accepted model, by their digests. Pure.

Names are matched first; what is left over is matched by place in the graph where both graphs are the same,
and by root: a tensor with another name and the same values was renamed, not replaced.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from qgate.merkle import Entry, parse_entry, shape_text
from qgate.report.schema import Artifact, Content, ContentDelta, TensorDelta

LISTED = 1000
_SMALL = 16
"""Tensors of fewer elements share their values with others by chance."""

Side = tuple[Artifact, Content | None]


def compare_contents(old: Side, new: Side) -> ContentDelta:
    """What differs between the accepted model and the candidate.

    Args:
        old: The accepted model's artifact and content.
        new: The candidate's.

    Returns:
        Tensors that differ, at most 1,000 of them, without their places.
    """
    files = (old[0].sha256, old[0].files) != (new[0].sha256, new[0].files)
    before, after = old[1], new[1]
    if before is None or after is None:
        side = "the accepted model's" if before is None else "the candidate's"
        return ContentDelta(state="unknown", files=files, reason=f"{side} content was not digested")
    total = {"files": files, "total": after.count}
    if old[0].content is not None and old[0].content == new[0].content:
        return ContentDelta.model_validate({"state": "same", **total})
    graph = before.graph != after.graph
    if before.count != len(before.tensors) or after.count != len(after.tensors):
        why = "there are too many tensors to list their roots"
        return ContentDelta.model_validate({"state": "changed", "graph": graph, "reason": why, **total})
    olds, news = ({entry.name: entry for entry in map(parse_entry, side.tensors)} for side in (before, after))
    renamed = _renamed(olds, news, same_graph=not graph)
    found = [*_kept(olds, news), *_moved(olds, news, renamed)]
    order = [renamed.get(name, name) for name in olds if name in news or name in renamed]
    others = set(order)
    wiring = not graph and order != [name for name in news if name in others]
    return ContentDelta.model_validate(
        {
            "state": "changed",
            "graph": graph,
            "wiring": wiring,
            "counts": dict(Counter(tensor.kind for tensor in found)),
            "tensors": tuple(found[:LISTED]),
            **total,
        }
    )


def _kept(olds: Mapping[str, Entry], news: Mapping[str, Entry]) -> Iterable[TensorDelta]:
    """Tensors that both have, and that differ; in the candidate's order."""
    differing = [name for name in news if name in olds and olds[name].root != news[name].root]
    held_by: dict[str, list[str]] = defaultdict(list)
    for name in differing:
        held_by[olds[name].root].append(name)
    for name in differing:
        old, new = olds[name], news[name]
        holders = [other for other in held_by.get(new.root, ()) if other != name]
        source = holders[0] if holders and new.size >= _SMALL else None
        if (old.dtype, old.shape) == (new.dtype, new.shape):
            yield _delta(new, "changed", same_as=source)
        else:
            yield _delta(new, "retyped", before=f"{old.dtype} {shape_text(old.shape)}", same_as=source)


def _moved(
    olds: Mapping[str, Entry], news: Mapping[str, Entry], renamed: Mapping[str, str]
) -> Iterable[TensorDelta]:
    """Tensors that are renamed, added and removed."""
    for old, new in renamed.items():
        elements = 0 if olds[old].root == news[new].root else None
        yield _delta(news[new], "renamed", before=old, elements=elements)
    targets = set(renamed.values())
    for name, entry in news.items():
        if name not in olds and name not in targets:
            yield _delta(entry, "added")
    for name, entry in olds.items():
        if name not in news and name not in renamed:
            yield _delta(entry, "removed")


def _renamed(olds: Mapping[str, Entry], news: Mapping[str, Entry], *, same_graph: bool) -> dict[str, str]:
    """New names of tensors by their old ones."""
    found: dict[str, str] = {}
    if same_graph and len(olds) == len(news):
        # The same graph uses its tensors in the same order, so a name at a place is that place's name.
        for one, other in zip(olds.values(), news.values(), strict=True):
            alike = (one.dtype, one.shape) == (other.dtype, other.shape)
            if one.name not in news and other.name not in olds and alike:
                found[one.name] = other.name
    free: dict[str, list[str]] = defaultdict(list)
    taken = set(found.values())
    for name, entry in news.items():
        if name not in olds and name not in taken:
            free[entry.root].append(name)
    for name, entry in olds.items():
        if name not in news and name not in found and free.get(entry.root):
            found[name] = free[entry.root].pop(0)
    return {name: found[name] for name in olds if name in found}


def _delta(entry: Entry, kind: str, **more: object) -> TensorDelta:
    return TensorDelta.model_validate(
        {"name": entry.name, "kind": kind, "dtype": entry.dtype, "shape": entry.shape, **more}
    )
