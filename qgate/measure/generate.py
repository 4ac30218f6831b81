"""Inputs from a seed, where none are given: shapes and values that the reference plausibly takes.

Free dimensions other than the batch are tried in turn until the reference runs. Floats are uniform in the
range that the candidate's own input quantizer declares, else standard normal (or uniform); integers stay
below the size of the table that they index, masks are all ones, other integers are 0 or 1.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.data import ArraySpec
from qgate.measure.graph_hints import GraphHints
from qgate.measure.samples import GeneratedSamples, Recipe
from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.sandbox.quoting import one_line

_IMAGE = (224, 64, 32, 128, 256, 320, 512, 16, 8, 1)
_SEQUENCE = (16, 8, 32, 64, 128, 224, 256, 512, 576, 1)
_CHANNELS = (3, 1, 4)
_SAMPLE_RATES = (16000, 8000, 44100)
_MAX_ATTEMPTS = 40
_MAX_MAGNITUDE = 1e4
_MAX_SAMPLE_ELEMENTS = 1 << 26

_BATCH_NAME = re.compile(r"^(n|b|batch.*|bs|.*batch_size)$", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"(height|width|^h$|^w$|rows|cols)", re.IGNORECASE)
_SEQUENCE_NAME = re.compile(r"(seq|len|time|token|frame)", re.IGNORECASE)
_CHANNEL_NAME = re.compile(r"(channel|^c$)", re.IGNORECASE)
_RATE_NAME = re.compile(r"^(sr|.*sample_?rate|.*sampling_?rate)$", re.IGNORECASE)


def generate_samples(
    inputs: Sequence[TensorInfo],
    other: Mapping[str, TensorInfo],
    attempt: Callable[[GeneratedSamples], None],
    *,
    hints: GraphHints,
    types: Mapping[str, str],
    count: int,
    seed: int,
    distribution: str,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> GeneratedSamples:
    """The first generated samples that the reference takes.

    Args:
        inputs: Inputs to generate, by the data set's names.
        other: The other model's view of the same inputs, whose fixed sizes are taken over.
        attempt: Runs the reference on the first sample; raises ``ModelRefusedError`` where it refuses.
        hints: What the graph says about integers.
        types: Declared dtypes of the candidate, for which values must be representable.
        count: Samples wanted.
        seed: The seed.
        distribution: ``normal`` or ``uniform``.
        ranges: Declared range of an input's values.

    Raises:
        DataError: No attempt was taken, or an input cannot be generated at all.
    """
    if count < 1:
        raise DataError("there are no samples", where="generated inputs", remedy="Ask for at least one")
    for info in inputs:
        if not _is_number(info.dtype):
            raise DataError(
                f"the input {one_line(info.name, 80)!r} takes {one_line(info.dtype, 40)}, "
                "which cannot be generated",
                where="generated inputs",
                remedy="Give real ones with --inputs",
            )
    last: ModelRefusedError | None = None
    drawn = _attempts(inputs, hints, types, distribution, ranges or {})
    for sizes, recipes in itertools.islice(drawn, _MAX_ATTEMPTS):
        arrays = _arrays(inputs, other, sizes, count)
        if any(spec.sample_bytes > _MAX_SAMPLE_ELEMENTS for spec in arrays.values()):
            continue
        samples = GeneratedSamples(count, seed, arrays, recipes)
        try:
            attempt(samples)
        except ModelRefusedError as error:
            last = error
            continue
        return samples
    reason = f" (the last time: {last.what})" if last is not None else ""
    raise DataError(
        f"no generated input is accepted by the model{reason}",
        where="generated inputs",
        remedy="Give real inputs with --inputs X.npz",
    )


def _is_number(dtype: str) -> bool:
    try:
        return np.dtype(dtype).kind in "biuf"
    except TypeError:
        return False


def _attempts(
    inputs: Sequence[TensorInfo],
    hints: GraphHints,
    types: Mapping[str, str],
    distribution: str,
    ranges: Mapping[str, tuple[float, float]],
) -> Iterator[tuple[int, dict[str, Recipe]]]:
    """Number of the sizes to try, and the recipes to try with them; sizes vary slowest."""
    choices = [list(_recipes(info, hints, types, distribution, ranges.get(info.name))) for info in inputs]
    free = any(not isinstance(size, int) for info in inputs for size in info.shape)
    for sizes in range(len(_IMAGE) if free else 1):
        for recipes in itertools.product(*choices):
            yield sizes, {info.name: recipe for info, recipe in zip(inputs, recipes, strict=True)}


def _recipes(
    info: TensorInfo,
    hints: GraphHints,
    types: Mapping[str, str],
    distribution: str,
    declared_range: tuple[float, float] | None,
) -> Iterator[Recipe]:
    declared = np.dtype(types[info.name]) if _is_number(types.get(info.name, "")) else None
    kind = np.dtype(info.dtype).kind
    if kind == "f" and declared is not None and declared.kind in "iu":
        yield Recipe("integer", bound=int(np.iinfo(declared).max) + 1 if declared.itemsize == 1 else 2)
    elif kind == "f" and declared_range is not None and _plausible(*declared_range):
        yield Recipe("uniform", low=declared_range[0], high=declared_range[1])
    elif kind == "f":
        yield Recipe("uniform" if distribution == "uniform" else "normal")
    elif info.name in hints.bounds:
        yield Recipe("integer", bound=hints.bounds[info.name])
    elif "mask" in info.name.lower():
        yield Recipe("constant", value=1)
    elif _RATE_NAME.match(info.name):
        yield from (Recipe("constant", value=v) for v in dict.fromkeys([*hints.compared, *_SAMPLE_RATES]))
    elif not info.shape and kind in "iu":
        yield from (Recipe("constant", value=v) for v in dict.fromkeys([*hints.compared[:4], 1, 0]))
    else:
        yield Recipe("integer", bound=256 if info.dtype == "uint8" else 2)


def _plausible(low: float, high: float) -> bool:
    """A range of an honest input; a damaged one must not decide what the models are fed."""
    return low < high and max(abs(low), abs(high)) <= _MAX_MAGNITUDE


def _arrays(
    inputs: Sequence[TensorInfo], other: Mapping[str, TensorInfo], sizes: int, count: int
) -> dict[str, ArraySpec]:
    batched = _has_batch_axis(inputs)
    leading = {info.shape[0] for info in inputs if info.shape and isinstance(info.shape[0], str)}
    found = {}
    for info in inputs:
        shape = []
        for axis, size in enumerate(info.shape):
            if batched and axis == 0:
                continue
            shape.append(_size(info, axis, other.get(info.name), sizes, 1 if size in leading else None))
        found[info.name] = ArraySpec((count, *shape), np.dtype(info.dtype))
    return found


def _has_batch_axis(inputs: Sequence[TensorInfo]) -> bool:
    """Whether the first axis of every input is plainly the batch; else each sample is a whole input."""
    if not all(info.shape and (info.shape[0] == 1 or not isinstance(info.shape[0], int)) for info in inputs):
        return False
    symbols = {info.shape[0] for info in inputs if isinstance(info.shape[0], str)}
    return not any(size in symbols for info in inputs for size in info.shape[1:])


def _size(info: TensorInfo, axis: int, other: TensorInfo | None, sizes: int, batch: int | None) -> int:
    size: Dim = info.shape[axis]
    if isinstance(size, int):
        return max(size, 1)
    if other is not None and len(other.shape) == len(info.shape):
        theirs = other.shape[axis]
        if isinstance(theirs, int) and theirs > 0:
            return theirs
    if batch is not None or axis == 0 or _BATCH_NAME.match(size or ""):
        return 1
    table = _table(size or "", len(info.shape), axis)
    return table[min(sizes, len(table) - 1)]


def _table(symbol: str, rank: int, axis: int) -> tuple[int, ...]:
    if _CHANNEL_NAME.search(symbol):
        return _CHANNELS
    if _IMAGE_NAME.search(symbol):
        return _IMAGE
    if _SEQUENCE_NAME.search(symbol):
        return _SEQUENCE
    if rank == 4:
        return _CHANNELS if axis == 1 else _IMAGE
    return _SEQUENCE


def describe(samples: GeneratedSamples) -> str:
    """The shapes of one sample, for the report."""
    parts: list[Any] = [
        f"{one_line(name, 60)} {list(spec.shape[1:])}" for name, spec in samples.arrays.items()
    ]
    return ", ".join(parts)
