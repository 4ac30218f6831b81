"""``qgate export``: a quantized PyTorch model as ONNX, verified before it is kept."""

from __future__ import annotations

import math
from pathlib import Path

import click


def export(
    model: Path,
    output: Path,
    factory: str | None,
    inputs: Path | None,
    trust: str,
    opset: int | None,
    tensorrt: bool,
) -> int:
    """Exports, verifies, writes and tells; 0 where the file was kept.

    Raises:
        QgateError: There is no export, and nothing was written.
    """
    from qgate.export.make import export_model
    from qgate.export.parity import MAX_STEPS, MIN_DB
    from qgate.report.escape import name
    from qgate.sandbox.protect import protect_parent

    protect_parent()
    done = export_model(
        model, output, factory=factory, inputs=inputs, trust=trust, opset=opset, tensorrt=tensorrt
    )
    parity = done.parity
    for layer, db in parity.layers.items():
        click.echo(f"  layer {name(layer)}: {db:.1f} dB")
    if not parity.layers:
        click.echo(f"  layers: not compared, for {parity.unobserved}")
    for each in parity.outputs:
        scale = "its scale" if each.own_scale else "a 255th of its range"
        steps = "" if math.isnan(each.steps) else f" {each.steps:.3g} steps of {scale} at most,"
        click.echo(f"  output {name(each.name)}:{steps} {each.sqnr_db:.1f} dB")
    click.echo(
        f"Wrote {name(str(done.output))} (opset {done.opset}, {done.exporter} exporter): equal to the PyTorch model within "
        f"{MAX_STEPS:g} steps and {MIN_DB:g} dB on {parity.samples} inputs."
    )
    return 0
