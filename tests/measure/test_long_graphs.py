"""Inspecting a long graph is work in proportion to its length: counted in lines run, so that no clock matters."""

import sys
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair

SHORT = 100
"""More than the quantizers before one that are looked at, so that their number bounds nothing here."""
TWICE = 3.0
"""Well below four times, which is what work grows to that is done for each pair of operations."""


def pair_of(node, source, number):
    """A quantizer and its counterpart behind a tensor."""
    codes, out = f"codes{number}", f"back{number}"
    node("QuantizeLinear", [source, "step", "zero"], codes)
    node("DequantizeLinear", [codes, "step", "zero"], out)
    return out


def chain(node, source, length, quantized):
    """One quantizer behind another, of one tensor."""
    for number in range(length if quantized else 0):
        source = pair_of(node, source, number)
    return source


def rearranged(node, source, length, quantized):
    """Between the quantizers the tensor is reshaped."""
    for number in range(length):
        source = pair_of(node, source, number) if quantized else source
        source = node("Reshape", [source, "same"], f"shaped{number}")
    return source


def activated(node, source, length, quantized):
    """An activation before each quantizer, on both sides."""
    for number in range(length):
        source = node("Sigmoid", [source], f"active{number}")
        source = pair_of(node, source, number) if quantized else source
    return source


def spread(node, source, length, quantized):
    """Many quantizers beside each other, of one tensor, each with a reader of its own."""
    ends = []
    for number in range(length):
        read = pair_of(node, source, number) if quantized else source
        ends.append(node("Sigmoid", [read], f"end{number}"))
    return node("Sum", ends, "sum")


def write(path, shape, length, quantized):
    nodes = []

    def node(op, inputs, output):
        nodes.append(helper.make_node(op, inputs, [output], f"{op}_{output}"))
        return output

    end = shape(node, "x", length, quantized)
    node("Relu", [end], "y")
    held = {"step": np.float32(0.05), "zero": np.int8(0), "same": np.int64([1, 4])}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return read_model(path)


def lines(action):
    """How often an action runs each line, every turn of a loop on one line among them."""
    count = Counter()

    def trace(frame, event, argument):
        if event == "line":
            count[frame.f_code.co_filename, frame.f_lineno] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("shape", [chain, rearranged, activated, spread])
def test_twice_the_length_is_twice_the_work(shape, tmp_path):
    work = []
    # The first fills what is kept for the process.
    for length in (10, SHORT, 2 * SHORT):
        sides = [
            write(tmp_path / f"{name}.onnx", shape, length, name == "candidate")
            for name in ("reference", "candidate")
        ]
        work.append(lines(lambda sides=sides: inspect_pair(*sides, Interface())))
    _, short, long = work
    assert long.total() > 100 * SHORT
    grown = {line: (short[line], long[line]) for line in long if long[line] > SHORT}
    assert {line: count for line, count in grown.items() if count[1] > TWICE * count[0]} == {}
