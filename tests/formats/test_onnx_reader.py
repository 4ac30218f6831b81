"""The ONNX reader: what it reads is what onnx reads; what is damaged or ambiguous is refused, never a crash."""

import dataclasses
import random
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from qgate.errors import FormatError
from qgate.formats.content import content_of
from qgate.formats.model import Graph
from qgate.formats.onnx.tensors import text_of
from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"
MODELS = sorted(EXAMPLES.glob("*.onnx"))
SMALL = (EXAMPLES / "diabetes_int8.onnx").read_bytes()
# Damage to weights is dull; where names stand, the structure is.
NAMES = [found.start() for found in re.finditer(rb"[A-Za-z_/.]{3,}", SMALL)]


def value(name, dtype=TensorProto.FLOAT, shape=("N", 4)):
    return helper.make_tensor_value_info(name, dtype, shape)


def graph_of(nodes=None, held=(), **more):
    nodes = nodes if nodes is not None else [helper.make_node("Relu", ["x"], ["y"])]
    return helper.make_graph(nodes, "g", [value("x")], [value("y")], list(held), **more)


def proto_of(*args, opset=17, ir=8, **more):
    return helper.make_model(
        graph_of(*args, **more), ir_version=ir, opset_imports=[helper.make_opsetid("", opset)]
    )


@pytest.fixture
def read(tmp_path):
    def write(proto):
        path = tmp_path / "m.onnx"
        path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
        return read_model(path)

    return write


@pytest.fixture
def refused(read):
    def check(proto, rule, words):
        with pytest.raises(FormatError, match=re.escape(words)) as caught:
            read(proto)
        assert caught.value.rule == rule
        assert caught.value.where == "m.onnx"
        assert caught.value.remedy
        return caught.value

    return check


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_real_files_are_read_as_onnx_reads_them(path):
    proto, model = onnx.load(path), read_model(path)
    assert [(n.name, n.op, n.inputs, n.outputs) for n in model.graph.nodes] == [
        (n.name, n.op_type, tuple(n.input), tuple(n.output)) for n in proto.graph.node
    ]
    assert list(model.graph.constants) == [t.name for t in proto.graph.initializer]
    for tensor in proto.graph.initializer:
        ours, theirs = model.graph.constants[tensor.name], numpy_helper.to_array(tensor)
        assert ours.shape == theirs.shape
        assert ours.size == theirs.size
        assert np.array_equal(ours.load(), theirs, equal_nan=True)
    assert [t.name for t in model.graph.outputs] == [o.name for o in proto.graph.output]
    assert model.opsets[""] == proto.opset_import[0].version
    assert (model.ir_version, model.file_bytes) == (proto.ir_version, path.stat().st_size)


NUMBERS = np.array([[0, 1, 2], [3, 1, 0]])
DTYPES = [
    name for name, code in TensorProto.DataType.items() if name not in ("UNDEFINED", "STRING") and code <= 26
]


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("name", DTYPES)
def test_every_element_type_is_read_as_onnx_reads_it(name, raw, read):
    code = TensorProto.DataType.Value(name)
    kind = helper.tensor_dtype_to_np_dtype(code)
    numbers = np.where(NUMBERS > 1, -NUMBERS + 1, NUMBERS) if name.startswith("INT") else NUMBERS
    numbers = numbers % 2 if name in ("BOOL", "INT2") else numbers
    if raw:
        tensor = numpy_helper.from_array(numbers.astype(kind), "k")
    else:
        tensor = helper.make_tensor("k", code, numbers.shape, numbers.astype(kind).reshape(-1).tolist())
    assert tensor.HasField("raw_data") is raw
    model = read(proto_of(held=[tensor], ir=13, opset=25))
    constant = model.graph.constants["k"]
    kind = np.complex128 if name.startswith("COMPLEX") else np.float64
    assert np.array_equal(
        constant.load().astype(kind), numpy_helper.to_array(tensor).astype(kind), equal_nan=True
    )
    assert constant.shape == (2, 3)
    assert constant.bytes == (6 * constant.bits + 7) // 8


