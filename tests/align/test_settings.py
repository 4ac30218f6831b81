"""Attributes: spellings of one thing are one thing, and what changes the operation is told."""

import numpy as np
import pytest

from qgate.align.walk import align
from qgate.quant.attributes import Rounded, same_attribute
from tests.quant.twin import model, view_of

HEAD = "g (float[2,3,8] x) => (float y)"


def told(folder, ours, theirs, one=20, two=20, held=None, other=None):
    left = view_of(model(f"{HEAD} {{{ours}}}", opset=one, **(held or {})), folder, "one")
    right = view_of(model(f"{HEAD} {{{theirs}}}", opset=two, **(other or held or {})), folder, "two")
    return [(d.kind, d.evidence.get("attribute")) for d in align(left, right, {}, {}).differences]


@pytest.mark.parametrize(
    ("ours", "theirs", "one", "two"),
    [
        ("y = Softmax <axis = -1> (x)", "y = Softmax <axis = 2> (x)", 20, 20),
        ("y = Softmax <axis = 2> (x)", "y = Softmax (x)", 12, 13),
        ("y = Cast <to = 7, saturate = 1> (x)", "y = Cast <to = 7> (x)", 20, 12),
        ("y = ReduceMean <axes = [1]> (x)", "y = ReduceMean (x, a)", 13, 18),
        ("y = Clip <min = 0.1> (x)", "y = Clip (x, lo)", 10, 13),
        ("y = Pad <pads = [0,0,1,0,0,1]> (x)", "y = Pad (x, p, v)", 10, 13),
        ("y = Slice (x, b, e, a)", "y = Slice (x, b, e, a, s)", 20, 20),
        ("y = GridSample <mode = \"bilinear\"> (k, g)", "y = GridSample <mode = \"linear\"> (k, g)", 16, 20),
    ],
)  # fmt: skip
def test_spellings_of_one_setting_agree(ours, theirs, one, two, tmp_path):
    held = {
        "a": np.int64([1]), "b": np.int64([0]), "e": np.int64([2]), "s": np.int64([1]), "lo": np.float32(0.1),
        "p": np.int64([0, 0, 1, 0, 0, 1]), "v": np.float32(0), "g": np.zeros((2, 3, 3, 2), np.float32),
        "k": np.zeros((2, 1, 4, 4), np.float32),
    }  # fmt: skip
    assert told(tmp_path, ours, theirs, one, two, held) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "one", "two", "attribute"),
    [
        ("y = Softmax <axis = 1> (x)", "y = Softmax <axis = 1> (x)", 13, 12, "flattened"),
        ("y = Softmax (x)", "y = Softmax (x)", 13, 12, "axis"),
        ("y = ReduceMax (x, a)", "y = ReduceMax (x)", 20, 20, "axes"),
        ("y = Unsqueeze (x, m)", "y = Unsqueeze (x, t)", 20, 20, "axes"),
        ("y = LeakyRelu <alpha = 0.1> (x)", "y = LeakyRelu <alpha = 0.1001> (x)", 20, 20, "alpha"),
        ("y = Resize (x, , f)", "y = Resize (x, f)", 11, 10, "coordinate_transformation_mode"),
        ("y = Cast <to = 7> (x)", "y = Cast <to = 6> (x)", 20, 20, "to"),
    ],
)
def test_what_changes_the_operation_is_told(ours, theirs, one, two, attribute, tmp_path):
    held = {"a": np.int64([0]), "m": np.int64([-1]), "t": np.int64([2]), "f": np.float32([1, 1, 2])}
    assert ("attribute", attribute) in told(tmp_path, ours, theirs, one, two, held)


def test_a_setting_stored_in_half_is_held_to_half(tmp_path):
    half = lambda v: {"lo": np.float16(v)}  # noqa: E731
    clip = "y = Clip (x, lo)"
    assert told(tmp_path, clip, clip, held={"lo": np.float32(0.1)}, other=half(0.1)) == []
    assert told(tmp_path, clip, clip, held={"lo": np.float32(0.1)}, other=half(0.1003)) != []
    assert told(tmp_path, clip, clip, held={"lo": np.float32(0.1)}, other={"lo": np.float32(0.10003)}) != []


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (None, 0, False), (None, None, True), (float("nan"), float("nan"), True), (1.0, float("inf"), False),
        (3e38, Rounded(1e4, 5), True), (3e38, Rounded(-1e4, 5), False), (20.0, Rounded(1e4, 5), False),
        (1.0, "one", False), ((1, 2), (1,), False), ((0.5,), (0.5,), True), (1e-12, Rounded(1e-7, 1.2e-7), True),
    ],
)  # fmt: skip
def test_values_are_compared_to_the_precision_of_what_stores_them(left, right, same):
    assert same_attribute(left, right) is same
    assert same_attribute(right, left) is same


def test_absent_is_zero_only_where_no_specification_says_otherwise():
    assert same_attribute(None, 0, lenient=True)
    assert not same_attribute(None, 1, lenient=True)
