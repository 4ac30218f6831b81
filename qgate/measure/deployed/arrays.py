"""Arrays and a word about them as bytes: one line of JSON, then the values of each array, in C order.

The parent believes none of it: types are few, sizes must add up to the bytes that are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field, ValidationError, model_validator

from qgate.errors import MeasureError
from qgate.measure.states import Count, Energy, Text
from qgate.records import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = "qgate-runtime/v1"
MAX_BYTES = 48 << 20
"""Values that one answer may hold."""

_MAX_LINE = 8 << 20
_MAX_ARRAYS = 20_000
DType = Literal[
    "float16", "float32", "float64", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
DTYPES: tuple[str, ...] = get_args(DType)


class ArrayState(Record):
    """Where an array of the answer belongs, and what it is."""

    kind: Literal["input", "reference", "candidate", "tap"]
    name: Text
    dtype: DType
    shape: Annotated[tuple[Count, ...], Field(max_length=64)]

    @property
    def bytes(self) -> int:
        """Bytes of its values."""
        return int(math.prod(self.shape) * np.dtype(self.dtype).itemsize)


class ParserErrorState(Record):
    """``runtimes.tensorrt_rtx.ParserError`` as data."""

    code: Text
    operator: Text
    node: Text
    what: Text


class JudgementState(Record):
    """``runtimes.tensorrt_rtx.Judgement`` as data."""

    version: Text
    errors: Annotated[tuple[ParserErrorState, ...], Field(max_length=32)]
    built: bool | None
    build_errors: Annotated[tuple[Text, ...], Field(max_length=32)]
    engine_bytes: Count
    unprofiled: Annotated[tuple[Text, ...], Field(max_length=1000)]


class FailureState(Record):
    """Why there is no result, as the child understood it."""

    kind: Literal["refused", "memory", "data"]
    role: Literal["reference", "candidate", ""] = ""
    what: Text = ""


class RuntimeAnswer(Record):
    """What the process of a runtime hands back, values aside."""

    schema_: Literal["qgate-runtime/v1"] = Field(alias="schema")
    arrays: Annotated[tuple[ArrayState, ...], Field(max_length=_MAX_ARRAYS)] = ()
    names: Annotated[dict[Text, Text], Field(max_length=1000, default_factory=dict)]
    samples: Count = 0
    left_out: Count = 0
    version: Text = ""
    seconds: Energy | None = None
    judgement: JudgementState | None = None
    error: FailureState | None = None

    @model_validator(mode="after")
    def _an_error_stands_alone(self) -> RuntimeAnswer:
        if self.error is not None and (self.arrays or self.judgement is not None):
            raise ValueError("a result and an error")
        return self


def pack(told: Mapping[str, Any], arrays: Sequence[tuple[str, str, NDArray[Any]]] = ()) -> bytes:
    """The answer as bytes.

    Args:
        told: What stands in the line of JSON beside the arrays.
        arrays: Kind, name and values of each.
    """
    plain = [np.ascontiguousarray(values).reshape(values.shape) for _, _, values in arrays]
    states = [
        {"kind": kind, "name": name, "dtype": values.dtype.name, "shape": list(values.shape)}
        for (kind, name, _), values in zip(arrays, plain, strict=True)
    ]
    line = json.dumps({"schema": SCHEMA, **told, "arrays": states}, allow_nan=False).encode()
    return b"\n".join((line, b"".join(values.tobytes() for values in plain)))


def unpack(payload: bytes, where: str) -> tuple[RuntimeAnswer, list[NDArray[Any]]]:
    """The inverse of ``pack``.

    Raises:
        MeasureError: It is not of the schema, or contradicts itself.
    """
    line, _, values = payload[:_MAX_LINE].partition(b"\n")
    values = payload[len(line) + 1 :]
    try:
        answer = RuntimeAnswer.model_validate(json.loads(line))
        if sum(state.bytes for state in answer.arrays) != len(values):
            raise ValueError("the values are not those that are named")
    except (ValidationError, ValueError, RecursionError) as error:
        reason = str(error.errors()[0]["msg"]) if isinstance(error, ValidationError) else type(error).__name__
        raise MeasureError(
            f"the model run returned malformed data ({reason[:120]})".replace("\n", " "),
            where=where,
            remedy="Treat the model as hostile: a model cannot do this by accident",
        ) from error
    arrays, at = [], 0
    for state in answer.arrays:
        count = math.prod(state.shape)
        arrays.append(np.frombuffer(values, state.dtype, count, at).reshape(state.shape) if count else
                      np.zeros(state.shape, state.dtype))  # fmt: skip
        at += state.bytes
    return answer, arrays
