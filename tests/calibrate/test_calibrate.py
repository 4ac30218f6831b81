"""Thresholds from a target's own data, each with its reason."""

import math
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from qgate.calibrate.measuring import Calibration, Yardstick, _apart, _yardsticks, lowest
from qgate.calibrate.proposal import propose
from qgate.calibrate.verdict import MISSED, held_against
from qgate.cli import main
from qgate.errors import PolicyError
from qgate.measure.request import PairRequest
from qgate.policy.edit import with_thresholds
from qgate.policy.load import load_policy
from qgate.records import Limit, Measurement, Place
from qgate.rules.catalogue import catalogue
from qgate.runtimes.recipes import calibrated_tensors, write_recipe
from qgate.sandbox.staging import staging_directory

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def values(db, drop=0.0, flips=0, metric="top1", reference=0.9):
    told = [
        Measurement(name="output.sqnr_db", at=Place(output="y"), value=db, unit="dB"),
        Measurement(name="task.metric_reference", value=reference),
        Measurement(
            name="task.metric_drop",
            value=drop,
            n=500,
            low=drop - 0.01,
            high=drop + 0.01,
            detail={"metric": metric},
        ),
        Measurement(name="task.flips_to_wrong", value=flips, n=500),
    ]
    return {(m.name, str(m.at)): m for m in told}


def proposed(found):
    return {(each.rule, each.param): each for each in propose(found)}


def test_thresholds_leave_room_for_noise_and_for_the_plain_recipe():
    noise = {("output.sqnr_db", "output y"): 0.2, ("task.metric_drop", ""): 0.001}
    plain = Yardstick("static per channel", values(38.0, 0.004, 3), "", 375, "others")
    found = proposed(Calibration(values(40.0, 0.002, 2), noise, (plain,), 500, "int8"))
    assert found[("FEA201", "min_db")].value == 34.5, "3 dB and the noise below the lower of both"
    assert found[("BEH101", "max_drop")].value == 0.015, "the larger drop, half an interval, the noise"
    assert 0.017 < found[("BEH102", "max_share")].value < 0.02
    assert found[("TRC102", "sqnr_db")].value == 0.4
    yardstick = found[("BEH109", "yardstick_db")]
    assert yardstick.value == 36.8, "1 dB for the draw of the samples, and the noise"
    assert (
        "keeps 38.0 dB on 375 samples, none of which its ranges were taken from; 1 dB less" in yardstick.why
    )
    assert found[("BEH109", "yardstick_drop")].value == 0.014, "and half an interval"
    assert all(each.why for each in found.values())
    assert "0.002 [-0.008, 0.012]" in found[("BEH101", "max_drop")].why


@pytest.mark.parametrize(
    ("ranges", "kept", "says"),
    [
        ("others", 37.0, "none of which its ranges"),
        ("same", 36.0, "the very ones that its ranges were taken from, which is too good; 2 dB less"),
        ("none", 38.0, "on 500 samples; less 0 dB of noise"),
    ],
)
def test_the_yardstick_has_a_margin_for_the_samples_that_its_ranges_come_from(ranges, kept, says):
    plain = Yardstick("a recipe", values(38.0), "", 500, ranges)
    found = proposed(Calibration(values(40.0), {}, (plain,), 500, "int8"))[("BEH109", "yardstick_db")]
    assert found.value == kept
    assert says in found.why


def test_a_recipe_keeps_more_of_the_samples_that_its_ranges_were_taken_from():
    """Why the samples are divided: by one to two decibels."""
    with staging_directory() as staging:
        for name in ("digits_fp32.onnx", "digits_test.npz"):
            (staging / name).write_bytes((DIGITS / name).read_bytes())
            (staging / name).chmod(0o644)
        model = staging / "digits_fp32.onnx"
        request = PairRequest(
            candidate=model, reference=model, inputs=staging / "digits_test.npz", edges=False
        )
        told = {
            found.ranges: (found.samples, lowest(found.values, "output.sqnr_db"))
            for count in (597, 127)
            for found in (next(iter(_yardsticks(request, "int8", count, staging, lambda _: None))),)
        }
    assert (told["others"][0], told["same"][0]) == (448, 597)
    assert 1 < told["same"][1] - told["others"][1] < 2.5


