"""The command line: parse, call, exit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

import qgate
from qgate.commands.guard import guarded
from qgate.commands.options import io_options, pair_options
from qgate.errors import UsageError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(qgate.__version__, prog_name="qgate")
def main() -> None:
    """The integrity gate for quantized models.

    Proves that an int8, int4 or fp16 model still is the model that it claims to come from: same lineage,
    sane numbers, same features, same behaviour. Exit 0 PASS, 1 FAIL, 2 INCONCLUSIVE or ERROR.
    """


@main.command()
@pair_options
@click.option("--report", "-o", type=click.Path(path_type=Path, file_okay=True), default=None,
              help="Folder for report.json, summary.md and report.html.")  # fmt: skip
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@click.option("--target", "-t", multiple=True, help="Only this target of the policy; repeatable.")
@click.option("--base", metavar="REV", help="Revision whose policy and baseline judge.")
@click.option("--leaves", type=click.Path(path_type=Path, file_okay=False), default=None,
              help="Folder of an earlier report, to say where accepted models changed.")  # fmt: skip
@guarded
def verify(
    reference: Path | None,
    candidate: Path | None,
    inputs: Path | None,
    images: Path | None,
    prepare: tuple[str, ...],
    labels: str | None,
    slices: str | None,
    task: str | None,
    task_option: tuple[str, ...],
    task_code: str | None,
    cost: Literal["size", "full"],
    scheme: str,
    derivation: str,
    io_map: tuple[str, ...],
    io_optional: tuple[str, ...],
    io_type: tuple[str, ...],
    io_shape: tuple[str, ...],
    profile: str | None,
    seed: int,
    samples: int | None,
    signature: Path | None,
    signing_key: Path | None,
    signing_certificate: Path | None,
    signing_identity: str | None,
    signing_issuer: str | None,
    trusted_root: Path | None,
    runtime: tuple[str, ...],
    deploy: str | None,
    factory: str | None,
    candidate_factory: str | None,
    reference_factory: str | None,
    trust: Literal["data", "code"],
    sandbox: Literal["required", "reduced"],
    report: Path | None,
    config: str | None,
    target: tuple[str, ...],
    base: str | None,
    leaves: Path | None,
) -> int:
    """Verifies one pair (--reference, --candidate) or the targets of a repository's policy."""
    from qgate.commands.signature import SignatureOptions
    from qgate.commands.verification import verify_pair, verify_repository
    from qgate.sandbox.protect import protect_parent

    protect_parent()
    signed = SignatureOptions(
        signature, signing_key, signing_certificate, signing_identity, signing_issuer, trusted_root
    )
    pair = (
        reference,
        candidate,
        inputs,
        images,
        *prepare,
        labels,
        slices,
        task,
        samples,
        scheme if scheme != "auto" else None,
        derivation if derivation != "auto" else None,
        seed or None,
        sandbox if sandbox != "required" else None,
        signed.given or None,
        factory,
        candidate_factory,
        reference_factory,
        trust if trust != "data" else None,
        cost if cost != "size" else None,
        task_code,
        *task_option,
        deploy,
        *runtime,
        *io_map,
        *io_optional,
        *io_type,
        *io_shape,
    )
    if any(value is not None for value in pair):
        if config or target or base or leaves:
            raise UsageError(
                "--config, --target, --base and --leaves are for a repository's policy, the others for one pair",
                remedy="Give both models, or the policy's options, not both",
            )
        if candidate is None or reference is None:
            lacking = "--candidate" if candidate is None else "--reference"
            raise UsageError(f"one pair needs {lacking} as well", remedy="Give both models, or neither")
        from qgate.commands.interface import factories, parse_interface, parse_task, task_code_of
        from qgate.commands.preparation import parse_preparation
        from qgate.commands.signature import signature_order
        from qgate.sandbox.launch import waiting_child
        from qgate.sandbox.limits import Limits

        # Both processes import their libraries at the same time.
        with waiting_child(Limits(reduced=sandbox == "reduced")) as child:
            from qgate.verifier.adhoc import AdHoc

            asked = AdHoc(
                candidate=candidate,
                reference=reference,
                inputs=inputs,
                pictures=images,
                images=parse_preparation(prepare),
                labels=labels,
                slices=slices,
                task=task,
                cost=cost,
                task_options=parse_task(task, task_option),
                scheme=scheme,
                derivation=derivation,
                interface=parse_interface(io_map, io_optional, io_type, io_shape),
                profile=profile or "balanced",
                seed=seed,
                samples=samples,
                signature=signature_order(signed),
                sandbox=sandbox,
                runtimes=runtime or ("onnxruntime",),
                deploy=deploy,
                leaves=report,
                trust=trust,
                code={
                    **factories(factory, candidate_factory, reference_factory),
                    **task_code_of(task, task_code),
                },
            )
            return verify_pair(asked, report, child)
    return verify_repository(config, target, base, profile, report, leaves)


@main.command()
@click.option("--model", "-m", type=click.Path(path_type=Path), required=True, help="Quantized PyTorch model: a "
              "checkpoint, safetensors, or a program (.pt2).")  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="Where the ONNX file goes.")  # fmt: skip
@click.option("--factory", metavar="CODE", help="path/to/file.py:function that builds a checkpoint's module, and "
              "example inputs.")  # fmt: skip
@click.option("--inputs", "-i", type=click.Path(path_type=Path), help="X.npz to compare on, as for verify.")
@click.option("--trust", type=click.Choice(("data", "code")), default="data", show_default=True,
              help="code runs a program (.pt2), in the sandbox.")  # fmt: skip
