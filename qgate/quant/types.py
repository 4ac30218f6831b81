"""What a tensor holds, found from the operators' specification rather than from what a file claims."""

from __future__ import annotations

from functools import lru_cache

from qgate.formats.model import Node
from qgate.formats.onnx.dtypes import DTYPES
from qgate.quant.constants import FLOATS
from qgate.quant.scope import Scope

_DEPTH = 256
_FLOAT_CODES = {1, 10, 11, 16}
_FLOAT_NAMES = {f"tensor({name})" for name in ("float", "float16", "double", "bfloat16")}
_BODIES = {"If", "Loop", "Scan"}
_WHOLE = {
    **{f"int{bits}": (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
}
_DIGITS = {"bfloat16": 8, "float16": 11, "float": 24, "double": 53}
"""Binary digits of a float's significand: every whole number of no more is one of its values."""


def is_float(scope: Scope, name: str) -> bool:
    """Whether a tensor of the file holds floats; False where it cannot be told."""
    for _ in range(_DEPTH):
        held = scope.constant(name)
        if held is not None:
            return held.dtype in FLOATS
        maker = scope.maker(name)
        if maker is None or maker.op in _BODIES:
            return scope.dtype(name) in FLOATS or (maker is not None and not scope.dtype(name))
        if maker.op == "Cast":
            return int(maker.attribute("to", 0)) in _FLOAT_CODES
        if maker.domain:
            return maker.op == "DequantizeLinear" or not maker.op.startswith(("Q", "MatMulInteger16"))
        kinds, sources = _output(maker.op, maker.outputs.index(name))
        following = [maker.inputs[i] for i in sources if i < len(maker.inputs) and maker.inputs[i]]
        if following and kinds - _FLOAT_NAMES:
            name = following[0]
            continue
        return bool(kinds) and (kinds <= _FLOAT_NAMES or (not following and scope.dtype(name) in FLOATS))
    return False


def element_type(scope: Scope, name: str) -> str:
    """The element type of a tensor of the file; empty where the specification and the inputs do not tell it.

    What a file claims of an inner tensor, or of what a body is given, is not believed.
    """
    for _ in range(_DEPTH):
        while name not in scope.own and scope.outer is not None:
            scope = scope.outer
        maker = scope.maker(name)
        if maker is None or (maker.op == "Constant" and not maker.domain):
            held = scope.constant(name)
            if held is not None:
                return "" if held.is_quantized else held.dtype
            given = (t.dtype for t in scope.graph.inputs if t.name == name and maker is None)
            return next(given, "") if scope.outer is None else ""
        if maker.domain or maker.op in _BODIES:
            return ""
        if maker.op == "Cast":
            return cast_type(maker)
        kinds, sources = _output(maker.op, maker.outputs.index(name))
        if len(kinds) == 1:
            (kind,) = kinds
            return kind.removeprefix("tensor(").removesuffix(")") if kind.startswith("tensor(") else ""
        following = [maker.inputs[i] for i in sources if i < len(maker.inputs) and maker.inputs[i]]
        if not following:
            return ""
        name = following[0]
    return ""


def cast_type(node: Node) -> str:
    """The element type that a Cast goes to; empty for none that is known."""
    return DTYPES.get(int(node.attribute("to", 0)), ("", 0))[0]


def widens(narrow: str, wide: str) -> bool:
    """Whether every value of one type is one of the other too, so that there and back changes nothing."""
    if narrow == "bool":
        return wide in _WHOLE or wide in _DIGITS
    if narrow not in _WHOLE:
        return False
    least, greatest = _WHOLE[narrow]
    if wide in _WHOLE:
        return _WHOLE[wide][0] <= least and greatest <= _WHOLE[wide][1]
    return wide in _DIGITS and max(-least, greatest) <= 1 << _DIGITS[wide]


@lru_cache(maxsize=4096)
def _output(op: str, position: int) -> tuple[frozenset[str], tuple[int, ...]]:
    """Types that an output may have, and positions of the inputs whose type it shares."""
    import onnx

    try:
        schema = onnx.defs.get_schema(op)
    except onnx.defs.SchemaError:
        return frozenset(), ()
    named = schema.outputs[min(position, len(schema.outputs) - 1)].type_str
    allowed = {c.type_param_str: frozenset(c.allowed_type_strs) for c in schema.type_constraints}
    sources = tuple(
        i for i, entry in enumerate(schema.inputs) if named in allowed and entry.type_str == named
    )
    return allowed.get(named, frozenset({named})), sources
