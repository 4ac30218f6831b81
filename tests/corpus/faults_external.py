"""Faults of external data: paths that leave the folder, ranges that leave the file, keys that contradict."""

from __future__ import annotations

import os

import onnx
from onnx import TensorProto

from tests.corpus import graph
from tests.corpus.faults import Planted, Subject
from tests.corpus.faults_file import file_fault


def _external(s: Subject, location: str, data: bytes | None, **more: str) -> Planted:
    """The largest weight's bytes declared to be in a side file."""
    model, weight = s.copy(), s.weight()
    tensor = graph.initializers(model)[weight.tensor]
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.ClearField("int32_data")
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, **more}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    if data is not None:
        (s.folder / "weights.bin").write_bytes(data or raw)
    (s.folder / "model.onnx").write_bytes(model.SerializeToString())
    return Planted(None, [weight.tensor, location])


@file_fault("f120_external_traversal")
def external_traversal(s: Subject) -> Planted:
    return _external(s, "../../../etc/hostname", None)


@file_fault("f121_external_traversal_inside")
def external_traversal_inside(s: Subject) -> Planted:
    """Climbs out through a folder that exists."""
    (s.folder / "sub").mkdir()
    return _external(s, "sub/../../reference.onnx", None)


@file_fault("f122_external_absolute")
def external_absolute(s: Subject) -> Planted:
    return _external(s, "/etc/passwd", None)


@file_fault("f123_external_symlink")
def external_symlink(s: Subject) -> Planted:
    (s.folder / "weights.bin").symlink_to("/etc/passwd")
    return _external(s, "weights.bin", None)


@file_fault("f124_external_hard_link", debatable="a checkout cannot carry hard links; copies hide them")
def external_hard_link(s: Subject) -> Planted:
    planted = _external(s, "weights.bin", b"")
    os.link(s.folder / "weights.bin", s.folder / "elsewhere.bin")
    return planted


@file_fault("f125_external_missing")
def external_missing(s: Subject) -> Planted:
    return _external(s, "weights.bin", None)


@file_fault("f126_external_short")
def external_short(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"\x01" * 7)


@file_fault("f127_external_offset_beyond")
def external_offset(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", offset="1000000000")


@file_fault("f128_external_length_huge")
def external_length(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", offset="0", length=str(2**62))


@file_fault("f129_external_length_negative")
def external_negative(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", offset="-8")


@file_fault("f130_external_duplicate_keys")
def external_duplicates(s: Subject) -> Planted:
    """Two locations: readers disagree which counts."""
    planted = _external(s, "weights.bin", b"")
    model = onnx.load(s.folder / "model.onnx", load_external_data=False)
    tensor = graph.initializers(model)[planted.at[0]]
    tensor.external_data.add(key="location", value="weights.bin")
    (s.folder / "model.onnx").write_bytes(model.SerializeToString())
    return planted


@file_fault("f131_external_unknown_key")
def external_unknown(s: Subject) -> Planted:
    return _external(s, "weights.bin", b"", basepath="/etc")


@file_fault("f132_external_tampered")
def external_tampered(s: Subject) -> Planted:
    """One byte of the side file changed."""
    planted = _external(s, "weights.bin", b"")
    data = bytearray((s.folder / "weights.bin").read_bytes())
    data[len(data) // 2] ^= 0x04
    (s.folder / "weights.bin").write_bytes(bytes(data))
    return planted
