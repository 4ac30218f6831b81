"""What one value of a policy may be: names, hosts, days, words; each says in its error what it should have been."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveInt,
    Strict,
    StringConstraints,
    WithJsonSchema,
)

from qgate.records import Value

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_IPV6 = re.compile(r"[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}")
DType = Literal[
    "float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool",
]  # fmt: skip


def _visible(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("control characters, or spaces at its ends, are not allowed")
    return text


def _calendar_date(value: object) -> object:
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("a date is written YYYY-MM-DD")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"there is no such day ({error})") from error


def _version(value: object) -> object:
    if value != 1 or type(value) is not int:
        raise ValueError("this qgate reads version 1 of the policy, written as the number 1")
    return value


def _some(items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not items:
        raise ValueError("at least one entry is needed")
    return items


def _number_or_word(value: object) -> object:
    if not isinstance(value, bool | int | float | str):
        kind = "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
        raise ValueError(f"a threshold is a number or a word, not {kind}")
    return value


def _host(value: str) -> str:
    host, colon, port = value.lower().partition(":")
    plain = _HOST.fullmatch(host) and (not colon or re.fullmatch(r"[1-9][0-9]{0,4}", port))
    if not plain and not _IPV6.fullmatch(value.lower()):
        raise ValueError("a host is a name or address, with `:port` if need be: no scheme, path or wildcard")
    return value.lower()


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Name of a target or a profile; also the stem of the target's baseline file."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_visible)]
"""One line of text."""

_T = TypeVar("_T")
NonEmpty = Annotated[tuple[_T, ...], AfterValidator(_some), Field(json_schema_extra={"minItems": 1})]

Threshold = Annotated[Value, BeforeValidator(_number_or_word)]
Thresholds = dict[str, dict[str, Threshold]]
Metric = Literal[
    "top1", "topk", "balanced_accuracy", "macro_f1", "ece", "mae", "rmse", "r2", "recall_at_k", "neighbours",
    "perplexity", "miou", "pixel_accuracy", "cer", "exact_match", "map", "map50",
    "same_boxes", "python", "decoded", "none",
]  # fmt: skip
BoxFormat = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
Approval = Literal["approve", "allow"]
Scheme = Literal["auto", "int8", "int4", "fp16", "fp8", "none"]
Derivation = Literal["auto", "exact", "folded", "qat", "none"]
Runtime = Literal["onnxruntime", "avx2", "openvino", "tensorrt", "torch"]
Deploy = Literal["avx2"]
Day = Annotated[date, BeforeValidator(_calendar_date), WithJsonSchema({"type": "string", "format": "date"})]
Whole = Annotated[PositiveInt, Strict()]
Side = Annotated[PositiveInt, Strict(), Field(le=16_384)]
Finite = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Version = Annotated[Literal[1], BeforeValidator(_version)]
Host = Annotated[str, AfterValidator(_host)]
Operator = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,128}::[A-Za-z0-9_]{1,128}$")]
"""An operator as domain::OpType."""
