"""Channel scales that AWQ and SmoothQuant move between tensors of files without a graph: found, and no excuse for more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from qgate.measure.moved_doubts import are_strangers
from qgate.records import Measurement, Severity, Verdict
from qgate.report.schema import TargetReport
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc
from tests.formats.test_safetensors import tensors

Arrays = dict[str, np.ndarray]
GROUP = 16
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
READERS = {"b.0.ln": ("b.0.q", "b.0.k", "b.0.v"), "b.0.v": ("b.0.o",), "b.0.ln2": ("b.0.gate", "b.0.up"),
           "b.0.up": ("b.0.down",), "b.1.ln": ("b.1.fc1",), "b.1.fc1": ("b.1.fc2",)}  # fmt: skip
SIZES = {"b.0.q": (64, 64), "b.0.k": (32, 64), "b.0.v": (64, 64), "b.0.o": (64, 64), "b.0.gate": (96, 64), "b.0.up": (96, 64),
         "b.0.down": (64, 96), "b.1.fc1": (128, 64), "b.1.fc2": (64, 128), "head": (48, 64)}  # fmt: skip


def reference(kind: type = np.float32) -> Arrays:
    rng = np.random.default_rng(5)
    found: Arrays = {f"{n}.weight": rng.normal(size=shape) * 0.1 for n, shape in SIZES.items()}
    found |= {f"{n}.weight": rng.uniform(0.4, 1.6, 64) for n in ("b.0.ln", "b.0.ln2", "b.1.ln")}
    found |= {
        "b.1.ln.bias": rng.normal(size=64),
        "b.1.fc1.bias": rng.normal(size=128),
        "b.1.fc2.bias": rng.normal(size=64),
    }
    return {name: values.astype(kind) for name, values in found.items()}


def smoothed(arrays: Arrays, spread: float = 0.5) -> Arrays:
    """Divides what is before and multiplies what reads it, in the type of the arrays."""
    made, rng = dict(arrays), np.random.default_rng(6)
    for source, readers in READERS.items():
        values = made[f"{source}.weight"]
        scale = np.exp(rng.normal(size=values.shape[0]) * spread).astype(values.dtype)
        made[f"{source}.weight"] = values / scale.reshape(-1, *(1,) * (values.ndim - 1))
        if f"{source}.bias" in made:
            made[f"{source}.bias"] = made[f"{source}.bias"] / scale
        for reader in readers:
            made[f"{reader}.weight"] = made[f"{reader}.weight"] * scale
    return made


def packed(codes: np.ndarray) -> np.ndarray:
    lanes = codes.reshape(codes.shape[0], -1, 8)[:, :, list(_AWQ_ORDER)].astype(np.uint32)
    words = np.zeros(lanes.shape[:-1], np.uint32)
    for lane in range(8):
        words |= lanes[..., lane] << np.uint32(4 * lane)
    return words.view(np.int32)


def int4(arrays: Arrays) -> Arrays:
    """As AutoAWQ writes them: inputs by outputs, groups along the inputs, nibbles interleaved."""
    made = dict(arrays)
    for name in SIZES:
        weight = made.pop(f"{name}.weight").T.astype(np.float32)
        blocks = weight.reshape(-1, GROUP, weight.shape[1])
        low, high = blocks.min(axis=1), blocks.max(axis=1)
        scale = ((high - low) / 15).astype(np.float16)
        zero = np.clip(-np.rint(low / scale), 0, 15)
        spread = np.repeat(scale.astype(np.float32), GROUP, axis=0), np.repeat(zero, GROUP, axis=0)
        made[f"{name}.qweight"] = packed(np.clip(np.rint(weight / spread[0]) + spread[1], 0, 15))
        made[f"{name}.qzeros"], made[f"{name}.scales"] = packed(zero), scale
    return made


def int8(arrays: Arrays) -> Arrays:
    """Codes beside one scale for each output."""
    made = dict(arrays)
    for name in SIZES:
        weight = made[f"{name}.weight"].astype(np.float32)
        scale = (np.abs(weight).max(axis=1, keepdims=True) / 127).astype(np.float32)
        made[f"{name}.weight"] = np.clip(np.rint(weight / scale), -128, 127).astype(np.int8)
        made[f"{name}.weight_scale"] = scale
    return made


CASES = [(np.float16, int4), (np.float32, int4), (np.float32, int8), (np.float16, int8)]


def judged(ours: Arrays, theirs: Arrays, folder: Path) -> TargetReport:
    paths = folder / "reference.safetensors", folder / "candidate.safetensors"
    for path, arrays in zip(paths, (ours, theirs), strict=True):
        path.write_bytes(tensors(arrays))
    return verify_ad_hoc(AdHoc(reference=paths[0], candidate=paths[1], profile="permissive"))


def derivations(report: TargetReport) -> dict[str, Measurement]:
    return {str(m.at.tensor): m for m in report.measurements if m.name == "weight.derivation"}


def lineage(report: TargetReport) -> list[str]:
    return [f.rule for f in report.findings if f.rule.startswith("QNT2") and f.effect is not Verdict.PASS]


@pytest.mark.parametrize(("kind", "quantize"), CASES)
def test_an_honest_pair_derives(kind: type, quantize: Callable[[Arrays], Arrays], tmp_path: Path) -> None:
    ours = reference(kind)
    report = judged(ours, quantize(smoothed(ours)), tmp_path)
    found = derivations(report)
    assert lineage(report) == []
    assert report.verdict is Verdict.INCONCLUSIVE
    plain = {name for name, m in found.items() if m.value == "derived"}
    assert {name.rpartition(".")[0] for name in plain} == {"head", "b.1.fc2"}
    assert {m.value for name, m in found.items() if name not in plain} == {"equalised"}


@pytest.mark.parametrize("spread", [0.03, 0.1, 1.0])
def test_mild_and_strong_scales(spread: float, tmp_path: Path) -> None:
    ours = reference()
    report = judged(ours, int4(smoothed(ours, spread)), tmp_path)
    assert lineage(report) == []
    assert {m.value for m in derivations(report).values()} == {"derived", "equalised"}


def tampered(
    arrays: Arrays, name: str, index: tuple[int, ...], change: Callable[[np.ndarray], np.ndarray]
) -> Arrays:
    """One element changed, by a rule on its value."""
    values = arrays[name].copy()
    values[index] = change(values[index])
    return {**arrays, name: values}


CODES = [("b.0.q", (3, 7)), ("b.0.v", (40, 2)), ("b.0.o", (63, 63)), ("b.0.up", (17, 30)), ("b.0.down", (5, 90)),
         ("b.1.fc1", (100, 1)), ("b.1.fc2", (0, 0))]  # fmt: skip


@pytest.mark.parametrize(("kind", "quantize"), CASES[1:3])
def test_a_single_code_is_found(kind: type, quantize: Callable[[Arrays], Arrays], tmp_path: Path) -> None:
    ours = reference(kind)
    good = quantize(smoothed(ours))
    for name, (row, column) in CODES:
        # A word holds eight outputs of an input; its lowest nibble is the first.
        short = quantize is int4
        tensor, index = (
            (f"{name}.qweight", (column, row // 8)) if short else (f"{name}.weight", (row, column))
        )
        report = judged(ours, tampered(good, tensor, index, lambda code: code ^ 1), tmp_path)
        (only,) = [f for f in report.findings if f.rule == "QNT201"]
        assert (only.at.tensor, only.at.index) == (tensor, (column, row // 8 * 8) if short else index)
        assert lineage(report) == ["QNT201"]
        assert (only.evidence["xor"] if "xor" in only.evidence else only.evidence["outsiders"][0]["xor"]) == 1


@pytest.mark.parametrize(
    "name", ["b.0.ln.weight", "b.0.ln2.weight", "b.1.ln.weight", "b.1.ln.bias", "b.1.fc1.bias"]
)
@pytest.mark.parametrize("factor", [1.05, -1.0, 0.0, 1e6, np.nan])
def test_an_element_of_what_was_divided_is_found(name: str, factor: float, tmp_path: Path) -> None:
    ours = reference()
    report = judged(
        ours, tampered(int8(smoothed(ours)), name, (9,), lambda v: v * np.float32(factor)), tmp_path
    )
    assert report.verdict is Verdict.FAIL
    assert (name, (9,)) in {(f.at.tensor, f.at.index) for f in report.findings}


def test_a_scale_of_one_reader_alone_is_found(tmp_path: Path) -> None:
    """One channel of q multiplied by more than k, v and the normalisation say."""
    ours = reference()
    moved = smoothed(ours)
    values = moved["b.0.q.weight"].copy()
    values[:, 9] *= 1.3
    report = judged(ours, int8({**moved, "b.0.q.weight": values}), tmp_path)
    found = derivations(report)
    assert lineage(report) == ["QNT201"]
    assert {o["index"][1] for o in found["b.0.q.weight"].detail["outsiders"]} == {9}


def test_division_that_nothing_takes_back_is_no_excuse(tmp_path: Path) -> None:
    ours = reference()
    report = judged(ours, int8({**ours, "b.0.ln.weight": smoothed(ours)["b.0.ln.weight"]}), tmp_path)
    assert derivations(report)["b.0.ln.weight"].value == "not-derived"
    assert report.verdict is Verdict.FAIL


@pytest.mark.parametrize("name", ["b.0.ln.weight", "b.1.ln.bias", "b.1.fc1.bias"])
def test_multiplication_without_a_division_is_no_excuse(name: str, tmp_path: Path) -> None:
    ours = reference()
    report = judged(ours, int8({**smoothed(ours), name: ours[name]}), tmp_path)
    assert report.verdict is Verdict.FAIL
    assert lineage(report)


def test_another_checkpoint_is_not_explained(tmp_path: Path) -> None:
    ours, rng = reference(), np.random.default_rng(8)
    other = {n: (v + 0.02 * rng.normal(size=v.shape)).astype(np.float32) for n, v in ours.items()}
    found = derivations(judged(ours, int8(smoothed(other)), tmp_path))
    assert {m.value for n, m in found.items() if n.startswith("b.")} == {"not-derived"}


def odd(report: TargetReport) -> list[tuple[str, tuple[int, ...] | None]]:
    return [(str(f.at.tensor), f.at.index) for f in report.findings if f.rule == "RNG108"]


def test_the_range_of_a_block_need_not_hold_zero(tmp_path: Path) -> None:
    """AutoAWQ divides largest less smallest, whatever their signs; a scale of neither rule is still found."""
    ours = reference()
    ours["head.weight"][3, :GROUP] = np.abs(ours["head.weight"][3, :GROUP]) + 0.05
    good = int4(ours)
    assert odd(judged(ours, good, tmp_path)) == []
    edited = tampered(good, "head.scales", (0, 3), lambda value: value * np.float16(1.1))
    assert judged(ours, edited, tmp_path).verdict is Verdict.FAIL


@pytest.mark.parametrize(("kind", "quantize"), CASES)
@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_honest_pairs_keep_their_noise_figures_and_raise_no_doubt(
    kind: type, quantize: Callable[[Arrays], Arrays], spread: float, tmp_path: Path
) -> None:
    ours = reference(kind)
    report = judged(ours, quantize(smoothed(ours, spread)), tmp_path)
    assert [
        f for f in report.findings if f.rule.startswith(("QNT", "RNG")) and f.severity is not Severity.NOTE
    ] == []
    scaled = {
        n for n, m in derivations(report).items() if m.value == "equalised" and m.detail["role"] == "weight"
    }
    assert len(scaled) == 9
    for name, least, most in (
        ("weight.sqnr_db", 15, 60), ("weight.rmse_steps", 0.25, 0.31), ("weight.nonnearest", 0, 0.01)
    ):  # fmt: skip
        values = {str(m.at.tensor): m.value for m in report.measurements if m.name == name}
        assert all(least <= float(values[tensor] or 0) <= most for tensor in scaled), (name, values)


def subnormal() -> tuple[Arrays, Arrays]:
    """Scales with a common factor that brings one small element of a float16 normalisation to two ulps of it."""
    ours, rng = reference(), np.random.default_rng(6)
    ours["b.1.ln.weight"][5] = 0.005
    scale = (np.exp(rng.normal(size=64) * 0.3) * 2e4).astype(np.float32)
    moved = {
        **ours,
        "b.1.ln.weight": (ours["b.1.ln.weight"] / scale).astype(np.float16),
        "b.1.ln.bias": ours["b.1.ln.bias"] / scale,
        "b.1.fc1.weight": ours["b.1.fc1.weight"] * scale,
    }
    return ours, int8(moved)


def test_a_subnormal_element_is_told_and_loosens_nothing_else(tmp_path: Path) -> None:
    ours, theirs = subnormal()
    report = judged(ours, theirs, tmp_path)
    assert [(f.rule, f.at.tensor, f.at.index) for f in report.findings if f.effect is Verdict.FAIL] == [
        ("QNT204", "b.1.ln.weight", (5,))
    ]
    assert derivations(report)["b.1.fc1.weight"].value == "equalised"
    for place in ((9, 5), (60, 60)):
        report = judged(ours, tampered(theirs, "b.1.fc1.weight", place, lambda code: code ^ 1), tmp_path)
        assert [f.at.index for f in report.findings if f.rule == "QNT201"] == [place]


@pytest.mark.parametrize("place", [(2, 6), (2, 36), (4, 7)])
def test_the_type_of_a_vector_loosens_no_code_of_weights_that_were_not_rounded_to_it(
    place: tuple[int, int], tmp_path: Path
) -> None:
    """The other code of what lies near a tie: beside a float16 rounding of its weight nobody could tell."""
    ours, rng = reference(), np.random.default_rng(6)
    scale = np.exp(rng.normal(size=64) * 0.3).astype(np.float32)
    weight = ours["b.1.fc1.weight"] * scale
    bias = ours["b.1.ln.bias"] / scale
    vector = (ours["b.1.ln.weight"] / scale).astype(np.float16)
    theirs = int8({**ours, "b.1.ln.weight": vector, "b.1.ln.bias": bias, "b.1.fc1.weight": weight})
    assert lineage(judged(ours, theirs, tmp_path)) == []
    codes = theirs["b.1.fc1.weight"]
    error = float(weight[place] / theirs["b.1.fc1.weight_scale"][place[0], 0]) - float(codes[place])
    assert 0.44 < abs(error) < 0.5
    other = tampered(theirs, "b.1.fc1.weight", place, lambda code: code + np.int8(np.sign(error)))
    report = judged(ours, other, tmp_path)
    assert [f.at.index for f in report.findings if f.rule == "QNT201"] == [place]


def test_codes_moved_by_a_share_of_their_size_are_not_excused_by_a_subnormal_element(tmp_path: Path) -> None:
    ours, theirs = subnormal()
    codes, rng = theirs["b.1.fc1.weight"].astype(int), np.random.default_rng(1)
    codes[:10] += np.rint(np.abs(codes[:10]) * 0.09 * rng.choice([-1, 1], codes[:10].shape)).astype(int)
    report = judged(ours, {**theirs, "b.1.fc1.weight": np.clip(codes, -127, 127).astype(np.int8)}, tmp_path)
    assert derivations(report)["b.1.fc1.weight"].value in ("not-derived", "outsiders")
    assert {"QNT201", "QNT202"} & {f.rule for f in report.findings if f.at.tensor == "b.1.fc1.weight"}
    values = theirs["b.1.ln.weight"].copy()
    values[[1, 2, 3, 10, 20]] *= np.float16(1.09)
    report = judged(ours, {**theirs, "b.1.ln.weight": values}, tmp_path)
    assert derivations(report)["b.1.ln.weight"].value in ("not-derived", "outsiders")
    assert report.verdict is Verdict.FAIL


def test_an_edited_range_of_scaled_weights_is_found(tmp_path: Path) -> None:
    """A wider step with codes that are the nearest for it: every code follows, and only its scale is odd."""
    ours = reference()
    moved = smoothed(ours)
    good = int4(moved)
    block = moved["b.0.q.weight"].T[:GROUP].astype(np.float32)
    scales = good["b.0.q.scales"].copy()
    scales[0, 8:10] *= np.float16(1.3)
    low = block.min(axis=0)
    zero, codes = unpacked(good["b.0.q.qzeros"]), unpacked(good["b.0.q.qweight"])
    step = scales[0, 8:10].astype(np.float32)
    zero[0, 8:10] = np.clip(-np.rint(low[8:10] / step), 0, 15)
    codes[:GROUP, 8:10] = np.clip(np.rint(block[:, 8:10] / step) + zero[0, 8:10], 0, 15)
    edited = {**good, "b.0.q.scales": scales, "b.0.q.qzeros": packed(zero), "b.0.q.qweight": packed(codes)}
    report = judged(ours, edited, tmp_path)
    assert derivations(report)["b.0.q.qweight"].value == "equalised"
    assert odd(report) == [("b.0.q.scales", (0, 8)), ("b.0.q.scales", (0, 9))]
    assert odd(judged(ours, good, tmp_path)) == []


def unpacked(words: np.ndarray) -> np.ndarray:
    lanes = np.stack([(words.view(np.uint32) >> np.uint32(4 * lane)) & 15 for lane in range(8)], axis=-1)
    return lanes[..., np.argsort(_AWQ_ORDER)].reshape(words.shape[0], -1).astype(int)


def doubts(report: TargetReport) -> dict[str, str]:
    return {str(f.at.tensor): f.message for f in report.findings
            if f.rule == "QNT207" and f.severity is Severity.WARNING}  # fmt: skip


def test_a_normalisation_and_a_reader_of_another_block_are_doubted(tmp_path: Path) -> None:
    ours = reference()
    moved = {name: values.copy() for name, values in ours.items()}
    for name in ("b.1.ln.weight", "b.1.ln.bias"):
        moved[name][7] /= 50
    moved["b.0.q.weight"][:, 7] *= 50
    found = doubts(judged(ours, int8(moved), tmp_path))
    assert set(found) == {"b.0.q.weight", "b.1.ln.weight", "b.1.ln.bias"}
    for message in found.values():
        assert (
            "'b.1.ln.weight' was divided and 'b.0.q.weight' multiplied, but they lie in different blocks"
            in message
        )
        assert "channels 7 of 'b.1.ln.weight' (1 of 64)" in message


def test_rows_and_columns_of_different_blocks_are_doubted(tmp_path: Path) -> None:
    ours, rng = reference(), np.random.default_rng(9)
    scale = np.exp(rng.normal(size=64) * 0.5).astype(np.float32)
    moved = {
        **ours,
        "b.0.q.weight": ours["b.0.q.weight"] / scale[:, None],
        "head.weight": ours["head.weight"] * scale,
    }
    found = doubts(judged(ours, int8(moved), tmp_path))
    assert set(found) == {"b.0.q.weight", "head.weight"}
    assert all(
        "in different blocks" in message and "from the others" not in message for message in found.values()
    )


def test_a_channel_that_departs_from_all_others_is_doubted(tmp_path: Path) -> None:
    ours = reference()
    moved = {name: values.copy() for name, values in ours.items()}
    for name in ("b.1.ln.weight", "b.1.ln.bias"):
        moved[name][[7, 30]] /= 12
    moved["b.1.fc1.weight"][:, [7, 30]] *= 12
    found = doubts(judged(ours, int8(moved), tmp_path))
    assert set(found) == {"b.1.fc1.weight", "b.1.ln.weight", "b.1.ln.bias"}
    assert all("channels 7, 30 of 'b.1.ln.weight' (2 of 64)" in message for message in found.values())
    assert not any("blocks" in message for message in found.values())


@pytest.mark.parametrize("wide", [True, False])
def test_a_type_that_leaves_half_a_step_open_is_told(wide: bool, tmp_path: Path) -> None:
    """bfloat16 scales of 8-bit codes: from a wider reference nothing is concluded, from the like it is doubted."""
    kind = np.dtype(ml_dtypes.bfloat16)
    ours = {name: values.astype(kind) for name, values in reference().items()}
    theirs = int8(smoothed(ours))
    report = judged({n: v.astype(np.float32) for n, v in ours.items()} if wide else ours, theirs, tmp_path)
    found = derivations(report)["b.1.fc1.weight"]
    assert found.value == ("unknown" if wide else "equalised")
    findings = [
        f for f in report.findings if f.at.tensor == "b.1.fc1.weight" and f.rule in ("QNT205", "QNT207")
    ]
    assert findings
    assert any("step" in f.message for f in findings)


@pytest.mark.parametrize(
    ("source", "reader", "strangers"),
    [
        ("model.layers.3.input_layernorm", "model.layers.3.self_attn.q_proj", False),
        ("model.layers.3.ln2", "model.layers.3.moe.experts.7.w1", False),
        ("model.layers.3.self_attn.v_proj", "model.layers.3.self_attn.o_proj", False),
        ("model.layers.3.moe.experts.7.w3", "model.layers.3.moe.experts.7.w2", False),
        ("ln", "fc1", False),
        ("0", "2", False),
        ("model.layers.3.moe.experts.7.w3", "model.layers.3.moe.experts.8.w2", True),
        ("model.layers.3.input_layernorm", "model.layers.30.self_attn.q_proj", True),
        ("model.norm", "model.layers.3.self_attn.q_proj", True),
        ("b.0.q", "head", True),
        ("encoder.ln", "decoder.fc", True),
    ],
)
def test_who_belongs_together(source: str, reader: str, strangers: bool) -> None:
    assert are_strangers(source, reader) is strangers
