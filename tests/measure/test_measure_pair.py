"""What the run of a pair shows, on real models."""

import dataclasses
import math
import os

import numpy as np
import onnx
import pytest

from qgate.errors import DataError, MeasureError
from qgate.measure.pair import Known, PairRequest, Tap, measure_pair

LINEAR = "g (float[N,4] x) => (float[N,3] y) {y = MatMul(x, w)}"
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def close(a, b):
    return a == pytest.approx(b, rel=1e-9)


@pytest.fixture
def linear(model):
    return model("reference", LINEAR, w=WEIGHT), model("candidate", LINEAR, w=WEIGHT + np.float32(0.01))


def test_the_numbers_are_those_of_the_definitions(linear, data, measure):
    reference, candidate = linear
    x = np.random.default_rng(0).standard_normal((21, 4)).astype(np.float32)
    result, found = measure(reference=reference, candidate=candidate, inputs=data(x=x))
    a, b = (x @ w for w in (WEIGHT, WEIGHT + np.float32(0.01)))
    a, b = a.astype(np.float64), b.astype(np.float64)
    noise, signal = ((a - b) ** 2).sum(), (a**2).sum()
    get = lambda name: found[(f"output.{name}", "y")].value  # noqa: E731
    assert get("sqnr_db") == pytest.approx(10 * math.log10(signal / noise), abs=1e-4)
    assert get("relative_l2") == pytest.approx(math.sqrt(noise / signal), rel=1e-5)
    assert get("cosine") == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()), rel=1e-9)
    assert get("max_abs") == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert found[("output.max_abs", "y")].detail["worst_sample"] == int(np.abs(a - b).max(axis=1).argmax())
    assert get("mean_relative_error") == pytest.approx((np.abs(a - b) / (np.abs(a) + 1e-8)).mean(), rel=1e-4)
    errors = np.sort(np.abs(a - b).reshape(-1))
    assert get("abs_error_p99") == pytest.approx(errors[-1], rel=1e-4)
    worst = found[("output.worst_sample_db", "y")]
    alone = 10 * np.log10((a**2).sum(axis=1) / ((a - b) ** 2).sum(axis=1))
    assert (worst.value, worst.detail["worst_sample"]) == (
        pytest.approx(alone.min(), abs=1e-3),
        alone.argmin(),
    )
    moved = np.abs(np.sort(a, axis=None) - np.sort(b, axis=None)).mean() / a.std()
    assert get("wasserstein") == pytest.approx(moved, rel=1e-4)
    assert 0 <= get("ks") <= 1 and 0 <= get("js") <= 1
    assert found[("output.psi", "y")].not_measured == "fewer than 100 values were seen"
    assert ("output.max_abs_steps", "y") not in found, "its output has no scale"
    assert get("nonfinite_candidate") == get("nonfinite_reference") == get("shape_mismatch") == 0
    assert (result.data.origin, result.data.samples, result.problems) == ("given", 21, ())


@pytest.mark.parametrize("candidate", ["digits_int8_pc", "digits_dyn", "digits_int8_qop", "digits_fp16"])
def test_the_same_request_gives_the_same_bits_on_any_number_of_threads(candidate, digits):
    request = PairRequest(
        reference=digits / "digits_fp32.onnx",
        candidate=digits / f"{candidate}.onnx",
        inputs=digits / "digits_test.npz",
        labels="label",
        dynamic=candidate == "digits_dyn",
        taps=(Tap("/Relu_output_0", 0.0, 3.0, "scale"),),
        threads=1,
    )
    first, second, other = (
        measure_pair(each) for each in (request, request, dataclasses.replace(request, threads=3))
    )
    assert first.measurements == second.measurements == other.measurements
    assert first.problems == second.problems == other.problems == ()


def test_an_honest_int8_model_agrees_and_a_task_is_paired(digits, measure):
    steps = []
    request = PairRequest(
        reference=digits / "digits_fp32.onnx",
        candidate=digits / "digits_int8_pc.onnx",
        inputs=digits / "digits_test.npz",
        labels="label",
    )
    result = measure_pair(request, lambda done, total: steps.append((done, total)))
    found = {(m.name, m.at.slice): m for m in result.measurements}
    assert found[("output.sqnr_db", None)].value > 35
    drop = found[("task.metric_drop", None)]
    flips = found[("task.flips_to_wrong", None)].value - found[("task.flips_to_right", None)].value
    assert drop.value == flips / 597
    assert drop.low <= drop.value <= drop.high
    assert 0 < drop.detail["mde"] < 0.02
    recalls = [m for (name, _), m in found.items() if name == "task.class_recall_drop"]
    assert len(recalls) == 10
    assert sum(m.n for m in recalls) == 597
    assert steps[-1] == (597, 597)
    assert steps == sorted(steps)


