"""Pairs without a graph: honest ones are INCONCLUSIVE for want of a run, a single flipped bit is found and named."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.load import load_policy
from qgate.records import Finding, Verdict
from qgate.report.schema import TargetReport
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc
from qgate.verify.again import judge_again
from qgate.verify.pair import Pair
from qgate.verify.target import verify
from tests.formats.test_safetensors import WEIGHT as LAYER
from tests.formats.test_safetensors import gptq, rows, tensors

torch = pytest.importorskip("torch")
from tests.formats.torch import models  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Honest candidates of one float model, each in a file of its own."""
    folder = tmp_path_factory.mktemp("tensors")
    states = {
        "float": dict(models.trained().state_dict()),
        "nested": {"state_dict": {f"module.{k}": v for k, v in models.trained().state_dict().items()}, "epoch": 3},
        "static": models.static(), "qnnpack": models.static("qnnpack"), "dynamic": models.dynamic(),
        "fp16": models.halved(torch.float16), "bf16": models.halved(torch.bfloat16),
        "fp8": models.halved(torch.float8_e4m3fn),
    }  # fmt: skip
    found = {}
    for name, state in states.items():
        found[name] = folder / f"{name}.pt"
        torch.save(state, found[name])
    found["legacy"] = folder / "legacy.pt"
    torch.save(states["static"], found["legacy"], _use_new_zipfile_serialization=False)
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(4))
    found["program"] = models.exported(folder / "program.pt2", models.linear(), (x,))
    found["program int8"] = models.exported(folder / "program_int8.pt2", models.Affine(models.linear()), (x,))
    found["program int4"] = models.exported(
        folder / "program_int4.pt2", models.Affine(models.linear(), 4), (x,)
    )
    codes, scale = rows()
    for name, arrays in {
        "layer": {"l.weight": LAYER}, "layer int8": {"l.weight": codes, "l.weight_scale": scale},
        "layer gptq": gptq(4),
    }.items():  # fmt: skip
        found[name] = folder / f"{name}.safetensors"
        found[name].write_bytes(tensors(arrays))
    return found


def judged(reference: Path, candidate: Path, **settings: Any) -> TargetReport:
    return verify_ad_hoc(AdHoc(candidate=candidate, reference=reference, **settings))


def blocking(report: TargetReport, *but: str) -> list[Finding]:
    return [f for f in report.findings if f.effect is not Verdict.PASS and f.rule not in but]


HONEST = [
    ("float", "static", "int8"), ("float", "qnnpack", "int8"), ("float", "legacy", "int8"), ("float", "dynamic", "int8"),
    ("nested", "static", "int8"), ("float", "fp16", "fp16"), ("float", "bf16", "fp16"), ("nested", "fp16", "fp16"),
    ("program", "program int8", "int8"), ("layer", "layer int8", "int8"),
]  # fmt: skip


@pytest.mark.parametrize(("reference", "candidate", "scheme"), HONEST)
def test_an_honest_pair_lacks_nothing_but_a_run(
    reference: str, candidate: str, scheme: str, files: dict[str, Path]
) -> None:
    report = judged(files[reference], files[candidate])
    assert (report.verdict, report.scheme) == (Verdict.INCONCLUSIVE, scheme)
    (only,) = blocking(report)
    assert only.rule == "ART115"
    assert ("no factory builds one" in report.reason) is (candidate != "program int8")
    assert "xport both models to ONNX" in (only.remedy or "")
    assert (only.remedy or "") not in only.message
    derived = [m for m in report.measurements if m.name == "weight.derivation"]
    assert derived
    assert {m.value for m in derived} == {"derived"}
    assert all(
        m.value == 1 for m in report.measurements if m.name in ("alignment.weights", "weight.derived_share")
    )


@pytest.mark.parametrize(
    ("reference", "candidate"), [("program", "program int4"), ("layer", "layer gptq"), ("float", "fp8")]
)
def test_short_types_are_followed(reference: str, candidate: str, files: dict[str, Path]) -> None:
    report = judged(files[reference], files[candidate], profile="permissive")
    found = {m.at.tensor: m.value for m in report.measurements if m.name == "weight.derivation"}
    assert found
    assert not {"not-derived", "unknown"} & set(found.values())
    assert report.verdict in (Verdict.INCONCLUSIVE, Verdict.FAIL)


def test_a_checkpoint_and_an_onnx_file_are_compared_both_ways() -> None:
    state, graph = EXAMPLES / "torch" / "digits_fp32_state.pt", EXAMPLES / "digits" / "digits_int8_pc.onnx"
    report = judged(state, graph)
    assert [f.rule for f in blocking(report)] == ["ART115"]
    assert "the reference is a torch-checkpoint file" in report.reason
    back = judged(EXAMPLES / "digits" / "digits_fp32.onnx", EXAMPLES / "torch" / "digits_int8_state.pt")
    assert [f.rule for f in blocking(back)] == ["ART115"]


