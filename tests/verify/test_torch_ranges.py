"""Ranges of PyTorch's quantizers against the reference's activations: which tensor is watched, and faults of calibration."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.formats.model import Graph, StaticModel
from qgate.formats.read import read_model
from qgate.measure.layers.layer import Layer
from qgate.measure.tensors import inspect_tensors
from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

pytestmark = pytest.mark.filterwarnings("ignore")
ARTICLE = Path(__file__).parents[2] / "examples" / "article"


def article(name: str) -> Any:
    """A module of the example."""
    sys.path.insert(0, str(ARTICLE))
    try:
        spec = importlib.util.spec_from_file_location(f"article_{name}", ARTICLE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ARTICLE))


def planned(reference: StaticModel, candidate: StaticModel) -> dict[str, tuple[str, float, float, int]]:
    """What is watched, by the quantizer; each has a layer that only watches."""
    found = inspect_tensors(reference, candidate, not_run={})
    watching = [layer for layer in found.layers if layer.moved]
    assert [(tap.tensor, tap.low, tap.high) for tap in found.taps] == [
        (layer.reference, layer.low, layer.high) for layer in watching
    ]
    return {tap.name: (tap.tensor, round(tap.low, 3), round(tap.high, 3), tap.bits) for tap in found.taps}


def read(name: str) -> StaticModel:
    return read_model(ARTICLE / name)


def test_modules_of_a_checkpoint_are_watched_by_their_names() -> None:
    assert planned(read("fp32.pt"), read("eager_int8.pt")) == {
        "conv.scale": ("conv", 0.0, 4.879, 7), "fc.scale": ("fc", -2.122, 3.959, 7),
    }  # fmt: skip
    assert set(planned(read("fp32.pt"), read("fx_int8.pt"))) == {"conv.scale", "fc.scale"}
    assert planned(read("fp32.pt"), read("dynamic_int8.pt")) == {}, "it has no ranges"
    assert planned(read("fp32.pt"), read("no_qconfig.pt")) == {}


@pytest.mark.parametrize(
    ("name", "low", "high"), [("pt2e_x86.pt2", 0.0, 2.625), ("pt2e_symmetric.pt2", -2.636, 2.615)]
)
def test_quantizers_of_a_program_are_watched_behind_the_relu_that_they_read(
    name: str, low: float, high: float
) -> None:
    """Pooling and reshaping take the scale over that they read, and are not told again."""
    wanted = {"quantize_per_tensor_1": ("conv (positive part)", low, high, 8)}
    assert planned(read("fp32.pt"), read(name)) == wanted
    layers = [
        layer for layer in inspect_tensors(read("fp32.pt"), read(name), not_run={}).layers if not layer.moved
    ]
    assert [(layer.reference, layer.candidate) for layer in layers] == [("conv", "conv2d"), ("fc", "linear")]


def test_between_programs_every_tensor_is_found_by_its_place() -> None:
    """A program without its quantizers is the other's float form: here the candidate stands for its own reference."""
    candidate = read("pt2e_x86.pt2")
    stands = {n.outputs[0]: n.inputs[0] for n in candidate.graph.nodes if "quantize_per_" in n.op}

    def original(name: str) -> str:
        while name in stands:
            name = stands[name]
        return name

    def renamed(name: str) -> str:
        return name if name in candidate.graph.constants or name == "x" else f"r_{name}"

    nodes = tuple(
        replace(
            n, inputs=tuple(renamed(original(i)) for i in n.inputs), outputs=tuple(map(renamed, n.outputs))
        )
        for n in candidate.graph.nodes
        if n.outputs[0] not in stands
    )
    graph: Graph = replace(candidate.graph, nodes=nodes)
    assert planned(replace(candidate, graph=graph), candidate) == {
        "quantize_per_tensor_1": ("r_relu", 0.0, 2.625, 8)
    }
    # Other operations: what a name stands for is not known any more, but for the layers' own.
    other = replace(
        candidate, graph=replace(graph, nodes=(replace(nodes[0], op="torch.ops.aten.sin.default"), *nodes))
    )
    assert set(planned(other, candidate)) <= {"quantize_per_tensor_1"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("scale", float("nan")), ("scale", 0.0), ("scale", float("inf")), ("scale", "0.1"), ("zero_point", None),
     ("quant_max", 0), ("quant_max", 2**60), ("quant_min", True)],
)  # fmt: skip
def test_a_quantizer_without_a_plain_range_is_not_watched(key: str, value: object) -> None:
    candidate = read("pt2e_x86.pt2")
    nodes = tuple(
        replace(n, attributes={**n.attributes, key: value}) if n.outputs[0] == "quantize_per_tensor_1" else n
        for n in candidate.graph.nodes
    )
    assert planned(read("fp32.pt"), replace(candidate, graph=replace(candidate.graph, nodes=nodes))) == {}


