"""Content digests: the same for every way of writing one model down, another for every other model."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from qgate.errors import FormatError
from qgate.formats.content import ModelContent, content_of, model_content
from qgate.formats.model import Constant, Graph, Node, StaticModel, StoredQuantization
from qgate.formats.read import read_model
from qgate.formats.stored import bytes_of_values, packed, stored_bytes, strings_as_bytes
from qgate.merkle import LEAF_BYTES, LEAF_ELEMENTS, content_digest, leaf_digests

FEW = settings(max_examples=25, deadline=None)


def raw_tensor(name: str, kind: int, shape: Sequence[int], data: bytes) -> TensorProto:
    return TensorProto(name=name, data_type=kind, dims=shape, raw_data=data)


def file_of(path: Path, *tensors: TensorProto, nodes: Sequence[Any] = (), external: bool = False) -> Path:
    """A model that hands its one input on and holds tensors."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    body = [*nodes, helper.make_node("Identity", ["x"], ["y"])]
    graph = helper.make_graph(body, "g", [x], [y], list(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, path, save_as_external_data=external, location="w.bin", size_threshold=0)
    return path


def content(path: Path, *tensors: TensorProto, **more: Any) -> ModelContent:
    return model_content(read_model(file_of(path, *tensors, **more)))


def of(model: ModelContent) -> str:
    return content_digest(model.graph, model.entries)


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


def network(
    folder: Path, *, order: Sequence[int] = (0, 1, 2), swap: bool = False, names: str = "", **more: Any
) -> str:
    """Two MatMuls and an Add; ``order`` is that of the file's initializers."""
    weights = [np.eye(3, dtype=np.float32) * 2, np.ones((3, 3), np.float32), np.arange(3, dtype=np.float32)]
    held = [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    first, second = ("w1", "w0") if swap else ("w0", "w1")
    nodes = [
        helper.make_node("MatMul", ["x", first], [f"{names}a"], name=f"{names}one"),
        helper.make_node("MatMul", [f"{names}a", second], [f"{names}b"], name=f"{names}two"),
        helper.make_node("Add", [f"{names}b", "w2"], ["y"], **more.get("attributes", {})),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, more.get("shape", [1, 3]))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "g", [x], [y], [held[i] for i in order])
    opset = helper.make_opsetid("", more.get("opset", 21))
    model = helper.make_model(graph, opset_imports=[opset], producer_name=names)
    onnx.save(model, folder / "m.onnx")
    return content_of(read_model(folder / "m.onnx"))


def test_the_order_of_initializers_and_inner_names_do_not_count(tmp_path: Path) -> None:
    plain = network(tmp_path)
    assert network(tmp_path, order=(2, 0, 1)) == plain
    assert network(tmp_path, names="other_") == plain


def test_wiring_operators_interface_and_version_count(tmp_path: Path) -> None:
    plain = network(tmp_path)
    assert network(tmp_path, swap=True) != plain
    assert network(tmp_path, shape=[1, "n"]) != plain
    assert network(tmp_path, opset=20) != plain


def parallel(folder: Path, turned: bool) -> str:
    """Two branches, listed in either order."""
    left = helper.make_node("Neg", ["x"], ["l"])
    right = helper.make_node("Abs", ["x"], ["r"])
    last = helper.make_node("Sub", ["l", "r"], ["y"])
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([right, left, last] if turned else [left, right, last], "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), folder / "m.onnx")
    return content_of(read_model(folder / "m.onnx"))


def test_the_order_of_nodes_does_not_count(tmp_path: Path) -> None:
    assert parallel(tmp_path, turned=False) == parallel(tmp_path, turned=True)


def test_a_constant_node_is_an_initializer(folder: Callable[[], Path]) -> None:
    def file(*, node: bool) -> str:
        value = onnx.numpy_helper.from_array(np.float32([7.0]), "c")
        nodes = [helper.make_node("Constant", [], ["c"], value=value)] if node else []
        nodes += [helper.make_node("Add", ["x", "c"], ["y"])]
        info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
        graph = helper.make_graph(nodes, "g", info[:1], info[1:], [] if node else [value])
        path = folder()
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
        return content_of(read_model(path))

    assert file(node=True) == file(node=False)


def test_nodes_that_nothing_needs_and_attributes_count(folder: Callable[[], Path]) -> None:
    dead = helper.make_node("Exp", ["x"], ["unused"])
    fill = onnx.numpy_helper.from_array(np.float32([1.0]), "")
    other = onnx.numpy_helper.from_array(np.float32([2.0]), "")
    shape = onnx.numpy_helper.from_array(np.int64([1]), "s")
    found = [
        content(folder()),
        content(folder(), nodes=[dead]),
        content(folder(), nodes=[dead, helper.make_node("Exp", ["x"], ["unused2"])]),
        content(folder(), nodes=[helper.make_node("LeakyRelu", ["x"], ["u"], alpha=0.1)]),
        content(folder(), nodes=[helper.make_node("LeakyRelu", ["x"], ["u"], alpha=0.2)]),
        content(folder(), shape, nodes=[helper.make_node("ConstantOfShape", ["s"], ["u"], value=fill)]),
        content(folder(), shape, nodes=[helper.make_node("ConstantOfShape", ["s"], ["u"], value=other)]),
    ]
    assert len({of(one) for one in found}) == len(found)
    assert found[5].graph == found[6].graph
    assert len({t.root for t in (*found[5].tensors, *found[6].tensors)}) == 3


def branches(folder: Path, captured: str, value: float) -> ModelContent:
    """An If whose branches use a value from around them and a constant of their own."""

    def branch(op: str) -> Any:
        own = onnx.numpy_helper.from_array(np.float32([value]), "k")
        nodes = [helper.make_node(op, [captured, "k"], ["out"])]
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
        return helper.make_graph(nodes, "b", [], [out], [own])

    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Abs", ["x"], ["m"]),
        helper.make_node("Greater", ["n", "m"], ["cond"]),
        helper.make_node(
            "If", ["cond"], ["y"], "choose", then_branch=branch("Add"), else_branch=branch("Sub")
        ),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), folder / "m.onnx")
    return model_content(read_model(folder / "m.onnx"))


def test_subgraphs_count_with_what_they_use(tmp_path: Path) -> None:
    one, wired, valued = (
        branches(tmp_path, "n", 1.0),
        branches(tmp_path, "m", 1.0),
        branches(tmp_path, "n", 2.0),
    )
    assert one.graph != wired.graph
    assert one.graph == valued.graph
    assert of(one) != of(valued)
    assert sorted(t.name for t in one.tensors) == ["choose.else_branch/k", "choose.then_branch/k"]


def test_a_long_chain_needs_no_deep_stack(folder: Callable[[], Path]) -> None:
    names = ["x", *(f"v{i}" for i in range(5000))]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    assert of(content(folder(), nodes=nodes)) != of(content(folder(), nodes=nodes[:-1]))


def test_a_circle_ends(folder: Callable[[], Path]) -> None:
    nodes = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["a"])]
    assert of(content(folder(), nodes=nodes)) != of(content(folder()))


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
