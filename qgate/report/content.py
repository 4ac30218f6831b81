"""A difference of content in words, the same in every text."""

from __future__ import annotations

from qgate.merkle import shape_text
from qgate.report.schema import ContentDelta, TensorDelta

_INDICES = 3


def headline(delta: ContentDelta) -> str:
    """What differs from the accepted model, in one clause."""
    if delta.state == "unknown":
        return f"how the content differs from the accepted model's is not known: {delta.reason}"
    if delta.state == "same":
        tail = (
            "; only the way of storing it differs (names of nodes, metadata, layout)" if delta.files else ""
        )
        return f"the content is the accepted model's to the bit{tail}"
    number = _differing(delta)
    parts = [f"{delta.counts[kind]:,} {kind}" for kind in _KINDS if delta.counts.get(kind)]
    what = f"{number:,} of {delta.total:,} tensors differ from the accepted model's"
    if set(delta.counts) == {"changed"}:
        what = f"{number:,} of {delta.total:,} tensors changed since the accepted model"
    elif parts:
        what += f" ({', '.join(parts)})"
    elif not parts:
        what = "no listed tensor differs from the accepted model's"
    return f"{what}, {_graph(delta)}"


def _differing(delta: ContentDelta) -> int:
    """Of the tensors that there are now: those that are gone are none of them."""
    return sum(count for kind, count in delta.counts.items() if kind != "removed")


_KINDS = ("changed", "retyped", "renamed", "added", "removed")


def _graph(delta: ContentDelta) -> str:
    if delta.graph:
        return "and the graph differs"
    return (
        "and the same graph uses other tensors in their places" if delta.wiring else "the graph is the same"
    )


def described(tensor: TensorDelta) -> str:
    """One tensor and where it differs."""
    name = f"`{tensor.name}`"
    if tensor.kind == "added":
        return f"{name} added ({typed(tensor)})"
    if tensor.kind == "removed":
        return f"{name} removed"
    if tensor.kind == "retyped":
        return f"{name} is {typed(tensor)}, was {tensor.before}"
    where = places(tensor)
    if tensor.kind == "renamed":
        return f"{name} was `{tensor.before}`" + (f" and has {where}" if tensor.elements != 0 else "")
    return f"{name} {where}"


def typed(tensor: TensorDelta) -> str:
    """Element type and shape."""
    return f"{tensor.dtype} {shape_text(tensor.shape)}"


def whereabouts(tensor: TensorDelta) -> str:
    """Where a tensor differs, and what it was before; empty where its kind says it all."""
    parts = []
    if tensor.before is not None:
        parts.append(f"was `{tensor.before}`")
    if tensor.kind in ("changed", "retyped") or (tensor.kind == "renamed" and tensor.elements != 0):
        parts.append(places(tensor))
    if tensor.was is not None and tensor.now is not None:
        parts.append(f"the first from {tensor.was} to {tensor.now}")
    return "; ".join(parts)


def short(delta: ContentDelta) -> tuple[str, ...]:
    """What differs as key figures; none where it is not known."""
    if delta.state == "unknown":
        return ()
    if delta.state == "same":
        return ("same content",)
    number, removed = _differing(delta), delta.counts.get("removed", 0)
    graph = "other graph" if delta.graph else "other wiring" if delta.wiring else ""
    if not number and not removed:
        return (graph or "other content",)
    told = (f"{number:,} of {delta.total:,} tensors differ",)
    rest = ", ".join(filter(None, (f"{removed:,} gone" if removed else "", graph)))
    return (*told, rest) if rest else told


def places(tensor: TensorDelta) -> str:
    """Where a tensor differs: elements, else ranges of them, else that it does."""
    if tensor.same_as is not None:
        return f"holds what `{tensor.same_as}` held"
    if tensor.elements == 0:
        return "other quantization, the same elements"
    if not tensor.shape and tensor.elements is not None:
        return "another value"
    if tensor.elements is not None:
        shown = ", ".join(_index(index) for index in tensor.at[:_INDICES])
        more = ", …" if tensor.elements > min(len(tensor.at), _INDICES) else ""
        noun = "element" if tensor.elements == 1 else "elements"
        return f"{tensor.elements:,} {noun} at {shown}{more}"
    if tensor.ranges:
        shown = ", ".join(f"{_index(first)} to {_index(last)}" for first, last in tensor.ranges[:_INDICES])
        more = ", …" if len(tensor.ranges) > _INDICES else ""
        return f"elements within {shown}{more}"
    return "other values"


def _index(index: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, index)) + "]"