def test_a_regression_is_paired_by_its_errors(digits, measure):
    _, found = measure(
        reference=digits / "diabetes_fp32.onnx",
        candidate=digits / "diabetes_int8.onnx",
        inputs=digits / "diabetes_test.npz",
        labels="target",
    )
    drop = found[("task.metric_drop", None)]
    reference, candidate = (found[(f"task.metric_{side}", None)].value for side in ("reference", "candidate"))
    assert drop.detail["metric"] == "mae"
    assert drop.value == pytest.approx(candidate - reference, abs=1e-12)
    assert drop.low < drop.value < drop.high


def test_dynamic_quantization_is_run_one_by_one(digits, measure):
    request = {
        "reference": digits / "digits_fp32.onnx",
        "candidate": digits / "digits_dyn.onnx",
        "inputs": digits / "digits_test.npz",
    }
    _, alone = measure(**request, dynamic=True)
    _, batched = measure(**request)
    name = ("output.sqnr_db", "logits")
    assert alone[name].value != batched[name].value


def test_a_nan_of_the_candidate_is_counted_before_any_metric(model, data, measure):
    reference = model("r", "g (float[N,3] x) => (float[N,3] y) {y = Identity(x)}")
    candidate = model("c", "g (float[N,3] x) => (float[N,3] y) {y = Sqrt(x)}")
    x = np.ones((10, 3), np.float32)
    x[7, 1] = -1
    _, found = measure(reference=reference, candidate=candidate, inputs=data(x=x))
    count = found[("output.nonfinite_candidate", "y")]
    assert (count.value, count.n) == (1, 30)
    assert count.detail == {"first_sample": 7, "index": 1}
    assert found[("output.sqnr_db", "y")].not_measured == "the candidate is not finite where the reference is"


def test_a_nan_of_both_is_the_references_own(model, data, measure):
    root = model("r", "g (float[N,3] x) => (float[N,3] y) {y = Sqrt(x)}")
    x = np.array([[4, -1, 9], [1, 1, 1]], np.float32)
    _, found = measure(reference=root, candidate=root, inputs=data(x=x))
    assert found[("output.nonfinite_reference", "y")].value == 1
    assert found[("output.nonfinite_candidate", "y")].value == 0
    assert found[("output.sqnr_db", "y")].value == math.inf


def test_a_candidate_alone_is_only_asked_whether_it_is_finite(model, data, measure):
    root = model("c", "g (float[N,3] x) => (float[N,3] y) {y = Sqrt(x)}")
    result, found = measure(candidate=root, inputs=data(x=np.array([[4, -1, 9]], np.float32)))
    assert [m.name for m in result.measurements] == ["output.nonfinite_candidate"]
    assert found[("output.nonfinite_candidate", "y")].value == 1


def test_a_lost_output_has_a_reason_and_a_moved_one_is_mapped(model, data, measure):
    reference = model("r", "g (float[N,3] x) => (float[N,3] y, float[N,3] z) {y = Abs(x) z = Neg(x)}")
    candidate = model("c", "g (float[N,3] image) => (float[N,3] yy) {yy = Abs(image)}")
    request = {"reference": reference, "candidate": candidate, "inputs": data(x=np.ones((3, 3), np.float32))}
    _, found = measure(**request, io_map={"x": "image", "y": "yy"})
    assert found[("output.sqnr_db", "y")].value == math.inf
    assert found[("output.sqnr_db", "z")].not_measured == "the candidate has no such output"
    result, found = measure(**request)
    assert "nothing feeds its input 'image'" in found[("output.sqnr_db", "y")].not_measured
    assert [kind for kind, _ in result.problems] == ["interface"]


def test_another_shape_is_a_mismatch_with_both_shapes(linear, model, data, measure):
    wider = model("w", "g (float[N,4] x) => (float[N,5] y) {y = MatMul(x, w)}", w=np.ones((4, 5), np.float32))
    _, found = measure(reference=linear[0], candidate=wider, inputs=data(x=np.ones((3, 4), np.float32)))
    mismatch = found[("output.shape_mismatch", "y")]
    assert mismatch.value == 3
    assert (mismatch.detail["reference"], mismatch.detail["candidate"]) == ([3], [5])
    assert found[("output.sqnr_db", "y")].not_measured == "the shapes differ"


