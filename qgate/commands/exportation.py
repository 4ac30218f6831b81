"""``qgate export``: a quantized PyTorch model as ONNX, verified before it is kept."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from qgate.export.parity import Parity


def export(
    model: Path,
    output: Path,
    factory: str | None,
    inputs: Path | None,
    trust: str,
    opset: int | None,
    tensorrt: bool,
    calibration: Path | None,
) -> int:
    """Exports, verifies, writes and tells; 0 where the file was kept.

    Raises:
        QgateError: There is no export, and nothing was written.
    """
    from qgate.export.make import export_model
    from qgate.report.escape import name
    from qgate.sandbox.protect import protect_parent

    protect_parent()
    done = export_model(
        model, output, factory=factory, inputs=inputs, trust=trust, opset=opset, tensorrt=tensorrt,
        calibration=calibration,
    )  # fmt: skip
    _layers(done.parity)
    for each in done.parity.outputs:
        scale = "its scale" if each.own_scale else "a 255th of its range"
        steps = "" if math.isnan(each.steps) else f" {each.steps:.3g} steps of {scale} at most,"
        cost = (
            ""
            if math.isnan(each.rounding_db)
            else f"; rounding of activations itself leaves {each.rounding_db:.1f} dB"
        )
        click.echo(f"  output {name(each.name)}:{steps} {each.sqnr_db:.1f} dB{cost}")
    told = f"equal to the PyTorch model but for rounding, on {done.parity.samples} inputs."
    if done.change is not None:
        told = f"symmetric int8, made of an export that was {told}"
        ranges = "reached on the calibration data" if done.change.calibrated else "that the model records"
        click.echo(f"Symmetric int8 for TensorRT, of the ranges {ranges}, against the PyTorch model:")
        _layers(done.change.parity)
        for each in done.change.parity.outputs:
            click.echo(
                f"  output {name(each.name)}: {each.sqnr_db:.1f} dB, where rounding of activations leaves the PyTorch model "
                f"{each.rounding_db:.1f} dB"
            )
    if done.asked:
        click.echo(f"TensorRT takes it: {name(done.asked)}.")
    click.echo(f"Wrote {name(str(done.output))} (opset {done.opset}, {done.exporter} exporter): {told}")
    return 0


def _layers(parity: Parity) -> None:
    from qgate.report.escape import name

    for layer, db in parity.layers.items():
        click.echo(f"  layer {name(layer)}: {db:.1f} dB")
    if not parity.layers:
        click.echo(f"  layers: not compared, for {parity.unobserved}")
