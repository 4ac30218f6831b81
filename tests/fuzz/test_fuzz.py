"""A short run of every harness, the same one each time: by atheris where there is a wheel, and always plainly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qgate.errors import QgateError
from tests.fuzz import formats, texts
from tests.fuzz.harness import CORPUS, HARNESSES, Harness
from tests.fuzz.mutations import mutated
from tests.fuzz.run import SEED, has_atheris

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (formats, texts)
NAMES = sorted(HARNESSES)
EXAMPLES = 40


def test_each_parser_of_hostile_bytes_has_a_harness() -> None:
    assert set(NAMES) >= {
        "pickle", "zip-archive", "torch-file", "safetensors", "export-graph", "export-expression", "onnx-file",
        "onnx-wire", "external-keys", "npz-file", "lfs-pointer", "any-file", "policy", "report", "baseline",
        "child-answer", "child-stream", "litert-file", "runtime-answer", "event", "markdown", "terminal",
    }  # fmt: skip


def test_the_committed_corpus_is_small_and_belongs_to_harnesses() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert files
    assert sum(path.stat().st_size for path in files) < 200 * 1024
    assert {path.parent.name for path in files} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_corpus_and_mutations_of_it(name: str) -> None:
    harness = HARNESSES[name]
    inputs = harness.inputs()
    assert inputs
    for data in inputs:
        harness(data)
    mutated(harness, inputs, examples=EXAMPLES, seed=SEED)


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_input_gets_all_the_way_in(name: str) -> None:
    harness = HARNESSES[name]
    accepted = 0
    for data in harness.inputs():
        try:
            harness.target(data)
        except QgateError:
            continue
        accepted += 1
    assert accepted, "mutations of what is refused at the door find nothing"


def test_a_defect_would_be_found() -> None:
    def fragile(data: bytes) -> None:
        if data[:3] == b"abd":
            raise ValueError(data)

    harness = Harness("fragile", fragile, lambda: [b"abc"], 400, 8)
    with pytest.raises(AssertionError, match="fragile fails on"):
        mutated(harness, [b"abc", b"abd"], examples=400, seed=SEED)


@pytest.mark.skipif(not has_atheris(), reason="no wheel of atheris here: the mutations above are the run")
def test_guided_by_coverage() -> None:
    line = [sys.executable, "-m", "tests.fuzz.run", "--short", "--engine", "atheris"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("(atheris,") == len(NAMES)
