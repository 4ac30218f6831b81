"""Operations that give codes on as they are: of another scale behind them the kernels know nothing, and the gate tells it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed: its schema makes the files")

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from qgate.formats.read import read_model
from qgate.measure.flat_scales import measure_flat_scales
from tests.formats.tflite_files import OPS, OPTIONS, TYPES, Maker, schema

SHAPE = [1, 4, 4, 2]
SCALE = 0.1
Operands = Callable[[Maker], list[int]]


def places(*values: object) -> Operands:
    """Operands that are constant integers."""

    def add(maker: Maker) -> list[int]:
        return [
            maker.tensor(f"p{number}", np.shape(value), TYPES.INT32, np.asarray(value, np.int32))
            for number, value in enumerate(values)
        ]

    return add


def settings(name: str, **values: object):
    made = getattr(schema, f"{name}T")()
    for key, value in values.items():
        setattr(made, key, value)
    return made, getattr(OPTIONS, name)


POOL = settings("Pool2DOptions", padding=1, strideW=2, strideH=2, filterWidth=2, filterHeight=2)
ONE = {
    "RESHAPE": ([1, 32], places([1, 32]), settings("ReshapeOptions", newShape=np.int32([1, 32]))),
    "TRANSPOSE": ([1, 2, 4, 4], places([0, 3, 1, 2]), settings("TransposeOptions")),
    "MAX_POOL_2D": ([1, 2, 2, 2], places(), POOL),
    "AVERAGE_POOL_2D": ([1, 2, 2, 2], places(), POOL),
    "RESIZE_BILINEAR": ([1, 8, 8, 2], places([8, 8]), settings("ResizeBilinearOptions")),
    "PAD": ([1, 6, 6, 2], places([[0, 0], [1, 1], [1, 1], [0, 0]]), settings("PadOptions")),
    "SLICE": ([1, 2, 4, 2], places([0, 1, 0, 0], [1, 2, 4, 2]), settings("SliceOptions")),
    "GATHER": ([1, 2, 4, 2], places([1, 3]), settings("GatherOptions", axis=1)),
    "TILE": ([1, 8, 4, 2], places([1, 2, 1, 1]), settings("TileOptions")),
    "REVERSE_V2": (SHAPE, places([1]), settings("ReverseV2Options")),
    "REDUCE_MAX": ([1, 4, 2], places([1]), settings("ReducerOptions")),
    "CAST": (SHAPE, places(), settings("CastOptions", inDataType=TYPES.INT8, outDataType=TYPES.INT8)),
}  # fmt: skip
TWO = {
    "MAXIMUM": (SHAPE, settings("MaximumMinimumOptions")),
    "MINIMUM": (SHAPE, settings("MaximumMinimumOptions")),
    "CONCATENATION": ([1, 4, 4, 4], settings("ConcatenationOptions", axis=3)),
}


def one(
    op: str, made: float | None, zero: int = 0, *, kind: int = TYPES.INT8, into: int | None = None
) -> bytes:
    """An operation on one tensor of codes."""
    shape, operands, (options, number) = ONE[op]
    maker = Maker()
    x = maker.tensor("x", SHAPE, kind, scale=SCALE)
    y = maker.tensor("y", shape, kind if into is None else into, scale=made, zero=zero)
    maker.operator(getattr(OPS, op), [x, *operands(maker)], [y], options, number)
    maker.graph.inputs, maker.graph.outputs = np.int32([x]), np.int32([y])
    return maker.data()


def two(op: str, second: float, made: float, kind: int = TYPES.INT16) -> bytes:
    """An operation on two tensors of codes."""
    shape, (options, number) = TWO[op]
    maker = Maker()
    ends = [maker.tensor("x", SHAPE, kind, scale=SCALE), maker.tensor("x2", SHAPE, kind, scale=second)]
    y = maker.tensor("y", shape, kind, scale=made)
    maker.operator(getattr(OPS, op), ends, [y], options, number, version=2)
    maker.graph.inputs, maker.graph.outputs = np.int32(ends), np.int32([y])
    return maker.data()


def told(data: bytes, folder: Path) -> dict[str | None, str]:
    path = folder / "m.tflite"
    path.write_bytes(data)
    return {m.at.tensor: str(m.detail["message"]) for m in measure_flat_scales(read_model(path))}


def codes(data: bytes) -> np.ndarray | None:
    """What LiteRT's own kernels make of arbitrary codes; None where they do not take the model."""
    found = Interpreter(
        model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    random = np.random.default_rng(0)
    try:
        found.allocate_tensors()
        for each in found.get_input_details():
            found.set_tensor(each["index"], random.integers(1, 100, each["shape"]).astype(each["dtype"]))
        found.invoke()
    except RuntimeError:
        return None
    return found.get_tensor(found.get_output_details()[0]["index"])


@pytest.mark.parametrize("op", ONE)
def test_another_scale_behind_what_copies_codes_is_told(op: str, tmp_path: Path) -> None:
    plain, other = one(op, SCALE), one(op, 1.3 * SCALE)
    assert told(plain, tmp_path) == {}
    before, after = codes(plain), codes(other)
    assert before is not None and (after is None or np.array_equal(before, after)), (
        "the kernel reads the scale"
    )
    assert "copies its codes into 'y'" in told(other, tmp_path)["x"]
    assert "copies its codes into 'y'" in told(one(op, SCALE, zero=7), tmp_path)["x"]
    assert "copies its codes into 'y'" in told(one(op, float("nan")), tmp_path)["x"]


@pytest.mark.parametrize("op", TWO)
def test_operands_of_several_scales_are_told(op: str, tmp_path: Path) -> None:
    plain = two(op, SCALE, SCALE)
    assert told(plain, tmp_path) == {}
    for second, made, odd in ((0.13, SCALE, {"x2"}), (SCALE, 0.13, {"x", "x2"})):
        other = two(op, second, made)
        before, after = codes(plain), codes(other)
        assert before is not None and (after is None or np.array_equal(before, after)), (
            "the kernel reads the scale"
        )
        assert told(other, tmp_path).keys() == odd


def test_concatenation_of_unsigned_codes_brings_them_to_one_scale_itself(tmp_path: Path) -> None:
    plain, other = (two("CONCATENATION", second, SCALE, TYPES.UINT8) for second in (SCALE, 0.13))
    before, after = codes(plain), codes(other)
    assert before is not None and after is not None and not np.array_equal(before, after)
    assert told(other, tmp_path) == {}


def test_codes_that_another_type_is_given_are_told(tmp_path: Path) -> None:
    """The same scale and zero point, and 128 steps between what they mean."""
    other = one("TRANSPOSE", SCALE, into=TYPES.UINT8)
    assert "copies its int8 into 'y', and the file says that they are uint8" in told(other, tmp_path)["x"]


def test_codes_that_are_cast_to_floating_point_lose_their_scale(tmp_path: Path) -> None:
    other = one("CAST", None, into=TYPES.FLOAT32)
    found = codes(other)
    assert found is not None and found.dtype == np.float32 and found.max() > 90
    assert "copies its codes" in told(other, tmp_path)["x"]
