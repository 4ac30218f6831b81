"""The digest of a graph: what counts of it, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qgate.errors import FormatError
from qgate.formats.content import ModelContent, content_of, model_content
from qgate.formats.model import Graph, Node, StaticModel
from qgate.formats.read import read_model

from .digests import content, of


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    return lambda: tmp_path_factory.mktemp("m") / "m.onnx"


def network(
    folder: Path, *, order: Sequence[int] = (0, 1, 2), swap: bool = False, names: str = "", **more: Any
) -> str:
    """Two MatMuls and an Add; ``order`` is that of the file's initializers."""
    weights = [np.eye(3, dtype=np.float32) * 2, np.ones((3, 3), np.float32), np.arange(3, dtype=np.float32)]
    held = [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    first, second = ("w1", "w0") if swap else ("w0", "w1")
    nodes = [
        helper.make_node("MatMul", ["x", first], [f"{names}a"], name=f"{names}one"),
        helper.make_node("MatMul", [f"{names}a", second], [f"{names}b"], name=f"{names}two"),
        helper.make_node("Add", [f"{names}b", "w2"], ["y"], **more.get("attributes", {})),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, more.get("shape", [1, 3]))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph(nodes, "g", [x], [y], [held[i] for i in order])
    opset = helper.make_opsetid("", more.get("opset", 21))
    model = helper.make_model(graph, opset_imports=[opset], producer_name=names)
    onnx.save(model, folder / "m.onnx")
    return content_of(read_model(folder / "m.onnx"))


def test_the_order_of_initializers_and_inner_names_do_not_count(tmp_path: Path) -> None:
    plain = network(tmp_path)
    assert network(tmp_path, order=(2, 0, 1)) == plain
    assert network(tmp_path, names="other_") == plain


def test_wiring_operators_interface_and_version_count(tmp_path: Path) -> None:
    plain = network(tmp_path)
    assert network(tmp_path, swap=True) != plain
    assert network(tmp_path, shape=[1, "n"]) != plain
    assert network(tmp_path, opset=20) != plain


def parallel(folder: Path, turned: bool) -> str:
    """Two branches, listed in either order."""
    left = helper.make_node("Neg", ["x"], ["l"])
    right = helper.make_node("Abs", ["x"], ["r"])
    last = helper.make_node("Sub", ["l", "r"], ["y"])
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([right, left, last] if turned else [left, right, last], "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), folder / "m.onnx")
    return content_of(read_model(folder / "m.onnx"))


def test_the_order_of_nodes_does_not_count(tmp_path: Path) -> None:
    assert parallel(tmp_path, turned=False) == parallel(tmp_path, turned=True)


def test_a_constant_node_is_an_initializer(folder: Callable[[], Path]) -> None:
    def file(*, node: bool) -> str:
        value = onnx.numpy_helper.from_array(np.float32([7.0]), "c")
        nodes = [helper.make_node("Constant", [], ["c"], value=value)] if node else []
        nodes += [helper.make_node("Add", ["x", "c"], ["y"])]
        info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
        graph = helper.make_graph(nodes, "g", info[:1], info[1:], [] if node else [value])
        path = folder()
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
        return content_of(read_model(path))

    assert file(node=True) == file(node=False)


def test_nodes_that_nothing_needs_and_attributes_count(folder: Callable[[], Path]) -> None:
    dead = helper.make_node("Exp", ["x"], ["unused"])
    fill = onnx.numpy_helper.from_array(np.float32([1.0]), "")
    other = onnx.numpy_helper.from_array(np.float32([2.0]), "")
    shape = onnx.numpy_helper.from_array(np.int64([1]), "s")
    found = [
        content(folder()),
        content(folder(), nodes=[dead]),
        content(folder(), nodes=[dead, helper.make_node("Exp", ["x"], ["unused2"])]),
        content(folder(), nodes=[helper.make_node("LeakyRelu", ["x"], ["u"], alpha=0.1)]),
        content(folder(), nodes=[helper.make_node("LeakyRelu", ["x"], ["u"], alpha=0.2)]),
        content(folder(), shape, nodes=[helper.make_node("ConstantOfShape", ["s"], ["u"], value=fill)]),
        content(folder(), shape, nodes=[helper.make_node("ConstantOfShape", ["s"], ["u"], value=other)]),
    ]
    assert len({of(one) for one in found}) == len(found)
    assert found[5].graph == found[6].graph
    assert len({t.root for t in (*found[5].tensors, *found[6].tensors)}) == 3


def branches(folder: Path, captured: str, value: float) -> ModelContent:
    """An If whose branches use a value from around them and a constant of their own."""

    def branch(op: str) -> Any:
        own = onnx.numpy_helper.from_array(np.float32([value]), "k")
        nodes = [helper.make_node(op, [captured, "k"], ["out"])]
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
        return helper.make_graph(nodes, "b", [], [out], [own])

    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Abs", ["x"], ["m"]),
        helper.make_node("Greater", ["n", "m"], ["cond"]),
        helper.make_node(
            "If", ["cond"], ["y"], "choose", then_branch=branch("Add"), else_branch=branch("Sub")
        ),
    ]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), folder / "m.onnx")
    return model_content(read_model(folder / "m.onnx"))


def test_subgraphs_count_with_what_they_use(tmp_path: Path) -> None:
    one, wired, valued = (
        branches(tmp_path, "n", 1.0),
        branches(tmp_path, "m", 1.0),
        branches(tmp_path, "n", 2.0),
    )
    assert one.graph != wired.graph
    assert one.graph == valued.graph
    assert of(one) != of(valued)
    assert sorted(t.name for t in one.tensors) == ["choose.else_branch/k", "choose.then_branch/k"]


def test_a_long_chain_needs_no_deep_stack(folder: Callable[[], Path]) -> None:
    names = ["x", *(f"v{i}" for i in range(5000))]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in pairwise(names)]
    assert of(content(folder(), nodes=nodes)) != of(content(folder(), nodes=nodes[:-1]))


def test_a_circle_ends(folder: Callable[[], Path]) -> None:
    nodes = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["a"])]
    assert of(content(folder(), nodes=nodes)) != of(content(folder()))


def test_attributes_of_every_kind_count_and_unknown_ones_are_refused() -> None:
    def file(**attributes: object) -> str:
        node = Node("n", "op", "d", ("x",), ("y",), attributes, 0)
        graph = Graph((), (), (node,), {})
        return content_of(StaticModel(Path("m"), "torch-export", graph, {}, 0, "", {}, (), {}, 0))

    values = [
        1,
        True,
        "1",
        1.0,
        None,
        b"1",
        (1,),
        (1, 1),
        ((1,), 1),
        {"a": 1},
        {"a": 2},
        {"b": 1},
        ("1",),
        float("nan"),
        -0.0,
        0.0,
    ]
    digests = {file(a=value) for value in values} | {file(b=1), file(), file(a=1, b=1)}
    assert len(digests) == len(values) + 3
    assert file(a={"p": 1, "q": 2}) == file(a={"q": 2, "p": 1})
    with pytest.raises(FormatError, match="object"):
        file(a=object())
