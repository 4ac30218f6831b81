"""How images are prepared, as a policy declares it: what is refused, and what a change of it is."""

from __future__ import annotations

import pytest

from qgate.errors import PolicyError
from qgate.measure.preprocessing import Preprocessing
from qgate.plan.touch import rereferenced
from qgate.policy.load import load_policy
from qgate.policy.schema import Policy
from qgate.policy.target_changes import target_differences
from qgate.verifier.targets import images_of

POLICY = """\
version: 1
targets:
- name: plate
  candidate: models/a.onnx
  reference: models/b.onnx
  data: {inputs: data/plates.csv, labels: image.folder, images: {IMAGES}}
"""


def load(images: str) -> Policy:
    return load_policy(POLICY.replace("IMAGES", images).encode(), "qgate.yml")


def test_what_is_declared_is_what_is_measured_with() -> None:
    data = load("size: [224, 192], shorter: 256, mean: [0.5], std: [1, 2, 3], dtype: float16").targets[0].data
    assert images_of(data) == Preprocessing(
        (224, 192), shorter=256, mean=(0.5,), std=(1.0, 2.0, 3.0), dtype="float16"
    )


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("mode: RGB", "size"),
        ("size: [224]", "size"),
        ("size: [0, 2]", "size"),
        ("size: [2, 2], mean: [1, 2]", "`mean` has 2 numbers"),
        ("size: [2, 2], std: [0]", "std"),
        ("size: [2, 2], mean: [.nan]", "mean"),
        ("size: [2, 2], dtype: uint8, scale: 2.0", "`scale` makes no whole numbers"),
        ("size: [2, 2], dtype: uint8, mean: [1]", "`mean` makes no whole numbers"),
        ("size: [4, 4], shorter: 3", "fewer than are cut"),
        ("size: [4, 4], filter: area", "filter"),
        ("size: [4, 4], classes: [a, a]", "named twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(images: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load(images)


def test_other_preparation_is_other_data() -> None:
    old, new = load("size: [4, 4]"), load("size: [4, 4], mode: BGR")
    pair = old.targets[0], new.targets[0]
    assert rereferenced(*pair, {}) == ("data",)
    assert [kind for _, (kind, what) in target_differences(old, new, *pair) if "images" in what] == [
        "changed"
    ]
