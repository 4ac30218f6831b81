"""Whole pairs in this process: honest ones pass, planted faults fail at the exact place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.errors import UsageError
from qgate.measure.interface import Interface
from qgate.policy.load import load_policy
from qgate.records import Finding, Severity, Verdict
from qgate.report.schema import TargetReport
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc
from qgate.verify.again import judge_again

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
REFERENCE = DIGITS / "digits_fp32.onnx"
QDQ = DIGITS / "digits_int8_pc.onnx"
INPUTS = DIGITS / "digits_test.npz"


def verified(candidate: Path, reference: Path = REFERENCE, **more: object) -> TargetReport:
    return verify_ad_hoc(AdHoc(candidate=candidate, reference=reference, **more))  # type: ignore[arg-type]


def blocking(report: TargetReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity is Severity.ERROR]


def value(report: TargetReport, name: str) -> float:
    return next(m.number for m in report.measurements if m.name == name)


@pytest.fixture(scope="module")
def honest() -> TargetReport:
    return verified(QDQ, inputs=INPUTS, labels="label")


def test_an_honest_model_passes_with_every_dimension_measured(honest: TargetReport) -> None:
    assert (honest.verdict, blocking(honest), honest.scheme) == (Verdict.PASS, [], "int8")
    families = {m.name.split(".")[0] for m in honest.measurements if m.value is not None}
    assert {"artifact", "quant", "weight", "alignment", "activation", "output", "task"} <= families
    assert value(honest, "quant.share") > 0.9
    assert value(honest, "weight.derived_share") == 1.0
    assert value(honest, "output.sqnr_db") > 20
    assert 0.9 < value(honest, "task.metric_candidate") <= 1.0
    assert (honest.data.origin, honest.data.samples, honest.data.labels) == ("given", 597, "label")
    assert honest.candidate.sha256 != honest.reference.sha256  # type: ignore[union-attr]
    assert honest.candidate.bytes == QDQ.stat().st_size


@pytest.mark.parametrize(
    ("candidate", "reference", "inputs", "labels", "task", "scheme"),
    [
        ("digits_int8_qop", "digits_fp32", "digits_test", "label", None, "int8"),
        ("digits_dyn", "digits_fp32", "digits_test", "label", None, "int8"),
        ("digits_fp16", "digits_fp32", "digits_test", "label", "top1", "fp16"),
        ("diabetes_int8", "diabetes_fp32", "diabetes_test", "target", "mae", "int8"),
    ],
)
def test_honest_recipes_pass(
    candidate: str, reference: str, inputs: str, labels: str, task: str | None, scheme: str
) -> None:
    paths = {name: DIGITS / f"{name}.onnx" for name in (candidate, reference)}
    found = verified(
        paths[candidate],
        paths[reference],
        inputs=DIGITS / f"{inputs}.npz",
        labels=labels,
        task=task,
        scheme=scheme,
    )
    assert blocking(found) == []
    assert (found.verdict, found.scheme) == (Verdict.PASS, scheme)
    assert value(found, "task.metric_reference") > 0.5


def test_without_inputs_they_are_generated_and_it_is_said() -> None:
    found = verified(QDQ, seed=7, samples=3)
    assert found.verdict is Verdict.PASS
    assert (found.data.origin, found.data.seed, found.data.samples) == ("generated", 7, 3)


def test_judged_again_without_files_it_is_the_same(honest: TargetReport, tmp_path: Path) -> None:
    policy = load_policy(
        b"version: 1\ntargets:\n- {name: digits_int8_pc, candidate: gone.onnx, reference: gone_too.onnx}\n",
        "qgate.yml",
    )
    again = judge_again(honest, target=policy.targets[0], policy=policy, profile=None)
    assert again == honest
    strict = judge_again(honest, target=policy.targets[0], policy=policy, profile="strict")
    assert strict.thresholds["FEA201"]["min_db"].value == 15.0
    assert strict.measurements == honest.measurements


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[[Callable[[onnx.ModelProto], object]], TargetReport]:
    """Verifies a copy of the honest model with something done to it."""

    def run(damage: Callable[[onnx.ModelProto], object], **more: object) -> TargetReport:
        model = onnx.load(QDQ)
        damage(model)
        path = tmp_path / "damaged.onnx"
        onnx.save(model, path)
        return verified(path, inputs=INPUTS, **more)

    return run


def tensor(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def edit(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], object]) -> None:
    held = tensor(model, name)
    array = numpy_helper.to_array(held).copy()
    change(array)
    held.CopyFrom(numpy_helper.from_array(array, name))


def weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) > 1]


@pytest.mark.parametrize("bit", [0, 4, 7])
def test_a_flipped_weight_bit_is_named_with_element_and_values(damaged, bit: int) -> None:
    told: dict[str, object] = {}

    def flip(model: onnx.ModelProto) -> None:
        name = max(weights(model), key=lambda t: np.prod(t.dims)).name

        def change(array: np.ndarray) -> None:
            # A code that saturation cannot excuse.
            flat = int(np.flatnonzero(np.abs(array.astype(int)).reshape(-1) == 40)[3])
            index = tuple(int(i) for i in np.unravel_index(flat, array.shape))
            before = int(array[index])
            array.view(np.uint8)[index] ^= 1 << bit
            told.update(tensor=name, index=index, expected=before, stored=int(array[index]), xor=1 << bit)

        edit(model, name, change)

    found = damaged(flip)
    assert found.verdict is Verdict.FAIL
    first = found.findings[0]
    assert first.rule == "QNT201"
    assert (first.at.tensor, first.at.index) == (told["tensor"], told["index"])
    outsider = first.evidence["outsiders"][0]
    assert outsider["stored"] == told["stored"]
    assert abs(outsider["expected"] - told["expected"]) <= 1
    assert outsider["xor"] == (outsider["stored"] & 255) ^ (outsider["expected"] & 255)
    if bit:
        assert (outsider["expected"], outsider["xor"]) == (told["expected"], told["xor"])
    assert f"stored {told['stored']}, expected {outsider['expected']}, xor 0x" in first.message
    assert first.remedy
    assert str(first.at) in found.reason


def _nan_scale(model: onnx.ModelProto) -> None:
    edit(model, "onnx::Conv_51_scale", lambda scale: scale.__setitem__(2, np.nan))


def _doubled_scale(model: onnx.ModelProto) -> None:
    edit(model, "onnx::Conv_54_scale", lambda scale: scale.__setitem__(5, 2 * scale[5]))


def _shifted_bias(model: onnx.ModelProto) -> None:
    edit(model, "f2.bias_quantized", lambda bias: bias.__setitem__(3, bias[3] + 5000))


def _tight_range(model: onnx.ModelProto) -> None:
    edit(model, "/Relu_3_output_0_scale", lambda scale: scale.__setitem__((), scale / 50))


def _swapped_layers(model: onnx.ModelProto) -> None:
    for end in ("quantized", "scale"):
        one, two = (numpy_helper.to_array(tensor(model, f"onnx::Conv_{number}_{end}")) for number in (57, 60))
        edit(model, f"onnx::Conv_57_{end}", lambda array, new=two: np.copyto(array, new))
        edit(model, f"onnx::Conv_60_{end}", lambda array, new=one: np.copyto(array, new))


def _halved_product(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "/f2/Gemm")
    next(attribute for attribute in node.attribute if attribute.name == "alpha").f = 0.5


def _dilated_convolution(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "/c2/Conv")
    for attribute in node.attribute:
        if attribute.name in ("dilations", "pads"):
            attribute.ints[:] = [2] * len(attribute.ints)


def _renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "scores"
    next(node for node in model.graph.node if node.output[0] == "logits").output[0] = "scores"


def _custom_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("my.own", 1))
    node = next(node for node in model.graph.node if node.op_type == "MaxPool")
    node.op_type, node.domain = "Pool", "my.own"


@pytest.mark.parametrize(
    ("damage", "rule", "at", "verdict"),
    [
        (
            _nan_scale,
            "RNG101",
            "tensor onnx::Conv_51_scale node /c1/Conv [2]",
            Verdict.FAIL,
        ),
        (_doubled_scale, "QNT20", "tensor onnx::Conv_54_scale node /c2/Conv [5]", Verdict.FAIL),
        (_shifted_bias, "QNT20", "tensor f2.bias_quantized node /f2/Gemm [3]", Verdict.FAIL),
        (_tight_range, "RNG104", "tensor /Relu_3_output_0_scale", Verdict.FAIL),
        (_swapped_layers, "QNT202", "tensor onnx::Conv_57_quantized node /c3/Conv", Verdict.FAIL),
        (_dilated_convolution, "QNT301", "node /c2/Conv", Verdict.FAIL),
        (_halved_product, "QNT", "node /f2/Gemm", Verdict.FAIL),
        (_renamed_output, "ART110", "output logits", Verdict.FAIL),
        (_custom_operator, "ART106", "node /MaxPool", Verdict.ERROR),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else None,
)
def test_a_planted_fault_is_found_at_its_place(damaged, damage, rule: str, at: str, verdict: Verdict) -> None:
    found = damaged(damage)
    told = [f"{f.rule} {f.at}" for f in blocking(found)]
    assert found.verdict is verdict
    assert any(each.startswith(rule) and at in each for each in told), told
    assert all(f.message and f.remedy for f in blocking(found))


def test_a_model_that_was_not_quantized_fails_unless_it_is_declared_as_a_float_model() -> None:
    found = verified(REFERENCE, samples=2)
    assert (found.verdict, found.findings[0].rule) == (Verdict.FAIL, "QNT101")
    assert "nothing is quantized" in found.reason
    declared = verified(REFERENCE, samples=2, scheme="none")
    assert (declared.verdict, blocking(declared)) == (Verdict.PASS, [])
    assert value(declared, "output.sqnr_db") == float("inf")


def test_an_int8_model_declared_as_something_else_fails() -> None:
    for scheme, says in (("fp16", "declared fp16, found int8"), ("none", "its weights are int8")):
        found = verified(QDQ, samples=2, scheme=scheme)
        assert found.verdict is Verdict.FAIL
        assert any(f.rule == "QNT102" and says in f.message for f in blocking(found))


def float_pair(folder: Path, *, drift: float = 0.0) -> tuple[Path, Path]:
    """Two exports of one float model with another interface each, as recurrent models come in."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(16, 32)).astype("f"), rng.normal(size=(32, 4)).astype("f")

    def export(path: Path, batch: int | str, names: tuple[str, str], rate: bool, moved: float) -> Path:
        initial = [
            numpy_helper.from_array(first, "w1"),
            numpy_helper.from_array(second + np.float32(moved), "w2"),
        ]
        nodes = [
            helper.make_node("MatMul", [names[0], "w1"], ["h"], "n1"),
            helper.make_node("Tanh", ["h"], ["t"], "n2"),
            helper.make_node("MatMul", ["t", "w2"], [names[1]], "n3"),
        ]
        inputs = [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [batch, 16])]
        if rate:
            inputs.append(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
            nodes.insert(0, helper.make_node("Identity", ["sr"], ["unused"], "n0"))
        outputs = [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [batch, 4])]
        graph = helper.make_graph(nodes, "g", inputs, outputs, initial)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    reference = export(folder / "reference.onnx", "N", ("input", "output"), False, 0.0)
    return reference, export(folder / "candidate.onnx", "N", ("input", "probability"), True, drift)


