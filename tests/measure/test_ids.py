"""Ids that no row of a table belongs to: the inputs are at fault, unless only the candidate lacks the row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc


def table(path: Path, rows: int) -> Path:
    values = np.random.default_rng(1).normal(size=(rows, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8])],
        [numpy_helper.from_array(values, "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("rows", "blamed"), [((10, 10), "inputs"), ((100, 10), "candidate")])
def test_who_is_blamed_for_an_id_beyond_the_table(rows: tuple[int, int], blamed: str, tmp_path: Path) -> None:
    inputs = tmp_path / "x.npz"
    np.savez(inputs, ids=np.array([[1, 2, 3, 4], [5, 6, 7, 99]]))
    paths = table(tmp_path / "r.onnx", rows[0]), table(tmp_path / "c.onnx", rows[1])
    report = verify_ad_hoc(AdHoc(reference=paths[0], candidate=paths[1], inputs=inputs, scheme="none"))
    assert report.verdict is not Verdict.PASS
    said = [f.message for f in report.findings if "beyond the model's table" in f.message]
    if blamed == "inputs":
        (message,) = said
        assert message.endswith("the inputs hold ids beyond the model's table: 99, and it holds [-10,9]")
        assert "the reference" not in report.reason
    else:
        assert not said
