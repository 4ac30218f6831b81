"""Two exported programs compared as lists of operations: what the candidate does more, less or otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from qgate.formats.model import Node, StaticModel, TensorType
from qgate.quant.alignment import Alignment
from qgate.records import Measurement, Place

# What a quantizer adds, and what it takes away: BatchNorm goes into the layer before, dropout ends with training.
_QUANTIZING = ("quantized_decomposed.", "torchao.", "pt2e_quant.", "quant.")
_FOLDED = ("batch_norm", "_native_batch_norm_legit", "dropout", "alias", "detach", "clone", "contiguous")
_CHANCE = (
    "rand",
    "randn",
    "randint",
    "bernoulli",
    "multinomial",
    "normal",
    "uniform_",
    "randperm",
    "rand_like",
)


def measure_programs(
    reference: StaticModel, candidate: StaticModel, alignment: Alignment
) -> Iterator[Measurement]:
    """``structure.difference`` of two programs, in words.

    Where the candidate brings operations of its own and the reference none that they could be held against, that is the
    difference: a file edited so that it computes something near would show in its answers alone. A checkpoint brings none;
    the factory builds them, which the policy names.

    Args:
        reference: The reference.
        candidate: The candidate.
        alignment: Which weights are which; their order must be the same in both programs.
    """
    if reference.format != candidate.format and candidate.graph.nodes:
        has = "operations of another kind" if reference.graph.nodes else "tensors and no operations"
        yield _difference(
            "unmatched",
            f"the candidate's operations were held against none: the reference's file ({reference.format}) has {has}; give it "
            "in the candidate's format as well",
            [], [],
        )  # fmt: skip
    if {reference.format, candidate.format} != {"torch-export"}:
        return
    yield from _order(reference, candidate, alignment)
    ours, theirs = _operations(reference), _operations(candidate)
    more, fewer = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
    for name in sorted(more):
        if name.partition(".")[2].partition(".")[0] in _CHANCE:
            yield _difference(
                "operator", f"{name} makes the candidate random; the reference has none", [name], []
            )
    if more or fewer:
        said = ", ".join(f"{n} more {name}" for name, n in sorted(more.items())[:3])
        lost = ", ".join(f"{n} fewer {name}" for name, n in sorted(fewer.items())[:3])
        yield _difference(
            "unmatched",
            f"the candidate's program has other operations ({'; '.join(w for w in (said, lost) if w)})",
            sorted(more),
            sorted(fewer),
        )
    elif ours != theirs:
        at = next(i for i, (one, two) in enumerate(zip(ours, theirs, strict=True)) if one != two)
        yield _difference(
            "unmatched",
            f"operation {at} of the candidate's program is {theirs[at]} where the reference has {ours[at]}",
            [theirs[at]],
            [ours[at]],
        )
    yield from _interface(reference, candidate)


def _order(reference: StaticModel, candidate: StaticModel, alignment: Alignment) -> Iterator[Measurement]:
    """Weights that two programs use in another order: each may be the reference's, in another's place."""
    ours, theirs = _first_uses(reference), _first_uses(candidate)
    pairs = sorted(
        (
            (theirs[p.candidate.name], ours[p.reference.name], p)
            for p in alignment.constants
            if p.role == "weight" and p.candidate.name in theirs and p.reference.name in ours
        ),
        key=lambda entry: entry[:2],
    )
    for (_, before, _), (_, after, pair) in pairwise(pairs):
        if after < before:
            yield Measurement(
                name="structure.difference", at=Place(tensor=pair.candidate.name), value="wiring",
                detail={"message": f"the weight {pair.candidate.name!r}, which is the reference's "
                                   f"{pair.reference.name!r}, is used in another place of the program"},
            )  # fmt: skip


def _first_uses(model: StaticModel) -> dict[str, int]:
    """The number of the first operation that computes with each constant, whatever dequantizes it on the way."""
    stands = {name: constant.name for name, constant in model.graph.constants.items()}
    found: dict[str, int] = {}
    number = 0
    for node in model.graph.nodes:
        read = [stands[name] for name in node.inputs[:3] if name in stands]
        if "dequantize" in node.op and read and node.inputs[0] in stands:
            stands.update(dict.fromkeys(node.outputs, read[0]))
            continue
        number += 1
        for name in read:
            found.setdefault(name, number)
    return found


def _operations(model: StaticModel) -> list[str]:
    """Operators in the order of the program, without what quantization adds and takes away."""
    found = []
    for node in model.graph.all_nodes():
        if not is_quantizing(node) and not is_folded(node):
            found.append(node.op.removeprefix("torch.ops."))
    return found


def is_quantizing(node: Node) -> bool:
    """Whether a program's operation is one that a quantizer adds."""
    return node.op.removeprefix("torch.ops.").startswith(_QUANTIZING)


def is_folded(node: Node) -> bool:
    """Whether a program's operation is one that quantizing may take away."""
    return node.op.removeprefix("torch.ops.").partition(".")[2].partition(".")[0] in _FOLDED


def _interface(reference: StaticModel, candidate: StaticModel) -> Iterator[Measurement]:
    """Inputs by name, outputs by position: an exported program names outputs after their last operation."""
    for side, ours, theirs in (
        ("input", reference.graph.inputs, candidate.graph.inputs),
        ("output", reference.graph.outputs, candidate.graph.outputs),
    ):
        if len(ours) != len(theirs):
            yield _interface_difference(
                side, "missing", f"{len(theirs)} {side}s where the reference has {len(ours)}"
            )
            continue
        for number, (one, two) in enumerate(zip(ours, theirs, strict=True)):
            name = two.name if side == "input" else f"output {number}"
            if one.dtype != two.dtype:
                yield _interface_difference(
                    side, "type", f"{side} {name!r} is {two.dtype} where {one.dtype} is expected"
                )
            elif _fixed(one) is not None and _fixed(two) is not None and not _fits(one, two):
                yield _interface_difference(
                    side,
                    "shape",
                    f"{side} {name!r} has shape {_shown(two)} where the reference has {_shown(one)}",
                )


def _fixed(tensor: TensorType) -> tuple[int | None, ...] | None:
    return (
        tuple(d if isinstance(d, int) else None for d in tensor.shape) if tensor.shape is not None else None
    )


def _fits(one: TensorType, two: TensorType) -> bool:
    """Whether sizes agree; one that became free is no harm, one that became fixed is."""
    ours, theirs = _fixed(one) or (), _fixed(two) or ()
    return len(ours) == len(theirs) and all(b is None or a == b for a, b in zip(ours, theirs, strict=True))


def _shown(tensor: TensorType) -> str:
    return "[" + ", ".join(map(str, tensor.shape or ())) + "]"


def _interface_difference(side: str, kind: str, message: str) -> Measurement:
    at = Place(input="program") if side == "input" else Place(output="program")
    return Measurement(
        name="interface.difference", at=at, value=kind, detail={"message": message, "side": side}
    )


def _difference(kind: str, message: str, theirs: list[str], ours: list[str]) -> Measurement:
    return Measurement(
        name="structure.difference", at=Place(node="program"), value=kind,
        detail={"message": message, "candidate_operators": theirs[:32], "reference_operators": ours[:32]},
    )  # fmt: skip
