"""Exports a quantized PyTorch model and keeps the file only where it computes what the model computes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from qgate.errors import FormatError, MeasureError, UsageError
from qgate.export.order import ONNX, ExportOrder
from qgate.export.parity import Parity, measure_parity
from qgate.files import replacing
from qgate.formats.model import StaticModel
from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.deploy import measure_deployment
from qgate.measure.operators import unknown_operators
from qgate.measure.plugin import Plugin
from qgate.policy.thresholds import resolve
from qgate.records import Severity
from qgate.rules.catalogue import catalogue
from qgate.runtimes.pytorch.libraries import TORCH_FORMS, require_torch, require_torchao
from qgate.sandbox.launch import run_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.quoting import one_line
from qgate.sandbox.staging import staging_directory
from qgate.sources.acquire import acquire_file
from qgate.sources.code import acquire_code_of_user
from qgate.sources.context import SourceContext

PROGRAM = ("-m", "qgate.export.child")
DYNAMO_OPSET, LEGACY_OPSET = 20, 17
"""What each exporter writes soundly; the legacy one knows quantized operators of 17 and no later ones."""


@dataclass(frozen=True)
class Exported:
    """An export that was kept.

    Args:
        output: Where it is.
        opset: Version of its operator set.
        exporter: ``dynamo`` or ``legacy``.
        parity: How it agrees with the model.
    """

    output: Path
    opset: int
    exporter: str
    parity: Parity


class ExportError(MeasureError):
    """There is no export: the exporter refuses the model, or what it wrote does not compute the same.

    Args:
        parity: What was measured, where it came that far.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", parity: Parity | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.parity = parity


def export_model(
    model: Path,
    output: Path,
    *,
    factory: str | None,
    inputs: Path | None,
    trust: str,
    opset: int | None = None,
    limits: Limits | None = None,
    tensorrt: bool = False,
) -> Exported:
    """Exports a model, verifies the export, and writes it.

    Args:
        model: A checkpoint, safetensors file or exported program (``.pt2``).
        output: Where the ONNX file goes; what is there stays as it is unless all went well.
        factory: ``path/to/file.py:function`` that builds a checkpoint's module.
        inputs: An ``.npz`` to compare on; seeded inputs without.
        trust: ``code`` where a program may be run.
        opset: Version of the operator set.
        limits: What export and comparison may use, each.
        tensorrt: It must also be what TensorRT takes, by the rules of ``DEP``.

    Raises:
        ExportError: There is none.
        QgateError: The model cannot be had, read or run.
    """
    if output.suffix != ".onnx":
        raise UsageError("the output is an ONNX file", where=str(output), remedy="Name it something.onnx")
    if not output.parent.is_dir():
        raise UsageError("there is no such folder", where=str(output.parent), remedy="Make it first")
    require_torch(str(model))
    used = limits or Limits()
    context = SourceContext(repo=Path())
    with staging_directory() as staging:
        read = read_model(acquire_file(model, staging / "model", context).main)
        _require_exportable(read, model, factory, trust)
        if read.format == "torch-export" and find_spec("onnxscript") is None:
            raise MeasureError(
                "PyTorch's dynamo exporter needs onnxscript, which is not installed", where=str(model),
                remedy="Install the extra `export`: pip install 'qgate[export]'",
            )  # fmt: skip
        if _is_torchao(read):
            require_torchao(str(model))
        data = None if inputs is None else acquire_file(inputs, staging / "data", context).main
        code = _code(factory, staging)
        order = ExportOrder(read.path, read.format, 0, _is_torchao(read), code)
        order = ExportOrder(order.model, order.form, opset or _opset(order), order.torchao, code)
        made = _made(order, staging / "export.onnx", str(model), used)
        problems = refused_by_tensorrt(made) if tensorrt else ()
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise ExportError(
                f"TensorRT does not take the export: {problems[0]}{more}", where=str(model),
                remedy="Quantize symmetrically: int8 activations with zero point 0, no quantized bias; "
                "examples/article/quantize.py has the recipe",
            )  # fmt: skip
        parity = measure_parity(read, made, code=code, torchao=order.torchao, inputs=data, limits=used)
        if not parity.holds:
            raise ExportError(
                f"the export does not compute what the model computes: {_told(parity)}", where=str(model),
                remedy="Report it to PyTorch with the model; nothing was written", parity=parity,
            )  # fmt: skip
        with replacing(output, mode=0o644) as file:
            file.write(made.path.read_bytes())
    return Exported(output, order.opset, "dynamo" if order.dynamo else "legacy", parity)


