"""Bad files and places: one clear message with file and remedy, exit 2, nothing written over."""

from __future__ import annotations

import io
import os
import pickle
import random
import resource
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.errors import UsageError
from qgate.records import Verdict
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

from .conftest import CANDIDATE, INPUTS, REFERENCE, Shop, own_mounts, without_overriding

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{7:064x}\nsize 123456\n"
NOISE = random.Random(11).randbytes(5000)


def _zip(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return held.getvalue()


def _safetensors() -> bytes:
    head = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    return len(head).to_bytes(8, "little") + head + bytes(5)


def _script() -> bytes:
    return _zip("model/data.pkl", "model/code/model.py", "model/version")


def _arrays(**change: Any) -> bytes:
    held: dict[str, Any] = {name: array[:8] for name, array in np.load(INPUTS).items()}
    held.update(change)
    out = io.BytesIO()
    np.savez(out, **{name: array for name, array in held.items() if array is not None})
    return out.getvalue()


def _single() -> bytes:
    out = io.BytesIO()
    np.save(out, np.load(INPUTS)["image"])
    return out.getvalue()


MODELS: dict[str, tuple[bytes | None, str, str, str]] = {
    "missing": (None, "ART101", "no such file", ""),
    "empty": (b"", "ART101", "the file is empty", ""),
    "lfs-pointer": (
        POINTER.encode(),
        "ART102",
        "unresolved Git LFS pointer",
        'git lfs pull --include "model.onnx"',
    ),
    "truncated": (CANDIDATE.read_bytes()[:3000], "ART104", "not a whole ONNX file", ""),
    "random": (NOISE, "ART104", "not a model", ""),
    "text": (b"hello, this is a text\n", "ART104", "not a model", ""),
    "an npz": (INPUTS.read_bytes(), "ART103", "a NumPy archive (.npz): it holds arrays", "--inputs"),
    "torchscript": (_script(), "ART114", "a TorchScript archive: its functions", "`trust: code`"),
    "pickle": (pickle.dumps({"w": [1.0]}), "ART114", "a Python pickle that is no checkpoint", "ONNX"),
    "safetensors": (_safetensors(), "ART105", "its tensors end at byte 66 of 67", "Save the model again"),
}


FORMS = ("text", "an npz", "pickle", "safetensors")
"""Told by the same reader as the others; these run in this process."""

SIDES = [
    *((case, "candidate") for case in MODELS if case not in FORMS),
    ("missing", "reference"),
    ("truncated", "reference"),
]


@pytest.mark.parametrize(("case", "side"), SIDES)
def test_a_bad_model_is_an_error_that_names_it(shop: Shop, case: str, side: str) -> None:
    content, rule, says, remedy = MODELS[case]
    if content is not None:
        shop.path("model.onnx", content)
    pair = (Path("model.onnx"), REFERENCE) if side == "candidate" else (CANDIDATE, Path("model.onnx"))
    found = shop.verify(*pair)
    assert found.code == 2
    error = found.error()
    assert (error["rule"], error["at"]["file"]) == (rule, "model.onnx")
    assert error["message"].startswith(f"{side}: ")
    assert says in error["message"]
    assert remedy in error["remedy"]


@pytest.mark.parametrize("case", FORMS)
def test_another_form_is_an_error_that_names_what_it_is(tmp_path: Path, case: str) -> None:
    content, rule, says, remedy = MODELS[case]
    path = tmp_path / "model.onnx"
    path.write_bytes(content or b"")
    found = verify_ad_hoc(AdHoc(candidate=path, reference=REFERENCE))
    (error,) = found.findings
    assert (found.verdict, error.rule, error.at.file) == (Verdict.ERROR, rule, "model.onnx")
    assert says in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize("side", ["candidate", "reference", "inputs"])
def test_a_name_that_is_no_utf_8_is_refused_by_name(tmp_path: Path, side: str) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.onnx")
    shutil.copy(REFERENCE, odd)
    with pytest.raises(UsageError, match="the file's name is not UTF-8") as error:
        verify_ad_hoc(AdHoc(**{"candidate": CANDIDATE, "reference": REFERENCE, side: odd}))
    assert "Rename the file" in error.value.remedy


def test_a_near_name_is_suggested(shop: Shop) -> None:
    shop.path("modle.onnx", b"x")
    assert shop.verify(Path("model.onnx")).error()["remedy"] == "Did you mean modle.onnx?"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.mkdir, "this is a folder, not a file"),
        (os.mkfifo, "this is a device, socket or pipe, not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "no such file"),
    ],
)
def test_what_is_no_file_is_an_error(shop: Shop, make: Callable[[Path], object], says: str) -> None:
    make(shop.root / "model.onnx")
    found = shop.verify(Path("model.onnx"))
    assert (found.code, says in found.error()["message"]) == (2, True)
    assert found.error()["at"]["file"] == "model.onnx"


