"""safetensors files: a JSON header that says where each tensor's bytes lie, then the bytes.

Every byte must belong to one tensor. Source: github.com/huggingface/safetensors, README "Format".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from qgate.errors import FormatError
from qgate.formats.boundedjson import read_json
from qgate.formats.elements import BITS, Mapped, Span, spanned
from qgate.formats.model import Constant, Graph, StaticModel
from qgate.formats.packing import packed_constants
from qgate.formats.torch.root import state_record

MAX_HEADER = 16 * 2**20
MAX_TENSORS = 65_535
MAX_NAME = 512
MAX_WORDS = 500
_DTYPES = {
    "F64": "double", "F32": "float", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
    "C64": "complex64", "F8_E4M3": "float8e4m3fn", "F8_E5M2": "float8e5m2", "F8_E8M0": "float8e8m0",
    "F8_E4M3FNUZ": "float8e4m3fnuz", "F8_E5M2FNUZ": "float8e5m2fnuz", "F4": "float4e2m1",
}  # fmt: skip
_KEYS = {"dtype", "shape", "data_offsets"}


def read_safetensors(path: Path, file: Mapped) -> StaticModel:
    """Reads a safetensors file.

    Args:
        path: The file's place.
        file: The file.

    Raises:
        FormatError: Damaged, ambiguous, or with a type that is not read.
    """
    constants, metadata = stored_tensors(path, file)
    return StaticModel(
        path=path, format="safetensors",
        graph=Graph(inputs=(), outputs=(), nodes=(), constants=packed_constants(constants, path.name)),
        opsets={}, ir_version=0, producer=metadata.get("format", ""), metadata=metadata, functions=(),
        side_files={}, file_bytes=len(file.view), state=state_record("", constants),
    )  # fmt: skip


def stored_tensors(path: Path, file: Mapped) -> tuple[dict[str, Constant], dict[str, str]]:
    """Every tensor as it is stored, codes and scales apart; and the file's own words.

    Args:
        path: The file's place.
        file: The file.

    Raises:
        FormatError: As for read_safetensors.
    """
    where, view = path.name, file.view
    length = int.from_bytes(view[:8], "little")
    if not 2 <= length <= min(MAX_HEADER, len(view) - 8):
        _refuse(f"its header is said to have {length} bytes", where, rule="ART104")
    header = read_json(view[8 : 8 + length], "its header", where, limit=MAX_HEADER)
    metadata = _metadata(header.pop("__metadata__", {}), where)
    if not 0 < len(header) <= MAX_TENSORS:
        _refuse(f"it holds {len(header)} tensors ({MAX_TENSORS} at most, and one at least)", where)
    constants: dict[str, Constant] = {}
    begin = 8 + length
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: _begin(item[0], item[1], where)):
        constant, first, last = _constant(name, entry, begin, file, where)
        if first != expected:
            what = "share bytes with those before them" if first < expected else "leave a gap before them"
            _refuse(f"the bytes of tensor {name!r} {what}", where, name)
        expected = last
        constants[name] = constant
    if begin + expected != len(view):
        _refuse(f"its tensors end at byte {begin + expected} of {len(view)}", where)
    return constants, metadata


def _begin(name: str, entry: Any, where: str) -> tuple[int, int]:
    if len(name) > MAX_NAME or not name.isprintable() or not name:
        _refuse(f"a tensor has a name that is too long or cannot be printed ({name[:64]!r})", where)
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        _refuse(f"tensor {name!r} has other entries than dtype, shape and data_offsets", where, name)
    offsets = entry["data_offsets"]
    numbers = isinstance(offsets, list) and len(offsets) == 2 and all(type(n) is int for n in offsets)
    if not numbers or not 0 <= offsets[0] <= offsets[1]:
        _refuse(f"tensor {name!r} lies nowhere", where, name)
    return offsets[0], offsets[1]


def _constant(
    name: str, entry: dict[str, Any], begin: int, file: Mapped, where: str
) -> tuple[Constant, int, int]:
    dtype, shape, (first, last) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(
            f"tensor {name!r} is of the type {str(dtype)[:20]!r}, which is not read", where=where,
            remedy="Save the model with a type that the report's documentation lists, or export it to ONNX",
            rule="ART103", tensor=name,
        )  # fmt: skip
    if not isinstance(shape, list) or any(type(n) is not int for n in shape):
        _refuse(f"tensor {name!r} has a shape that is none", where, name)
    span = Span(file, begin + first, _DTYPES[dtype], tuple(shape))
    constant = spanned(name, span, last - first, where)
    if constant.size * BITS[span.dtype] != 8 * (last - first):
        plural = "s" if constant.size != 1 else ""
        _refuse(
            f"tensor {name!r} declares {constant.size} element{plural} of {dtype} in {last - first} bytes",
            where,
            name,
        )
    return constant, first, last


def _metadata(found: Any, where: str) -> dict[str, str]:
    if not isinstance(found, dict) or any(not isinstance(value, str) for value in found.values()):
        _refuse("its metadata are no words", where)
    # Words of the file must not pass for ours.
    words = [(key, value) for key, value in found.items() if not key.startswith("qgate.")]
    return {key[:200]: value[:2000] for key, value in words[:MAX_WORDS]}


def _refuse(what: str, where: str, tensor: str | None = None, rule: str = "ART105") -> NoReturn:
    raise FormatError(
        what, where=where, remedy="Save the model again; do not merge this file", rule=rule, tensor=tensor
    )
