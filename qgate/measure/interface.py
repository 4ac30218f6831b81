"""Measurements of the interface: inputs and outputs against the reference's, declared differences aside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from qgate.formats.model import Dim, StaticModel, TensorType
from qgate.records import Measurement, Place

Side = Literal["input", "output"]
_FLOATS = ("float", "float16", "double", "bfloat16")
_ALIASES = {"float32": "float", "float64": "double"}
_NAMES = {theirs: ours for ours, theirs in _ALIASES.items()}


@dataclass(frozen=True)
class Interface:
    """Intended differences.

    Args:
        map: Reference input or output name to the candidate's.
        optional: Inputs or outputs that one side may lack.
        types: Input or output to the candidate's element type.
        shapes: Input or output to the candidate's shape; None stands for any size.
    """

    map: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    def options(self) -> tuple[tuple[str, str], ...]:
        """The same as options of the command line and their values."""
        sizes = {
            name: "x".join("?" if d is None else str(d) for d in shape) for name, shape in self.shapes.items()
        }
        return (
            *(("--io-map", f"{ours}={theirs}") for ours, theirs in self.map.items()),
            *(("--io-optional", name) for name in self.optional),
            *(("--io-type", f"{name}={dtype}") for name, dtype in self.types.items()),
            *(("--io-shape", f"{name}={size}") for name, size in sizes.items()),
        )


def measure_interface(
    reference: StaticModel, candidate: StaticModel, declared: Interface
) -> Iterator[Measurement]:
    """Yields an ``interface.difference`` for each undeclared difference."""
    yield from _unknown_names(reference, candidate, declared)
    yield from _side("input", reference.graph.inputs, candidate.graph.inputs, declared)
    yield from _overridable(reference, candidate)
    yield from _side("output", reference.graph.outputs, candidate.graph.outputs, declared)


def _unknown_names(
    reference: StaticModel, candidate: StaticModel, declared: Interface
) -> Iterator[Measurement]:
    """Declared differences of inputs and outputs that are not there: a slip of the pen that declares nothing."""
    ours, theirs = _names_of(reference), _names_of(candidate)
    either = {**ours, **theirs}
    asked = [
        *((name, ours, "map", "the reference") for name in declared.map),
        *((name, theirs, "map", "the candidate") for name in declared.map.values()),
        *((name, either, "optional", "either model") for name in declared.optional),
        *((name, either, "types", "either model") for name in declared.types),
        *((name, either, "shapes", "either model") for name in declared.shapes),
    ]
    for name, known, key, whose in asked:
        if name in known:
            continue
        near = get_close_matches(name, list(known), n=1, cutoff=0.0)
        hint = f"; the nearest is the {known[near[0]]} {near[0]!r}" if near else ""
        at = Place(input=name)
        message = (
            f"`io` declares {name!r} under `{key}`, and no input or output of {whose} is called that{hint}"
        )
        detail = {"message": message, "side": "declared", "declared": key, "nearest": near[0] if near else ""}
        yield Measurement(name="interface.difference", at=at, value="unknown-name", detail=detail)


def _names_of(model: StaticModel) -> dict[str, str]:
    """Whether each name is an input or an output."""
    return {t.name: "output" for t in model.graph.outputs} | {t.name: "input" for t in model.graph.inputs}


def _overridable(reference: StaticModel, candidate: StaticModel) -> Iterator[Measurement]:
    """Weights that a caller may replace. Old files list all of theirs as inputs; one alone is a door."""
    graph = candidate.graph
    if candidate.ir_version < 4 or not graph.overridable:
        return
    everything = len(graph.overridable) >= len(graph.constants)
    for name in graph.overridable if not everything else graph.overridable[:1]:
        if name not in reference.graph.overridable:
            yield _found(
                "input", name, "overridable" if everything else "extra",
                f"the weight {name!r} is an input as well, so that a caller may replace it"
                + (" (and so is every other)" if everything else ""),
            )  # fmt: skip


def _side(
    side: Side, ours: Sequence[TensorType], theirs: Sequence[TensorType], declared: Interface
) -> Iterator[Measurement]:
    by_name = {t.name: t for t in theirs}
    expected = {declared.map.get(t.name, t.name): t for t in ours}
    extra = [n for n in by_name if n not in expected and n not in declared.optional]
    for name, one in expected.items():
        two = by_name.get(name)
        if two is not None:
            yield from _compare(side, one, two, declared)
        elif not {name, one.name} & set(declared.optional):
            hint = f"; the candidate has {extra[0]!r} instead" if len(extra) == 1 else ""
            yield _found(
                side, name, "missing", f"{side} {name!r} of the reference is missing in the candidate{hint}"
            )
    for name in extra:
        yield _found(side, name, "extra", f"{side} {name!r} is not one of the reference's")


def _found(side: Side, name: str, kind: str, message: str, **detail: str) -> Measurement:
    at = Place(input=name) if side == "input" else Place(output=name)
    return Measurement(
        name="interface.difference", at=at, value=kind, detail={"message": message, "side": side, **detail}
    )


def _compare(side: Side, one: TensorType, two: TensorType, declared: Interface) -> Iterator[Measurement]:
    wanted = declared.types.get(one.name) or declared.types.get(two.name)
    wanted = _ALIASES.get(wanted, wanted) if wanted else one.dtype
    if two.dtype != wanted and one.dtype and two.dtype:
        kind = "float-type" if wanted in _FLOATS and two.dtype in _FLOATS else "type"
        told = f"{side} {two.name!r} is {_NAMES.get(two.dtype, two.dtype)} where {_NAMES.get(wanted, wanted)} is expected"
        yield _found(side, two.name, kind, told, reference=one.dtype, candidate=two.dtype)
    shape = declared.shapes.get(one.name) or declared.shapes.get(two.name)
    ours: tuple[Dim, ...] | None = shape if shape is not None else one.shape
    if ours is None or two.shape is None:
        return
    if len(ours) != len(two.shape):
        yield _found(side, two.name, "rank", f"{side} {two.name!r} has {len(two.shape)} axes where the reference has {len(ours)}",
                     reference=_shown(ours), candidate=_shown(two.shape))  # fmt: skip
        return
    for axis, (left, right) in enumerate(zip(ours, two.shape, strict=True)):
        problem = _axis(side, left, right, declared_shape=shape is not None)
        if problem:
            yield _found(
                side, two.name, problem,
                f"{side} {two.name!r} has shape {_shown(two.shape)} where the reference has {_shown(ours)} (axis {axis})",
                reference=_shown(ours), candidate=_shown(two.shape),
            )  # fmt: skip
            return


def _axis(side: Side, left: Dim, right: Dim, *, declared_shape: bool) -> str | None:
    """What is wrong with one axis; a size that became free is no harm, one that became fixed is."""
    if isinstance(left, int) and isinstance(right, int):
        return "shape" if left != right else None
    if isinstance(right, int) and side == "input" and not declared_shape:
        return "fixed"
    return None


def _shown(shape: Sequence[Dim]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