_IMAGE = np.load(INPUTS)["image"][:8]
_NAN = _IMAGE.copy()
_NAN[3, 0, 2, 2] = np.nan
DATA: dict[str, tuple[bytes | None, str, str]] = {
    "missing": (None, "no such file", ""),
    "empty": (b"", "data: the file is empty", ""),
    "lfs-pointer": (POINTER.encode(), "unresolved Git LFS pointer", 'git lfs pull --include "x.npz"'),
    "truncated": (_arrays()[:900], "damaged or truncated .npz", "savez"),
    "random": (b"PK\x03\x04" + NOISE, "damaged or truncated .npz", "savez"),
    "text": (b"1,2,3\n", "not an .npz file", "savez"),
    "single array": (_single(), "is a single .npy array", "input_name=array"),
    "pickled": (_arrays(image=np.array([{}, 1], object)), "holds Python objects", "never loaded"),
    "wrong name": (
        _arrays(image=None, imge=_IMAGE),
        "holds no array 'image' for the input 'image'",
        "Did you mean 'imge'?",
    ),
    "wrong shape": (
        _arrays(image=_IMAGE.reshape(8, 64)),
        "'image' has shape [8, 64], the input 'image' takes",
        "shape",
    ),
    "wrong dtype": (_arrays(image=_IMAGE.astype("i4")), "'image' has dtype int32", "float32"),
    "fewer labels": (
        _arrays(label=np.arange(7)),
        "the labels 'label' have 7 samples, the inputs 8",
        "one label",
    ),
    "no labels": (
        _arrays(label=None, lable=np.arange(8)),
        "holds no array 'label' for labels",
        "Did you mean 'lable'?",
    ),
    "zero samples": (_arrays(image=_IMAGE[:0], label=np.arange(0)), "there are no samples", "at least one"),
    "NaN": (
        _arrays(image=_NAN),
        "'image' holds NaN or infinity (sample 3, index [0, 2, 2])",
        "Remove or replace",
    ),
}


DAMAGED = ("empty", "lfs-pointer", "random", "text", "single array", "pickled")
"""What a file of inputs may be instead; told by the same finding, so these run in this process."""


@pytest.mark.parametrize("case", [case for case in DATA if case not in DAMAGED])
def test_bad_data_are_an_error_that_names_file_and_array(shop: Shop, case: str) -> None:
    content, says, remedy = DATA[case]
    if content is not None:
        shop.path("x.npz", content)
    found = shop.verify(CANDIDATE, REFERENCE, "-i", "x.npz", "--labels", "label")
    assert found.code == 2
    error = found.error()
    assert (error["rule"], error["at"]["file"]) == ("ART113", "x.npz")
    assert says in error["message"]
    assert remedy in error["remedy"]


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_data_set_is_an_error_that_names_it(tmp_path: Path, case: str) -> None:
    content, says, remedy = DATA[case]
    assert content is not None
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    found = verify_ad_hoc(AdHoc(candidate=CANDIDATE, reference=REFERENCE, inputs=path, labels="label"))
    (error,) = (finding for finding in found.findings if finding.effect is Verdict.ERROR)
    assert (found.verdict, error.rule, error.at.file) == (Verdict.ERROR, "ART113", str(path))
    assert says in error.message
    assert remedy in error.remedy
    assert path.read_bytes() == content


def test_a_folder_of_data_is_an_error(shop: Shop) -> None:
    (shop.root / "data").mkdir()
    found = shop.verify(CANDIDATE, REFERENCE, "-i", "data")
    assert (found.code, found.error()["message"]) == (2, "data: this is a folder, not a file")