@pytest.mark.parametrize("fixed", [1, 4])
def test_a_fixed_batch_is_respected_and_filled_up(fixed, linear, model, data, measure):
    text = LINEAR.replace("N", str(fixed))
    candidate = model("fixed", text, w=WEIGHT)
    _, found = measure(reference=linear[0], candidate=candidate, inputs=data(x=np.ones((10, 4), np.float32)))
    assert found[("output.sqnr_db", "y")].value == math.inf
    assert found[("output.sqnr_db", "y")].n == 10


def test_a_model_without_a_batch_axis_is_fed_sample_by_sample(model, data, measure):
    plain = model("plain", "g (float[3,4] x, float k) => (float[3,4] y) {y = Mul(x, k)}")
    arrays = data(x=np.ones((5, 3, 4), np.float32), k=np.arange(5, dtype=np.float32))
    result, found = measure(reference=plain, candidate=plain, inputs=arrays)
    assert found[("output.max_abs", "y")].detail["reference_max"] == 4
    assert result.data.samples == 5


def test_a_model_that_mixes_its_batch_is_run_one_by_one(model, data, measure):
    mixing = "g (float[N,3] x) => (float[N,3] y) {m = ReduceMax<keepdims = 0>(x) y = Div(x, m)}"
    found = {}
    x = np.arange(1, 31, dtype=np.float32).reshape(10, 3)
    result, found = measure(reference=model("r", mixing), candidate=model("c", mixing), inputs=data(x=x))
    assert found[("output.max_abs", "y")].detail["reference_max"] == 1
    assert found[("output.max_abs", "y")].detail["reference_min"] == pytest.approx(1 / 3)
    assert {kind for kind, _ in result.problems} == {"batch"}


def test_a_graph_that_only_holds_for_one_sample_is_run_one_by_one(model, data, measure):
    text = "g (float[N,4] x) => (float[M,2] y) {y = Reshape(x, s)}"
    single = model("single", text, s=np.array([2, 2]))
    result, found = measure(reference=single, candidate=single, inputs=data(x=np.ones((20, 4), np.float32)))
    assert found[("output.sqnr_db", "y")].value == math.inf
    assert found[("output.sqnr_db", "y")].n == 20
    assert {kind for kind, _ in result.problems} == {"batch"}


def test_a_random_model_is_said_to_be_random(model, data, measure):
    noisy = model("noisy", "g (float[1,3] x) => (float[1,3] y) {r = RandomNormalLike(x) y = Add(x, r)}")
    result, _ = measure(reference=noisy, candidate=noisy, inputs=data(x=np.ones((4, 3), np.float32)))
    assert [kind for kind, _ in result.problems] == ["nondeterministic"] * 2
    assert not any(m.deterministic for m in result.measurements)


def test_a_declared_type_is_cast_and_must_be_representable(model, data, measure):
    reference = model("r", "g (float[N,3] x) => (float[N,3] y) {y = Identity(x)}")
    candidate = model("c", "g (uint8[N,3] x) => (float[N,3] y) {y = Cast<to = 1>(x)}")
    pair = {"reference": reference, "candidate": candidate, "io_types": {"x": "uint8"}}
    whole = np.array([[0, 128, 255]], np.float32)
    for stored in (whole, whole.astype(np.uint8)):
        _, found = measure(**pair, inputs=data(x=stored))
        assert found[("output.sqnr_db", "y")].value == math.inf
    for wrong in (whole + np.float32(0.5), whole - 1, whole + 1):
        with pytest.raises(DataError, match="uint8 cannot represent"):
            measure(**pair, inputs=data(x=wrong))
    _, found = measure(**pair)
    assert found[("output.max_abs", "y")].detail["reference_max"] > 100


def test_whole_numbers_are_compared_for_equality(model, data, measure):
    reference = model("r", "g (float[N,3] x) => (int64[N] y) {y = ArgMax<axis = 1, keepdims = 0>(x)}")
    candidate = model("c", "g (float[N,3] x) => (int64[N] y) {y = ArgMin<axis = 1, keepdims = 0>(x)}")
    x = np.array([[1, 2, 3], [0, 0, 0]], np.float32)
    _, found = measure(reference=reference, candidate=candidate, inputs=data(x=x))
    assert found[("output.differing_share", "y")].value == 0.5
    assert ("output.sqnr_db", "y") not in found


