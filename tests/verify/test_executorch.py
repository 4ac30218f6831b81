"""ExecuTorch programs: recognised, refused without trust, run in the sandbox under it, and never a PASS."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from qgate.formats.code import CodeError
from qgate.formats.detect import detect_format
from qgate.formats.read import read_model
from qgate.records import Verdict
from qgate.sandbox.staging import staging_directory
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair
from qgate.verify.target import verify

MADE = Path(__file__).parent.parent / "runtimes" / "pte"
installed = pytest.mark.skipif(
    find_spec("executorch") is None,
    reason="qgate[executorch] is not installed",
)


def report(candidate: Path = MADE / "int8.pte", reference: Path = MADE / "float.pte", **options):
    pair = ad_hoc_pair(AdHoc(candidate, reference, samples=16, **options))
    with staging_directory() as staging:
        return verify(pair, staging=staging)


def test_a_program_is_recognised_and_refused_as_code() -> None:
    assert detect_format(MADE / "int8.pte") == "executorch"
    with pytest.raises(CodeError, match="native code carries out its instructions") as told:
        read_model(MADE / "int8.pte")
    assert told.value.kind == "executorch"


def test_without_trust_it_is_not_run() -> None:
    target = report()
    assert target.verdict is Verdict.ERROR
    assert {f.rule for f in target.findings if f.severity == "error"} == {"ART114"}
    assert target.declared["ran"] is False


@pytest.mark.skipif(find_spec("torch") is None, reason="qgate[torch] is not installed")
def test_where_executorch_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from qgate.runtimes import required

    monkeypatch.setattr(required, "find_spec", lambda name: None if name == "executorch" else find_spec(name))
    target = report(trust="code")
    assert target.verdict is Verdict.ERROR
    assert "qgate[torch,executorch]" in " ".join(f.remedy or "" for f in target.findings)


@installed
def test_an_honest_program_is_inconclusive_and_its_outputs_are_told() -> None:
    target = report(trust="code", scheme="int8")
    assert target.verdict is Verdict.INCONCLUSIVE, target.reason
    (sqnr,) = (m.value for m in target.measurements if m.name == "output.sqnr_db")
    assert sqnr > 18
    assert any("an ExecuTorch program, whose weights are not read" in f.message for f in target.findings)


@installed
def test_another_network_fails() -> None:
    target = report(MADE / "int8_other.pte", trust="code", scheme="int8")
    assert target.verdict is Verdict.FAIL, target.reason
    assert "FEA201" in {f.rule for f in target.findings if f.severity == "error"}


@installed
def test_a_cut_program_is_an_error_and_no_more(tmp_path: Path) -> None:
    whole = (MADE / "int8.pte").read_bytes()
    path = tmp_path / "cut.pte"
    path.write_bytes(whole[: len(whole) // 3])
    target = report(path, trust="code")
    assert target.verdict is Verdict.ERROR
    assert "ART112" in {f.rule for f in target.findings}
