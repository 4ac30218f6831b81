"""Checkpoints that PyTorch wrote: the same tensors bit for bit, and refusals where bytes and words disagree."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.content import model_content
from qgate.formats.model import Constant
from qgate.formats.read import read_model
from qgate.formats.stored import stored_bytes

from .parts import (
    BEGIN,
    END,
    FOUR,
    PROTO,
    Zip,
    call,
    checkpoint,
    entries,
    name,
    pickled,
    sizes,
    storage,
    tensor,
    text,
    whole,
    written,
)  # fmt: skip

torch = pytest.importorskip("torch")
from . import models  # noqa: E402


def saved(folder: Path, value: Any, **settings: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, folder / "m.pt", **settings)
    return folder / "m.pt"


def bits(value: Any) -> bytes:
    """The bytes of a tensor of PyTorch's, in C order."""
    if value.is_quantized:
        value = value.int_repr()
    return value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""


def same(constant: Constant, value: Any) -> None:
    assert constant.shape == tuple(value.shape), constant.name
    assert stored_bytes(constant).tobytes() == bits(value), constant.name
    wanted = (value.int_repr() if value.is_quantized else value.detach()).numpy(force=True) if value.dtype not in (
        torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2) else value.float().numpy()  # fmt: skip
    assert np.array_equal(constant.load(), wanted, equal_nan=True), constant.name


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Tensors by dotted name."""
    if isinstance(value, torch.Tensor):
        return {prefix or "tensor": value}
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    )
    return {
        k: v
        for key, entry in pairs
        for k, v in leaves(entry, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def check(path: Path, value: Any) -> None:
    model = read_model(path)
    wanted = leaves(value)
    assert set(model.graph.constants) == set(wanted)
    for key, constant in model.graph.constants.items():
        same(constant, wanted[key])
    assert len(model_content(model).tensors) >= len(wanted)


BASE = torch.arange(24, dtype=torch.float32).reshape(4, 6)
VALUES = {
    "types": {str(t): torch.arange(-3, 5).to(t) for t in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.int32,
        torch.int64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.uint16)},
    "views": {"t": BASE.t(), "slice": BASE[1:3, ::2], "row": BASE[2], "same": BASE, "one": BASE[1, 1], "last": BASE[:, -1:]},
    "empty": {"none": torch.zeros(0), "flat": torch.zeros(3, 0, 2), "scalar": torch.tensor(3.5)},
    "expanded": {"by one": torch.arange(5).expand(1, -1)},
    "nested": {"state_dict": {"w": BASE}, "epoch": 3, "lr": 1e-3, "names": ["a", None], "optimizer": {"state": {0: {"m": BASE}}}},
    "list": [BASE, (BASE, 3)],
    "tensor": BASE,
    "parameters": {"w": torch.nn.Parameter(BASE), "b": torch.nn.Parameter(BASE, requires_grad=False)},
    "nan": {"w": torch.tensor([float("nan"), float("inf"), -0.0])},
    "channels last": {"w": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)},
}  # fmt: skip


# The older form has no storages without a type of their own, as float8 needs.
@pytest.mark.parametrize(
    ("which", "zipped"), [(w, z) for w in VALUES for z in (True, False) if z or w != "types"]
)
def test_tensors_are_the_same_bit_for_bit(which: str, zipped: bool, tmp_path: Path) -> None:
    check(saved(tmp_path, VALUES[which], _use_new_zipfile_serialization=zipped), VALUES[which])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_torch_save_takes(protocol: int, tmp_path: Path) -> None:
    check(saved(tmp_path, VALUES["nested"], pickle_protocol=protocol), VALUES["nested"])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("make", [models.static, models.dynamic, lambda: models.trained().state_dict()],
                         ids=["static", "dynamic", "float"])  # fmt: skip
def test_quantized_state_dicts(make: Any, zipped: bool, tmp_path: Path) -> None:
    state = make()
    path = saved(tmp_path, state, _use_new_zipfile_serialization=zipped)
    check(path, state)
    for key, value in leaves(state).items():
        stored = read_model(path).graph.constants[key].quantization
        assert (stored is not None) == value.is_quantized
        if stored is not None and value.qscheme() == torch.per_channel_affine:
            assert np.array_equal(stored.scale.load(), value.q_per_channel_scales().numpy())
            assert stored.zero_point is not None
            assert np.array_equal(stored.zero_point.load(), value.q_per_channel_zero_points().numpy())
            assert stored.axis == value.q_per_channel_axis()
        elif stored is not None:
            assert stored.scale.load() == value.q_scale()
            assert stored.axis is None


def test_what_is_no_tensor_is_kept_as_words(tmp_path: Path) -> None:
    model = read_model(saved(tmp_path, VALUES["nested"]))
    assert model.format == "torch-checkpoint"
    words = {"epoch": "3", "lr": "0.001", "names.0": "a", "names.1": "None"}
    assert dict(model.metadata) == words
    assert model.root == "state_dict."


def test_archives_without_checksums_and_with_wrong_ones(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": BASE})
    assert "qgate.damaged" not in read_model(path).metadata
    raw = bytearray(path.read_bytes())
    raw[raw.index(BASE.numpy().tobytes())] ^= 1
    path.write_bytes(raw)
    assert read_model(path).metadata["qgate.damaged"] == "data/0"
    torch.serialization.set_crc32_options(False)
    try:
        assert "qgate.damaged" not in read_model(saved(tmp_path, {"w": BASE})).metadata
    finally:
        torch.serialization.set_crc32_options(True)


def test_modules_and_scripts_are_code(tmp_path: Path) -> None:
    net = models.trained()
    for zipped in (True, False):
        with pytest.raises(CodeError, match=r"more than tensors: the pickle names .*\.Stubbed") as caught:
            read_model(saved(tmp_path, net, _use_new_zipfile_serialization=zipped))
        assert caught.value.kind == "torch-module"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, models.inputs()), tmp_path / "m.ts")
    with pytest.raises(CodeError, match="TorchScript"):
        read_model(tmp_path / "m.ts")


GOOD = pickled(w=tensor())


DOUBLED = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))


def test_a_handmade_checkpoint_is_what_torch_reads(tmp_path: Path) -> None:
    path = written(tmp_path, checkpoint(GOOD, {"0": FOUR}))
    check(path, torch.load(path, weights_only=True))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (checkpoint(GOOD, {}), "does not have"),
        (checkpoint(GOOD, {"0": FOUR[:-1]}), "has 15 bytes for 4"),
        (checkpoint(GOOD, {"0": FOUR + b"\0"}), "has 17 bytes"),
        (checkpoint(GOOD, {"0": FOUR, "1": b"hidden"}), "no tensor reads the member 'data/1'"),
        (checkpoint(GOOD, {"0": FOUR}, **{"m/payload.bin": b"x"}), "belongs to no checkpoint"),
        (checkpoint(GOOD, {"0": FOUR}, **{"m/data/x": b"x"}), "belongs to no checkpoint"),
        (checkpoint(GOOD, {"0": FOUR}, **{"m/data/00": b"x"}), "belongs to no checkpoint"),
        (checkpoint(GOOD + b"trailing", {"0": FOUR}), "follow the end of its pickle"),
        (checkpoint(pickled(w=tensor(storage("../data.pkl"))), {"0": FOUR}), "does not have"),
        (checkpoint(pickled(w=tensor(storage("00"))), {"0": FOUR}), "does not have"),
        (checkpoint(pickled(w=tensor(start=1)), {"0": FOUR}), "declares 5 elements of float"),
        (checkpoint(pickled(w=tensor(strides=(4, 1))), {"0": FOUR}), "declares 6 elements"),
        (checkpoint(pickled(w=tensor(shape=(10**6, 10**6), strides=(0, 0))), {"0": FOUR}), "declares 1000000000000"),
        (checkpoint(pickled(w=tensor(shape=(5,), strides=(0,))), {"0": FOUR}), "declares 5 elements"),
        (checkpoint(pickled(w=tensor(shape=(2**40, 2**40), strides=(0, 0))), {"0": FOUR}), "no tensor has"),
        (checkpoint(PROTO + entries(**{"a.b": tensor(), "a": entries(b=tensor())}) + b".", {"0": FOUR}), "two tensors"),
        (checkpoint(pickled(**{"w\u202e": tensor()}), {"0": FOUR}), "cannot be printed"),
        (checkpoint(pickled(**{"w" * 600: tensor()}), {"0": FOUR}), "too long"),
        (checkpoint(pickled(w=tensor(), f=name("torch", "Size")), {"0": FOUR}), "the name torch.Size itself"),
        (checkpoint(PROTO + b"]q\0h\0a."), "nest 64 deep"),
        (checkpoint(PROTO + b")" + DOUBLED + b"."), "entries"),
        (Zip({"m/data.pkl": GOOD, "m/byteorder": b"big", "m/data/0": FOUR}).build(), "another byte order"),
    ],
)  # fmt: skip
def test_words_and_bytes_that_disagree(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        read_model(written(tmp_path, data))
    assert words in caught.value.what
    assert caught.value.remedy


def legacy(body: bytes, keys: list[str], *held: tuple[int, bytes], facts: bytes = b"\x88") -> bytes:
    """A checkpoint of the older form."""
    magic = PROTO + b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little") + b"."
    start = magic + PROTO + b"M\xe9\x03." + PROTO + entries(little_endian=facts) + b"."
    tail = b"".join(struct.pack("<q", count) + data for count, data in held)
    return start + PROTO + body + b"." + pickle.dumps(keys, 2) + tail


OLD = storage()[:-2] + b"N" + b"tQ"
OLD_TENSOR = entries(w=tensor(OLD))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (legacy(OLD_TENSOR, ["0"], (5, FOUR + FOUR[:4])), "another number of elements"),
        (legacy(OLD_TENSOR, ["0"], (4, FOUR + b"x")), "end at byte"),
        (legacy(OLD_TENSOR, ["0"], (4, FOUR[:-1])), "end at byte"),
        (legacy(OLD_TENSOR, ["0", "1"], (4, FOUR), (0, b"")), "other storages"),
        (legacy(OLD_TENSOR, [], (4, FOUR)), "other storages"),
        (legacy(OLD_TENSOR, ["0", "0"], (4, FOUR)), "other storages"),
        (legacy(OLD_TENSOR, ["0"], (4, FOUR), facts=b"\x89"), "does not begin"),
        (legacy(entries(w=tensor(storage()[:-2] + b")" + b"tQ")), ["0"], (4, FOUR)), "part of a storage"),
        (legacy(entries(w=tensor(storage())), ["0"], (4, FOUR)), "no storage"),
        (legacy(name("os", "system") + text("true") + b"\x85R", []), "os.system"),
        (legacy(b"N", [])[:40], "damaged"),
    ],
)  # fmt: skip
def test_the_older_form_is_as_strict(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        read_model(written(tmp_path, data))
    assert words in caught.value.what


def test_a_handmade_file_of_the_older_form(tmp_path: Path) -> None:
    path = written(tmp_path, legacy(OLD_TENSOR, ["0"], (4, FOUR)))
    assert read_model(path).graph.constants["w"].load().tolist() == [[1, 2], [3, 4]]


SCALES = tensor(storage("1", 2), 0, (2, 1), (1, 1))
ZEROS = tensor(storage("2", 2, "CharStorage"), 0, (2, 1), (1, 1))
CODES = tensor(storage("0", 8, "CharStorage"), 0, (2, 4), (4, 1))
AO = {"0": bytes([1, 2, 3, 252, 7, 8, 249, 0]), "1": struct.pack("<2f", 0.5, 2.0), "2": bytes([1, 0])}


def subclass(kind: str, **state: bytes) -> bytes:
    """A torchao tensor as torchao 0.18 and its forerunners write it."""
    module, _, short = kind.rpartition(".")
    inner = (
        b"("
        + name(module, short)
        + name("torch", "float32")
        + sizes(2, 4)
        + sizes(4, 1)
        + whole(0)
        + b"NN\x89t"
    )
    rebuild = name("torch._utils", "_rebuild_wrapper_subclass")
    return call(
        name("torch._tensor", "_rebuild_from_type_v2"), rebuild, name(module, short), inner, entries(**state)
    )


AFFINE = "torchao.dtypes.affine_quantized_tensor.AffineQuantizedTensor"
PLAIN = "torchao.dtypes.uintx.plain_layout.PlainAQTTensorImpl"


@pytest.mark.parametrize(
    ("made", "dtype", "axis", "block"),
    [
        (subclass("torchao.quantization.Int8Tensor", qdata=CODES, scale=SCALES, zero_point=ZEROS, block_size=sizes(1, 4),
                  act_quant_kwargs=b"N"), "int8", 0, 0),
        (subclass("torchao.quantization.IntxUnpackedToInt8Tensor", qdata=CODES, scale=SCALES, zero_point=ZEROS,
                  block_size=sizes(1, 4), target_dtype=name("torch", "int4")), "int4", 0, 0),
        (subclass(AFFINE, tensor_impl=subclass(PLAIN, int_data=CODES, scale=SCALES, zero_point=ZEROS),
                  block_size=sizes(1, 4), quant_min=whole(-8), quant_max=whole(7)), "int4", 0, 0),
    ],
)  # fmt: skip
def test_torchao_tensors(made: bytes, dtype: str, axis: int, block: int, tmp_path: Path) -> None:
    constants = read_model(written(tmp_path, checkpoint(pickled(w=made), AO))).graph.constants
    assert list(constants) == ["w"]
    codes, stored = constants["w"], constants["w"].quantization
    assert (codes.dtype, codes.load().tolist()) == (dtype, [[1, 2, 3, -4], [7, 8, -7, 0]])
    assert stored is not None
    assert (stored.axis, stored.block, stored.scale.load().tolist()) == (axis, block, [[0.5], [2.0]])
    assert stored.zero_point is not None
    assert stored.zero_point.load().tolist() == [[1], [0]]


def test_blocks_of_torchao_and_those_that_are_not_followed(tmp_path: Path) -> None:
    def quantization(shape: tuple[int, ...], *blocks: int) -> Any:
        scales = tensor(storage("1", int(np.prod(shape))), 0, shape, (shape[1], 1))
        made = subclass(
            "torchao.quantization.Int8Tensor", qdata=CODES, scale=scales, block_size=sizes(*blocks)
        )
        held = {"0": AO["0"], "1": bytes(4 * int(np.prod(shape)))}
        return (
            read_model(written(tmp_path, checkpoint(pickled(w=made), held))).graph.constants["w"].quantization
        )

    by_two = quantization((2, 2), 1, 2)
    assert (by_two.axis, by_two.block) == (1, 2)
    assert quantization((1, 2), 2, 2) is None
    assert quantization((2, 2), 1, 4) is None
    whole_tensor = quantization((1, 1), 2, 4)
    assert (whole_tensor.axis, whole_tensor.scale.size) == (None, 1)


def test_a_subclass_without_codes(tmp_path: Path) -> None:
    made = subclass("torchao.quantization.Int8Tensor", scale=tensor())
    with pytest.raises(FormatError, match="holds no codes of its shape"):
        read_model(written(tmp_path, checkpoint(pickled(w=made), {"0": FOUR})))


def _loaded(data: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(io.BytesIO(data), weights_only=True)


ORIGINALS = [
    checkpoint(GOOD, {"0": FOUR}),
    checkpoint(PROTO + BEGIN[2:] + text("a") + tensor(shape=(2,), strides=(2,)) + text("b") + whole(1) + END, {"0": FOUR}),
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_read_is_what_torch_reads(data: st.DataObject, tmp_path: Path) -> None:
    """Spoils a pickle inside of a whole archive, so that more than the archive's own checks are met."""
    with zipfile.ZipFile(io.BytesIO(data.draw(st.sampled_from(ORIGINALS)))) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    body = bytearray(members["m/data.pkl"])
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(2, len(body) - 2))
        body[at] = data.draw(st.integers(0, 255))
    raw = Zip({**members, "m/data.pkl": bytes(body)}).build()
    try:
        model = read_model(written(tmp_path, raw))
    except FormatError:
        return
    wanted = leaves(_loaded(raw))
    assert set(model.graph.constants) == set(wanted)
    for key, constant in model.graph.constants.items():
        same(constant, wanted[key])


def test_nothing_of_torch_is_imported_by_the_readers() -> None:
    import subprocess
    import sys

    code = (
        "import sys, json, qgate.formats.read, qgate.formats.torch.checkpoint, qgate.formats.torch.export, "
    )
    code += "qgate.formats.safetensors; print(json.dumps('torch' in sys.modules))"
    assert (
        json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        is False
    )
