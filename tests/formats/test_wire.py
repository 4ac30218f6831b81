"""The strict decoder: whole files pass; what is ambiguous, damaged or too much is refused on every level."""

import struct
import time
from pathlib import Path

import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor as Kind
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.onnx.schema import SCHEMA
from qgate.formats.wire import BYTES, FLOAT, INT, INT32, MESSAGE, RANGE, STRING, TEXT, Decoder, Field

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "digits").glob("*.onnx"))
WHOLE = EXAMPLES[0].read_bytes()


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def length(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def number(field, value):
    return varint(field << 3) + varint(value % 2**64)


def decode(data, message="ModelProto", room=10**8, depth=56, schema=SCHEMA):
    return Decoder(data, schema, {}, "m.onnx", room=room, depth=depth).message(message, 0, len(data))


NODE = length(1, length(2, b"y"))
GRAPH = length(7, NODE)
TENSOR = length(1, length(5, length(2, number(2, 1))))  # a node with an attribute t


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_real_files_pass(path):
    found = decode(path.read_bytes())
    assert len(found["graph"]["node"]) == len(onnx.load(path).graph.node)


def messages(descriptor, found):
    if descriptor.name not in found:
        found[descriptor.name] = descriptor
        for field in descriptor.fields:
            if field.message_type:
                messages(field.message_type, found)
    return found


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_the_table_is_that_of_the_format(name):
    """A new onnx with new fields fails here, and the table has to be looked at."""
    descriptor = messages(onnx.ModelProto.DESCRIPTOR, {})[name]
    kinds = {
        Kind.TYPE_INT64: {INT}, Kind.TYPE_INT32: {INT32}, Kind.TYPE_ENUM: {INT32}, Kind.TYPE_FLOAT: {FLOAT},
        Kind.TYPE_STRING: {STRING, TEXT}, Kind.TYPE_BYTES: {BYTES, RANGE}, Kind.TYPE_MESSAGE: {MESSAGE},
    }  # fmt: skip
    assert {f.number: f.name for f in descriptor.fields} == {n: f.name for n, f in SCHEMA[name].items()}
    for field in descriptor.fields:
        ours = SCHEMA[name][field.number]
        packed = field.is_packed  # tensor data: its place alone
        assert ours.kind in ({RANGE} if packed else kinds[field.type])
        assert ours.repeated is (field.is_repeated and not packed)
        assert ours.message == (field.message_type.name if field.message_type else "")
        assert bool(ours.choice) is (field.containing_oneof is not None)


def test_the_table_knows_every_message():
    assert set(SCHEMA) == set(messages(onnx.ModelProto.DESCRIPTOR, {}))


@pytest.mark.parametrize(
    ("data", "rule", "words"),
    [
        (b"\x08", "ART104", "runs past the end"),
        (b"\x08" + b"\xff" * 10, "ART104", "longer than any"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "ART105", "shortest form"),
        (b"\x08\x87\x00", "ART105", "shortest form"),
        (b"\x88\x00\x07", "ART105", "shortest form"),
        (b"\x3a\x80\x00", "ART105", "shortest form"),
        (b"\x3a", "ART104", "runs past the end"),
        (b"\x3a\x7f", "ART104", "past the end"),
        (b"\x3a" + b"\xff" * 9 + b"\x01", "ART104", "past the end"),
        (GRAPH[:-1], "ART104", "past the end"),
        (GRAPH + b"\0", "ART104", "wire type 0"),
        (b"\x0b\x0c", "ART104", "wire type 3"),
        (b"\x3c", "ART104", "wire type 4"),
        (b"\x3e", "ART104", "wire type 6"),
        (b"\x0d\0\0\0\0", "ART105", "field 1 of ModelProto at byte 0 is written in another way"),
        (b"\x09" + b"\0" * 8, "ART105", "another way"),
        (length(7, length(1, b"\0\0")[:-1]), "ART104", "past the end"),
        (length(9, b"x") + GRAPH, "ART105", "ModelProto holds an unknown field 9"),
        (length(2**28, b"x"), "ART105", "unknown field"),
        (length(7, length(3, b"")), "ART105", "GraphProto holds an unknown field 3"),
        (length(7, length(1, length(99, b""))), "ART105", "NodeProto holds an unknown field 99"),
        (GRAPH + GRAPH, "ART105", "ModelProto.graph stands there a second time"),
        (b"\x08\x07\x08\x07" + GRAPH, "ART105", "ModelProto.ir_version stands there a second time"),
        (length(7, length(2, b"a") + length(2, b"b")), "ART105", "GraphProto.name stands there a second time"),
        (length(2, b"\xff"), "ART105", "producer_name at byte 2 is not valid UTF-8"),
        (length(6, b"\xff"), "ART105", "doc_string at byte 2 is not valid UTF-8"),
        (length(2, b"\xed\xa0\x80"), "ART105", "not valid UTF-8"),
        (length(2, b"a" * (2**24 + 1)), "ART105", "a text of 16777217 bytes"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_ambiguous_is_refused(data, rule, words):
    with pytest.raises(FormatError) as caught:
        decode(data)
    assert caught.value.rule == rule
    assert words in caught.value.what
    assert (caught.value.where, bool(caught.value.remedy)) == ("m.onnx", True)


TYPE = length(1, number(1, 1))
ATTRIBUTE = length(1, b"a")


@pytest.mark.parametrize(
    ("message", "data", "words"),
    [
        ("AttributeProto", length(5, b"") * 2, "AttributeProto.t "),
        ("AttributeProto", length(6, b"") * 2, "AttributeProto.g "),
        ("AttributeProto", number(3, 1) * 2, "AttributeProto.i "),
        ("AttributeProto", b"\x15" + b"\0" * 4 + b"\x15" + b"\0" * 4, "AttributeProto.f "),
        ("AttributeProto", ATTRIBUTE * 2, "AttributeProto.name "),
        ("AttributeProto", length(8, b"\x01") + length(8, b"\x02"), "AttributeProto.ints "),
        ("AttributeProto", length(8, b"\x01") + number(8, 2), "AttributeProto.ints "),
        ("AttributeProto", number(8, 2) + length(8, b"\x01"), "AttributeProto.ints "),
        ("AttributeProto", length(7, b"\0" * 4) * 2, "AttributeProto.floats "),
        ("TensorProto", length(9, b"") * 2, "TensorProto.raw_data "),
        ("TensorProto", length(5, b"\x01") * 2, "TensorProto.int32_data "),
        ("TensorProto", number(2, 1) * 2, "TensorProto.data_type "),
        ("TypeProto", TYPE * 2, "TypeProto.tensor_type "),
        ("TypeProto", TYPE + length(4, b""), "TypeProto.sequence_type "),
        ("Dimension", number(1, 1) + length(2, b"N"), "Dimension.dim_param "),
        ("ValueInfoProto", length(2, b"") * 2, "ValueInfoProto.type "),
        ("NodeProto", length(4, b"Relu") + length(4, b"Neg"), "NodeProto.op_type "),
    ],
)
def test_what_parsers_would_merge_or_choose_from_is_refused_on_every_level(message, data, words):
    with pytest.raises(FormatError, match="stands there a second time") as caught:
        decode(data, message)
    assert words in caught.value.what


@pytest.mark.parametrize("name", sorted(SCHEMA))
def test_no_message_takes_an_unknown_field_or_a_singular_one_twice(name):
    """Any parser would keep the first and merge the second."""
    for unused in set(range(1, 40)) - set(SCHEMA[name]):
        with pytest.raises(FormatError, match="unknown field"):
            decode(length(unused, b""), name)
    for each, field in SCHEMA[name].items():
        wire = {INT: number(each, 1), INT32: number(each, 1), FLOAT: varint(each << 3 | 5) + b"\0" * 4}
        once = wire.get(field.kind, length(each, b""))
        assert next(iter(decode(once, name))) == field.name
        if field.repeated:
            assert len(decode(once * 3, name)[field.name]) == 3
        else:
            with pytest.raises(FormatError, match="second time"):
                decode(once * 2, name)


def test_numbers_are_read_as_protobuf_reads_them():
    proto = onnx.AttributeProto(
        name="a", i=-(2**63), f=0.5, s=b"\xff", ints=[0, -1, 2**63 - 1], floats=[1.5, -0.0]
    )
    proto.type = onnx.AttributeProto.INTS
    found = decode(proto.SerializeToString(), "AttributeProto")
    assert (found["i"], found["f"], found["s"], found["type"]) == (-(2**63), 0.5, b"\xff", 7)
    assert found["ints"] == list(proto.ints)
    assert struct.pack("2f", *found["floats"]) == struct.pack("2f", 1.5, -0.0)
    packed = length(8, b"".join(varint(v % 2**64) for v in proto.ints)) + length(
        7, struct.pack("<2f", 1.5, -0.0)
    )
    again = decode(packed, "AttributeProto")
    assert (again["ints"], again["floats"]) == (found["ints"], found["floats"])


@pytest.mark.parametrize("value", [2**31, 2**32 + 1, -(2**31) - 1, 2**63 - 1])
def test_types_of_more_than_32_bits_are_refused_for_parsers_cut_them(value):
    with pytest.raises(FormatError, match="more than its 32 bits hold"):
        decode(number(2, value), "TensorProto")
    assert decode(number(2, -1), "TensorProto")["data_type"] == -1


def test_packed_numbers_that_are_cut_are_refused():
    with pytest.raises(FormatError, match="a part of a number") as caught:
        decode(length(7, b"\0" * 5), "AttributeProto")
    assert caught.value.rule == "ART104"
    with pytest.raises(FormatError, match="runs past the end"):
        decode(length(8, b"\x80"), "AttributeProto")


def test_the_place_of_large_contents_is_handed_out():
    data = length(8, b"name") + length(9, b"abcd")
    found = decode(data, "TensorProto")
    begin, end = found["raw_data"]
    assert data[begin:end] == b"abcd"


def test_messages_are_nested_as_deep_as_allowed_and_no_deeper():
    schema = {"M": {1: Field("m", MESSAGE, message="M", cost=1)}}
    data = b""
    for _ in range(5):
        data = length(1, data)
    assert decode(data, "M", depth=5, schema=schema) == {"m": {"m": {"m": {"m": {"m": {}}}}}}
    with pytest.raises(FormatError, match="nested more than 4 deep"):
        decode(data, "M", depth=4, schema=schema)


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("GraphProto", length(1, b"") * 50_000),
        ("GraphProto", length(5, b"") * 50_000),
        ("GraphProto", length(13, b"") * 50_000),
        ("NodeProto", length(1, b"") * 2_000_000),
        ("AttributeProto", number(8, 1) * 1_000_000),
        ("AttributeProto", length(8, b"\x01" * 1_000_000)),
        ("AttributeProto", length(7, b"\0" * 4_000_000)),
        ("AttributeProto", length(9, b"") * 1_000_000),
        ("TensorProto", number(1, 1) * 1_000_000),
        ("TensorProto", length(6, b"") * 1_000_000),
        ("ModelProto", length(14, b"") * 100_000),
        ("ModelProto", length(2, "😀".encode() * 2_000_000 + b"a" * 8_000_000)),
    ],
)
def test_more_parts_than_there_is_room_for_are_refused_early(message, data):
    started = time.process_time()
    with pytest.raises(FormatError, match="more parts than are read") as caught:
        decode(data, message, room=16 * 2**20)
    assert caught.value.rule == "ART105"
    assert time.process_time() - started < 5


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(data):
    try:
        decode(data)
    except FormatError as error:
        assert error.rule in ("ART104", "ART105")


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.integers(1, len(WHOLE) - 1))
def test_every_cut_within_the_graph_is_noticed(kept):
    try:
        found = decode(WHOLE[:kept])
    except FormatError:
        return
    assert (
        "graph" not in found or WHOLE[kept:].count(b"\x42") >= 1
    )  # cut between fields of the outermost level


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(min_size=1, max_size=64))
def test_bytes_appended_never_change_what_is_there(tail):
    """protobuf would merge them in: only further operator sets, entries and functions can be appended."""
    before = decode(WHOLE)
    try:
        after = decode(WHOLE + tail)
    except FormatError:
        return
    repeated = {f.name for f in SCHEMA["ModelProto"].values() if f.repeated}
    for key, value in before.items():
        assert after[key][: len(value)] == value if key in repeated else after[key] == value


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.binary(max_size=120))
def test_what_is_decoded_means_to_protobuf_the_same(data):
    """Bytes that pass are written back by protobuf in other order perhaps, and in no other length."""
    try:
        decode(data, "NodeProto")
    except FormatError:
        return
    assert onnx.NodeProto.FromString(data).ByteSize() == len(data)
