"""What ONNX Runtime makes of a model before it runs it, as it saves it itself."""

from __future__ import annotations

from pathlib import Path

import onnx


def optimised(model: onnx.ModelProto, folder: Path, level: str = "ORT_ENABLE_ALL") -> onnx.ModelProto:
    """The optimised model.

    Args:
        model: Any model that ONNX Runtime loads.
        folder: A folder for the file that it saves; nothing is left there.
        level: A ``GraphOptimizationLevel``.
    """
    import onnxruntime

    target = folder / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    made = onnx.load(target)
    target.unlink()
    return made
