"""Single bits flipped in the bytes of real files, wherever tensors lie: each is found, and its place is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Severity

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
REFERENCE = DIGITS / "digits_fp32.onnx"
BITS = {
    TensorProto.FLOAT: 32, TensorProto.FLOAT16: 16, TensorProto.INT32: 32, TensorProto.INT8: 8,
    TensorProto.UINT8: 8, TensorProto.INT4: 4, TensorProto.UINT4: 4,
}  # fmt: skip
FLIPS = 12


def blocking(reference: Path, candidate: Path) -> list[Finding]:
    found = inspect_pair(read_model(reference), read_model(candidate), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    said = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    return [f for f in said if f.severity is Severity.ERROR]


def tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """What is made of the reference's values: no scales and no zero points, whose last bits carry nothing."""
    words = ("_scale", "_zero_point", "_zp")
    return [
        t for t in model.graph.initializer
        if not t.name.endswith(words) and t.data_type in BITS and int(np.prod(t.dims)) >= 8
    ]  # fmt: skip


def flips(model: onnx.ModelProto, seed: int) -> Iterator[tuple[onnx.TensorProto, int, int, int]]:
    """Tensor, element, bit of the element, and bit of the tensor's bytes; every tensor in turn."""
    rng = np.random.default_rng(seed)
    held = tensors(model)
    for number in range(FLIPS):
        tensor = held[number % len(held)]
        width = BITS[tensor.data_type]
        element, bit = int(rng.integers(np.prod(tensor.dims))), int(rng.integers(width))
        yield tensor, element, bit, element * width + bit


def is_named(said: list[Finding], tensor: str, index: tuple[int, ...], mask: int) -> bool:
    """Whether a finding names tensor, element and bit, or that the element became no number at all."""
    for finding in said:
        listed = finding.evidence.get("outsiders") or ({},)
        named = finding.at.tensor == tensor and finding.at.index == index
        if named and (listed[0].get("xor") == mask or finding.rule == "ART111"):
            return True
    return False


@pytest.mark.parametrize(
    "name", ["digits_int8_pc", "digits_int8_qop", "digits_dyn", "digits_w4a8", "digits_fp16", "digits_a16w8"]
)
def test_a_flipped_bit_in_the_file_is_located(name: str, tmp_path: Path) -> None:
    model = onnx.load(DIGITS / f"{name}.onnx")
    path = tmp_path / "model.onnx"
    for tensor, element, bit, at in flips(model, 1):
        kept = tensor.raw_data
        assert kept, f"{tensor.name} has no bytes of its own"
        raw = bytearray(kept)
        raw[at // 8] ^= 1 << at % 8
        tensor.raw_data = bytes(raw)
        onnx.save(model, path)
        tensor.raw_data = kept
        index = tuple(int(i) for i in np.unravel_index(element, tuple(tensor.dims)))
        said = blocking(REFERENCE, path)
        assert is_named(said, tensor.name, index, 1 << bit), (tensor.name, index, bit, said)


def test_a_flipped_bit_in_a_side_file_is_located(tmp_path: Path) -> None:
    plain = onnx.load(DIGITS / "digits_int8_pc.onnx")
    path = tmp_path / "model.onnx"
    onnx.save(plain, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    side = tmp_path / "weights.bin"
    honest = side.read_bytes()
    stored = onnx.load(path, load_external_data=False)
    begins = {
        t.name: int(next(e.value for e in t.external_data if e.key == "offset")) for t in tensors(stored)
    }
    assert len(begins) == len(tensors(plain))
    assert blocking(REFERENCE, path) == []
    for tensor, element, bit, at in flips(plain, 2):
        spoiled = bytearray(honest)
        spoiled[begins[tensor.name] + at // 8] ^= 1 << at % 8
        side.write_bytes(spoiled)
        index = tuple(int(i) for i in np.unravel_index(element, tuple(tensor.dims)))
        said = blocking(REFERENCE, path)
        assert is_named(said, tensor.name, index, 1 << bit), (tensor.name, index, bit, said)


def nbits() -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """A product in float, and the same as MatMulNBits in blocks of 16 with a last one that is half full."""
    rng = np.random.default_rng(4)
    inputs, outputs, block = 40, 6, 16
    weight = rng.standard_normal((inputs, outputs)).astype(np.float32)
    blocks = -(-inputs // block)
    padded = np.zeros((outputs, blocks * block), np.float32)
    padded[:, :inputs] = weight.T
    rows = padded.reshape(outputs, blocks, block)
    scale = (np.abs(rows).max(axis=2) / 7).astype(np.float32)
    codes = np.clip(np.rint(rows / scale[:, :, None]) + 8, 0, 15).astype(np.uint8)
    packed = (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)
    made = []
    for node, held in (
        (helper.make_node("MatMul", ["x", "w"], ["y"], "fc"), {"w": weight}),
        (
            helper.make_node("MatMulNBits", ["x", "w_q", "w_s"], ["y"], "fc", domain="com.microsoft", K=inputs,
                             N=outputs, bits=4, block_size=block),
            {"w_q": packed, "w_s": scale.reshape(-1)},
        ),
    ):  # fmt: skip
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size])
            for n, size in (("x", inputs), ("y", outputs))
        ]
        graph = helper.make_graph(
            [node], "g", ends[:1], ends[1:], [numpy_helper.from_array(v, k) for k, v in held.items()]
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        made.append(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    return made[0], made[1]


def test_every_bit_of_packed_codes_is_located_or_padding(tmp_path: Path) -> None:
    reference, candidate = nbits()
    one, two = tmp_path / "reference.onnx", tmp_path / "candidate.onnx"
    onnx.save(reference, one)
    onnx.save(candidate, two)
    honest = {f.rule for f in blocking(one, two)}
    (codes,) = (t for t in candidate.graph.initializer if t.name == "w_q")
    kept = codes.raw_data
    padding = located = 0
    for at in range(0, 8 * len(kept), 5):
        raw = bytearray(kept)
        raw[at // 8] ^= 1 << at % 8
        codes.raw_data = bytes(raw)
        onnx.save(candidate, two)
        said = [f for f in blocking(one, two) if f.rule not in honest]
        nibble = at // 4
        row, column = divmod(nibble, 48)
        if column >= 40:
            padding += 1
            continue
        assert is_named(said, "w_q", (row, column), 1 << at % 4), (at, said)
        located += 1
    assert located > 4 * padding > 0