def test_a_real_size_of_every_type_is_known():
    assert len(DTYPES) >= 20


@pytest.mark.parametrize(("kind", "values"), [
    (TensorProto.INT4, [-8, 7, -1, 0, 3]), (TensorProto.UINT4, [15, 0, 8, 7, 1]),
    (TensorProto.INT2, [-2, 1, -1, 0, 1]), (TensorProto.UINT2, [3, 0, 2, 1, 1]),
])  # fmt: skip
def test_sub_byte_values_keep_sign_and_order(kind, values, read):
    tensor = numpy_helper.from_array(np.array(values).astype(helper.tensor_dtype_to_np_dtype(kind)), "k")
    assert read(proto_of(held=[tensor], ir=13, opset=25)).graph.constants["k"].load().tolist() == values


def test_strings_are_read_whatever_their_bytes(read):
    tensor = TensorProto(name="k", data_type=TensorProto.STRING, dims=[2], string_data=[b"a", b"\xff"])
    assert read(proto_of(held=[tensor])).graph.constants["k"].load().tolist() == ["a", "not UTF-8: \\xff"]


def test_no_two_texts_of_an_attribute_are_one(read) -> None:
    """Digests and the comparison of graphs go by the text: bytes that are none are not what their escape spells."""
    values = [
        b"\xff\xfe",
        b"\xff\xfd",
        rb"\xff\xfe",
        rb"not UTF-8: \xff\xfe",
        "\ufffd\ufffd".encode(),
        b"",
        b"'",
        b"\xff'",
    ]
    values += [b'"', b'\xff"', b"\xff\\'"]
    assert len({text_of(value) for value in values}) == len(values)
    contents = set()
    for value in values:
        proto = onnx.load(Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits_fp32.onnx")
        conv = next(node for node in proto.graph.node if node.op_type == "Conv")
        conv.attribute.append(AttributeProto(name="auto_pad", type=AttributeProto.STRING, s=value))
        contents.add(content_of(read(proto)))
    assert len(contents) == len(values)


def test_every_kind_of_attribute_is_read(read):
    body = graph_of()
    node = helper.make_node("Any", ["x"], ["y"], "n", f=0.5, i=3, s="word", g=body, fs=[1.0, 2.0], ints=[1, 2],
                            ss=["a", "b"], t=numpy_helper.from_array(np.ones(2, np.float32)), gs=[body, body])  # fmt: skip
    node.attribute.append(helper.make_attribute("ts", [numpy_helper.from_array(np.zeros(1, np.int8), "z")]))
    found = read(proto_of([node])).graph.nodes[0]
    assert {k: found.attribute(k) for k in ("f", "i", "s", "fs", "ints", "ss")} == {
        "f": 0.5, "i": 3, "s": "word", "fs": (1.0, 2.0), "ints": (1, 2), "ss": ("a", "b")
    }  # fmt: skip
    assert found.attribute("t").load().tolist() == [1, 1]
    assert found.attribute("t").name == "n"
    assert found.attribute("ts")[0].name == "z"
    assert isinstance(found.attribute("g"), Graph)
    assert found.attribute("absent", 7) == 7
    outer = dataclasses.replace(found.attribute("g"), nodes=(found,))
    assert len(list(outer.subgraphs())) == 3
    assert [n.op for n in outer.all_nodes()] == ["Any", "Relu", "Relu", "Relu"]
    assert list(outer.all_constants()) == []


def test_nodes_without_a_name_are_called_by_what_they_make(read):
    assert read(proto_of()).graph.nodes[0].label == "Relu->y"


def test_shapes_types_and_overridable_constants(read):
    proto = proto_of(held=[numpy_helper.from_array(np.ones(2, np.float32), "k")])
    proto.graph.input.append(value("k", shape=(2,)))
    proto.graph.input.append(value("odd", TensorProto.INT64, (None, 0, -1, 3)))
    proto.graph.input.append(onnx.ValueInfoProto(name="free"))
    proto.graph.input[-1].type.tensor_type.elem_type = 1
    proto.graph.input.append(helper.make_tensor_sequence_value_info("list", 1, None))
    proto.opset_import[0].domain = "ai.onnx"
    proto.metadata_props.add(key="a", value="b")
    model = read(proto)
    assert [(t.name, t.dtype, t.shape) for t in model.graph.inputs] == [
        ("x", "float", ("N", 4)), ("odd", "int64", (None, None, None, 3)), ("free", "float", None),
        ("list", "sequence_type", None),
    ]  # fmt: skip
    assert model.graph.overridable == ("k",)
    assert model.opsets == {"": 17}
    assert model.metadata == {"a": "b"}


def held(dtype=1, dims=(2,), name="k", **fields):
    return [TensorProto(name=name, data_type=dtype, dims=dims, **fields)]


def nested(depth):
    inner = graph_of()
    for _ in range(depth):
        inner = graph_of([helper.make_node("If", ["c"], ["y"], then_branch=inner)])
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def twice_the_attribute():
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    node.attribute.append(helper.make_attribute("axis", 0))
    return [node]


def of_type(kind):
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(AttributeProto(name="a", type=kind))
    return [node]


def imports(*versions):
    return helper.make_model(
        graph_of(), ir_version=8, opset_imports=[helper.make_opsetid(*v) for v in versions]
    )


def two_values():
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    node.attribute[0].f = 1.0
    return [node]


def nameless():
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    node.attribute[0].name = ""
    return [node]


def two_inputs():
    proto = proto_of()
    proto.graph.input.append(value("x"))
    return proto


def with_training():
    proto = proto_of()
    proto.training_info.add().algorithm.name = "a"
    return proto


@pytest.mark.parametrize(
    ("proto", "rule", "words"),
    [
        (proto_of(held=held(raw_data=b"\0" * 7)), "ART105", "declares 2 elements of float"),
        (proto_of(held=held(float_data=[1])), "ART105", "declares 2 elements"),
        (proto_of(held=held(int32_data=[1, 2])), "ART105", "declares 2 elements"),
        (proto_of(held=held(TensorProto.INT4, (3,), int32_data=[1])), "ART105", "declares 3 elements"),
        (proto_of(held=held(dims=(2**31 - 1, 2**31 - 1, 2**31 - 1), float_data=[1])), "ART105", "declares"),
        (proto_of(held=held(dims=(2**62, 4, 0), raw_data=b"")), "ART105", "a size that no tensor has"),
        (proto_of(held=held(dims=(1,) * 65, float_data=[1])), "ART105", "a size that no tensor has"),
        (proto_of(held=held(dims=(-2,), float_data=[1, 2])), "ART105", "a size that no tensor has"),
        (proto_of(held=held(99, raw_data=b"ab")), "ART105", "unknown type"),
        (proto_of(held=held(0, raw_data=b"ab")), "ART105", "unknown type"),
        (proto_of(held=held(raw_data=b"\0" * 8, float_data=[1, 2])), "ART105", "holds its data twice"),
        (proto_of(held=held(TensorProto.STRING, (10**9,), raw_data=b"")), "ART105", "strings holds raw bytes"),
        (proto_of(held=held(float_data=[1, 2]) + held(float_data=[1, 2])), "ART105", "two initializers are named 'k'"),
        (proto_of(sparse_initializer=[onnx.SparseTensorProto(values=held(float_data=[1, 2])[0])]), "ART103", "sparse"),
        (proto_of(of_type(AttributeProto.SPARSE_TENSOR)), "ART103", "an attribute 'a' of a kind"),
        (proto_of(of_type(AttributeProto.TYPE_PROTO)), "ART103", "an attribute 'a' of a kind"),
        (proto_of(twice_the_attribute()), "ART105", "has an attribute twice"),
        (proto_of([helper.make_node("Relu", ["x"], [])]), "ART105", "has no output"),
        (proto_of([helper.make_node("Relu", ["x"], [""])]), "ART105", "has no output"),
        (nested(20), "ART105", "nested more than"),
        (proto_of(opset=99), "ART103", "operator set 99"),
        (proto_of(opset=-1), "ART103", "operator set -1"),
        (proto_of(ir=99), "ART103", "IR version 99"),
        (proto_of(ir=0), "ART103", "IR version 0"),
        (helper.make_model(graph_of(), ir_version=8, opset_imports=[helper.make_opsetid("other", 1)]), "ART103",
         "imports no operator set"),
        (imports(("", 17), ("ai.onnx.ml", 99)), "ART103", "ai.onnx.ml operator set 99"),
        (imports(("", 17), ("ai.onnx", 16)), "ART105", "imports versions 17 and 16"),
        (proto_of(held=held(TensorProto.INT8, int32_data=[1, 300])), "ART105", "a number that is no int8"),
        (proto_of(held=held(TensorProto.INT8, int32_data=[1, -129])), "ART105", "a number that is no int8"),
        (proto_of(held=held(TensorProto.BOOL, int32_data=[1, 2])), "ART105", "a number that is no bool"),
        (proto_of(held=held(TensorProto.UINT32, uint64_data=[1, 2**32])), "ART105", "a number that is no uint32"),
        (proto_of(held=held(TensorProto.FLOAT16, int32_data=[1, 2**16])), "ART105", "a number that is no float16"),
        (proto_of(held=held(TensorProto.INT8, float_data=[1, 2])), "ART105", "declares 2 elements of int8"),
        (proto_of(held=held(TensorProto.FLOAT, string_data=[b"a", b"b"])), "ART105", "declares 2 elements of float"),
        (proto_of(held=held(raw_data=b"\0" * 8, segment=TensorProto.Segment(begin=0, end=1))), "ART105", "a part of a tensor"),
        (proto_of(held=held(raw_data=b"", float_data=[1, 2])), "ART105", "holds its data twice"),
        (proto_of(held=held(name="", float_data=[1, 2])), "ART105", "an initializer has no name"),
        (proto_of([helper.make_node("", ["x"], ["y"])]), "ART105", "has no operator"),
        (proto_of(two_values()), "ART105", "values of more than one kind"),
        (proto_of(of_type(AttributeProto.TENSOR)), "ART105", "an attribute 'a' without its value"),
        (proto_of(of_type(AttributeProto.GRAPH)), "ART105", "an attribute 'a' without its value"),
        (proto_of(of_type(AttributeProto.UNDEFINED)), "ART103", "an attribute 'a' of a kind"),
        (proto_of(nameless()), "ART105", "an attribute without a name"),
        (two_inputs(), "ART105", "an input is declared twice"),
        (with_training(), "ART103", "graphs for training"),
    ],
    ids=lambda v: None if not isinstance(v, str) or v.startswith("ART") else v,
)  # fmt: skip
def test_what_is_ambiguous_or_asks_for_more_than_it_holds_is_refused(proto, rule, words, refused):
    refused(proto, rule, words)


def test_a_body_nested_less_deep_is_read(read):
    assert len(list(read(nested(8)).graph.subgraphs())) == 8


@pytest.mark.parametrize(
    "old", [b"thenode", b"Relu", b"theweight", b"theinput", b"thekey", b"theproducer", b"thedim"]
)
def test_names_that_are_no_utf8_are_refused(old, refused):
    nodes = [
        helper.make_node("Relu", ["x"], ["y"], "thenode"),
        helper.make_node("Add", ["theinput", "theweight"], ["z"]),
    ]
    proto = proto_of(nodes, held=[numpy_helper.from_array(np.ones(2, np.float32), "theweight")])
    proto.graph.input.append(value("theinput", shape=("thedim",)))
    proto.metadata_props.add(key="thekey", value="v")
    proto.producer_name = "theproducer"
    data = proto.SerializeToString()
    assert data.count(old) >= 1
    refused(data.replace(old, b"\xff" + old[1:]), "ART105", "not valid UTF-8")


def mutated(data, edits):
    changed = bytearray(data)
    for kind, place, number in edits:
        at = min(place, max(len(changed) - 1, 0))
        if kind == "flip" and changed:
            changed[at] ^= 1 << (number % 8)
        elif kind == "put" and changed:
            changed[at] = number
        elif kind == "insert":
            changed[at:at] = bytes([number])
        elif kind == "delete":
            del changed[at : at + 1 + number % 4]
        elif kind == "cut":
            del changed[at:]
    return bytes(changed)


PLACES = st.one_of(
    st.integers(0, len(SMALL) - 1),
    st.tuples(st.sampled_from(NAMES), st.integers(-8, 20)).map(lambda p: max(0, sum(p))),
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "put", "insert", "delete", "cut"]), PLACES, st.integers(0, 255)
    ),
    min_size=1,
    max_size=3,
)


