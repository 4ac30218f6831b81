"""What a checkpoint holds beside the dictionary that is read and run: an optimizer's state, or a second model."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.formats.model import StaticModel
from qgate.quant.tensorview import canonical_name
from qgate.records import Measurement, Place

_SHOWN = 8


def measure_beside(side: str, model: StaticModel) -> Iterator[Measurement]:
    """Yields ``artifact.beside_bytes`` where tensors lie outside of the model's dictionary; they are not judged.

    Its detail names the ``dictionary`` and the first ``tensors``, and counts ``rivals``: tensors that have the name of
    one of the model's own behind the key that they lie under, so that whoever reads that key gets another model.

    Args:
        side: Which side it is.
        model: The model.
    """
    outside = [c for c in model.graph.constants.values() if not c.name.startswith(model.root)]
    if not outside:
        return
    own = {canonical_name(name, model.root) for name in model.graph.constants if name.startswith(model.root)}
    rivals = [c.name for c in outside if any(name in own for name in _endings(canonical_name(c.name)))]
    outside.sort(key=lambda c: (c.name not in rivals[:_SHOWN], -c.bytes, c.name))
    yield Measurement(
        name="artifact.beside_bytes",
        at=Place(file=side),
        value=sum(c.bytes for c in outside),
        unit="bytes",
        n=len(outside),
        detail={
            "dictionary": model.root.removesuffix("."),
            "tensors": [[c.name, c.bytes] for c in outside[:_SHOWN]],
            "rivals": len(rivals),
        },
    )


def _endings(name: str) -> Iterator[str]:
    """The name, and what is left of it without its first parts."""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name
