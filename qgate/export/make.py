"""Exports a quantized PyTorch model and keeps the file only where it computes what the model computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qgate.errors import FormatError, MeasureError, UsageError
from qgate.export.layers import beside_unrounded, paired_layers
from qgate.export.order import ONNX, ExportOrder, Recipe
from qgate.export.parity import Given, Parity, measure_parity
from qgate.export.tensorrt import Change, reached_ranges, refused_by_parser, refused_by_tensorrt
from qgate.files import replacing
from qgate.formats.model import StaticModel
from qgate.formats.read import read_model
from qgate.measure.operators import unknown_operators
from qgate.measure.plugin import Plugin
from qgate.runtimes.pytorch.libraries import TORCH_FORMS
from qgate.runtimes.required import require
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

_EXPORTERS = (
    "PT2E programs go by the dynamo exporter, modules of eager and FX mode by the legacy one; dynamically quantized modules by "
    "neither"
)
_RECIPE = (
    "Quantize symmetrically: int8 activations with zero point 0, no quantized bias; "
    "examples/article/quantize.py has the recipe"
)


@dataclass(frozen=True)
class Exported:
    """An export that was kept.

    Args:
        output: Where it is.
        opset: Version of its operator set.
        exporter: ``dynamo`` or ``legacy``.
        parity: How what PyTorch exported agrees with the model.
        change: What another recipe costs; None where the export was kept as it was.
        asked: Who said that TensorRT takes it; empty where nobody was asked.
    """

    output: Path
    opset: int
    exporter: str
    parity: Parity
    change: Change | None = None
    asked: str = ""


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
    calibration: Path | None = None,
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
        tensorrt: It must also be what TensorRT takes, by the rules of ``DEP``; its recipe is changed for that.
        calibration: An ``.npz`` whose samples narrow the ranges of a recipe that is changed, and are compared on where
            ``inputs`` are not given.

    Raises:
        ExportError: There is none.
        QgateError: The model cannot be had, read or run.
    """
    if output.suffix != ".onnx":
        raise UsageError("the output is an ONNX file", where=str(output), remedy="Name it something.onnx")
    if not output.parent.is_dir():
        raise UsageError("there is no such folder", where=str(output.parent), remedy="Make it first")
    if calibration is not None and not tensorrt:
        raise UsageError(
            "calibration data are for a change of recipe", where=str(calibration), remedy="Say --tensorrt"
        )
    require("torch", str(model))
    context = SourceContext(repo=Path())
    with staging_directory() as staging:
        read = read_model(acquire_file(model, staging / "model", context).main)
        _require_exportable(read, model, factory, trust)
        if read.format == "torch-export":
            require("onnxscript", str(model))
        if _is_torchao(read):
            require("torchao", str(model))
        ranging = _data(calibration, staging / "calibration", context)
        data = _data(inputs, staging / "data", context) or ranging
        work = _Export(read, str(model), _code(factory, staging), data, limits or Limits(), staging)
        order = work.order(opset)
        made = work.made(order, "export.onnx")
        change, asked = None, ""
        parity = work.verified(made)
        if tensorrt:
            made, change, asked = work.for_tensorrt(made, ranging)
        with replacing(output, mode=0o644) as file:
            file.write(made.path.read_bytes())
    return Exported(output, order.opset, "dynamo" if order.dynamo else "legacy", parity, change, asked)


def _data(path: Path | None, folder: Path, context: SourceContext) -> Given | None:
    return None if path is None else Given(acquire_file(path, folder, context).main, str(path))


