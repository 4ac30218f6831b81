"""Shifted biases of a real model: what rounding explains is a note, what is meant for the outputs is an error."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Severity

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
LAST, INNER = "f2.bias_quantized", "f1.bias_quantized"


@pytest.fixture(scope="module")
def models():
    return read_model(DIGITS / "digits_fp32.onnx"), read_model(DIGITS / "digits_int8_pc.onnx")


def blocking(models, name, edit):
    """Rules and messages of what blocks the candidate once a bias's codes are edited."""
    reference, candidate = models
    constants = dict(candidate.graph.constants)
    codes = edit(constants[name].load().astype(np.int64)).astype(np.int32)
    constants[name] = dataclasses.replace(constants[name], load=lambda: codes, raw=None)
    edited = dataclasses.replace(candidate, graph=dataclasses.replace(candidate.graph, constants=constants))
    found = inspect_pair(reference, edited, Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    said = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    assert all(f.rule != "QNT207" for f in said if f.severity is Severity.ERROR)
    return [f for f in said if f.severity is Severity.ERROR]


@pytest.mark.parametrize("name", [LAST, INNER])
@pytest.mark.parametrize("steps", [2, 10, 200, 2000])
def test_a_uniform_shift_is_found(models, name, steps):
    found = blocking(models, name, lambda codes: codes + steps)
    assert [f.at.tensor for f in found] == [name]
    assert found[0].rule in ("QNT201", "QNT203")


@pytest.mark.parametrize("steps", [2, 10, 200, 5000])
@pytest.mark.parametrize("output", [0, 7])
def test_a_shift_of_one_class_is_found_and_located(models, steps, output):
    found = blocking(models, LAST, lambda codes: codes + steps * (np.arange(codes.size) == output))
    assert (found[0].rule, found[0].at.tensor, found[0].at.index) == ("QNT201", LAST, (output,))


@pytest.mark.parametrize("steps", [300, 3000])
def test_a_shift_of_one_class_behind_an_honest_looking_correction_is_found(models, steps):
    noise = np.random.default_rng(0).integers(-9, 10, 10)
    found = blocking(models, LAST, lambda codes: codes + noise + steps * (np.arange(codes.size) == 3))
    assert [f.at.tensor for f in found] == [LAST]


def test_an_exchange_of_two_classes_is_found(models):
    found = blocking(models, LAST, lambda codes: codes[[1, 0, *range(2, codes.size)]])
    assert [f.at.tensor for f in found] == [LAST]


def test_an_erased_bias_is_called_so(models):
    (found,) = blocking(models, INNER, np.zeros_like)
    assert (found.rule, found.at.tensor) == ("QNT203", INNER)
    assert "all of it is zero" in found.message


def test_the_candidate_as_it_stands_passes(models):
    assert blocking(models, LAST, lambda codes: codes) == []


def cut_off(models):
    """The codes of the inner bias as PyTorch's legacy exporter has them."""
    reference, candidate = models
    scale = candidate.graph.constants[f"{INNER}_scale"].load().astype(np.float64)
    return np.trunc(reference.graph.constants["f1.bias"].load().astype(np.float64) / scale).astype(np.int64)


def test_codes_that_are_all_cut_off_towards_zero_are_an_exporters(models):
    cut = cut_off(models)
    stored = models[1].graph.constants[INNER].load()
    assert 0 < np.count_nonzero(cut != stored) < cut.size
    assert not blocking(models, INNER, lambda codes: cut)


def test_a_code_that_is_cut_off_by_more_is_found(models):
    cut = cut_off(models)
    cut[5] -= 3000 * np.sign(cut[5])
    assert [f.at.tensor for f in blocking(models, INNER, lambda codes: cut)] == [INNER]
