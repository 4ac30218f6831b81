"""The published JSON Schema is the record's own, and every report written is valid under it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest

from qgate.records import Finding, Measurement, Severity
from qgate.report.jsonschema import main, report_schema
from qgate.report.schema import Report

from . import samples

PUBLISHED = Path(__file__).parents[2] / "schemas" / "qgate-report-v1.json"
SAMPLES = ("passing", "untouched", "failing", "inconclusive", "error", "hostile")


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(PUBLISHED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_fresh(tmp_path: Path) -> None:
    written = tmp_path / "schema.json"
    assert main([str(written)]) == 0
    assert written.read_bytes() == PUBLISHED.read_bytes(), "run python -m qgate.report.jsonschema schemas/..."


def test_without_a_file_it_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert json.loads(capsys.readouterr().out) == report_schema()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_written_report_is_valid_and_reads_back(
    name: str, validator: jsonschema.Draft202012Validator
) -> None:
    text = getattr(samples, name)().to_json()
    validator.validate(json.loads(text))
    assert Report.model_validate_json(text).to_json() == text


def test_non_finite_numbers_are_words_at_any_depth(validator: jsonschema.Draft202012Validator) -> None:
    finding = Finding(
        rule="FEA201", severity=Severity.NOTE, message="m", evidence={"a": [math.nan, {"b": -math.inf}]}
    )
    measured = Measurement(name="x", value=math.inf, low=math.nan, high=1.0, detail={"y": math.inf})
    report = samples.report(
        samples.target(findings=(finding,), measured=(measured,)), headline="h", verdict=samples.Verdict.PASS
    )
    stored = json.loads(report.to_json(), parse_constant=pytest.fail)
    validator.validate(stored)
    target = stored["targets"][0]
    assert target["findings"][0]["evidence"] == {"a": ["nan", {"b": "-inf"}]}
    assert (target["measurements"][0]["value"], target["measurements"][0]["low"]) == ("inf", "nan")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stored: stored.pop("provenance"),
        lambda stored: stored.update(extra=1),
        lambda stored: stored["targets"][0].pop("findings"),
        lambda stored: stored["targets"][0]["timings"].update(measure="soon"),
        lambda stored: stored.update(verdict="SKIPPED"),
    ],
)
def test_what_is_not_a_report_is_refused(spoil, validator: jsonschema.Draft202012Validator) -> None:
    stored = json.loads(samples.failing().to_json())
    spoil(stored)
    assert not validator.is_valid(stored)