@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(EDITS)
def test_a_damaged_file_is_refused_or_read_and_inspected_whole(tmp_path, edits):
    path = tmp_path / "m.onnx"
    path.write_bytes(mutated(SMALL, edits))
    reference = read_model(EXAMPLES / "diabetes_fp32.onnx")
    try:
        model = read_model(path)
        for constant in model.graph.all_constants():
            assert constant.load().shape == constant.shape
        assert inspect_pair(reference, model, Interface()).measurements
    except FormatError as error:
        assert error.rule.startswith("ART")
        assert error.remedy


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(tmp_path, data):
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    try:
        read_model(path)
    except FormatError as error:
        assert error.where == "m.onnx"


@pytest.mark.parametrize("name", [n for n in DTYPES if n.startswith(("FLOAT8", "FLOAT4", "BFLOAT"))])
def test_every_code_of_a_small_float_is_read_as_onnx_reads_it(name, read):
    codes = np.arange(2**16, dtype=np.uint16).tobytes() if name.startswith("BF") else bytes(range(256))
    bits = 16 if name.startswith("BF") else 4 if name.startswith("FLOAT4") else 8
    tensor = TensorProto(
        name="k", data_type=TensorProto.DataType.Value(name), dims=[8 * len(codes) // bits], raw_data=codes
    )
    ours = read(proto_of(held=[tensor], ir=13, opset=25)).graph.constants["k"].load()
    theirs = numpy_helper.to_array(tensor)
    with np.errstate(invalid="ignore"):  # signalling NaN
        assert np.array_equal(ours.astype(np.float64), theirs.astype(np.float64), equal_nan=True)
    assert ours.dtype == (np.float16 if bits == 4 else np.float32)


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        (TensorProto.INT8, "int32_data", [-128, 127, -1, 0, 64, -64]),
        (TensorProto.UINT8, "int32_data", [0, 255, 127, 128]),
        (TensorProto.INT16, "int32_data", [-(2**15), 2**15 - 1, -1, 300]),
        (TensorProto.INT32, "int32_data", [-(2**31), 2**31 - 1, -1, 2**20]),
        (TensorProto.INT64, "int64_data", [-(2**63), 2**63 - 1, -1, 2**40, 0]),
        (TensorProto.UINT64, "uint64_data", [0, 2**64 - 1, 2**63, 1]),
        (TensorProto.UINT32, "uint64_data", [0, 2**32 - 1, 2**31, 1]),
    ],
)
def test_packed_numbers_of_every_length_are_read(kind, field, values, read):
    """Enough of them that stretches end within numbers."""
    many = values * 60_000
    random.Random(0).shuffle(many)
    tensor = TensorProto(name="k", data_type=kind, dims=[len(many)], **{field: many})
    constant = read(proto_of(held=[tensor])).graph.constants["k"]
    assert np.array_equal(constant.load(), numpy_helper.to_array(tensor))
    assert constant.raw().tobytes() == numpy_helper.to_array(tensor).tobytes()


