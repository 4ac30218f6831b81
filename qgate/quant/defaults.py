"""What an attribute is where a file leaves it out, by operator and opset."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

_NEWEST = 1000
_SOFT = ("Softmax", "LogSoftmax", "Hardmax")
# What older versions of an operator do without saying so: (operator, version before which, settings).
_IMPLIED: tuple[tuple[str, int, Mapping[str, Any]], ...] = (
    ("Resize", 11, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("RoiAlign", 16, {"coordinate_transformation_mode": "output_half_pixel"}),
    # All axes from the named one on are one; from opset 13 it is the named one alone.
    *((op, 13, {"flattened": 1}) for op in _SOFT),
)


def defaults(op: str, domain: str, opset: int) -> dict[str, Any]:
    """Every default of an operator.

    An attribute that came with a later version has there the default that keeps the older meaning, but for
    those of ``_IMPLIED``.
    """
    found = dict(_stated(op, domain, max(opset, 1)))
    known = _known(op, domain, max(opset, 1))
    for name, value in _stated(op, domain, _NEWEST):
        if name not in known:
            found.setdefault(name, value)
    for name, before, settings in _IMPLIED:
        if op == name and not domain and opset < before:
            found.update(settings)
    return found


@lru_cache(maxsize=4096)
def _known(op: str, domain: str, opset: int) -> frozenset[str]:
    import onnx

    try:
        return frozenset(onnx.defs.get_schema(op, opset, domain).attributes)
    except onnx.defs.SchemaError:
        return frozenset()


@lru_cache(maxsize=4096)
def _stated(op: str, domain: str, opset: int) -> tuple[tuple[str, Any], ...]:
    import onnx

    try:
        schema = onnx.defs.get_schema(op, opset, domain)
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
