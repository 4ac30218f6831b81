"""Small real models, and places that the sandboxed child can read."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from qgate.cli import main
from qgate.formats.read import read_model
from qgate.measure.pair import PairRequest, measure_pair
from qgate.report.schema import read_report
from qgate.sandbox.staging import staging_directory

EXAMPLES = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="session")
def detector():
    """``detector.py``: a detector in one graph, and pictures for it."""
    spec = importlib.util.spec_from_file_location("detector", Path(__file__).with_name("detector.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stage():
    with staging_directory() as folder:
        yield folder


@pytest.fixture
def digits():
    return EXAMPLES


@pytest.fixture
def model(stage):
    """Writes a model given as ONNX text, with initializers by name; returns its path."""

    def write(name, text, **initializers):
        proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
        for key, values in initializers.items():
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(values), key))
        path = stage / f"{name}.onnx"
        path.write_bytes(proto.SerializeToString())
        return path

    return write


@pytest.fixture
def data(stage):
    """Writes an .npz; returns its path."""

    def write(name="data", compressed=False, **arrays):
        path = stage / f"{name}.npz"
        (np.savez_compressed if compressed else np.savez)(path, **arrays)
        return path

    return write


@pytest.fixture
def loop(stage):
    """A model that adds one to zero as often as its input says; 2**60 never ends."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "one"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        helper.make_node("Gather", ["times", "first"], ["count"]),
        helper.make_node("Loop", ["count", "", "zero"], ["y"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("times", onnx.TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.array(0, np.int64), "first"),
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(np.ones(1, np.float32), "one"),
        ],
    )
    path = stage / "loop.onnx"
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def measure():
    """Measures a pair; the measurements by name (and output or slice, where several share it)."""

    def run(**request):
        result = measure_pair(PairRequest(**request))
        return result, {
            (each.name, each.at.output or each.at.slice or each.at.tensor): each
            for each in result.measurements
        }

    return run


@pytest.fixture
def verified(model, tmp_path):
    """Verifies two models of one text, their weights apart, on the command line; returns the target's report."""

    def run(text, weights, inputs, *options):
        reference, candidate = (
            model(name, text, w=weight)
            for name, weight in zip(("reference", "candidate"), weights, strict=True)
        )
        asked = ["-r", reference, "-c", candidate, "-i", inputs, "--scheme", "none", *options]
        shown = CliRunner().invoke(main, ["verify", *map(str, asked), "-o", str(tmp_path / "report")])
        assert shown.exit_code == 0, shown.output
        return read_report(tmp_path / "report" / "report.json").targets[0]

    return run


@pytest.fixture
def proto_of():
    """A model of ONNX text."""
    return lambda text: onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')


@pytest.fixture
def read(tmp_path):
    """Writes a model and reads it as the gate does."""

    def write(proto):
        path = tmp_path / "m.onnx"
        path.write_bytes(proto.SerializeToString())
        return read_model(path)

    return write