@dataclass(frozen=True)
class _Export:
    """One model while it is exported: ``where`` is what messages call it, ``data`` what models are compared on."""

    model: StaticModel
    where: str
    code: Mapping[str, Plugin]
    data: Given | None
    limits: Limits
    staging: Path

    def order(self, opset: int | None) -> ExportOrder:
        order = ExportOrder(
            self.model.path, self.model.format, opset or 0, _is_torchao(self.model), self.code
        )
        version = opset or (DYNAMO_OPSET if order.dynamo else LEGACY_OPSET)
        return ExportOrder(order.model, order.form, version, order.torchao, self.code)

    def verified(self, made: StaticModel) -> Parity:
        """An export against the model.

        Raises:
            ExportError: It computes something else.
        """
        parity = self._parity(made)
        if not parity.holds and parity.outputs:
            parity = parity.beside(self.rounding(made))
        if not parity.holds:
            raise ExportError(
                f"the export does not compute what the model computes: {_told(parity)}", where=self.where,
                remedy="Report it to PyTorch with the model; nothing was written", parity=parity,
            )  # fmt: skip
        return parity

    def rounding(self, made: StaticModel) -> Parity:
        """An export against its own copy whose activations are not rounded: what rounding costs."""
        copy = self.made(self._rewriting(made, "unrounded"), "unrounded.onnx")
        layers = beside_unrounded(paired_layers(self.model, made), made)
        return measure_parity(
            copy, made, code={}, torchao=False, inputs=self.data, limits=self.limits, layers=layers
        )

    def for_tensorrt(
        self, made: StaticModel, ranging: Given | None
    ) -> tuple[StaticModel, Change | None, str]:
        """What TensorRT takes of an export that was verified, what changing it costs, and who was asked.

        Raises:
            ExportError: There is nothing that TensorRT takes, or it costs too much.
        """
        problems, change = refused_by_tensorrt(made), None
        if problems:
            ranges = {} if ranging is None else reached_ranges(made, ranging, self.limits)
            before, made = made, self.made(self._rewriting(made, "symmetric", ranges), "symmetric.onnx")
            problems = refused_by_tensorrt(made)
            if not problems:
                change = Change(self._parity(made).beside(self.rounding(before)), ranging is not None)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise ExportError(
                f"TensorRT does not take the export: {problems[0]}{more}", where=self.where, remedy=_RECIPE
            )
        if change is not None and change.problem:
            raise ExportError(
                f"symmetric int8, which TensorRT asks for, costs too much or cannot be judged: {change.problem}",
                where=self.where,
                remedy="Give --calibration X.npz, whose samples narrow the ranges, or quantize symmetrically from the float "
                "model; examples/article/quantize.py has the recipe", parity=change.parity,
            )  # fmt: skip
        refused, asked = refused_by_parser(made, self.limits, self.where)
        if refused:
            raise ExportError(
                f"TensorRT does not take the export: {refused}", where=self.where, remedy=_RECIPE
            )
        return made, change, asked

    def _rewriting(
        self, made: StaticModel, recipe: Recipe, ranges: Mapping[str, tuple[float, float]] | None = None
    ) -> ExportOrder:
        return ExportOrder(made.path, made.format, 0, recipe=recipe, ranges=ranges or {})

    def _parity(self, made: StaticModel) -> Parity:
        torchao = _is_torchao(self.model)
        return measure_parity(
            self.model, made, code=self.code, torchao=torchao, inputs=self.data, limits=self.limits
        )

    def made(self, order: ExportOrder, name: str) -> StaticModel:
        """What the child makes, read by our own reader from a file of its own.

        Raises:
            ExportError: It makes nothing, or nothing that can be read.
        """
        payload = run_child(order.to_json(), self.limits, where=self.where, program=PROGRAM).payload
        if not payload.startswith(ONNX):
            words = one_line(payload[1:4000].decode("utf-8", "replace"), 600)
            if order.recipe:
                what, remedy = f"it cannot be written as TensorRT asks for: {words}", _RECIPE
                if order.recipe == "unrounded":
                    what, remedy = (
                        f"what rounding costs cannot be told: {words}",
                        "Export another form of the model",
                    )
                raise ExportError(what, where=self.where, remedy=remedy)
            raise ExportError(f"PyTorch does not export it: {words}", where=self.where, remedy=_EXPORTERS)
        target = self.staging / name
        with replacing(target, mode=0o644) as file:
            file.write(payload[1:])
        try:
            made = read_model(target)
        except FormatError as error:
            raise ExportError(
                f"PyTorch wrote a file that cannot be read: {error.what}", where=self.where
            ) from error
        unknown = list(unknown_operators(made, frozenset()))
        if unknown:
            raise ExportError(
                f"the export has operators that no runtime knows: {unknown[0].value}", where=self.where,
                remedy="Export another form of the model",
            )  # fmt: skip
        return made


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


def _told(parity: Parity) -> str:
    """The first output that fails, and the first layer that does."""
    bad = next((each for each in parity.outputs if not each.holds), None)
    layer = f"the first layer that differs is {parity.worst_layer!r}" if parity.worst_layer else ""
    if bad is None:
        return layer or "it has no outputs"
    reason = f" ({bad.reason})" if bad.reason else ""
    layer = f"; {layer}" if layer else ""
    return f"output {bad.name!r} differs by {bad.steps:.3g} steps, {bad.sqnr_db:.1f} dB{reason}{layer}"
