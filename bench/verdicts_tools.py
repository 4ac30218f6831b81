"""How the candidates of ``bench/verdicts.py`` are quantized: several tools, each by its own interface, with its recipes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from verdicts_jobs import Job, quiet
from verdicts_torch import torch_fx, torch_pt2e

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Tool:
    """One way to quantize.

    Args:
        name: What tables call it.
        make: Writes the candidate.
        scheme: What it makes.
        needs: A package that it comes in.
        calibrates: It uses the samples that it is given; ``scales`` it can be told to shrink the ranges.
        kinds: Kinds of problems that it is given; all where empty.
        torch: It writes a reference of its own.
    """

    name: str
    make: Callable[[Job], None]
    scheme: str = "int8"
    needs: str = ""
    calibrates: bool = False
    scales: bool = False
    kinds: tuple[str, ...] = ()
    torch: bool = False

    @property
    def here(self) -> bool:
        """Whether its package is installed."""
        return not self.needs or find_spec(self.needs) is not None


def ort_static(job: Job, **options: Any) -> None:
    """ONNX Runtime's ``quantize_static``, or its quantizer with ranges that were shrunk."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8, "u16": QuantType.QUInt16}
    extra = dict(options.get("extra", {}))
    settings: dict[str, Any] = {
        "quant_format": QuantFormat.QOperator if options.get("operators") else QuantFormat.QDQ,
        "per_channel": options.get("per_channel", True),
        "reduce_range": options.get("reduce_range", False),
        "activation_type": types[options.get("activations", "u8")],
        "weight_type": types[options.get("weights", "s8")],
        "calibrate_method": CalibrationMethod[options.get("method", "MinMax")],
        "extra_options": extra,
    }
    with quiet():
        if job.scale == 1.0:
            quantize_static(job.source, job.target, _reader(job.calibration), **settings)
        else:
            _with_ranges(job, settings)


def _with_ranges(job: Job, settings: dict[str, Any]) -> None:
    """``quantize_static`` with every calibrated range cut."""
    quantize = import_module("onnxruntime.quantization.quantize")  # a function of that name hides the module
    plain = quantize.create_calibrator

    def cutting(*args: Any, **named: Any) -> Any:
        made = plain(*args, **named)
        compute, collect = made.compute_data, made.collect_data

        def collected(reader: Any) -> None:
            made.compute_data = compute  # which collecting calls as well, of what there is so far
            collect(reader)
            made.compute_data = computed

        def computed() -> Any:
            found = compute()
            for tensor in found.keys():  # noqa: SIM118 - no dictionary, it has no iterator
                low, high = found[tensor].range_value
                object.__setattr__(found[tensor], "lowest", np.float32(low * job.scale))
                object.__setattr__(found[tensor], "highest", np.float32(high * job.scale))
            return found

        made.collect_data = collected
        return made

    quantize.create_calibrator = cutting
    try:
        quantize.quantize_static(job.source, job.target, _reader(job.calibration), **settings)
    finally:
        quantize.create_calibrator = plain


def _reader(samples: np.ndarray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[np.ndarray] = iter(np.array_split(samples, -(-len(samples) // 32)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"x": batch}

    return Reader()


def ort_dynamic(job: Job, **options: Any) -> None:
    """ONNX Runtime's ``quantize_dynamic``."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet():
        kind = QuantType.QUInt8 if options.pop("unsigned", False) else QuantType.QInt8
        quantize_dynamic(job.source, job.target, weight_type=kind, **options)


def ort_int4(job: Job, *, symmetric: bool, block: int) -> None:
    """ONNX Runtime's weight-only int4 (``MatMulNBits``)."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with quiet():
        made = MatMulNBitsQuantizer(onnx.load(job.source), block_size=block, is_symmetric=symmetric)
        made.process()
        made.model.save_model_to_file(str(job.target), False)


def ort_half(job: Job, *, keep: bool) -> None:
    """The converter to fp16 that comes with ONNX Runtime's transformers."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(job.source), keep_io_types=keep), job.target)


def common_half(job: Job, *, keep: bool) -> None:
    """The converter to fp16 of ``onnxconverter-common``."""
    from onnxconverter_common.float16 import convert_float_to_float16

    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(job.source), keep_io_types=keep), job.target)


def nncf_static(job: Job, *, preset: str) -> None:
    """NNCF's post-training quantization of ONNX models."""
    import nncf

    with quiet():
        samples = [{"x": each[None]} for each in job.calibration]
        made = nncf.quantize(
            onnx.load(job.source), nncf.Dataset(samples), preset=nncf.QuantizationPreset[preset],
            subset_size=len(samples),
        )  # fmt: skip
        onnx.save(made, job.target)


def _static(name: str, **options: Any) -> Tool:
    return Tool(f"onnxruntime, {name}", partial(ort_static, **options), calibrates=True,
                scales=options.get("method", "MinMax") == "MinMax")  # fmt: skip


_SYMMETRIC = {"ActivationSymmetric": True, "QuantizeBias": False}
_PLAIN = ("mlp", "conv1d", "conv2d", "regression", "embedding", "segmentation")
_DENSE = ("mlp", "regression", "embedding")
TOOLS = (
    _static("QDQ per channel"),
    Tool("onnxruntime, dynamic", ort_dynamic),
    Tool("onnxconverter-common, fp16", partial(common_half, keep=True), "fp16", "onnxconverter_common"),
    _static("QDQ per tensor", per_channel=False),
    Tool("NNCF, performance", partial(nncf_static, preset="PERFORMANCE"), "int8", "nncf", calibrates=True),
    _static("QDQ per channel, percentile", method="Percentile"),
    _static("QOperator per channel", operators=True),
    Tool("onnxruntime.transformers, fp16", partial(ort_half, keep=False), "fp16"),
    _static("QDQ symmetric int8, bias in float", activations="s8", extra=_SYMMETRIC),
    Tool("torchao PT2E, dynamo", torch_pt2e, "int8", "torchao", calibrates=True, kinds=_PLAIN, torch=True),
    _static("QDQ per channel, entropy", method="Entropy"),
    Tool(
        "onnxruntime, int4 symmetric, block 32",
        partial(ort_int4, symmetric=True, block=32),
        "int4",
        kinds=_DENSE,
    ),
    _static("QDQ per channel, 7-bit weights", reduce_range=True),
    Tool("onnxruntime, dynamic per channel, uint8", partial(ort_dynamic, per_channel=True, unsigned=True)),
    Tool("NNCF, mixed", partial(nncf_static, preset="MIXED"), "int8", "nncf", calibrates=True),
    _static("QOperator per tensor", operators=True, per_channel=False),
    Tool(
        "onnxconverter-common, fp16 in and out",
        partial(common_half, keep=False),
        "fp16",
        "onnxconverter_common",
    ),
    _static("QDQ per channel, 16-bit activations", activations="u16"),
    Tool("PyTorch FX, legacy exporter", torch_fx, "int8", "torch", calibrates=True, kinds=_PLAIN, torch=True),
    Tool("onnxruntime, int4, block 128", partial(ort_int4, symmetric=False, block=128), "int4", kinds=_DENSE),
)
"""The order mixes them, so that any run of cases has several."""


def tools_here() -> list[Tool]:
    """The tools whose packages are installed."""
    return [each for each in TOOLS if each.here]
