"""Pairs that PyTorch runs, end to end: the real reader, the real sandbox, the real verdict."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

torch = pytest.importorskip("torch", reason="of the extra `torch`")
pytestmark = pytest.mark.filterwarnings("ignore")

FACTORY = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.relu = torch.nn.ReLU()
        self.pool = torch.nn.AdaptiveAvgPool2d((4, 4))
        self.fc = torch.nn.Linear(16 * 4 * 4, 10)

    def forward(self, x):
        return self.fc(self.pool(self.relu(self.conv(x))).flatten(1))

def build():
    return Net()

def dynamic():
    return torch.ao.quantization.quantize_dynamic(Net().eval(), {torch.nn.Linear})

def fails():
    raise KeyError("weights")
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    (folder / "net.py").write_text(FACTORY)
    space: dict[str, Any] = {}
    exec(FACTORY, space)
    torch.manual_seed(1)
    net = space["Net"]().eval()
    torch.save(net.state_dict(), folder / "fp32.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear})
        torch.save(made.state_dict(), folder / "int8.pt")
        torch.jit.trace(net, torch.zeros(1, 3, 16, 16)).save(str(folder / "m.ts"))
    torch.manual_seed(2)
    torch.save(space["Net"]().state_dict(), folder / "fresh.pt")
    rng = np.random.default_rng(0)
    np.savez(folder / "data.npz", image=rng.normal(size=(24, 3, 16, 16)).astype(np.float32))
    return folder


def verified(shop: Path, reference: str, candidate: str, **more: Any) -> Any:
    code = {"factory.reference": f"{shop}/net.py:build", "factory.candidate": f"{shop}/net.py:dynamic"}
    asked = {"inputs": shop / "data.npz", "code": code, **more}
    return verify_ad_hoc(AdHoc(shop / candidate, shop / reference, **asked))


def test_an_int8_checkpoint_passes_against_its_own_reference(shop: Path) -> None:
    report = verified(shop, "fp32.pt", "int8.pt")
    assert report.verdict is Verdict.PASS, report.reason
    found = {(m.name, m.at.tensor) for m in report.measurements if m.value is not None}
    assert {("layer.sqnr_db", "conv"), ("layer.sqnr_db", "fc"), ("output.sqnr_db", None)} <= found
    assert {each.role: len(each.files) for each in report.code} == {
        "factory.candidate": 1,
        "factory.reference": 1,
    }
    assert report.sandbox is not None and report.sandbox.seccomp and report.sandbox.landlock
    assert report.data.samples == 24


def test_a_fresh_model_as_reference_is_caught_by_name(shop: Path) -> None:
    """The file alone shows it, with or without a run."""
    report = verified(shop, "fresh.pt", "int8.pt", code={})
    assert report.verdict is Verdict.FAIL
    assert "QNT202" in {finding.rule for finding in report.findings if finding.effect is Verdict.FAIL}


def test_a_conversion_that_did_nothing_is_caught_by_name(shop: Path) -> None:
    report = verified(shop, "fp32.pt", "fp32.pt", code={})
    assert report.verdict is Verdict.FAIL
    (found,) = [finding for finding in report.findings if finding.rule == "QNT104"]
    assert "all 2 weights are the reference's to the bit" in found.message


def test_a_factory_that_fails_is_an_error_with_its_reason(shop: Path) -> None:
    code = {"factory.reference": f"{shop}/net.py:build", "factory.candidate": f"{shop}/net.py:fails"}
    report = verified(shop, "fp32.pt", "int8.pt", code=code)
    assert report.verdict is Verdict.ERROR
    assert "fails raised KeyError: 'weights'" in report.findings[0].message
    assert "net.py:fails, line 22" in str(report.findings[0].at)


def test_without_factory_or_trust_nothing_runs(shop: Path) -> None:
    report = verified(shop, "fp32.pt", "int8.pt", code={})
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "no factory builds one" in report.reason and report.sandbox is None
    script = verified(shop, "fp32.pt", "m.ts")
    assert script.verdict is Verdict.ERROR and script.findings[0].rule == "ART114"


def test_a_trusted_script_is_run_and_stays_inconclusive(shop: Path) -> None:
    report = verified(shop, "fp32.pt", "m.ts", trust="code", scheme="none")
    assert report.sandbox is not None
    (sqnr,) = [m for m in report.measurements if m.name == "output.sqnr_db"]
    assert sqnr.number > 100
    assert report.verdict is not Verdict.PASS, "its weights were not read"


@pytest.mark.parametrize("ran", [True, False])
def test_pytorch_as_a_declared_runtime_is_no_claim_where_nothing_ran(shop: Path, ran: bool) -> None:
    report = verified(shop, "fp32.pt", "int8.pt", runtimes=("torch",), **({} if ran else {"code": {}}))
    told = [m for m in report.measurements if m.name == "runtime.ran"]
    assert (len(told) == 1) is ran
    assert report.verdict is (Verdict.PASS if ran else Verdict.INCONCLUSIVE)


def test_pytorch_is_no_runtime_of_onnx_files() -> None:
    digits = Path(__file__).parents[2] / "examples" / "digits"
    pair = AdHoc(digits / "digits_int8_pc.onnx", digits / "digits_fp32.onnx", samples=4, runtimes=("torch",))
    report = verify_ad_hoc(pair)
    assert report.verdict is Verdict.FAIL
    (found,) = [finding for finding in report.findings if finding.effect is Verdict.FAIL]
    assert found.rule == "DEP200" and "PyTorch does not run onnx files" in found.message