def refused_by_tensorrt(model: StaticModel) -> tuple[str, ...]:
    """What the rules of ``runtimes: [tensorrt]`` call an error, one line each."""
    declared = {"runtimes": ["tensorrt"], "deploy": None}
    limits = resolve(None, None, "balanced", None, rules=catalogue())
    found = judge(
        tuple(measure_deployment(model, None, ("tensorrt",))), limits, scheme=None, declared=declared
    )
    return tuple(
        f"{each.message} ({each.rule})"
        for each in found
        if each.rule.startswith("DEP") and each.severity is Severity.ERROR
    )


def _require_exportable(model: StaticModel, named: Path, factory: str | None, trust: str) -> None:
    if model.format not in TORCH_FORMS:
        raise UsageError(
            f"this is {model.format}, no model of PyTorch's", where=str(named), remedy="Name that"
        )
    if model.format == "torch-export":
        if trust != "code":
            raise UsageError(
                "an exported program runs code of its own when it is loaded", where=str(named),
                remedy="Say that it may, in the sandbox: --trust code",
            )  # fmt: skip
    elif factory is None:
        raise UsageError(
            "a checkpoint holds tensors and no model", where=str(named),
            remedy="Name what builds its module: --factory path/to/file.py:function",
        )  # fmt: skip


def _code(factory: str | None, staging: Path) -> dict[str, Plugin]:
    if factory is None:
        return {}
    got = acquire_code_of_user(factory, staging / "code")
    return {"factory.candidate": Plugin(got.root, got.module, got.function, got.packaged, got.label)}


def _is_torchao(model: StaticModel) -> bool:
    own = ("torch.ops.torchao.", "torch.ops.pt2e_quant.", "torch.ops.quant.")
    return "qgate.torchao" in model.metadata or any(node.op.startswith(own) for node in model.graph.nodes)


def _opset(order: ExportOrder) -> int:
    return DYNAMO_OPSET if order.dynamo else LEGACY_OPSET


def _made(order: ExportOrder, target: Path, where: str, limits: Limits) -> StaticModel:
    """The export, read by our own reader from a file of its own."""
    payload = run_child(order.to_json(), limits, where=where, program=PROGRAM).payload
    if not payload.startswith(ONNX):
        words = one_line(payload[1:4000].decode("utf-8", "replace"), 600)
        raise ExportError(
            f"PyTorch does not export it: {words}", where=where,
            remedy="PT2E programs go by the dynamo exporter, modules of eager and FX mode by the legacy one; dynamically "
            "quantized modules by neither",
        )  # fmt: skip
    target.write_bytes(payload[1:])
    target.chmod(0o644)
    try:
        made = read_model(target)
    except FormatError as error:
        raise ExportError(f"PyTorch wrote a file that cannot be read: {error.what}", where=where) from error
    unknown = list(unknown_operators(made, frozenset()))
    if unknown:
        raise ExportError(
            f"the export has operators that no runtime knows: {unknown[0].value}", where=where,
            remedy="Export another form of the model",
        )  # fmt: skip
    return made


def _told(parity: Parity) -> str:
    """The first output that fails, and the first layer that does."""
    bad = next((each for each in parity.outputs if not each.holds), None)
    layer = f"the first layer that differs is {parity.worst_layer!r}" if parity.worst_layer else ""
    if bad is None:
        return layer or "it has no outputs"
    reason = f" ({bad.reason})" if bad.reason else ""
    layer = f"; {layer}" if layer else ""
    return f"output {bad.name!r} differs by {bad.steps:.3g} steps, {bad.sqnr_db:.1f} dB{reason}{layer}"
