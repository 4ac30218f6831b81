"""torchao's tensor subclasses: codes, scale and zero point as they lie in a state_dict.

Source: torchao 0.18, ``quantization/quantize_/workflows``: ``value = (qdata - zero_point) * scale``, with one
scale for each block of ``block_size``. The affine tensors of releases before 0.13 keep the same parts in an
inner tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from qgate.errors import FormatError
from qgate.formats.model import Constant
from qgate.formats.torch.affine import blocked
from qgate.formats.torch.values import ElementType, Record, Wrapped

_CODES = ("qdata", "tensor_impl.int_data")
# Integer types that are stored one code a byte, by least and greatest code.
_NARROW = {(-8, 7): "int4", (-2, 1): "int2", (0, 15): "uint4", (0, 3): "uint2"}


def parts(name: str, tensor: Wrapped, held: Mapping[str, Constant], where: str) -> dict[str, Constant]:
    """The constants that a subclass is made of, the codes under the tensor's own name.

    Args:
        name: The tensor's name.
        tensor: The subclass.
        held: Its inner tensors by attribute, named after it.
        where: The file, for messages.

    Raises:
        FormatError: It has no codes, or codes of another shape than its own.
    """
    key = next((key for key in _CODES if key in held), "")
    if not key or held[key].shape != tensor.shape:
        raise FormatError(
            f"the tensor {name!r} of {tensor.kind.rpartition('.')[2]} holds no codes of its shape", where=where,
            remedy="Save the model with a current torchao, or export it to ONNX", rule="ART105", tensor=name,
        )  # fmt: skip
    prefix = key.rpartition(".")[0]
    scale, zero = (held.get(f"{prefix}.{part}".lstrip(".")) for part in ("scale", "zero_point"))
    codes = replace(held[key], name=name, dtype=_code_type(tensor, held[key]))
    if scale is not None and _is_integer_domain(tensor):
        codes = replace(
            codes, quantization=blocked(tensor.shape, tensor.state.get("block_size"), scale, zero)
        )
    rest = {constant.name: constant for part, constant in held.items() if part != key}
    return {name: codes, **rest}


def _code_type(tensor: Wrapped, codes: Constant) -> str:
    """The range that the codes were rounded into, which may be narrower than the type they lie in."""
    state = tensor.state
    target = state.get("target_dtype")
    if isinstance(target, ElementType) and target.torch in ("int2", "int4", "uint2", "uint4"):
        return target.torch
    limits = (state.get("quant_min"), state.get("quant_max"))
    least, greatest = limits
    if type(least) is not int or type(greatest) is not int:
        return codes.dtype
    return _NARROW.get((least, greatest), codes.dtype)


def _is_integer_domain(tensor: Wrapped) -> bool:
    """Whether the zero point is a code; older torchao could keep it as a float to be added."""
    domain = tensor.state.get("zero_point_domain")
    return not isinstance(domain, Record) or domain.values in ((1,), ("INT",))
