"""Baseline files: bound, canonical, read as hostile data, written whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from qgate.baseline.acceptance import disagreements
from qgate.baseline.record import (
    MAX_BASELINE_BYTES,
    Acceptance,
    Baseline,
    check_bound,
    make_baseline,
    read_baseline,
    write_baseline,
)
from qgate.errors import BaselineError
from qgate.records import DataUsed, Measurement, Place, Verdict
from qgate.report.schema import Artifact, Provenance, TargetReport

PROVENANCE = Provenance(tool="qgate 0", isa="x86-64-v3", versions={"qgate": "0"})


def measured(*values: tuple[str, float | str], n: int | None = None) -> tuple[Measurement, ...]:
    return tuple(Measurement(name=name, at=Place(output="y"), value=value, n=n) for name, value in values)


def report(*measurements: Measurement, **changes: object) -> TargetReport:
    facts = TargetReport(
        name="plate",
        verdict=Verdict.PASS,
        reason="sound",
        profile="balanced",
        candidate=Artifact(locator="m.onnx", sha256="c" * 64, files={"m.onnx": "c" * 64}),
        reference=Artifact(locator="r.onnx", sha256="r" * 64),
        data=DataUsed(origin="given", sha256="d" * 64, samples=10, seed=0, labels="y"),
        measurements=measurements or measured(("output.sqnr_db", 40.0)),
    )
    return facts.model_copy(update=changes)


def stored_text(**changes: object) -> bytes:
    content = json.loads(make_baseline(report(), PROVENANCE).to_json())
    return json.dumps({**content, **changes}).encode()


def test_a_file_reads_back_as_it_was_written() -> None:
    baseline = make_baseline(
        report(*measured(("b.x", math.inf), ("a.x", math.nan), ("quant.scheme", "int8"))),
        PROVENANCE,
        acceptance=Acceptance(reason="first"),
    )
    stored = read_baseline(baseline.to_json().encode(), "plate")
    assert stored.state == "stored"
    assert stored.baseline is not None
    assert stored.baseline.to_json() == baseline.to_json()
    assert [entry.name for entry in baseline.measurements] == ["a.x", "b.x", "quant.scheme"]


def test_what_no_second_run_would_find_is_left_out() -> None:
    noisy = Measurement(name="run.seconds", value=1.0, deterministic=False)
    missing = Measurement(name="task.metric_drop", not_measured="no labels")
    sign = Measurement(name="scale.defect", value="subnormal")
    kept = measured(("output.sqnr_db", 40.0))
    assert len(make_baseline(report(noisy, missing, sign, *kept), PROVENANCE).measurements) == 1
    with pytest.raises(BaselineError, match="nothing"):
        make_baseline(report(noisy, missing, sign), PROVENANCE)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"not json", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "not qgate-baseline/v1"),
        (b"{}", "not qgate-baseline/v1"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": Infinity}', "Infinity"),
        (b"[" * 100_000, "cannot be read"),
        (stored_text(target="other"), "other"),
        (stored_text(extra=1), "extra"),
        (stored_text(verdict="GREAT"), "verdict"),
        (stored_text(measurements=[{"name": "a"}]), "measurements"),
        (stored_text(measurements=[{"name": "a", "value": 1}, {"name": "a", "value": 2}]), "twice"),
        (b" " * (MAX_BASELINE_BYTES + 1), "larger"),
    ],
)
def test_a_corrupt_file_is_told(content: bytes, said: str) -> None:
    stored = read_baseline(content, "plate")
    assert stored.state == "corrupt"
    assert said in stored.reason
    assert len(stored.reason) <= 300


def test_missing_and_another_schema() -> None:
    assert read_baseline(None, "plate").state == "missing"
    stored = read_baseline(stored_text(schema="qgate-baseline/v2"), "plate")
    assert (stored.state, stored.baseline) == ("stale", None)


@given(content=st.binary(max_size=200) | st.builds(lambda s: s.encode(), st.text(max_size=200)))
@few(max_examples=100, deadline=None)
def test_any_bytes_are_read_without_raising(content: bytes) -> None:
    assert read_baseline(content, "plate").state in ("corrupt", "stale")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": Artifact(locator="r", sha256="0" * 64)}, "reference"),
        ({"reference": None}, "reference"),
        ({"data": DataUsed(origin="given", sha256="0" * 64, samples=10, seed=0, labels="y")}, "data"),
        ({"data": DataUsed(origin="given", sha256="d" * 64, samples=9, seed=0, labels="y")}, "data"),
        ({"data": DataUsed(origin="given", sha256="d" * 64, samples=10, seed=1, labels="y")}, "seed"),
        ({"data": DataUsed(origin="given", sha256="d" * 64, samples=10, seed=0)}, "labels"),
    ],
)
def test_what_it_is_bound_to(changes: dict[str, object], said: str) -> None:
    stored = read_baseline(stored_text(), "plate")
    bound = check_bound(stored, report(**changes), isa="x86-64-v3", describes=True)
    assert bound.state == "stale"
    assert said in bound.reason


def test_bound_to_the_same_things_it_stays() -> None:
    stored = read_baseline(stored_text(), "plate")
    assert check_bound(stored, report(), isa="x86-64-v3", describes=True).state == "stored"
    assert check_bound(stored, report(), isa="arm64", describes=True).state == "stale"
    assert check_bound(stored, report(), isa="x86-64-v3", describes=False).state == "stale"


def carried(*measurements: Measurement, **changes: object) -> Baseline:
    return make_baseline(report(*measurements), PROVENANCE).model_copy(update=changes)


@pytest.mark.parametrize(
    ("file", "now", "isa", "agrees"),
    [
        (40.0, 40.0, "x86-64-v3", True),
        (40.0, 40.03, "x86-64-v3", True),
        (40.0, 40.1, "x86-64-v3", False),
        (40.0, 41.0, "x86-64-v4", True),
        (40.0, 44.0, "x86-64-v4", False),
        (math.inf, math.inf, "x86-64-v3", True),
        (math.inf, 40.0, "x86-64-v4", False),
        (math.nan, math.nan, "x86-64-v3", True),
        ("int8", "int8", "x86-64-v3", True),
        ("int8", "fp16", "x86-64-v4", False),
    ],
)
def test_an_accepted_file_must_measure_again(
    file: float | str, now: float | str, isa: str, agrees: bool
) -> None:
    found = disagreements(
        carried(*measured(("output.sqnr_db", file))),
        report(*measured(("output.sqnr_db", now))),
        isa=isa,
        limits={},
    )
    assert (not found) is agrees
    assert all(finding.rule == "TRC110" for finding in found)


def test_neither_side_may_have_more() -> None:
    one, two = measured(("a.x", 1.0)), measured(("a.x", 1.0), ("b.x", 1.0))
    assert "file only" in disagreements(carried(*two), report(*one), isa="x86-64-v3", limits={})[0].message
    assert (
        "measured only" in disagreements(carried(*one), report(*two), isa="x86-64-v3", limits={})[0].message
    )


def test_it_must_be_of_this_candidate_and_these_data() -> None:
    side = Artifact(locator="m.onnx", sha256="c" * 64, files={"m.onnx": "c" * 64, "w.bin": "0" * 64})
    for file in (carried(candidate=side), carried(reference=None), carried(data=DataUsed(origin="none"))):
        assert disagreements(file, report(), isa="x86-64-v3", limits={})


def test_counts_may_differ_by_two_samples_across_machines() -> None:
    file, now = (
        carried(*measured(("task.flips_to_wrong", 1), n=100)),
        measured(("task.flips_to_wrong", 3), n=100),
    )
    assert disagreements(file, report(*now), isa="arm64", limits={}) == ()
    assert disagreements(file, report(*now), isa="x86-64-v3", limits={})


def test_writing_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "plate.json"
    baseline = make_baseline(report(), PROVENANCE)
    write_baseline(baseline, path)
    write_baseline(baseline, path)
    assert path.read_text() == baseline.to_json()
    assert [entry.name for entry in path.parent.iterdir()] == ["plate.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "plate.json").mkdir()
    (tmp_path / "plate.json" / "kept").write_text("old")
    with pytest.raises(BaselineError) as caught:
        write_baseline(make_baseline(report(), PROVENANCE), tmp_path / "plate.json")
    assert caught.value.where == str(tmp_path / "plate.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["plate.json"]
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BaselineError):
        write_baseline(make_baseline(report(), PROVENANCE), file / "plate.json")
