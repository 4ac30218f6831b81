"""ONNX Runtime's own recipes for quantizing a model, as a yardstick: what everybody gets who asks for no more.

The ranges of activations come from whoever ran the model; nothing is run here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RECIPES = ("static per channel", "static per tensor", "dynamic", "fp16")
_FLOAT = 1


def calibrated_tensors(model: Path) -> tuple[str, ...]:
    """Names of the float activations whose ranges a static recipe may ask for.

    Raises:
        ValueError: The model cannot be read.
    """
    return tuple(dict.fromkeys(_activations(_loaded(model))))


def write_recipe(recipe: str, model: Path, target: Path, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Quantizes a model by one of ``RECIPES``.

    Args:
        recipe: Which.
        model: The full-precision model.
        target: Where the quantized one is written.
        ranges: Smallest and largest value of each activation, for the static ones.

    Raises:
        ValueError: The recipe does not take the model.
    """
    import numpy as np
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends what makes it another recipe
    try:
        if recipe == "dynamic":
            quantize_dynamic(model, target, weight_type=QuantType.QInt8)
            return
        if recipe == "fp16":
            _write_half(model, target)
            return
        ends = {name: tuple(np.asarray(v, np.float32) for v in each) for name, each in ranges.items()}
        data = TensorsData(CalibrationMethod.MinMax, ends)
        quantizer = QDQQuantizer(
            _loaded(model),
            per_channel=recipe == "static per channel",
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=data,
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=list(QDQRegistry),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target), False)
    except Exception as error:  # the library raises whatever it comes upon
        raise ValueError(f"{type(error).__name__}: {error}"[:300]) from error
    finally:
        logging.disable(before)


def _write_half(model: Path, target: Path) -> None:
    """Every tensor and operation in half precision that ONNX Runtime's converter takes there; inputs and outputs stay."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save_model(convert_float_to_float16(_loaded(model), keep_io_types=True), str(target))


def _loaded(path: Path) -> Any:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:300]) from error


def _activations(model: Any) -> Iterator[str]:
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    floats = {
        value.name
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == _FLOAT
    }
    for value in graph.input:
        if value.name in floats - constants:
            yield value.name
    for node in graph.node:
        if node.op_type != "Constant":
            yield from (name for name in node.output if name in floats)
