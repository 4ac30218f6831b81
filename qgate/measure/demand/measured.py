"""What a run would ask for, held against what it is given."""

from __future__ import annotations

from collections.abc import Iterator

from qgate.formats.model import Node, StaticModel
from qgate.measure.demand.walk import need_of
from qgate.records import Measurement, Place
from qgate.sandbox.limits import Limits

# What no processor reaches, so that a model which asks for more cannot be done within its time.
MULTIPLICATIONS_PER_SECOND = 10**12
TURNS_PER_SECOND = 10**8


def measure_demand(model: StaticModel, limits: Limits) -> Iterator[Measurement]:
    """Yields ``artifact.demand`` for each resource that one run cannot have within the limits.

    Sizes that the model leaves open count as one, and what cannot be followed counts as nothing, so that
    nothing is told of a model which could run.
    """
    need = need_of(model.graph)
    memory, seconds = limits.memory_mb * 2**20, limits.cpu_seconds
    if need.bytes > memory:
        yield _demand(
            "memory", need.largest, need.bytes, memory,
            f"{need.bytes / 2**30:,.1f} GiB at once, more than the {memory / 2**30:,.1f} GiB of limits.memory_mb",
        )  # fmt: skip
    if need.work > seconds * MULTIPLICATIONS_PER_SECOND:
        yield _demand(
            "work", need.heaviest, need.work, seconds * MULTIPLICATIONS_PER_SECOND,
            f"{need.work:.1e} multiplications, more than any processor does in the {seconds} s of limits.cpu_seconds",
        )  # fmt: skip
    if need.turns > seconds * TURNS_PER_SECOND:
        yield _demand(
            "turns", need.loop, need.turns, seconds * TURNS_PER_SECOND,
            f"{need.turns:.1e} operations in a loop, more than any processor does in the {seconds} s of limits.cpu_seconds",
        )  # fmt: skip


def _demand(kind: str, node: Node | None, asked: int, limit: int, what: str) -> Measurement:
    detail = {"message": f"a run asks for at least {what}", "asked": asked, "limit": limit}
    output = next(filter(None, node.outputs), None) if node is not None else None
    at = Place(node=node.label if node is not None else None, tensor=output)
    return Measurement(name="artifact.demand", at=at, value=kind, detail=detail)
