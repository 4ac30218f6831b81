"""torchao's own checkpoints, end to end: honest ones pass against their plain reference, one code that moved does not."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

torch = pytest.importorskip("torch", reason="of the extra `torch`")
pytest.importorskip("torchao", reason="of the extra `torchao`")
pytestmark = pytest.mark.filterwarnings("ignore")

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 96)
        self.second = nn.Linear(96, 64)
        self.last = nn.Linear(64, 16)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu()).relu())

def build():
    return Net(), torch.zeros(1, 64)
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torchao")
    (folder / "net.py").write_text(FACTORY)
    space: dict[str, Any] = {}
    exec(FACTORY, space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchao.quantization as q

        torch.manual_seed(0)
        net = space["Net"]().eval()
        torch.save(net.state_dict(), folder / "fp32.pt")
        for name, config in (
            ("weights", q.Int8WeightOnlyConfig()),
            ("dynamic", q.Int8DynamicActivationInt8WeightConfig()),
        ):
            made = copy.deepcopy(net)
            q.quantize_(made, config)
            assert made.second.weight.qdata.dtype == torch.int8, "it is quantized at all"
            torch.save(made.state_dict(), folder / f"{name}.pt")
        made.second.weight.qdata[3, 5] ^= 0x40
        torch.save(made.state_dict(), folder / "flipped.pt")
    inputs = np.random.default_rng(0).normal(size=(48, 64)).astype(np.float32)
    np.savez(folder / "data.npz", x=inputs)
    return folder


@pytest.mark.parametrize("name", ["weights", pytest.param("dynamic", marks=pytest.mark.slow), "flipped"])
def test_an_honest_checkpoint_passes_and_a_flipped_code_is_found(shop: Path, name: str) -> None:
    code = dict.fromkeys(("factory.reference", "factory.candidate"), f"{shop}/net.py:build")
    report = verify_ad_hoc(
        AdHoc(shop / f"{name}.pt", shop / "fp32.pt", inputs=shop / "data.npz", code=code, runtimes=("torch",))
    )
    assert report.scheme == "int8"
    ran = {m.at.tensor: m.number for m in report.measurements if m.name == "layer.sqnr_db"}
    assert set(ran) == {"first", "second", "last"}, "it was run, layer by layer"
    assert [m.at.runtime for m in report.measurements if m.name == "runtime.ran"] == ["torch"]
    assert not [f for f in report.findings if f.rule.startswith("DEP2")]
    if name != "flipped":
        assert report.verdict is Verdict.PASS, report.reason
        assert min(ran.values()) > 30
        return
    assert report.verdict is Verdict.FAIL
    (found,) = [f for f in report.findings if f.rule == "QNT201"]
    assert found.at.tensor == "second.weight" and found.at.index == (3, 5)