def where(path: Path, tensor: str) -> tuple[int, Any]:
    """First byte of a tensor in a file, and its constant."""
    constant = next(c for c in read_model(path).graph.constants.values() if c.name == tensor)
    raw = constant.raw
    assert raw is not None
    held = np.asarray(raw())
    whole = path.read_bytes()
    at = whole.find(held.tobytes())
    assert whole.count(held.tobytes()) == 1
    return at, constant


def with_bit(path: Path, folder: Path, at: int, bit: int) -> Path:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    made = folder / path.name
    made.write_bytes(data)
    return made


FLIPS = [
    ("float", "static", "conv.weight", 37), ("float", "legacy", "fc._packed_params._packed_params.0", 1234),
    ("float", "dynamic", "fc._packed_params._packed_params.0", 7), ("program", "program int8", "_frozen_param0", 100),
    ("layer", "layer int8", "l.weight", 20),
]  # fmt: skip


@pytest.mark.parametrize("bit", [0, 3, 7])
@pytest.mark.parametrize(("reference", "candidate", "tensor", "element"), FLIPS)
def test_a_flipped_bit_of_a_code_is_found_and_named(
    reference: str,
    candidate: str,
    tensor: str,
    element: int,
    bit: int,
    files: dict[str, Path],
    tmp_path: Path,
) -> None:
    at, constant = where(files[candidate], tensor)
    report = judged(files[reference], with_bit(files[candidate], tmp_path, at + element, bit))
    assert report.verdict is Verdict.FAIL
    (found,) = [f for f in blocking(report) if f.effect is Verdict.FAIL]
    assert (found.rule, found.at.tensor) == ("QNT201", tensor)
    assert found.at.index == tuple(int(i) for i in np.unravel_index(element, constant.shape))
    (listed,) = found.evidence["outsiders"]
    assert listed["xor"] == 1 << bit
    if candidate not in ("legacy", "layer int8"):
        assert any(f.rule == "ART117" for f in report.findings)


