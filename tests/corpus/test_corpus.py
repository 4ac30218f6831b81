"""The corpus generators: what they write is deterministic, loads, and is what it says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

ROOT = Path(__file__).resolve().parents[2]
ONLY = "^(h|c)_mlp|^c_digits.*_(renamed|external)|^(w10[03]|s10[06]|f12|i10[024]|g1[01]|d10[014]).*__mlp"


def build(folder: Path) -> list[dict]:
    pytest.importorskip("torch")
    line = [sys.executable, "-m", "tests.corpus.build", str(folder), "--only", ONLY]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp("corpus") / "built"
    return folder, build(folder)


def feeds(folder: Path, case: dict) -> dict[str, np.ndarray]:
    data = np.load(folder / case["data"])
    return {name: data[name][:4] for name in data if name != case["labels"]}


def outputs(path: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_every_family_is_there(corpus):
    _, cases = corpus
    families = {case["family"] for case in cases}
    assert families >= set("wsgdifc")
    assert len({case["id"] for case in cases}) == len(cases)


def test_honest_cases_run_and_stay_close(corpus):
    folder, cases = corpus
    honest = [case for case in cases if case["kind"] == "honest"]
    assert len(honest) >= 4
    for case in honest:
        inputs = feeds(folder, case)
        want, got = outputs(folder / case["reference"], inputs)[0], outputs(folder / case["file"], inputs)[0]
        assert np.linalg.norm(want - got) < 0.25 * np.linalg.norm(want), case["id"]
        assert case["sqnr_db"] > 12 or case["debatable"]


def test_data_has_enough_samples(corpus):
    folder, cases = corpus
    for path in {folder / case["data"] for case in cases}:
        assert all(len(value) >= 128 for value in np.load(path).values())


def test_a_flipped_weight_differs_in_one_bit(corpus):
    folder, cases = corpus
    case = next(case for case in cases if case["id"].startswith("w10"))
    name = case["must_localise_to"][0]
    recipe = case["base"].partition("/")[2]
    honest = folder / f"h_mlp_{recipe}" / "model.onnx"
    assert honest.exists(), "the selection must hold the honest twin"
    both = [raw_bytes(onnx.load(path), name) for path in (honest, folder / case["file"])]
    assert sum((a ^ b).bit_count() for a, b in zip(*both, strict=True)) == 1


def raw_bytes(model: onnx.ModelProto, name: str) -> bytes:
    return next(tensor.raw_data for tensor in model.graph.initializer if tensor.name == name)


def test_faults_that_run_say_what_they_do(corpus):
    _, cases = corpus
    faults = [case for case in cases if case["kind"] == "fault"]
    assert all(case["must_localise_to"] for case in faults)
    assert all(case["expected_verdict"] in ("fail", "error") for case in faults)
    assert any(case.get("effect_db", 300) < 20 for case in faults)
    assert any(case.get("effect_db", 0) >= 299 for case in faults), "a backdoor that honest data never shows"


def test_two_builds_are_equal_byte_for_byte(corpus, tmp_path):
    folder, cases = corpus
    again = build(tmp_path / "again")
    assert again == cases
    for case in cases:
        path = folder / case["file"]
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / case["file"]).read_bytes(), case["id"]
