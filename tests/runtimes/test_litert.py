"""LiteRT behind the protocol of all runtimes: inner tensors, ends that are codes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed")

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from qgate.formats.read import read_model
from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.litert import LiteRtRunner
from qgate.runtimes.litert_ends import Ends

MADE = Path(__file__).parent.parent / "formats" / "tflite"


def pictures(count: int) -> np.ndarray:
    with np.load(MADE / "cnn_data.npz") as held:
        return held["x"][:count].astype(np.float32)


def inner(path: Path) -> list[str]:
    """What operations make, but for weights that are only unpacked."""
    graph = read_model(path).graph
    made = [(name, node) for node in graph.nodes for name in node.outputs]
    return [name for name, node in made if not graph.constants.keys() & set(node.inputs[:1])]


@pytest.mark.parametrize("count", [1, 3])
def test_inner_tensors_are_what_the_operators_define(count: int) -> None:
    """Against an interpreter of its own without XNNPACK: a few codes apart, as rounding adds up."""
    path = MADE / "cnn_int8.tflite"
    names = inner(path)
    assert len(names) == 12
    runner = LiteRtRunner(path, taps=names, numbers=True)
    (x,) = runner.inputs
    results = runner.run({x.name: pictures(count)})
    plain = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    (detail,) = plain.get_input_details()
    scale, zero = detail["quantization"]
    plain.resize_tensor_input(detail["index"], [count, *detail["shape"][1:]])
    plain.allocate_tensors()
    codes = np.clip(np.rint(pictures(count).astype(np.float64) / scale) + zero, -128, 127).astype(np.int8)
    plain.set_tensor(detail["index"], codes)
    plain.invoke()
    places = {each["name"]: each["index"] for each in plain.get_tensor_details()}
    for name, found in zip(names, results[1:], strict=True):
        expected = plain.get_tensor(places[name])
        assert found.dtype == expected.dtype == np.int8
        assert np.abs(found.astype(int) - expected).max() <= 4, name
    assert len({found.tobytes() for found in results[1:]}) == len(names)


def test_keeping_tensors_leaves_the_answer_as_it_is() -> None:
    for name in ("cnn_fp32", "cnn_int8", "cnn_aeq_int16", "cnn_aeq_int4"):
        path = MADE / f"{name}.tflite"
        runners = [LiteRtRunner(path, numbers=True), LiteRtRunner(path, numbers=True, taps=inner(path)[-3:])]
        answers = [each.run({each.inputs[0].name: pictures(5)})[0] for each in runners]
        assert answers[0].tobytes() == answers[1].tobytes()
        assert runners[0].kept == 0
        assert runners[1].kept > 0


def test_sizes_that_are_computed_are_handed_out_as_well() -> None:
    path = MADE / "attention_int8.tflite"
    runner = LiteRtRunner(path, taps=inner(path))
    with np.load(MADE / "attention_data.npz") as held:
        results = runner.run({runner.inputs[0].name: held["x"][:2].astype(np.float32)})
    assert len(results) == 1 + len(inner(path))
    assert all(np.asarray(each).size for each in results)


def test_codes_at_the_ends_stand_for_numbers() -> None:
    path = MADE / "cnn_int8.tflite"
    coded, plain = LiteRtRunner(path, numbers=True), LiteRtRunner(path)
    assert [(coded.inputs[0].dtype, coded.outputs[0].dtype)] == [("float32", "float32")]
    assert [(plain.inputs[0].dtype, plain.outputs[0].dtype)] == [("int8", "int8")]
    graph = read_model(path).graph
    scale = {
        n: float(graph.constants[f"{n}.scale"].load()) for n in (coded.inputs[0].name, coded.outputs[0].name)
    }
    zero = {n: int(graph.constants[f"{n}.zero_point"].load()) for n in scale}
    x, y = coded.inputs[0].name, coded.outputs[0].name
    codes = np.clip(np.rint(pictures(2) / scale[x]) + zero[x], -128, 127).astype(np.int8)
    (numbers,) = coded.run({x: pictures(2)})
    (answer,) = plain.run({x: codes})
    assert np.allclose(numbers, (answer.astype(np.float64) - zero[y]) * scale[y], atol=1e-7)


def test_values_beyond_the_codes_stop_at_their_ends() -> None:
    ends = Ends([detail("int8", [0.5], [10])], numbers=True)
    (codes,) = ends.stored([np.array([0.0, 1e30, -np.inf, np.nan, 0.25], np.float32)])
    assert codes.dtype == np.int8
    assert codes.tolist() == [10, 127, -128, 10, 10]
    assert ends.shown([codes])[0].tolist() == [0.0, 58.5, -69.0, 0.0, 0.0]


def detail(dtype: str, scales: list[float], zeros: list[int]) -> dict[str, object]:
    return {
        "index": 0, "dtype": np.dtype(dtype), "shape": np.array([1]), "shape_signature": np.array([-1]),
        "quantization_parameters": {"scales": np.array(scales, np.float32), "zero_points": np.array(zeros)},
    }  # fmt: skip


@pytest.mark.parametrize("scales", [[], [0.0], [float("nan")], [-1.0], [0.1, 0.2]])
def test_codes_without_one_sound_scale_stay_codes(scales: list[float]) -> None:
    ends = Ends([detail("int8", scales, [0] * len(scales))], numbers=True)
    assert ends.dtypes == ["int8"]


def test_a_tensor_that_is_not_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that fuses an operation away hands out what lay there before."""
    path = MADE / "cnn_int8.tflite"
    names = inner(path)[:3]
    runner = LiteRtRunner(path, taps=names, numbers=True)
    held = runner._interpreter
    place = runner._tapped[1]
    left: dict[int, np.ndarray] = {}

    class Fusing:
        """The interpreter, but that one tensor keeps what was put into it."""

        def __getattr__(self, name: str):
            return getattr(held, name)

        def set_tensor(self, number: int, values: np.ndarray) -> None:
            left[number] = values
            held.set_tensor(number, values)

        def get_tensor(self, number: int) -> np.ndarray:
            return left[number] if number == place and number in left else held.get_tensor(number)

    monkeypatch.setattr(runner, "_interpreter", Fusing())
    with pytest.raises(ModelRefusedError, match="does not write the tensor") as told:
        runner.run({runner.inputs[0].name: pictures(1)})
    assert names[1][:20] in told.value.what


def test_a_weight_that_the_delegate_unpacks_by_itself_is_refused() -> None:
    path = MADE / "cnn_aeq_int4.tflite"
    unpacked = next(node.outputs[0] for node in read_model(path).graph.nodes if node.op == "tfl.dequantize")
    runner = LiteRtRunner(path, taps=[unpacked])
    with pytest.raises(ModelRefusedError, match="does not write the tensor"):
        runner.run({runner.inputs[0].name: pictures(1)})


def test_a_tensor_that_there_is_not_is_refused() -> None:
    with pytest.raises(ModelRefusedError, match="has no tensor 'nowhere'"):
        LiteRtRunner(MADE / "cnn_int8.tflite", taps=["nowhere"])
