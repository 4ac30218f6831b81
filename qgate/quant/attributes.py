"""Attributes brought to one form, so that two exporters' spellings of the same operation compare equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.formats.model import Constant
from qgate.quant.constants import Array, ConstantValue
from qgate.quant.defaults import defaults

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
# What no runtime computes with, or what says how fast and how precisely a runtime may compute.
_IGNORED = {"kernel_shape_of_weight", "opset", "quantize_alpha", "accuracy_level", "consumed_inputs"}
_FLOAT_TYPES = (1, 10, 11, 16)
_RENAMED = {"bilinear": "linear", "bicubic": "cubic"}
_GATES = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
# Float32 written down as text, or a third computed in double precision.
_PRECISION = 2e-6
_HALF_LIMIT = 1e4
# Opset 6 writes the greatest float32 for no bound at all.
_NO_LIMIT = 3.4e38


class Rounded(float):
    """A number that its file stores in fewer bits than float32, with how far its rounding may have moved it."""

    error: float

    def __new__(cls, value: float, error: float) -> Rounded:
        """Makes one from the stored value and half a step of its type."""
        made = super().__new__(cls, value)
        made.error = error
        return made


def normalised(
    node: FloatNode, attributes: Mapping[str, Any], opset: int, constants: Mapping[str, ConstantValue]
) -> dict[str, Any]:
    """Attributes with defaults filled in, neutral ones dropped and constant operands moved in.

    Operands that are moved are taken off ``node.inputs``.
    """
    filled = {**defaults(node.op, node.domain, opset), **attributes}
    for position, name in enumerate(_OPERANDS.get(node.op, ()), start=1):
        if position < len(node.inputs):
            value = constants.get(node.inputs[position])
            if value is not None and value.size <= 64:
                filled[name] = _operand(value)
                node.inputs[position] = ""
    while node.inputs and not node.inputs[-1]:
        node.inputs.pop()
    result = {k: v for k, v in filled.items() if k not in _IGNORED and not _neutral(node.op, k, v)}
    if node.op == "Cast":
        result = _cast(result)
    if node.op == "GridSample":
        result["mode"] = _RENAMED.get(str(result.get("mode")), result.get("mode"))
    if node.op == "Clip":
        result = {k: v for k, v in result.items() if k not in ("min", "max") or not abs(v) >= _NO_LIMIT}
    if node.op in _GATES and tuple(result.get("activations", ())) in (_GATES[node.op], _GATES[node.op] * 2):
        del result["activations"]
    return {k: _plain(v) for k, v in result.items()}


def same_attribute(left: Any, right: Any, *, lenient: bool = False) -> bool:
    """Equality of two attribute values: floats to the precision of what stores them.

    Args:
        left: One value; None where the attribute is absent and has no default.
        right: The other.
        lenient: Absent is the same as zero, for operators whose defaults no specification states.
    """
    if left is None or right is None:
        other = right if left is None else left
        return other is None or (lenient and isinstance(other, int | float | str) and not other)
    if isinstance(left, float) or isinstance(right, float):
        try:
            return _close(left, right)
        except (TypeError, ValueError):
            return False
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same_attribute(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


def _close(left: Any, right: Any) -> bool:
    one, two = float(left), float(right)
    if one == two or (np.isnan(one) and np.isnan(two)):
        return True
    if not (np.isfinite(one) and np.isfinite(two)):
        return False
    slack = sum(v.error for v in (left, right) if isinstance(v, Rounded))
    if abs(one - two) <= slack + _PRECISION * max(abs(one), abs(two)):
        return True
    # Converters to fp16 bring what is beyond 1e4 to it.
    clamped = [v for v in (left, right) if isinstance(v, Rounded) and abs(v) == _HALF_LIMIT]
    return bool(clamped) and one * two > 0 and min(abs(one), abs(two)) >= _HALF_LIMIT


def _operand(value: ConstantValue) -> Any:
    """A constant operand as an attribute, with the precision that it is stored in."""
    if value.is_quantized:
        steps = np.broadcast_to(np.abs(value.scales()), value.shape).reshape(-1)
        flat = value.values().reshape(-1)
        # Half a step, but of steps that are fit for the value: a coarse one would let a bound be anything.
        made = tuple(
            Rounded(float(v), min(0.51 * float(s), 0.02 * abs(float(v))))
            for v, s in zip(flat, steps, strict=True)
        )
        return made[0] if value.size == 1 else made
    return _numbers(value.codes(), value.dtype)


def _numbers(values: Array, dtype: str) -> Any:
    flat = values.reshape(-1).tolist()
    if dtype in ("float16", "bfloat16"):
        relative = 2.0**-11 if dtype == "float16" else 2.0**-8
        # Beside the least fp16 there is the 1e-7 that converters bring what is smaller to.
        flat = [Rounded(v, max(relative * abs(v), 1.2e-7)) for v in flat]
    return flat[0] if len(flat) == 1 else tuple(flat)


def _plain(value: Any) -> Any:
    if isinstance(value, Constant):
        loaded = value.load()
        if loaded.dtype == object:
            return str(loaded.tolist())
        if loaded.size > 64:
            return (loaded.shape, loaded.tobytes())
        numbers = _numbers(loaded, value.dtype)
        return (loaded.shape, numbers if isinstance(numbers, tuple) else (numbers,))
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else tuple(value.reshape(-1).tolist())
    if isinstance(value, tuple):
        items = tuple(_plain(v) for v in value)
        return items[0] if len(items) == 1 else items
    return value


def _cast(result: dict[str, Any]) -> dict[str, Any]:
    """A converter to fp16 writes its own float type and means the same; only casts to float8 saturate."""
    to = result.get("to")
    if to not in (17, 18, 19, 20) and result.get("saturate") in (0, 1):
        result.pop("saturate", None)
    return {**result, "to": "float"} if to in _FLOAT_TYPES else result


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
    if key == "steps":
        return op == "Slice" and bool(np.all(np.asarray(value) == 1))
    if key == "value" and op == "Pad":
        return isinstance(value, int | float) and value == 0
    if key == "spatial":
        return op == "BatchNormalization" and value == 1
    return key == "storage_order" and value == 0
