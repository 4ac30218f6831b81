"""Exported programs: weights and operations as they stand, and refusals of whatever PyTorch would run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.content import model_content
from qgate.formats.read import read_model
from qgate.formats.torch.operators import policy_name, why_unknown
from qgate.formats.torch.program import read_program

from .parts import Zip, name, pickled, text, written

torch = pytest.importorskip("torch")
from . import models  # noqa: E402


class Shapes(torch.nn.Module):
    """Sizes that vary, a buffer, a constant, several outputs, a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)
        self.register_buffer("table", torch.arange(6.0))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.tied = torch.nn.Linear(8, 4)
        self.tied.weight = self.linear.weight
        self.constant = torch.ones(3)

    def forward(self, x: Any, y: Any) -> Any:
        z = self.linear(x) + self.tied(x) + self.constant.sum() + self.passing.sum()
        z = torch.cond(z.sum() > 0, lambda v: v + 1, lambda v: v * 2, (z,))
        return torch.cat([z, z])[: x.shape[0] * 2].reshape(-1, 4), {"mean": y.mean(1) + self.table[:1]}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pt2")
    sizes = {"x": {0: torch.export.Dim("batch", max=64)}, "y": {1: torch.export.Dim("time", max=9)}}
    x = torch.randn(3, 32)
    source = models.linear()
    shapes = (torch.randn(6, 8), torch.randn(4, 5))
    return {
        "float": models.exported(folder / "float.pt2", source, (x,)),
        "int8": models.exported(folder / "int8.pt2", models.Affine(source), (x,)),
        "int4": models.exported(folder / "int4.pt2", models.Affine(source, 4), (x,)),
        "shapes": models.exported(folder / "shapes.pt2", Shapes(), shapes, dynamic_shapes=sizes),
    }


def test_weights_are_the_program_s_own(programs: dict[str, Path]) -> None:
    for path in programs.values():
        model = read_model(path)
        program = torch.export.load(path)
        wanted = {**program.state_dict, **program.constants}
        found = {c.name: c for c in model.graph.constants.values()}
        assert set(found) == {key for key, value in wanted.items() if isinstance(value, torch.Tensor)}
        for key, constant in found.items():
            assert np.array_equal(constant.load(), wanted[key].detach().numpy()), key
        assert model_content(model).tensors


def test_operations_and_the_interface(programs: dict[str, Path]) -> None:
    model = read_model(programs["shapes"])
    assert model.format == "torch-export"
    assert model.producer.startswith("PyTorch 2.")
    assert [(t.name, t.dtype, t.shape) for t in model.graph.inputs] == [
        ("x", "float", (model.graph.inputs[0].shape[0], 8)), ("y", "float", (4, model.graph.inputs[1].shape[1])),
    ]  # fmt: skip
    assert all(isinstance(t.shape[i], str) for t, i in zip(model.graph.inputs, (0, 1), strict=True))
    assert len(model.graph.outputs) == 2
    operators = {node.op for node in model.graph.all_nodes()}
    assert {
        "torch.ops.aten.linear.default",
        "torch.ops.higher_order.cond",
        "torch.ops.aten.mul.Tensor",
    } <= operators
    assert not [op for op in operators if why_unknown(op)]
    (branch,) = [node for node in model.graph.nodes if node.op.endswith("cond")]
    assert len(list(model.graph.subgraphs())) == 2
    assert branch.label


@pytest.mark.parametrize(("which", "dtype"), [("int8", "int8"), ("int4", "int4")])
def test_codes_say_what_they_stand_for(programs: dict[str, Path], which: str, dtype: str) -> None:
    constants = {c.name: c for c in read_model(programs[which]).graph.constants.values()}
    codes = constants["_frozen_param0"]
    assert codes.dtype == dtype
    assert codes.quantization is not None
    assert (codes.quantization.axis, codes.quantization.scale.name) == (0, "_scale_0")
    weight = models.linear().weight.detach().numpy()
    scale = codes.quantization.scale.load()[:, None]
    assert np.max(np.abs(codes.load() * scale - weight) / scale) <= 0.50001


Change = Callable[[dict[str, bytes]], None]


