"""Pickles: what a checkpoint needs is followed, everything else ends the reading, and nothing is ever built."""

from __future__ import annotations

import pickle
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.torch.checkpoint import reused, storage_of
from qgate.formats.torch.machine import MAX_MARKS, MAX_OPCODES, MAX_TEXT, Machine
from qgate.formats.torch.values import NumpyArray, Ordered, Record, Storage, Tensor, Wrapped

from .parts import NO_HOOKS, PROTO, call, entries, name, pickled, sizes, storage, tensor, text, whole


class Store:
    """Takes every storage for one that is there."""

    def __init__(self) -> None:
        self.used: dict[str, Storage] = {}

    def resolve(self, given: Any) -> Storage:
        return reused(self.used, storage_of(given, 5))


def run(data: bytes) -> Any:
    return Machine(memoryview(data), "m.pt", Store()).run()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        {"a": 1, "b": [1, 2.5, None, True], "c": ("x", -(2**40), b"")},
        {"epoch": 3, 7: "seven", None: False, "nested": {"lr": 1e-3}},
        [], {}, (), "text", 0, -1, 255, 256, 65536, -(2**31), 2**70, 1.5, "\U0001f600", [[[]]],
        {"shared": [x := [1], x, x]},
    ],
)  # fmt: skip
def test_plain_values_are_themselves(value: Any, protocol: int) -> None:
    assert run(pickle.dumps(value, protocol)) == value


def test_bytes_and_sets_as_each_protocol_writes_them() -> None:
    assert run(pickle.dumps(b"\0\xffx", 2)) == b"\0\xffx"
    assert run(pickle.dumps(b"\0\xffx", 4)) == b"\0\xffx"
    assert run(pickle.dumps({1}, 2)) == (1,)
    assert run(pickle.dumps(bytearray(b"ab"), 2)) == b"ab"
    assert run(pickle.dumps(1.5 + 2j, 2)) == 1.5 + 2j


def test_a_tensor_is_a_view_of_a_storage() -> None:
    found = run(pickled(w=tensor(storage("3", 9), 1, (2, 3), (4, 1))))["w"]
    assert found == Tensor(Storage("3", "FloatStorage", "float", 9), 1, (2, 3), (4, 1), "float")


def test_a_state_dict_has_versions_in_an_attribute() -> None:
    state = NO_HOOKS + b"}" + text("_metadata") + b"}" + text("version") + whole(1) + b"ss" + b"b"
    found = run(PROTO + state + b".")
    assert type(found) is Ordered
    assert found == {}


UTILS = "torch._utils"
QINT = storage("0", 4, "QInt8Storage")
SCALES = tensor(storage("1", 2, "DoubleStorage"), 0, (2,), (1,))
ZEROS = tensor(storage("2", 2, "LongStorage"), 0, (2,), (1,))


def quantized(scheme: bytes, held: bytes = QINT, shape: tuple[int, ...] = (2, 2)) -> bytes:
    return call(
        name(UTILS, "_rebuild_qtensor"), held, whole(0), sizes(*shape), sizes(2, 1), scheme, b"\x89", NO_HOOKS
    )


PER_TENSOR = b"(" + name("torch", "per_tensor_affine") + b"G" + struct.pack(">d", 0.5) + whole(3) + b"t"
PER_CHANNEL = b"(" + name("torch", "per_channel_affine") + SCALES + ZEROS + whole(0) + b"t"


def test_quantized_tensors_keep_their_scales() -> None:
    one = run(pickled(w=quantized(PER_TENSOR)))["w"]
    assert (one.dtype, one.quantizer.scale, one.quantizer.zero_point, one.quantizer.axis) == (
        "int8",
        0.5,
        3,
        None,
    )
    two = run(pickled(w=quantized(PER_CHANNEL)))["w"]
    assert (two.quantizer.scale.shape, two.quantizer.axis) == ((2,), 0)


SUBCLASS = name("torchao.quantization", "Int8Tensor")


def wrapped(kind: bytes, state: bytes) -> bytes:
    inner = b"(" + kind + name("torch", "float32") + sizes(2, 2) + sizes(2, 1) + whole(0) + b"NN\x89t"
    return call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name(UTILS, "_rebuild_wrapper_subclass"),
        kind,
        inner,
        state,
    )


