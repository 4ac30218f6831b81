"""What is folded is what runtimes compute; where they differ, or no specification says what comes out, nothing is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.helper import np_dtype_to_tensor_dtype

from qgate.formats.read import read_model
from qgate.quant.build import float_view
from tests.quant.twin import run, save

FLOATS = [
    0.0,
    -0.0,
    1,
    -1,
    0.5,
    1.5,
    2.5,
    -2.5,
    1e-40,
    3e38,
    np.inf,
    -np.inf,
    np.nan,
    2.0**31,
    -(2.0**63),
    300,
    -1.7,
    255.6,
]
WHOLE = {
    np.int8: [0, 1, -1, 127, -128, 7], np.uint8: [0, 1, 255, 7], np.int32: [0, 1, -1, 2**31 - 1, -(2**31), 7],
    np.int64: [0, 1, -1, 2**63 - 1, -(2**63), 7, 2**31], np.bool_: [0, 1],
}  # fmt: skip
TYPES = (np.float32, np.float64, np.float16, *WHOLE)


def edges(dtype: type, seed: int, size: int = 48) -> np.ndarray:
    values = (
        np.array(WHOLE[dtype], np.int8 if dtype is np.bool_ else dtype)
        if dtype in WHOLE
        else np.array(FLOATS)
    )
    with np.errstate(all="ignore"):
        return np.random.default_rng(seed).choice(values, size).astype(dtype)


def folded(
    folder: Path, op: str, operands: list[np.ndarray], made: int, **attributes: object
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What the view holds in the place of a node of constants, None where it keeps the node; and what a runtime computes."""
    names = [f"i{n}" for n in range(len(operands))]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], "n", **attributes)], "g", [], [helper.make_tensor_value_info("y", made, None)],
        [numpy_helper.from_array(value, name) for name, value in zip(names, operands, strict=True)],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    view = float_view(read_model(save(proto, folder)))
    held = view.constants.get(view.outputs[0][1])
    if held is None:
        return None, None
    try:
        (wanted,) = run(proto, {})
    except Exception:
        return None, None
    return np.asarray(held.values() if held.is_quantized else held.codes()), wanted


def same(mine: np.ndarray, wanted: np.ndarray) -> None:
    assert mine.shape == wanted.shape
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(mine.astype(np.float64), wanted.astype(np.float64), rtol=3e-3)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Equal"])
def test_arithmetic_of_two(op: str, tmp_path: Path) -> None:
    compared = 0
    for dtype in TYPES:
        made = onnx.TensorProto.BOOL if op == "Equal" else np_dtype_to_tensor_dtype(np.dtype(dtype))
        for seed in range(3):
            small = (
                [np.array([v], dtype) for v in (3, 2)]
                if seed == 2
                else [edges(dtype, seed), edges(dtype, seed + 7)]
            )
            if op == "Pow" and seed < 2:
                continue  # of halves and of great numbers to the last digit: runtimes differ, and so does nobody's weight
            mine, wanted = folded(tmp_path, op, small, made)
            if mine is not None and wanted is not None:
                same(mine, wanted)
                compared += 1
    assert compared >= 3


@pytest.mark.parametrize("dtype", TYPES)
def test_casts(dtype: type, tmp_path: Path) -> None:
    for other in TYPES:
        to = np_dtype_to_tensor_dtype(np.dtype(other))
        for values in (edges(dtype, 1), np.array([1, 0, 3], dtype)):
            mine, wanted = folded(tmp_path, "Cast", [values], to, to=to)
            if mine is not None and wanted is not None:
                same(mine, wanted)


def test_slices(tmp_path: Path) -> None:
    rng, data, compared = np.random.default_rng(0), np.arange(24, dtype=np.float32).reshape(4, 6), 0
    for _ in range(80):
        many = int(rng.integers(1, 3))
        cuts = [rng.integers(-9, 9, many), rng.integers(-9, 9, many), rng.choice([0, 1], many, replace=False),
                rng.choice([1, 2, -1, -2, 3, -7], many)]  # fmt: skip
        mine, wanted = folded(tmp_path, "Slice", [data, *(c.astype(np.int64) for c in cuts)], 1)
        if mine is not None and wanted is not None:
            same(mine, wanted)
            compared += 1
    assert compared > 40


@pytest.mark.parametrize(
    ("op", "operands", "attributes"),
    [
        ("Cast", [np.array([np.nan, 1], np.float32)], {"to": 6}), ("Cast", [np.array([2.0**31], np.float32)], {"to": 6}),
        ("Cast", [np.array([-np.inf], np.float64)], {"to": 7}), ("Mul", [np.array([2**40], np.int64)] * 2, {}),
        ("Div", [np.array([1], np.int32), np.array([0], np.int32)], {}),
        ("Pow", [np.array([7], np.int32), np.array([0.5], np.float32)], {}),
        ("Max", [np.array([np.nan], np.float32), np.array([1], np.float32)], {}),
        ("Slice", [np.arange(6, dtype=np.float32), *(np.array([n]) for n in (-8, -9, 0, -1))], {}),
    ],
)  # fmt: skip
def test_what_no_specification_settles_is_not_folded(
    op: str, operands: list[np.ndarray], attributes: dict[str, int], tmp_path: Path
) -> None:
    made = attributes.get("to") or np_dtype_to_tensor_dtype(operands[0].dtype)
    assert folded(tmp_path, op, operands, made, **attributes) == (None, None)
