"""The names that a checkpoint's pickle may say, and what each stands for."""

from __future__ import annotations

from collections.abc import Mapping

from qgate.formats.torch.values import ElementType

# torch dtype -> ONNX's name; empty for types that stand in settings alone.
DTYPES: Mapping[str, str] = {
    "float32": "float", "float64": "double", "float16": "float16", "bfloat16": "bfloat16", "float": "float",
    "double": "double", "half": "float16", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16",
    "int32": "int32", "uint32": "uint32", "int64": "int64", "uint64": "uint64", "long": "int64", "int": "int32",
    "short": "int16", "bool": "bool", "complex64": "complex64", "complex128": "complex128",
    "float8_e4m3fn": "float8e4m3fn", "float8_e4m3fnuz": "float8e4m3fnuz", "float8_e5m2": "float8e5m2",
    "float8_e5m2fnuz": "float8e5m2fnuz", "float8_e8m0fnu": "float8e8m0",
    "qint8": "int8", "quint8": "uint8", "qint32": "int32", "quint4x2": "", "quint2x4": "",
    "float4_e2m1fn_x2": "", **{f"{sign}int{bits}": "" for sign in ("", "u") for bits in range(1, 8)},
}  # fmt: skip
STORAGES: Mapping[str, str] = {
    "FloatStorage": "float", "DoubleStorage": "double", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "QInt8Storage": "int8", "QUInt8Storage": "uint8", "QInt32Storage": "int32",
    "UntypedStorage": "uint8",
}  # fmt: skip
SCHEMES = {"torch.per_tensor_affine", "torch.per_channel_affine", "torch.per_channel_affine_float_qparams"}
_UTILS = "torch._utils."
FUNCTIONS = {
    "collections.OrderedDict", "collections.Counter", "torch.Size", "torch.device", "torch.serialization._get_layout",
    "_codecs.encode", "builtins.set", "builtins.complex", "builtins.bytearray", "builtins.bytes",
    *(_UTILS + f"_rebuild_{n}" for n in ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state")),
    *(_UTILS + f"_rebuild_{n}" for n in ("qtensor", "wrapper_subclass")), "torch._tensor._rebuild_from_type_v2",
    "numpy.dtype", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
}  # fmt: skip
TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray"}
_AO = "torchao.quantization."
SUBCLASSES = {
    *(_AO + n for n in ("Int8Tensor", "Float8Tensor", "IntxUnpackedToInt8Tensor")),
    "torchao.dtypes.affine_quantized_tensor.AffineQuantizedTensor",
    "torchao.dtypes.affine_quantized_tensor.PlainAQTTensorImpl",
    "torchao.dtypes.uintx.plain_layout.PlainAQTTensorImpl",
}  # fmt: skip
"""Tensor subclasses whose parts are understood."""

RECORDS = {
    *(_AO + "granularity." + n for n in ("PerTensor", "PerRow", "PerAxis", "PerGroup", "PerToken", "PerBlock")),
    *(_AO + "quant_primitives." + n for n in ("MappingType", "ZeroPointDomain")),
    _AO + "quantize_.workflows.int8.int8_tensor.QuantizeTensorToInt8Kwargs",
    _AO + "quantize_.workflows.float8.float8_tensor.QuantizeTensorToFloat8Kwargs",
    _AO + "quantize_.common.kernel_preference.KernelPreference",
    _AO + "quantize_.workflows.intx.intx_unpacked_to_int8_tensor.IntxUnpackedToInt8TensorActivationQuantization",
    "torchao.float8.inference.Float8MMConfig",
    "torchao.dtypes.utils.PlainLayout",
}  # fmt: skip
"""Classes of settings: an object of theirs is kept as its name and its values."""

NUMPY = {
    "f8": "double", "f4": "float", "f2": "float16", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64", "b1": "bool", "c8": "complex64", "c16": "complex128",
}  # fmt: skip


def full_name(module: str, name: str) -> str:
    """A global's name today; Python 2 and older numpy had other modules."""
    module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
    if module == "numpy._core.multiarray":
        module = "numpy.core.multiarray"
    return f"{module}.{name}"


def element_type(name: str) -> ElementType | None:
    """The dtype of a name, if it is one."""
    library, _, short = name.partition(".")
    return ElementType(short, DTYPES[short]) if library == "torch" and short in DTYPES else None


def storage_class(name: str) -> str | None:
    """The short name of a storage class, if it is one that is on the list."""
    module, _, short = name.rpartition(".")
    known = {"torch", "torch.cuda"} if short != "UntypedStorage" else {"torch.storage"}
    return short if module in known and short in STORAGES else None
