"""Runtimes beside one another: bytes between processes, steps, and where two of them part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qgate.errors import MeasureError
from qgate.measure.deployed.arrays import pack, unpack
from qgate.measure.deployed.compare import compare, range_step
from qgate.measure.deployed.locate import AT_ONCE, Parting, Spot, first_parting
from qgate.measure.deployed.request import RuntimeRequest
from qgate.measure.request import PairRequest, Tap
from qgate.runtimes.processor import saturates
from qgate.runtimes.registry import RUNTIMES, Runtime


def test_arrays_come_back_as_they_were() -> None:
    arrays = [
        ("input", "x", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("candidate", "ü\n", np.array([[True], [False]])),
        ("tap", "scalar", np.array(3, np.int8)),
        ("reference", "none", np.zeros((0, 4), np.float16)),
    ]
    answer, found = unpack(pack({"names": {"x": "x"}, "samples": 2}, arrays), "m.onnx")
    assert answer.names == {"x": "x"}
    for (kind, name, values), state, back in zip(arrays, answer.arrays, found, strict=True):
        assert (state.kind, state.name) == (kind, name)
        assert back.dtype == values.dtype
        assert np.array_equal(back, values)
        assert back.shape == values.shape


def _line(**told) -> bytes:
    return json.dumps({"schema": "qgate-runtime/v1", **told}).encode() + b"\n"


_ARRAY = {"kind": "candidate", "name": "y", "dtype": "float32", "shape": [2]}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\n",
        b"null\n",
        b"[" * 100_000,
        _line(arrays=[_ARRAY]) + b"\0" * 7,
        _line(arrays=[_ARRAY]) + b"\0" * 9,
        _line(arrays=[{**_ARRAY, "shape": [2**62, 4]}]) + b"\0" * 8,
        _line(arrays=[{**_ARRAY, "shape": [-2]}]) + b"\0" * 8,
        _line(arrays=[{**_ARRAY, "dtype": "object"}]) + b"\0" * 8,
        _line(arrays=[{**_ARRAY, "shape": [1] * 65}]) + b"\0" * 4,
        _line(arrays=[{**_ARRAY, "kind": "code"}]) + b"\0" * 8,
        _line(more=1),
        _line(samples=-1),
        _line(error={"kind": "refused"}, arrays=[_ARRAY]) + b"\0" * 8,
        json.dumps({"schema": "qgate-runtime/v2"}).encode() + b"\n",
        _line(judgement={"version": "1", "errors": []}),
    ],
)
def test_what_no_child_of_ours_says_is_not_believed(payload: bytes) -> None:
    with pytest.raises(MeasureError, match="malformed data"):
        unpack(payload, "m.onnx")


def test_the_request_comes_back_as_it_was(tmp_path: Path) -> None:
    pair = PairRequest(tmp_path / "c.onnx", tmp_path / "r.onnx", taps=(Tap("t", -1.0, 1.0, "s"),))
    asked = RuntimeRequest(
        "materialise", "openvino", tmp_path / "m.onnx", (tmp_path / "m.data",), pair, tmp_path / "i.npz", {"x": "i0"},
        {"i0": "float16"}, True, ("a", "b"), 3, {"x": (1, 3)},
    )  # fmt: skip
    assert RuntimeRequest.from_json(asked.to_json()) == asked
    assert set(asked.files()) == set(pair.files())


def test_a_difference_is_told_in_steps() -> None:
    one = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    other = one + np.array([[0.0, 0.0], [0.0, 0.5]], np.float32)
    found = compare(one, other, 0.25)
    assert found is not None
    assert found.most == 2.0
    assert found.rms == pytest.approx(1.0)
    assert found.index == (1, 1)
    assert found.sqnr_db == pytest.approx(10 * np.log10(14 / 0.25))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_finite_on_one_side_alone_is_no_agreement(value: float) -> None:
    one, other = np.zeros(4, np.float32), np.zeros(4, np.float32)
    other[2] = value
    found = compare(one, other, 1.0)
    assert found is not None
    assert not found.most <= 1e30
    assert found.index == (2,)
    same = compare(other, other, 1.0)
    assert same is not None
    assert same.most == 0


def test_other_shapes_are_no_difference_in_steps() -> None:
    assert compare(np.zeros((2, 3)), np.zeros((3, 2)), 1.0) is None
    empty = compare(np.zeros((0, 2)), np.zeros((0, 2)), 1.0)
    assert empty is not None
    assert empty.most == 0
    blind = compare(np.zeros(2), np.ones(2), 0.0)
    assert blind is not None
    assert blind.most == np.inf


def test_a_step_of_an_output_without_quantizer_is_of_its_range() -> None:
    assert range_step(np.array([-1.0, 4.1])) == pytest.approx(0.02)
    assert range_step(np.array([np.nan, 2.0, np.inf])) == pytest.approx(2 / 255)
    assert range_step(np.zeros(0)) == 0
    assert range_step(np.array([np.nan])) == 0


class Looked:
    """Two runtimes that part at one tensor, and how often they were asked."""

    def __init__(self, count: int, at: int | None, lacking: frozenset[int] = frozenset()) -> None:
        self.every = [Spot(f"t{i}", f"n{i}", 0.5) for i in range(count)]
        self.at, self.lacking, self.asked = at, lacking, []

    def __call__(self, taps):
        self.asked.append(list(taps))
        assert len(taps) <= AT_ONCE
        numbers = [int(name[1:]) for name in taps]
        one = {f"t{i}": np.zeros(3, np.float32) for i in numbers}
        far = {
            f"t{i}": np.full(3, 2.0 if self.at is not None and i >= self.at else 0.4, np.float32)
            for i in numbers
            if i not in self.lacking
        }
        return one, far


@pytest.mark.parametrize(
    ("count", "at"), [(1, 0), (5, 0), (5, 4), (20, 7), (21, 20), (500, 0), (500, 317), (500, 499)]
)
def test_the_first_tensor_that_parts_is_found(count: int, at: int) -> None:
    looked = Looked(count, at)
    found = first_parting(looked.every, looked)
    assert isinstance(found, Parting)
    assert found.spot.node == f"n{at}"
    assert found.most == 4.0
    assert found.after == (f"t{at - 1}" if at else "")
    assert len(looked.asked) <= 3


def test_where_nothing_parts_it_says_how_much_was_looked_at() -> None:
    looked = Looked(7, None)
    assert first_parting(looked.every, looked) == 7
    assert first_parting([], looked) == 0


def test_tensors_that_cannot_be_had_are_passed_over() -> None:
    looked = Looked(12, 5, frozenset({4, 5, 6}))
    found = first_parting(looked.every, looked)
    assert isinstance(found, Parting)
    assert (found.spot.node, found.after) == ("n7", "t3")
    assert first_parting(looked.every, Looked(12, 5, frozenset(range(12)))) == 0


def test_what_is_not_installed_is_known_without_importing_it() -> None:
    assert not Runtime("x", "X", "no_such_package_of_ours", "x", ("onnx",)).installed
    assert RUNTIMES["onnxruntime"].installed


@pytest.mark.parametrize(
    ("flags", "known"),
    [
        ("fpu ssse3 avx2", True),
        ("fpu ssse3 avx2 avx512bw", True),
        ("fpu ssse3 avx2 avx512_vnni", False),
        ("fpu ssse3 avx2 avx_vnni", False),
        ("asimd asimddp", False),
    ],
)
def test_a_processor_without_vnni_saturates(flags: str, known: bool) -> None:
    assert saturates(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n") is known
    assert saturates("") is False


def test_every_runtime_that_a_policy_can_name_is_known() -> None:
    from typing import get_args

    from qgate.policy.values import Runtime as Named

    assert set(RUNTIMES) >= set(get_args(Named))
