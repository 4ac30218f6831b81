"""``qgate export``: what is written computes what the PyTorch model computes, or nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

from qgate.cli import main
from qgate.export.make import refused_by_tensorrt
from qgate.export.parity import OutputParity, Parity, _module_of, measure_parity
from qgate.formats.read import read_model
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory

pytest.importorskip("torch", reason="of the extra `torch`")
pytest.importorskip("onnxscript", reason="of the extra `export`")
pytestmark = pytest.mark.filterwarnings("ignore")

ARTICLE = Path(__file__).parents[2] / "examples" / "article"

TWO_FACED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.fc = nn.Linear(16 * 4 * 4, 10)

    def forward(self, x):
        x = self.conv(x).relu()
        if torch.onnx.is_in_onnx_export():
            x = x * 2
        return self.fc(nn.functional.max_pool2d(x, 8).flatten(1))

def build():
    return Net(), torch.zeros(1, 3, 32, 32)
"""


def export(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_an_eager_model_is_exported_and_compared_layer_by_layer(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    result = export("-m", ARTICLE / "eager_int8.pt", "-o", target, "--factory", f"{ARTICLE}/model.py:eager")
    assert result.exit_code == 0, result.output
    assert "output output: 1 steps of its scale at most" in result.output
    assert "layer /conv/Relu_output_0:" in result.output and "layer /fc/Gemm_output_0:" in result.output
    model = onnx.load(target)
    assert [each.version for each in model.opset_import if not each.domain] == [17]
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= {node.op_type for node in model.graph.node}
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "nothing is left beside it"
    problems = refused_by_tensorrt(read_model(target))
    assert any("symmetric" in line and "DEP" in line for line in problems)


def test_an_export_that_computes_something_else_is_not_kept(tmp_path: Path) -> None:
    """The module answers otherwise while it is exported; what was there before stays as it was."""
    import torch

    (tmp_path / "net.py").write_text(TWO_FACED)
    space: dict[str, object] = {}
    exec(TWO_FACED, space)
    torch.save(space["Net"]().state_dict(), tmp_path / "m.pt")  # type: ignore[operator]
    target = tmp_path / "m.onnx"
    target.write_bytes(b"what was there")
    result = export("-m", tmp_path / "m.pt", "-o", target, "--factory", f"{tmp_path}/net.py:build")
    assert result.exit_code == 2
    assert "the export does not compute what the model computes: output 'output'" in result.output
    assert target.read_bytes() == b"what was there"


def test_what_no_exporter_takes_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    factory = f"{ARTICLE}/model.py:dynamic"
    result = export("-m", ARTICLE / "dynamic_int8.pt", "-o", tmp_path / "m.onnx", "--factory", factory)
    assert result.exit_code == 2
    assert "PyTorch does not export it: Exporting the operator 'quantized::linear_dynamic'" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "refused"), [("pt2e_x86", True), ("pt2e_symmetric", False)])
def test_a_program_is_exported_by_dynamo_and_an_edited_export_is_seen(
    name: str, refused: bool, tmp_path: Path
) -> None:
    target = tmp_path / "m.onnx"
    result = export("-m", ARTICLE / f"{name}.pt2", "-o", target, "--trust", "code")
    assert result.exit_code == 0, result.output
    assert "layer conv2d:" in result.output and "opset 20, dynamo exporter" in result.output
    assert bool(refused_by_tensorrt(read_model(target))) is refused
    model = onnx.load(target)
    (scale,) = [
        t for t in model.graph.initializer if t.dims == [16] and t.data_type == onnx.TensorProto.FLOAT
    ][:1]
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.3), scale.name))
    with staging_directory() as staging:
        onnx.save(model, staging / "edited.onnx")
        shutil.copy(ARTICLE / f"{name}.pt2", staging / "m.pt2")
        for path in staging.iterdir():
            path.chmod(0o644)
        parity = measure_parity(
            read_model(staging / "m.pt2"), read_model(staging / "edited.onnx"), code={}, torchao=False, inputs=None,
            limits=Limits(),
        )  # fmt: skip
    assert not parity.holds
    assert parity.worst_layer == "conv2d", "the first layer that differs is named"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", ARTICLE / "pt2e_x86.pt2"), "--trust code"),
        (("-m", ARTICLE / "eager_int8.pt"), "--factory"),
        (("-m", ARTICLE.parent / "digits" / "digits_fp32.onnx"), "no model of PyTorch's"),
        (("-m", ARTICLE.parent / "torch" / "digits_fx_int8.ts", "--trust", "code"), "TorchScript"),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(
    arguments: tuple[object, ...], says: str, tmp_path: Path
) -> None:
    result = export(*arguments, "-o", tmp_path / "m.onnx")
    assert result.exit_code == 2
    assert says in result.output
    assert list(tmp_path.iterdir()) == []
    assert export("-m", ARTICLE / "eager_int8.pt", "-o", tmp_path / "m.txt").exit_code == 2
    assert "no such folder" in export("-m", ARTICLE / "fp32.pt", "-o", tmp_path / "x" / "m.onnx").output


