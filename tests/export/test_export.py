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
from qgate.errors import DataError, MeasureError
from qgate.export import make
from qgate.export.layers import module_of
from qgate.export.order import ExportOrder
from qgate.export.parity import Given, OutputParity, Parity, measure_parity
from qgate.export.tensorrt import Change, reached_ranges, refused_by_parser, refused_by_tensorrt
from qgate.formats.model import StaticModel
from qgate.formats.read import read_model
from qgate.records import Measurement
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory

pytest.importorskip("torch", reason="of the extra `torch`")
pytest.importorskip("onnxscript", reason="of the extra `export`")
pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLES = Path(__file__).parents[2] / "examples"
ARTICLE = EXAMPLES / "article"

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
    assert "layer conv:" in result.output and "layer fc:" in result.output
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
    space: dict[str, Any] = {}
    exec(TWO_FACED, space)
    torch.save(space["Net"]().state_dict(), tmp_path / "m.pt")
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
    calibrated = export(
        "-m", ARTICLE / "fp32.pt", "-o", tmp_path / "m.onnx", "--calibration", tmp_path / "x.npz"
    )
    assert calibrated.exit_code == 2 and "Say --tensorrt" in calibrated.output
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
    assert module_of(node) == module


DEEP = """
import copy
import torch
from torch import nn
from torch.ao import quantization

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant = quantization.QuantStub()
        self.convs = nn.ModuleList(nn.Conv2d(16 if i else 3, 16, 3, padding=1) for i in range(16))
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(16))
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
    model = quantization.fuse_modules(model.eval(), [[f"convs.{i}", f"relus.{i}"] for i in range(16)])
    model.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(model)
    prepared(data)
    return quantization.convert(prepared)

def eager():
    return converted(Deep(), EXAMPLE), EXAMPLE
"""


def deep(folder: Path) -> Path:
    """Sixteen quantized convolutions in a row, with their factory beside them."""
    import torch

    (folder / "net.py").write_text(DEEP)
    space: dict[str, Any] = {}
    exec(DEEP, space)
    torch.manual_seed(1)
    net = space["Deep"]()
    for conv in net.convs:
        torch.nn.init.kaiming_normal_(conv.weight)
    torch.save(space["converted"](net, torch.randn(64, 3, 16, 16)).state_dict(), folder / "m.pt")
    return folder / "m.pt"


@pytest.mark.slow
def test_rounding_that_adds_up_in_a_deep_model_is_no_reason_to_refuse_it_and_its_layers_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("-m", deep(tmp_path), "-o", tmp_path / "m.onnx", "--factory", f"{tmp_path}/net.py:eager")
    result = export(*arguments)
    assert result.exit_code == 0, result.output
    assert all(f"layer convs.{number}:" in result.output for number in range(16)), result.output
    assert "rounding of activations itself leaves" in result.output

    exported = make._Export.made

    def edited(self: Any, order: ExportOrder, name: str) -> StaticModel:
        """One channel of the first convolution has its scale times 1.3."""
        made = exported(self, order, name)
        if order.recipe:
            return made
        model = onnx.load(made.path)
        held = next(
            a.t
            for node in model.graph.node
            for a in node.attribute
            if node.op_type == "Constant"
            and list(a.t.dims) == [16]
            and a.t.data_type == onnx.TensorProto.FLOAT
        )
        values = numpy_helper.to_array(held).copy()
        values[int(np.argmax(values))] *= 1.3
        held.CopyFrom(numpy_helper.from_array(values))
        onnx.save(model, made.path)
        return read_model(made.path)

    (tmp_path / "m.onnx").unlink()
    monkeypatch.setattr(make._Export, "made", edited)
    result = export(*arguments)
    assert result.exit_code == 2
    assert "the first layer that differs is 'convs.0'" in result.output, result.output
    assert not (tmp_path / "m.onnx").exists()


def test_two_roundings_of_one_model_may_differ_by_twice_its_noise_and_no_more() -> None:
    far = OutputParity("a", 5.0, 20.0, own_scale=True)
    assert not Parity((far,)).holds
    assert Parity((far,)).beside(Parity((OutputParity("a", 9.0, 23.0, own_scale=True),))).holds
    assert not Parity((far,)).beside(Parity((OutputParity("a", 9.0, 24.0, own_scale=True),))).holds
    assert not Parity((far,)).beside(Parity((OutputParity("b", 9.0, 20.0, own_scale=True),))).holds
    low = OutputParity("a", 50.0, 9.0, own_scale=True)
    assert not Parity((low,)).beside(Parity((low,))).holds, "next to nothing is left of it"
    good = OutputParity("a", 1.0, 45.0, own_scale=True)
    rounding = Parity((good,), {"first": 30.0, "second": 18.7})
    assert Parity((good,), {"first": 28.0, "second": 19.2}).beside(rounding).holds
    assert Parity((good,), {"first": 20.7, "second": 19.2}).beside(rounding).worst_layer == "first"
    assert Parity((good,), {"third": 20.7}).beside(rounding).worst_layer == "third"
    assert Parity((good,), {"second": float("nan")}).beside(rounding).worst_layer == "second"


