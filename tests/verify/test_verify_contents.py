"""Content digests of a pair, leaves for the artifact, and where a model differs from the accepted one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.baseline.content import Side, compare_contents
from qgate.errors import SourceError
from qgate.formats.read import read_model
from qgate.report.schema import Artifact, ContentDelta
from qgate.report.write import leaves_file
from qgate.sources.acquire import Acquired, acquire_file
from qgate.sources.context import SourceContext
from qgate.verify.contents import Sources, digest_models, locate
from qgate.verify.pair import Acquire
from qgate.verify.state import State

SHAPE = (3, 1500)


def model(
    path: Path, weight: np.ndarray | None = None, *, name: str = "w", dims: tuple[int, ...] = SHAPE
) -> Path:
    weight = np.arange(4500, dtype=np.int8) if weight is None else weight
    held = numpy_helper.from_array(weight.reshape(dims), name)
    nodes = [
        helper.make_node("Cast", [name], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "f"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, dims[0]])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, dims[-1]])
    graph = helper.make_graph(nodes, "g", [x], [y], [held])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path


def copies(path: Path) -> Acquire:
    return lambda folder: acquire_file(path, folder, SourceContext(repo=Path()))


def digested(path: Path, staging: Path, leaves: Path | None = None) -> Side:
    acquired = copies(path)(staging)
    state = State()
    state.artifacts["candidate"] = Artifact(locator="m", sha256=acquired.sha256, files=acquired.files)
    digest_models(state, read_model(acquired.main), None, leaves)
    assert state.findings == []
    assert state.timings["content"] > 0
    return state.artifacts["candidate"], state.content


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return model(tmp_path / "old.onnx")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    weight = np.arange(4500, dtype=np.int8)
    weight[[1700, 4499]] ^= 64
    return model(tmp_path / "new.onnx", weight)


Change = Callable[..., ContentDelta]


@pytest.fixture
def change(tmp_path: Path, old: Path, new: Path) -> Change:
    """Locates what the new model changed, from what is at hand."""

    def run(*, bytes_of: Acquire | None = None, leaves: bool = False, newer: Path = new) -> ContentDelta:
        place = Path(mkdtemp(dir=tmp_path))
        before = digested(old, place / "a", leaves_file(tmp_path / "before", "plate"))
        after = digested(newer, place / "b", leaves_file(tmp_path / "after", "plate"))
        given = leaves_file(tmp_path / "before", "plate") if leaves else None
        sources = Sources(copies(newer), bytes_of, leaves_file(tmp_path / "after", "plate"), given)
        return locate(compare_contents(before, after), before, sources, place / "staging")

    return run


def test_to_the_element_from_the_accepted_bytes(change: Change, old: Path) -> None:
    found = change(bytes_of=copies(old), leaves=True)
    (tensor,) = found.tensors
    assert (found.located, found.reason) == ("elements", "")
    assert (tensor.elements, tensor.at) == (2, ((1, 200), (2, 1499)))
    assert (tensor.was, tensor.now) == ("0xa4", "0xe4")


def test_to_the_leaf_from_the_leaves(change: Change) -> None:
    found = change(leaves=True)
    assert (found.located, found.tensors[0].elements) == ("leaves", None)
    assert found.tensors[0].ranges == (((0, 1024), (1, 547)), ((2, 1096), (2, 1499)))


def test_to_the_tensor_from_the_roots_alone(change: Change) -> None:
    found = change()
    assert (found.located, [t.name for t in found.tensors], found.tensors[0].ranges) == ("tensors", ["w"], ())
    assert found.reason == "the repository does not hold the accepted model; no leaves of it are given"


def test_bytes_that_are_not_the_accepted_ones_are_not_compared_with(change: Change, new: Path) -> None:
    found = change(bytes_of=copies(new), leaves=True)
    assert found.located == "leaves"
    found = change(bytes_of=copies(new))
    assert "the trusted side's candidate is not the accepted one" in found.reason


def test_a_source_that_fails_is_a_reason(change: Change) -> None:
    def gone(_: Path) -> Acquired:
        raise SourceError("there is no such file", where="m.onnx", remedy="Commit it")

    assert "there is no such file" in change(bytes_of=gone).reason


def test_leaves_of_another_model_are_not_believed(tmp_path: Path, change: Change, old: Path) -> None:
    given = leaves_file(tmp_path / "before", "plate")
    delta = change()
    other = leaves_file(tmp_path / "after", "plate")
    before = digested(old, tmp_path / "c")
    sources = Sources(copies(old), None, other, other)
    found = locate(delta, before, sources, tmp_path / "d")
    assert (found.located, found.tensors[0].ranges) == ("tensors", ())
    assert "the leaves are not those of the accepted model" in found.reason
    shutil.copy(given, tmp_path / "cut")
    (tmp_path / "cut").write_bytes(given.read_bytes()[:-1])
    found = locate(delta, before, Sources(copies(old), None, other, tmp_path / "cut"), tmp_path / "e")
    assert "the leaves cannot be used" in found.reason


def test_a_renamed_tensor_is_located_under_its_old_name(tmp_path: Path, change: Change, old: Path) -> None:
    weight = np.arange(4500, dtype=np.int8)
    weight[0] = 5
    found = change(bytes_of=copies(old), newer=model(tmp_path / "renamed.onnx", weight, name="v"))
    (tensor,) = found.tensors
    assert (tensor.kind, tensor.before, tensor.elements, tensor.at) == ("renamed", "w", 1, ((0, 0),))


def test_another_shape_has_no_places(tmp_path: Path, change: Change, old: Path) -> None:
    found = change(bytes_of=copies(old), newer=model(tmp_path / "turned.onnx", dims=(1500, 3)))
    (tensor,) = found.tensors
    assert (tensor.kind, tensor.before, tensor.elements) == ("retyped", "int8 3x1500", None)


def test_leaves_that_cannot_be_written_are_said_and_decide_nothing(tmp_path: Path, old: Path) -> None:
    (tmp_path / "file").write_text("")
    state = State()
    state.artifacts["candidate"] = Artifact(locator="m")
    digest_models(state, read_model(old), None, leaves_file(tmp_path / "file", "plate"))
    assert state.content is not None
    (finding,) = state.findings
    assert (finding.rule, finding.severity.value) == ("TRC114", "note")


def test_both_sides_are_digested(tmp_path: Path, old: Path, new: Path) -> None:
    state = State()
    state.artifacts = {side: Artifact(locator=side) for side in ("candidate", "reference")}
    digest_models(state, read_model(new), read_model(old), None)
    digests = [state.artifacts[side].content for side in ("candidate", "reference")]
    assert all(digest and len(digest) == 64 for digest in digests)
    assert digests[0] != digests[1]
    assert state.content is not None
    assert state.content.agrees_with(state.artifacts["candidate"])