def test_parity_needs_every_output_measured_and_near() -> None:
    nan = float("nan")
    good = OutputParity("a", 1.0, 45.0, own_scale=True)
    assert Parity((good,)).holds
    assert Parity((OutputParity("deep", 2.0000004, 35.4, own_scale=True),), {"conv": 30.1}).holds, (
        "honest, 8 layers"
    )
    assert not Parity((OutputParity("deep", 5.0, 30.1, own_scale=True),)).holds, "a channel's scale times 1.3"
    assert Parity((good,), {"first": 50.0, "second": 20.7, "third": 10.0}).worst_layer == "second"
    assert not Parity((good,), {"first": float("nan")}).holds
    assert not Parity(()).holds
    assert not Parity((good, OutputParity("b", 9.0, 45.0, own_scale=True))).holds
    assert not Parity((good, OutputParity("b", 1.0, 10.0, own_scale=True))).holds
    assert not Parity((good, OutputParity("b", nan, nan, own_scale=False))).holds
    assert not Parity((good, OutputParity("b", 1.0, nan, own_scale=True))).holds
    assert not Parity((good, OutputParity("b", nan, 39.0, own_scale=False))).holds
    assert Parity((good, OutputParity("b", nan, 60.0, own_scale=False))).holds


@pytest.mark.parametrize(
    ("node", "module"),
    [("/conv/Conv", "conv"), ("/convs.0/Conv", "convs.0"), ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
     ("/features/features.0/features.0.1/Relu", "features.0.1"), ("/Add", ""), ("", "")],
)  # fmt: skip
def test_modules_are_known_by_their_scopes_in_containers_too(node: str, module: str) -> None:
    assert _module_of(node) == module


DEEP = """
import copy
import torch
from torch import nn
from torch.ao import quantization

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant = quantization.QuantStub()
        self.convs = nn.ModuleList(nn.Conv2d(16 if i else 3, 16, 3, padding=1) for i in range(8))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10)
        self.dequant = quantization.DeQuantStub()

    def forward(self, x):
        x = self.quant(x)
        for conv, relu in zip(self.convs, self.relus):
            x = relu(conv(x))
        return self.dequant(self.fc(self.pool(x).flatten(1)))

EXAMPLE = torch.zeros(1, 3, 16, 16)

def converted(model, data):
    model = quantization.fuse_modules(model.eval(), [[f"convs.{i}", f"relus.{i}"] for i in range(8)])
    model.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(model)
    prepared(data)
    return quantization.convert(prepared)

def eager():
    return converted(Deep(), EXAMPLE), EXAMPLE
"""


@pytest.mark.slow
def test_rounding_that_adds_up_in_a_deep_model_is_no_reason_to_refuse_it(tmp_path: Path) -> None:
    import torch

    (tmp_path / "net.py").write_text(DEEP)
    space: dict[str, Any] = {}
    exec(DEEP, space)
    torch.manual_seed(1)
    net = space["Deep"]()
    for conv in net.convs:
        torch.nn.init.kaiming_normal_(conv.weight)
    torch.save(space["converted"](net, torch.randn(64, 3, 16, 16)).state_dict(), tmp_path / "m.pt")
    result = export(
        "-m", tmp_path / "m.pt", "-o", tmp_path / "m.onnx", "--factory", f"{tmp_path}/net.py:eager"
    )
    assert result.exit_code == 0, result.output


def test_the_article_s_fx_model_is_exported_and_compared_layer_by_layer(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    result = export("-m", ARTICLE / "fx_int8.pt", "-o", target, "--factory", f"{ARTICLE}/model.py:fx")
    assert result.exit_code == 0, result.output
    assert "layer /conv/Relu_output_0:" in result.output and "layer /fc/Gemm_output_0:" in result.output
