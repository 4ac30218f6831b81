"""Pairs of LiteRT models, run by LiteRT in the sandbox."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="qgate[litert] is not installed")

from qgate.formats.read import read_model
from qgate.measure.flat_programs import measure_flat_programs
from qgate.records import Verdict
from qgate.sandbox.staging import staging_directory
from qgate.verifier.adhoc import AdHoc, ad_hoc_pair
from qgate.verify.target import verify
from tests.formats.tflite_files import OPS, network, schema, weights_only


def report(folder: Path, candidate: bytes, **options):
    paths = {}
    for name, data in (("fp32", network(quantized=False)), ("int8", candidate)):
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(data)
    pair = ad_hoc_pair(AdHoc(paths["int8"], paths["fp32"], samples=16, **options))
    with staging_directory() as staging:
        return verify(pair, staging=staging)


def rules(target) -> set[str]:
    return {finding.rule for finding in target.findings if finding.severity == "error"}


def test_an_honest_candidate_passes_and_was_run(tmp_path: Path) -> None:
    target = report(tmp_path, network(quantized=True))
    assert target.verdict is Verdict.PASS, target.reason
    assert target.scheme == "int8"
    values = {m.name: m.value for m in target.measurements if m.value is not None}
    assert values["output.sqnr_db"] > 25
    assert target.declared["ran"] is True


@pytest.mark.parametrize(("mode", "scheme"), [("float16", "fp16"), ("int8", "int8")])
def test_weights_alone_in_fewer_bits_pass_as_well(mode: str, scheme: str, tmp_path: Path) -> None:
    target = report(tmp_path, weights_only(mode))
    assert target.verdict is Verdict.PASS, target.reason
    assert target.scheme == scheme


def test_one_flipped_code_is_found_and_named(tmp_path: Path) -> None:
    def flip(codes):
        codes.view(np.uint8)[2, 1, 1, 0] ^= 0x40
        return codes

    target = report(tmp_path, network(quantized=True, change=lambda _, v: v.update({"conv/edit": flip})))
    (finding,) = (f for f in target.findings if f.rule == "QNT201")
    assert finding.at.tensor == "conv/w"
    assert finding.at.index == (2, 1, 1, 0)
    assert target.verdict is Verdict.FAIL


def test_a_bias_in_a_unit_that_no_kernel_reads_fails(tmp_path: Path) -> None:
    def finer(maker) -> None:
        bias = next(tensor for tensor in maker.graph.tensors if tensor.name == "fc/b")
        bias.quantization.scale = bias.quantization.scale / np.float32([1, 1, 1, 40, 1])
        held = maker.model.buffers[bias.buffer]
        codes = held.data.view(np.int32) * np.int32([1, 1, 1, 40, 1])
        held.data = codes.view(np.uint8)

    target = report(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=finer)))
    (finding,) = (f for f in target.findings if f.rule == "QNT302")
    assert finding.at.tensor == "fc/b"
    assert target.verdict is Verdict.FAIL


def test_another_checkpoint_is_not_this_one(tmp_path: Path) -> None:
    target = report(tmp_path, network(quantized=True, seed=1))
    assert target.verdict is Verdict.FAIL
    assert {"QNT202", "QNT205"} & rules(target), rules(target)


def test_an_operation_that_the_reference_does_not_have_is_named(tmp_path: Path) -> None:
    def more(maker) -> None:
        extra = maker.tensor("z", [1, 5], 0)
        maker.operator(OPS.ABS, [int(maker.graph.outputs[0])], [extra])
        maker.graph.outputs = np.array([extra], np.int32)
        maker.graph.tensors[extra].name, maker.graph.tensors[5].name = "y", "before"

    target = report(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=more)))
    told = [f.message for f in target.findings if f.rule.startswith("QNT3")]
    assert any("1 more tfl.abs" in message for message in told), told
    assert target.verdict is not Verdict.PASS


def test_operations_that_read_something_else_are_named(tmp_path: Path) -> None:
    """Two additions, the second of the first's result or of its input."""

    def pair(second: str):
        def more(maker) -> None:
            last = int(maker.graph.outputs[0])
            maker.graph.tensors[last].name = "before"
            sums = [maker.tensor(name, [1, 5], 0) for name in ("s", "y")]
            for source, target in zip((last, {"s": sums[0], "before": last}[second]), sums, strict=True):
                options = schema.AddOptionsT()
                maker.operator(OPS.ADD, [source, last], [target], options, schema.BuiltinOptions.AddOptions)
            maker.graph.outputs = np.array([sums[1]], np.int32)

        return more

    models = []
    for quantized, second in ((False, "s"), (True, "s"), (True, "before")):
        data = network(quantized=quantized, change=lambda _, v, second=second: v.update(after=pair(second)))
        path = tmp_path / f"{quantized}{second}.tflite"
        path.write_bytes(data)
        models.append(read_model(path))
    assert list(measure_flat_programs(models[0], models[1])) == []
    (found,) = measure_flat_programs(models[0], models[2])
    assert "read each other's results otherwise, first at number 4" in found.detail["message"]
    assert found.at.tensor == "y"


