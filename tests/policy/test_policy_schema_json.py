from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from qgate.policy.schema import json_schema, render_json_schema

FILE = Path(__file__).parents[2] / "schemas" / "qgate-policy-v1.json"
MINIMAL = {"version": 1, "targets": [{"name": "a", "candidate": "m.onnx"}]}


def test_the_schema_in_the_repository_is_fresh() -> None:
    assert FILE.read_text() == render_json_schema(), (
        "run python -m qgate.policy.schema > schemas/qgate-policy-v1.json"
    )


def test_the_module_prints_the_schema() -> None:
    command = [sys.executable, "-W", "error", "-m", "qgate.policy.schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FILE.parents[1])
    assert printed.stdout == FILE.read_text()


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        (
            {"targets": [{"name": "a", "candidate": {"path": "m.onnx"}, "thresholds": {"FEA201": {"x": 5}}}]},
            True,
        ),
        ({"targets": [{"name": "a", "candidate": {"url": "https://e.com/m"}}]}, False),
        ({"targets": [{"name": "a b", "candidate": "m.onnx"}]}, False),
        ({"targets": []}, False),
        ({"profil": "strict"}, False),
        ({"version": 2}, False),
        ({"limits": {"memory_mb": "8GB"}}, False),
        ({"waivers": [{"target": "a", "rule": "R", "reason": "x", "until": "2027-01-31"}]}, True),
        ({"waivers": [{"target": "a", "rule": "R", "until": "2027-01-31"}]}, False),
    ],
)
def test_editors_accept_and_refuse_what_the_loader_does(change: dict[str, object], valid: bool) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(FILE.read_text()))
    assert validator.is_valid({**MINIMAL, **change}) is valid