def test_a_recipe_may_cost_one_bit_more_than_rounding_does() -> None:
    def problem(db: float, rounding: float, **layers: float) -> str:
        output = OutputParity("a", 9.0, db, own_scale=True, rounding_db=rounding)
        return Change(Parity((output,), layers), calibrated=False).problem

    assert problem(30.8, 35.8) == ""
    assert problem(40.0, 90.0) == "", "nearly nothing is lost"
    assert "keeps 24.0 dB" in problem(24.0, 35.8)
    assert "at least 10.0 dB" in problem(9.0, 12.0)
    assert problem(30.8, float("nan")) and problem(float("nan"), 35.8), (
        "what was not measured is no small cost"
    )
    assert "the layer 'conv' keeps 5.0 dB" in problem(30.8, 35.8, conv=5.0)
    assert problem(30.8, 35.8, conv=float("nan"))
    assert Change(Parity(()), calibrated=False).problem


def test_an_eager_model_is_written_as_tensorrt_asks_for(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    factory = f"{ARTICLE}/model.py:eager"
    result = export("-m", ARTICLE / "eager_int8.pt", "-o", target, "--factory", factory, "--tensorrt")
    assert result.exit_code == 0, result.output
    assert "Symmetric int8 for TensorRT, of the ranges that the model records" in result.output
    assert "where rounding of activations leaves the PyTorch model" in result.output
    assert "TensorRT takes it:" in result.output
    assert refused_by_tensorrt(read_model(target)) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.slow
def test_a_program_is_written_as_tensorrt_asks_for_by_the_ranges_that_data_reach(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    np.savez(tmp_path / "data.npz", x=0.5 * torch.randn(64, 3, 32, 32).numpy())
    found = {}
    for name, more in (("recorded", ()), ("reached", ("--calibration", tmp_path / "data.npz"))):
        target = tmp_path / f"{name}.onnx"
        result = export("-m", ARTICLE / "pt2e_x86.pt2", "-o", target, "--trust", "code", "--tensorrt", *more)
        assert result.exit_code == 0, result.output
        assert refused_by_tensorrt(read_model(target)) == ()
        held = {t.name: numpy_helper.to_array(t) for t in onnx.load(target).graph.initializer}
        found[name] = {
            key: float(value) for key, value in held.items() if key.endswith("_scale") and value.size == 1
        }
    assert found["recorded"].keys() == found["reached"].keys() and len(found["recorded"]) == 4
    assert all(found["reached"][key] < 0.9 * found["recorded"][key] for key in found["recorded"])


def test_given_inputs_are_named_as_they_were_given() -> None:
    """Not as the private copy, which is gone when the message is read."""
    model = read_model(EXAMPLES / "digits" / "digits_int8_pc.onnx")
    with staging_directory() as staging:
        np.savez(staging / "copy.npz", image=np.full((4, 1, 8, 8), np.nan, np.float32))
        given = Given(staging / "copy.npz", "mine.npz")
        with pytest.raises(DataError, match="NaN") as compared:
            measure_parity(model, model, code={}, torchao=False, inputs=given, limits=Limits(), layers=())
        with pytest.raises(DataError, match="NaN") as reached:
            reached_ranges(model, given, Limits())
    assert compared.value.where == reached.value.where == "mine.npz"


def test_the_parser_is_quoted_and_no_word_of_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx", reason="of the extra `tensorrt`")
    model = read_model(EXAMPLES / "digits" / "digits_int8_pc.onnx")
    refused, version = refused_by_parser(model, Limits(), "m.onnx")
    assert refused.startswith("NVIDIA's parser refuses f1.bias_DequantizeLinear: ")
    assert version.startswith("TensorRT-RTX")
    refused, version = refused_by_parser(
        read_model(EXAMPLES / "digits" / "digits_fp32.onnx"), Limits(), "m.onnx"
    )
    assert (refused, version.endswith(" parses it and builds an engine")) == ("", True)
    silent = Measurement(name="tensorrt.parsed", not_measured="it gives no verdict")
    monkeypatch.setattr("qgate.export.tensorrt.judge_file", lambda *_: iter([silent]))
    with pytest.raises(MeasureError, match="gave no verdict: it gives no verdict"):
        refused_by_parser(model, Limits(), "m.onnx")


def test_what_tensorrt_refuses_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser's word counts where the rules are silent, and a recipe that costs too much is none."""
    arguments = (
        "-m",
        ARTICLE / "eager_int8.pt",
        "-o",
        tmp_path / "m.onnx",
        "--factory",
        f"{ARTICLE}/model.py:eager",
    )
    monkeypatch.setattr(
        make, "refused_by_parser", lambda *_: ("NVIDIA's parser refuses Conv", "TensorRT-RTX")
    )
    result = export(*arguments, "--tensorrt")
    assert result.exit_code == 2
    assert "TensorRT does not take the export: NVIDIA's parser refuses Conv" in result.output
    monkeypatch.setattr("qgate.export.tensorrt.MAX_COST_DB", -20.0)
    result = export(*arguments, "--tensorrt")
    assert result.exit_code == 2
    assert (
        "symmetric int8, which TensorRT asks for, costs too much or cannot be judged: output 'output' keeps"
        in result.output
    )
    assert "--calibration" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_article_s_fx_model_is_exported_and_compared_layer_by_layer(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    result = export("-m", ARTICLE / "fx_int8.pt", "-o", target, "--factory", f"{ARTICLE}/model.py:fx")
    assert result.exit_code == 0, result.output
    assert "layer conv:" in result.output and "layer fc:" in result.output
