"""Honest files of many exporters: what a gate must read, or it is of no use.

``benign(out, full=...)`` writes them; the small set takes seconds and no quantizer, the full one has every
recipe of the corpus on several networks. What a missing library would have written is in ``skipped``.
"""

from __future__ import annotations

import io
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.corpus.hostile import benign_torch
from tests.corpus.hostile.onnx_base import base

ROOT = Path(__file__).resolve().parents[3]
NETS = ("mlp", "cnn_bn", "transformer", "two_heads")
"""Networks of the full set that every recipe is applied to."""

EXAMPLES = ("crepe_tiny", "digits", "mtcnn_rnet", "ppocr_cls", "silero")
FAULTY = ("badcalib", "oneclass")


@dataclass(frozen=True)
class Benign:
    """One honest file.

    Args:
        name: Unique.
        exporter: What wrote it.
        scheme: How it is stored or quantized.
        path: The file.
        role: candidate, or data.
    """

    name: str
    exporter: str
    scheme: str
    path: Path
    role: str = "candidate"


Made = tuple[str, str, str, "bytes | Callable[[Path], None]", str]


def benign(out: Path, *, full: bool) -> tuple[list[Benign], list[str]]:
    """Writes the honest files below ``out``; with them, what could not be made and why."""
    found: list[Benign] = []
    skipped: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for group in (_data, _by_hand, benign_torch.checkpoints, benign_torch.programs, benign_torch.tensors):
            for exporter, name, scheme, content, file in group(full=full, skipped=skipped):
                home = out / f"{exporter.replace(' ', '-').replace('.', '-')}-{name}"
                home.mkdir(parents=True)
                if isinstance(content, bytes):
                    (home / file).write_bytes(content)
                else:
                    content(home / file)
                role = "data" if file.endswith(".npz") else "candidate"
                found.append(Benign(home.name, exporter, scheme, home / file, role))
        found += _examples(out)
        if full:
            found += _recipes(out, skipped)
    return found, skipped


def _data(*, full: bool, skipped: list[str]) -> Iterator[Made]:
    rng = np.random.default_rng(0)
    for kind in ("f4", "f8", "f2", "u1", "i1", "i2", "i4", "i8", "u2", "b1"):
        out = io.BytesIO()
        np.savez(out, image=rng.integers(0, 2, (8, 4)).astype(kind), label=np.arange(8))
        yield "numpy.savez", kind, kind, out.getvalue(), "inputs.npz"
    out = io.BytesIO()
    np.savez_compressed(out, image=rng.normal(size=(64, 16)).astype("f4"), names=np.array(["a", "bc"] * 32))
    yield "numpy.savez", "compressed", "deflated, with text", out.getvalue(), "inputs.npz"
    out = io.BytesIO()
    np.savez(out, image=np.zeros((3, 0, 2), ">f4"), empty=np.zeros((0,), "i8"), one=np.float32(1))
    yield "numpy.savez", "corners", "empty, scalar, big-endian", out.getvalue(), "inputs.npz"


def _by_hand(*, full: bool, skipped: list[str]) -> Iterator[Made]:
    import onnx
    from onnx import helper, numpy_helper

    yield "onnx.helper", "plain", "float", base().SerializeToString(), "model.onnx"
    yield "onnx.helper", "fixed-batch", "float", base(4).SerializeToString(), "model.onnx"
    typed = base()
    for tensor in typed.graph.initializer:
        values = numpy_helper.to_array(tensor).reshape(-1).tolist()
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values)
    yield (
        "onnx.helper",
        "typed-data",
        "float_data instead of raw_data",
        typed.SerializeToString(),
        "model.onnx",
    )
    described = base()
    helper.set_model_props(described, {"author": "Zoë 量化", "license": "MIT", "note": "a | b <c> `d`"})
    described.doc_string = "A model.\nTwo lines."
    described.graph.node[0].name = "/model/fc.1/Gemm [0]"
    yield "onnx.helper", "metadata", "metadata and odd names", described.SerializeToString(), "model.onnx"
    function = base()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function.functions.append(
        helper.make_function("local", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    )
    function.opset_import.append(helper.make_opsetid("local", 1))
    function.graph.node[1].domain, function.graph.node[1].op_type = "local", "F"
    yield "onnx.helper", "function", "a model-local function", function.SerializeToString(), "model.onnx"
    for name, one_file in (("external-one", True), ("external-many", False)):

        def save(path: Path, one_file: bool = one_file) -> None:
            onnx.save(
                base(), path, save_as_external_data=True, all_tensors_to_one_file=one_file,
                location="weights.data" if one_file else None, size_threshold=0,
            )  # fmt: skip

        yield "onnx.save", name, "external data", save, "model.onnx"


def _examples(out: Path) -> Iterator[Benign]:
    """The example models: ONNX Runtime, NNCF, Quark and onnxconverter-common wrote them."""
    home = out / "examples"
    for folder in EXAMPLES:
        for path in sorted((ROOT / "examples" / folder).glob("*.onnx")):
            if not any(word in path.name for word in FAULTY):
                copy = home / folder / path.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
                exporter = next(
                    (n for n in ("nncf", "quark", "conv") if path.name.startswith(n)), "onnxruntime"
                )
                exporter = {"conv": "onnxconverter-common", "nncf": "NNCF", "quark": "AMD Quark"}.get(
                    exporter, exporter
                )
                exporter = "torch.onnx" if path.stem.endswith(("ref", "fp32")) else exporter
                yield Benign(f"example-{folder}-{path.stem}", exporter, path.stem, copy)


def _recipes(out: Path, skipped: list[str]) -> Iterator[Benign]:
    """Every honest recipe of the corpus on several networks, and the networks themselves."""
    import tempfile

    import onnx

    from tests.corpus import models
    from tests.corpus.honest import RECIPES

    shelf = models.Shelf(ROOT / "examples")
    for net in NETS:
        made = models.make(net, shelf, 0)
        for name, recipe in {"reference": None, **RECIPES}.items():
            path = out / f"recipe-{net}-{name}" / "model.onnx"
            path.parent.mkdir(parents=True)
            if recipe is None:
                onnx.save(made.proto, path)
                yield Benign(f"recipe-{net}-{name}", "torch.onnx", "float", path)
                continue
            try:
                with tempfile.TemporaryDirectory() as work:
                    onnx.save(recipe.make(made, Path(work)), path)
            except Exception as error:  # a recipe that does not fit a network is no honest file
                skipped.append(f"{net}/{name}: {type(error).__name__}: {str(error)[:80]}")
                continue
            yield Benign(f"recipe-{net}-{name}", _tool(name), name, path)


def _tool(recipe: str) -> str:
    if recipe.startswith("pt2e"):
        return "torch.onnx (dynamo)"
    handmade = (
        "weight_only",
        "adaround",
        "gptq",
        "bf16",
        "fp8",
        "nbits",
        "float",
        "mse",
        "bias",
        "smooth",
        "equal",
    )
    return "onnx.helper" if recipe.startswith(handmade) else "onnxruntime.quantization"


def counts(found: list[Benign]) -> dict[str, Any]:
    """Files and schemes by exporter."""
    names = sorted({item.exporter for item in found})
    return {n: len([item for item in found if item.exporter == n]) for n in names}
