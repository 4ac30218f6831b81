"""LiteRT models held against each other place by place: decoys, exchanged constants, options, added quantizers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed: its schema makes the files")

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.measure.tensors import inspect_tensors
from qgate.records import Measurement
from tests.formats.tflite_files import OPS, OPTIONS, TYPES, Maker, network, schema, weights_only


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch):
    """Lets a function change every model that is made from here on."""
    original = Maker.data

    def let(after: Callable[[Maker], None] | None) -> None:
        def data(maker: Maker) -> bytes:
            if after is not None:
                after(maker)
            return original(maker)

        monkeypatch.setattr(Maker, "data", data)

    return let


def found(folder: Path, candidate: bytes, reference: bytes | None = None) -> dict[str, list[Measurement]]:
    models = []
    for name, data in (("a", reference or network(quantized=False)), ("b", candidate)):
        path = folder / f"{name}.tflite"
        path.write_bytes(data)
        models.append(read_model(path))
    every: dict[str, list[Measurement]] = {}
    for each in inspect_tensors(*models).measurements:
        every.setdefault(each.name, []).append(each)
    return every


def told(folder: Path, candidate: bytes, reference: bytes | None = None) -> list[tuple[str, str]]:
    every = found(folder, candidate, reference).get("structure.difference", [])
    assert all(m.detail["rewritten"] is False for m in every)
    return [(str(m.value), str(m.detail["message"])) for m in every]


def verdicts(folder: Path, candidate: bytes, reference: bytes | None = None) -> dict[str | None, str]:
    return {m.at.tensor: str(m.value) for m in found(folder, candidate, reference)["weight.derivation"]}


def index(maker: Maker, name: str) -> int:
    return [tensor.name for tensor in maker.graph.tensors].index(name)


def tamper(maker: Maker, name: str) -> None:
    """Shifts one value of a float tensor, in a buffer of its own."""
    tensor = maker.graph.tensors[index(maker, name)]
    buffer = copy.deepcopy(maker.model.buffers[tensor.buffer])
    values = buffer.data.view(np.float32).copy()
    values[2] += 0.03
    buffer.data = values.view(np.uint8)
    maker.model.buffers.append(buffer)
    tensor.buffer = len(maker.model.buffers) - 1


def between(maker: Maker, source: str, kinds: list[tuple[int, float | None]]) -> None:
    """Puts quantizing operations behind a tensor, each into an element type with a scale."""
    at = index(maker, source)
    readers = [step for step in maker.graph.operators if at in list(step.inputs)]
    made, last = [], at
    for number, (kind, scale) in enumerate(kinds):
        new = maker.tensor(f"{source}_{number}", list(maker.graph.tensors[at].shape), kind, scale=scale)
        code = OPS.DEQUANTIZE if kind == TYPES.FLOAT32 else OPS.QUANTIZE
        maker.operator(code, [last], [new])
        made.append(maker.graph.operators.pop())
        last = new
    for step in readers:
        step.inputs = np.array([last if i == at else i for i in step.inputs], np.int32)
    place = next(i for i, step in enumerate(maker.graph.operators) if step is readers[0])
    maker.graph.operators[place:place] = made


@pytest.mark.parametrize("data", [network(quantized=True), weights_only("float16"), weights_only("int8")])
def test_honest_candidates_differ_in_nothing(data: bytes, tmp_path: Path) -> None:
    assert told(tmp_path, data) == []
    assert set(verdicts(tmp_path, data)) == {"conv/w", "conv/b", "fc/w", "fc/b", "shape"}
    assert set(verdicts(tmp_path, data).values()) == {"derived"}


@pytest.mark.parametrize("name", ["decoy", "conv/b"])
def test_a_constant_is_judged_where_it_is_read_and_not_by_its_name(change, name: str, tmp_path: Path) -> None:
    def decoy(maker: Maker) -> None:
        held = maker.graph.tensors[index(maker, "conv/b")]
        honest = copy.deepcopy(held)
        maker.graph.tensors.append(honest)
        at = len(maker.graph.tensors) - 1
        tamper(maker, "conv/b")
        held.name, honest.name = ("conv/bx" if name == "conv/b" else "conv/b"), name
        sink = maker.tensor("sink", list(held.shape), TYPES.INT16, scale=1e-4)
        maker.operator(OPS.QUANTIZE, [at], [sink])
        maker.graph.operators.insert(0, maker.graph.operators.pop())

    reference = network(quantized=False)
    change(decoy)
    data = weights_only("int8")
    change(None)
    read = "conv/bx" if name == "conv/b" else "conv/b"
    assert verdicts(tmp_path, data, reference)[read] in ("not-derived", "outsiders")
    said = told(tmp_path, data, reference)
    assert any(kind == "added" and "nothing reads" in message for kind, message in said), said
    assert any(kind == "unmatched" and name in message for kind, message in said), said


def two_additions(first: str, second: str) -> Callable[[Maker, dict], None]:
    """Adds two vectors of one shape to the output, one after the other."""

    def more(maker: Maker) -> None:
        last = int(maker.graph.outputs[0])
        maker.graph.tensors[last].name = "before"
        random = np.random.default_rng(3)
        held = {
            name: maker.tensor(name, [5], TYPES.FLOAT32, random.normal(size=5).astype(np.float32))
            for name in ("p", "q")
        }
        for name, target in ((first, "s"), (second, "y")):
            made = maker.tensor(target, [1, 5], TYPES.FLOAT32)
            maker.operator(OPS.ADD, [last, held[name]], [made], schema.AddOptionsT(), OPTIONS.AddOptions)
            last = made
        maker.graph.outputs = np.array([last], np.int32)

    return lambda _, values: values.update(after=more)


def test_constants_of_one_shape_that_were_exchanged_are_found(tmp_path: Path) -> None:
    reference = network(quantized=False, change=two_additions("p", "q"))
    honest = verdicts(tmp_path, network(quantized=True, change=two_additions("p", "q")), reference)
    other = verdicts(tmp_path, network(quantized=True, change=two_additions("q", "p")), reference)
    assert honest["p"] == honest["q"] == "derived"
    assert other["p"] in ("not-derived", "outsiders")
    assert other["q"] in ("not-derived", "outsiders")


@pytest.mark.parametrize(
    ("source", "kinds", "says"),
    [
        ("conv/w_f", [(TYPES.INT16, 0.3 / 32767), (TYPES.FLOAT32, None)], "more than 2"),
        ("c", [(TYPES.INT16, 1e-4), (TYPES.FLOAT32, None)], "in fewer values"),
        ("c", [(TYPES.INT16, 1e-4), (TYPES.INT8, 1e-2), (TYPES.FLOAT32, None)], "more than 2"),
        ("conv/w", [(TYPES.INT8, 1e-2)], "a constant"),
    ],
)
def test_quantizing_that_no_quantizer_needs_is_told(change, source, kinds, says: str, tmp_path: Path) -> None:
    reference = network(quantized=False)
    change(lambda maker: between(maker, source, kinds))
    data = weights_only("float16")
    change(None)
    said = told(tmp_path, data, reference)
    assert any(kind == "added" and says in message for kind, message in said), said


@pytest.mark.parametrize(
    ("scale", "narrow"), [(0.1, False), (0.16, False), (0.04, True), (float("nan"), True)]
)
def test_codes_made_into_others_may_not_lose_range(scale: float, narrow: bool, tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        between(maker, "c", [(TYPES.INT8, scale)])

    said = told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))
    assert [("narrows the range" in message) for _, message in said] == ([True] if narrow else [])


def faked(low: float, high: float) -> Callable[[Maker], None]:
    def after(maker: Maker) -> None:
        y = int(maker.graph.outputs[0])
        made = maker.tensor("clipped", [1, 5], TYPES.FLOAT32)
        options = schema.FakeQuantOptionsT()
        options.min, options.max, options.numBits = low, high, 16
        maker.operator(OPS.FAKE_QUANT, [y], [made], options, OPTIONS.FakeQuantOptions)
        maker.graph.outputs = np.array([made], np.int32)

    return after


def test_fake_quant_is_an_operation_with_a_range(tmp_path: Path) -> None:
    reference, other, candidate = (
        network(quantized=quantized, change=lambda _, v, most=most: v.update(after=faked(-20, most)))
        for quantized, most in ((False, 20.0), (False, 3.0), (True, 20.0))
    )
    assert any("1 more tfl.fake_quant" in message for _, message in told(tmp_path, candidate))
    assert told(tmp_path, candidate, reference) == []
    ((kind, message),) = told(tmp_path, candidate, other)
    assert kind == "attribute"
    assert "the option max 20.0 where the reference has 3.0" in message
    assert told(tmp_path, network(quantized=True), reference) == []


@pytest.mark.parametrize(
    ("number", "field", "value", "says"),
    [
        (1, "fusedActivationFunction", 1, "fused_activation_function 1"),
        (1, "strideW", 2, "stride_w 2"),
        (1, "padding", 1, "padding 1"),
        (1, "dilationHFactor", 2, "dilation_height 2"),
        (2, "newShape", np.array([2, 32], np.int32), "new_shape (2, 32)"),
        (3, "keepNumDims", True, "keep_num_dims 1"),
    ],
)
def test_options_of_operations_are_compared(
    number: int, field: str, value, says: str, tmp_path: Path
) -> None:
    def after(maker: Maker) -> None:
        setattr(maker.graph.operators[number].builtinOptions, field, value)

    ((kind, message),) = told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))
    assert kind == "attribute"
    assert says in message


def test_how_integers_are_computed_with_is_no_difference(tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        maker.graph.operators[3].builtinOptions.asymmetricQuantizeInputs = True

    assert told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after))) == []


def test_options_that_are_not_known_are_told_as_not_compared(tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        step = maker.graph.operators[1]
        step.builtinOptions2Type = schema.BuiltinOptions2.StablehloShiftLeftOptions
        step.builtinOptions2 = schema.StablehloShiftLeftOptionsT()

    ((kind, message),) = told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))
    assert kind == "uncompared"
    assert "were not compared" in message


def test_a_tensor_that_is_written_twice_is_told(tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        maker.operator(OPS.DEQUANTIZE, [index(maker, "c")], [index(maker, "y")])

    said = told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))
    assert any(kind == "wiring" and "'y'" in message for kind, message in said), said


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_an_input_or_output_that_is_left_out_is_refused(side: str, tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        setattr(maker.graph, side, np.array([*getattr(maker.graph, side), -1], np.int32))

    with pytest.raises(FormatError, match="no tensor") as caught:
        told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))
    assert caught.value.rule == "ART105"


def test_a_name_that_stands_for_a_scale_is_refused(tmp_path: Path) -> None:
    def after(maker: Maker) -> None:
        maker.tensor("c.scale", [1], TYPES.FLOAT32, np.ones(1, np.float32))

    with pytest.raises(FormatError, match="stands for another's scale"):
        told(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))


def test_a_constant_at_the_scale_of_what_it_is_copied_into_is_not_too_coarse(tmp_path: Path) -> None:
    """LiteRT gives MAXIMUM's operands one scale: 0.4 beside values up to ten has few codes."""

    def sharing(scale: float, *, quantized: bool):
        def after(maker: Maker) -> None:
            last = maker.graph.operators[-1] if quantized else None
            y = int(last.inputs[0]) if last is not None else int(maker.graph.outputs[0])
            kind, step = (TYPES.INT8, scale) if quantized else (TYPES.FLOAT32, None)
            values = np.array([0.4], np.float32)
            codes = np.rint(values / scale).astype(np.int8) if quantized else values
            floor = maker.tensor("floor", [1], kind, codes, step)
            made = maker.tensor("held", [1, 5], kind, scale=0.15 if quantized else None)
            options = schema.MaximumMinimumOptionsT()
            maker.operator(OPS.MAXIMUM, [y, floor], [made], options, OPTIONS.MaximumMinimumOptions)
            if last is None:
                maker.graph.outputs = np.array([made], np.int32)
            else:
                last.inputs = np.array([made], np.int32)
                maker.graph.operators[-2:] = maker.graph.operators[:-3:-1]

        return after

    reference = network(quantized=False, change=lambda _, v: v.update(after=sharing(1, quantized=False)))
    for scale, coarse in ((0.15, False), (0.14, True)):
        after = sharing(scale, quantized=True)
        every = found(
            tmp_path, network(quantized=True, change=lambda _, v, a=after: v.update(after=a)), reference
        )
        assert "structure.difference" not in every
        told_of = [m.detail["codes"] for m in every.get("weight.coarse_scale", [])]
        assert told_of == (["floor"] if coarse else [])
