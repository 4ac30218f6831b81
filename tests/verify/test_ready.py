"""What calibrates and bisects a target takes the code that its policy names, by the steps of ``verify``."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from qgate.cli import main
from qgate.measure.pair import PairResult
from qgate.measure.request import PairRequest
from qgate.records import DataUsed, Measurement, Place

EXAMPLES = Path(__file__).parents[2] / "examples"
POLICY = """\
version: 1
targets:
  - name: built
    candidate: eager_int8.pt
    reference: fp32.pt
    factory: {candidate: "model.py:eager", reference: "model.py:fp32"}
  - name: unbuilt
    candidate: eager_int8.pt
    reference: fp32.pt
    factory: {candidate: "nowhere.py:eager", reference: "model.py:fp32"}
  - name: scored
    candidate: digits_int8_pc.onnx
    reference: digits_fp32.onnx
    data: {inputs: digits_test.npz, labels: label}
    task: {metric: python, python: "score.py:score"}
  - name: signed
    candidate: digits_int8_pc.onnx
    reference: digits_fp32.onnx
    require_signature: true
    signature: {bundle: nowhere.sig, key: nowhere.pem}
"""
SCORE = "def score(outputs, labels):\n    return (outputs['logits'].argmax(1) == labels) * 0.5\n"
COMMANDS = {"calibrate": ("calibrate", "--repeats", "1"), "bisect": ("bisect", "--most", "1")}
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="of the extra `torch`")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder is a repository with models, data, code and the policy that names them."""
    names = ("article/eager_int8.pt", "article/fp32.pt", "article/model.py", "digits/digits_int8_pc.onnx",
             "digits/digits_fp32.onnx", "digits/digits_test.npz")  # fmt: skip
    for name in names:
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "score.py").write_text(SCORE)
    (tmp_path / "qgate.yml").write_text(POLICY)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)


@needs_torch
@pytest.mark.usefixtures("repository")
def test_a_factory_builds_the_modules() -> None:
    shown = CliRunner().invoke(main, [*COMMANDS["bisect"], "--target", "built"])
    assert shown.exit_code == 0, shown.output
    assert "As it is: outputs keep 35.3 dB" in shown.output
    assert "No layer was tried in float: layers are put back to float in ONNX files alone" in shown.output


@needs_torch
@pytest.mark.usefixtures("repository")
def test_the_factories_are_asked_for_in_every_run_of_a_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runs themselves do with them is shown above: a calibration has three, each with its own child."""
    asked = []

    def run(request: PairRequest) -> PairResult:
        asked.append({role: plugin.function for role, plugin in request.code.items()})
        sqnr = Measurement(name="output.sqnr_db", at=Place(output="y"), value=35.0, unit="dB")
        return PairResult((sqnr,), DataUsed(origin="generated", samples=32))

    monkeypatch.setattr("qgate.calibrate.measuring.measure_pair", run)
    shown = CliRunner().invoke(main, [*COMMANDS["calibrate"], "--target", "built"])
    assert shown.exit_code == 0, shown.output
    assert asked == [{"factory.candidate": "eager", "factory.reference": "fp32"}] * 3


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("calibrate", "(score); half an interval"),
        ("bisect", "As it is: outputs keep 40.9 dB"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_a_task_of_ones_own_is_scored(command: str, says: str) -> None:
    shown = CliRunner().invoke(main, [*COMMANDS[command], "--target", "scored"])
    assert shown.exit_code == 0, shown.output
    assert says in shown.output


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("target", "says"),
    [
        pytest.param("unbuilt", "factory.candidate: there is no module nowhere.py", marks=needs_torch),
        ("signed", "there is no signature at nowhere.sig, and one is required"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_what_verify_would_not_run_is_not_run(command: str, target: str, says: str) -> None:
    shown = CliRunner().invoke(main, [*COMMANDS[command], "--target", target])
    assert shown.exit_code == 2
    assert says in shown.output
