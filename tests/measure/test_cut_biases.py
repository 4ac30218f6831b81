"""Biases that an exporter cut off towards zero: a real exporter's are told apart from flipped bits, one and several."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.bias_corrections import FEWEST, explain_bias_corrections
from qgate.measure.interface import Interface
from qgate.measure.judged import judge_constants
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.quant.alignment import ConstantPair
from qgate.quant.floatgraph import FloatGraph, Quantizer
from qgate.records import Finding, Severity
from tests.quant.codes import coded, floats

STEP = np.float32(2.0**-12)
SIZES = (1, 2, 3, 16)
UP, DOWN = 0.75, 0.25
"""What is behind the point of a quotient that is rounded up, and of one that is rounded down."""


def quotients(size: int, part: float | None = None, seed: int = 0) -> np.ndarray:
    """Quotients of a bias and its step; with ``part`` behind the point, an even number before it."""
    random = np.random.default_rng(seed)
    whole = 2 * random.integers(1, 5000, size) * random.choice([-1, 1], size)
    behind = random.uniform(0.02, 0.98, size) if part is None else np.full(size, part)
    return whole + np.sign(whole) * behind


def verdicts(*biases: tuple[np.ndarray, np.ndarray], weight_step: float | None = None) -> list[str]:
    """What becomes of biases of one model, each by its quotients and its codes.

    Its layers read codes in steps of 1 by weights in steps of ``STEP``, or of ``weight_step``.
    """
    weight = floats(np.ones((4, 4), np.float32))
    pairs = []
    for place, (exact, codes) in enumerate(biases):
        own: Any = SimpleNamespace(op="Gemm", inputs=("x",), attribute=lambda _, default: default)
        node: Any = SimpleNamespace(op="Gemm", inputs=("x", f"w{place}", f"q{place}"), node=own)
        step = STEP if weight_step is None else np.float32(weight_step)
        bias = floats((exact * STEP).astype(np.float32), name=f"b{place}")
        stored = coded(codes, STEP, 0, dtype="int32", name=f"q{place}")
        scaled = coded(np.ones((4, 4)), step, 0, name=f"w{place}")
        pairs += [
            ConstantPair(bias, stored, node, node, 2, "walk"),
            ConstantPair(weight, scaled, node, node, 1, "walk"),
        ]
    quantizer = Quantizer("x", "x", "q", "uint8", np.ones(1, np.float32), None, "x_scale", "")
    judged = judge_constants(pairs)
    graph = FloatGraph((), (), [], {}, {"x": [quantizer]}, [], False, {}, {}, read_static={"x": quantizer})
    explain_bias_corrections(judged, graph)
    return [entry.derivation.verdict for entry in judged if entry.pair.role == "bias"]


def flipped(codes: np.ndarray, place: int, bit: int) -> np.ndarray:
    changed = codes.astype(np.int32)
    changed.view(np.uint32)[place] ^= np.uint32(1 << bit)
    return changed


@pytest.mark.parametrize("size", SIZES)
def test_no_single_flipped_bit_of_a_rounded_bias_is_excused(size: int) -> None:
    """Nor where all other codes happen to lie where cutting off would have put them, and the flip leads there as well."""
    for place in range(size):
        exact = quotients(size, DOWN)
        exact[place] += np.sign(exact[place]) * (UP - DOWN)
        codes = np.rint(exact).astype(np.int32)
        assert abs(codes[place]) % 2 == 1
        found = {bit: verdicts((exact, flipped(codes, place, bit)))[0] for bit in range(32)}
        assert set(found.values()) <= {"outsiders", "not-derived"}, (place, found)


@pytest.mark.parametrize("size", SIZES)
def test_no_single_flipped_bit_of_a_bias_that_was_cut_off_is_excused(size: int) -> None:
    """The rest of the model shows that the exporter cuts off."""
    other = quotients(64, seed=1)
    evidence = (other, np.trunc(other))
    exact = quotients(size, seed=2)
    cut = np.trunc(exact).astype(np.int32)
    assert set(verdicts((exact, cut), evidence)) <= {"bias-corrected", "derived"}
    for place in range(size):
        for bit in range(32):
            said, rest = verdicts((exact, flipped(cut, place, bit)), evidence)
            nearest = flipped(cut, place, bit)[place] == np.rint(exact[place])
            assert said in ("outsiders", "not-derived") or nearest, (place, bit, said)
            assert rest == "bias-corrected"


@pytest.mark.parametrize("moved", [1, FEWEST - 1])
def test_a_handful_of_codes_moved_towards_zero_is_no_exporters_doing(moved: int) -> None:
    exact = quotients(16, DOWN)
    exact[:moved] += np.sign(exact[:moved]) * (UP - DOWN)
    assert verdicts((exact, np.trunc(exact)))[0] in ("outsiders", "not-derived")


def test_so_many_that_an_exporter_must_have_cut_them_off_are_excused() -> None:
    """What passes is one pattern, each code less than a step from its value: nobody has a choice within it."""
    exact = quotients(2 * FEWEST, DOWN)
    exact[:FEWEST] += np.sign(exact[:FEWEST]) * (UP - DOWN)
    assert verdicts((exact, np.trunc(exact))) == ["bias-corrected"]


def test_steps_that_are_not_the_layers_own_excuse_nothing() -> None:
    """Of free steps any smaller bias would be one that was cut off: b / 15.97 makes it 15 of them, six in a hundred less."""
    exact = np.full(16, 15.97)
    assert verdicts((exact, np.trunc(exact)), weight_step=float(STEP) / 7)[0] in ("outsiders", "not-derived")
    assert verdicts((exact, np.trunc(exact))) == ["bias-corrected"], "the layer's own are nobody's to choose"


def test_all_but_one_code_cut_off_is_not_excused() -> None:
    exact = quotients(64)
    codes = np.trunc(exact)
    up = int(np.flatnonzero(np.rint(exact) != codes)[0])
    codes[up] = np.rint(exact)[up]
    assert verdicts((exact, codes))[0] in ("outsiders", "not-derived")


def test_codes_cut_off_away_from_zero_or_down_are_not_excused() -> None:
    exact = quotients(64)
    for codes in (np.floor(exact), np.ceil(exact), np.trunc(exact) + np.sign(exact)):
        assert verdicts((exact, codes))[0] in ("outsiders", "not-derived")


def test_codes_too_large_for_float32_to_tell_are_not_excused() -> None:
    exact = np.trunc(quotients(64) * 4096) + 0.75
    assert verdicts((exact, np.trunc(exact * 0.999)))[0] in ("outsiders", "not-derived")


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_reference_that_is_no_number_excuses_nothing(broken: float) -> None:
    exact = quotients(64)
    codes = np.trunc(exact)
    exact[3] = broken
    assert verdicts((exact, codes))[0] != "bias-corrected"


def legacy_export(folder: Path, outputs: int) -> tuple[Path, Path]:
    """A net and what PyTorch's eager quantization and its legacy exporter make of it."""
    torch = pytest.importorskip("torch", reason="of the extra `torch`")
    quantization = torch.ao.quantization

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv = torch.nn.Conv2d(3, 24, 3)
            self.fc = torch.nn.Linear(24 * 36, outputs)

        def forward(self, x):
            return self.out(self.fc(torch.flatten(self.conv(self.into(x)).relu(), 1)))

    def export(module, name: str) -> Path:
        torch.onnx.export(
            module, torch.zeros(1, 3, 8, 8), str(folder / name), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip
        return folder / name

    before = torch.backends.quantized.engine
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        net = Net().eval()
        reference = export(net, "fp32.onnx")
        try:
            torch.backends.quantized.engine = "qnnpack"
            net.qconfig = quantization.get_default_qconfig("qnnpack")
            prepared = quantization.prepare(net)
            for _ in range(4):
                prepared(torch.randn(4, 3, 8, 8))
            candidate = export(quantization.convert(prepared), "int8.onnx")
        finally:
            torch.backends.quantized.engine = before
    return reference, candidate


def findings(reference: Path, candidate: Path) -> tuple[dict[str, str], list[Finding]]:
    found = inspect_pair(read_model(reference), read_model(candidate), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    said = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    reasons = {
        m.at.tensor: str(m.detail.get("reason"))
        for m in found.measurements
        if m.name == "weight.derivation" and m.value == "bias-corrected"
    }
    return reasons, [f for f in said if f.severity is Severity.ERROR and f.rule.startswith("QNT")]


@pytest.mark.parametrize("outputs", [2, 10])
def test_what_pytorchs_legacy_exporter_cut_off_is_called_so(tmp_path: Path, outputs: int) -> None:
    """Of two outputs one alone was cut off where it would have been rounded up: the other layer shows whose doing it is."""
    reasons, blocking = findings(*legacy_export(tmp_path, outputs))
    assert len(reasons) == 2 and all("cut off towards zero" in reason for reason in reasons.values())
    assert blocking == []