@pytest.mark.parametrize("below", ["", "/inner"])
def test_a_file_in_the_place_of_the_report_folder_is_kept(shop: Shop, below: str) -> None:
    shop.path("taken", b"precious")
    found = shop.run("verify", "-r", REFERENCE, "-c", CANDIDATE, "-o", f"taken{below}")
    assert found.code == 2
    assert found.refusal().startswith(f"qgate: taken{below}: the report cannot be written (")
    assert "--report DIR" in found.err


def test_a_folder_that_may_not_be_written_to_is_refused(shop: Shop, read_only: Path) -> None:
    found = shop.run(
        "verify", "-r", REFERENCE, "-c", CANDIDATE, "-o", read_only / "report", before=without_overriding()
    )
    assert found.code == 2
    assert found.refusal().startswith(
        f"qgate: {read_only}/report: the report cannot be written (Permission denied)"
    )
    assert list(read_only.iterdir()) == []


def test_a_folder_on_a_read_only_disk_is_refused(shop: Shop) -> None:
    found = shop.run("verify", "-r", REFERENCE, "-c", CANDIDATE, "-o", "/proc/self/report")
    assert found.code == 2
    assert found.refusal().startswith("qgate: /proc/self/report: the report cannot be written (")


def _limit_files(size: int) -> Callable[[], None]:
    """Before the command starts: no file may grow past a size, as where a quota is used up (EFBIG)."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def test_a_quota_that_ends_in_the_report_leaves_the_old_report_whole(shop: Shop) -> None:
    shop.reports.mkdir()
    old = {name: f"old {name}" for name in ("report.json", "summary.md", "report.html")}
    for name, text in old.items():
        (shop.reports / name).write_text(text)
    small = shop.path("small.onnx", b"")
    found = shop.run(
        "verify",
        "-r",
        REFERENCE,
        "-c",
        small,
        "-o",
        shop.reports,
        report=Path("nowhere"),
        preexec_fn=_limit_files(4096),
    )
    assert found.code == 2
    assert "the report cannot be written (File too large)" in found.text
    assert "room" in found.text
    assert {path.name: path.read_text() for path in shop.reports.iterdir()} == old


def test_a_quota_that_ends_in_the_copy_of_a_model_is_an_error(shop: Shop) -> None:
    found = shop.run("verify", "-r", REFERENCE, "-c", CANDIDATE, preexec_fn=_limit_files(20_000))
    assert found.code == 2
    assert "the disk is full" in found.text or "File too large" in found.text
    assert "digits_int8_pc.onnx" in found.text


def test_a_full_disk_is_said_and_leaves_nothing(shop: Shop, may_mount: bool) -> None:
    if not may_mount:
        pytest.skip("this machine lets nobody mount a disk; the quota's tests stand for it")
    disk = shop.root / "disk"
    disk.mkdir()
    steps = f'mount -t tmpfs -o size=16k tmpfs {disk} && "$@"; code=$?; ls -A {disk} >&2; exit $code'
    found = shop.run(
        "verify",
        "-r",
        REFERENCE,
        "-c",
        CANDIDATE,
        "--samples",
        "1",
        "-o",
        disk,
        before=(*own_mounts(), "sh", "-c", steps, "sh"),
    )
    assert found.code == 2
    assert found.refusal().startswith(
        f"qgate: {disk}/report.json: the report cannot be written (No space left"
    )
    assert "room" in found.err


def test_a_full_temporary_folder_is_an_error_that_says_so(shop: Shop, may_mount: bool) -> None:
    if not may_mount:
        pytest.skip("this machine lets nobody mount a disk; the quota's tests stand for it")
    disk = Path("/mnt")
    steps = f'mount -t tmpfs -o size=128k tmpfs {disk} && chmod 755 {disk} && TMPDIR={disk} "$@"'
    found = shop.verify(before=(*own_mounts(), "sh", "-c", steps, "sh"))
    assert found.code == 2
    error = found.error()
    assert "the disk is full" in error["message"]
    assert error["at"]["file"] == str(REFERENCE)
