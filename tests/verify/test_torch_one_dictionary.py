"""What of a checkpoint is judged is what runs: one dictionary, one name for each tensor, one module for each side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.errors import FormatError
from qgate.formats.read import read_model
from qgate.quant.tensorview import tensor_view
from qgate.records import Verdict
from qgate.runtimes.base import ModelRefusedError
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

torch = pytest.importorskip("torch", reason="of the extra `torch`")
pytestmark = pytest.mark.filterwarnings("ignore")

FACTORY = """
import torch

class Codes(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(outputs, 1))
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight.float() * self.weight_scale, self.bias)

class Net(torch.nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.fc1, self.fc2 = linear(32, 64), linear(64, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))

def build():
    return Net(torch.nn.Linear)

def codes():
    return Net(Codes)

_net = None

def kept():
    global _net
    if _net is None:
        _net = build()
    return _net

_first = torch.nn.Linear(32, 64)

def half_kept():
    net = build()
    net.fc1 = _first
    return net
"""

State = dict[str, Any]


def _quantized(state: State) -> State:
    made: State = {}
    for name, value in state.items():
        if name.endswith("weight"):
            scale = (value.abs().amax(1, keepdim=True) / 127).contiguous()
            made[name] = torch.round(value / scale).clamp(-127, 127).to(torch.int8)
            made[f"{name}_scale"] = scale
        else:
            made[name] = value
    return made


def _safetensors(state: State) -> bytes:
    types = {torch.float32: "F32", torch.int8: "I8"}
    header, data = {}, b""
    for name, value in state.items():
        raw = value.contiguous().numpy().tobytes()
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": types[value.dtype], "shape": list(value.shape), "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


class Shop:
    """A reference, honest codes, and codes that were moved, with what builds and feeds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "net.py").write_text(FACTORY)
        torch.manual_seed(3)
        net = torch.nn.ModuleDict({"fc1": torch.nn.Linear(32, 64), "fc2": torch.nn.Linear(64, 10)})
        self.original = {name: value.detach().clone() for name, value in net.state_dict().items()}
        self.good = _quantized(self.original)
        self.bad = {name: value.clone() for name, value in self.good.items()}
        moved = self.bad["fc2.weight"][3].to(torch.int16)
        self.bad["fc2.weight"][3] = (moved + 9 * torch.sign(moved)).clamp(-127, 127).to(torch.int8)
        torch.save(self.original, folder / "ref.pt")
        rng = np.random.default_rng(0)
        np.savez(folder / "data.npz", x=rng.normal(size=(48, 32)).astype(np.float32))

    def saved(self, value: Any) -> Path:
        path = self.folder / "candidate.pt"
        torch.save(value, path)
        return path

    def verified(self, candidate: Path, built: str = "codes", reference: str = "build") -> Any:
        code = {"factory.reference": f"{self.folder}/net.py:{reference}",
                "factory.candidate": f"{self.folder}/net.py:{built}"}  # fmt: skip
        asked = AdHoc(candidate, self.folder / "ref.pt", inputs=self.folder / "data.npz", code=code)
        return verify_ad_hoc(asked)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("one"))


