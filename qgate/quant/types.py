"""Whether a tensor holds floats, found from the operators' specification rather than from what a file claims."""

from __future__ import annotations

from functools import lru_cache

from qgate.quant.constants import FLOATS
from qgate.quant.scope import Scope

_DEPTH = 256
_FLOAT_CODES = {1, 10, 11, 16}
_FLOAT_NAMES = {f"tensor({name})" for name in ("float", "float16", "double", "bfloat16")}
_BODIES = {"If", "Loop", "Scan"}


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
