"""Files that are odd as files: names, headers and interfaces that mislead whoever looks at them briefly."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qgate.cli import main
from qgate.formats.detect import detect_format
from qgate.formats.read import read_model
from qgate.judge import conclude, judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Severity, Verdict

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"


def safetensors(length: int) -> bytes:
    """A file of one tensor whose header has this many bytes."""
    weight = np.arange(6, dtype="<f4")
    entry = {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, weight.nbytes]}}
    header = json.dumps({"__metadata__": {"format": "pt", "note": ""}, **entry}).encode()
    padded = json.dumps({"__metadata__": {"format": "pt", "note": "x" * (length - len(header))}, **entry})
    assert len(padded) == length
    return length.to_bytes(8, "little") + padded.encode() + weight.tobytes()


@pytest.mark.parametrize(
    "length",
    [0x280, 0x380, 0x480, 0x580, 0x8B1F, 0x5A4D, 0x4B50, 0x0A63, 0xC3F8],
    ids=["pickle 2", "pickle 3", "pickle 4", "pickle 5", "gzip", "MZ", "PK", "pickle 0", "any"],
)
def test_a_header_whose_length_reads_as_another_format_is_still_safetensors(
    length: int, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors(length))
    assert detect_format(path) == "safetensors"
    held = read_model(path).graph.constants["w"]
    assert held.load().tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("length", [0x280, 0x380])
def test_a_pickle_with_a_length_and_a_brace_is_no_pickle_that_anybody_loads(
    length: int, tmp_path: Path
) -> None:
    """Protocol, then what a header would have there: read as a header, and refused as a broken one."""
    path = tmp_path / "model.bin"
    path.write_bytes(length.to_bytes(8, "little") + b"{" + b"cos\nsystem\n(S'true'\ntR." + bytes(length))
    assert detect_format(path) == "safetensors"
    with pytest.raises(Exception, match="header"):
        read_model(path)


def many_outputs(count: int) -> onnx.ModelProto:
    model = onnx.load(DIGITS / "digits_int8_pc.onnx")
    for number in range(count):
        name = f"evil_{number}"
        model.graph.node.append(helper.make_node("Identity", ["logits"], [name], name))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 10]))
    return model


def test_thousands_of_outputs_are_blocked_each_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(many_outputs(2000), path)
    found = inspect_pair(read_model(DIGITS / "digits_fp32.onnx"), read_model(path), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    assert conclude(findings, found.measurements)[0] is Verdict.FAIL
    named = {f.at.output for f in findings if f.severity is Severity.ERROR and f.rule == "ART110"}
    assert len(named) == 2000


NAMES = {
    "a line of the workflow's log, in colour": b"x\n::stop-commands::t\n\x1b[31m.onnx", "an option": b"--help",
    "very long": b"a" * 250 + b".onnx", "a link, backwards": "[x](https:)<img src=x>\u202exnno.a.onnx".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_odd_name_changes_no_verdict_and_stays_text(
    name: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said, report = verified(name, tmp_path, capfd, monkeypatch)
    assert (code, report["verdict"]) == (0, "PASS")
    assert not {line for line in said.splitlines() if line.startswith("::")}
    assert "\x1b[31m" not in said
    assert "\u202e" not in said
    page = (tmp_path / "report" / "report.html").read_text() + (
        tmp_path / "report" / "summary.md"
    ).read_text()
    assert "<img" not in page


def test_a_name_that_is_no_text_is_an_error_and_no_crash(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = asked(b"\xff\xfe.onnx", tmp_path, capfd, monkeypatch)
    assert code == 2
    assert "the file's name is not UTF-8" in " ".join(said.split())
    assert "Traceback" not in said
    assert not (tmp_path / "report" / "report.json").exists()


def exit_code(line: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        main(line)
    return ended.value.code


def verified(
    name: bytes, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[object, str, dict[str, object]]:
    """What ``asked`` says, and the report."""
    code, said = asked(name, folder, capfd, monkeypatch)
    return code, said, json.loads((folder / "report" / "report.json").read_text())


def asked(
    name: bytes, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[object, str]:
    """``qgate verify`` in the folder where a model of this name lies."""
    home = os.fsencode(folder)
    shutil.copyfile(os.fsencode(DIGITS / "digits_int8_pc.onnx"), home + b"/" + name)
    monkeypatch.chdir(folder)
    line = ["verify", "--reference", str(DIGITS / "digits_fp32.onnx"), f"--candidate={os.fsdecode(name)}"]
    code = exit_code([*line, "--samples", "4", "--report", str(folder / "report")])
    said = capfd.readouterr()
    return code, said.out + said.err
