"""Files that are well formed and make no sense: refused or judged, never an error that nobody expected."""

from __future__ import annotations

import functools
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.judge import conclude, judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.quant.build import float_view
from qgate.records import Verdict
from tests.corpus.handmade import matmul_nbits
from tests.measure.mutants import mutate
from tests.quant.twin import model, save
from tests.test_backdoors_bodies import candidate as bodies
from tests.test_backdoors_bodies import reference as around_bodies

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


@functools.cache
def pairs() -> list[tuple[onnx.ModelProto, onnx.ModelProto]]:
    """References and candidates of every form that a converter writes."""
    reference = onnx.load(DIGITS / "digits_fp32.onnx")
    forms = ("fp32", "int8_pc", "int8_pt", "int8_qop", "dyn", "w4a8", "fp16", "a16w8")
    found = [(reference, onnx.load(DIGITS / f"digits_{form}.onnx")) for form in forms]
    found.append((reference, matmul_nbits(onnx.load(DIGITS / "digits_fp32.onnx"))))
    found.append((onnx.load(DIGITS / "diabetes_fp32.onnx"), onnx.load(DIGITS / "diabetes_int8.onnx")))
    return [*found, (around_bodies(), bodies())]


@given(seed=st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_a_file_that_makes_no_sense_is_refused_or_judged(seed: int) -> None:
    random = Random(seed)
    reference, candidate = (onnx.ModelProto.FromString(p.SerializeToString()) for p in random.choice(pairs()))
    mutate(candidate, random, random.randrange(1, 4))
    if random.random() < 0.15:
        mutate(reference, random, 1)
    with TemporaryDirectory() as folder:
        one, two = save(reference, Path(folder), "one"), save(candidate, Path(folder), "two")
        try:
            found = inspect_pair(read_model(one), read_model(two), Interface())
        except FormatError as error:
            assert error.rule and error.remedy
            return
        limits = resolve(None, None, "balanced", found.scheme.name)
        findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
        conclude(findings, found.measurements)


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (helper.make_node("Relu", [], ["y"], "n"), "it reads 0 operands, and the operator takes 1"),
        (
            helper.make_node("Add", ["x", "x", "x"], ["y"], "n"),
            "it reads 3 operands, and the operator takes 2",
        ),
        (helper.make_node("Concat", [], ["y"], "n", axis=0), "takes 1 or more"),
        (helper.make_node("Relu", ["x"], ["y", "z"], "n"), "it makes 2 tensors, and the operator makes 1"),
        (helper.make_node("Softmax", ["x"], ["y"], "n", axis="last"), "'axis' is not of the type INT"),
        (helper.make_node("Transpose", ["x"], ["y"], "n", perm=1), "'perm' is not of the type INTS"),
        (helper.make_node("LeakyRelu", ["x"], ["y"], "n", alpha=float("nan")), "'alpha' is not a number"),
        (helper.make_node("Cast", ["x"], ["y"], "n", to=1.0), "'to' is not of the type INT"),
    ],
)
def test_a_node_that_no_runtime_takes_is_refused(node: onnx.NodeProto, says: str, tmp_path: Path) -> None:
    proto = model("g (float[2,3] x) => (float[2,3] y) {y = Relu (x)}")
    proto.graph.node[0].CopyFrom(node)
    with pytest.raises(FormatError, match="not those that the operator takes") as caught:
        float_view(read_model(save(proto, tmp_path)))
    assert says in str(caught.value)
    assert caught.value.rule == "ART105"


def test_a_scale_that_does_not_fit_is_a_finding(tmp_path: Path) -> None:
    """Ten scales along an axis of another length, read by a layer whose bounds and bias are looked at as well."""
    proto = onnx.load(DIGITS / "digits_int8_pc.onnx")
    scale = next(t for t in proto.graph.initializer if t.name == "f2.weight_scale")
    dequantize = next(n for n in proto.graph.node if scale.name in n.input)
    for attribute in dequantize.attribute:
        attribute.i = 0 if attribute.i else 1
    found = inspect_pair(
        read_model(DIGITS / "digits_fp32.onnx"), read_model(save(proto, tmp_path)), Interface()
    )
    told = [m for m in found.measurements if m.name == "scale.defect" and m.value == "misfit"]
    assert [(m.at.tensor, m.at.node) for m in told] == [(scale.name, "/f2/Gemm")]
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    assert conclude(findings, found.measurements)[0] in (Verdict.FAIL, Verdict.ERROR)


def test_text_in_the_place_of_a_scale_is_a_finding(tmp_path: Path) -> None:
    proto = onnx.load(DIGITS / "digits_int8_pc.onnx")
    scale = next(t for t in proto.graph.initializer if t.name == "f2.weight_scale")
    shape = list(scale.dims)
    words = [b"\xff\xfe"] * int(np.prod(shape, dtype=np.int64))
    scale.CopyFrom(helper.make_tensor(scale.name, onnx.TensorProto.STRING, shape, words))
    found = inspect_pair(
        read_model(DIGITS / "digits_fp32.onnx"), read_model(save(proto, tmp_path)), Interface()
    )
    told = {(m.value, m.at.tensor) for m in found.measurements if m.name == "scale.defect"}
    assert ("not-finite", scale.name) in told
