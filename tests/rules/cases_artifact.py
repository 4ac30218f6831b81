"""ART: operators, graph, interface, constants. What files refuse is tested where files are read."""

from qgate.records import Place, Verdict

from .cases import ERROR, NOTE, SILENT, WARNING, Case, measured

_CUSTOM = measured(
    "artifact.operator", "my.domain::Backdoor", Place(node="n7"), message="my.domain::Backdoor is unknown"
)
_BOMB = measured(
    "artifact.demand", "memory", Place(node="bomb", tensor="t"), message="a run asks for at least 64.0 GiB at once",
    asked=2**36, limit=2**33,
)  # fmt: skip
_CYCLE = measured("structure.defect", "graph", Place(tensor="t"), message="'t' is read and nothing makes it")
_NBITS = measured("structure.defect", "nbits", Place(tensor="t"), message="5-bit blocks")


def _difference(kind: str, message: str, **detail: str):
    return (
        measured("interface.difference", kind, Place(input="x"), message=message, side="input", **detail),
    )


_HALVED = _difference("float-type", "input 'x' is float16", reference="float", candidate="float16")
_DOUBLED = _difference("float-type", "input 'x' is double", reference="float", candidate="double")
_FIXED = _difference("fixed", "input 'x' has shape [1]", reference="[?]", candidate="[1]")


def _constant(operator: str, nan: int):
    return (measured("constant.nonfinite", 3, n=3, nan=nan, operator=operator, position=1),)


CASES = (
    Case("ART106", "unknown operator", (_CUSTOM,), ERROR, "my.domain::Backdoor", "node n7", Verdict.ERROR),
    Case("ART106", "none", (), SILENT),
    Case("ART120", "a bomb", (_BOMB,), ERROR, "64.0 GiB", "tensor t node bomb", Verdict.ERROR),
    Case("ART120", "nothing told", (), SILENT),
    Case("ART109", "a tensor from nowhere", (_CYCLE,), ERROR, "nothing makes it", "tensor t", Verdict.ERROR),
    Case("ART109", "impossible block bits", (_NBITS,), ERROR, "5-bit", "tensor t", Verdict.ERROR),
    Case(
        "ART109",
        "another kind of defect",
        (measured("structure.defect", "requantized", message="m"),),
        SILENT,
    ),
    Case(
        "ART110", "missing input", _difference("missing", "input 'x' is missing"), ERROR, "missing", "input x"
    ),
    Case("ART110", "extra output", _difference("extra", "output 'trace' is not one"), ERROR, "not one"),
    Case("ART110", "another type", _difference("type", "input 'x' is int64"), ERROR, "int64"),
    Case("ART110", "half-precision interface of fp16", _HALVED, WARNING, scheme="fp16"),
    Case("ART110", "half-precision interface of int8", _HALVED, ERROR),
    Case("ART110", "double interface of fp16", _DOUBLED, ERROR, scheme="fp16"),
    Case("ART110", "batch became fixed", _FIXED, ERROR, "shape"),
    Case("ART110", "batch fixed in another float export", _FIXED, WARNING, declared={"scheme": "none"}),
    Case("ART110", "every weight is an input, as in old files", _difference("overridable", "m"), WARNING),
    Case(
        "ART110",
        "exchanged names of a signature",
        _difference("signature", "gives number 1"),
        ERROR,
        "number 1",
    ),
    Case(
        "ART110",
        "a signature that one side lacks",
        _difference("signature-missing", "has none"),
        WARNING,
        "has none",
    ),
    Case("ART110", "the same interface", (), SILENT),
    Case("ART111", "NaN in a weight", _constant("Conv", 3), ERROR, "3 values", "tensor w1_q node conv1"),
    Case("ART111", "infinity in a weight", _constant("MatMul", 0), ERROR),
    Case("ART111", "infinity in a norm", _constant("BatchNormalization", 0), ERROR),
    Case("ART111", "NaN in a mask", _constant("Add", 1), ERROR),
    Case("ART111", "a mask of -inf", _constant("Add", 0), NOTE),
    Case("ART111", "finite", (), SILENT),
    Case(
        "ART116",
        "less than all, granted",
        (),
        WARNING,
        "without Landlock (why)",
        declared={"sandbox": "reduced", "unconfined": {"landlock": "Landlock (why)"}},
    ),
    Case(
        "ART116",
        "less than all, not granted",
        (),
        ERROR,
        "without seccomp",
        effect=Verdict.ERROR,
        declared={"sandbox": "required", "unconfined": {"seccomp": "seccomp (why)"}},
    ),
    Case(
        "ART116",
        "less than all, nothing said",
        (),
        ERROR,
        effect=Verdict.ERROR,
        declared={"unconfined": {"seccomp": "seccomp (why)"}},
    ),
    Case("ART116", "all of it", (), SILENT, declared={"sandbox": "required", "unconfined": {}}),
    Case("ART116", "nothing was run", (), SILENT),
    Case(
        "ART115",
        "a checkpoint is not run",
        (
            measured(
                "artifact.not_run", "torch-checkpoint", Place(file="candidate"), message="no model is run"
            ),
        ),
        ERROR,
        "no model is run",
        "file candidate",
        Verdict.INCONCLUSIVE,
    ),
    Case("ART115", "an ONNX model", (), SILENT),
    Case(
        "ART117",
        "a member has other bytes",
        (measured("artifact.checksum", "data/3", Place(file="candidate"), message="other bytes in data/3"),),
        ("error", "warning", "warning"),
        "data/3",
        "file candidate",
    ),
    Case("ART117", "all as written", (), SILENT),
)