def test_probabilities_are_recognised_and_diverge_where_they_should(model, data, measure):
    reference = model("r", "g (float[N,3] x) => (float[N,3] y) {y = Softmax(x)}")
    candidate = model(
        "c", "g (float[N,3] x) => (float[N,3] y) {z = Mul(x, k) y = Softmax(z)}", k=np.float32(0.5)
    )
    x = np.array([[2, 0, 0], [0, 3, 0]], np.float32)
    _, found = measure(reference=reference, candidate=candidate, inputs=data(x=x))

    def softmax(rows):
        return np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)

    p, q = softmax(x.astype(np.float64)), softmax(x / 2.0)
    divergence = (p * np.log(p / q)).sum(axis=1)
    assert found[("output.kl_mean", "y")].value == pytest.approx(divergence.mean(), rel=1e-5)
    assert found[("output.kl_max", "y")].value == pytest.approx(divergence.max(), rel=1e-5)
    assert found[("output.top1_agreement", "y")].value == 1.0
    assert found[("output.top1_agreement", "y")].detail["scores"] == "probabilities"


def test_slices_are_told_apart(model, data, measure):
    reference = model("r", "g (float[N,2] x) => (float[N,2] logits) {logits = Identity(x)}")
    candidate = model(
        "c", "g (float[N,2] x) => (float[N,2] logits) {logits = Mul(x, k)}", k=np.array([1, 1], np.float32)
    )
    flipped = model("f", "g (float[N,2] x) => (float[N,2] logits) {logits = Abs(x)}")
    x = np.array([[1, 0], [1, 0], [-1, 0], [-1, 0]], np.float32)
    arrays = data(x=x, label=np.array([0, 0, 1, 1]), country=np.array(["de", "de", "fr", "fr"]))
    request = {"reference": reference, "inputs": arrays, "labels": "label", "slices": "country"}
    _, found = measure(**request, candidate=candidate)
    assert found[("task.slice_drop", "country=fr")].value == 0
    _, found = measure(**request, candidate=flipped)
    assert found[("task.slice_drop", "country=de")].value == 0
    worse = found[("task.slice_drop", "country=fr")]
    assert (worse.value, worse.n) == (1.0, 2)
    assert found[("task.class_recall_drop", "label=1")].value == 1.0
    assert found[("task.flips_to_wrong", None)].value == 2


def test_taps_see_what_the_range_cuts_off(digits, measure):
    taps = (
        Tap("/Relu_output_0", 0.0, 1.0, "narrow", "QuantizeLinear_1"),
        Tap("/Relu_output_0", 0.0, 100.0, "wide"),
        Tap("image", 0.0, 1.0, "input"),
        Tap("logits", -100.0, 100.0, "output"),
    )
    result, found = measure(
        reference=digits / "digits_fp32.onnx",
        candidate=digits / "digits_int8_pc.onnx",
        inputs=digits / "digits_test.npz",
        taps=taps,
    )
    narrow = found[("activation.clipped_share", "narrow")]
    assert narrow.at.node == "QuantizeLinear_1"
    assert 0.1 < narrow.value < 0.2
    assert narrow.n == 597 * 16 * 64
    assert narrow.detail["observed_max"] > 3
    assert 0 < narrow.detail["clipped_energy"] < 1
    assert found[("activation.clipped_share", "wide")].value == 0
    assert found[("activation.used_range", "wide")].value < 0.05
    assert found[("activation.clipped_share", "input")].value == 0
    assert found[("activation.used_range", "input")].value == pytest.approx(1.0)
    assert found[("activation.clipped_share", "output")].n == 5970
    assert "taps" not in {kind for kind, _ in result.problems}


def test_a_tensor_that_cannot_be_tapped_is_not_measured_with_the_reason(digits, measure):
    result, found = measure(
        reference=digits / "digits_fp32.onnx",
        candidate=digits / "digits_int8_pc.onnx",
        inputs=digits / "digits_test.npz",
        taps=(Tap("no such tensor", 0.0, 1.0, "s"),),
    )
    reason = found[("activation.clipped_share", "s")].not_measured
    assert "does not load with its inner tensors exposed" in reason
    assert found[("output.sqnr_db", "logits")].value > 35
    assert "taps" in {kind for kind, _ in result.problems}