DECLARED = Interface(map={"output": "probability"}, optional=("sr",))


def test_a_float_pair_with_declared_differences_passes(tmp_path: Path) -> None:
    reference, candidate = float_pair(tmp_path)
    found = verified(candidate, reference, scheme="none", interface=DECLARED, samples=8)
    assert (blocking(found), found.verdict, found.scheme) == ([], Verdict.PASS, "none")
    assert value(found, "output.sqnr_db") == float("inf")


def test_a_float_pair_with_undeclared_differences_fails_by_name(tmp_path: Path) -> None:
    reference, candidate = float_pair(tmp_path)
    found = verified(candidate, reference, scheme="none", samples=8)
    assert found.verdict is not Verdict.PASS
    differences = [f for f in blocking(found) if f.rule == "ART110"]
    assert {str(f.at) for f in differences} == {"input sr", "output output", "output probability"}


def test_a_float_pair_that_drifted_fails(tmp_path: Path) -> None:
    reference, candidate = float_pair(tmp_path, drift=0.01)
    found = verified(candidate, reference, scheme="none", interface=DECLARED, samples=8)
    assert found.verdict is Verdict.FAIL
    assert any(f.at.tensor == "w2" for f in blocking(found))


def test_a_pair_without_a_reference_is_an_error() -> None:
    found = verify_ad_hoc(AdHoc(candidate=QDQ, reference=None))
    assert (found.verdict, found.findings[0].rule) == (Verdict.ERROR, "ART101")
    assert "no reference" in found.reason
    assert "--reference" in found.findings[0].remedy


def test_labels_without_inputs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Give --inputs X\.npz"):
        verified(QDQ, labels="label")


def test_verifying_leaves_the_files_and_the_temporary_folder_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Path(tempfile.mkdtemp(prefix="verify-"))
    own.chmod(0o755)  # the child is another user
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    before = {path: path.read_bytes() for path in DIGITS.iterdir()}
    verified(QDQ, inputs=INPUTS)
    assert {path: path.read_bytes() for path in DIGITS.iterdir()} == before
    assert list(own.iterdir()) == []
    own.rmdir()
