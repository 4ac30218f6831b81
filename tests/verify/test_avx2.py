"""ONNX Runtime without exact products: on this processor where it saturates, else on one that QEMU emulates."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

import qgate
from qgate.errors import SandboxError, UsageError
from qgate.measure.deployed import avx2
from qgate.records import Severity, Verdict
from qgate.runtimes.processor import saturates
from qgate.sandbox import emulation
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory, unreadable_part
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair
from qgate.verify.target import verify

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
REDUCED = Limits(reduced=True, wall_seconds=300)


there = pytest.mark.skipif(
    not saturates(), reason="this processor does not saturate: the emulated one is tested below"
)


def report(candidate: str, deploy: str | None = None, limits: Limits = REDUCED):
    pair = ad_hoc_pair(
        AdHoc(
            DIGITS / candidate,
            DIGITS / "digits_fp32.onnx",
            samples=8,
            runtimes=("onnxruntime", "avx2"),
            deploy=deploy,
        )
    )
    with staging_directory() as staging:
        return verify(replace(pair, limits=limits), staging=staging)


def of(target, name: str):
    (found,) = [m for m in target.measurements if m.name == name]
    return found


@there
def test_what_saturates_is_told_with_what_is_left_and_where_it_begins():
    target = report("digits_int8_pc.onnx")
    (found,) = [f for f in target.findings if f.rule == "DEP302"]
    assert found.severity is Severity.NOTE
    assert "they part first at /c2/Conv" in found.message
    kept = of(target, "runtime.sqnr_db")
    assert kept.number < 25 < 30 < kept.detail["onnxruntime_db"]
    ran = of(target, "runtime.ran")
    assert ran.detail["confined"] is True
    assert target.verdict is Verdict.PASS


@there
def test_it_blocks_where_the_target_is_served_there():
    target = report("digits_int8_pc.onnx", deploy="avx2")
    assert {f.rule for f in target.findings if f.severity is Severity.ERROR} == {"DEP301", "DEP302"}
    assert target.verdict is Verdict.FAIL


@there
def test_what_cannot_saturate_answers_the_same():
    target = report("digits_dyn.onnx", deploy="avx2")
    assert of(target, "runtime.lsb").number == 0
    assert not [f for f in target.findings if f.rule.startswith("DEP")]
    assert target.verdict is Verdict.PASS


@pytest.fixture
def elsewhere(monkeypatch):
    """A processor that does not saturate."""
    monkeypatch.setattr(avx2, "saturates", lambda: False)


def test_it_is_not_passed_over_where_it_cannot_be_run(elsewhere):
    target = report("digits_int8_pc.onnx", limits=Limits(wall_seconds=100))
    (found,) = [f for f in target.findings if f.rule == "DEP201"]
    assert "it did not run in avx2: this processor does not saturate" in found.message
    assert target.verdict is Verdict.ERROR


def test_the_processor_itself_is_taken_where_it_saturates(monkeypatch):
    monkeypatch.setattr(avx2, "saturates", lambda: True)
    assert avx2.unavailable(Limits()) == ""
    assert avx2.avx2_limits(Limits()) == Limits()
    assert avx2.about(Limits()) == {"processor": "this one", "confined": True}


def test_an_emulated_one_takes_the_word_for_less(elsewhere, monkeypatch):
    monkeypatch.setattr(emulation.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "it takes `sandbox: reduced`" in avx2.unavailable(Limits())
    assert avx2.avx2_limits(REDUCED).emulated
    assert avx2.about(REDUCED) == {"processor": "Haswell-noTSX, emulated by qemu-x86_64", "confined": False}
    with pytest.raises(UsageError, match="cannot be emulated from within the sandbox"):
        Limits(emulated=True)


def test_it_is_not_started_where_it_could_not_read_its_libraries(elsewhere, monkeypatch, tmp_path):
    monkeypatch.setattr(emulation.shutil, "which", lambda name: f"/usr/bin/{name}")
    hidden = tmp_path / "python"
    hidden.touch(mode=0o000)
    monkeypatch.setattr(sys, "executable", str(hidden))
    monkeypatch.setattr(avx2, "unreadable_part", lambda path: path if path == hidden else None)
    assert f"cannot read {hidden}" in avx2.unavailable(REDUCED)


def test_without_an_emulator_its_name_is_told(elsewhere, monkeypatch):
    monkeypatch.setattr(emulation.shutil, "which", lambda name: None)
    assert "qemu-user" in avx2.unavailable(REDUCED)
    with pytest.raises(SandboxError, match="qemu-x86_64 is not installed"):
        emulation.emulating(["python"])


def test_the_emulator_starts_without_roots_rights():
    wanted = {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}
    assert emulation.unprivileged() == wanted


@pytest.fixture
def readable_python(monkeypatch):
    """An interpreter that every user can read, as the emulated process gives up root before it starts.

    Where the one that runs the tests is hidden below root's home, the system's own of the same version stands in for it,
    with the same packages.
    """
    if unreadable_part(Path(sys.executable)) is None:
        yield
        return
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    system = shutil.which(name, path=os.defpath)
    if system is None:
        pytest.skip(f"{sys.executable} is hidden from other users, and there is no other {name}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        packages = root / "lib" / name / "site-packages"
        packages.mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(system)
        (root / "pyvenv.cfg").write_text(f"home = {Path(system).parent}\n")
        places = [sysconfig.get_path("purelib"), Path(qgate.__file__).parents[1]]
        (packages / "same.pth").write_text("\n".join(map(str, places)))
        root.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(root / "bin" / "python"))
        yield


def test_an_emulated_processor_answers_as_a_real_one_does(elsewhere, readable_python):
    reason = avx2.unavailable(REDUCED)
    if reason:
        pytest.skip(reason)
    target = report("digits_int8_pc.onnx")
    ran = of(target, "runtime.ran")
    assert ran.value is True
    assert ran.detail["confined"] is False
    assert 14 < of(target, "runtime.sqnr_db").number < 16
