"""PyTorch as a runtime, in this process: what each form computes, what is observed, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="of the extra `torch`")
pytestmark = pytest.mark.filterwarnings("ignore")

from qgate.runtimes.base import ModelRefusedError, TensorInfo  # noqa: E402
from qgate.runtimes.pytorch.libraries import REHEARSAL  # noqa: E402
from qgate.runtimes.pytorch.load import load_torch, module_runner  # noqa: E402


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.relu = torch.nn.ReLU()
        self.fc = torch.nn.Linear(4 * 8 * 8, 5)

    def forward(self, image: Any) -> Any:
        return self.fc(self.relu(self.conv(image)).flatten(1))


EXAMPLE = torch.zeros(1, 3, 8, 8)
IMAGES = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def expected(module: Any, images: Any = IMAGES) -> Any:
    with torch.inference_mode():
        return module(torch.from_numpy(images)).numpy()


def loaded(path: Path, form: str, factory: Any = None) -> Any:
    runner = load_torch(path, form, factory, threads=1)
    runner.settle([TensorInfo("image", "float32", ("N", 3, 8, 8))] if runner.unknown else None)
    return runner


def saved(state: Any, tmp_path: Path) -> Path:
    path = tmp_path / "m.pt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_computes_what_its_module_does(net: Any, wrapped: bool, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in net.state_dict().items()} if wrapped else net.state_dict()
    path = saved({"epoch": 3, "state_dict": state} if wrapped else state, tmp_path)
    runner = loaded(path, "torch-checkpoint", Net)
    assert [each.name for each in runner.inputs] == ["image"]
    assert [(each.name, each.shape) for each in runner.outputs] == [("output", ("N", 5))]
    assert np.array_equal(runner.run({"image": IMAGES})[0], expected(net))


def test_safetensors_are_put_into_the_module_bit_for_bit(net: Any, tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.torch").save_file
    save({k: v.to(torch.bfloat16) for k, v in net.state_dict().items()}, tmp_path / "m.safetensors")
    runner = loaded(tmp_path / "m.safetensors", "safetensors", lambda: (Net().to(torch.bfloat16), EXAMPLE))
    short = Net().to(torch.bfloat16)
    short.load_state_dict({k: v.to(torch.bfloat16) for k, v in net.state_dict().items()})
    with torch.inference_mode():
        wanted = short(torch.from_numpy(IMAGES).to(torch.bfloat16)).float().numpy()
    found = runner.run({"image": IMAGES})[0]
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted)


def test_dynamic_and_static_int8_compute_what_pytorch_does(net: Any, tmp_path: Path) -> None:
    from torch.ao import quantization

    def dynamic() -> Any:
        return quantization.quantize_dynamic(Net().eval(), {torch.nn.Linear}), EXAMPLE

    def converted(source: Any, data: Any) -> Any:
        wrapped = quantization.QuantWrapper(quantization.fuse_modules(source, [["conv", "relu"]])).eval()
        wrapped.qconfig = quantization.get_default_qconfig("x86")
        quantization.prepare(wrapped, inplace=True)
        wrapped(data)
        return quantization.convert(wrapped)

    import copy

    made = quantization.quantize_dynamic(copy.deepcopy(net), {torch.nn.Linear})
    runner = loaded(saved(made.state_dict(), tmp_path), "torch-checkpoint", dynamic)
    assert np.array_equal(runner.run({"image": IMAGES})[0], expected(made))
    static = converted(copy.deepcopy(net), torch.from_numpy(IMAGES))
    runner = loaded(
        saved(static.state_dict(), tmp_path),
        "torch-checkpoint",
        lambda: (converted(Net().eval(), EXAMPLE), EXAMPLE),
    )
    (name,) = (info.name for info in runner.inputs)
    assert np.array_equal(runner.run({name: IMAGES})[0], expected(static))
    assert runner.fused("module.conv") and not runner.fused("module.fc")
    tapped = runner.tapped(["module.conv"])
    assert tapped.run({name: IMAGES})[1].min() == 0.0


def test_inner_tensors_are_what_modules_return_and_leave_the_answer_alone(net: Any) -> None:
    runner = module_runner(net, (EXAMPLE,))
    runner.settle()
    plain = runner.run({"image": IMAGES})
    output, conv, fc = runner.tapped(["conv", "fc"]).run({"image": IMAGES})
    assert np.array_equal(plain[0], output) and np.array_equal(fc, output)
    assert conv.shape == (6, 4, 8, 8) and conv.min() < 0
    positive = runner.tapped(["conv"], frozenset({"conv"})).run({"image": IMAGES})[1]
    assert np.array_equal(positive, conv.clip(min=0))
    assert not net.conv._forward_hooks, "nothing stays behind"
    with pytest.raises(ModelRefusedError, match="no module 'nothing'"):
        runner.tapped(["nothing"]).run({"image": IMAGES})


def test_a_program_is_observed_node_by_node() -> None:
    import torch.ao.quantization.fx._decomposed  # noqa: F401  registers the operators

    runner = load_torch(REHEARSAL, "torch-export", None, threads=1)
    runner.settle()
    values = np.ones((3, 2), np.float32)
    output, inner = runner.tapped(["linear"]).run({runner.inputs[0].name: values})
    assert np.array_equal(output, runner.run({runner.inputs[0].name: values})[0])
    assert inner.shape == (3, 2)
    assert not isinstance(runner.inputs[0].shape[0], int), "its batch is free"


def test_a_script_runs(net: Any, tmp_path: Path) -> None:
    torch.jit.trace(net, EXAMPLE).save(str(tmp_path / "m.ts"))
    runner = loaded(tmp_path / "m.ts", "torchscript")
    assert np.allclose(runner.run({"image": IMAGES})[0], expected(net), atol=1e-5)


class Two(Net):
    def forward(self, image: Any) -> Any:
        return {"logits": super().forward(image), "text": "no tensor"}


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (None, "no factory builds one"),
        (lambda: torch.nn.Linear, "returns type and no torch.nn.Module"),
        (lambda: torch.nn.Conv2d(3, 4, 3), "do not fit the factory's module: the file lacks 'weight', 'bias'; the module lacks"),
        (lambda: (Net(), "x"), "example inputs are no tensors"),
        (lambda: (Net(), (EXAMPLE, EXAMPLE)), "2 example inputs for a forward that takes 1"),
        (lambda: (Two(), EXAMPLE), "returns str, which is no tensor"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(net: Any, factory: Any, says: str, tmp_path: Path) -> None:
    path = saved(net.state_dict(), tmp_path)
    with pytest.raises(ModelRefusedError, match=says):
        loaded(path, "torch-checkpoint", factory)


def test_inputs_of_other_shapes_are_refused_in_pytorch_s_words(net: Any) -> None:
    runner = module_runner(net, (EXAMPLE,))
    runner.settle()
    with pytest.raises(ModelRefusedError, match="mat1 and mat2 shapes"):
        runner.run({"image": np.zeros((1, 3, 9, 9), np.float32)})