def test_generated_inputs_are_drawn_again_to_be_judged_on():
    request = PairRequest(candidate=Path("c"), reference=Path("r"), seed=3)
    calibration, judged = _apart(request, 32)
    assert (calibration.seed, judged) == (4, request)


def test_a_recipe_that_keeps_nothing_is_no_yardstick():
    for db in (0.5, -3.0, math.nan, math.inf):
        plain = Yardstick("a recipe", values(db, math.nan), "", 500, "others")
        assert not any(
            rule == "BEH109" for rule, _ in proposed(Calibration(values(9.0), {}, (plain,), 500, "int8"))
        )


def test_a_damaged_candidate_is_no_measure():
    plain = Yardstick("static per channel", values(38.0, 0.004, 3))
    found = proposed(Calibration(values(9.0, 0.3, 150), {}, (plain,), 500, "int8"))
    assert found[("FEA201", "min_db")].value == 35.0
    assert "much worse than it need be" in found[("FEA201", "min_db")].why
    assert found[("BEH101", "max_drop")].value == 0.014
    assert found[("BEH102", "max_share")].value < 0.02


def test_an_error_is_allowed_to_grow_by_a_share_and_without_a_yardstick_there_is_no_rule_of_it():
    nothing = Yardstick("none", reason="int4")
    found = proposed(Calibration(values(20.0, 0.1, metric="mae", reference=2.0), {}, (nothing,), 500, "int4"))
    assert found[("BEH101", "max_error_growth")].value == 0.055
    assert not any(rule == "BEH109" for rule, _ in found)
    assert propose(Calibration({}, {}, (), 0, None))[0].rule == "TRC102"


def in_force(**own):
    limits = {rule.id: {p.name: Limit(value=p.balanced, unit=p.unit, origin="t") for p in rule.params}
              for rule in catalogue().values()}  # fmt: skip
    return {**limits, **own}


def test_a_candidate_is_told_which_figures_it_would_fail_with():
    plain = Yardstick("static per channel", values(38.0, 0.004, 3))
    declared = {"scheme": "int8", "data": "given", "ran": True}
    damaged = Calibration(values(9.0, 0.3, 150), {}, (plain,), 500, "int8")
    told = {
        (p.rule, p.param): (p, error)
        for p, error in held_against(damaged, propose(damaged), in_force(), declared)
    }
    failing = {key for key, (_, error) in told.items() if error is not None}
    assert failing == {
        ("FEA201", "min_db"), ("BEH101", "max_drop"), ("BEH102", "max_share"), ("BEH109", "yardstick_db"),
        ("BEH109", "yardstick_drop"),
    }  # fmt: skip
    for key, (proposal, error) in told.items():
        assert (MISSED in proposal.why) == (key in failing)
        assert error is None or error.rule == key[0]
    good = Calibration(values(40.0, 0.002, 2), {}, (plain,), 500, "int8")
    assert not any(error for _, error in held_against(good, propose(good), in_force(), declared))


def test_recipes_are_those_of_onnx_runtime(tmp_path):
    import onnx

    reference = DIGITS / "digits_fp32.onnx"
    names = calibrated_tensors(reference)
    assert "image" in names and len(names) > 5
    target = tmp_path / "q.onnx"
    write_recipe("static per channel", reference, target, dict.fromkeys(names, (-1.0, 4.0)))
    assert any(node.op_type == "QuantizeLinear" for node in onnx.load(target).graph.node)
    write_recipe("dynamic", reference, target, {})
    assert any("Integer" in node.op_type for node in onnx.load(target).graph.node)
    write_recipe("fp16", reference, target, {})
    half = onnx.load(target)
    assert {each.data_type for each in half.graph.initializer} >= {onnx.TensorProto.FLOAT16}
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    for recipe in ("dynamic", "static per tensor", "fp16"):
        with pytest.raises(ValueError, match=":"):
            write_recipe(recipe, broken, target, {})


