"""Layers side by side: the figures are right, and looking at them changes nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from qgate.align.walk import align
from qgate.formats.read import read_model
from qgate.measure.layers.channels import channel_state
from qgate.measure.layers.figures import COLUMNS, Figures, LayersError, Reader, empty_figures
from qgate.measure.layers.join import join, mark_for
from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.ledger import BY_CHANNEL, SKETCH
from qgate.measure.layers.parts import UnjoinableError
from qgate.measure.layers.plan import plan_layers
from qgate.measure.layers.session import JoinedModel, LayerSession
from qgate.measure.layers.statistics import KEPT, LayerRecord
from qgate.measure.layers.tapped import TappedModel, compare
from qgate.quant.build import float_view
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits"
PAIRS = {
    "qdq": (DIGITS / "digits_fp32.onnx", DIGITS / "digits_int8_pc.onnx"),
    "qoperator": (DIGITS / "digits_fp32.onnx", DIGITS / "digits_int8_qop.onnx"),
    "dynamic": (DIGITS / "digits_fp32.onnx", DIGITS / "digits_dyn.onnx"),
    "external": (EXAMPLES / "faults/reference.onnx", EXAMPLES / "faults/c_external_ok/model.onnx"),
    "renamed": (EXAMPLES / "faults/reference.onnx", EXAMPLES / "faults/c_renamed_tensors/model.onnx"),
    "by channel": (EXAMPLES / "ppocr_cls/ref.onnx", EXAMPLES / "ppocr_cls/nncf_int8.onnx"),
}
PLANTED = {
    "zeroed": (EXAMPLES / "faults/reference.onnx", EXAMPLES / "faults/w08_channel_zeroed/model.onnx"),
}
IMAGES = np.load(DIGITS / "digits_test.npz")["image"][:48]
PLATES = (np.load(EXAMPLES / "ppocr_cls/eval24_uint8.npz")["image_u8"][:4] / np.float32(127.5) - 1).astype(
    np.float32
)


class Bench:
    """A pair as the gate stages it, with its layers planned."""

    def __init__(self, name: str, folder: Path) -> None:
        self.paths = {}
        for role, path in zip(("reference", "candidate"), (PAIRS | PLANTED)[name], strict=True):
            (folder / role).mkdir()
            for file in [path, *(path.parent / side for side in read_model(path).side_files)]:
                shutil.copy(file, folder / role / file.name)
            self.paths[role] = folder / role / path.name
        views = {role: float_view(read_model(path)) for role, path in self.paths.items()}
        self.alignment = align(views["reference"], views["candidate"], {}, {})
        self.layers = plan_layers(self.alignment, views["reference"], views["candidate"])
        self.inputs = PLATES if name == "by channel" else IMAGES
        self.target = folder / "joined.onnx"

    def plain(self, role: str) -> OnnxRuntimeRunner:
        return OnnxRuntimeRunner(self.paths[role])

    def feeds(self) -> dict[str, dict[str, np.ndarray]]:
        return {role: {info.name: self.inputs for info in self.plain(role).inputs} for role in self.paths}

    def joined(self) -> JoinedModel:
        join(self.paths["reference"], self.paths["candidate"], self.layers, self.target, "mark")
        counts = len(self.plain("reference").outputs), len(self.plain("candidate").outputs)
        return JoinedModel(OnnxRuntimeRunner(self.target), "mark", self.layers, counts)

    def tapped(self) -> TappedModel:
        runners = {}
        for role, wanted in (("reference", "reference"), ("candidate", "candidate")):
            known = {info.name for info in (*self.plain(role).inputs, *self.plain(role).outputs)}
            taps = dict.fromkeys(getattr(layer, wanted) for layer in self.layers)
            runners[role] = OnnxRuntimeRunner(self.paths[role], taps=[t for t in taps if t not in known])
        return TappedModel(runners, self.layers)


@pytest.fixture(params=PAIRS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param, tmp_path)


@pytest.fixture
def qdq(tmp_path: Path) -> Bench:
    return Bench("qdq", tmp_path)


def told(found: Figures, place: int) -> dict[str, float]:
    """The figures of one layer by name."""
    return dict(zip(COLUMNS, map(float, found.values[place]), strict=True))


def sqnr(figures: dict[str, float]) -> float:
    return 10 * np.log10(figures["aa"] / max(figures["dd"], 1e-300))


def test_observing_every_layer_leaves_the_candidate_as_it_is_bit_for_bit(bench: Bench) -> None:
    outputs, figures = bench.joined().run(bench.feeds())
    plain = bench.plain("candidate").run(bench.feeds()["candidate"])
    assert [a.tobytes() for a in outputs["candidate"]] == [a.tobytes() for a in plain]
    for ours, theirs in zip(
        outputs["reference"], bench.plain("reference").run(bench.feeds()["reference"]), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(figures.values) == len(bench.layers) >= 7


def test_every_figure_is_what_whole_activations_give(bench: Bench) -> None:
    """Against numpy in float64, on tensors that two ordinary sessions return."""
    if any(layer.axis is not None for layer in bench.layers):
        bench.layers = tuple(layer for layer in bench.layers if layer.axis is None)
    _, graph = bench.joined().run(bench.feeds())
    _, whole = bench.tapped().run(bench.feeds())
    for place, layer in enumerate(bench.layers):
        ours, theirs = told(graph, place), told(whole, place)
        assert ours["n"] == theirs["n"] > 0
        assert ours["aa"] == pytest.approx(theirs["aa"], rel=1e-4)
        for name in ("a_max", "a_min", "b_max", "b_min", "d_max", "d_min"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), (layer, name)
        if not layer.moved:
            assert sqnr(ours) == pytest.approx(sqnr(theirs), abs=0.02), layer
        assert ours["outside"] == pytest.approx(theirs["outside"], abs=max(2, 1e-3 * ours["n"]))
    np.testing.assert_allclose(graph.sketches, whole.sketches, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(graph.channels, whole.channels, rtol=1e-3, atol=1e-4)
    assert graph.channels.shape[1] == sum(layer.channels for layer in bench.layers) > 0


def test_sqnr_agrees_with_onnxruntimes_own_debugger(qdq: Bench) -> None:
    """qdq_loss_debug on the same inputs; it marks every tensor as an output, so optimisation is off on both sides."""
    from onnxruntime.quantization import CalibrationDataReader, qdq_loss_debug

    class Rows(CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self.rows = iter([{name: qdq.inputs}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    collected = {}
    for role, path in qdq.paths.items():
        marked = qdq.target.parent / f"{role}_marked.onnx"
        qdq_loss_debug.modify_model_output_intermediate_tensors(str(path), str(marked))
        name = qdq.plain(role).inputs[0].name
        collected[role] = qdq_loss_debug.collect_activations(
            str(marked), Rows(name), execution_providers=["CPUExecutionProvider"]
        )
    matching = qdq_loss_debug.create_activation_matching(collected["candidate"], collected["reference"])
    theirs = {
        name: value["xmodel_err"] for name, value in qdq_loss_debug.compute_activation_error(matching).items()
    }
    qdq.joined()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plainly = onnxruntime.InferenceSession(str(qdq.target), options, providers=["CPUExecutionProvider"])
    results = plainly.run(None, {name.name: qdq.inputs for name in plainly.get_inputs()})
    end = 2 + len(qdq.layers)
    figures = Reader(qdq.layers).read(results[2:end], results[end:])
    ours = {
        layer.reference: sqnr(told(figures, place))
        for place, layer in enumerate(qdq.layers)
        if not layer.moved
    }
    common = set(ours) & set(theirs)
    assert len(common) >= 6
    for name in common:
        assert ours[name] == pytest.approx(theirs[name], abs=0.01), name


def session_of(bench: Bench) -> LayerSession:
    from qgate.measure.data import ArraySpec
    from qgate.measure.feed import plan_feeds
    from qgate.measure.side import Side

    sides = {}
    for role in ("reference", "candidate"):
        runner = bench.plain(role)
        info = runner.inputs[0]
        spec = ArraySpec(bench.inputs.shape, np.dtype(np.float32))
        sides[role] = Side(role, runner, plan_feeds([info], {"image": spec}, {info.name: "image"}, {}))
    return LayerSession(bench.joined, sides)


def test_chunks_merge_to_the_whole_in_any_order(qdq: Bench) -> None:
    session = session_of(qdq)
    chunks = [(start, qdq.inputs[start : start + 16]) for start in (0, 16, 32)]
    parts = []
    for start, rows in chunks:
        parts.append(LayerRecord(qdq.layers))
        session.run({"image": rows}, len(rows), parts[-1], start)
    forth, back = LayerRecord(qdq.layers), LayerRecord(qdq.layers)
    for part in parts:
        forth.merge(part)
    for part in reversed(parts):
        back.merge(part)
    whole = LayerRecord(qdq.layers)
    for start, rows in chunks:
        session.run({"image": rows}, len(rows), whole, start)
    for one, other, all_of_it in zip(forth.states(), back.states(), whole.states(), strict=True):
        assert one.pop("channels") == other.pop("channels") == all_of_it.pop("channels")
        for name in one:
            # counts and extremes to the bit, sums to the rounding of float64
            np.testing.assert_allclose(one[name], other[name], rtol=1e-12)
            np.testing.assert_allclose(one[name], all_of_it[name], rtol=1e-12)
        assert one["n"] == all_of_it["n"]
        assert one["a_max"] == all_of_it["a_max"]


def test_memory_of_a_record_does_not_grow_with_samples() -> None:
    layer = Layer("a", "b", "values", "n", "Conv", sampled=True)
    record = LayerRecord([layer])
    figures = Figures(np.ones((1, len(COLUMNS))), np.zeros((4, 0)), np.ones((2, 1, SKETCH), np.float32))
    for start in range(100):
        record.add(figures, start)
    (state,) = record.states()
    assert (state["batches"], state["n"], state["sampled"]) == (100, 100.0, KEPT)


@pytest.mark.parametrize(
    ("a", "b", "broken"), [(np.nan, 1.0, (1, 0)), (1.0, np.inf, (0, 1)), (np.inf, np.nan, (1, 0))]
)
def test_what_is_not_finite_is_counted_and_poisons_no_sum(
    a: float, b: float, broken: tuple[int, int]
) -> None:
    layer = Layer("a", "b", "values", "n", "Conv")
    record = LayerRecord([layer])
    good = Figures(np.full((1, len(COLUMNS)), 2.0), np.zeros((4, 0)), np.zeros((2, 0, SKETCH), np.float32))
    record.add(good, 0)
    bad = replace(good, values=good.values.copy())
    for name, value in (("aa", a), ("bb", b), ("dd", a + b), ("d_max", a + b), ("b_max", b), ("a_max", a)):
        bad.values[0, COLUMNS.index(name)] = value
    record.add(bad, 1)
    (state,) = record.states()
    assert (state["a_broken"], state["b_broken"]) == broken
    assert state["dd"] == 2.0
    assert state["aa"] == (2.0 if broken[0] else 3.0)
    assert (state["a_max"], state["b_max"], state["d_max"]) == (2.0, 2.0, 2.0)


def test_models_of_different_operator_sets_are_not_joined(tmp_path: Path) -> None:
    bench = Bench("qdq", tmp_path)
    model = onnx.load(bench.paths["reference"])
    model.opset_import[0].version += 1
    onnx.save(model, bench.paths["reference"])
    with pytest.raises(UnjoinableError, match="different versions"):
        bench.joined()


def test_no_name_of_a_model_can_meet_one_of_ours(qdq: Bench) -> None:
    assert mark_for(["qgate0/1/figures", "qgate1", "x"]) == "qgate2"
    assert mark_for([]) == "qgate0"


def test_a_loop_or_branch_is_joined_with_its_inner_names(tmp_path: Path) -> None:
    """Subgraphs read the names around them: those are renamed as well."""
    path = EXAMPLES / "silero/silero_vad_16k_op15.onnx"
    for role in ("reference", "candidate"):
        (tmp_path / role).mkdir()
        shutil.copy(path, tmp_path / role / "model.onnx")
    pair = tmp_path / "reference/model.onnx", tmp_path / "candidate/model.onnx"
    target = tmp_path / "joined.onnx"
    try:
        join(*pair, [], target, "mark")
    except UnjoinableError as error:
        assert "operator set" in str(error)
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    joined = onnxruntime.InferenceSession(str(target), options, providers=["CPUExecutionProvider"])
    plain = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feeds = {}
    for info in plain.get_inputs():
        shape = [
            size if isinstance(size, int) else 512 if info.name == "input" and axis else 1
            for axis, size in enumerate(info.shape)
        ]
        feeds[info.name] = (
            np.array(16000, np.int64)
            if info.type == "tensor(int64)"
            else generator.standard_normal(shape).astype(np.float32)
        )
    both = joined.run(None, {**feeds, **{f"mark/r/{name}": value for name, value in feeds.items()}})
    alone = plain.run(None, feeds)
    for ours, theirs in zip(both, [*alone, *alone], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_layers_of_another_size_are_an_error_and_no_figure() -> None:
    layer = Layer("a", "b", "values", "n", "Conv")
    with pytest.raises(LayersError, match="holds 4 values"):
        compare(layer, np.zeros(4, np.float32), np.zeros(3, np.float32))


def test_a_figure_of_codes_counts_what_the_range_cannot_hold() -> None:
    layer = Layer("a", "b", CODES, "n", "Conv", scale="s", low=-1.0, high=254 / 255, dtype="uint8")
    values = np.array([-2.0, -1.0, 0.0, 0.5, 3.0], np.float32)
    codes = np.clip(np.rint((values + 1) * 255 / (254 / 255 + 1)), 0, 255).astype(np.uint8)
    found = compare(layer, values, codes)
    assert found["outside"] == 2
    assert found["ee"] == pytest.approx(1.0 + (3 - 254 / 255) ** 2, rel=1e-4)
    assert found["n"] == 5


@pytest.mark.parametrize(
    ("values", "dead", "saturated"),
    [
        ((0.0, 0.0), 1, 0),  # silent
        ((1.0, 1.0), 1, 1),  # stuck at the end of the range
        ((0.25, 0.25), 1, 0),  # stuck somewhere
        ((0.0, 0.25), 0, 0),
        ((np.inf, -np.inf), 0, 0),  # never seen
    ],
)
def test_a_channel_that_varies_in_the_reference_alone_is_dead(
    values: tuple[float, float], dead: int, saturated: int
) -> None:
    layer = Layer("a", "b", CODES, "n", "Conv", low=0.0, high=1.0, dtype="uint8", shape=("n", 2), channel=1)
    extremes = {
        "a_max": (1.0, 1.0),
        "a_min": (0.0, 0.0),
        "b_max": (0.5, values[1]),
        "b_min": (0.1, values[0]),
    }
    found = channel_state(layer, np.array([extremes[name] for name in BY_CHANNEL]))
    assert (found["dead"], found["saturated"]) == (dead, saturated)
    assert found["first"] == [1][:dead]


def test_a_channel_that_hardly_varies_in_the_reference_is_not_held_against_the_candidate() -> None:
    layer = Layer("a", "b", CODES, "n", "Conv", low=0.0, high=1.0, dtype="uint8", shape=("n", 2), channel=1)
    span = 0.12
    extremes = {"a_max": (1.0, span), "a_min": (0.0, 0.0), "b_max": (1.0, 0.0), "b_min": (0.0, 0.0)}
    assert channel_state(layer, np.array([extremes[name] for name in BY_CHANNEL]))["dead"] == 0


def test_a_zeroed_channel_is_told_by_its_number(tmp_path: Path) -> None:
    bench = Bench("zeroed", tmp_path)
    _, figures = bench.joined().run(bench.feeds())
    record = LayerRecord(bench.layers)
    record.add(figures, 0)
    dead = {
        layer.node: state["channels"]
        for layer, state in zip(bench.layers, record.states(), strict=True)
        if state["channels"] and state["channels"]["dead"]
    }
    assert dead == {"/c4/Conv": {"count": 32, "dead": 1, "saturated": 0, "first": [16]}}


def test_a_session_that_returns_other_numbers_is_an_error() -> None:
    layers = [Layer("a", "b", "values", "n", "Conv")]
    with pytest.raises(LayersError, match="something else"):
        Reader(layers).read([np.zeros(3, np.float32)], [np.array([4])])
    assert empty_figures(layers).values.shape == (1, len(COLUMNS))


def test_a_product_and_its_sum_with_a_bias_are_two_layers(tmp_path: Path) -> None:
    """Quantizers stand behind both, and each is compared with its own tensor."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((8, 16)).astype(np.float32)
    weight = random.standard_normal((16, 16)).astype(np.float32)
    bias = (100 + random.standard_normal(16)).astype(np.float32)
    paths = {role: tmp_path / role / "model.onnx" for role in ("reference", "candidate")}
    for role, path in paths.items():
        path.parent.mkdir()
        onnx.save(_product_and_bias(weight, bias, rows, quantized=role == "candidate"), path)
    views = {role: float_view(read_model(path)) for role, path in paths.items()}
    layers = plan_layers(align(*views.values(), {}, {}), *views.values())
    compared = {
        layer.reference: (position, layer) for position, layer in enumerate(layers) if not layer.moved
    }
    assert {"x", "product", "sum"} <= set(compared)
    assert compared["sum"][1].before == (compared["product"][0],)
    join(*paths.values(), layers, tmp_path / "joined.onnx", "mark")
    model = JoinedModel(OnnxRuntimeRunner(tmp_path / "joined.onnx"), "mark", layers, (1, 1))
    _, figures = model.run({role: {"x": rows} for role in paths})
    assert all(sqnr(told(figures, compared[name][0])) > 25 for name in ("x", "product", "sum"))