def test_tensor_subclasses_are_their_parts() -> None:
    found = run(pickled(w=wrapped(SUBCLASS, entries(qdata=tensor(), act=b"N"))))["w"]
    assert isinstance(found, Wrapped)
    assert (found.dtype, found.shape, set(found.state)) == ("float", (2, 2), {"qdata", "act"})


def test_settings_are_kept_as_words() -> None:
    row = name("torchao.quantization.granularity", "PerRow") + b")\x81}" + text("dim") + whole(-1) + b"sb"
    found = run(pickled(g=row))["g"]
    assert found == Record("torchao.quantization.granularity.PerRow", (), {"dim": -1})


def test_numpy_numbers_and_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    found = run(pickle.dumps({"best": numpy.float64(0.5), "table": numpy.arange(3.0)}, 2))
    assert found["best"] == 0.5
    assert isinstance(found["table"], NumpyArray)
    assert (found["table"].shape, found["table"].data) == ((3,), numpy.arange(3.0).tobytes())
    with pytest.raises(FormatError):
        run(pickle.dumps(numpy.array([object], dtype=object), 2))


CODE = [
    (name("os", "system") + text("true") + b"\x85R.", "os.system"),
    (name("__builtin__", "eval") + text("1") + b"\x85R.", "builtins.eval"),
    (name("builtins", "getattr") + b".", "builtins.getattr"),
    (name("__main__", "Net") + b")\x81.", "__main__.Net"),
    (name("torch.storage", "_load_from_bytes") + b".", "_load_from_bytes"),
    (name("torch.nn.modules.linear", "Linear") + b")\x81.", "Linear"),
    (name("torch._utils", "_rebuild_tensor_v2.__globals__") + b".", "__globals__"),
    (name("torch", "FloatStorage.from_file") + b".", "from_file"),
    (name("torch", "load") + b".", "torch.load"),
    (name("torch", "os") + b".", "torch.os"),
    (name("collections", "OrderedDict.fromkeys") + b".", "fromkeys"),
    (text("os") + text("system") + b"\x93.", "os.system"),
    (text("os") + b"q\0" + text("system") + b"q\1" + b"h\0h\1\x93.", "os.system"),
    (text("os") + text("system") + b"\x86" + text("system") + b"\x93.", "no string"),
    (b"N" + text("system") + b"\x93.", "no string"),
    (b"(" + text("true") + b"ios\nsystem\n.", "INST"),
    (b"(" + name("torch", "Size") + text("true") + b"o.", "OBJ"),
    (b"\x82\x01.", "EXT1"),
    (b"\x83\x01\x01.", "EXT2"),
    (b"\x84\x01\x01\x01\x01.", "EXT4"),
    (name("collections", "OrderedDict") + b")}\x92.", "NEWOBJ_EX"),
    (b"Pstorage\n.", "PERSID"),
    (name("collections", "OrderedDict") + b")\x81.", "makes an object of collections.OrderedDict"),
    (name("torch", "FloatStorage") + b")R.", "it calls torch.FloatStorage"),
    (name("torch.nn.parameter", "Parameter") + b")R.", "it calls torch.nn.parameter.Parameter"),
    (text("print") + b")R.", "it calls a string"),
    (b"c" + b"a" * 600 + b"\nb\n.", "too long"),
    (tensor(hooks=entries(a=b"N")) + b".", "hooks"),
    (name("numpy", "ndarray") + b"}b.", "gives attributes"),
    (name("numpy.core.multiarray", "_reconstruct") + name("torch", "Size") + sizes(0) + b"C\1b\x87R.", "numpy array"),
    (wrapped(name("torchao.quantization", "Backdoor"), b"}") + b".", "Backdoor"),
    (wrapped(name("torch.nn.parameter", "Parameter"), b"}") + b".", "a tensor of torch.nn.parameter.Parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words"), CODE, ids=[words for _, words in CODE])
def test_whatever_would_run_something_is_code(body: bytes, words: str) -> None:
    with pytest.raises(CodeError, match=r"byte \d+") as caught:
        run(PROTO + body)
    assert words in caught.value.what
    assert caught.value.rule == "ART114"
    assert "trust: code" in caught.value.remedy


