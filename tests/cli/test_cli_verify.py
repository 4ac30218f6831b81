"""``qgate verify`` on one pair: exit codes, report, options."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qgate.commands.interface import parse_interface, parse_task
from qgate.errors import UsageError
from qgate.measure.interface import Interface

from .conftest import CANDIDATE, INPUTS, REFERENCE, Ran, Shop

SCHEMA = Path(__file__).parents[2] / "schemas" / "qgate-report-v1.json"


@pytest.fixture(scope="module")
def passed(stall: Shop) -> Ran:
    return stall.verify(CANDIDATE, REFERENCE, "-i", INPUTS, "--labels", "label")


@pytest.fixture(scope="module")
def flipped(stall: Shop) -> Ran:
    """A copy with the sign bit of one weight flipped."""
    model = onnx.load(CANDIDATE)
    weight = next(t for t in model.graph.initializer if t.name == "f1.weight_quantized")
    codes = numpy_helper.to_array(weight).copy()
    codes.view(np.uint8)[7, 11] ^= 0x80
    weight.CopyFrom(numpy_helper.from_array(codes, weight.name))
    path = stall.path("flipped.onnx", model.SerializeToString())
    return stall.verify(path, REFERENCE, "-i", INPUTS, report=stall.root.parent / "failed")


def test_a_pass_exits_0_and_says_so(passed: Ran) -> None:
    assert (passed.code, passed.err) == (0, "")
    assert "PASS" in passed.out
    assert passed.report is not None
    assert passed.report["verdict"] == "PASS"
    assert passed.report["summary"]["targets"] == passed.report["summary"]["passed"] == 1


def test_a_fail_exits_1_and_names_the_weight(flipped: Ran) -> None:
    assert flipped.code == 1
    assert flipped.report is not None
    (target,) = flipped.report["targets"]
    first = target["findings"][0]
    assert (first["rule"], first["severity"], first["effect"]) == ("QNT201", "error", "FAIL")
    assert (first["at"]["tensor"], first["at"]["index"]) == ("f1.weight_quantized", [7, 11])
    assert (first["evidence"]["outsiders"][0]["xor"], "xor 0x80" in first["message"]) == (0x80, True)
    for said in ("FAIL", "QNT201", "f1.weight_quantized", "[7, 11]", "xor 0x80"):
        assert said in flipped.text


def test_inconclusive_exits_2(stall: Shop) -> None:
    """Eight labelled samples cannot show what the strict profile asks for."""
    held = np.load(INPUTS)
    np.savez(stall.root / "eight.npz", image=held["image"][:8], label=held["label"][:8])
    found = stall.verify(
        CANDIDATE, REFERENCE, "-i", "eight.npz", "--labels", "label", "--profile", "strict",
        report=stall.root.parent / "eight",
    )  # fmt: skip
    assert found.code == 2
    assert found.report is not None
    assert found.report["verdict"] == "INCONCLUSIVE"
    told = [f for t in found.report["targets"] for f in t["findings"] if f["effect"] == "INCONCLUSIVE"]
    assert [f["rule"] for f in told] == ["BEH101"]
    assert "8 samples cannot tell" in found.text


@pytest.mark.parametrize("name", ["passed", "flipped"])
def test_the_report_is_valid_and_canonical(name: str, request: pytest.FixtureRequest, stall: Shop) -> None:
    found: Ran = request.getfixturevalue(name)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found.report)
    folder = stall.reports if name == "passed" else stall.root.parent / "failed"
    text = (folder / "report.json").read_text()
    stored = json.loads(text, parse_constant=pytest.fail)
    assert text == json.dumps(stored, sort_keys=True, indent=1, ensure_ascii=True) + "\n"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitignore",
        "leaves",
        "report.html",
        "report.json",
        "summary.md",
    ]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.suffix for path in files if path.parent != folder] == [".leaves"]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files)


def test_the_report_says_who_measured_what(passed: Ran, stall: Shop) -> None:
    assert passed.report is not None
    (target,) = passed.report["targets"]
    provenance = passed.report["provenance"]
    assert provenance["tool"].startswith("qgate")
    assert {"numpy", "onnxruntime"} <= set(provenance["versions"])
    assert provenance["cpu_flags"]
    assert provenance["seed"] == 0
    assert all(len(target[side]["sha256"]) == 64 for side in ("candidate", "reference", "data"))
    assert (target["data"]["samples"], target["data"]["labels"]) == (597, "label")
    summary = (stall.reports / "summary.md").read_text()
    assert "digits_int8_pc" in summary
    assert "PASS" in summary


def _without_times(report: dict[str, Any]) -> str:
    del report["provenance"]["generated_at"], report["digest"]
    for target in report["targets"]:
        del target["timings"]
    return json.dumps(report, sort_keys=True)


def test_two_runs_differ_in_nothing_but_times(passed: Ran, stall: Shop) -> None:
    folder = stall.root.parent / "again"
    again = stall.verify(CANDIDATE, REFERENCE, "-i", INPUTS, "--labels", "label", report=folder)
    assert again.report is not None
    first = json.loads((stall.reports / "report.json").read_text())
    assert _without_times(again.report) == _without_times(first)


def test_a_report_is_replaced_whole_and_what_else_is_in_the_folder_stays(shop: Shop) -> None:
    shop.reports.mkdir()
    for name in ("report.json", "notes.txt"):
        (shop.reports / name).write_text("mine")
    found = shop.verify(Path("gone.onnx"))
    assert found.report is not None
    assert found.report["verdict"] == "ERROR"
    assert (shop.reports / "notes.txt").read_text() == "mine"
    assert not list(shop.reports.glob(".*"))


def test_without_a_report_folder_nothing_is_written(shop: Shop) -> None:
    found = shop.run("verify", "-r", REFERENCE, "-c", "gone.onnx")
    assert (found.code, found.report) == (2, None)
    assert "no such file" in found.text


def recurrent(path: Path, output: str, *, rate: bool, batch: int | str) -> Path:
    """A float model; one export of it takes a sampling rate, fixes the batch and calls its output something else."""
    weight = np.random.default_rng(3).normal(size=(16, 4)).astype("f")
    nodes = [helper.make_node("MatMul", ["input", "w"], [output], "n1")]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 16])]
    if rate:
        nodes.append(helper.make_node("Identity", ["sr"], ["unused"], "n2"))
        inputs.append(helper.make_tensor_value_info("sr", TensorProto.INT64, []))
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_two_float_models_with_declared_differences_are_equivalent(shop: Shop) -> None:
    reference = recurrent(shop.root / "a.onnx", "output", rate=True, batch="N")
    candidate = recurrent(shop.root / "b.onnx", "speech", rate=False, batch=1)
    options = ("--scheme", "none", "--samples", "4")
    declared = ("--io-map", "output=speech", "--io-map", "sr=", "--io-shape", "input=1x16")
    found = shop.verify(candidate, reference, *options, *declared)
    assert (found.code, found.report and found.report["verdict"]) == (0, "PASS"), found.text
    undeclared = shop.verify(candidate, reference, *options)
    assert undeclared.code in (1, 2)
    assert "output 'output' of the reference is missing" in undeclared.text
    assert "input 'sr' of the reference is missing" in undeclared.text


def test_optional_inputs_and_types_are_declared_by_name(shop: Shop) -> None:
    reference = recurrent(shop.root / "a.onnx", "output", rate=False, batch="N")
    candidate = recurrent(shop.root / "b.onnx", "output", rate=True, batch="N")
    found = shop.verify(candidate, reference, "--scheme", "none", "--io-optional", "sr", "--samples", "4")
    assert (found.code, "PASS" in found.text) == (0, True), found.text
    typed = shop.verify(
        candidate, reference, "--io-optional", "sr", "--io-type", "input=float16", "--samples", "4"
    )
    assert typed.code == 1
    assert "input 'input' is float32 where float16 is expected" in typed.text


def test_io_options_are_read_by_name() -> None:
    found = parse_interface(("in=put", "a=b=c", "sr="), ("state",), ("x=float16",), ("x=1x3x?x224", "y=?"))
    assert found == Interface(
        map={"in": "put", "a=b": "c"},
        optional=("state", "sr"),
        types={"x": "float16"},
        shapes={"x": (1, 3, None, 224), "y": (None,)},
    )


@pytest.mark.parametrize(
    ("names", "types", "shapes", "says"),
    [
        (("foo",), (), (), "--io-map: 'foo' is not of the form NAME=VALUE. Write --io-map"),
        (("=",), (), (), "--io-map: '=' is not of the form"),
        (("a=b", "a=c"), (), (), "--io-map: 'a' is declared twice"),
        ((), ("image=float33",), (), "--io-type: 'float33' is no element type. Write one of float16,"),
        ((), ("image",), (), "--io-type: 'image' is not of the form"),
        ((), (), ("image=1xx8",), "--io-shape: '1xx8' is no shape. Write --io-shape"),
        ((), (), ("image=0x8",), "--io-shape: '0x8' is no shape"),
        ((), (), ("image=-1",), "--io-shape: '-1' is no shape"),
        ((), (), ("image=1x99999999999",), "is no shape"),
    ],
)
def test_io_options_that_make_no_sense_are_refused_by_name(
    names: tuple[str, ...], types: tuple[str, ...], shapes: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        parse_interface(names, (), types, shapes)


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("topk", ("k=0",), "k: must be more than 0"),
        ("topk", ("k=--5",), "k: must be a whole number, not the text '--5'"),
        ("topk", ("k=" + "9" * 5000,), "k: must be a whole number, not"),
        ("topk", ("k=x",), "k: must be a whole number, not the text 'x'"),
        ("topk", ("blank=1",), "'blank' is no option of the task topk"),
        (None, ("k=2",), "'k' is told to no task"),
        ("cer", ("text=ctc", "blank=-1"), "blank: must be at least 0"),
        ("cer", ("blank=3",), "blank: a blank belongs to `text: ctc`"),
        ("cer", ("text=cct",), "text: must be one of argmax, ctc, ids, not the text 'cct'"),
        ("map", ("score=nan",), "score: input should be a finite number"),
        ("map", ("boxes=b", "scores=s"), "boxes: boxes, scores and classes belong together"),
    ],
)
def test_task_options_are_refused_as_a_policy_refuses_them(
    metric: str | None, options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_task(metric, options)


def test_task_options_are_numbers_where_the_policy_has_numbers() -> None:
    assert parse_task("cer", ("text=ctc", "blank=3")) == {"text": "ctc", "blank": 3}
    assert parse_task("perplexity", ("ignore=-100",)) == {"ignore": -100}
    named_by_number = ("boxes=831", "scores=832", "classes=nan", "score=0.5")
    assert parse_task("map", named_by_number) == {
        "boxes": "831",
        "scores": "832",
        "classes": "nan",
        "score": 0.5,
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--io-shape", "image=1xx8"), "--io-shape: '1xx8' is no shape. Write --io-shape"),
        (("--labels", "label"), "--labels and --slices name arrays of the inputs. Give --inputs X.npz"),
        (("--profile", "balancd"), "there is no profile 'balancd'. Did you mean `balanced`?"),
        (("--config", "qgate.yml"), "--config, --target, --base and --leaves are for a repository's policy"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    shop: Shop, options: tuple[str, ...], says: str
) -> None:
    found = shop.run("verify", "-r", REFERENCE, "-c", CANDIDATE, *options)
    assert (found.code, found.report) == (2, None)
    assert says in found.refusal()


@pytest.mark.parametrize("options", [("-c", CANDIDATE), ("--seed", "3")])
def test_half_a_pair_is_refused(shop: Shop, options: tuple[str | Path, ...]) -> None:
    lacking = "--reference" if options[0] == "-c" else "--candidate"
    assert f"one pair needs {lacking} as well. Give both models" in shop.run("verify", *options).refusal()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--scheme", "int9"), "there is no 'int9'. Did you mean 'int8'?"),
        (("--samples", "0"), "0 is not in the range"),
        (("--reprt", "x"), "No such option"),
    ],
)
def test_words_that_no_option_has_are_refused(shop: Shop, options: tuple[str, ...], says: str) -> None:
    found = shop.run("verify", "-r", REFERENCE, "-c", CANDIDATE, *options)
    assert found.code == 2
    assert says in found.err