POLICY = """\
version: 1
targets:
  # ours
  - name: digits
    candidate: digits_int8_pc.onnx  # from the nightly
    reference: digits_fp32.onnx
    data: {inputs: digits_test.npz, labels: label}
    scheme: int8
    thresholds:
      FEA201: {min_db: 1.0}
  - {name: other, candidate: a.onnx, reference: b.onnx}
"""


def test_thresholds_are_written_behind_their_reasons_and_nothing_else_changes():
    entries = [("FEA201", "min_db", 30.0, "because " * 30), ("BEH101", "max_drop", 0.015, "half an interval")]
    text = with_thresholds(POLICY.encode(), "digits", entries, "qgate.yml").decode()
    policy = load_policy(text.encode(), "qgate.yml")
    assert policy.targets[0].thresholds == {"FEA201": {"min_db": 30}, "BEH101": {"max_drop": 0.015}}
    assert "# ours" in text and "# from the nightly" in text and "# half an interval\n" in text
    assert text.splitlines()[-1] == POLICY.splitlines()[-1]
    before = load_policy(POLICY.encode(), "qgate.yml")
    same = policy.targets[0].model_copy(update={"thresholds": before.targets[0].thresholds})
    assert (same, policy.targets[1]) == before.targets


def test_what_cannot_hold_reasons_is_not_written():
    with pytest.raises(PolicyError, match="written in braces"):
        with_thresholds(POLICY.encode(), "other", [("FEA201", "min_db", 3.0, "why")], "qgate.yml")
    with pytest.raises(PolicyError, match="cannot be written"):
        with_thresholds(POLICY.encode(), "nobody", [("FEA201", "min_db", 3.0, "why")], "qgate.yml")
    with pytest.raises(PolicyError, match="no rule"):
        with_thresholds(POLICY.encode(), "digits", [("FEA999", "min_db", 3.0, "why")], "qgate.yml")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Makes the current folder a repository with the digits and their policy."""

    def make(candidate="digits_int8_pc.onnx", scheme="int8"):
        for name in (candidate, "digits_fp32.onnx", "digits_test.npz"):
            (tmp_path / name).write_bytes((DIGITS / name).read_bytes())
        text = POLICY.replace("digits_int8_pc.onnx", candidate).replace("scheme: int8", f"scheme: {scheme}")
        (tmp_path / "qgate.yml").write_text(text)
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)

    return make


def test_a_target_is_calibrated_and_holds_its_thresholds(repository, tmp_path):
    repository()
    shown = CliRunner().invoke(main, ["calibrate", "--target", "digits", "--repeats", "1", "--write"])
    assert shown.exit_code == 0, shown.output
    assert "on 597 samples" in shown.output and "the plain recipe (static per channel)" in shown.output
    assert "on 448 samples, none of which its ranges were taken from" in " ".join(
        shown.output.replace("#", "").split()
    )
    policy = load_policy((tmp_path / "qgate.yml").read_bytes(), "qgate.yml")
    limits = policy.targets[0].thresholds
    assert 35 < float(limits["FEA201"]["min_db"]) < 40
    assert float(limits["BEH109"]["yardstick_db"]) > 35
    judged = CliRunner().invoke(main, ["verify", "--target", "digits"])
    assert judged.exit_code == 0, judged.output


@pytest.mark.parametrize(
    ("candidate", "scheme", "recipe", "fails"),
    [
        ("digits_fp16.onnx", "fp16", "(fp16)", False),
        ("digits_badcalib.onnx", "int8", "(static per channel)", True),
        ("digits_dyn.onnx", "int8", "(dynamic)", False),
    ],
)
def test_every_scheme_has_its_recipe_and_a_damaged_candidate_is_told(
    candidate, scheme, recipe, fails, repository, tmp_path
):
    repository(candidate, scheme)
    shown = CliRunner().invoke(main, ["calibrate", "--target", "digits", "--repeats", "1", "--write"])
    assert shown.exit_code == 0, shown.output
    assert f"the plain recipe {recipe}" in shown.output
    assert ("# Your candidate would FAIL with FEA201.min_db: output " in shown.output) == fails
    written = " ".join((tmp_path / "qgate.yml").read_text().replace("#", "").split())
    assert ("your candidate itself would FAIL with this" in written) == fails