def from_type(state: bytes, kind: bytes = name("torch", "Tensor")) -> bytes:
    arguments = b"(" + storage() + whole(0) + sizes(2, 2) + sizes(2, 1) + b"\x89" + NO_HOOKS + b"t"
    return call(
        name("torch._tensor", "_rebuild_from_type_v2"),
        name(UTILS, "_rebuild_tensor_v2"),
        kind,
        arguments,
        state,
    )


REFUSED = [
    (b"N" * (MAX_OPCODES + 1), "opcodes"),
    (b"(" * (MAX_MARKS + 1), "nests"),
    (b"}" * 3_000_000, "MiB"),
    (b"X" + struct.pack("<I", MAX_TEXT + 1) + b"a" * (MAX_TEXT + 1), "string of"),
    (b"NN.", "2 things on its stack"),
    (b"(N.", "on its stack"),
    (b"N0N.", "POP"),
    (b"N2.", "DUP"),
    (b"I1\n.", "INT"),
    (b"S'a'\n.", "STRING"),
    (b"\x8f.", "EMPTY_SET"),
    (b"\x97.", "NEXT_BUFFER"),
    (b"\x80\x02N.", "changes its protocol"),
    (b"Nq\5.", "number 5 after 0"),
    (b"Nq\0Nq\0.", "number 0 after 1"),
    (b"h\0.", "never remembered"),
    (b"}" + text("a") + b"N" + b"s" + text("a") + b"Ns.", "two entries of the name 'a'"),
    (b"}" + b"\x88Ns" + b"K\1Ns.", "two entries of the name '1'"),
    (b"}" + text("a") + b"\x85" + b"Ns.", "a tuple as a key"),
    (b"}" + whole(2**61 - 1) + b"Ns.", "a number as a key"),
    (b"}(N" + b"u.", "puts entries"),
    (b"]" + text("a") + b"Ns.", "puts entries into a list"),
    (b")Na.", "appends to a tuple"),
    (b"}Na.", "appends to a dictionary"),
    (tensor(start=-1) + b".", "begins nowhere"),
    (tensor(shape=(-2, 2)) + b".", "no plain numbers"),
    (tensor(strides=(2, -1)) + b".", "no plain numbers"),
    (tensor(strides=(2,)) + b".", "other sizes than strides"),
    (tensor(shape=(2**62, 2)) + b".", "no plain numbers"),
    (tensor(shape=(1,) * 40, strides=(1,) * 40) + b".", "no plain numbers"),
    (tensor(held=b"N") + b".", "no storage"),
    (tensor(flag=b"K\1") + b".", "no truth value"),
    (tensor(hooks=b"N") + b".", "hooks"),
    (tensor(held=QINT) + b".", "without their scale"),
    (call(name(UTILS, "_rebuild_tensor_v2"), b"N") + b".", "other arguments"),
    (call(name(UTILS, "_rebuild_tensor_v3"), storage(), whole(0), sizes(4), sizes(1), b"\x89", NO_HOOKS,
          name("torch", "float32")) + b".", "as another type"),
    (call(name(UTILS, "_rebuild_tensor_v3"), storage(kind="UntypedStorage", module="torch.storage"), whole(0), sizes(4),
          sizes(1), b"\x89", NO_HOOKS, name("torch", "quint4x2")) + b".", "not one that is stored"),
    (call(name(UTILS, "_rebuild_tensor_v2"), storage(), whole(0), sizes(4), sizes(1), b"\x89", NO_HOOKS,
          entries(neg=b"\x88")) + b".", "negated"),
    (quantized(PER_TENSOR, storage()) + b".", "a storage that is not"),
    (quantized(name("torch", "per_tensor_affine") + b"\x85") + b".", "unknown scheme"),
    (quantized(PER_CHANNEL, shape=(3, 2)) + b".", "other scales than channels"),
    (quantized(b"(" + name("torch", "per_channel_affine") + SCALES + ZEROS + whole(2) + b"t") + b".", "no scales"),
    (quantized(b"(" + name("torch", "per_tensor_affine") + b"N" + whole(0) + b"t") + b".", "no scale"),
    (call(name(UTILS, "_rebuild_parameter"), b"N", b"\x89", NO_HOOKS) + b".", "no tensor"),
    (call(name(UTILS, "_rebuild_parameter_with_state"), tensor(), b"\x89", NO_HOOKS, entries(data=tensor())) + b".",
     "attributes"),
    (from_type(entries(data=tensor())) + b".", "attributes"),
    (from_type(b"N", name("torch", "FloatStorage")) + b".", "attributes"),
    (call(name("collections", "OrderedDict"), b"]") + b".", "is given entries"),
    (NO_HOOKS + entries(items=b"N") + b"b.", "attributes"),
    (b"}" + b"}" + b"b.", "gives attributes to dict"),
    (call(name("torch", "Size"), b"N") + b".", "no plain numbers"),
    (call(name("_codecs", "encode"), text("a"), text("rot13")) + b".", "no text"),
    (call(name("numpy", "dtype"), text("O8"), b"\x89", b"\x88") + b".", "no number"),
    (call(name("numpy", "dtype"), b"]", b"\x89", b"\x88") + b".", "no number"),
    (storage(key="0", kind="FloatStorage") + storage(key="0", kind="IntStorage") + b"\x86.", "once as"),
    (storage(key="0", elements=4) + storage(key="0", elements=5) + b"\x86.", "once as"),
    (storage(where="http://x") + b".", "no size or place"),
    (storage(elements=-1) + b".", "no size or place"),
    (storage(kind="Tensor") + b".", "another way"),
    (b"(" + text("module") + name("torch", "FloatStorage") + text("0") + text("cpu") + whole(1) + b"tQ.", "no storage"),
    (text("0") + b"Q.", "no storage"),
    (b")Q.", "no storage"),
    (b"\x95" + struct.pack("<Q", 99) + b"N.", "beyond its end"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "words"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_whatever_a_checkpoint_does_not_need_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        run(PROTO + body)
    assert words in caught.value.what
    assert caught.value.rule in ("ART105", "ART114")


@pytest.mark.parametrize(
    "body",
    [b"", b"\x80", b"\x80\x02", b"\x80\x02X\xff\0\0\0a.", b"\x80\x02R.", b"\x80\x02a.", b"\x80\x02\x86.",
     b"\x80\x02X\1\0\0\0\xff.", b"\x80\x02U\1\xff.", b"\x80\x02N", b"\x80\x02t.", b"\x80\x02G1234", b"\x80\x02(\x85."],
)  # fmt: skip
def test_damaged_pickles(body: bytes) -> None:
    with pytest.raises(FormatError, match="damaged at byte") as caught:
        run(body)
    assert caught.value.rule == "ART104"


@pytest.mark.parametrize("protocol", [b"\x80\x01N.", b"\x80\x06N."])
def test_other_protocols(protocol: bytes) -> None:
    with pytest.raises(FormatError, match="of protocol"):
        run(protocol)


def test_what_is_shared_without_end_takes_no_time() -> None:
    doubled = b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))
    assert type(run(PROTO + doubled + b".")) is tuple


