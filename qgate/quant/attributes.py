"""Attributes brought to one form, so that two exporters' spellings of the same operation compare equal."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.formats.model import Constant
from qgate.quant.constants import ConstantValue

if TYPE_CHECKING:
    from qgate.quant.floatgraph import FloatNode

# Operands that older opsets spell as attributes: op -> names of inputs 1, 2, ...
_OPERANDS = {
    "Squeeze": ("axes",), "Unsqueeze": ("axes",), "Clip": ("min", "max"), "Pad": ("pads", "value", "axes"),
    "Slice": ("starts", "ends", "axes", "steps"), "Split": ("split",), "TopK": ("k",),
    "ReduceMean": ("axes",), "ReduceSum": ("axes",), "ReduceMax": ("axes",), "ReduceMin": ("axes",),
    "ReduceProd": ("axes",), "ReduceL1": ("axes",), "ReduceL2": ("axes",), "ReduceLogSumExp": ("axes",),
    "ReduceSumSquare": ("axes",), "ReduceLogSum": ("axes",),
}  # fmt: skip
_IGNORED = {"kernel_shape_of_weight", "opset", "quantize_alpha", "training_mode", "accuracy_level"}


def normalised(
    node: FloatNode, attributes: Mapping[str, Any], opset: int, constants: Mapping[str, ConstantValue]
) -> dict[str, Any]:
    """Attributes with defaults filled in, neutral ones dropped and constant operands moved in.

    Operands that are moved are taken off ``node.inputs``.
    """
    filled = {**_defaults(node.op, node.domain, opset), **attributes}
    result = {k: v for k, v in filled.items() if k not in _IGNORED and not _neutral(node.op, k, v)}
    for position, name in enumerate(_OPERANDS.get(node.op, ()), start=1):
        if position < len(node.inputs):
            value = constants.get(node.inputs[position])
            if value is not None and value.size <= 64:
                result[name] = _plain(value.values() if value.is_quantized else value.codes())
                node.inputs[position] = ""
    while node.inputs and not node.inputs[-1]:
        node.inputs.pop()
    if node.op == "Cast" and result.get("to") in (1, 10, 11, 16):
        # Which float type: a converter to fp16 writes its own, and means the same.
        result["to"] = "float"
    if node.op == "Clip":
        result = {k: v for k, v in result.items() if k not in ("min", "max") or np.isfinite(v)}
    return {k: _plain(v) for k, v in result.items()}


def same_attribute(left: Any, right: Any) -> bool:
    """Equality of two attribute values; floats to the precision of fp16, absent the same as zero."""
    if left is None or right is None:
        other = right if left is None else left
        return other is None or (isinstance(other, int | float | str) and not other)
    if isinstance(left, float) or isinstance(right, float):
        try:
            return bool(np.isclose(float(left), float(right), rtol=2e-3, atol=1e-6, equal_nan=True))
        except (TypeError, ValueError):
            return False
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same_attribute(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


def _plain(value: Any) -> Any:
    if isinstance(value, Constant):
        loaded = value.load()
        if loaded.dtype == object:
            return str(loaded.tolist())
        if loaded.size > 64:
            return (loaded.shape, loaded.tobytes())
        return (loaded.shape, tuple(float(v) for v in loaded.reshape(-1)))
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else tuple(value.reshape(-1).tolist())
    if isinstance(value, tuple):
        items = tuple(_plain(v) for v in value)
        return items[0] if len(items) == 1 else items
    return value


def _neutral(op: str, key: str, value: Any) -> bool:
    """Whether an attribute says nothing: the default that the schema only describes in words."""
    if key in ("strides", "dilations"):
        return all(v == 1 for v in value)
    if key in ("pads", "output_padding"):
        return op != "Pad" and all(v == 0 for v in value)
    if key == "auto_pad":
        return value in ("NOTSET", "")
    if key == "kernel_shape":
        return op in ("Conv", "ConvTranspose")
    return key == "storage_order" and value == 0


@lru_cache(maxsize=4096)
def _schema_defaults(op: str, domain: str, opset: int) -> tuple[tuple[str, Any], ...]:
    import onnx

    try:
        schema = onnx.defs.get_schema(op, max(opset, 1), domain)
    except onnx.defs.SchemaError:
        return ()
    found = []
    for name, attribute in schema.attributes.items():
        default = attribute.default_value
        if default is not None and default.name and default.type in (1, 2, 3, 6, 7):
            value = onnx.helper.get_attribute_value(default)
            if isinstance(value, bytes):
                value = value.decode()
            found.append((name, tuple(value) if isinstance(value, list) else value))
    return tuple(found)


def _defaults(op: str, domain: str, opset: int) -> dict[str, Any]:
    return dict(_schema_defaults(op, domain, opset))