@pytest.mark.parametrize("shift", range(8))
def test_raw_data_are_aligned_wherever_they_lie_in_the_file(shift, read):
    values = np.arange(5, dtype=np.float64)
    tensor = numpy_helper.from_array(values, "k" * (1 + shift))
    loaded = read(proto_of(held=[tensor])).graph.constants["k" * (1 + shift)].load()
    assert loaded.flags.aligned
    assert np.array_equal(loaded, values)


def test_a_truth_value_of_two_is_refused_when_it_is_read(read):
    tensor = TensorProto(name="k", data_type=TensorProto.BOOL, dims=[2], raw_data=b"\1\2")
    constant = read(proto_of(held=[tensor])).graph.constants["k"]
    with pytest.raises(FormatError, match="neither 0 nor 1") as caught:
        constant.load()
    assert (caught.value.rule, caught.value.tensor) == ("ART105", "k")


def test_numbers_that_unfold_are_refused_where_they_are_many(read):
    few = TensorProto(name="k", data_type=TensorProto.INT64, dims=[2**20], int64_data=[1] * 2**20)
    assert read(proto_of(held=[few])).graph.constants["k"].load().sum() == 2**20
    many = TensorProto(name="k", data_type=TensorProto.INT64, dims=[2**22], int64_data=[1] * 2**22)
    with pytest.raises(FormatError, match="unfolds from 4194304 bytes to 33554432"):
        read(proto_of(held=[many]))


