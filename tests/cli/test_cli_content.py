"""What changed since the accepted model, from commit to report, and the audit of a stored report."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from .conftest import CANDIDATE, COMMAND, INPUTS, REFERENCE, Shop

POLICY = """\
version: 1
targets:
  - name: digits
    candidate: digits.onnx
    reference: reference.onnx
    data: {inputs: data.npz}
"""
FLIPPED = (3, 0, 1, 1)


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, check=True)


def flip(path: Path) -> str:
    """Flips the lowest bit of one weight; the tensor's name."""
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if tuple(t.dims)[1:] == (16, 3, 3))
    values = numpy_helper.to_array(tensor).copy()
    values[FLIPPED] ^= 1
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return str(tensor.name)


@pytest.fixture(scope="module")
def accepted(stall: Shop) -> Shop:
    """A repository whose candidate is accepted, and committed with its baseline."""
    for name, path in {"digits.onnx": CANDIDATE, "reference.onnx": REFERENCE, "data.npz": INPUTS}.items():
        shutil.copy(path, stall.root / name)
    (stall.root / "qgate.yml").write_text(POLICY)
    git(stall.root, "init", "-q", "-b", "main")
    done = subprocess.run(
        [str(COMMAND), "accept", "digits", "--reason", "first"],
        cwd=stall.root, env=stall.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Wrote" in done.stdout
    git(stall.root, "add", "-A")
    git(stall.root, "commit", "-q", "-m", "accepted")
    return stall


def test_the_baseline_lists_roots_and_stays_small(accepted: Shop) -> None:
    content = (accepted.root / ".qgate" / "baseline" / "digits.json").read_bytes()
    stored = json.loads(content)["content"]
    assert stored["count"] == len(stored["tensors"]) == 50
    assert len("\n".join(stored["tensors"])) / 50 < 100, "1,000 tensors take less than 100 KB"
    assert not (accepted.root / "qgate-report").exists(), "accepting writes no report"


def test_one_flipped_bit_is_shown_by_name_and_element(accepted: Shop) -> None:
    path = accepted.root / "digits.onnx"
    honest = path.read_bytes()
    name = flip(path)
    try:
        found = accepted.run("verify", "--base", "main", "-o", accepted.reports)
    finally:
        path.write_bytes(honest)
    assert found.report is not None, found.text
    (target,) = found.report["targets"]
    content = target["baseline"]["content"]
    assert (content["counts"], content["graph"], content["located"]) == ({"changed": 1}, False, "elements")
    (tensor,) = content["tensors"]
    assert (tensor["name"], tensor["elements"], tensor["at"]) == (name, 1, [list(FLIPPED)])
    assert int(tensor["was"], 16) ^ int(tensor["now"], 16) == 1
    told = [f for f in target["findings"] if f["rule"] == "TRC114"]
    assert [f["severity"] for f in told] == ["note"]
    assert (
        f"1 of 50 tensors changed since the accepted model, the graph is the same: `{name}`"
        in told[0]["message"]
    )
    assert "1 of 50 tensors differ" in found.out.replace("\n", " ")
    assert "1 element at" in (accepted.reports / "summary.md").read_text()
    assert "1 element at" in (accepted.reports / "report.html").read_text()
    assert (accepted.reports / "leaves" / "digits.leaves").read_bytes().startswith(b"qgate-leaves/v1\n")


def test_accepting_says_what_changed(accepted: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(accepted.root, copy)
    name = flip(copy / "digits.onnx")
    done = subprocess.run(
        [str(COMMAND), "accept", "digits", "--reason", "second", "--despite-findings"],
        cwd=copy, env=accepted.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "1 of 50 tensors changed since the accepted model" in done.stdout
    assert f"    {name} other values" in done.stdout.replace("`", "")


def test_the_report_follows_from_its_numbers_until_it_is_edited(accepted: Shop, tmp_path: Path) -> None:
    report = tmp_path / "report"
    found = accepted.run("verify", "-t", "digits", "-o", report, report=report)
    assert found.report is not None, found.text
    path = report / "report.json"
    audited = accepted.run("audit", path)
    assert audited.code == 0, audited.text
    assert f"{found.report['verdict']} follows from" in audited.out
    path.write_text(path.read_text().replace('"samples": 597', '"samples": 598'))
    edited = accepted.run("audit", path)
    assert edited.code == 2
    assert "it was changed after it was written" in edited.text
    assert accepted.run("audit", tmp_path / "none.json").code == 2