# name: (what is saved, whose codes of it run: bad, good, or nobody's).
LAYOUTS: dict[str, tuple[Any, str]] = {
    "alone": (lambda good, bad: good, "good"),
    "a wrapper's name behind": (lambda good, bad: {"state_dict": bad, "module": good}, "bad"),
    "a wrapper's name before": (lambda good, bad: {"module": good, "state_dict": bad}, "bad"),
    "a key that is no word": (lambda good, bad: {"state_dict": {**good, 7: 1}, "model": bad}, "bad"),
    "nested once more": (lambda good, bad: {"state_dict": {"x": good}, "model": bad}, "bad"),
    "a tensor beside": (lambda good, bad: {"n": torch.zeros(1), 7: 1, "model": bad}, "bad"),
    "averaged": (lambda good, bad: {"ema": bad, "x": {"y": good}}, "bad"),
    "parameters": (lambda good, bad: {"params": bad, "x": {"y": good}}, "bad"),
    "on top and below": (lambda good, bad: {**good, "model": bad}, "bad"),
    "another name": (lambda good, bad: {"generator": bad, "epoch": 3}, "bad"),
    "two of other names": (lambda good, bad: {"one": good, "two": bad}, ""),
    "a list": (lambda good, bad: [good, bad], ""),
    "a number as key": (lambda good, bad: {**good, 7: 1}, ""),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_reader_and_runner_take_the_same_dictionary(shop: Shop, name: str, zipped: bool) -> None:
    from qgate.runtimes.pytorch.state_file import read_state

    make, whose = LAYOUTS[name]
    path = shop.folder / "layout.pt"
    torch.save(make(shop.good, shop.bad), path, _use_new_zipfile_serialization=zipped)
    model = read_model(path)
    if not whose:
        assert not model.state
        with pytest.raises(ModelRefusedError, match="no state_dict"):
            read_state(path, model.format)
        return
    expected = getattr(shop, whose)["fc2.weight"]
    loaded, record = read_state(path, model.format)
    assert torch.equal(loaded["fc2.weight"], expected) and record == model.state
    values = tensor_view(model).constants
    assert set(values) == {f"{model.root}{n}" for n in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")}
    assert np.array_equal(model.graph.constants[f"{model.root}fc2.weight"].load(), expected.numpy())


def test_the_file_cannot_say_where_its_tensors_begin(shop: Shop) -> None:
    """The words of a file are its own: none of them may pass for the reader's."""
    assert read_model(shop.saved({**shop.good, "qgate.root": "fc1."})).root == ""
    raw = _safetensors(shop.good)
    length = int.from_bytes(raw[:8], "little")
    header = {**json.loads(raw[8 : 8 + length]), "__metadata__": {"qgate.root": "fc1.", "format": "pt"}}
    text = json.dumps(header).encode()
    path = shop.folder / "words.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    model = read_model(path)
    assert model.root == "" and dict(model.metadata) == {"format": "pt"}


def test_a_name_as_if_it_lay_in_the_dictionary_is_refused(shop: Shop) -> None:
    for other, told in (("model.fc2.weight", "two tensors lie under"), ("model.x", "as if it lay in it")):
        with pytest.raises(FormatError, match=told):
            read_model(shop.saved({"model": shop.bad, other: shop.good["fc2.weight"]}))


@pytest.mark.parametrize("stored", ["pt", "safetensors"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("twin", ["module.fc2.weight", "fc2._orig_mod.weight"])
def test_two_tensors_of_one_name_are_refused(shop: Shop, stored: str, first: bool, twin: str) -> None:
    more = {twin: shop.good["fc2.weight"], f"{twin}_scale": shop.good["fc2.weight_scale"]}
    state = {**more, **shop.bad} if first else {**shop.bad, **more}
    path = shop.folder / f"twice.{stored}"
    if stored == "pt":
        torch.save(state, path)
    else:
        path.write_bytes(_safetensors(state))
    with pytest.raises(FormatError, match="one would be judged for the other") as caught:
        tensor_view(read_model(path))
    assert caught.value.rule == "ART105"


def test_two_tensors_of_one_name_are_an_error(shop: Shop) -> None:
    path = shop.folder / "error.safetensors"
    path.write_bytes(_safetensors({**shop.bad, "module.fc2.bias": shop.good["fc2.bias"]}))
    report = shop.verified(path)
    assert report.verdict is Verdict.ERROR
    assert "ART105" in {finding.rule for finding in report.findings}


def test_honest_codes_beside_the_tampered_ones_that_run_do_not_help(shop: Shop) -> None:
    """The other layouts are told apart without a run, above."""
    report = shop.verified(shop.saved({"state_dict": shop.bad, "module": shop.good}))
    assert report.verdict is Verdict.FAIL
    rules = {finding.rule for finding in report.findings if finding.effect is Verdict.FAIL}
    assert {"ART118"} < rules, "the second model is told, and the tampered weight by itself"
    held = {finding.at.tensor for finding in report.findings if finding.effect is Verdict.FAIL}
    assert any(str(tensor).endswith("fc2.weight") for tensor in held)


def test_tampered_codes_beside_the_honest_ones_are_a_second_model(shop: Shop) -> None:
    report = shop.verified(shop.saved({"state_dict": shop.good, "module": shop.bad}))
    assert report.verdict is Verdict.FAIL
    assert {finding.rule for finding in report.findings if finding.effect is Verdict.FAIL} == {"ART118"}


def test_an_optimizers_state_beside_is_said_and_stays_fine(shop: Shop) -> None:
    state = {0: {"exp_avg": torch.ones(64, 32), "step": torch.tensor(3.0)}}
    saved = {
        "state_dict": shop.good,
        "optimizer": {"state": state, "param_groups": [{"lr": 0.1}]},
        "epoch": 3,
    }
    report = shop.verified(shop.saved(saved))
    assert report.verdict is Verdict.PASS, report.reason
    (note,) = [finding for finding in report.findings if finding.rule == "ART118"]
    assert (
        "2 tensors of 8,196 bytes beside the candidate's dictionary 'state_dict' were not read"
        in note.message
    )


def test_a_safetensors_file_of_codes_and_scales_runs_as_the_checkpoint_does(shop: Shop) -> None:
    """The module takes codes and scales apart, as the file keeps them."""
    path = shop.folder / "honest.safetensors"
    path.write_bytes(_safetensors(shop.good))
    one, two = shop.verified(path), shop.verified(shop.saved(shop.good))
    assert one.verdict is two.verdict is Verdict.PASS, one.reason
    figures = [
        {
            (m.name, m.at.tensor): m.value
            for m in report.measurements
            if m.name.startswith(("output.", "layer."))
        }
        for report in (one, two)
    ]
    assert figures[0] == figures[1] and ("layer.sqnr_db", "fc1") in figures[0]


@pytest.mark.parametrize("factory", ["kept", "half_kept"])
def test_a_factory_that_returns_the_same_tensors_twice_is_an_error(shop: Shop, factory: str) -> None:
    """Else the candidate would be compared with itself, and any candidate would pass."""
    half = {name: value.half() for name, value in shop.original.items()}
    half["fc2.weight"][3] *= -1
    report = shop.verified(shop.saved(half), built=factory, reference=factory)
    told = [finding for finding in report.findings if finding.rule == "ART112"]
    assert told and "the candidate would be compared with itself" in told[0].message
    assert told[0].effect is Verdict.ERROR
    assert not any(m.name.startswith("output.") for m in report.measurements)


def test_an_answer_about_other_tensors_than_were_judged_is_not_believed(tmp_path: Path) -> None:
    from qgate.measure.belief import require_belief
    from qgate.measure.pair import PairRequest
    from qgate.measure.result import PairState

    request = PairRequest(tmp_path / "c.pt", None, samples=4, states={"candidate": "4 abc"})
    raw: State = {"samples": 4, "generated": True, "alone": True, "unfed": "", "untapped": "", "outputs": [],
                  "taps": [], "layers": [], "unobserved": "", "edges": [], "task": None, "problems": [],
                  "timings": {}}  # fmt: skip
    require_belief(request, PairState.model_validate({**raw, "loaded": {"candidate": "4 abc"}}), None, "c.pt")
    for loaded in ({}, {"candidate": "4 abd"}, {"reference": "4 abc"}):
        with pytest.raises(Exception, match="other tensors were loaded than were judged"):
            require_belief(request, PairState.model_validate({**raw, "loaded": loaded}), None, "c.pt")