def test_side_files_are_found_with_and_without_taps(model, stage, data, measure):
    whole = model("whole", "g (float[N,4] x) => (float[N,3] y) {h = MatMul(x, w) y = Relu(h)}", w=WEIGHT)
    folder = stage / "external"
    folder.mkdir()
    split, side = folder / "m.onnx", folder / "weights.bin"
    onnx.save_model(onnx.load(whole), split, save_as_external_data=True, location=side.name, size_threshold=0)
    side.chmod(0o444)
    pair = {"reference": split, "candidate": whole, "inputs": data(x=np.ones((3, 4), np.float32))}
    with pytest.raises(MeasureError, match="Permission denied"):
        measure(**pair)  # a file that the request does not name stays closed
    pair["side_files"] = (side,)
    for taps in ((), (Tap("h", 0.0, 1.0, "s"),)):
        result, found = measure(**pair, taps=taps)
        assert found[("output.sqnr_db", "y")].value == math.inf
        assert result.problems == ()
    assert found[("activation.clipped_share", "s")].value == 1.0
    if os.geteuid() == 0:
        side.chmod(0o600)
        with pytest.raises(MeasureError, match="cannot read it"):
            measure(**pair)


def test_generated_inputs_stay_within_the_table(model, measure):
    text = """g (int64[N,seq] ids, int64[N,seq] mask) => (float[N,seq,2] y) {
        c = Cast<to = 6>(ids) e = Gather(table, c)
        m = Cast<to = 1>(mask) u = Unsqueeze(m, axes) y = Mul(e, u)}"""
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    lookup = model("lookup", text, table=table, axes=np.array([2]))
    result, found = measure(reference=lookup, candidate=lookup, samples=50)
    assert found[("output.max_abs", "y")].detail["reference_max"] == 19
    assert (result.data.origin, result.data.samples, result.data.seed) == ("generated", 50, 0)
    assert "ids [16], mask [16]" in result.problems[0][1]


def test_free_sizes_are_tried_until_the_reference_runs(model, measure):
    text = "g (float[N,a] x) => (float[N,3] y) {y = MatMul(x, w)}"
    picky = model("picky", text, w=np.ones((64, 3), np.float32))
    result, _ = measure(reference=picky, candidate=picky)
    assert "x [64]" in result.problems[0][1]
    with pytest.raises(DataError, match=r"no generated input is accepted.*--inputs"):
        measure(candidate=model("pickier", text, w=np.ones((37, 3), np.float32)))


def test_text_cannot_be_generated(model, measure):
    words = model("words", "g (string[N] x) => (string[N] y) {y = Identity(x)}")
    with pytest.raises(DataError, match="cannot be generated"):
        measure(candidate=words)


def test_another_seed_gives_other_inputs(linear, measure):
    pair = {"reference": linear[0], "candidate": linear[1]}
    name = ("output.sqnr_db", "y")
    first, again, other = (measure(**pair, seed=seed)[1][name].value for seed in (1, 1, 2))
    assert first == again != other


def test_arrays_that_feed_nothing_are_a_remark(linear, data, measure):
    arrays = data(x=np.ones((3, 4), np.float32), spare=np.zeros(2))
    result, _ = measure(candidate=linear[1], reference=linear[0], inputs=arrays)
    assert result.problems == (("data", "arrays that feed nothing: spare"),)


def test_samples_that_fail_are_an_error(model, data):
    picky = model("p", "g (float[N,2] x, int64[N] i) => (float[N,2] y) {y = Gather(x, i)}")
    arrays = data(x=np.ones((2, 2), np.float32), i=np.array([0, 5]))
    with pytest.raises(MeasureError, match="refuses the candidate"):
        measure_pair(PairRequest(candidate=picky, inputs=arrays))


def test_the_largest_error_is_told_in_steps_of_the_outputs_scale(linear, data):
    reference, candidate = linear
    known = Known(("x",), ("y",), ("y",), steps={"y": 0.125})
    request = PairRequest(
        reference=reference, candidate=candidate, inputs=data(x=np.ones((3, 4), np.float32))
    )
    found = {m.name: m for m in measure_pair(request, known=known).measurements}
    assert found["output.max_abs_steps"].value == found["output.max_abs"].value / 0.125
    assert found["output.max_abs_steps"].detail["step"] == 0.125


def test_a_reference_that_always_answers_the_same_has_no_distribution(model, data, measure):
    reference = model("r", "g (float[N,4] x) => (float[N,4] y) {y = Mul(x, z)}", z=np.zeros(4, np.float32))
    candidate = model("c", "g (float[N,4] x) => (float[N,4] y) {y = Abs(x)}")
    _, found = measure(reference=reference, candidate=candidate, inputs=data(x=np.ones((3, 4), np.float32)))
    assert found[("output.psi", "y")].not_measured == "the reference's values are all the same"
    assert found[("output.worst_sample_db", "y")].not_measured == "the reference is zero throughout sample 0"
    assert found[("output.sqnr_db", "y")].value == -math.inf
