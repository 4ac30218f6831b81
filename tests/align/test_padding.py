"""A Pad before a convolution stands for the convolution's own pads, and for nothing else."""

import numpy as np
import pytest

from qgate.align.walk import align
from tests.quant.twin import model, view_of

WEIGHT = np.random.default_rng(3).standard_normal((4, 2, 3, 3)).astype(np.float32)
SIGNATURE = "g (float[1,2,8,8] x) => (float[N,C,H,W] y)"
INSIDE = "r = Relu (x) y = Conv <pads = [1, 2, 1, 2]> (r, w)"
BEFORE = "r = Relu (x) p = Pad (r, k) y = Conv (p, w)"


def aligned(folder, ours, theirs, **held):
    views = [
        view_of(model(f"{SIGNATURE} {{{text}}}", w=WEIGHT, **held), folder, name)
        for text, name in ((ours, "one"), (theirs, "two"))
    ]
    return align(*views, {}, {})


PADS = np.array([0, 0, 1, 2, 0, 0, 1, 2])


@pytest.mark.parametrize(("ours", "theirs"), [(INSIDE, BEFORE), (BEFORE, INSIDE)])
def test_the_same_padding_is_no_difference_on_either_side(ours, theirs, tmp_path):
    found = aligned(tmp_path, ours, theirs, k=PADS)
    assert found.differences == []
    assert found.unmatched_reference == found.unmatched_candidate == []
    assert found.tensors["r"] == "r"


def test_what_both_add_is_summed(tmp_path):
    half = "r = Relu (x) p = Pad (r, k) y = Conv <pads = [0, 1, 1, 2]> (p, w)"
    assert aligned(tmp_path, INSIDE, half, k=np.array([0, 0, 1, 1, 0, 0, 0, 0])).differences == []


@pytest.mark.parametrize(
    ("theirs", "pads"),
    [
        (BEFORE, [0, 0, 1, 2, 0, 0, 1, 1]),
        (BEFORE, [0, 0, 2, 2, 0, 0, 0, 2]),
        ("r = Relu (x) p = Pad (r, k, v) y = Conv (p, w)", [0, 0, 1, 2, 0, 0, 1, 2]),
        ('r = Relu (x) p = Pad <mode = "edge"> (r, k) y = Conv (p, w)', [0, 0, 1, 2, 0, 0, 1, 2]),
    ],
    ids=["fewer", "elsewhere", "of ones", "of the edge"],
)
def test_another_padding_is_a_difference(theirs, pads, tmp_path):
    found = aligned(tmp_path, INSIDE, theirs, k=np.array(pads), v=np.float32(1))
    assert found.differences


QUANTIZED = (
    "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) p = Pad (d, k) "
    "t = QuantizeLinear (p, u, z) e = DequantizeLinear (t, u, z) y = Conv (e, w)"
)


@pytest.mark.parametrize(("scale", "same"), [(0.1, True), (0.2, True), (0.05, False)])
def test_a_quantizer_that_cuts_off_behind_it_is_not_looked_through(scale, same, tmp_path):
    held = {"s": np.float32(0.1), "z": np.uint8(128), "u": np.float32(scale), "k": PADS}
    found = aligned(tmp_path, "y = Conv <pads = [1, 2, 1, 2]> (x, w)", QUANTIZED, **held)
    assert (found.differences == []) is same