@pytest.fixture(scope="module")
def miscalibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The article's models, calibrated on a tenth of the images' values."""
    torch = pytest.importorskip("torch", reason="of the extra `torch`")
    folder, model = tmp_path_factory.mktemp("ranges"), article("model")
    net, _ = model.fp32()
    net.load_state_dict(torch.load(ARTICLE / "fp32.pt"))
    torch.manual_seed(0)
    data = torch.randn(128, 3, 32, 32)
    torch.save(model.converted_eager(net, data * 0.1).state_dict(), folder / "eager.pt")
    np.savez(folder / "data.npz", x=data[:32].numpy())
    return folder


def verified(candidate: Path, data: Path, *, program: bool) -> Any:
    code = {"factory.reference": f"{ARTICLE}/model.py:fp32"}
    code |= {} if program else {"factory.candidate": f"{ARTICLE}/model.py:eager"}
    trust: Any = "code" if program else "data"
    return verify_ad_hoc(AdHoc(candidate, ARTICLE / "fp32.pt", inputs=data, code=code, trust=trust))


def ranges(report: Any) -> dict[str, float]:
    return {m.at.tensor: m.number for m in report.measurements if m.name == "activation.clipped_share"}


def test_a_checkpoint_that_was_calibrated_on_too_small_inputs_is_found(miscalibrated: Path) -> None:
    report = verified(miscalibrated / "eager.pt", miscalibrated / "data.npz", program=False)
    assert report.verdict is Verdict.FAIL
    assert {f.at.tensor for f in report.findings if f.rule == "RNG104"} == {"conv.scale", "fc.scale"}
    assert all(share > 0.05 for share in ranges(report).values())


def test_an_honest_checkpoint_uses_its_ranges(miscalibrated: Path) -> None:
    report = verified(ARTICLE / "eager_int8.pt", miscalibrated / "data.npz", program=False)
    assert report.verdict is Verdict.PASS, report.reason
    assert ranges(report) == {"conv.scale": 0.0, "fc.scale": 0.0}
    assert not [f for f in report.findings if f.rule.startswith("RNG1")], (
        "half a range is what eager mode gives"
    )


@pytest.mark.slow
def test_a_program_that_was_calibrated_on_too_small_inputs_is_found(miscalibrated: Path) -> None:
    torch = pytest.importorskip("torch", reason="of the extra `torch`")
    pytest.importorskip("torchao", reason="of the extra `torchao`")
    net, _ = article("model").fp32()
    net.load_state_dict(torch.load(ARTICLE / "fp32.pt"))
    torch.manual_seed(0)
    small = torch.randn(128, 3, 32, 32) * 0.1
    program = article("quantize").quantized_program(net.eval(), small, symmetric=False)
    torch.export.save(program, miscalibrated / "small.pt2")
    report = verified(miscalibrated / "small.pt2", miscalibrated / "data.npz", program=True)
    assert report.verdict is Verdict.FAIL
    (found,) = [f for f in report.findings if f.rule == "RNG104"]
    assert found.at.node == "relu" and "clips" in found.message
    honest = verified(ARTICLE / "pt2e_x86.pt2", miscalibrated / "data.npz", program=True)
    assert honest.verdict is Verdict.PASS, honest.reason
    assert {m.at.tensor for m in honest.measurements if m.name == "layer.sqnr_db"} == {"conv2d", "linear"}


def test_layers_that_only_watch_are_no_layers_of_their_own() -> None:
    found = inspect_tensors(read("fp32.pt"), read("eager_int8.pt"), not_run={})
    assert [layer.moved for layer in found.layers] == [False, False, True, True]
    assert all(isinstance(layer, Layer) and not layer.before for layer in found.layers)
