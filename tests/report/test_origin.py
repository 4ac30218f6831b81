"""Provenance as lines: what held the models is told once, and what was missing comes first."""

from qgate.records import Sandbox, Verdict
from qgate.report.compose import compose_report
from qgate.report.origin import run_origin
from qgate.report.schema import Artifact, Provenance, TargetReport

WHOLE = Sandbox(
    user=65534, landlock=7, seccomp=True, memory_mb=8192, cpu_seconds=1800, wall_seconds=1800.0, file_mb=64
)
LESS = WHOLE.model_copy(update={"landlock": 0, "lacking": {"landlock": "Landlock (it is switched off)"}})


def lines(*held):
    targets = [
        TargetReport(
            name=f"t{number}",
            verdict=Verdict.PASS,
            reason="r",
            profile="balanced",
            candidate=Artifact(locator="c"),
            sandbox=each,
        )
        for number, each in enumerate(held)
    ]
    return dict(run_origin(compose_report(targets=targets, provenance=Provenance(tool="qgate"))))


def test_the_sandbox_is_told_once():
    told = lines(WHOLE, WHOLE)["Sandbox"]
    assert told == (
        "Landlock (version 7), system calls filtered, user 65534, 8192 MiB, 1800 s of processor time"
    )


def test_what_was_missing_comes_first():
    told = lines(LESS, WHOLE)["Sandbox"]
    assert told.startswith("without Landlock (it is switched off), system calls filtered, user 65534")
    assert "; Landlock (version 7)" in told


def test_where_nothing_was_run_nothing_is_told():
    assert "Sandbox" not in lines(None)