def spoiled(path: Path, folder: Path, change: Change) -> Path:
    """The archive again, with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    return written(folder, Zip(members).build(), "m.pt2")


def edited(member: str, edit: Callable[[dict[str, Any]], Any]) -> Change:
    """A change of one JSON member."""

    def change(members: dict[str, bytes]) -> None:
        key = next(k for k in members if k.endswith(member))
        found = json.loads(members[key])
        edit(found)
        members[key] = json.dumps(found).encode()

    return change


MODEL, WEIGHTS = "models/model.json", "weights_config.json"


def added(file: str, content: bytes) -> Change:
    def change(members: dict[str, bytes]) -> None:
        members[file] = content

    return change


def graph_of(found: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = found["graph_module"]["graph"]
    return graph


def evil(found: dict[str, Any]) -> None:
    size = graph_of(found)["tensor_values"]["x"]["sizes"]
    size[0] = {"as_expr": {"expr_str": "__import__('os').system('true')", "hint": None}}


def bad_samples(members: dict[str, bytes]) -> None:
    key = next(k for k in members if "sample_inputs" in k)
    members[key] = Zip(
        {"m/data.pkl": b"\x80\x02" + name("os", "system") + text("true") + b"\x85R.", "m/version": b"3\n"}
    ).build()


def plain_samples(members: dict[str, bytes]) -> None:
    key = next(k for k in members if "sample_inputs" in k)
    members[key] = pickled(a=b"N")


def weight_entry(found: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = found["config"]["_frozen_param0"]
    return entry


CODE: list[tuple[Change, str]] = [
    (edited(WEIGHTS, lambda f: weight_entry(f).update(use_pickle=True)), "stored as a pickle"),
    (edited(WEIGHTS, lambda f: weight_entry(f).pop("use_pickle")), "stored as a pickle"),
    (edited(MODEL, evil), "no plain arithmetic"),
    (edited(MODEL, lambda f: f.update(guards_code=["__import__('os')"])), "guards"),
    (edited(MODEL, lambda f: graph_of(f)["nodes"][0]["inputs"].append(
        {"name": "o", "arg": {"as_custom_obj": {"name": "o", "class_fqn": "c"}}, "kind": 1})), "object of its own"),
    (edited(MODEL, lambda f: graph_of(f)["nodes"][0]["inputs"].append(
        {"name": "o", "arg": {"as_operator": "os.system"}, "kind": 1})), "object of its own"),
    (edited(MODEL, lambda f: f["graph_module"]["signature"]["input_specs"].append({"custom_obj": {}})), "class of its own"),
    (added("int8/data/constants/custom_obj_0", b"x"), "pickled object"),
    (added("int8/data/constants/opaque_obj_0", b"x"), "pickled object"),
    (added("int8/data/aotinductor/model/a.so", b"\x7fELF"), "native code"),
    (added("int8/extra/kernel.cubin", b"x"), "native code"),
    (bad_samples, "os.system"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), CODE, ids=[str(i) for i in range(len(CODE))])
def test_whatever_a_loader_would_run(
    change: Change, words: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CodeError) as caught:
        read_model(spoiled(programs["int8"], tmp_path, change))
    assert words in caught.value.what


REFUSED: list[tuple[Change, str]] = [
    (added("int8/payload", b"x"), "belongs to no exported program"),
    (added("int8/models/other.json", b"{}"), "holds 2 programs"),
    (added("int8/data/weights/weight_9", b"x"), "no tensor reads the member"),
    (lambda m: m.pop("int8/data/weights/weight_0") and None, "lies in no member"),
    (lambda m: m.pop("int8/archive_format") and None, "pt2 archive"),
    (added("int8/byteorder", b"big"), "byte order"),
    (plain_samples, "archive"),
    (edited(WEIGHTS, lambda f: f.update(config=[])), "table of tensors"),
    (edited(WEIGHTS, lambda f: weight_entry(f).update(path_name="../models/model.json")), "lies in no member"),
    (edited(WEIGHTS, lambda f: weight_entry(f)["tensor_meta"].update(dtype=99)), "type or layout"),
    (edited(WEIGHTS, lambda f: weight_entry(f)["tensor_meta"].update(layout=1)), "type or layout"),
    (edited(WEIGHTS, lambda f: weight_entry(f)["tensor_meta"].update(dtype=8)), "elements of double"),
    (edited(WEIGHTS, lambda f: weight_entry(f)["tensor_meta"].update(sizes=[{"as_int": -1}, {"as_int": 3}])), "no numbers"),
    (edited(WEIGHTS, lambda f: weight_entry(f)["tensor_meta"].update(sizes=[{"as_int": 3}])), "other sizes than strides"),
    (edited(WEIGHTS, lambda f: weight_entry(f)["tensor_meta"].update(storage_offset={"as_int": 1})), "declares 513"),
    (edited(WEIGHTS, lambda f: f["config"].pop("bias")), "no tensor reads"),
    (edited(MODEL, lambda f: f.update(schema_version={"major": 7, "minor": 0})), "schema version 7"),
    (edited(MODEL, lambda f: f.pop("graph_module")), "no 'graph_module'"),
    (edited(MODEL, lambda f: graph_of(f)["nodes"][0].update(target=3)), "no operator"),
    (edited(MODEL, lambda f: graph_of(f)["nodes"].append(3)), "one that is none"),
    (edited(MODEL, lambda f: graph_of(f)["nodes"][0]["inputs"].append({"name": "a", "arg": {"as_new": 1}})), "as_new"),
    (edited(MODEL, lambda f: f["graph_module"]["signature"]["input_specs"].append({"new": {}})), "of the kind 'new'"),
    (lambda m: m.update({"int8/models/model.json": b'{"a": 1, "a": 2}'}), "the name 'a' twice"),
    (lambda m: m.update({"int8/models/model.json": b"{]"}), "no JSON"),
    (lambda m: m.update({"int8/models/model.json": b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"}), "nests too deep"),
    (lambda m: m.update({"int8/models/model.json": b'{"a": NaN}'}), "NaN is no number"),
    (lambda m: m.update({"int8/models/model.json": b"[1]"}), "no JSON object"),
    (lambda m: m.update({"int8/models/model.json": b'{"a": [' + b"1," * 1_000_001 + b"1]}"}), "more than 1000000 values"),
    (lambda m: m.update({"int8/models/model.json": b'{"a": ' + b"1" * 40 + b"}"}), "more digits"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_not_an_exported_program(
    change: Change, words: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        read_model(spoiled(programs["int8"], tmp_path, change))
    assert words in caught.value.what or words in str(caught.value)
    assert not isinstance(caught.value, CodeError)


def test_scales_that_readers_do_not_agree_on(programs: dict[str, Path], tmp_path: Path) -> None:
    def second_reader(found: dict[str, Any]) -> None:
        nodes = graph_of(found)["nodes"]
        (one,) = [n for n in nodes if "dequantize_per_channel" in n["target"]]
        other = json.loads(json.dumps(one))
        for argument in other["inputs"]:
            if argument["name"] == "axis":
                argument["arg"] = {"as_int": 1}
        nodes.append(other)

    model = read_model(spoiled(programs["int8"], tmp_path, edited(MODEL, second_reader)))
    assert not [c for c in model.graph.constants.values() if c.quantization is not None]


@pytest.mark.parametrize(
    ("target", "known", "policy"),
    [
        ("torch.ops.aten.conv2d.default", True, "aten::conv2d"),
        ("torch.ops.quantized_decomposed.quantize_per_tensor.default", True, "quantized_decomposed::quantize_per_tensor"),
        ("_operator.mul", True, "torch::_operator_mul"),
        ("torch.ops.aten.from_file.default", False, "aten::from_file"),
        ("torch.ops.mylib.evil.default", False, "mylib::evil"),
        ("torch.ops.higher_order.triton_kernel_wrapper_functional", False, "higher_order::triton_kernel_wrapper_functional"),
        ("os.system", False, "torch::os_system"),
        ("builtins.eval", False, "torch::builtins_eval"),
    ],
)  # fmt: skip
def test_operators(target: str, known: bool, policy: str) -> None:
    assert (why_unknown(target) == "") is known
    assert policy_name(target) == policy


KEYS = (
    "graph_module", "graph", "nodes", "inputs", "outputs", "arg", "as_tensor", "as_ints", "name", "target", "sizes",
    "as_int", "as_expr", "expr_str", "signature", "input_specs", "tensor_values", "as_graph", "schema_version", "major",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=15,
)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_nothing_but_a_refusal_comes_out_of_any_json(programs: dict[str, Path], data: st.DataObject) -> None:
    with zipfile.ZipFile(io.BytesIO(programs["int8"].read_bytes())) as archive:
        found = json.loads(archive.read("int8/models/model.json"))
    here: Any = found
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.booleans()):
            here[key] = data.draw(JSON)
            break
        here = here[key]
    try:
        read_program(found, "m.pt2")
    except FormatError as error:
        assert error.rule in ("ART103", "ART105", "ART114")
