"""ONNX files that are cheap to write and ask for much: each a function from a size in bytes to a file.

Every file is as large as it is told, and one kind of thing from end to end. Used with 64 MB by
``test_bounds`` and with a few kilobytes as seeds for fuzzing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

Maker = Callable[[int], bytes]
NASTY: dict[str, Maker] = {}


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    value %= 2**64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def held(number: int, content: bytes) -> bytes:
    """A field of a length and its content."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def whole(number: int, value: int) -> bytes:
    """A field that is a whole number."""
    return varint(number << 3) + varint(value)


def model(graph: bytes, *more: bytes) -> bytes:
    """A model of IR version 10 and operator set 21."""
    imports = held(8, held(1, b"") + whole(2, 21)) + held(8, held(1, b"f") + whole(2, 1))
    return whole(1, 10) + imports + b"".join(more) + held(7, graph)


def nasty(make: Maker) -> Maker:
    """Registers the decorated function under its own name."""
    NASTY[make.__name__] = make
    return make


def _many(piece: bytes, size: int) -> bytes:
    return piece * max(1, size // len(piece))


def _numbered(make: Callable[[int], bytes], size: int) -> bytes:
    """Distinct pieces, so that no cache of names helps; after 8 MB the same again, for writing takes time too."""
    out, total, number = [], 0, 0
    while total < min(size, 2**23):
        out.append(make(number))
        total += len(out[-1])
        number += 1
    return _many(b"".join(out), size)


def node(op: bytes, output: bytes, *more: bytes) -> bytes:
    """A node's content."""
    return held(2, output) + held(4, op) + b"".join(more)


def tensor(code: int, dims: list[int], *more: bytes, name: bytes = b"k") -> bytes:
    """A tensor's content."""
    return b"".join(whole(1, d) for d in dims) + whole(2, code) + held(8, name) + b"".join(more)


def attribute(name: bytes, kind: int, *more: bytes) -> bytes:
    """An attribute's content."""
    return held(1, name) + whole(20, kind) + b"".join(more)


@nasty
def empty_nodes(size: int) -> bytes:
    return model(_many(held(1, b""), size))


@nasty
def tiny_nodes(size: int) -> bytes:
    return model(_many(held(1, node(b"N", b"y")), size))


@nasty
def tiny_nodes_of_other_names(size: int) -> bytes:
    return model(_numbered(lambda n: held(1, node(b"N", b"%d" % n)), size))


@nasty
def tiny_tensors(size: int) -> bytes:
    return model(_numbered(lambda n: held(5, tensor(3, [0], name=b"%d" % n)), size))


@nasty
def scalar_tensors(size: int) -> bytes:
    return model(_numbered(lambda n: held(5, tensor(3, [], held(5, b"\1"), name=b"%d" % n)), size))


@nasty
def tiny_attributes(size: int) -> bytes:
    body = _numbered(lambda n: held(5, attribute(b"%d" % n, 2)), size)
    return model(held(1, node(b"N", b"y", body)))


@nasty
def attributes_of_tensors(size: int) -> bytes:
    body = _numbered(lambda n: held(5, attribute(b"%d" % n, 4, held(5, tensor(3, [0])))), size)
    return model(held(1, node(b"N", b"y", body)))


@nasty
def attributes_of_graphs(size: int) -> bytes:
    body = _numbered(lambda n: held(5, attribute(b"%d" % n, 5, held(6, b""))), size)
    return model(held(1, node(b"N", b"y", body)))


@nasty
def graphs_in_one_attribute(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", held(5, attribute(b"a", 10, _many(held(11, b""), size))))))


@nasty
def packed_ints(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", held(5, attribute(b"a", 7, held(8, b"\1" * size))))))


@nasty
def unpacked_ints(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", held(5, attribute(b"a", 7, _many(whole(8, 1), size))))))


@nasty
def packed_floats(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", held(5, attribute(b"a", 6, held(7, b"\0" * (size // 4 * 4)))))))


@nasty
def strings_in_one_attribute(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", held(5, attribute(b"a", 8, _many(held(9, b""), size))))))


@nasty
def inputs_of_one_node(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", _many(held(1, b"x"), size))))


@nasty
def empty_inputs_of_one_node(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", _many(held(1, b""), size))))


@nasty
def dims(size: int) -> bytes:
    return model(held(5, tensor(3, [], _many(whole(1, 1), size))))


@nasty
def packed_dims(size: int) -> bytes:
    return model(held(5, tensor(3, [], held(1, b"\1" * size))))


@nasty
def value_infos(size: int) -> bytes:
    made = held(1, whole(1, 1) + held(2, held(1, whole(1, 1))))
    return model(_numbered(lambda n: held(13, held(1, b"%d" % n) + held(2, made)), size))


@nasty
def empty_value_infos(size: int) -> bytes:
    return model(_many(held(13, b""), size))


@nasty
def dimensions_of_one_type(size: int) -> bytes:
    kind = held(2, held(1, held(2, _many(held(1, b""), size))))
    return model(held(13, held(1, b"v") + kind))


@nasty
def named_dimensions(size: int) -> bytes:
    shape = _numbered(lambda n: held(1, held(2, b"%d" % n)), size)
    return model(held(13, held(1, b"v") + held(2, held(1, held(2, shape)))))


@nasty
def metadata(size: int) -> bytes:
    return model(b"", _numbered(lambda n: held(14, held(1, b"%d" % n)), size))


@nasty
def metadata_of_a_node(size: int) -> bytes:
    return model(held(1, node(b"N", b"y", _many(held(9, b""), size))))


@nasty
def one_long_text(size: int) -> bytes:
    return model(b"", held(2, "\U0001f600".encode() + b"a" * size))


@nasty
def long_texts(size: int) -> bytes:
    text = "\U0001f600".encode() + b"a" * min(size, 2**24 - 100)
    return model(b"", b"".join(held(14, held(2, text + b"%d" % n)) for n in range(-(-size // len(text)))))


@nasty
def long_doc_strings(size: int) -> bytes:
    text = "\U0001f600".encode() + b"a" * min(size, 2**24 - 100)
    return model(b"".join(held(1, held(6, text)) for _ in range(-(-size // len(text)))))


@nasty
def opsets(size: int) -> bytes:
    return model(b"", _numbered(lambda n: held(8, held(1, b"%d" % n) + whole(2, 1)), size))


@nasty
def functions(size: int) -> bytes:
    return model(b"", _numbered(lambda n: held(25, held(1, b"%d" % n) + held(10, b"f")), size))


@nasty
def nodes_of_one_function(size: int) -> bytes:
    body = _numbered(lambda n: held(7, node(b"N", b"%d" % n)), size)
    return model(b"", held(25, held(1, b"n") + held(10, b"f") + body))


@nasty
def calls_that_double(size: int) -> bytes:
    """Functions that call the one before twice: a file of two kilobytes unfolds to 2^60 nodes."""
    imports = held(9, held(1, b"f") + whole(2, 1)) + held(9, held(1, b"") + whole(2, 21))
    made = []
    for number in range(max(2, min(60, size // 64))):
        inner = [node(b"%d" % (number - 1), out, held(7, b"f"), held(1, b"x")) for out in (b"a", b"y")]
        body = b"".join(held(7, n) for n in inner) if number else held(7, node(b"Relu", b"y", held(1, b"x")))
        made.append(
            held(
                25, held(1, b"%d" % number) + held(4, b"x") + held(5, b"y") + body + held(10, b"f") + imports
            )
        )
    call = held(1, node(b"%d" % (len(made) - 1), b"out", held(7, b"f"), held(1, b"in")))
    return model(call, *made)


@nasty
def long_names_in_many_calls(size: int) -> bytes:
    """A body of one long name, called often: every call makes a name of its own of it."""
    long = b"n" * min(size // 2, 2**24)
    imports = held(9, held(1, b"") + whole(2, 21))
    body = held(7, node(b"Relu", long, held(1, b"x"))) + held(7, node(b"Relu", b"y", held(1, long)))
    made = held(25, held(1, b"F") + held(4, b"x") + held(5, b"y") + body + held(10, b"f") + imports)
    calls = _numbered(lambda n: held(1, node(b"F", b"%d" % n, held(7, b"f"), held(1, b"in"))), size // 4)
    return model(calls, made)


@nasty
def nested_graphs(size: int) -> bytes:
    graph = b""
    while len(graph) < min(size, 4000):
        graph = held(1, node(b"If", b"y", held(5, attribute(b"then_branch", 5, held(6, graph)))))
    return model(graph, _many(held(14, held(1, b"k") + held(2, b"v")), size - len(graph)))


@nasty
def nested_types(size: int) -> bytes:
    kind = held(1, whole(1, 1))
    for _ in range(24):
        kind = held(4, held(1, kind))
    return model(_many(held(13, held(1, b"v") + held(2, kind)), size))


@nasty
def int8_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(3, [size], held(5, b"\1" * size))))


@nasty
def negative_int8_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(3, [size // 10], held(5, varint(-1) * (size // 10)))))


@nasty
def int32_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(6, [size], held(5, b"\1" * size))))


@nasty
def int64_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(7, [size], held(7, b"\1" * size))))


@nasty
def bool_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(9, [size], held(5, b"\1" * size))))


@nasty
def bfloat16_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(16, [size // 2], held(5, varint(0x3FFF) * (size // 2)))))


@nasty
def float8_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(17, [size], held(5, b"\1" * size))))


@nasty
def int2_as_packed_numbers(size: int) -> bytes:
    return model(held(5, tensor(26, [4 * size], held(5, b"\1" * size))))


@nasty
def numbers_longer_than_needed(size: int) -> bytes:
    return model(held(5, tensor(3, [size // 2], held(5, b"\x81\x00" * (size // 2)))))


@nasty
def numbers_without_end(size: int) -> bytes:
    return model(held(5, tensor(3, [size // 10], held(5, b"\xff" * size))))


@nasty
def strings(size: int) -> bytes:
    return model(held(5, tensor(8, [size // 2], _many(held(6, b""), size))))


@nasty
def one_string(size: int) -> bytes:
    return model(held(5, tensor(8, [1], held(6, b"\xff" * size))))


@nasty
def raw_int4(size: int) -> bytes:
    return model(held(5, tensor(22, [2 * size], held(9, b"\x21" * size))))


@nasty
def raw_int2(size: int) -> bytes:
    return model(held(5, tensor(26, [4 * size], held(9, b"\x21" * size))))


@nasty
def raw_float4(size: int) -> bytes:
    return model(held(5, tensor(23, [2 * size], held(9, b"\x21" * size))))


@nasty
def raw_float8(size: int) -> bytes:
    return model(held(5, tensor(17, [size], held(9, b"\x21" * size))))


@nasty
def raw_bfloat16(size: int) -> bytes:
    return model(held(5, tensor(16, [size // 2], held(9, b"\x21\x3f" * (size // 2)))))


@nasty
def raw_float_at_an_odd_place(size: int) -> bytes:
    return model(held(5, tensor(1, [size // 4], held(9, struct.pack("<f", 1.5) * (size // 4)), name=b"kk")))


@nasty
def raw_bool(size: int) -> bytes:
    return model(held(5, tensor(9, [size], held(9, b"\1" * size))))


@nasty
def external_entries(size: int) -> bytes:
    entries = _numbered(lambda n: held(13, held(1, b"%d" % n)), size)
    return model(held(5, tensor(3, [1], entries, whole(14, 1))))


@nasty
def external_tensors(size: int) -> bytes:
    """Every one in a side file of its own name."""

    def one(number: int) -> bytes:
        entry = held(13, held(1, b"location") + held(2, b"%d" % number))
        return held(5, tensor(3, [1], entry, whole(14, 1), name=b"%d" % number))

    return model(_numbered(one, size))


@nasty
def annotations(size: int) -> bytes:
    return model(_many(held(14, held(1, b"a")), size))


@nasty
def sparse(size: int) -> bytes:
    return model(_many(held(15, b""), size))


@nasty
def training(size: int) -> bytes:
    return model(b"", _many(held(20, b""), size))


@nasty
def unknown_fields(size: int) -> bytes:
    return model(_many(held(99, b""), size))


@nasty
def groups(size: int) -> bytes:
    return model(_many(b"\x0b\x0c", size))


@nasty
def numbers_alone(size: int) -> bytes:
    return _many(whole(1, 10), size)