def test_an_operator_of_somebody_elses_is_judged_and_not_run(tmp_path: Path) -> None:
    def custom(maker) -> None:
        maker.operator(OPS.CUSTOM, [0], [int(maker.graph.outputs[0])], custom="Backdoor")

    target = report(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=custom)))
    assert target.declared["ran"] is False
    assert target.verdict is not Verdict.PASS
    assert any("Backdoor" in finding.message for finding in target.findings)


def test_where_litert_is_not_installed_the_extra_is_named(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['ai_edge_litert'] = None\nfrom qgate.cli import main\nmain()\n"
    for name, quantized in (("a", False), ("b", True)):
        (tmp_path / f"{name}.tflite").write_bytes(network(quantized=quantized))
    arguments = [
        "verify",
        "-r",
        tmp_path / "a.tflite",
        "-c",
        tmp_path / "b.tflite",
        "-o",
        tmp_path / "report",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    (target,) = json.loads((tmp_path / "report" / "report.json").read_text())["targets"]
    assert "qgate[litert]" in " ".join(f["remedy"] for f in target["findings"])


def test_a_decoy_under_the_weights_name_stands_for_nothing(tmp_path: Path) -> None:
    """The convolution reads a tampered copy, and a dead operation the honest weight."""

    def decoy(maker) -> None:
        held = next(t for t in maker.graph.tensors if t.name == "conv/w")
        maker.graph.tensors.append(copy.deepcopy(held))
        at = len(maker.graph.tensors) - 1
        buffer = copy.deepcopy(maker.model.buffers[held.buffer])
        buffer.data[5] ^= 0x10
        maker.model.buffers.append(buffer)
        held.name, held.buffer = "conv/wx", len(maker.model.buffers) - 1
        maker.operator(OPS.DEQUANTIZE, [at], [maker.tensor("sink", list(held.shape), 0)])

    target = report(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=decoy)))
    assert target.verdict is Verdict.FAIL
    assert {"QNT201", "QNT301"} <= rules(target)
    assert next(f for f in target.findings if f.rule == "QNT201").at.tensor == "conv/wx"


def test_what_was_not_compared_is_no_pass(tmp_path: Path) -> None:
    def after(maker) -> None:
        step = maker.graph.operators[1]
        step.builtinOptions2Type = schema.BuiltinOptions2.StablehloShiftLeftOptions
        step.builtinOptions2 = schema.StablehloShiftLeftOptionsT()

    target = report(tmp_path, network(quantized=True, change=lambda _, v: v.update(after=after)))
    assert target.verdict is Verdict.INCONCLUSIVE, target.reason
    assert "were not compared" in target.reason
