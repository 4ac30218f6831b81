"""Signatures of two LiteRT models held against each other: applications ask by these names for what is fed and given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qgate.formats.model import Signature, StaticModel
from qgate.records import Measurement, Place


def measure_flat_signatures(reference: StaticModel, candidate: StaticModel) -> Iterator[Measurement]:
    """``interface.difference``: ``signature`` where a name stands for another input or output than in the reference,
    ``signature-missing`` where one of the models lacks a name or a signature.

    The only signatures of both models correspond, whatever they are called: an application need not name an only one.

    Args:
        reference: A model; ``candidate`` likewise. Nothing is told where one of them is no LiteRT model.
    """
    if not reference.format == candidate.format == "tflite":
        return
    ours, theirs = reference.signatures, candidate.signatures
    for key in sorted(ours.keys() ^ theirs.keys()):
        where, other = ("reference", "candidate") if key in ours else ("candidate", "reference")
        yield _found(
            "signature-missing",
            f"the {where} has the signature {key!r}, and the {other} has none of that name",
        )
    pairs = [(key, key) for key in sorted(ours.keys() & theirs.keys())]
    if len(ours) == len(theirs) == 1:
        pairs = list(zip(ours, theirs, strict=True))
    for one, two in pairs:
        yield from _compare(two, ours[one], theirs[two])


def _compare(key: str, one: Signature, two: Signature) -> Iterator[Measurement]:
    yield from _side(key, "input", one.inputs, two.inputs)
    yield from _side(key, "output", one.outputs, two.outputs)


def _side(
    key: str, side: str, ours: Mapping[str, tuple[int, ...]], theirs: Mapping[str, tuple[int, ...]]
) -> Iterator[Measurement]:
    for name in sorted(ours.keys() | theirs.keys()):
        at = Place(input=name) if side == "input" else Place(output=name)
        if name not in theirs or name not in ours:
            where = "candidate" if name not in theirs else "reference"
            yield _found("signature-missing", f"the {where}'s signature {key!r} has no {side} {name!r}", at)
        elif ours[name] != theirs[name]:
            yield _found(
                "signature",
                f"the candidate's signature {key!r} gives {_shown(theirs[name])} of the graph's {side}s the name {name!r}, "
                f"which stands for {_shown(ours[name])} in the reference",
                at,
            )


def _shown(positions: tuple[int, ...]) -> str:
    return "number " + " and ".join(str(each) for each in positions[:4])


def _found(kind: str, message: str, at: Place | None = None) -> Measurement:
    return Measurement(
        name="interface.difference",
        at=at or Place(),
        value=kind,
        detail={"message": message, "side": "signature"},
    )
