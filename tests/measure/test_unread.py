"""What nothing reads: counted in the graph and in bodies, less what the reference leaves unread as well."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from qgate.formats.read import read_model
from qgate.measure.unread import measure_unread
from tests.quant.twin import model, save

TEXT = "g (float[3] x, bool c) => (float[3] y) {a = Mul (x, w) y = Relu (a)}"
HELD = {"w": np.ones(3, np.float32)}


def counted(folder, theirs, ours=None):
    one = read_model(save(ours, folder, "one")) if ours is not None else None
    unread_bytes, nodes = measure_unread(one, read_model(save(theirs, folder, "two")))
    return (
        unread_bytes.value,
        nodes.value,
        [t[0] for t in unread_bytes.detail["tensors"]],
        nodes.detail["nodes"],
    )


def with_blob(values, name="blob"):
    made = model(TEXT, **HELD)
    made.graph.initializer.append(numpy_helper.from_array(values, name))
    return made


def test_a_model_that_uses_all_of_itself(tmp_path):
    assert counted(tmp_path, model(TEXT, **HELD), model(TEXT, **HELD)) == (0, 0, [], [])


def test_an_initializer_that_nothing_reads_is_counted(tmp_path):
    blob = np.arange(1000, dtype=np.uint8)
    assert counted(tmp_path, with_blob(blob), model(TEXT, **HELD)) == (1000, 0, ["blob"], [])
    assert counted(tmp_path, with_blob(blob)) == (1000, 0, ["blob"], [])


@pytest.mark.parametrize(("values", "expected"), [(np.zeros(9, np.float32), 0), (np.ones(9, np.float32), 36)])
def test_the_references_own_leftovers_do_not_count_unless_changed(values, expected, tmp_path):
    assert counted(tmp_path, with_blob(values), with_blob(np.zeros(9, np.float32)))[0] == expected


def test_a_chain_that_leads_nowhere_is_counted_whole(tmp_path):
    made = with_blob(np.ones(50, np.float32))
    made.graph.node.append(helper.make_node("Mul", ["blob", "blob"], ["n"], "dead_1"))
    made.graph.node.append(helper.make_node("Sin", ["n"], ["m"], "dead_2"))
    assert counted(tmp_path, made) == (200, 2, ["blob"], ["dead_1", "dead_2"])


def test_a_constant_in_a_node_counts_and_idle_nodes_do_not(tmp_path):
    made = model(TEXT, **HELD)
    value = numpy_helper.from_array(np.ones(100, np.float32))
    made.graph.node.append(helper.make_node("Constant", [], ["k"], "constant", value=value))
    made.graph.node.append(helper.make_node("Identity", ["x"], ["i"], "copy"))
    assert counted(tmp_path, made) == (400, 0, ["k"], []) or counted(tmp_path, made)[:2] == (400, 0)


def test_what_a_body_reads_from_around_it_is_used_and_what_it_hides_is_not(tmp_path):
    made = with_blob(np.ones(3, np.float32), "outer")
    out = [helper.make_tensor_value_info("o", 1, None)]
    hidden = numpy_helper.from_array(np.ones(64, np.float32), "hidden")
    one = helper.make_graph([helper.make_node("Mul", ["a", "outer"], ["o"])], "t", [], out, [hidden])
    two = helper.make_graph([helper.make_node("Sin", ["a"], ["o"])], "e", [], out)
    del made.graph.node[1:]
    made.graph.node.append(helper.make_node("If", ["c"], ["y"], "choice", then_branch=one, else_branch=two))
    assert counted(tmp_path, made)[0:3] == (256, 0, ["hidden"])


def test_a_cycle_ends(tmp_path):
    made = model(TEXT, **HELD)
    made.graph.node.append(helper.make_node("Sin", ["u"], ["v"], "one"))
    made.graph.node.append(helper.make_node("Sin", ["v"], ["u"], "two"))
    assert counted(tmp_path, made)[1] == 2
