"""Functions as onnxscript writes them: with defaults, constants and calls of their own."""
# No annotations from the future: onnxscript reads them as they are. ruff: noqa: ANN

import onnxscript
from onnxscript import FLOAT, opset18

library = onnxscript.values.Opset("library", 1)


@onnxscript.script(library, default_opset=opset18)
def centred(x, eps: float = 1e-5):
    mean = opset18.ReduceMean(x, keepdims=1)
    away = x - mean
    return away / opset18.Sqrt(opset18.ReduceMean(away * away, keepdims=1) + eps)


@onnxscript.script(library, default_opset=opset18)
def activated(x, alpha: float = 0.1):
    return opset18.LeakyRelu(centred(x), alpha=alpha) + centred(x, eps=0.5)


@onnxscript.script(default_opset=opset18)
def net(x: FLOAT[3, 4]) -> FLOAT[3, 4]:
    return activated(activated(x, alpha=0.25))