def _product_and_bias(
    weight: np.ndarray, bias: np.ndarray, rows: np.ndarray, *, quantized: bool
) -> onnx.ModelProto:
    """relu(x w + b); quantized, with a pair of QuantizeLinear and DequantizeLinear behind each step."""
    from onnx import TensorProto, helper, numpy_helper

    value = {"x": rows, "product": rows @ weight, "sum": rows @ weight + bias}
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    nodes = []

    def read(name: str) -> str:
        """What the next operation reads."""
        if not quantized:
            return name
        low, high = min(0.0, float(value[name].min())), max(0.0, float(value[name].max()))
        scale = np.float32((high - low) / 255)
        constants.append(numpy_helper.from_array(scale, f"{name}_s"))
        constants.append(numpy_helper.from_array(np.uint8(np.rint(-low / scale)), f"{name}_z"))
        parameters = [f"{name}_s", f"{name}_z"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [f"{name}_d"]))
        return f"{name}_d"

    if quantized:
        scale = np.float32(np.abs(weight).max() / 127)
        constants[0] = numpy_helper.from_array(np.rint(weight / scale).astype(np.int8), "w_q")
        constants.append(numpy_helper.from_array(scale, "w_s"))
        constants.append(numpy_helper.from_array(np.int8(0), "w_z"))
        nodes.append(helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w"]))
    for op, other, source, made in (("MatMul", "w", "x", "product"), ("Add", "b", "product", "sum")):
        nodes.append(helper.make_node(op, [read(source), other], [made], made))
    nodes.append(helper.make_node("Relu", [read("sum")], ["y"], "relu"))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 16]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_pair_too_large_to_be_held_twice_gives_the_same_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain for the first samples, joined for the rest, plain again for the edges: never both."""
    from qgate.measure import load
    from qgate.measure.observing import measure
    from qgate.measure.request import PairRequest

    bench = Bench("qdq", tmp_path)
    bench.joined()
    inputs = tmp_path / "x.npz"
    np.savez(inputs, image=bench.inputs)
    request = PairRequest(
        candidate=bench.paths["candidate"],
        reference=bench.paths["reference"],
        inputs=inputs,
        joined=bench.target,
        mark="mark",
        layers=bench.layers,
        threads=1,
    )
    held: list[int] = []
    plain: list[OnnxRuntimeRunner] = []
    real = OnnxRuntimeRunner.run

    def run(self: OnnxRuntimeRunner, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        joined = any(name.startswith("mark/") for name in feeds)
        if not joined and self not in plain:
            plain.append(self)
        if joined:
            held.append(sum(each._session is not None for each in plain))
        return real(self, feeds)

    monkeypatch.setattr(OnnxRuntimeRunner, "run", run)
    together = measure(request, lambda done, total: None)
    assert set(held) == {2}
    held.clear()
    plain.clear()
    monkeypatch.setattr(load, "APART_BYTES", 0)
    apart = measure(request, lambda done, total: None)
    assert set(held) == {0}
    assert len(plain) == 3  # the third runs the candidate as it is written
    for found in (together, apart):
        found.pop("timings")
    assert repr(apart) == repr(together)
    assert apart["layers"]
    assert apart["edges"]
