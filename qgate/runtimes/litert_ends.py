"""Inputs or outputs of a LiteRT model: where they lie, and the numbers that their codes stand for.

A model that was quantized throughout takes and gives codes; whoever uses it divides by the scale and adds the zero point,
``code = round(value / scale) + zero point``, held to the type's range, and undoes that behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.runtimes.base import Dim

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CODES = ("int8", "uint8", "int16")


class Ends:
    """Inputs or outputs as the interpreter describes them.

    Args:
        details: What ``get_input_details`` or ``get_output_details`` says.
        numbers: Those that are codes with one scale are told and handled as the numbers that they stand for.

    Attributes:
        places: The tensors' numbers in the file.
        coded: Whether each is codes that are handled as numbers.
        dtypes: numpy's names of the element types.
        declared: Shapes; None for a size that is free.
        shapes: Shapes as they are allocated.
    """

    def __init__(self, details: Sequence[Mapping[str, Any]], *, numbers: bool) -> None:
        self.places = [int(each["index"]) for each in details]
        self._types = [np.dtype(each["dtype"]) for each in details]
        self._steps = [_step(each) if numbers else None for each in details]
        self.dtypes = [
            kind.name if step is None else "float32"
            for kind, step in zip(self._types, self._steps, strict=True)
        ]
        self.coded = [step is not None for step in self._steps]
        self.declared = [_declared(each) for each in details]
        self.shapes: list[tuple[int, ...]] = [tuple(map(int, each["shape"])) for each in details]

    def stored(self, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """What the tensors hold for some numbers."""
        found = []
        for value, kind, step in zip(values, self._types, self._steps, strict=True):
            found.append(np.ascontiguousarray(value if step is None else _codes(value, kind, *step)))
        return found

    def shown(self, values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The numbers that the tensors' contents stand for."""
        return [
            value if step is None else ((value.astype(np.float64) - step[1]) * step[0]).astype(np.float32)
            for value, step in zip(values, self._steps, strict=True)
        ]


def _codes(value: NDArray[Any], kind: np.dtype[Any], scale: float, zero: int) -> NDArray[Any]:
    limits = np.iinfo(kind)
    with np.errstate(all="ignore"):
        codes = np.clip(np.rint(value.astype(np.float64) / scale) + zero, limits.min, limits.max)
    return np.where(np.isnan(codes), zero, codes).astype(kind)


def _step(detail: Mapping[str, Any]) -> tuple[float, int] | None:
    held = detail["quantization_parameters"]
    scales, zeros = held["scales"], held["zero_points"]
    if len(scales) != 1 or len(zeros) > 1 or np.dtype(detail["dtype"]).name not in _CODES:
        return None
    scale = float(scales[0])
    if not np.isfinite(scale) or scale <= 0:
        return None
    return scale, int(zeros[0]) if len(zeros) else 0


def _declared(detail: Mapping[str, Any]) -> tuple[Dim, ...]:
    signature = detail["shape_signature"]
    sizes = signature if len(signature) else detail["shape"]
    return tuple(int(n) if n >= 0 else None for n in sizes)
