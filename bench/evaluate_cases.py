"""The cases that qgate is evaluated on: the example models, planted faults, and a generated corpus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One pair to verify and what must come out.

    Args:
        id: Name in the table.
        kind: ``honest``, ``control`` (harmless change), ``fault``, or ``unsupported``.
        reference: The float model.
        candidate: The file under test.
        expected: Verdicts that are right.
        locate: Names of which a blocking finding must give one.
        data: npz with the inputs, if there is one.
        labels: Its key of labels.
        arguments: Further ``qgate verify`` arguments.
        debatable: Why another verdict might also be right; such cases are counted apart.
        about: One line on what it is.
        truth: The manifest entry, for the list of misses.
    """

    id: str
    kind: str
    reference: Path
    candidate: Path
    expected: tuple[str, ...]
    locate: tuple[str, ...] = ()
    data: Path | None = None
    labels: str | None = None
    arguments: tuple[str, ...] = ()
    debatable: str = ""
    about: str = ""
    truth: dict[str, Any] = field(default_factory=dict)


# (folder, reference, candidate, data, labels, expected, arguments, debatable)
HONEST = [
    ("digits", "digits_fp32.onnx", f"digits_{name}.onnx", "digits_test.npz", "label")
    for name in ("int8_pc", "int8_pt", "int8_qop", "dyn", "a16w8", "w4a8", "fp16")
] + [
    ("digits", "diabetes_fp32.onnx", "diabetes_int8.onnx", "diabetes_test.npz", "target"),
    *(
        ("ppocr_cls", "ref.onnx", f"{name}.onnx", "eval24_uint8.npz", "label")
        for name in ("ort_qdq_pc", "ort_dyn", "nncf_int8", "quark_a8w8", "conv_fp16")
    ),
    *(
        (folder, "ref.onnx", f"{name}.onnx", "", "")
        for folder in ("mtcnn_rnet", "crepe_tiny")
        for name in ("ort_qdq_pc", "nncf_int8", "conv_fp16")
    ),
]
BADLY_CALIBRATED = [
    ("digits_badcalib.onnx", "digits_fp32.onnx", "digits_test.npz", "label", ""),
    ("digits_badcalib_mild.onnx", "digits_fp32.onnx", "digits_test.npz", "label", "mild on purpose"),
    ("digits_calib_oneclass.onnx", "digits_fp32.onnx", "digits_test.npz", "label", "may cover the range"),
    ("diabetes_badcalib.onnx", "diabetes_fp32.onnx", "diabetes_test.npz", "target", ""),
]
REGRESSION = ("--task", "mae")
SILERO = (
    "--scheme",
    "none",
    "--io-optional",
    "sr",
    "--io-shape",
    "input=1x576",
    "--io-shape",
    "state=2x1x128",
)


def _find(root: Path, *tail: str) -> Path | None:
    hits = sorted(hit for hit in root.rglob(tail[-1]) if hit.parts[-len(tail) :] == tail)
    return hits[0] if hits else None


def example_cases(root: Path, scratch: Path) -> Iterator[Case]:
    """Every pair of the example models that is there, whatever folders they were sorted into."""
    for folder, reference, candidate, data, labels in HONEST:
        pair = (_find(root, folder, reference), _find(root, folder, candidate))
        if pair[0] is None or pair[1] is None:
            continue
        inputs = _data(root, folder, data, scratch) if data else None
        more = REGRESSION if labels == "target" else ()
        yield Case(
            f"{folder}/{candidate}", "honest", pair[0], pair[1], ("PASS",), (), inputs,
            (labels or None) if inputs else None, more, about="honest",
        )  # fmt: skip
    for candidate, reference, data, labels, debatable in BADLY_CALIBRATED:
        found = [_find(root, name) for name in (reference, candidate, data)]
        if found[0] and found[1] and found[2]:
            more = REGRESSION if labels == "target" else ()
            yield Case(
                f"digits/{candidate}", "fault", found[0], found[1], ("FAIL",), (), found[2], labels, more,
                debatable, "badly calibrated",
            )  # fmt: skip
    yield from _silero(root)
    yield from _torch(root)
    manifest = _find(root, "faults", "manifest.json")
    if manifest is not None:
        yield from manifest_cases(manifest.parent, "faults/")


def _silero(root: Path) -> Iterator[Case]:
    first, second = _find(root, "silero_vad_16k_op15.onnx"), _find(root, "silero_vad_openvino_16k.onnx")
    if first and second:
        yield Case(
            "silero", "honest", first, second, ("PASS",), arguments=SILERO, about="float pair, same weights"
        )


def _torch(root: Path) -> Iterator[Case]:
    reference = _find(root, "torch", "digits_fp32_state.pt")
    for name, verdict, about in (
        (
            "digits_int8_state.pt",
            "INCONCLUSIVE",
            "PyTorch checkpoint: its tensors follow, and nothing was run",
        ),
        (
            "digits_fp16_state.pt",
            "INCONCLUSIVE",
            "PyTorch checkpoint: its tensors follow, and nothing was run",
        ),
        ("digits_fx_int8.ts", "ERROR", "TorchScript: recognised and refused by name"),
    ):
        candidate = _find(root, "torch", name)
        if reference and candidate:
            yield Case(f"torch/{name}", "unsupported", reference, candidate, (verdict,), about=about)
    for name in ("fault_nan_bias.pt", "fault_scale_x2.pt"):
        candidate = _find(root, "torch", name)
        if reference and candidate:
            yield Case(f"torch/{name}", "fault", reference, candidate, ("FAIL",), about="PyTorch checkpoint")


def _data(root: Path, folder: str, name: str, scratch: Path) -> Path | None:
    """The data set as the model wants it: uint8 images become floats under the model's input name."""
    source = _find(root, folder, name)
    if source is None or "uint8" not in name:
        return source
    raw = np.load(source)
    target = scratch / f"{folder}.npz"
    if not target.exists():
        image = (raw["image_u8"].astype(np.float32) / 127.5 - 1).astype(np.float32)
        np.savez(target, x=image, label=raw["label"])
    return target


def manifest_cases(folder: Path, prefix: str = "") -> Iterator[Case]:
    """The cases of a folder with ``manifest.json``: the sample of faults, or a built corpus."""
    for entry in json.loads((folder / "manifest.json").read_text()):
        expected = [entry["expected_verdict"], *entry.get("also_accept", [])]
        control = entry["expected_verdict"] == "pass"
        at = entry["must_localise_to"] or []
        data = folder / entry.get("data", "data.npz")
        labels = entry.get("labels", "label")
        yield Case(
            prefix + entry["id"],
            entry["kind"] if entry["kind"] == "honest" else ("control" if control else "fault"),
            folder / entry["reference"],
            folder / entry["file"],
            tuple(verdict.upper() for verdict in expected),
            tuple([at] if isinstance(at, str) else at),
            data if data.exists() else None,
            labels if data.exists() else None,
            tuple(_arguments(entry)),
            entry.get("debatable", ""),
            entry["fault"],
            entry,
        )


def _arguments(entry: dict[str, Any]) -> Iterator[str]:
    if entry.get("scheme", "auto") != "auto":
        yield from ("--scheme", entry["scheme"])
    if entry.get("task") == "mae":
        yield from REGRESSION
    for key, values in entry.get("settings", {}).items():
        for value in values:
            yield from ("--" + key.replace("_", "-"), value)
