"""Codes that are made while a model runs are read with their own scale and zero point, whichever operator reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qgate.errors import FormatError
from tests.quant.twin import model, view_of

RNG = np.random.default_rng(2)
HEAD = "g (float[4,8] x) => (float y)"
MADE = "q, own_scale, own_zero = DynamicQuantizeLinear (x)"
HELD = {
    "w": RNG.integers(-9, 9, (8, 8)).astype(np.int8), "ws": np.float32(0.1), "wz": np.int8(0),
    "fixed_zero": np.uint8(128), "fixed_scale": np.float32(0.05), "shape": np.array([4, 8]),
    "ys": np.float32(0.1), "yz": np.uint8(128), "w8": RNG.integers(-9, 9, (3, 1, 3, 3)).astype(np.int8),
    "image": np.array([1, 1, 4, 8]),
}  # fmt: skip
MOVED = {
    "straight": ("", "q"),
    "reshaped": ("m = Reshape (q, shape)", "m"),
    "named twice": ("m = Identity (q)", "m"),
}
# Each reads codes C with scale S and zero point Z.
READERS = {
    "MatMulInteger": "p = MatMulInteger (C, w, Z, wz) f = Cast <to = 1> (p) s = Mul (own_scale, ws) y = Mul (f, s)",
    "ConvInteger": (
        "i = Reshape (C, image) p = ConvInteger (i, w8, Z) f = Cast <to = 1> (p) s = Mul (own_scale, ws) y = Mul (f, s)"
    ),
    "MatMulIntegerToFloat": "y = com.microsoft.MatMulIntegerToFloat (C, w, S, ws, Z, wz)",
    "QLinearMatMul": "p = QLinearMatMul (C, S, Z, w, ws, wz, ys, yz) y = DequantizeLinear (p, ys, yz)",
    "QLinearAdd": "p = com.microsoft.QLinearAdd (C, S, Z, C, S, Z, ys, yz) y = DequantizeLinear (p, ys, yz)",
    "DequantizeLinear": "y = DequantizeLinear (C, S, Z)",
}

# Moved codes that are dequantized are no form that the view looks through.
WAYS = [
    (reader, moved)
    for reader in READERS
    for moved in MOVED
    if reader != "DequantizeLinear" or moved == "straight"
]


def wrong(folder: Path, reader: str, moved: str, scale: str, zero: str) -> list[str]:
    between, codes = MOVED[moved]
    body = READERS[reader].replace("(C", f"({codes}").replace(" C,", f" {codes},")
    for letter, name in (("S", scale), ("Z", zero)):
        for before, after in ((", ", ","), (", ", ")")):
            body = body.replace(f"{before}{letter}{after}", f"{before}{name}{after}")
    view = view_of(model(f"{HEAD} {{{MADE} {between} {body}}}", opset=20, ir=9, **HELD), folder)
    return [d.message for d in view.defects if d.kind == "requantized"]


@pytest.mark.parametrize(("reader", "moved"), WAYS)
def test_their_own_are_right(reader: str, moved: str, tmp_path: Path) -> None:
    assert wrong(tmp_path, reader, moved, "own_scale", "own_zero") == []


@pytest.mark.parametrize(("reader", "moved"), WAYS)
@pytest.mark.parametrize("zero", ["fixed_zero", ""])
def test_another_zero_point_is_told(reader: str, moved: str, zero: str, tmp_path: Path) -> None:
    try:
        found = wrong(tmp_path, reader, moved, "own_scale", zero)
    except FormatError as error:  # the operator takes no empty operand there
        assert not zero
        assert "not those that the operator takes" in str(error)
        return
    assert any("another zero point than their own" in message for message in found), found


@pytest.mark.parametrize(
    ("reader", "moved"), [way for way in WAYS if way[0] not in ("MatMulInteger", "ConvInteger")]
)
def test_another_scale_is_told(reader: str, moved: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, reader, moved, "fixed_scale", "own_zero")
    assert any("another scale than their own" in message for message in found), found


def test_codes_of_a_static_quantizer_are_held_to_it_by_the_fused_product_as_well(tmp_path: Path) -> None:
    body = "q = QuantizeLinear (x, fixed_scale, fixed_zero) y = com.microsoft.MatMulIntegerToFloat (q, w, {}, ws, {}, wz)"
    right, other = (
        view_of(model(f"{HEAD} {{{body.format(*names)}}}", opset=20, ir=9, **HELD), tmp_path).defects
        for names in (("fixed_scale", "fixed_zero"), ("ws", "yz"))
    )
    assert right == []
    assert "another scale" in other[0].message


@pytest.mark.parametrize("read", ["DequantizeLinear (q, ws, z)", "DequantizeLinear (q, z, ws)"])
def test_a_scale_in_the_place_of_the_zero_point_is_named(read: str, tmp_path: Path) -> None:
    """ONNX Runtime refuses such a file in words about types; which two were exchanged is seen without it."""
    held = {**HELD, "q": HELD["w"], "z": np.int8(0)}
    view = view_of(model(f"{HEAD} {{ d = {read} y = MatMul (x, d) }}", **held), tmp_path, "one")
    told = [d for d in view.defects if "are exchanged" in d.message]
    assert len(told) == (1 if read.endswith("(q, z, ws)") else 0)
    for defect in told:
        assert (defect.kind, defect.tensor) == ("graph", "z")
        assert "the scale 'z' is int8 and the zero point 'ws' is float" in defect.message