def test_packed_attributes_are_those_of_unpacked_ones(read):
    """Writers of proto3 pack dims, ints and floats; those of proto2 do not."""
    from tests.formats.nasty import held as field
    from tests.formats.nasty import model, varint, whole

    ints = field(5, field(1, b"i") + field(8, b"".join(map(varint, (3, 2**64 - 1)))) + whole(20, 7))
    floats = field(5, field(1, b"f") + field(7, np.array([0.5, -2], "<f4").tobytes()) + whole(20, 6))
    tensor = field(5, field(1, bytes([2, 3])) + whole(2, 3) + field(8, b"k") + field(9, b"abcdef"))
    data = model(field(1, field(1, b"x") + field(2, b"y") + field(4, b"Op") + ints + floats) + tensor)
    found = read(data)
    assert found.graph.nodes[0].attributes == {"i": (3, -1), "f": (0.5, -2.0)}
    assert found.graph.constants["k"].shape == (2, 3)


def test_the_file_may_be_gone_once_it_is_read(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(SMALL)
    model = read_model(path)
    path.unlink()
    expected = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(SMALL).graph.initializer}
    for name, constant in model.graph.constants.items():
        assert np.array_equal(constant.load(), expected[name])


def test_a_place_of_data_that_nobody_knows_is_refused(refused):
    """protobuf itself hides it: a number that is none of the enumeration is an unknown field to it."""
    tensor = held(raw_data=b"\0" * 8)[0]
    proto = proto_of(held=[tensor])
    data, inner = proto.SerializeToString(), tensor.SerializeToString()
    longer = inner + b"\x70\x02"
    graph = proto.graph.SerializeToString()
    changed = graph.replace(bytes([len(inner)]) + inner, bytes([len(longer)]) + longer)
    assert len(changed) == len(graph) + 2
    data = data.replace(bytes([len(graph)]) + graph, bytes([len(changed)]) + changed)
    assert onnx.load_from_string(data).graph.initializer[0].data_location == 0
    refused(data, "ART105", "lie in place 2")
