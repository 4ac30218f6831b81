"""DEP: what the runtimes do that a target declares."""

from __future__ import annotations

import math

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

_OV = Place(runtime="openvino")
_BOTH = Place(output="logits", runtime="onnxruntime and openvino")
_THERE = Place(output="logits", runtime="onnxruntime and avx2")
_TRT = Place(runtime="tensorrt")
_AT = Place(node="conv1", runtime="tensorrt")


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
    Case("DEP200", "not PyTorch's", (missing("deploy.torch", "an onnx file"),), ERROR, says="torch: an onnx file"),
    Case("DEP200", "it was looked at", (measured("deploy.tensorrt", 0),), SILENT),
    Case("DEP121", "a node", (measured("tensorrt.parsed", False, _TRT), measured("tensorrt.refused", "INVALID_NODE", _AT,
         operator="Conv", what="no")), ERROR, says="refuses Conv (INVALID_NODE): no", at="node conv1 runtime tensorrt"),
    Case("DEP121", "no reason", (measured("tensorrt.parsed", False, _TRT),), ERROR, says="gives no reason"),
    Case("DEP121", "it died", (missing("tensorrt.parsed", "crashed", _TRT, cause="failed"),), ERROR, says="no verdict: crashed",
         effect=Verdict.ERROR),
    Case("DEP121", "taken", (measured("tensorrt.parsed", True, _TRT),), SILENT),
    Case("DEP121", "not installed", (missing("tensorrt.parsed", "absent", _TRT),), SILENT),
    Case("DEP122", "refused", (measured("tensorrt.built", False, _TRT, words=["only before DQ"]),), ERROR, says="only before DQ"),
    Case("DEP122", "built", (measured("tensorrt.built", True, _TRT),), SILENT),
    Case("DEP122", "no size known", (missing("tensorrt.built", "no size", _TRT),), ("warning",) * 3, says="no size"),
    Case("DEP123", "not installed", (missing("tensorrt.parsed", "not here", _TRT),), ("warning", "note", "note"),
         says="was not asked: not here"),
    Case("DEP123", "asked", (measured("tensorrt.parsed", False, _TRT),), SILENT),
    Case("DEP124", "no device", (missing("tensorrt.device", "no GPU", _TRT),), NOTE, says="not run on a GPU: no GPU"),
    Case("DEP124", "it ran", (measured("tensorrt.device", True, _TRT),), SILENT),
    Case("DEP125", "faster", (measured("tensorrt.latency_ratio", 0.5, _TRT),), SILENT),
    Case("DEP125", "a little slower", (measured("tensorrt.latency_ratio", 1.05, _TRT),), ("warning", None, None)),
    Case("DEP125", "slower", (measured("tensorrt.latency_ratio", 1.2, _TRT),), ("warning", "warning", None)),
    Case("DEP125", "much slower", (measured("tensorrt.latency_ratio", 2.0, _TRT),), _WARNING, says="2 times as long"),
    Case("DEP125", "no number", (measured("tensorrt.latency_ratio", math.nan, _TRT),), _WARNING),
    Case("DEP125", "no time", (missing("tensorrt.latency_ratio", "none taken", _TRT),), _WARNING, says="none taken"),
    Case("DEP201", "not installed", (missing("runtime.ran", "not here", _OV, cause="absent", extra="openvino"),), ERROR,
         says="not here", at="runtime openvino", effect=Verdict.ERROR),
    Case("DEP201", "refused", (missing("runtime.ran", "no", _OV, cause="refused"),), ERROR, says="did not run in openvino: no"),
    Case("DEP201", "crashed", (missing("runtime.ran", "signal 11", _OV, cause="failed"),), ERROR, effect=Verdict.ERROR),
    Case("DEP201", "ran", (measured("runtime.ran", True, _OV),), SILENT, declared={"ran": True, "runtimes": ["openvino"]}),
    Case("DEP201", "told by DEP200", (missing("deploy.torch", "an onnx file"),), SILENT,
         declared={"ran": True, "runtimes": ["torch"]}),
    Case("DEP201", "nothing measured of torch", (), ERROR, says="nothing was measured of torch", effect=Verdict.ERROR,
         declared={"ran": True, "runtimes": ["torch"]}),
    Case("DEP201", "nothing measured", (), ERROR, says="nothing was measured of openvino", effect=Verdict.ERROR,
         declared={"ran": True, "runtimes": ["onnxruntime", "openvino"]}),
    Case("DEP202", "one step", (measured("runtime.lsb", 1.0, _BOTH, rms=0.5, own_rms=0.1),), SILENT),
    Case("DEP202", "two steps", (measured("runtime.lsb", 1.9, _BOTH, rms=0.5, own_rms=0.1),), ("error", None, None)),
    Case("DEP202", "three steps", (measured("runtime.lsb", 3.0, _BOTH, rms=0.5, own_rms=0.1),), ("error", "error", None)),
    Case("DEP202", "many, as quantization costs", (measured("runtime.lsb", 90.0, _BOTH, rms=9.0, own_rms=10.0),), SILENT),
    Case("DEP202", "somewhat more", (measured("runtime.lsb", 90.0, _BOTH, rms=14.0, own_rms=10.0),), ("error", None, None)),
    Case("DEP202", "twice as much", (measured("runtime.lsb", 90.0, _BOTH, rms=20.0, own_rms=10.0),), ("error", "error", None)),
    Case("DEP202", "garbage", (measured("runtime.lsb", 9e4, _BOTH, rms=3e4, own_rms=60.0),
         measured("runtime.parting", 8e4, Place(node="c2", tensor="t", runtime="onnxruntime and openvino"))), ERROR,
         says="they part first at c2", at="output logits runtime onnxruntime and openvino"),
    Case("DEP202", "where is not known", (measured("runtime.lsb", 9e4, _BOTH, rms=3e4, own_rms=60.0),
         missing("runtime.parting", "none to be had", Place(runtime="onnxruntime and openvino"))), ERROR,
         says="cannot be said: none to be had"),
    Case("DEP202", "no number", (measured("runtime.lsb", math.nan, _BOTH, rms=math.nan, own_rms=1.0),), ERROR),
    Case("DEP202", "no reference", (measured("runtime.lsb", 50.0, _BOTH, rms=1.0),), ERROR),
    Case("DEP202", "other shapes", (missing("runtime.lsb", "shapes", _BOTH),), ERROR, says="cannot be compared: shapes"),
    Case("DEP202", "on a processor that saturates", (measured("runtime.lsb", 25.0, _BOTH, rms=8.0, own_rms=2.0, saturates=True),
         measured("deploy.avx2.saturating", 3, _LAYER)), ERROR, says="proves nothing of others", effect=Verdict.INCONCLUSIVE),
    Case("DEP202", "there, of 7 bits", (measured("runtime.lsb", 25.0, _BOTH, rms=8.0, own_rms=2.0, saturates=True),),
         ERROR),
    Case("DEP202", "on such a processor, as declared", (measured("runtime.lsb", 25.0, _BOTH, rms=8.0, own_rms=2.0,
         saturates=True), measured("deploy.avx2.saturating", 3, _LAYER)), ERROR, declared={"deploy": "avx2"},
         says="other runtimes saturate on it (DEP301)"),
    Case("DEP203", "on a processor that saturates", (measured("runtime.sqnr_db", 11.0, _OV, onnxruntime_db=39.0, saturates=True),
         measured("deploy.avx2.saturating", 3, _LAYER)), ERROR, effect=Verdict.INCONCLUSIVE),
    Case("DEP203", "as near", (measured("runtime.sqnr_db", 33.0, _OV, onnxruntime_db=34.0),), SILENT),
    Case("DEP203", "nearer", (measured("runtime.sqnr_db", 39.0, _OV, onnxruntime_db=30.0),), SILENT),
    Case("DEP203", "five dB lost", (measured("runtime.sqnr_db", 25.0, _OV, onnxruntime_db=30.0),), ("error", None, None)),
    Case("DEP203", "nine dB lost", (measured("runtime.sqnr_db", 21.0, _OV, onnxruntime_db=30.0),), ("error", "error", None)),
    Case("DEP203", "everything lost", (measured("runtime.sqnr_db", -16.0, _OV, onnxruntime_db=39.0),), ERROR,
         says="-16 dB of the reference, in ONNX Runtime 39 dB"),
    Case("DEP203", "good enough", (measured("runtime.sqnr_db", 51.0, _OV, onnxruntime_db=120.0),), SILENT),
    Case("DEP203", "enough for some", (measured("runtime.sqnr_db", 45.0, _OV, onnxruntime_db=120.0),), ("error", None, None)),
    Case("DEP203", "enough for few", (measured("runtime.sqnr_db", 35.0, _OV, onnxruntime_db=120.0),),
         ("error", "error", None)),
    Case("DEP203", "no number", (measured("runtime.sqnr_db", math.nan, _OV, onnxruntime_db=30.0),), ERROR),
    Case("DEP203", "other shapes", (missing("runtime.sqnr_db", "shapes", _OV),), ERROR, says="with the reference: shapes"),
    Case("DEP301", "declared", (measured("deploy.avx2.saturating", 3, _LAYER, pairs=4, of=8),), ERROR, says="4 of 8 pairs",
         declared={"deploy": "avx2"}, effect=Verdict.FAIL),
    Case("DEP301", "not declared", (measured("deploy.avx2.saturating", 3, _LAYER, pairs=4, of=8),), NOTE, says="3 layers"),
    Case("DEP301", "nothing saturates", (), SILENT, declared={"deploy": "avx2"}),
    Case("DEP301", "nobody looked", (missing("deploy.avx2", "a tflite file"),), ERROR, says="was not checked: a tflite file",
         declared={"deploy": "avx2"}, effect=Verdict.INCONCLUSIVE),
    Case("DEP301", "nobody looked, and nobody asked", (missing("deploy.avx2", "a tflite file"),), SILENT),
    Case("DEP302", "nothing saturates", (measured("runtime.lsb", 0.0, _THERE, rms=0.0, own_rms=0.4),), SILENT,
         declared={"deploy": "avx2"}),
    Case("DEP302", "less than quantization costs", (measured("runtime.lsb", 7.0, _THERE, rms=0.1, own_rms=0.4),), SILENT),
    Case("DEP302", "as much as quantization costs", (measured("runtime.lsb", 7.0, _THERE, rms=0.3, own_rms=0.4),),
         ("error", None, None), declared={"deploy": "avx2"}),
    Case("DEP302", "a toy's allowance", (measured("runtime.lsb", 3.0, _THERE, rms=0.6, own_rms=0.4),),
         ("error", "error", None), declared={"deploy": "avx2"}),
    Case("DEP302", "declared", (measured("runtime.lsb", 15.0, _THERE, rms=3.8, own_rms=0.4),
         measured("runtime.sqnr_db", 14.9, Place(output="logits", runtime="avx2"), onnxruntime_db=33.6),
         measured("runtime.parting", 45.0, Place(node="c2", runtime="onnxruntime and avx2"))), ERROR,
         says="15 steps (rms 3.8) and keeps 14.9 dB of the reference instead of 33.6 dB; they part first at c2, by 45 steps",
         declared={"deploy": "avx2"}, effect=Verdict.FAIL),
    Case("DEP302", "not declared", (measured("runtime.lsb", 15.0, _THERE, rms=3.8, own_rms=0.4),), NOTE, says="15 steps"),
    Case("DEP302", "no number", (measured("runtime.lsb", math.nan, _THERE, rms=math.nan, own_rms=0.4),), ERROR,
         declared={"deploy": "avx2"}),
    Case("DEP302", "other shapes", (missing("runtime.lsb", "shapes", _THERE),), NOTE, says="cannot be compared: shapes"),
    Case("DEP302", "another runtime", (measured("runtime.lsb", 15.0, _BOTH, rms=3.8, own_rms=0.4),), SILENT,
         declared={"deploy": "avx2"}),
    Case("DEP202", "what saturates is told by DEP302", (measured("runtime.lsb", 15.0, _THERE, rms=3.8, own_rms=0.4),), SILENT,
         declared={"deploy": "avx2"}),
    Case("DEP203", "what saturates is told by DEP302",
         (measured("runtime.sqnr_db", 11.0, Place(output="logits", runtime="avx2"), onnxruntime_db=39.0),), SILENT,
         declared={"deploy": "avx2"}),
)  # fmt: skip
