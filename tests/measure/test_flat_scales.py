"""Scales, zero points and axes that LiteRT's kernels do not go by, and signatures that give other tensors their names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed: its schema makes the files")

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.measure.tensors import inspect_tensors
from qgate.records import Measurement
from tests.formats.tflite_files import OPS, OPTIONS, TYPES, Maker, network, schema, sign

MADE = Path(__file__).parents[1] / "formats/tflite"


def made(after: Callable[[Maker], None] | None, *, quantized: bool = True) -> bytes:
    change = None if after is None else lambda _, values: values.update(after=after)
    return network(quantized=quantized, change=change)


def found(folder: Path, candidate: bytes, reference: bytes | None = None) -> list[Measurement]:
    models = []
    for name, data in (
        ("a", made(None, quantized=False) if reference is None else reference),
        ("b", candidate),
    ):
        path = folder / f"{name}.tflite"
        path.write_bytes(data)
        models.append(read_model(path))
    return list(inspect_tensors(*models).measurements)


def ignored(measured: list[Measurement]) -> dict[str | None, str]:
    return {
        m.at.tensor: str(m.detail["message"])
        for m in measured
        if m.name == "structure.defect" and m.value == "ignored"
    }


def of(maker: Maker, name: str):
    return next(tensor for tensor in maker.graph.tensors if tensor.name == name)


def stored(maker: Maker, name: str, kind: type) -> np.ndarray:
    buffer = maker.model.buffers[of(maker, name).buffer]
    buffer.data = buffer.data.copy()
    return buffer.data.view(kind)


@pytest.mark.parametrize(
    "name", ["cnn_int8", "cnn_aeq_int8", "cnn_aeq_int16", "cnn_aeq_int4", "attention_int8"]
)
def test_what_converters_write_is_what_kernels_read(name: str) -> None:
    reference = MADE / f"{name.split('_')[0]}_fp32.tflite"
    models = [read_model(path) for path in (reference, MADE / f"{name}.tflite")]
    assert all(model.signatures["serving_default"].outputs == {"output_0": (0,)} for model in models)
    measured = list(inspect_tensors(*models).measurements)
    assert ignored(measured) == {}
    assert [m for m in measured if m.name == "interface.difference"] == []


def test_the_small_network_has_nothing_that_is_ignored(tmp_path: Path) -> None:
    assert ignored(found(tmp_path, made(None))) == {}


@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_a_zero_point_of_signed_weights_is_told(layer: str, tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        weight = of(maker, f"{layer}/w")
        weight.quantization.zeroPoint = np.int64([0] * len(weight.quantization.scale))
        weight.quantization.zeroPoint[2] = -2
        codes = stored(maker, f"{layer}/w", np.int8).reshape(len(weight.quantization.scale), -1)
        codes[2] = np.maximum(codes[2].astype(int) - 2, -128)  # the file's arithmetic gives the same weights

    assert "no zero point of int8 weights, and the file gives -2 (channel 2)" in ignored(
        found(tmp_path, made(after))
    )[f"{layer}/w"]  # fmt: skip


def test_a_square_weight_scaled_along_its_inputs_is_told(tmp_path: Path) -> None:
    def square(axis: int) -> bytes:
        maker = Maker()
        x = maker.tensor("x", [1, 2, 2, 3], TYPES.INT8, scale=0.1)
        codes = np.arange(-4, 5, dtype=np.int8).reshape(3, 1, 1, 3)
        w = maker.tensor("w", [3, 1, 1, 3], TYPES.INT8, codes, np.float32([0.1, 0.2, 0.3]), axis=axis)
        scale = np.float32(0.1) * np.float32([0.1, 0.2, 0.3])
        b = maker.tensor("b", [3], TYPES.INT32, np.zeros(3, np.int32), scale)
        y = maker.tensor("y", [1, 2, 2, 3], TYPES.INT8, scale=0.1)
        same = schema.Conv2DOptionsT()
        same.strideW, same.strideH, same.dilationWFactor, same.dilationHFactor = 1, 1, 1, 1
        maker.operator(OPS.CONV_2D, [x, w, b], [y], same, OPTIONS.Conv2DOptions, version=3)
        maker.graph.inputs, maker.graph.outputs = np.int32([x]), np.int32([y])
        return maker.data()

    def answer(data: bytes) -> np.ndarray:
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # XNNPACK rounds otherwise
        run = Interpreter(model_content=data, experimental_op_resolver_type=plain)
        run.allocate_tensors()
        run.set_tensor(run.get_input_details()[0]["index"], np.arange(12, dtype=np.int8).reshape(1, 2, 2, 3))
        run.invoke()
        return run.get_tensor(run.get_output_details()[0]["index"])

    assert np.array_equal(answer(square(0)), answer(square(3)))  # LiteRT never looks at the axis
    assert ignored(found(tmp_path, square(0), square(0))) == {}
    assert (
        "along axis 0, and the file gives them along axis 3"
        in ignored(found(tmp_path, square(3), square(0)))["w"]
    )


@pytest.mark.parametrize("times", [40, 200, 1.01])
@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_a_bias_in_another_unit_is_told(layer: str, times: float, tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        bias = of(maker, f"{layer}/b").quantization
        bias.scale = bias.scale.copy()
        bias.scale[3] /= np.float32(times)
        codes = stored(maker, f"{layer}/b", np.int32)
        codes[3] = np.rint(codes[3] * times)

    said = ignored(found(tmp_path, made(after)))
    assert set(said) == {f"{layer}/b"}
    assert f"{1 / times:.4g}"[:5] in said[f"{layer}/b"]
    assert "channel 3" in said[f"{layer}/b"]


def test_a_zero_point_of_a_bias_is_told(tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        of(maker, "fc/b").quantization.zeroPoint = np.full(5, 7, np.int64)
        stored(maker, "fc/b", np.int32)[:] += 7

    assert "no zero point of a bias" in ignored(found(tmp_path, made(after)))["fc/b"]


def test_integers_that_are_read_as_they_are_have_no_scale(tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        shape = of(maker, "shape")
        shape.quantization = schema.QuantizationParametersT()
        shape.quantization.scale, shape.quantization.zeroPoint = np.float32([0.5]), np.int64([0])
        stored(maker, "shape", np.int32)[:] *= 2

    assert "takes its codes as they are" in ignored(found(tmp_path, made(after)))["shape"]


def test_numbers_in_floating_point_are_taken_without_their_scale(tmp_path: Path) -> None:
    """LiteRT does: half of every weight with a scale of 2 is half of every weight."""

    def after(maker: Maker) -> None:
        weight = of(maker, "fc/w")
        weight.quantization = schema.QuantizationParametersT()
        weight.quantization.scale, weight.quantization.zeroPoint = np.float32([2]), np.int64([0])
        stored(maker, "fc/w", np.float32)[:] /= 2

    measured = found(tmp_path, made(after, quantized=False))
    verdicts = {m.at.tensor: str(m.value) for m in measured if m.name == "weight.derivation"}
    assert verdicts["fc/w"] == "not-derived"
    assert verdicts["conv/w"] != "not-derived"


def table(
    op: int, kind: int, *, scale: object = 0.1, zero: int = 0, axis: int = 0, made: float | None = None
) -> bytes:
    """A lookup in a table of codes."""
    maker = Maker()
    x = maker.tensor("x", [2], TYPES.INT32)
    codes = np.int8([[1, 2], [3, 4]])
    w = maker.tensor("w", [2, 2], TYPES.INT8, codes, scale, zero, axis)
    y = maker.tensor("y", [2, 2], kind, scale=made)
    order = [w, x] if op == OPS.GATHER else [x, w]
    maker.operator(op, order, [y])
    maker.graph.inputs, maker.graph.outputs = np.int32([x]), np.int32([y])
    return maker.data()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (table(OPS.EMBEDDING_LOOKUP, TYPES.FLOAT32, scale=[0.1, 0.2]), None),
        (table(OPS.EMBEDDING_LOOKUP, TYPES.FLOAT32, scale=[0.1, 0.2], axis=1), "along axis 0"),
        (table(OPS.EMBEDDING_LOOKUP, TYPES.FLOAT32, zero=1), "no zero point"),
        (table(OPS.GATHER, TYPES.INT8, made=0.1), None),
        (table(OPS.GATHER, TYPES.INT8, made=0.2), "copies its codes"),
        (table(OPS.GATHER, TYPES.INT8, zero=3, made=0.1), "copies its codes"),
        (table(OPS.GATHER, TYPES.INT8, scale=[0.1, 0.2], made=0.1), "copies its codes"),
    ],
)
def test_tables_are_read_by_their_own_kernels(data: bytes, says: str | None, tmp_path: Path) -> None:
    said = ignored(found(tmp_path, data, data))
    assert said == {} if says is None else says in said["w"]


def pair(
    *, quantized: bool, exchanged: bool = False, key: str = "serving_default", names: str = "ab"
) -> bytes:
    """The small network with a second output, the flattened convolution or what DEQUANTIZE makes of it."""

    def after(maker: Maker) -> None:
        numbers = {str(tensor.name): number for number, tensor in enumerate(maker.graph.tensors)}
        second = numbers["f"]
        if quantized:
            second = maker.tensor("g", [1, 64], TYPES.FLOAT32)
            maker.operator(
                OPS.DEQUANTIZE,
                [numbers["f"]],
                [second],
                schema.DequantizeOptionsT(),
                OPTIONS.DequantizeOptions,
            )
        maker.graph.outputs = np.int32([numbers["y"], second])
        ends = [second, numbers["y"]] if exchanged else [numbers["y"], second]
        sign(maker, outputs=dict(zip(names, ends, strict=True)), key=key)

    return made(after, quantized=quantized)


def interface(measured: list[Measurement]) -> list[tuple[str, str]]:
    return [(str(m.value), str(m.detail["message"])) for m in measured if m.name == "interface.difference"]


def test_a_signature_gives_the_names_that_the_reference_gives(tmp_path: Path) -> None:
    reference = pair(quantized=False)
    assert interface(found(tmp_path, pair(quantized=True), reference)) == []
    said = interface(found(tmp_path, pair(quantized=True, exchanged=True), reference))
    assert [kind for kind, _ in said] == ["signature", "signature"]
    assert "gives number 1 of the graph's outputs the name 'a'" in said[0][1]
    # An application that names no signature takes the only one, whatever it is called.
    said = interface(found(tmp_path, pair(quantized=True, exchanged=True, key="main"), reference))
    assert [kind for kind, _ in said] == ["signature-missing"] * 2 + ["signature"] * 2


def test_names_and_signatures_that_one_side_lacks_are_told(tmp_path: Path) -> None:
    reference = pair(quantized=False)
    said = interface(found(tmp_path, pair(quantized=True, names="ac"), reference))
    assert [kind for kind, _ in said] == ["signature-missing"] * 2
    for one, two in ((made(None), made(sign, quantized=False)), (made(sign), made(None, quantized=False))):
        ((kind, message),) = interface(found(tmp_path, one, two))
        assert kind == "signature-missing"
        assert "has the signature 'serving_default'" in message


def _twice(maker: Maker) -> None:
    sign(maker)
    sign(maker)


def _same_name(maker: Maker) -> None:
    sign(maker)
    held = maker.model.signatureDefs[0]
    held.outputs.append(copy.deepcopy(held.outputs[0]))


@pytest.mark.parametrize(
    ("after", "rule", "says"),
    [
        (lambda maker: sign(maker, outputs={"a": 3}), "ART103", "output 'a' is none of the graph's"),
        (lambda maker: sign(maker, outputs={"a": 2**32 - 1}), "ART103", "output 'a' is none of the graph's"),
        (lambda maker: sign(maker, outputs={}), "ART103", "leaves out 1 of the graph's outputs"),
        (lambda maker: sign(maker, graph=1), "ART105", "of a graph that there is not"),
        (_twice, "ART105", "two signatures 'serving_default'"),
        (_same_name, "ART105", "two outputs 'a'"),
    ],
)
def test_a_signature_that_is_not_the_graphs_is_refused(
    after: Callable[[Maker], None], rule: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(made(after))
    with pytest.raises(FormatError) as refused:
        read_model(path)
    assert refused.value.rule == rule
    assert says in str(refused.value)


def product(*, adjoint: bool, axis: int, zero: int = 0) -> bytes:
    """A product of numbers in floating point with a matrix of codes."""
    maker = Maker()
    x, y = (maker.tensor(name, [1, 2], TYPES.FLOAT32) for name in "xy")
    w = maker.tensor("w", [2, 2], TYPES.INT8, np.int8([[1, 2], [3, 4]]), [0.1, 0.2], zero, axis)
    options = schema.BatchMatMulOptionsT()
    options.adjY = adjoint
    maker.operator(OPS.BATCH_MATMUL, [x, w], [y], options, OPTIONS.BatchMatMulOptions)
    maker.graph.inputs, maker.graph.outputs = np.int32([x]), np.int32([y])
    return maker.data()


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_matrix_is_scaled_by_the_columns_of_its_product(adjoint: bool, tmp_path: Path) -> None:
    right = 0 if adjoint else 1
    data = product(adjoint=adjoint, axis=right)
    assert ignored(found(tmp_path, data, data)) == {}
    data = product(adjoint=adjoint, axis=1 - right)
    assert f"along axis {right}, and" in ignored(found(tmp_path, data, data))["w"]
    data = product(adjoint=adjoint, axis=right, zero=1)
    assert "no zero point" in ignored(found(tmp_path, data, data))["w"]


def test_codes_beside_floating_point_are_signed(tmp_path: Path) -> None:
    maker = Maker()
    x, y = (maker.tensor(name, [1, 2], TYPES.FLOAT32) for name in "xy")
    w = maker.tensor("w", [2, 2], TYPES.UINT8, np.uint8([[200, 1], [1, 1]]), 0.1)
    maker.operator(
        OPS.FULLY_CONNECTED, [x, w, -1], [y], schema.FullyConnectedOptionsT(), OPTIONS.FullyConnectedOptions
    )
    maker.graph.inputs, maker.graph.outputs = np.int32([x]), np.int32([y])
    assert "for signed ones" in ignored(found(tmp_path, maker.data(), maker.data()))["w"]


def test_the_bias_of_an_operation_whose_unit_is_unknown_is_told_as_not_compared(tmp_path: Path) -> None:
    maker = Maker()
    x, y = (maker.tensor(name, [1, 2], TYPES.INT8, scale=0.1) for name in "xy")
    w = maker.tensor("w", [2, 2], TYPES.INT8, np.int8([[1, 2], [3, 4]]), 0.1)
    b = maker.tensor("b", [2], TYPES.INT32, np.int32([3, 4]), 0.5)
    maker.operator(OPS.SVDF, [x, w, w, b, -1], [y])
    maker.graph.inputs, maker.graph.outputs = np.int32([x]), np.int32([y])
    measured = found(tmp_path, maker.data(), maker.data())
    told = [m for m in measured if m.name == "structure.difference" and m.at.tensor == "b"]
    assert [m.value for m in told] == ["uncompared"]


def test_several_graphs_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(made(lambda maker: maker.model.subgraphs.append(maker.graph)))
    with pytest.raises(FormatError, match="2 graphs") as refused:
        read_model(path)
    assert "Convert each signature to a file of its own" in refused.value.remedy
