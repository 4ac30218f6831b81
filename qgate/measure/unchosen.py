"""Arrays whose type or form nobody chose, as the model's input takes them: columns of tables, NumPy's own types.

``int64`` and ``float64`` are what NumPy, pandas and the cells of a table make of numbers where nobody says otherwise. Any
other type was chosen by somebody (``uint8`` of images that are not prepared), and must be the input's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.data import ArraySpec
from qgate.measure.feed import cast
from qgate.runtimes.base import TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = {np.dtype(np.int64): "iuf", np.dtype(np.float64): "f"}
"""By unchosen type, the kinds of NumPy's types that it becomes."""


def as_taken(
    arrays: Mapping[str, ArraySpec], takes: Iterable[tuple[str, TensorInfo]], declared: Collection[str]
) -> dict[str, ArraySpec]:
    """What arrays become that are not yet as the model takes them.

    Args:
        arrays: Headers by name, as they are stored.
        takes: Names of arrays with the input that each feeds; the first of a name counts.
        declared: Arrays whose type is declared to differ, which stay as they are stored.

    Returns:
        By name, of those alone that become something else: an unchosen type the input's type; one number a sample,
        [samples], the form of an input of one value a sample, [samples, 1].
    """
    found: dict[str, ArraySpec] = {}
    for name, info in takes:
        spec = arrays.get(name)
        if spec is None or name in found:
            continue
        ones = _lacking(spec, info)
        dtype = spec.dtype if name in declared else _type(spec.dtype, info.dtype)
        found[name] = ArraySpec((*spec.shape, *(1,) * ones), dtype, spec.fortran)
    return {name: spec for name, spec in found.items() if spec != arrays[name]}


def _lacking(spec: ArraySpec, info: TensorInfo) -> int:
    """Axes of size 1 that the input has behind the samples and a column of numbers lacks."""
    column = len(spec.shape) == 1 and len(info.shape) > 1 and all(size == 1 for size in info.shape[1:])
    return len(info.shape) - 1 if column else 0


def _type(own: np.dtype[Any], wanted: str) -> np.dtype[Any]:
    own = own.newbyteorder("=")
    try:
        taken = np.dtype(wanted)
    except TypeError:  # no type of NumPy's: it cannot be fed, which the plan says
        return own
    return taken if taken.kind in _KINDS.get(own, "") else own


def taken(values: NDArray[Any], spec: ArraySpec, name: str, where: str) -> NDArray[Any]:
    """Some samples in the type and form that ``as_taken`` says.

    Raises:
        DataError: A whole number is out of the type's range, or a number is too large for it.
    """
    try:
        return cast(values, spec.dtype, name).reshape((*values.shape[:1], *spec.shape[1:]))
    except DataError as error:
        raise DataError(
            error.what, where=where, remedy=f"Give values in the range of {spec.dtype}"
        ) from error
