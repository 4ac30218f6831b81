"""Other recipes of an export: what changes, what stays, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.export.graph import RecipeError
from qgate.export.recipe import symmetric, unrounded
from qgate.export.tensorrt import refused_by_tensorrt
from qgate.formats.read import read_model

RNG = np.random.default_rng(0)
WEIGHT = RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
STEPS = RNG.uniform(0.005, 0.02, 4).astype(np.float32)


def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), [output], name=f"{op}_{output}", **attributes)


def model(
    *,
    zero: int = 3,
    codes: Any = np.uint8,
    weight: Any = WEIGHT,
    weight_zero: Any = None,
    middle: Sequence[Any] = (),
    relu: bool = True,
    more: Sequence[Any] = (),
    outputs: Sequence[tuple[str, int]] = (("y", TensorProto.FLOAT),),
    **held: Any,
) -> bytes:
    """x, quantized; a convolution with codes as weight and bias; ReLU; quantized."""
    values = {
        "sx": np.float32(0.02), "zx": codes(zero), "sy": np.float32(0.4), "zy": codes(-128 if codes is np.int8 else 0),
        "w": weight, "sw": STEPS, "zw": np.zeros(4, weight.dtype) if weight_zero is None else weight_zero,
        "b": np.arange(-2, 2, dtype=np.int32) * 400, "sb": (STEPS * np.float32(0.02)).astype(np.float32),
        "zb": np.zeros(4, np.int32), **held,
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ("x", "sx", "zx"), "qx"), *middle,
        node("DequantizeLinear", ("cast" if middle else "qx", "sx", "zx"), "dx"),
        node("DequantizeLinear", ("w", "sw", "zw"), "dw", axis=0),
        node("DequantizeLinear", ("b", "sb", "zb"), "db", axis=0),
        node("Conv", ("dx", "dw", "db"), "conv", pads=[1, 1, 1, 1]),
        *([node("Relu", ("conv",), "relu")] if relu else []),
        node("QuantizeLinear", ("relu" if relu else "conv", "sy", "zy"), "qy"),
        node("DequantizeLinear", ("qy", "sy", "zy"), "y"), *more,
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(name, kind, [None] * 4) for name, kind in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = made.SerializeToString()
    return serialized


def run(serialized: bytes, x: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(serialized, options).run(None, {"x": x})[0]


def held(serialized: bytes) -> dict[str, Any]:
    return {
        t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(serialized).graph.initializer
    }


def ops(serialized: bytes) -> list[str]:
    return [each.op_type for each in onnx.load_model_from_string(serialized).graph.node]


def lint(serialized: bytes, tmp_path: Any) -> tuple[str, ...]:
    (tmp_path / "m.onnx").write_bytes(serialized)
    return refused_by_tensorrt(read_model(tmp_path / "m.onnx"))


# Within what the first quantizer holds: (0 - 3) * 0.02 is its least number.
X = RNG.uniform(-0.06, 5.0, (8, 3, 8, 8)).astype(np.float32)


def test_the_ends_of_a_range_are_held_and_the_lint_is_silent(tmp_path: Any) -> None:
    before = model(zero=3)
    after = symmetric(before)
    onnx.checker.check_model(onnx.load_model_from_string(after), full_check=True)
    assert lint(before, tmp_path) and lint(after, tmp_path) == ()
    values = held(after)
    assert values["qx_scale"] == pytest.approx((255 - 3) * 0.02 / 127)
    assert values["qy_scale"] == pytest.approx(255 * 0.4 / 127)
    assert (
        values["qx_scale"].shape == ()
        and values["qx_zero_point"].dtype == np.int8
        and not values["qx_zero_point"].any()
    )
    assert ops(after).count("Relu") == 1, "the ReLU is there already"
    exact, theirs = run(unrounded(before), X), run(after, X)
    assert 10 * np.log10((exact**2).sum() / ((exact - theirs) ** 2).sum()) > 25


def test_codes_of_symmetric_weights_stay_bit_for_bit_and_biases_become_the_numbers_they_stood_for() -> None:
    values = held(symmetric(model()))
    assert np.array_equal(values["dw_codes"], WEIGHT) and np.array_equal(values["dw_scale"], STEPS)
    assert np.allclose(values["db_values"], np.arange(-2, 2) * 400 * STEPS * 0.02, rtol=1e-6)


def test_weights_with_zero_points_are_quantized_anew_by_output_channel() -> None:
    codes = RNG.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
    zero = np.array([128, 100, 3, 250], np.uint8)
    values = held(symmetric(model(weight=codes, weight_zero=zero)))
    exact = (codes.astype(np.float32) - zero.reshape(-1, 1, 1, 1)) * STEPS.reshape(-1, 1, 1, 1)
    got = values["dw_codes"] * values["dw_scale"].reshape(-1, 1, 1, 1)
    assert values["dw_codes"].dtype == np.int8 and values["dw_scale"].shape == (4,)
    assert (np.abs(exact - got) <= values["dw_scale"].reshape(-1, 1, 1, 1) * 0.5001).all()
    assert (np.abs(values["dw_codes"]).reshape(4, -1).max(axis=1) == 127).all()


def test_a_weight_that_is_zero_throughout_has_a_scale_that_is_none() -> None:
    codes = np.full((4, 3, 3, 3), 7, np.uint8)
    values = held(symmetric(model(weight=codes, weight_zero=np.full(4, 7, np.uint8))))
    assert not values["dw_codes"].any() and (values["dw_scale"] > 0).all()


def test_a_range_that_cut_off_negative_numbers_still_does() -> None:
    """The quantizer was the only ReLU; int8 with zero point 0 would let the negative half through."""
    before = model(relu=False)
    after = symmetric(before)
    assert "Relu" in ops(after)
    assert (run(before, X) >= 0).all() and (run(after, X) >= 0).all()
    difference = run(before, X) - run(after, X)
    assert 10 * np.log10((run(before, X) ** 2).sum() / (difference**2).sum()) > 20


def test_pooling_and_reshaping_of_what_is_never_negative_need_no_relu() -> None:
    more = [
        node("MaxPool", ("y",), "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", ("pool", "sy", "zy"), "qp"),
        node("DequantizeLinear", ("qp", "sy", "zy"), "p"),
    ]
    after = symmetric(model(more=more, outputs=(("p", TensorProto.FLOAT),)))
    assert ops(after).count("Relu") == 1
    values = held(after)
    assert values["qp_scale"] == values["qy_scale"], "what only moves numbers keeps their scale"


@pytest.mark.parametrize(("mode", "relus"), [("linear", 1), ("cubic", 2)])
def test_a_cubic_resize_of_what_is_never_negative_may_be(mode: str, relus: int) -> None:
    more = [
        node("Resize", ("y", "", "twice"), "wide", mode=mode),
        node("QuantizeLinear", ("wide", "sy", "zy"), "qp"),
        node("DequantizeLinear", ("qp", "sy", "zy"), "p"),
    ]
    twice = np.array([1, 1, 2, 2], np.float32)
    before = model(more=more, outputs=(("p", TensorProto.FLOAT),), twice=twice)
    after = symmetric(before)
    assert ops(after).count("Relu") == relus
    assert (run(before, X) >= 0).all() and (run(after, X) >= 0).all()


def test_casts_between_codes_go_away() -> None:
    after = symmetric(model(middle=[node("Cast", ("qx",), "cast", to=TensorProto.UINT8)]))
    assert "Cast" not in ops(after)


def test_narrower_ranges_are_taken_and_wider_ones_are_not() -> None:
    values = held(symmetric(model(), {"qx": (-1.0, 0.5), "qy": (0.0, 1e9)}))
    # Below its range nothing was represented: (0 - 3) * 0.02.
    assert values["qx_scale"] == pytest.approx(0.5 / 127)
    assert values["qy_scale"] == pytest.approx(255 * 0.4 / 127)


def test_symmetric_int8_stays_what_it_is() -> None:
    before = model(zero=0, codes=np.int8, zy=np.int8(0))
    values = held(symmetric(before))
    assert values["qx_scale"] == np.float32(0.02) and values["qy_scale"] == np.float32(0.4)


def test_a_matrix_behind_a_transposition_is_quantized_along_its_outputs(tmp_path: Any) -> None:
    codes = RNG.integers(0, 256, (5, 6)).astype(np.uint8)
    nodes = [
        node("QuantizeLinear", ("x", "s", "z"), "q"), node("DequantizeLinear", ("q", "s", "z"), "d"),
        node("DequantizeLinear", ("w", "sw", "zw"), "dw"), node("Transpose", ("dw",), "t", perm=[1, 0]),
        node("MatMul", ("d", "t"), "y"),
    ]  # fmt: skip
    constants = {
        "s": np.float32(0.02),
        "z": np.uint8(9),
        "w": codes,
        "sw": np.float32(0.01),
        "zw": np.uint8(128),
    }
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    after = symmetric(made.SerializeToString())
    assert held(after)["dw_scale"].shape == (5,), "one for each row, which is an output"
    assert lint(after, tmp_path) == ()


def without_rounding(x: Any) -> Any:
    import torch

    weight = torch.tensor(WEIGHT * STEPS.reshape(-1, 1, 1, 1))
    bias = torch.tensor(np.arange(-2, 2) * 400 * STEPS * np.float32(0.02), dtype=torch.float32)
    return torch.nn.functional.conv2d(torch.tensor(x), weight, bias, padding=1).relu().numpy()


def test_unrounded_is_the_same_model_in_float() -> None:
    pytest.importorskip("torch", reason="of the extra `torch`")
    after = unrounded(model())
    assert "QuantizeLinear" not in ops(after)
    assert np.allclose(run(after, X), without_rounding(X), atol=1e-4)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (b"\x08\xff not a model", "not read"),
        (model(more=[node("MaxPool", ("qy",), "c", kernel_shape=[2, 2])], outputs=(("c", 2),)), "reads the codes"),
        (model(outputs=(("y", TensorProto.FLOAT), ("qy", TensorProto.UINT8))), "is codes"),
        (model(more=[node("DequantizeLinear", ("qy", "sx", "zx"), "other")], outputs=(("other", 1),)), "another scale"),
        (model(sx=np.float32(0)), "no positive number"),
        (model(sx=np.float32("nan")), "no positive number"),
        (model(sw=np.array([1, 1, 1, np.inf], np.float32)), "no positive number"),
        (model(codes=np.uint16), "codes of uint16"),
        (model(sx=np.full(3, 0.02, np.float32), zx=np.zeros(3, np.uint8)), "a scale for each channel"),
        (model(more=[node("DynamicQuantizeLinear", ("y",), "dyn")]), "computes on codes"),
        (
            model(more=[node("ReduceMax", ("x",), "sd", keepdims=0), node("QuantizeLinear", ("y", "sd", "zx"), "d"),
                        node("DequantizeLinear", ("d", "sd", "zx"), "e")], outputs=(("e", 1),)),
            "computed while the model runs",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_written_so_is_refused_with_its_place(made: bytes, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        symmetric(made)
    assert says in caught.value.what
