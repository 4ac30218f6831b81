"""DEP: what the runtimes do that a target declares."""

from __future__ import annotations

from qgate.records import Place, Verdict

from .cases import ERROR, NOTE, SILENT, Case, measured, missing

_NODE = Place(node="q1", tensor="q1_scale")
_LAYER = Place(node="fc", tensor="fc.weight")
_WARNING = ("warning", "warning", "note")
_KINDS = {
    "DEP101": ("tensorrt", "zero_point", ERROR),
    "DEP102": ("tensorrt", "uint8", ERROR),
    "DEP103": ("tensorrt", "type", ERROR),
    "DEP104": ("tensorrt", "bias", ERROR),
    "DEP105": ("tensorrt", "operator", ERROR),
    "DEP106": ("tensorrt", "scale", ERROR),
    "DEP107": ("tensorrt", "per_channel", ERROR),
    "DEP108": ("tensorrt", "block", _WARNING),
    "DEP109": ("tensorrt", "axis", _WARNING),
    "DEP110": ("tensorrt", "one_side", _WARNING),
    "DEP111": ("tensorrt", "nbits", _WARNING),
    "DEP112": ("tensorrt", "opset", NOTE),
    "DEP113": ("tensorrt", "codes", ERROR),
    "DEP211": ("openvino", "int16", ERROR),
    "DEP212": ("openvino", "operator", _WARNING),
}  # fmt: skip


def _cases():
    for rule, (runtime, kind, weight) in _KINDS.items():
        name = f"deploy.{runtime}.{kind}"
        yield Case(rule, "one node", (measured(name, 1, _NODE, message="told so"),), weight, says="told so",
                   at="tensor q1_scale node q1")  # fmt: skip
        yield Case(
            rule, "many nodes", (measured(name, 12, _NODE, message="told so"),), weight, says="11 more nodes"
        )
        yield Case(
            rule, "another kind", (measured(f"deploy.{runtime}.other", 1, _NODE, message="x"),), SILENT
        )
        yield Case(
            rule, "known to be refused", (measured(name, 1, _NODE, message="no", refused=True),), ERROR
        )


CASES = (
    *_cases(),
    Case("DEP200", "another format", (missing("deploy.tensorrt", "no ONNX"),), ERROR, says="tensorrt: no ONNX"),
    Case("DEP200", "it was looked at", (measured("deploy.tensorrt", 0),), SILENT),
    Case("DEP301", "declared", (measured("deploy.avx2.saturating", 3, _LAYER, pairs=4, of=8),), ERROR, says="4 of 8 pairs",
         declared={"deploy": "avx2"}, effect=Verdict.FAIL),
    Case("DEP301", "not declared", (measured("deploy.avx2.saturating", 3, _LAYER, pairs=4, of=8),), NOTE, says="3 layers"),
    Case("DEP301", "nothing saturates", (), SILENT, declared={"deploy": "avx2"}),
)  # fmt: skip
