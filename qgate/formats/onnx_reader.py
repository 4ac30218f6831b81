"""ONNX files, read as data.

protobuf parses the bytes after ``wire`` has looked at them; from there on every tensor is checked
against the bytes that are present before anything is allocated for it.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.errors import FormatError
from qgate.formats.external import ExternalRange, checked_side_file, parse_external
from qgate.formats.model import Constant, Dim, Graph, Node, StaticModel, TensorType
from qgate.formats.stored import tensor_proto_bytes
from qgate.formats.wire import check_model_bytes

MAX_FILE = 2 * 2**30
MAX_NODES = 200_000
MAX_DEPTH = 16
MAX_RANK = 32

# dtype code of TensorProto -> (name, storage bits)
DTYPES: Mapping[int, tuple[str, int]] = {
    1: ("float", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("double", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8),
    19: ("float8e5m2", 8),
    20: ("float8e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
    23: ("float4e2m1", 4),
    24: ("float8e8m0", 8),
    25: ("uint2", 2),
    26: ("int2", 2),
}
_PLAIN = {
    "float": "<f4", "double": "<f8", "float16": "<f2", "int8": "i1", "uint8": "u1", "int16": "<i2",
    "uint16": "<u2", "int32": "<i4", "uint32": "<u4", "int64": "<i8", "uint64": "<u8", "bool": "?",
    "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip
_TYPED_FIELD = {
    "float": "float_data", "complex64": "float_data", "double": "double_data", "complex128": "double_data",
    "int64": "int64_data", "uint64": "uint64_data", "uint32": "uint64_data", "string": "string_data",
}  # fmt: skip


_DATA_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


@dataclass
class _Reading:
    """State of one read: the file, and the side files met on the way."""

    path: Path
    check_side_files: bool
    side_files: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return self.path.name


def read_onnx(path: Path, *, check_side_files: bool = True) -> StaticModel:
    """Reads an ONNX file without executing anything.

    Args:
        path: The model; side files are looked for in its folder.
        check_side_files: False only to learn which side files a model names, before they are there.

    Raises:
        FormatError: Too large, damaged, ambiguous, or a tensor does not fit its bytes.
    """
    size = path.stat().st_size
    if size > MAX_FILE:
        raise FormatError(
            f"{size} bytes, more than the {MAX_FILE} that an ONNX file may have",
            where=path.name,
            remedy="Save the weights as external data",
            rule="ART104",
        )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        check_model_bytes(view, path.name, max_nodes=MAX_NODES)
        proto = _parse(view[:], path.name)
    _checked_text(
        path.name, proto.producer_name, proto.producer_version, *(o.domain for o in proto.opset_import)
    )
    _checked_text(path.name, *(text for p in proto.metadata_props for text in (p.key, p.value)))
    _checked_text(path.name, *(text for f in proto.functions for text in (f.domain, f.name)))
    _checked_text(path.name, *(node.domain for node in proto.graph.node))
    _check_versions(proto, path.name)
    reading = _Reading(path, check_side_files)
    graph = _graph(proto.graph, reading, 0)
    side = tuple(reading.side_files)
    total = size + sum((path.parent / name).stat().st_size for name in side) if check_side_files else size
    return StaticModel(
        path=path,
        format="onnx",
        graph=graph,
        opsets={_domain(o.domain): o.version for o in proto.opset_import},
        ir_version=proto.ir_version,
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        metadata={p.key: p.value for p in proto.metadata_props},
        functions=tuple(f"{f.domain}::{f.name}" for f in proto.functions),
        side_files=dict(reading.side_files),
        file_bytes=total,
    )


def _parse(data: bytes, where: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.ModelProto.FromString(data)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise FormatError(
            "not a valid ONNX file: the protobuf parser refuses it",
            where=where,
            remedy="Commit the file again; it was cut off, filtered or is something else",
            rule="ART104",
        ) from error


def _check_versions(proto: Any, where: str) -> None:
    """Versions that this reader knows; another one may give the same names other meanings."""
    import onnx

    opsets = {_domain(o.domain): int(o.version) for o in proto.opset_import}
    newest = onnx.defs.onnx_opset_version()
    what = ""
    if not any(_domain(node.domain) in opsets for node in proto.graph.node) and proto.graph.node:
        what = "it imports no operator set, so its operators have no defined meaning"
    elif opsets.get("", 1) > newest or opsets.get("", 1) < 1:
        what = f"operator set {opsets['']}, where {newest} is the newest that is known"
    elif proto.ir_version > onnx.IR_VERSION or proto.ir_version < 1:
        what = f"IR version {proto.ir_version}, where {onnx.IR_VERSION} is the newest that is known"
    if what:
        raise FormatError(
            what, where=where, remedy="Export the model again for a version that runtimes know", rule="ART103"
        )


def _checked_text(where: str, *values: Any) -> None:
    """Refuses names that are no UTF-8, which protobuf hands out as bytes."""
    for value in values:
        if isinstance(value, bytes):
            raise FormatError(
                f"a name that is not valid UTF-8 ({value[:40]!r})",
                where=where,
                remedy="Export the model again; do not merge this file",
                rule="ART105",
            )


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _graph(proto: Any, reading: _Reading, depth: int) -> Graph:
    if depth > MAX_DEPTH:
        raise FormatError(
            f"subgraphs nested more than {MAX_DEPTH} deep",
            where=reading.where,
            remedy="Simplify the model",
            rule="ART105",
        )
    constants: dict[str, Constant] = {}
    for tensor in proto.initializer:
        if tensor.name in constants:
            raise FormatError(
                f"two initializers are named {tensor.name!r}",
                where=reading.where,
                remedy="Export the model again",
                rule="ART105",
                tensor=tensor.name,
            )
        constants[tensor.name] = _constant(tensor, tensor.name, reading)
    if proto.sparse_initializer:
        name = proto.sparse_initializer[0].values.name
        raise FormatError(
            "sparse initializers are not verified by this version",
            where=reading.where,
            remedy="Export the model with dense initializers",
            rule="ART103",
            tensor=name,
        )
    nodes = tuple(_node(node, index, reading, depth) for index, node in enumerate(proto.node))
    for value in (*proto.value_info, *proto.input, *proto.output):
        dims = value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ()
        _checked_text(reading.where, value.name, *(dim.dim_param for dim in dims))
    types = {v.name: _type(v) for v in (*proto.value_info, *proto.input, *proto.output)}
    inputs = tuple(_type(v) for v in proto.input if v.name not in constants)
    shadowed = tuple(v.name for v in proto.input if v.name in constants)
    return Graph(inputs, tuple(_type(v) for v in proto.output), nodes, constants, types, shadowed)


def _type(value: Any) -> TensorType:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorType(value.name, kind or "", None)
    tensor = value.type.tensor_type
    dtype = DTYPES.get(tensor.elem_type, (f"type {tensor.elem_type}", 0))[0]
    if not tensor.HasField("shape"):
        return TensorType(value.name, dtype, None)
    shape: list[Dim] = []
    for dim in tensor.shape.dim:
        which = dim.WhichOneof("value")
        # PaddlePaddle's exporter writes 0 or -1 where it means an unknown size.
        fixed = dim.dim_value if which == "dim_value" and dim.dim_value > 0 else None
        shape.append(dim.dim_param if which == "dim_param" and dim.dim_param else fixed)
    return TensorType(value.name, dtype, tuple(shape))


def _node(proto: Any, position: int, reading: _Reading, depth: int) -> Node:
    names = [a.name for a in proto.attribute]
    _checked_text(reading.where, proto.name, proto.op_type, proto.domain, *proto.input, *proto.output, *names)
    if not any(proto.output) or len(names) != len(set(names)):
        fault = "has no output" if not any(proto.output) else "has an attribute twice"
        raise FormatError(
            f"node {proto.name or proto.op_type!r} {fault}",
            where=reading.where,
            remedy="Export the model again; do not merge this file",
            rule="ART105",
            tensor=proto.name or None,
        )
    attributes = {a.name: _attribute(a, proto.name or proto.op_type, reading, depth) for a in proto.attribute}
    return Node(
        name=proto.name,
        op=proto.op_type,
        domain=_domain(proto.domain),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        position=position,
    )


def _attribute(proto: Any, owner: str, reading: _Reading, depth: int) -> Any:
    kind = proto.type
    simple: dict[int, Callable[[], Any]] = {
        1: lambda: proto.f,
        2: lambda: proto.i,
        3: lambda: _text(proto.s),
        4: lambda: _constant(proto.t, proto.t.name or owner, reading),
        5: lambda: _graph(proto.g, reading, depth + 1),
        6: lambda: tuple(proto.floats),
        7: lambda: tuple(proto.ints),
        8: lambda: tuple(_text(s) for s in proto.strings),
        9: lambda: tuple(_constant(t, t.name or owner, reading) for t in proto.tensors),
        10: lambda: tuple(_graph(g, reading, depth + 1) for g in proto.graphs),
    }
    if kind not in simple:
        raise FormatError(
            f"node {owner!r} has an attribute {proto.name!r} of a kind that is not read",
            where=reading.where,
            remedy="Export the model without sparse or type attributes",
            rule="ART103",
            tensor=owner,
        )
    return simple[kind]()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _constant(proto: Any, name: str, reading: _Reading) -> Constant:
    _checked_text(reading.where, proto.name)
    dtype, bits = DTYPES.get(proto.data_type, ("", 0))
    shape = tuple(int(d) for d in proto.dims)
    if not dtype or len(shape) > MAX_RANK or any(not 0 <= d < 2**31 for d in shape):
        raise FormatError(
            f"tensor {name!r} has an unknown type or a size that no tensor has",
            where=reading.where,
            remedy="Export the model again",
            rule="ART105",
            tensor=name,
        )
    elements = 1
    for size in shape:
        elements *= size
    needed = (elements * bits + 7) // 8
    held = [
        f
        for f in ("raw_data", *_DATA_FIELDS)
        if (proto.HasField(f) if f == "raw_data" else len(getattr(proto, f)))
    ]
    external = proto.data_location == 1
    if dtype == "string" and (external or "raw_data" in held):
        raise FormatError(
            f"tensor {name!r} of strings holds raw bytes",
            where=reading.where,
            remedy="Export the model again; do not merge this file",
            rule="ART105",
            tensor=name,
        )
    if external and not held:
        return _external_constant(proto, name, dtype, bits, shape, needed, reading)
    if len(held) > 1 or proto.external_data or external:
        raise FormatError(
            f"tensor {name!r} holds its data twice ({', '.join(held) or 'external'}), and readers differ in which counts",
            where=reading.where,
            remedy="Export the model again; do not merge this file",
            rule="ART105",
            tensor=name,
        )
    present = _present_elements(proto, dtype, bits)
    if present != (needed if proto.HasField("raw_data") else elements):
        raise FormatError(
            f"tensor {name!r} declares {elements} elements of {dtype} and holds bytes for another number",
            where=reading.where,
            remedy="Export the model again; do not merge this file",
            rule="ART105",
            tensor=name,
        )
    return Constant(
        name,
        dtype,
        shape,
        bits,
        lambda: _values(proto, dtype, shape),
        raw=lambda: tensor_proto_bytes(proto, dtype, bits, elements),
    )


def _present_elements(proto: Any, dtype: str, bits: int) -> int:
    """Bytes of raw data, or elements of the typed field that is used instead."""
    if proto.HasField("raw_data"):
        return len(proto.raw_data)
    held = len(getattr(proto, _TYPED_FIELD.get(dtype, "int32_data")))
    if dtype.startswith("complex"):
        return held // 2
    # Sub-byte types are packed into int32_data, one byte of packed values in each entry.
    return min(held * (8 // bits), math.prod(proto.dims)) if bits in (2, 4) else held


def _external_constant(
    proto: Any, name: str, dtype: str, bits: int, shape: tuple[int, ...], needed: int, reading: _Reading
) -> Constant:
    _checked_text(reading.where, *(text for e in proto.external_data for text in (e.key, e.value)))
    keys = [e.key for e in proto.external_data]
    if len(keys) != len(set(keys)):
        raise FormatError(
            f"external data of {name!r} names a key twice",
            where=reading.where,
            remedy="Export the model again",
            rule="ART107",
            tensor=name,
        )
    external = parse_external({e.key: e.value for e in proto.external_data}, name, reading.where)
    reading.side_files.setdefault(external.location, name)
    if reading.check_side_files:
        checked_side_file(reading.path.parent, external, needed, name, reading.where)
    return Constant(
        name,
        dtype,
        shape,
        bits,
        lambda: _decode(_external_bytes(reading.path, external, needed), dtype, shape),
        external.location,
        raw=lambda: _external_bytes(reading.path, external, needed),
    )


def _external_bytes(path: Path, external: ExternalRange, needed: int) -> NDArray[np.uint8]:
    if not needed:
        return np.zeros(0, np.uint8)
    return np.memmap(path.parent / external.location, np.uint8, "r", external.offset, (needed,))


def _values(proto: Any, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if proto.HasField("raw_data"):
        return _decode(proto.raw_data, dtype, shape)
    if dtype == "string":
        return np.array([_text(s) for s in proto.string_data], dtype=object).reshape(shape)
    from onnx import numpy_helper

    return _widen(numpy_helper.to_array(proto), dtype)


def _decode(raw: bytes | NDArray[np.uint8], dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype in _PLAIN:
        return np.frombuffer(raw, dtype=_PLAIN[dtype]).reshape(shape)
    if dtype in ("int4", "uint4", "int2", "uint2"):
        return _unpacked(np.frombuffer(raw, np.uint8), int(dtype[-1]), dtype.startswith("int"), shape)
    import ml_dtypes

    names = {"float8e8m0": "float8_e8m0fnu", "float4e2m1": "float4_e2m1fn"}
    if dtype == "float4e2m1":
        codes = _unpacked(np.frombuffer(raw, np.uint8), 4, False, shape)
        return np.asarray(codes.astype(np.uint8).view(ml_dtypes.float4_e2m1fn), np.float32)
    alias = names.get(dtype, dtype.replace("float8e", "float8_e"))
    return np.frombuffer(raw, dtype=getattr(ml_dtypes, alias)).reshape(shape).astype(np.float32)


def _unpacked(packed: NDArray[np.uint8], bits: int, signed: bool, shape: tuple[int, ...]) -> NDArray[Any]:
    """Several values a byte, the first in the lowest bits (ONNX IR, sections on 4-bit and 2-bit types)."""
    shifts = range(0, 8, bits)
    values = np.stack([(packed >> shift) & ((1 << bits) - 1) for shift in shifts], axis=-1).reshape(-1)
    values = values[: math.prod(shape)]
    if signed:
        sign = 1 << (bits - 1)
        return ((values.astype(np.int8) ^ sign) - sign).astype(np.int8).reshape(shape)
    return values.reshape(shape)


def _widen(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype in ("int4", "int2"):
        return values.astype(np.int8)
    if dtype in ("uint4", "uint2"):
        return values.astype(np.uint8)
    return values.astype(np.float32) if dtype.startswith(("float8", "bfloat", "float4")) else values
