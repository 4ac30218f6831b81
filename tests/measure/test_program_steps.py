"""Exported programs that were edited after they were quantized: settings, operands, outputs, and how codes are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="of the extra `torch`")

import torch
from torch import nn

from qgate.formats.read import read_model
from qgate.measure.tensors import inspect_tensors
from qgate.records import Measurement
from tests.formats.torch import models
from tests.formats.torch.test_export import MODEL, edited, graph_of, spoiled

pytestmark = pytest.mark.filterwarnings("ignore")
SPREAD = torch.export.Dim("batch", min=2, max=64)
EXAMPLE = (torch.randn(4, 32, generator=torch.Generator().manual_seed(1)),)
Nodes = list[dict[str, Any]]
TOLD = ("structure.difference", "structure.defect")


class Net(nn.Module):
    """Two layers and what stands between and behind them; ``quantized`` makes both PT2E's."""

    def __init__(self, quantized: bool) -> None:
        super().__init__()
        torch.manual_seed(4)
        layers = nn.Linear(32, 16), nn.Linear(16, 16)
        self.one, self.two = (models.Affine(each) for each in layers) if quantized else layers

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = nn.functional.leaky_relu(self.one(x), 0.1)
        y = torch.relu(self.two(h))
        z = torch.cat([torch.sub(y, h.clamp(-1.5, 1.5)), y * 0.5], 1)
        return torch.softmax(z.reshape(x.shape[0], 2, 16), dim=2), z.mean(1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("programs")
    shapes = {"dynamic_shapes": ({0: SPREAD},)}
    return (
        models.exported(folder / "fp32.pt2", Net(quantized=False), EXAMPLE, **shapes),
        models.exported(folder / "int8.pt2", Net(quantized=True), EXAMPLE, **shapes),
    )


def told(reference: Path, candidate: Path) -> list[Measurement]:
    found = inspect_tensors(read_model(reference), read_model(candidate), not_run={})
    return [each for each in found.measurements if each.name in TOLD]


def node(nodes: Nodes, word: str, number: int = 0) -> dict[str, Any]:
    return [each for each in nodes if word in each["target"]][number]


def argument(nodes: Nodes, word: str, name: str, number: int = 0) -> dict[str, Any]:
    (found,) = (each for each in node(nodes, word, number)["inputs"] if each["name"] == name)
    return found


def sets(word: str, name: str, value: dict[str, Any], number: int = 0) -> Callable[[Nodes], None]:
    def change(nodes: Nodes) -> None:
        argument(nodes, word, name, number)["arg"] = value

    return change


def reads(word: str, name: str, other: str, number: int = 0) -> Callable[[Nodes], None]:
    def change(nodes: Nodes) -> None:
        argument(nodes, word, name, number)["arg"] = {
            "as_tensor": {"name": node(nodes, other)["outputs"][0]["as_tensor"]["name"]}
        }

    return change


def exchanged_names(nodes: Nodes) -> None:
    """The same tensors in the same order, under each other's names: a loader goes by these."""
    one, two = argument(nodes, "sub.", "self"), argument(nodes, "sub.", "other")
    one["name"], two["name"] = "other", "self"


def exchanged_order(nodes: Nodes) -> None:
    """The same tensors under the same names, in another order: a loader does not mind."""
    node(nodes, "sub.")["inputs"].reverse()


def exchanged_parts(nodes: Nodes) -> None:
    argument(nodes, "cat.", "tensors")["arg"]["as_tensors"].reverse()


def exchanged_biases(nodes: Nodes) -> None:
    one, two = (argument(nodes, "linear.", "bias", number) for number in (0, 1))
    one["arg"], two["arg"] = two["arg"], one["arg"]


def relu_on_codes(nodes: Nodes) -> None:
    """A ReLU of unsigned codes changes none, wherever it stands in the program."""
    codes, back = node(nodes, "quantize_per_tensor.", 2), node(nodes, ".dequantize_per_tensor.", 1)
    leaky = node(nodes, "leaky_relu")
    name = codes["outputs"][0]["as_tensor"]["name"]
    assert back["inputs"][0]["arg"]["as_tensor"]["name"] == name
    codes["inputs"][0]["arg"] = dict(leaky["inputs"][0]["arg"])
    leaky["inputs"][0]["arg"] = {"as_tensor": {"name": name}}
    back["inputs"][0]["arg"] = {"as_tensor": {"name": leaky["outputs"][0]["as_tensor"]["name"]}}
    nodes.remove(leaky)
    nodes.insert(nodes.index(back), leaky)


BACK = ".dequantize_per_tensor."
CHANGES: dict[str, tuple[Callable[[Nodes], None], str, str]] = {
    "slope": (sets("leaky_relu", "negative_slope", {"as_float": 0.13}), "attribute", "negative_slope 0.13"),
    "bound": (sets("clamp", "max", {"as_float": 1.4}), "attribute", "max 1.4 where the reference has 1.5"),
    "another type": (sets("clamp", "max", {"as_int": 1}), "attribute", "max 1 where"),
    "a bound left out": (sets("clamp", "min", {"as_none": True}), "attribute", "min left out"),
    "factor": (sets("mul.", "other", {"as_float": 0.6}), "attribute", "0.6"),
    "axis": (sets("softmax", "dim", {"as_int": 1}), "attribute", "dim 1"),
    "sizes": (
        sets("reshape", "shape", {"as_sym_ints": [{"as_int": 4}, {"as_int": 2}, {"as_int": 16}]}), "attribute", "shape",
    ),
    "operand": (reads("sub.", "other", "leaky_relu"), "wiring", "another tensor as other"),
    "operand that is the other one": (reads("sub.", "self", "clamp"), "wiring", "another tensor as self"),
    "names of operands": (exchanged_names, "wiring", "another tensor as"),
    "parts of a whole": (exchanged_parts, "wiring", "another tensor as tensors [xx]"),
    "biases": (exchanged_biases, "wiring", "another tensor as bias"),
    "scale": (sets(BACK, "scale", {"as_float": 0.053}), "requantized", "quantized with scale 0.05 and is dequantized"),
    "zero point": (sets(BACK, "zero_point", {"as_int": 5}), "requantized", "zero_point 3"),
    "codes": (relu_on_codes, "requantized", "computes on codes"),
}  # fmt: skip


def test_an_honest_pair_differs_in_nothing(pair: tuple[Path, Path]) -> None:
    assert told(*pair) == []
    assert told(pair[0], pair[0]) == []


@pytest.mark.parametrize("name", CHANGES)
def test_an_edited_program_is_told(name: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    change, kind, says = CHANGES[name]
    path = spoiled(pair[1], tmp_path, edited(MODEL, lambda found: change(graph_of(found)["nodes"])))
    found = told(pair[0], path)
    assert found, name
    assert {str(each.value) for each in found} == {kind}, [m.detail["message"] for m in found]
    assert any(says in str(each.detail["message"]) for each in found), [m.detail["message"] for m in found]


def test_the_order_of_named_arguments_means_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = spoiled(pair[1], tmp_path, edited(MODEL, lambda found: exchanged_order(graph_of(found)["nodes"])))
    assert told(pair[0], path) == []


def test_outputs_that_were_exchanged_are_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    def exchanged(found: dict[str, Any]) -> None:
        graph_of(found)["outputs"].reverse()
        found["graph_module"]["signature"]["output_specs"].reverse()

    messages = [
        str(m.detail["message"]) for m in told(pair[0], spoiled(pair[1], tmp_path, edited(MODEL, exchanged)))
    ]
    assert messages == [f"output {n} of the candidate's program is another result" for n in (0, 1)]


class Folded(nn.Module):
    """A convolution without a bias and the normalisation behind it, or what PT2E folds them into."""

    def __init__(self, folded: bool) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv, norm = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.norm = None if folded else norm
        if folded:
            self.conv = torch.nn.utils.fuse_conv_bn_eval(self.conv.eval(), norm.eval())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return torch.relu(x if self.norm is None else self.norm(x))


def test_a_bias_that_folding_a_normalisation_made_is_no_other_operand(tmp_path: Path) -> None:
    x = (torch.zeros(1, 2, 6, 6),)
    paths = [models.exported(tmp_path / f"{flag}.pt2", Folded(folded=flag), x) for flag in (False, True)]
    assert {str(m.value) for m in told(*paths)} <= {"unmatched"}, (
        "tensors without a counterpart are told as ever"
    )


class Normal(nn.Module):
    """Two convolutions with normalisations, the first of which may be folded in."""

    def __init__(self, folded: bool) -> None:
        super().__init__()
        torch.manual_seed(6)
        first, norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.one = torch.nn.utils.fuse_conv_bn_eval(first.eval(), norm.eval()) if folded else first
        self.norm = None if folded else norm
        self.two, self.last, self.drop = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        x = torch.relu(x if self.norm is None else self.norm(x))
        return self.drop(self.last(self.two(x)))


@pytest.fixture(scope="module")
def normalised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("normalised")
    x = (torch.zeros(1, 2, 6, 6),)
    one, two = (models.exported(folder / f"{flag}.pt2", Normal(folded=flag), x) for flag in (False, True))
    return one, two


def of_steps(found: list[Measurement]) -> list[tuple[object, str]]:
    return [(m.value, str(m.detail["message"])) for m in found if m.value != "unmatched"]


def again(nodes: Nodes) -> None:
    """A second normalisation, of the first one's tensors."""
    first = node(nodes, "batch_norm")
    other = {**first, "name": "again", "inputs": [dict(each) for each in first["inputs"]]}
    nodes.insert(nodes.index(first) + 1, other)
    other["inputs"][0]["arg"] = {"as_tensor": {"name": first["outputs"][0]["as_tensor"]["name"]}}
    other["outputs"] = [{"as_tensor": {"name": "again"}}]


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        (sets("batch_norm", "training", {"as_bool": True}), "attribute", "training True"),
        (sets("batch_norm", "eps", {"as_float": 0.1}), "attribute", "eps 0.1"),
        (sets("dropout", "train", {"as_bool": True}), "operator", "drops values by chance"),
        (again, "added", "again normalises where the reference does not"),
    ],
)
def test_a_normalisation_or_dropout_that_does_something_else_is_told(
    change: Callable[[Nodes], None], kind: str, says: str, normalised: tuple[Path, Path], tmp_path: Path
) -> None:
    reference, candidate = normalised
    assert of_steps(told(reference, candidate)) == [], "one of two normalisations is folded in"
    path = spoiled(candidate, tmp_path, edited(MODEL, lambda found: change(graph_of(found)["nodes"])))
    found = of_steps(told(reference, path))
    assert [value for value, _ in found] == [kind]
    assert says in found[0][1]
