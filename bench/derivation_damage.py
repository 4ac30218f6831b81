"""Damage to the numbers of a model: single bits, many bits, exchanged elements and channels, edited scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from derivation_oracle import admissible
from derivation_subjects import Subject, Target

from qgate.quant.build import float_view

TOGETHER = 4
"""Single flips that are planted in one file at a time, each in another tensor."""
_FACTORS = (0.5, 0.9, 0.97, 1.03, 1.1, 2.0)


@dataclass(frozen=True)
class Damage:
    """One edit.

    Args:
        kind: What it is counted under.
        tensor: The tensor whose values change.
        values: Its values in the end.
        index: The element, in the file's layout or, of packed codes, in that of the codes.
        mask: The flipped bit.
        named: Other names under which it may be found.
    """

    kind: str
    tensor: str
    values: np.ndarray
    index: tuple[int, ...] | None = None
    mask: int = 0
    named: tuple[str, ...] = ()

    def admissible(self, held: Subject) -> bool:
        """Whether rounding the reference may give just these values, or nothing changed at all."""
        before = held.candidate.graph.constants[self.tensor].load()
        if np.array_equal(before, self.values, equal_nan=before.dtype.kind == "f"):
            return True
        return admissible(held, {self.tensor: self.values}, self.named[0] if self.named else self.tensor)


def flips(held: Subject, count: int, rng: np.random.Generator) -> Iterator[list[Damage]]:
    """Single flips, bit after bit over the tensors in turn, several files' worth in one."""
    targets = (*held.weights, *held.biases)
    done = 0
    while done < count:
        chosen = rng.permutation(len(targets))[:TOGETHER]
        batch = [_flip(held, targets[i], (done + k) % targets[i].bits, rng) for k, i in enumerate(chosen)]
        yield batch[: count - done]
        done += len(batch)


def _flip(held: Subject, target: Target, bit: int, rng: np.random.Generator) -> Damage:
    values = held.candidate.graph.constants[target.tensor].load().copy()
    element = int(rng.integers(_elements(values, target)))
    index = _turn(values, target, element, bit)
    return Damage(_kind(held, target), target.tensor, values, index, 1 << bit)


def _kind(held: Subject, target: Target) -> str:
    recipe = held.name.split("/")[1]
    role = "bias" if target in held.biases else "constant" if target.dtype == "float" else "weight"
    form = next(
        word
        for key, word in (
            ("qop", "QOperator"), ("dynamic", "dynamic"), ("nbits", "MatMulNBits"), ("blocked", "blocks"),
            ("cast", "Cast and Mul"), ("weight_only", "weights alone"), ("fp16", "float"), ("", "QDQ"),
        )
        if key in recipe
    )  # fmt: skip
    layout = "per channel" if recipe.endswith("_pc") else "per tensor" if recipe.endswith("_pt") else ""
    return " ".join(part for part in (target.dtype, role, form, layout) if part)


def _elements(values: np.ndarray, target: Target) -> int:
    return values.size * 2 if target.packed else values.size


def _turn(values: np.ndarray, target: Target, element: int, bit: int) -> tuple[int, ...]:
    """Flips one bit of one code in place; returns the code's index."""
    if target.packed:
        byte = element // 2
        values.flat[byte] ^= np.uint8(1 << (bit + 4 * (element % 2)))
        n, block, inside = np.unravel_index(byte, values.shape)
        return int(n), int(block) * target.packed + 2 * int(inside) + element % 2
    index = tuple(int(i) for i in np.unravel_index(element, values.shape))
    if values.dtype.kind == "f":
        raw = values.view(f"u{values.itemsize}")
        raw[index] ^= raw.dtype.type(1 << bit)
        return index
    raw = (int(values[index]) ^ (1 << bit)) & ((1 << target.bits) - 1)
    signed = target.dtype.startswith("int") and raw >> (target.bits - 1)
    values[index] = raw - (1 << target.bits) if signed else raw
    return index


def many_flips(held: Subject, count: int, rng: np.random.Generator) -> Iterator[Damage]:
    """2 to 64 flips in one tensor."""
    for _ in range(count):
        target = held.weights[int(rng.integers(len(held.weights)))]
        values = held.candidate.graph.constants[target.tensor].load().copy()
        for _ in range(int(rng.integers(2, 65))):
            _turn(
                values, target, int(rng.integers(_elements(values, target))), int(rng.integers(target.bits))
            )
        yield Damage("flips", target.tensor, values)


def swaps(held: Subject, count: int, rng: np.random.Generator) -> Iterator[Damage]:
    """Two elements, two slices along the first axis, or two along the last, exchanged."""
    several = [t for t in held.weights if held.candidate.graph.constants[t.tensor].size > 1]
    for number in range(count):
        target = several[int(rng.integers(len(several)))]
        values = held.candidate.graph.constants[target.tensor].load().copy()
        way = number % 3
        if way == 0 or values.ndim < 2:
            flat = values.reshape(-1)
            one, two = (int(i) for i in rng.permutation(flat.size)[:2])
            flat[one], flat[two] = flat[two], flat[one]
        else:
            lead = np.moveaxis(values, 0 if way == 1 else -1, 0)
            if len(lead) < 2:
                continue
            one, two = (int(i) for i in rng.permutation(len(lead))[:2])
            lead[[one, two]] = lead[[two, one]]
        yield Damage("swap", target.tensor, values)


def scale_edits(held: Subject, count: int, rng: np.random.Generator) -> Iterator[Damage]:
    """One scale of a weight multiplied, or two of them exchanged."""
    scales = [name for name in _scales(held) if held.candidate.graph.constants[name[0]].size]
    if not scales:
        return
    for number in range(count):
        scale, codes = scales[int(rng.integers(len(scales)))]
        values = held.candidate.graph.constants[scale].load().copy()
        flat = values.reshape(-1)
        if flat.size > 1 and number % 7 == 6:
            one, two = (int(i) for i in rng.permutation(flat.size)[:2])
            flat[one], flat[two] = flat[two], flat[one]
        else:
            flat[int(rng.integers(flat.size))] *= values.dtype.type(_FACTORS[number % len(_FACTORS)])
        yield Damage("scale", scale, values, named=(codes,))


def _scales(held: Subject) -> Sequence[tuple[str, str]]:
    """Scales of weights with the codes that they belong to."""
    wanted = {target.tensor for target in held.weights}
    view = float_view(held.candidate)
    found = {
        value.quantized.scale_name: value.name
        for value in view.constants.values()
        if value.quantized is not None and value.name in wanted
    }
    return [(s, c) for s, c in sorted(found.items()) if s in held.candidate.graph.constants]
