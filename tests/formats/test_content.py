"""Content digests: the same for every way of writing one model down, another for every other model."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

import qgate.formats.content as content_module
from qgate.errors import FormatError
from qgate.formats.content import ModelContent, model_content
from qgate.formats.model import Constant, Graph, Node, StaticModel, StoredQuantization
from qgate.formats.read import read_model
from qgate.formats.stored import bytes_of_values, packed, stored_bytes, strings_as_bytes
from qgate.merkle import LEAF_BYTES, LEAF_ELEMENTS, leaf_digests

from .digests import content, file_of, of, raw_tensor

FEW = settings(max_examples=25, deadline=None)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("m") / "m.onnx"


TYPES = [
    (TensorProto.FLOAT, 4), (TensorProto.DOUBLE, 8), (TensorProto.FLOAT16, 2), (TensorProto.BFLOAT16, 2),
    (TensorProto.INT8, 1), (TensorProto.UINT8, 1), (TensorProto.INT16, 2), (TensorProto.UINT16, 2),
    (TensorProto.INT32, 4), (TensorProto.UINT32, 4), (TensorProto.INT64, 8), (TensorProto.UINT64, 8),
    (TensorProto.FLOAT8E4M3FN, 1), (TensorProto.FLOAT8E5M2, 1), (TensorProto.COMPLEX64, 8),
]  # fmt: skip
FIELDS = {TensorProto.FLOAT: ("float_data", "f"), TensorProto.COMPLEX64: ("float_data", "f"),
          TensorProto.DOUBLE: ("double_data", "d"), TensorProto.INT64: ("int64_data", "q"),
          TensorProto.UINT64: ("uint64_data", "Q"), TensorProto.UINT32: ("uint64_data", "I")}  # fmt: skip
INT32 = {1: "B", 2: "H", 4: "i"}


def typed(name: str, kind: int, width: int, shape: Sequence[int], data: bytes) -> TensorProto:
    """The same bytes in the typed field; floats go in as protobuf packs them, exact to the bit."""
    made = TensorProto(name=name, data_type=kind, dims=shape)
    field, code = FIELDS.get(kind, ("int32_data", INT32[min(width, 4)]))
    if field in ("float_data", "double_data"):
        number = made.DESCRIPTOR.fields_by_name[field].number
        length = len(data)
        varint = b""
        while length > 127:
            varint, length = varint + bytes([length & 127 | 128]), length >> 7
        bits = TensorProto.FromString(bytes([number << 3 | 2]) + varint + bytes([length]) + data)
        made.MergeFrom(bits)
    else:
        getattr(made, field).extend(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))
    return made


@pytest.mark.parametrize(("kind", "width"), TYPES)
@given(data=st.data())
@FEW
def test_raw_typed_and_external_are_one_content(
    tmp_path_factory: pytest.TempPathFactory, kind: int, width: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, 12))
    stored = data.draw(st.binary(min_size=count * width, max_size=count * width))
    folder = tmp_path_factory.mktemp("m")
    ways = [
        content(folder / "a.onnx", raw_tensor("w", kind, [count], stored)),
        content(folder / "b.onnx", typed("w", kind, width, [count], stored)),
        content(folder / "c.onnx", raw_tensor("w", kind, [count], stored), external=True),
    ]
    assert len({of(way) for way in ways}) == 1
    flipped = bytearray(stored)
    flipped[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    other = content(folder / "d.onnx", raw_tensor("w", kind, [count], bytes(flipped)))
    assert of(other) != of(ways[0])
    assert other.graph == ways[0].graph


@pytest.mark.parametrize(("kind", "bits"), [(TensorProto.INT4, 4), (TensorProto.UINT4, 4)])
@given(data=st.data())
@FEW
def test_packed_codes(
    tmp_path_factory: pytest.TempPathFactory, kind: int, bits: int, data: st.DataObject
) -> None:
    codes = data.draw(st.lists(st.integers(0, 15), min_size=1, max_size=20))
    held = packed(np.array(codes, np.uint8), bits).tobytes()
    folder = tmp_path_factory.mktemp("m")
    one = content(folder / "a.onnx", raw_tensor("w", kind, [len(codes)], held))
    field = TensorProto(name="w", data_type=kind, dims=[len(codes)], int32_data=list(held))
    assert of(content(folder / "b.onnx", field)) == of(one)
    if len(codes) % 2:  # the half byte after the last code is no code
        dirty = held[:-1] + bytes([held[-1] | 0xF0])
        assert of(content(folder / "c.onnx", raw_tensor("w", kind, [len(codes)], dirty))) == of(one)
    at = data.draw(st.integers(0, len(codes) - 1))
    other = [*codes[:at], codes[at] ^ 1 << data.draw(st.integers(0, 3)), *codes[at + 1 :]]
    changed = raw_tensor("w", kind, [len(codes)], packed(np.array(other, np.uint8), bits).tobytes())
    assert of(content(folder / "d.onnx", changed)) != of(one)


@given(size=st.integers(1, 5000), data=st.data())
@FEW
def test_the_leaf_of_a_changed_element_and_no_other_changes(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("m")
    stored = np.arange(size, dtype="<i2")
    one = content(folder / "a.onnx", raw_tensor("w", TensorProto.INT16, [size], stored.tobytes()))
    at = data.draw(st.integers(0, size - 1))
    stored[at] ^= 1 << data.draw(st.integers(0, 14))
    other = content(folder / "b.onnx", raw_tensor("w", TensorProto.INT16, [size], stored.tobytes()))
    before, after = (
        [c.tensors[0].leaves[i : i + LEAF_BYTES] for i in range(0, len(c.tensors[0].leaves), LEAF_BYTES)]
        for c in (one, other)
    )
    assert [i for i, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [
        at // LEAF_ELEMENTS
    ]
    assert one.tensors[0].root != other.tensors[0].root


def test_bits_count_as_they_stand(folder: Callable[[], Path]) -> None:
    patterns = [0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001, 0x7FA00000, 0xFFC00000]
    digests = {
        of(content(folder(), raw_tensor("w", TensorProto.FLOAT, [1], struct.pack("<I", bits))))
        for bits in patterns
    }
    assert len(digests) == len(patterns)


def test_type_and_shape_count(folder: Callable[[], Path]) -> None:
    tensors = [
        raw_tensor("w", kind, shape, bytes(size))
        for kind, shape, size in (
            (TensorProto.INT8, [4], 4), (TensorProto.UINT8, [4], 4), (TensorProto.INT8, [2, 2], 4),
            (TensorProto.INT8, [1, 4], 4), (TensorProto.FLOAT, [], 4), (TensorProto.INT8, [], 1),
            (TensorProto.INT8, [0], 0), (TensorProto.INT8, [0, 3], 0), (TensorProto.FLOAT, [0], 0),
        )
    ]  # fmt: skip
    assert len({of(content(folder(), tensor)) for tensor in tensors}) == len(tensors)


def test_strings_count_by_their_bytes(folder: Callable[[], Path]) -> None:
    lists = [[b"a", b"b"], [b"ab", b""], [b"", b"ab"], [b"\xff", b""], [b"\\xff", b""]]
    made = [TensorProto(name="w", data_type=TensorProto.STRING, dims=[2], string_data=s) for s in lists]
    found = [content(folder(), tensor) for tensor in made]
    assert len({of(one) for one in found}) == len(lists)
    many = [str(i).encode() for i in range(3000)]
    one, other = (
        content(folder(), TensorProto(name="w", data_type=TensorProto.STRING, dims=[3000], string_data=held))
        for held in (many, [*many[:2500], b"x", *many[2501:]])
    )
    leaves = [c.tensors[0].leaves for c in (one, other)]
    assert len(leaves[0]) == 3 * LEAF_BYTES
    assert [leaves[0][i : i + 16] == leaves[1][i : i + 16] for i in (0, 16, 32)] == [True, True, False]


def held(dtype: str, values: np.ndarray[Any, Any], bits: int, **more: Any) -> Constant:
    return Constant("w", dtype, values.shape, bits, lambda: values, **more)


def checkpoint(constant: Constant) -> ModelContent:
    graph = Graph((), (), (), {"w": constant})
    return model_content(StaticModel(Path("m.pt"), "torch-checkpoint", graph, {}, 0, "", {}, (), {}, 0))


def test_quantization_that_is_stored_with_a_tensor_counts() -> None:
    codes = np.arange(8, dtype=np.int8).reshape(2, 4)

    def scaled(scale: Sequence[float], **more: Any) -> str:
        stored = StoredQuantization(held("float", np.float32(scale), 32), **more)
        return of(checkpoint(held("int8", codes, 8, quantization=stored)))

    zero = held("int8", np.int8([0, 0]), 8)
    digests = {
        of(checkpoint(held("int8", codes, 8))),
        scaled([1, 2], axis=0),
        scaled([1, 3], axis=0),
        scaled([1, 2], axis=1),
        scaled([1, 2], axis=0, block=2),
        scaled([1, 2], axis=0, zero_point=zero),
    }
    assert len(digests) == 6
    stored = StoredQuantization(held("float", np.float32([1, 2]), 32), zero, axis=0)
    names = [t.name for t in checkpoint(held("int8", codes, 8, quantization=stored)).tensors]
    assert names == ["w", "w.scale", "w.zero_point"]


@pytest.mark.parametrize(
    "dtype", ["float8e4m3fn", "float8e5m2", "bfloat16", "int4", "uint4", "int2", "float4e2m1"]
)
def test_values_alone_give_the_bytes_that_a_reader_would(tmp_path: Path, dtype: str) -> None:
    """A reader without ``raw`` gives the same bytes: what ``load`` widens is narrowed again."""
    kind = getattr(TensorProto, dtype.upper())
    bits = 16 if dtype == "bfloat16" else 8 if "8" in dtype else int(dtype[-1]) if "int" in dtype else 4
    stored = bytes(range(0, 120, 2))[: 24 * bits // 8]
    path = file_of(tmp_path / "m.onnx", raw_tensor("w", kind, [24], stored))
    constant = read_model(path).graph.constants["w"]
    assert bytes_of_values(constant.load(), dtype).tobytes() == stored == stored_bytes(constant).tobytes()


def test_bytes_that_do_not_fit_are_refused() -> None:
    lying = Constant("w", "int8", (5,), 8, lambda: np.zeros(4, np.int8))
    with pytest.raises(FormatError, match="declares 5 bytes and holds 4"):
        stored_bytes(lying)


def test_a_function_whose_body_is_not_read_has_no_digest() -> None:
    call = Node("n", "f", "d", ("x",), ("y",), {}, 0)
    graphs = {"called": Graph((), (), (call,), {}), "inlined": Graph((), (), (), {})}
    models = {
        name: StaticModel(Path("m.onnx"), "onnx", graph, {}, 0, "", {}, ("d::f",), {}, 0)
        for name, graph in graphs.items()
    }
    assert model_content(models["inlined"]).tensors == ()
    with pytest.raises(FormatError, match="d::f"):
        model_content(models["called"])


@pytest.mark.parametrize(
    ("dtype", "kind", "elements"), [("float", "<f4", 300_001), ("int8", "i1", 600_000), ("string", "O", 0)]
)
def test_a_large_tensor_gives_what_one_core_would(dtype: str, kind: str, elements: int) -> None:
    if dtype == "string":
        strings = [b"%d" % i * 3 for i in range(30_000)]
        constant = Constant(
            "w", dtype, (30_000,), 0, lambda: np.array([]), raw=lambda: strings_as_bytes(strings)
        )
        cut = [strings_as_bytes(strings[i : i + 1024]).tobytes() for i in range(0, 30_000, 1024)]
    else:
        values = (np.arange(elements) % 113).astype(kind)
        constant = held(dtype, values, values.dtype.itemsize * 8)
        cut = [values[i : i + 1024].tobytes() for i in range(0, elements, 1024)]
    (found,) = checkpoint(constant).tensors
    assert found.leaves == leaf_digests(cut)
    assert found.sha256 == hashlib.sha256(b"".join(cut)).digest()


def test_a_checkpoint_and_a_safetensors_file_of_the_same_tensors_are_one_content(tmp_path: Path) -> None:
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor([1, -2], dtype=torch.int8),
        "c": torch.tensor(3.0, dtype=torch.bfloat16),
        "d": torch.zeros((0, 4)),
    }
    torch.save(tensors, tmp_path / "m.pt")
    save.save_file(dict(reversed(tensors.items())), tmp_path / "m.safetensors")
    found = [model_content(read_model(tmp_path / name)) for name in ("m.pt", "m.safetensors")]
    assert found[0].entries == found[1].entries
    assert of(found[0]) == of(found[1])
    tensors["a"][1, 2] += 1
    torch.save(tensors, tmp_path / "n.pt")
    assert of(model_content(read_model(tmp_path / "n.pt"))) != of(found[0])


def tied(path: Path, count: int, size: int, *, dirty: bool = False) -> Path:
    """Tensors that all are the same range of a side file."""
    side = path.parent / "w.bin"
    side.write_bytes(bytes(size - 1) + (b"\xff" if dirty else b"\0"))
    tensors = []
    for number in range(count):
        tensor = TensorProto(
            name=f"w{number}", data_type=TensorProto.UINT4, dims=[2 * size - 1], data_location=1
        )
        for key, text in (("location", "w.bin"), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=text)
        tensors.append(tensor)
    return file_of(path, *tensors)


def test_tied_weights_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    plain = content_module._Hashing.digests
    monkeypatch.setattr(
        content_module._Hashing, "digests", lambda self, *of: (hashed.append(of[0].name), plain(self, *of))[1]
    )
    found = model_content(read_model(tied(tmp_path / "m.onnx", 500, 2**20)))
    assert hashed == ["w0"]
    assert len({tensor.root for tensor in found.tensors}) == 1
    assert len(found.tensors) == 500


def test_tensors_that_multiply_the_file_are_refused(tmp_path: Path) -> None:
    """Bits behind the last element are cleared in a copy, which no range of the file stands for."""
    with pytest.raises(FormatError, match="16 times the bytes of the file") as caught:
        model_content(read_model(tied(tmp_path / "m.onnx", 500, 2**20, dirty=True)))
    assert caught.value.rule == "ART105"
