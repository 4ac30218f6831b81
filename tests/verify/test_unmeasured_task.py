"""A task that was asked for and could not be measured: the rest may hold, and no PASS rests on what nobody saw."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from qgate.cli import main
from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
SCORE = """\
import numpy as np


def score(outputs, labels):
    right = (next(iter(outputs.values())).argmax(axis=1) == labels).astype(float)
    right[{spoiled}] = np.nan
    return right
"""


@pytest.mark.parametrize("spoiled", [":", "0"])
@pytest.mark.parametrize("profile", ["strict", "balanced", "permissive"])
def test_scores_that_are_no_numbers_are_no_pass(tmp_path, spoiled, profile):
    (tmp_path / "own.py").write_text(SCORE.format(spoiled=spoiled))
    command = [
        *("verify", "-r", str(DIGITS / "digits_fp32.onnx"), "-c", str(DIGITS / "digits_int8_pc.onnx")),
        *("-i", str(DIGITS / "digits_test.npz"), "--labels", "label", "--profile", profile),
        *("--task", "python", "--task-code", f"{tmp_path / 'own.py'}:score"),
    ]
    answer = CliRunner().invoke(main, command)
    assert answer.exit_code == 2, answer.output
    said = " ".join(answer.output.replace("│", " ").split())
    assert "INCONCLUSIVE" in said
    assert "the task could not be measured" in said


def test_a_segmenter_that_names_classes_is_judged_where_labels_lack_the_highest(tmp_path):
    import onnx
    from onnx import parser

    def build(scale):
        text = f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[N,4,6,6] x) => (int64[N,6,6] y) <float w = {{{scale}.0}}> {{
            s = Mul(x, w)
            y = ArgMax<axis = 1, keepdims = 0>(s)
        }}"""
        path = tmp_path / f"m{scale}.onnx"
        onnx.save(parser.parse_model(text), path)
        return path

    generator = np.random.default_rng(0)
    x = generator.standard_normal((60, 4, 6, 6)).astype(np.float32)
    labels = x.argmax(axis=1)
    labels[labels == 3] = 0
    np.savez(tmp_path / "d.npz", x=x, label=labels)
    report = verify_ad_hoc(
        AdHoc(
            build(2),
            build(1),
            inputs=tmp_path / "d.npz",
            labels="label",
            task="miou",
            scheme="none",
            derivation="none",
        )
    )
    figures = {m.name: m for m in report.measurements}
    assert 0.7 < figures["task.metric_reference"].number < 0.9
    assert figures["task.metric_drop"].number == 0.0
    assert report.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)
    assert "BEH101" not in {f.rule for f in report.findings if "could not be measured" in f.message}
