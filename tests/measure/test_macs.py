"""Multiplications of compute layers, from the shapes that a file declares."""

import numpy as np
import pytest

from qgate.measure.macs import COMPUTE, costs
from tests.quant.twin import model, view_of

KERNEL = np.ones((4, 2, 3, 3), np.float32)
MATRIX = np.ones((8, 5), np.float32)
CONV = "g (float[1,2,8,8] x) => (float[1,4,6,6] y) {y = Conv (x, w)}"
PRODUCT = "g (float[N,3,8] x) => (float[N,3,5] y) {y = MatMul (x, m)}"
BOTH = "g (float[1,2,8,8] x) => (float[1,4,6,5] y) {h = Conv (x, w) r = Reshape (h, k) y = MatMul (r, m)}"
INNER = "g (float[1,3,8] x, float[1,8,5] z) => (float[1,3,5] y) {y = MatMul (x, z)}"


@pytest.mark.parametrize(
    ("text", "found", "basis"),
    [
        (CONV, [4 * 2 * 9 * 36], "macs"),
        (PRODUCT, [8 * 5 * 3], "macs"),
        (INNER, [3 * 5 * 8], "macs"),
        (BOTH, [4 * 2 * 9, 8 * 5], "parameters"),  # what stands between is declared nowhere
    ],
    ids=["convolution", "product", "of two activations", "shapes that are not declared"],
)
def test_each_layer_costs_what_its_shapes_say(text, found, basis, tmp_path):
    graph = view_of(model(text, w=KERNEL, m=MATRIX, k=np.array([1, 4, 6, 8])), tmp_path, "m")
    nodes = [node for node in graph.nodes if node.op in COMPUTE]
    assert costs(nodes, graph) == (found, basis)
