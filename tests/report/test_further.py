"""The command that looks further: where it helps, for the very pair or target, and never one that a name wrote."""

from __future__ import annotations

import shlex

import pytest

from qgate.records import Measurement, Place, Severity, Verdict
from qgate.report.further import bisect_command
from qgate.report.html import render_html
from qgate.report.render import render_summary
from qgate.report.schema import Artifact, PolicyUsed, Report

from . import samples
from .test_terminal import flat, printed

LAYER = Measurement(name="layer.sqnr_db", at=Place(node="/conv1"), value=3.0, unit="dB")


def failing(measured: tuple[Measurement, ...] = (LAYER,), **changes: object) -> Report:
    """One target with a finding of behaviour, and what is changed in the target."""
    broken = samples.target(
        "digits",
        Verdict.FAIL,
        "top-1 falls",
        (samples.behaviour_failure(),),
        (*samples.measurements(), *measured),
    )
    return samples.report(broken.model_copy(update=changes), headline="top-1 falls", verdict=Verdict.FAIL)


def by_pair(report: Report) -> Report:
    return report.model_copy(update={"policy": PolicyUsed()})


def command(report: Report) -> str:
    return bisect_command(report, report.targets[0])


def test_a_target_is_named_and_a_pair_is_written_out() -> None:
    assert command(failing()) == "qgate bisect --target digits"
    assert command(by_pair(failing())) == (
        "qgate bisect -r models/digits_fp32.onnx -c models/digits_int8.onnx -i data/digits.npz"
    )
    elsewhere = failing().model_copy(update={"policy": PolicyUsed(path="ci/gate.yml")})
    assert command(elsewhere) == "qgate bisect --target digits --config ci/gate.yml"


def test_a_pair_s_declared_differences_are_told_again() -> None:
    from qgate.cli import main
    from qgate.commands.interface import parse_interface
    from qgate.measure.interface import Interface

    declared = Interface({"image": "x"}, ("sr",), {"image": "uint8"}, {"image": (1, 3, None, 224)})
    report = by_pair(failing(declared={"io": [list(each) for each in declared.options()]}))
    words = shlex.split(command(report))
    assert words[-8:] == [
        "--io-map", "image=x", "--io-optional", "sr", "--io-type", "image=uint8", "--io-shape", "image=1x3x?x224",
    ]  # fmt: skip
    given = main.commands["bisect"].make_context("bisect", words[2:]).params
    assert (
        parse_interface(given["io_map"], given["io_optional"], given["io_type"], given["io_shape"])
        == declared
    )
    hostile = by_pair(failing(declared={"io": [["--io-map", "image=x;y"]]}))
    assert command(hostile) == ""


def test_a_warning_about_a_layer_is_enough_where_the_target_does_not_pass() -> None:
    points = samples.behaviour_failure().model_copy(update={"severity": Severity.WARNING, "rule": "FEA302"})
    assert command(failing(findings=(samples.flip(), points))) == "qgate bisect --target digits"
    assert command(failing(findings=(points,), verdict=Verdict.PASS)) == ""


def test_every_reader_gets_it() -> None:
    report = failing()
    wanted = "qgate bisect --target digits"
    assert f"`{wanted}`" in render_summary(report)
    assert f"<code>{wanted}</code>" in render_html(report)
    assert f"Which layers: {wanted}" in flat(printed(report, 120))


def test_it_is_one_that_the_program_takes() -> None:
    """The words after the program's name are parsed as a shell and the command line would."""
    from qgate.cli import main

    for report in (failing(), by_pair(failing())):
        words = shlex.split(command(report))
        assert words[:2] == ["qgate", "bisect"]
        parsed = main.commands["bisect"].make_context("bisect", words[2:])
        assert parsed.params["target"] == "digits" or parsed.params["candidate"] is not None


@pytest.mark.parametrize(
    "report",
    [
        samples.passing(),
        failing(measured=()),
        failing(measured=(Measurement(name="layer.sqnr_db", not_measured="all zero"),)),
        failing(findings=(samples.flip(),)),
        failing(findings=(samples.behaviour_failure().model_copy(update={"severity": Severity.WARNING}),)),
        failing(findings=(samples.behaviour_failure().model_copy(update={"waived": "known"}),)),
        by_pair(failing(reference=None)),
        failing(candidate=Artifact(locator="models/m.pt", format="torch-checkpoint")),
    ],
    ids=[
        "passing",
        "no layers",
        "none measured",
        "integrity alone",
        "a warning",
        "waived",
        "no reference",
        "not ONNX",
    ],
)
def test_where_it_would_not_help_there_is_none(report: Report) -> None:
    assert command(report) == ""
    assert "qgate bisect" not in render_summary(report)


@pytest.mark.parametrize("name", ["--write", "a`b", "a\nb", "x;y", "$(x)", "a" * 301, "", "a\u202eb", "-x"])
def test_a_name_that_is_not_plain_is_not_pasted(name: str) -> None:
    assert command(failing(name=name)) == ""


def test_a_name_with_a_blank_is_quoted() -> None:
    assert command(failing(name="my digits")) == "qgate bisect --target 'my digits'"
