"""Which tensors of two LiteRT models are one activation, and which ranges are watched."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed: its schema makes the files")

from qgate.align.flat import same_tensors
from qgate.formats.read import read_model
from qgate.measure.describe_activations import activation_measurements
from qgate.measure.layers.by_place import plan_places
from qgate.measure.layers.layer import CODES, VALUES
from qgate.measure.request import Tap
from qgate.measure.result import TapState
from qgate.quant.flatview import flat_view
from tests.formats.tflite_files import OPS, OPTIONS, TYPES, network, schema, weights_only

MADE = Path(__file__).parent.parent / "formats" / "tflite"


def pair(folder: Path, candidate: bytes, reference: bytes | None = None):
    models = []
    for name, data in (("a", reference or network(quantized=False)), ("b", candidate)):
        path = folder / f"{name}.tflite"
        path.write_bytes(data)
        models.append(read_model(path))
    return models


def plan(reference, candidate):
    return plan_places(reference, candidate, flat_view(candidate).quantizers)


def test_activations_correspond_by_the_operation_that_makes_them(tmp_path: Path) -> None:
    layers, taps = plan(*pair(tmp_path, network(quantized=True)))
    told = [(each.reference, each.candidate, each.kind, each.moved) for each in layers]
    assert told == [
        ("x", "x_int8", CODES, False),
        ("c", "c", CODES, False),
        ("f", "f", CODES, True),
        ("y", "y_int8", CODES, False),
    ]
    assert [each.before for each in layers] == [(), (0,), (1,), (2,)]
    assert [each.channel for each in layers] == [None, 3, None, 1]
    assert (layers[0].low, layers[0].high) == pytest.approx((-128 * 0.03, 127 * 0.03))
    # What is reshaped has the scale of what it was: its range is that one's.
    assert [(tap.tensor, tap.name) for tap in taps] == [
        ("x", "x_int8.scale"), ("c", "c.scale"), ("y", "y_int8.scale"),
    ]  # fmt: skip


def test_names_say_nothing(tmp_path: Path) -> None:
    def renamed(maker) -> None:
        for each in maker.graph.tensors:
            each.name = {"c": "y", "y": "x", "x": "c"}.get(each.name, each.name)

    reference, candidate = pair(
        tmp_path, network(quantized=True, change=lambda _, v: v.update(after=renamed))
    )
    found = same_tensors(reference, candidate)
    assert {"c": "x", "y": "c", "x": "y"}.items() <= found.items()


def test_weights_alone_leave_floats_to_compare(tmp_path: Path) -> None:
    layers, taps = plan(*pair(tmp_path, weights_only("int8")))
    assert [(each.candidate, each.kind) for each in layers] == [("c", VALUES), ("y", VALUES)]
    assert taps == ()


def test_other_programs_share_nothing(tmp_path: Path) -> None:
    def more(maker) -> None:
        extra = maker.tensor("z", [1, 5], 0)
        maker.operator(OPS.ABS, [int(maker.graph.outputs[0])], [extra])
        maker.graph.outputs = np.array([extra], np.int32)

    reference, candidate = pair(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=more)))
    assert same_tensors(reference, candidate) == {}
    assert plan(reference, candidate) == ((), ())


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0.0, -0.1])
def test_a_scale_that_is_none_makes_no_layer(scale: float, tmp_path: Path) -> None:
    def bad(maker) -> None:
        held = next(each for each in maker.graph.tensors if each.name == "c")
        held.quantization.scale = np.array([scale], np.float32)

    candidate = network(quantized=True, change=lambda _, v: v.update(after=bad))
    layers, taps = plan(*pair(tmp_path, candidate))
    assert "c" not in {each.candidate for each in layers}
    assert "c" not in {tap.tensor for tap in taps}


def test_what_is_requantized_is_one_layer_and_two_ranges(tmp_path: Path) -> None:
    def after(maker) -> None:
        made = maker.tensor("again", [1, 4, 4, 4], TYPES.INT8, scale=0.2)
        conv = next(i for i, t in enumerate(maker.graph.tensors) if t.name == "c")
        for each in maker.graph.operators:
            each.inputs = np.array([made if n == conv else n for n in each.inputs], np.int32)
        maker.operator(OPS.QUANTIZE, [conv], [made], schema.QuantizeOptionsT(), OPTIONS.QuantizeOptions)
        order = maker.graph.operators
        order.insert(2, order.pop())

    candidate = network(quantized=True, change=lambda _, v: v.update(after=after))
    layers, taps = plan(*pair(tmp_path, candidate))
    told = {each.candidate: (each.reference, each.moved) for each in layers}
    assert told["c"] == ("c", False)
    assert told["again"] == ("c", True)
    assert [tap.name for tap in taps if tap.tensor == "c"] == ["c.scale", "again.scale"]


def test_a_real_models_layers_are_its_operations() -> None:
    reference, candidate = (read_model(MADE / f"cnn_{name}.tflite") for name in ("fp32", "aeq_int8"))
    layers, taps = plan(reference, candidate)
    assert [each.op for each in layers if not each.moved] == [
        "Input", "tfl.conv_2d", "tfl.depthwise_conv_2d", "tfl.conv_2d", "tfl.add", "tfl.conv_2d", "tfl.max_pool_2d",
        "tfl.mean", "tfl.fully_connected", "tfl.hard_swish", "tfl.fully_connected", "tfl.softmax",
    ]  # fmt: skip
    by_name = {each.candidate: each for each in layers}
    assert len(by_name) == len(layers)
    places = {each: place for place, each in enumerate(layers)}
    assert all(above < places[each] for each in layers for above in each.before)
    assert {tap.tensor for tap in taps} <= {each.reference for each in layers}


def test_zeros_use_no_range_that_could_be_too_wide() -> None:
    """The state that an LSTM begins with is zero throughout, and is quantized all the same."""
    state = SimpleNamespace(untapped="", taps=[TapState(
        elements=9, nonfinite=0, outside=0, energy=0.0, clipped_energy=0.0, minimum=0.0, maximum=0.0,
    )])  # fmt: skip
    told = {m.name: m for m in activation_measurements(state, [Tap("h", -1.0, 1.0, "h.scale")])}
    assert told["activation.used_range"].value is None
    assert "all zero" in (told["activation.used_range"].not_measured or "")
    assert told["activation.clipped_share"].value == 0
