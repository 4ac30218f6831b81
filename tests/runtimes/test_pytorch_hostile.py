"""Files and modules that were edited to mislead: each is refused in words, or computes what it says."""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="of the extra `torch`")

import torch
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operators of programs

from qgate.errors import QgateError
from qgate.formats.read import read_model
from qgate.measure.tensors import inspect_tensors
from qgate.runtimes.base import ModelRefusedError, TensorInfo
from qgate.runtimes.pytorch.load import load_torch, module_runner

pytestmark = pytest.mark.filterwarnings("ignore")

ARTICLE = Path(__file__).parents[2] / "examples" / "article"
Edit = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None]


def edited(folder: Path, edit: Edit | None = None, **more: bytes) -> Path:
    """The article's program with its JSON changed, written as PyTorch writes archives."""
    with zipfile.ZipFile(ARTICLE / "pt2e_x86.pt2") as archive:
        members = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    program = json.loads(members["models/model.json"])
    if edit is not None:
        module = program["graph_module"]
        edit(program, module["graph"], module["signature"])
    members |= {"models/model.json": json.dumps(program).encode(), **more}
    writer = torch._C.PyTorchFileWriter(str(folder / "m.pt2"))
    for name, data in members.items():
        if name not in (".data/version", ".data/serialization_id"):
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return folder / "m.pt2"


def first(graph: dict[str, Any], operator: str) -> dict[str, Any]:
    found: dict[str, Any] = next(node for node in graph["nodes"] if operator in node["target"])
    return found


def other_input(program: Any, graph: Any, signature: Any) -> None:
    for spec in signature["input_specs"]:
        if "user_input" in spec:
            spec["user_input"]["arg"]["as_tensor"]["name"] = "another"


def other_output(program: Any, graph: Any, signature: Any) -> None:
    name = copy.deepcopy(first(graph, "conv2d")["outputs"][0]["as_tensor"]["name"])
    signature["output_specs"][0]["user_output"]["arg"]["as_tensor"]["name"] = name


def early_end(program: Any, graph: Any, signature: Any) -> None:
    graph["outputs"][0]["as_tensor"]["name"] = first(graph, "conv2d")["outputs"][0]["as_tensor"]["name"]


def other_root(program: Any, graph: Any, signature: Any) -> None:
    program["graph_module"]["module_call_graph"][0]["fqn"] = "__class__"


def other_types(program: Any, graph: Any, signature: Any) -> None:
    for value in graph["tensor_values"].values():
        value["dtype"] = 5


@pytest.mark.parametrize("edit", [other_input, other_output, early_end, other_root, other_types])
def test_a_program_whose_signature_and_graph_disagree_is_refused(edit: Edit, tmp_path: Path) -> None:
    path = edited(tmp_path, edit)
    with pytest.raises((ModelRefusedError, QgateError)):
        read_model(path)
        load_torch(path, "torch-export", None, threads=1).settle()


def test_the_same_program_written_again_is_read_and_run(tmp_path: Path) -> None:
    path = edited(tmp_path)
    assert read_model(path).format == "torch-export"
    runner = load_torch(path, "torch-export", None, threads=1)
    runner.settle()
    assert [each.shape for each in runner.outputs] == [("N", 10)]


def test_names_of_modules_are_no_code(tmp_path: Path) -> None:
    """PyTorch splits them at commas; nothing of them is evaluated."""
    mark = tmp_path / "ran"

    def edit(program: Any, graph: Any, signature: Any) -> None:
        first(graph, "relu")["metadata"]["nn_module_stack"] = f"x,__import__('os').mkdir('{mark}'),y"

    path = edited(tmp_path, edit)
    read_model(path)
    load_torch(path, "torch-export", None, threads=1).settle()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [({"models/other.json": b"{}"}, "2 programs"), ({"extra/x.pkl": b"\x80\x04\x00."}, "no text")],
)
def test_a_second_program_and_pickles_beside_it_are_refused(
    more: dict[str, bytes], says: str, tmp_path: Path
) -> None:
    with pytest.raises(QgateError, match=says):
        read_model(edited(tmp_path, **more))


def test_another_activation_is_told_where_the_reference_has_no_operations(tmp_path: Path) -> None:
    """A checkpoint cannot contradict the candidate's graph, so that nobody has looked at it."""

    def edit(program: Any, graph: Any, signature: Any) -> None:
        first(graph, "relu")["target"] = "torch.ops.aten.tanh.default"

    def told(reference: Path, candidate: Path) -> list[str]:
        found = inspect_tensors(read_model(reference), read_model(candidate)).measurements
        return [str(m.detail["message"]) for m in found if m.name == "structure.difference"]

    path = edited(tmp_path, edit)
    (message,) = told(ARTICLE / "fp32.pt", path)
    assert "held against none" in message
    assert any("tanh" in each for each in told(ARTICLE / "pt2e_x86.pt2", path))
    assert told(ARTICLE / "pt2e_x86.pt2", ARTICLE / "pt2e_x86.pt2") == []
    assert told(ARTICLE / "fp32.pt", ARTICLE / "eager_int8.pt") == [], "its factory builds the operations"


class Failing(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.sum() > -1.0:
            raise RuntimeError("\x1b[31mnot today\n::error::x")
        return image


def test_what_a_script_says_is_told_in_one_line_behind_its_trace(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Failing().eval()), tmp_path / "m.ts")
    runner = load_torch(tmp_path / "m.ts", "torchscript", None, threads=1)
    with pytest.raises(ModelRefusedError) as caught:
        runner.settle([TensorInfo("image", "float32", ("N", 3))])
    assert caught.value.what.startswith("the script failed: ") and "not today" in caught.value.what
    assert caught.value.what.isprintable()


def hooked(hook: Callable[..., Any]) -> Any:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)).eval()
    module[1].register_forward_hook(hook)
    return module


def clearing(module: Any, *_: Any) -> None:
    """Takes away every hook, those that observe included."""
    module._forward_hooks.clear()


def failing(*_: Any) -> None:
    raise KeyError("\x1b[31mboom")


def test_a_hook_that_fails_is_the_module_s_refusal() -> None:
    runner = module_runner(hooked(failing), (torch.zeros(1, 3),))
    with pytest.raises(ModelRefusedError, match="boom") as caught:
        runner.run({"input": np.zeros((1, 3), np.float32)})
    assert caught.value.what.isprintable()


def test_a_hook_that_takes_away_the_others_hides_nothing() -> None:
    runner = module_runner(hooked(clearing), (torch.zeros(1, 3),)).tapped(["1"])
    for _ in range(2):
        answer, seen = runner.run({"input": np.ones((1, 3), np.float32)})
        assert np.array_equal(answer, seen)


def test_a_hook_that_replaces_the_answer_is_what_runs_and_what_is_observed() -> None:
    runner = module_runner(hooked(lambda module, inputs, output: output * 0 + 7), (torch.zeros(1, 3),))
    answer, seen = runner.tapped(["1"]).run({"input": np.ones((1, 3), np.float32)})
    assert (answer == 7).all() and (seen == 7).all()
