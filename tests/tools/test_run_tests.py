"""The script behind ``make test``: parts beside each other, nothing lost of what they say, no failure taken for a pass."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "test.py"


@pytest.fixture
def script(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("run_tests", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "run_tests", module)
    spec.loader.exec_module(module)
    bodies = {"unit": "assert True", "e2e": "assert 'no' == 'yes'", "slow": None}
    parts = {}
    for part, body in bodies.items():
        path = tmp_path / f"test_of_{part}.py"
        path.write_text("" if body is None else f"def test_{part}():\n    {body}\n")
        parts[part] = ["-p", "no:cacheprovider", str(path)]
    monkeypatch.setattr(module, "PARTS", parts)
    monkeypatch.setenv(
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"
    )  # they take longer to load than the tests to run
    monkeypatch.delenv("CI", raising=False)
    return module


def test_parts_run_beside_each_other_and_each_failure_counts(script, monkeypatch, capfd):
    monkeypatch.setattr(script, "engine", lambda: "")
    monkeypatch.setattr("sys.argv", ["test.py", "--all"])
    monkeypatch.delenv("QGATE_E2E", raising=False)
    assert script.main() == 1
    said = capfd.readouterr()
    assert "qgate tests FAILED in e2e, slow: 1 passed, 1 failures, 0 errors, 0 skipped" in said.out
    assert "assert 'no' == 'yes'" in said.err, "what was held back is shown"
    assert "slow tests: pytest ended with 5" in said.err, "nothing collected is no pass"


def test_without_an_engine_the_rest_is_run_and_it_fails(script, monkeypatch, capfd):
    monkeypatch.setattr(script, "engine", lambda: "no Docker engine answers")
    monkeypatch.setattr("sys.argv", ["test.py"])
    monkeypatch.delenv("QGATE_E2E", raising=False)
    assert script.main() == 1
    said = capfd.readouterr()
    assert "qgate tests FAILED in e2e: 1 passed, 0 failures" in said.out
    assert "no Docker engine answers" in said.err
