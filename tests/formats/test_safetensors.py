"""safetensors: every byte belongs to one tensor, and codes say what they stand for."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.content import model_content
from qgate.formats.read import read_model
from qgate.formats.safetensors import read_safetensors
from qgate.formats.stored import stored_bytes

TYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"),
    "U16": np.dtype("<u2"), "U32": np.dtype("<u4"), "U64": np.dtype("<u8"), "BOOL": np.dtype("?"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn), "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu), "C64": np.dtype("<c8"),
}  # fmt: skip


def build(header: Any, data: bytes = b"", *, pad: int = 0) -> bytes:
    """A file of a header and bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def tensors(arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """A file as safetensors writes it."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    names = {dtype: name for name, dtype in TYPES.items()}
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return build(header, data)


def read(data: bytes, folder: Path, name: str = "m.safetensors") -> Any:
    path = folder / name
    path.write_bytes(data)
    return read_model(path)


@pytest.mark.parametrize("name", TYPES)
def test_every_type(name: str, tmp_path: Path) -> None:
    codes = np.arange(64 * TYPES[name].itemsize, dtype=np.uint8)
    array = (codes.view(TYPES[name]) if name != "BOOL" else codes % 2 == 0).reshape(8, -1)
    (constant,) = read(tensors({"w": array}), tmp_path).graph.constants.values()
    wanted = array.astype(np.float32) if array.dtype.kind == "V" or name.startswith(("F8", "BF")) else array
    assert np.array_equal(constant.load(), wanted, equal_nan=True)
    assert stored_bytes(constant).tobytes() == array.tobytes()
    assert constant.bytes == array.nbytes


def test_four_bits_of_float(tmp_path: Path) -> None:
    raw = bytes([0x10, 0x32, 0x54, 0x76, 0x98])
    header = {"w": {"dtype": "F4", "shape": [5, 2], "data_offsets": [0, 5]}}
    constant = read(build(header, raw), tmp_path).graph.constants["w"]
    assert constant.load().tolist() == [[0, 0.5], [1, 1.5], [2, 3], [4, 6], [0, -0.5]]
    assert stored_bytes(constant).tobytes() == raw


def test_empty_tensors_padding_and_metadata(tmp_path: Path) -> None:
    arrays = {"a": np.ones((2, 3), np.float32), "none": np.zeros((0, 4), np.float16), "scalar": np.array(3.0)}
    model = read(tensors(arrays, {"format": "pt", "who": "me"}), tmp_path)
    assert {n: c.shape for n, c in model.graph.constants.items()} == {
        "a": (2, 3),
        "none": (0, 4),
        "scalar": (),
    }
    assert (model.format, model.producer, dict(model.metadata)) == (
        "safetensors",
        "pt",
        {"format": "pt", "who": "me"},
    )
    assert len(model_content(model).tensors) == 3
    padded = build({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"x", pad=5)
    assert read(padded, tmp_path).graph.constants["a"].load().tolist() == [120]


def entry(dtype: Any = "F32", shape: Any = (1,), at: Any = (0, 4), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": at, **more}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (build({"a": entry(), "b": entry(at=(0, 4))}, bytes(4)), "share bytes"),
        (build({"a": entry(), "b": entry(at=(2, 6))}, bytes(6)), "share bytes"),
        (build({"a": entry(), "b": entry(at=(5, 9))}, bytes(9)), "leave a gap"),
        (build({"a": entry(at=(4, 8))}, bytes(8)), "leave a gap"),
        (build({"a": entry()}, bytes(5)), "end at byte"),
        (build({"a": entry()}, bytes(3)), "end at byte"),
        (build({"a": entry(shape=(2,))}, bytes(4)), "declares 2 elements"),
        (build({"a": entry(shape=(1,), at=(0, 8))}, bytes(8)), "declares 1 element of F32 in 8"),
        (build({"a": entry(shape=(-1,), at=(0, 4))}, bytes(4)), "no tensor has"),
        (build({"a": entry(shape=(2**40, 2**40), at=(0, 4))}, bytes(4)), "no tensor has"),
        (build({"a": entry(shape=(2**32, 2**32), at=(0, 0))}), "no tensor has"),
        (build({"a": entry(shape=(1,) * 40)}, bytes(4)), "no tensor has"),
        (build({"a": entry(at=(4, 0))}, bytes(4)), "lies nowhere"),
        (build({"a": entry(at=(-4, 0))}, bytes(4)), "lies nowhere"),
        (build({"a": entry(at=(0, 4, 8))}, bytes(4)), "lies nowhere"),
        (build({"a": entry(at=(0.0, 4.0))}, bytes(4)), "lies nowhere"),
        (build({"a": entry(at=(False, 4))}, bytes(4)), "lies nowhere"),
        (build({"a": entry(shape="1")}, bytes(4)), "a shape that is none"),
        (build({"a": entry(shape=(True,))}, bytes(4)), "a shape that is none"),
        (build({"a": entry(dtype="F6_E2M3")}, bytes(4)), "not read"),
        (build({"a": entry(dtype=["F32"])}, bytes(4)), "not read"),
        (build({"a": entry(extra=1)}, bytes(4)), "other entries"),
        (build({"a": [1]}, bytes(4)), "other entries"),
        (build({"a\u202e": entry()}, bytes(4)), "cannot be printed"),
        (build({"a" * 600: entry()}, bytes(4)), "too long"),
        (build({"": entry()}, bytes(4)), "too long"),
        (build({"a": entry(), "__metadata__": {"x": 1}}, bytes(4)), "no words"),
        (build({"a": entry(), "__metadata__": "x"}, bytes(4)), "no words"),
        (build({}), "holds 0 tensors"),
        (build(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": 1}', b"x"), "the name 'a' twice"),
        (build(b'{"a": {"dtype": "U8", "dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}', b"x"), "twice"),
        (build(b'{"a": ' + b"[" * 3000), "nests too deep"),
        (build(b'{"a": 1e}'), "no JSON"),
        (build(b'{"a": "\xff"}'), "no JSON"),
        (build(b"{} x"), "no JSON"),
        (struct.pack("<Q", 50) + b'{"a": 1}', "said to have 50 bytes"),
        (struct.pack("<Q", 2**24 + 1) + b"{" + b" " * 2**24 + b"}", "said to have"),
    ],
)  # fmt: skip
def test_files_that_could_be_read_two_ways(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(data, tmp_path)
    assert caught.value.rule in ("ART103", "ART104", "ART105")
    assert caught.value.remedy


WEIGHT = np.linspace(-1, 1, 8 * 16, dtype=np.float32).reshape(8, 16)


def rows(bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    scale = (np.abs(WEIGHT).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)).astype(np.float32)
    return np.rint(WEIGHT / scale).astype(np.int8), scale


def error(constant: Any) -> float:
    """Largest distance from the weight, in steps."""
    stored = constant.quantization
    codes, scale = constant.load().astype(np.float64), stored.scale.load().astype(np.float64)
    zero = stored.zero_point.load().astype(np.float64) if stored.zero_point is not None else 0.0
    scale = scale[:, None] if scale.shape == (8,) else scale
    if stored.block:
        scale, zero = (
            np.repeat(v, stored.block, axis=stored.axis) if np.ndim(v) else v for v in (scale, zero)
        )
    weight = WEIGHT if codes.shape == WEIGHT.shape else WEIGHT.T
    return float(np.max(np.abs((codes - zero) * scale - weight) / scale))


def test_codes_beside_their_scale(tmp_path: Path) -> None:
    codes, scale = rows()
    for held in (scale, scale.reshape(-1), np.array([scale.max()], np.float32)):
        stored = np.rint(WEIGHT / held.reshape(-1, 1)).astype(np.int8)
        model = read(tensors({"l.weight": stored, "l.weight_scale": held}), tmp_path)
        assert list(model.graph.constants) == ["l.weight"]
        assert error(model.graph.constants["l.weight"]) <= 0.50001
    grouped = np.abs(WEIGHT).reshape(8, 4, 4).max(axis=2) / 127
    by_group = np.rint(WEIGHT / np.repeat(grouped, 4, axis=1)).astype(np.int8)
    model = read(tensors({"l.weight": by_group, "l.weight_scale": grouped.astype(np.float32)}), tmp_path)
    assert (
        model.graph.constants["l.weight"].quantization.axis,
        model.graph.constants["l.weight"].quantization.block,
    ) == (1, 4)
    assert error(model.graph.constants["l.weight"]) <= 0.501
    square = tensors({"l.weight": codes, "l.weight_scale": np.ones((2, 4), np.float32)})
    assert read(square, tmp_path).graph.constants["l.weight"].quantization is None


def packed32(codes: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """Codes in words of 32 bits along an axis, the first lowest."""
    moved = np.moveaxis(codes.astype(np.uint32), axis, -1)
    lanes = moved.reshape(*moved.shape[:-1], -1, 32 // bits)
    words = np.zeros(lanes.shape[:-1], np.uint32)
    for lane in range(32 // bits):
        words |= lanes[..., lane] << np.uint32(lane * bits)
    return np.ascontiguousarray(np.moveaxis(words, -1, axis)).view(np.int32)


@pytest.mark.parametrize("bits", [4, 8])
def test_compressed_tensors_packed_words(bits: int, tmp_path: Path) -> None:
    codes, scale = rows(bits)
    arrays = {
        "l.weight_packed": packed32(codes.astype(np.int16) + 2 ** (bits - 1), bits, 1),
        "l.weight_scale": scale,
        "l.weight_shape": np.array(WEIGHT.shape),
    }
    constants = read(tensors(arrays), tmp_path).graph.constants
    assert constants["l.weight_packed"].dtype == f"int{bits}"
    assert np.array_equal(constants["l.weight_packed"].load(), codes)
    assert error(constants["l.weight_packed"]) <= 0.50001
    assert "l.weight_shape" in constants


def gptq(bits: int, groups: int = 2, order: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """A layer as AutoGPTQ stores it: inputs by outputs, zero points less one."""
    weight = WEIGHT.T  # 16 inputs, 8 outputs
    size = 16 // groups
    blocks = weight.reshape(groups, size, 8)
    low, high = np.minimum(blocks.min(axis=1), 0), np.maximum(blocks.max(axis=1), 0)
    scale = ((high - low) / (2**bits - 1)).astype(np.float16)
    zero = np.clip(np.rint(-low / scale), 1, 2**bits - 1).astype(np.uint32)
    spread = np.repeat(scale.astype(np.float32), size, axis=0), np.repeat(zero, size, axis=0)
    codes = np.clip(np.rint(weight / spread[0]) + spread[1], 0, 2**bits - 1)
    return {
        "l.qweight": packed32(codes, bits, 0), "l.qzeros": packed32(zero - 1, bits, 1), "l.scales": scale,
        "l.g_idx": (np.arange(16) // size if order is None else order).astype(np.int32),
    }  # fmt: skip


@pytest.mark.parametrize("bits", [4, 8])
def test_gptq_words(bits: int, tmp_path: Path) -> None:
    constants = read(tensors(gptq(bits)), tmp_path).graph.constants
    assert set(constants) == {"l.qweight", "l.g_idx"}
    assert (constants["l.qweight"].dtype, constants["l.qweight"].shape) == (f"uint{bits}", (16, 8))
    assert constants["l.qweight"].quantization.block == 8
    assert error(constants["l.qweight"]) <= 1.1


def test_awq_words(tmp_path: Path) -> None:
    arrays = gptq(4)
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    codes = np.zeros((16, 8), np.uint32)
    for lane in range(8):
        codes[lane::8] = (arrays["l.qweight"].view(np.uint32) >> np.uint32(4 * lane)) & 15
    zeros = (
        np.stack(
            [(arrays["l.qzeros"].view(np.uint32)[:, 0] >> np.uint32(4 * i)) & 15 for i in range(8)], axis=1
        )
        + 1
    )
    held = {"l.qweight": packed32(codes[:, order], 4, 1), "l.qzeros": packed32(zeros[:, order] & 15, 4, 1),
            "l.scales": arrays["l.scales"]}  # fmt: skip
    constants = read(tensors(held), tmp_path).graph.constants
    assert set(constants) == {"l.qweight"}
    assert np.array_equal(constants["l.qweight"].load(), codes)
    assert np.array_equal(constants["l.qweight"].quantization.zero_point.load(), zeros & 15)


@pytest.mark.parametrize(
    "change",
    [
        {"l.g_idx": np.arange(16)[::-1] // 8}, {"l.g_idx": np.zeros(15)}, {"l.qzeros": np.zeros((2, 3), np.int32)},
        {"l.scales": np.ones((2, 9), np.float16)}, {"l.scales": np.ones((2, 8), np.int32)},
        {"l.qweight": np.zeros((2, 7), np.int32)},
    ],
)  # fmt: skip
def test_words_that_fit_no_packing_are_no_weights(change: dict[str, np.ndarray], tmp_path: Path) -> None:
    arrays = {
        **gptq(4),
        **{k: v.astype(np.int32) if v.dtype.kind == "i" or "idx" in k else v for k, v in change.items()},
    }
    constants = read(tensors(arrays), tmp_path).graph.constants
    assert constants["l.qweight"].dtype == "int32"
    assert constants["l.qweight"].quantization is None


def test_a_name_for_a_tensor_and_for_a_part_of_one(tmp_path: Path) -> None:
    codes, scale = rows()
    arrays = {"l.weight": codes, "l.weight_scale": scale, "l.weight.scale": scale}
    with pytest.raises(FormatError, match="stands for a tensor and for a part"):
        read(tensors(arrays), tmp_path)


WHOLE = tensors({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3, np.int8)}, {"k": "v"})


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_nothing_but_a_refusal_comes_out(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(
            st.integers(0, 255) | st.sampled_from(list(b'0123456789{}[]",:'))
        )
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(raw)
    from qgate.formats.elements import Mapped

    try:
        model = read_safetensors(path, Mapped(path))
    except FormatError as refusal:
        assert refusal.rule in ("ART103", "ART104", "ART105")
        return
    held = sorted(model.graph.constants.values(), key=lambda c: c.name)
    length = int.from_bytes(raw[:8], "little")
    assert sum(c.bytes for c in held) == len(raw) - 8 - length
    for constant in held:
        assert constant.load().shape == constant.shape