@pytest.mark.parametrize("bit", [0, 5, 15])
def test_a_flipped_bit_of_half_floats(bit: int, files: dict[str, Path], tmp_path: Path) -> None:
    at, _ = where(files["fp16"], "fc.weight")
    report = judged(files["float"], with_bit(files["fp16"], tmp_path, at + 2 * 500 + bit // 8, bit % 8))
    (found,) = [f for f in blocking(report) if f.effect is Verdict.FAIL]
    assert (found.rule, found.at.tensor, found.at.index) == ("QNT201", "fc.weight", (500 // 288, 500 % 288))


def changed(state: dict[str, Any], key: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    return {k: change(v) if k == key else v for k, v in state.items()}


def saved(folder: Path, state: dict[str, Any]) -> Path:
    torch.save(state, folder / "m.pt")
    return folder / "m.pt"


def test_an_edited_scale_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    scale = read_model(files["static"]).graph.constants["conv.weight"].quantization
    assert scale is not None
    raw = np.asarray(scale.scale.raw() if scale.scale.raw else ())
    data = files["static"].read_bytes()
    at = data.index(raw.tobytes())
    double = struct.pack("<d", struct.unpack_from("<d", data, at + 16)[0] * 2)
    path = tmp_path / "m.pt"
    path.write_bytes(data[: at + 16] + double + data[at + 24 :])
    report = judged(files["float"], path)
    (found,) = [f for f in blocking(report) if f.effect is Verdict.FAIL]
    assert found.at.tensor == "conv.weight.q_per_channel_scales"
    assert found.at.index == (2,)


def test_numbers_that_are_none_swaps_and_other_models(files: dict[str, Path], tmp_path: Path) -> None:
    state = models.halved(torch.float16)
    broken = changed(state, "fc.bias", lambda v: torch.full_like(v, float("nan")))
    assert "ART111" in {f.rule for f in blocking(judged(files["float"], saved(tmp_path, broken)))}

    torch.manual_seed(9)
    other = models.Stubbed().eval()
    report = judged(
        files["float"],
        saved(tmp_path, {k: v.half() for k, v in other.state_dict().items()}),
    )
    assert report.verdict is Verdict.FAIL
    assert {"QNT202"} <= {f.rule for f in blocking(report)}


def test_missing_and_extra_tensors_need_a_reviewer(files: dict[str, Path], tmp_path: Path) -> None:
    state = models.halved(torch.float16)
    less = {k: v for k, v in state.items() if not k.startswith("fc.")}
    report = judged(files["float"], saved(tmp_path, less), profile="strict")
    assert "QNT301" in {f.rule for f in blocking(report)}
    assert any("'fc.weight'" in f.message for f in report.findings)
    more = {**state, "trigger.weight": torch.randn(64, 64).half()}
    report = judged(files["float"], saved(tmp_path, more), profile="strict")
    assert any("'trigger.weight'" in f.message for f in report.findings if f.rule == "QNT301")
    assert any(f.rule == "QNT205" for f in blocking(report))


def test_a_float_checkpoint_in_disguise(files: dict[str, Path]) -> None:
    report = judged(files["float"], files["float"])
    assert report.verdict is Verdict.FAIL
    assert "QNT101" in {f.rule for f in blocking(report)}


class Two(torch.nn.Module):
    """Two layers of one shape, so that they can trade places."""

    def __init__(self, one: Any, two: Any) -> None:
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x: Any) -> Any:
        return self.two(torch.relu(self.one(x)))


def square(seed: int) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Linear(16, 16)


def test_programs_that_differ_in_what_they_do(tmp_path: Path) -> None:
    x = (torch.randn(2, 16),)
    one, two = square(1), square(2)
    reference = models.exported(tmp_path / "r.pt2", Two(one, two), x)
    honest = models.exported(tmp_path / "h.pt2", Two(models.Affine(one), models.Affine(two)), x)
    assert [f.rule for f in blocking(judged(reference, honest, profile="strict"))] == ["ART115"]
    swapped = models.exported(tmp_path / "s.pt2", Two(models.Affine(two), models.Affine(one)), x)
    assert judged(reference, swapped).verdict is Verdict.FAIL

    class Noisy(Two):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + torch.rand_like(x) * 1e-3

    noisy = models.exported(tmp_path / "n.pt2", Noisy(models.Affine(one), models.Affine(two)), x)
    report = judged(reference, noisy)
    assert report.verdict is Verdict.FAIL
    assert any("random" in f.message for f in blocking(report))

    wider = models.exported(
        tmp_path / "w.pt2", Two(models.Affine(one), models.Affine(two)), (torch.randn(3, 16),)
    )
    assert "ART110" in {f.rule for f in blocking(judged(reference, wider))}


def test_operators_of_strangers_are_named_and_may_be_allowed(tmp_path: Path) -> None:
    with torch.library._scoped_library("qgate_test", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")

        class Strange(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = models.linear()

            def forward(self, x: Any) -> Any:
                return torch.ops.qgate_test.twice(self.layer(x))

        path = models.exported(tmp_path / "m.pt2", Strange(), (torch.randn(2, 32),))
    report = judged(path, path)
    assert [f for f in blocking(report) if f.rule == "ART106"]
    model = read_model(path)
    inspection = inspect_pair(model, model, Interface(), allowed_operators=frozenset({"qgate_test::twice"}))
    assert not [m for m in inspection.measurements if m.name == "artifact.operator"]


POLICY = """
version: 1
targets:
  - name: net
    candidate: {{path: m.ts}}
    reference: {{path: r.pt}}
    trust: {trust}
"""


@pytest.mark.parametrize(("trust", "verdict"), [("data", Verdict.ERROR), ("code", Verdict.INCONCLUSIVE)])
def test_code_is_an_error_or_waits_for_a_runner(
    trust: str, verdict: Verdict, files: dict[str, Path], tmp_path: Path
) -> None:
    from qgate.sources.acquire import acquire_file
    from qgate.sources.context import SourceContext

    script = EXAMPLES / "torch" / "digits_fx_int8.ts"
    policy = load_policy(POLICY.format(trust=trust).encode(), "qgate.yml")
    context = SourceContext(repo=tmp_path)
    pair = Pair(
        name="net", candidate=lambda folder: acquire_file(script, folder, context), candidate_locator="m.ts",
        reference=lambda folder: acquire_file(files["float"], folder, context), reference_locator="r.pt",
        policy=policy, target=policy.targets[0], trust=policy.targets[0].trust,
    )  # fmt: skip
    staging = tmp_path / "staging"
    staging.mkdir()
    report = verify(pair, staging=staging)
    found = next(each for each in blocking(report) if each.rule.startswith("ART"))
    expected = "ART114" if trust == "data" else "ART115"
    assert (report.verdict, found.rule, found.effect) == (verdict, expected, verdict)
    assert report.candidate.format == "torchscript"
    assert report.candidate.sha256
    assert ("TorchScript, whose weights are not read" in found.message) is (trust == "code")
    # The stored report, judged by lines that trust otherwise.
    for other, wanted in (("data", Verdict.ERROR), ("code", Verdict.INCONCLUSIVE)):
        target = load_policy(POLICY.format(trust=other).encode(), "qgate.yml").targets[0]
        assert judge_again(report, target=target, policy=policy, profile=None).verdict is wanted


def test_a_stored_report_without_a_run_is_never_green(files: dict[str, Path]) -> None:
    report = judged(files["float"], files["static"])
    policy = load_policy(POLICY.format(trust="code").encode(), "qgate.yml")
    again = judge_again(report, target=policy.targets[0], policy=policy, profile=None)
    assert again.verdict is Verdict.INCONCLUSIVE
    kept = tuple(m for m in report.measurements if m.name != "artifact.not_run")
    forged = report.model_copy(update={"measurements": kept, "findings": ()})
    assert (
        judge_again(forged, target=policy.targets[0], policy=policy, profile=None).verdict is not Verdict.PASS
    )


def test_renamed_files_are_what_they_are(files: dict[str, Path], tmp_path: Path) -> None:
    for name in ("float", "static"):
        shutil.copy(files[name], tmp_path / f"{name}.onnx")
    report = judged(tmp_path / "float.onnx", tmp_path / "static.onnx")
    assert [f.rule for f in blocking(report)] == ["ART115"]
    assert report.candidate.format == "torch-checkpoint"