@click.option("--opset", type=click.IntRange(13, 23), help="Version of the operator set.  [default: 20 for programs, "
              "17 for checkpoints]")  # fmt: skip
@click.option(
    "--tensorrt",
    is_flag=True,
    help="Write what TensorRT takes, in symmetric int8 where the model is quantized otherwise; refuse what cannot be.",
)
@click.option("--calibration", type=click.Path(path_type=Path), help="X.npz whose samples narrow the ranges of symmetric "
              "int8; else those that the model records.")  # fmt: skip
@guarded
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
    """Exports a quantized PyTorch model to ONNX, and keeps the file only if it computes the same."""
    from qgate.commands.exportation import export as export_model

    return export_model(model, output, factory, inputs, trust, opset, tensorrt, calibration)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@click.option("--all", "everything", is_flag=True, help="Every tensor, scales and zero points as well.")
@guarded
def inspect(file: Path, as_json: bool, everything: bool) -> int:
    """Tells what a model FILE holds (scheme, tensors, ranges, risks), executing nothing of it.

    Exit 0 where it was read, 1 where that shows an error, 2 where the file is refused.
    """
    from qgate.commands.inspection import inspect_file

    return inspect_file(file, as_json=as_json, everything=everything)


@main.command()
@click.argument("rule", required=False)
@click.option("--target", "-t", help="Thresholds in force for this target, and where each came from.")
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@click.option("--base", metavar="REV", help="Revision whose policy is read; the work tree's without it.")
@click.option(
    "--all", "everything", is_flag=True, help="With --target, also the thresholds that no policy has set."
)
@guarded
def explain(
    rule: str | None, target: str | None, config: str | None, base: str | None, everything: bool
) -> int:
    """Explains a rule: what, why, how it is measured, thresholds, remedy. Lists all without RULE."""
    from qgate.commands.explanation import explain_rule, explain_target

    if target is not None:
        return explain_target(target, rule, config, base, everything=everything)
    if config or base or everything:
        raise UsageError("--config, --base and --all go with --target", remedy="Name the target: --target")
    return explain_rule(rule)


@main.command()
@click.option("--reference", "-r", type=click.Path(path_type=Path), help="Full-precision model.")
@click.option("--candidate", "-c", type=click.Path(path_type=Path), help="Quantized model.")
@click.option("--inputs", "-i", type=click.Path(path_type=Path), help="X.npz, as for verify.")
@click.option("--target", "-t", help="A target of the policy, in place of a pair.")
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@click.option("--most", type=click.IntRange(1, 100), default=5, show_default=True,
              help="How many layers are tried in float; each takes up to three runs.")  # fmt: skip
@io_options
@click.option("--write", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the candidate "
              "with the advised layers in float.")  # fmt: skip
@guarded
def bisect(
    reference: Path | None,
    candidate: Path | None,
    inputs: Path | None,
    target: str | None,
    config: str | None,
    most: int,
    io_map: tuple[str, ...],
    io_optional: tuple[str, ...],
    io_type: tuple[str, ...],
    io_shape: tuple[str, ...],
    write: Path | None,
) -> int:
    """Names the layers that cost the most, and what leaving them in float would give."""
    from qgate.commands.bisection import bisect_pair, bisect_target
    from qgate.sandbox.protect import protect_parent

    protect_parent()
    if target is not None:
        if reference or candidate or inputs or io_map or io_optional or io_type or io_shape:
            raise UsageError("--target and a pair are two things", remedy="Give one of them")
        return bisect_target(target, config, most, write)
    if candidate is None or reference is None:
        raise UsageError(
            "there is nothing to look into", remedy="Give --reference and --candidate, or --target"
        )
    from qgate.commands.interface import parse_interface
    from qgate.verifier.adhoc import AdHoc

    interface = parse_interface(io_map, io_optional, io_type, io_shape)
    asked = AdHoc(candidate=candidate, reference=reference, inputs=inputs, interface=interface)
    return bisect_pair(asked, most, write)


@main.command()
@click.option(
    "--target", "-t", required=True, help="A target of the policy; its models are taken to be trusted."
)
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@click.option("--repeats", type=click.IntRange(1, 100), default=2, show_default=True,
              help="How often the candidate is measured in the same way.")  # fmt: skip
@click.option("--write", is_flag=True, help="Write them into the policy, each behind its reason.")
@guarded
def calibrate(target: str, config: str | None, repeats: int, write: bool) -> int:
    """Proposes thresholds for TARGET from its data: noise, and what a plain recipe would give."""
    from qgate.commands.calibration import calibrate_target

    return calibrate_target(target, config, repeats, write=write)


@main.command()
@click.argument("target")
@click.option("--reason", required=True, help="Why the new numbers are accepted; stored in the file.")
@click.option(
    "--despite-findings", is_flag=True, help="Accept the numbers of a candidate that goes on breaking rules."
)
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@guarded
def accept(target: str, reason: str, despite_findings: bool, config: str | None) -> int:
    """Measures TARGET and writes its baseline file, to be committed and reviewed."""
    from qgate.commands.acceptance import accept as accept_target

    return accept_target(target, reason, config, despite_findings=despite_findings)


@main.command()
@click.argument("report", type=click.Path(path_type=Path))
@guarded
def audit(report: Path) -> int:
    """Judges the numbers of a stored REPORT (report.json) again; exit 1 where it contradicts itself."""
    from qgate.commands.audit import audit as audit_stored

    return audit_stored(report)


if __name__ == "__main__":
    main()