HONEST = [
    pickled(w=tensor(), n=whole(3), s=text("x")),
    pickled(w=quantized(PER_CHANNEL)),
    pickled(w=wrapped(SUBCLASS, entries(qdata=tensor()))),
    pickle.dumps({"a": [1, 2.5, "x"], "b": (None, True)}, 4),
]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_but_a_refusal_ever_comes_out(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(HONEST)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                raw[at] = data.draw(st.integers(0, 255))
            case 1:
                raw[at:at] = data.draw(st.binary(max_size=3))
            case _:
                del raw[at]
                raw = raw or bytearray(b".")
    try:
        run(bytes(raw))
    except FormatError as error:
        assert error.rule in ("ART104", "ART105", "ART114")


OPCODES = st.sampled_from(
    [bytes([b]) for b in b"()]}NKqhRbt\x85\x86\x87aesu\x88\x89Q\x81\x93\x94X\x8ac"]
) | st.binary(max_size=2)


@settings(max_examples=120, deadline=None)
@given(st.lists(OPCODES, max_size=60))
def test_opcodes_in_any_order(opcodes: list[bytes]) -> None:
    try:
        run(PROTO + b"".join(opcodes) + b".")
    except FormatError as error:
        assert error.rule in ("ART104", "ART105", "ART114")
