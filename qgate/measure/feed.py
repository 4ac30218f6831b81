"""How samples are fed to a model: which array to which input, one at a time or in batches.

An array's first axis is the samples. Where an array has as many axes as the input, the input's first axis
is its batch; where it has one axis more, each sample is a whole input by itself and is fed alone. An
array without axes is a constant for an input without axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.data import ArraySpec
from qgate.runtimes.base import TensorInfo
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Form(Enum):
    """How one array meets one input."""

    BATCH = "batch"
    ALONE = "alone"
    CONSTANT = "constant"


class FeedMismatchError(DataError):
    """An array does not fit an input; whose fault that is, the caller knows."""


@dataclass(frozen=True)
class InputFeed:
    """One input of a model and the array that feeds it.

    Args:
        name: The model's name of the input.
        array: The data set's name of the array.
        form: How the two meet.
        dtype: Element type that the model takes.
    """

    name: str
    array: str
    form: Form
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class FeedPlan:
    """How a model is fed.

    Args:
        inputs: Its inputs.
        batch: Samples that it takes at once: a fixed number, or None for any.
    """

    inputs: tuple[InputFeed, ...]
    batch: int | None

    def feeds(self, chunk: Mapping[str, NDArray[Any]], start: int, count: int) -> dict[str, NDArray[Any]]:
        """What to feed for ``count`` samples of a chunk from ``start``; a fixed batch is filled up.

        Filling repeats the last sample; what the model answers to it is to be dropped.
        """
        fed = {}
        for each in self.inputs:
            values = chunk[each.array]
            if each.form is Form.BATCH:
                values = values[start : start + count]
                if self.batch is not None and count < self.batch:
                    rest = np.repeat(values[-1:], self.batch - count, axis=0)
                    values = np.concatenate([values, rest])
            elif each.form is Form.ALONE:
                values = values[start]
            fed[each.name] = np.ascontiguousarray(cast(values, each.dtype, each.array)).reshape(values.shape)
        return fed


def plan_feeds(
    inputs: Sequence[TensorInfo],
    arrays: Mapping[str, ArraySpec],
    names: Mapping[str, str],
    types: Mapping[str, str],
) -> FeedPlan:
    """Finds out how arrays feed a model.

    Args:
        inputs: The model's inputs.
        arrays: Headers of the arrays by name; every one that ``names`` points to.
        names: The model's input name to the array's name; absent where they are the same.
        types: Array names whose dtype may differ from the model's, to the dtype declared for them.

    Raises:
        FeedMismatchError: Shape or dtype of an array does not fit.
    """
    feeds = []
    for info in inputs:
        array = names.get(info.name, info.name)
        spec = arrays[array]
        feeds.append(InputFeed(info.name, array, _form(info, spec, array), _dtype(info, spec, array, types)))
    return FeedPlan(tuple(feeds), _batch(inputs, feeds))


def _form(info: TensorInfo, spec: ArraySpec, array: str) -> Form:
    rank = len(info.shape)
    if not spec.shape and rank == 0:
        return Form.CONSTANT
    if rank >= 1 and len(spec.shape) == rank and _fits(spec.shape[1:], info.shape[1:]):
        return Form.BATCH
    if len(spec.shape) == rank + 1 and _fits(spec.shape[1:], info.shape):
        return Form.ALONE
    declared = ", ".join("?" if size is None else str(size) for size in info.shape)
    raise FeedMismatchError(
        f"the array {one_line(array, 80)!r} has shape {list(spec.shape)}, "
        f"the input {one_line(info.name, 80)!r} takes [{one_line(declared, 120)}]",
        remedy="Save the array with the samples on its first axis and the input's shape after it",
    )


def _fits(shape: Sequence[int], declared: Sequence[int | str | None]) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(want, int) or want == have for have, want in zip(shape, declared, strict=True)
    )


def _dtype(info: TensorInfo, spec: ArraySpec, array: str, types: Mapping[str, str]) -> np.dtype[Any]:
    try:
        wanted = np.dtype(info.dtype)
    except TypeError as error:
        raise FeedMismatchError(
            f"the input {one_line(info.name, 80)!r} takes {one_line(info.dtype, 60)}, which cannot be fed",
            remedy="Give the model a numeric input",
        ) from error
    if array not in types and spec.dtype.newbyteorder("=") != wanted:
        raise FeedMismatchError(
            f"the array {one_line(array, 80)!r} has dtype {spec.dtype}, "
            f"the input {one_line(info.name, 80)!r} takes {wanted}",
            remedy=f"Save array.astype({wanted.name!r}), prepared as the model expects it",
        )
    return wanted


def _batch(inputs: Sequence[TensorInfo], feeds: Sequence[InputFeed]) -> int | None:
    """How many samples at once; 1 wherever the first axis is not plainly a free batch axis."""
    batched = [info for info, feed in zip(inputs, feeds, strict=True) if feed.form is Form.BATCH]
    if not batched or any(feed.form is Form.ALONE for feed in feeds):
        return 1
    symbols = {info.shape[0] for info in batched if isinstance(info.shape[0], str)}
    if any(size in symbols for info in inputs for size in info.shape[1:]):
        return 1
    fixed = {info.shape[0] for info in batched if isinstance(info.shape[0], int)}
    if not fixed:
        return None
    if len(fixed) > 1:
        raise FeedMismatchError(
            f"the inputs' first axes have different fixed sizes {sorted(map(str, fixed))}",
            remedy="Give each input an array with one axis more: first the samples, then the input's shape",
        )
    size = fixed.pop()
    return size if isinstance(size, int) and size > 0 else 1


def cast(values: NDArray[Any], dtype: np.dtype[Any], array: str) -> NDArray[Any]:
    """The values in another dtype, refused where it cannot represent them.

    To an integer type: whole numbers in its range only. To a float: rounding to the nearest is allowed,
    overflow is not.

    Raises:
        DataError: A value cannot be represented.
    """
    if values.dtype == dtype:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(dtype)
    if dtype.kind in "iub":
        exact = bool(np.array_equal(converted.astype(np.float64), values.astype(np.float64)))
    else:
        exact = bool(np.all(np.isfinite(converted)))
    if not exact:
        raise DataError(
            f"the array {one_line(array, 80)!r} holds values that {dtype} cannot represent",
            remedy=f"Give whole numbers in the range of {dtype}, or correct io.types"
            if dtype.kind in "iub"
            else f"Give values in the range of {dtype}, or correct io.types",
        )
    return converted
