"""A signed model through the whole gate: real models, real bundles, a real repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgate.baseline.acceptance import accept_target
from qgate.errors import BaselineError
from qgate.events import Activity, Kind
from qgate.gate.run import run_gate
from qgate.records import Severity, Verdict
from qgate.report.schema import TargetReport
from qgate.settings import Settings
from qgate.verifier.targets import rejudge_target, target_verifier
from tests.git.scratch import ScratchRepository

from .conftest import Signer

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
POLICY = """\
version: 1
targets:
  - name: digits
    candidate: m/digits.onnx
    reference: fp32.onnx
    data: {inputs: test.npz, labels: label}
    signature: {bundle: m/digits.sig, key: keys/k.pub}
    require_signature: true
"""


class Office:
    """A repository on main that waits for its first candidate, and somebody who signs."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.signer = Signer(root / "signer")
        self.repo = ScratchRepository(root / "repo")
        self.model = (DIGITS / "digits_int8_pc.onnx").read_bytes()
        self.repo.commit(
            {
                "qgate.yml": POLICY,
                "fp32.onnx": (DIGITS / "digits_fp32.onnx").read_bytes(),
                "test.npz": (DIGITS / "digits_test.npz").read_bytes(),
                "keys/k.pub": self.signer.public.read_bytes(),
            }
        )

    def bundle(self, model: bytes, signer: Signer | None = None) -> bytes:
        """The signature over those bytes as one file."""
        path = self.root / "to-sign.onnx"
        path.write_bytes(model)
        return (signer or self.signer).sign(path, self.root / "made.sig").read_bytes()

    def judge(self, files: dict[str, bytes | str | None]) -> TargetReport:
        """What the gate says of a change with these files."""
        base = self.repo.git("rev-parse", "main")
        self.repo.git("checkout", "-q", "-b", "patch")
        head = self.repo.commit(files)
        self.repo.git("checkout", "-q", "--detach", "main")
        self.repo.git("merge", "-q", "--no-ff", "-m", "merge", "patch")
        settings = Settings(workspace=self.repo.root, report_dir=self.root / "report")
        activity = Activity(
            Kind.PULL_REQUEST,
            "pull_request",
            base_ref="main",
            base_sha=base,
            head_sha=head,
            default_branch="main",
            merge_sha=self.repo.git("rev-parse", "HEAD"),
            number=7,
        )
        verify = target_verifier(settings)
        (target,) = run_gate(settings, activity, verify=verify, judge_again=rejudge_target).targets
        return target


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path / "office")


def signature_of(target: TargetReport) -> list[tuple[Severity, str]]:
    return [(f.severity, f.message) for f in target.findings if f.rule == "ART119"]


def test_a_model_that_the_named_key_has_signed_passes_and_says_who(office: Office) -> None:
    target = office.judge({"m/digits.onnx": office.model, "m/digits.sig": office.bundle(office.model)})
    assert target.verdict is Verdict.PASS, target.reason
    ((severity, message),) = signature_of(target)
    assert severity is Severity.NOTE
    assert message.startswith("The candidate is signed with the key ")
    assert message.endswith(" (keys/k.pub)")


def test_a_model_that_nobody_signed_is_red_and_never_run(office: Office) -> None:
    target = office.judge({"m/digits.onnx": office.model})
    assert target.verdict is Verdict.FAIL
    ((severity, message),) = signature_of(target)
    assert (severity, "the policy requires one" in message) == (Severity.ERROR, True)
    assert not any(m.name.startswith("output.") for m in target.measurements)


def test_signing_with_a_key_of_one_s_own_gains_nothing(office: Office) -> None:
    """The change brings model, signature and key, and leaves the policy as it is."""
    mallory = Signer(office.root / "mallory")
    target = office.judge(
        {
            "m/digits.onnx": office.model,
            "m/digits.sig": office.bundle(office.model, mallory),
            "keys/k.pub": mallory.public.read_bytes(),
        }
    )
    assert target.verdict is Verdict.FAIL
    assert any("Key mismatch" in message for _, message in signature_of(target))
    assert not any(m.name.startswith("output.") for m in target.measurements)


def test_numbers_of_a_model_that_is_not_signed_are_not_accepted(office: Office) -> None:
    """It is not run, so that there are none to accept."""
    (office.repo.root / "m").mkdir()
    (office.repo.root / "m/digits.onnx").write_bytes(office.model)
    settings = Settings(workspace=office.repo.root)
    with pytest.raises(BaselineError, match="the policy requires one"):
        accept_target(settings, "digits", "first", target_verifier(settings))
    (office.repo.root / "m/digits.sig").write_bytes(office.bundle(office.model))
    accepted = accept_target(settings, "digits", "first", target_verifier(settings))
    assert accepted.report.verdict is Verdict.PASS
    assert not any(entry.name == "artifact.signature" for entry in accepted.baseline.measurements)
