"""The command line: parse, call, print, exit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import click

import qgate
from qgate.errors import QgateError, UsageError

if TYPE_CHECKING:
    from qgate.measure.interface import Interface
    from qgate.report.schema import Report
    from qgate.sandbox.launch import Child
    from qgate.verifier import AdHoc

P = ParamSpec("P")
V = TypeVar("V")
SCHEMES = ("auto", "int8", "int4", "fp16", "fp8", "none")
DERIVATIONS = ("auto", "exact", "folded", "qat", "none")
TASKS = ("top1", "mae", "rmse", "none")
EXIT_CANNOT = 2
_SHOWN = 10


def _fail(error: QgateError) -> NoReturn:
    from qgate.report.escape import visible

    click.echo(f"qgate: {visible(str(error))}", err=True)
    sys.exit(EXIT_CANNOT)


def _defect(error: Exception) -> QgateError:
    """What no code foresaw, with the line that it came from."""
    from traceback import extract_tb

    last = extract_tb(error.__traceback__)[-1]
    return QgateError(
        f"an error that qgate does not know: {type(error).__name__}: {error}"[:500],
        where=f"{Path(last.filename).name}:{last.lineno}",
        remedy="This is a defect of qgate; please report it with the command and this line",
    )


def _guarded(command: Callable[P, int]) -> Callable[P, None]:
    """Turns errors into one line and exit 2; a traceback is only ever a defect of qgate."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except QgateError as error:
            _fail(error)
        except KeyboardInterrupt:
            click.echo("qgate: interrupted; nothing was decided", err=True)
            code = EXIT_CANNOT
        except OSError as error:
            _fail(
                QgateError(
                    f"the system refuses: {error.strerror or error}",
                    where=str(error.filename or ""),
                    remedy="Check that the disk has room and that this user may read and write there",
                )
            )
        except Exception as error:
            # Exit 1 would say FAIL; nothing was decided.
            _fail(_defect(error))
        sys.exit(code)

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(qgate.__version__, prog_name="qgate")
def main() -> None:
    """The integrity gate for quantized models.

    Proves that an int8, int4 or fp16 model still is the model that it claims to come from: same lineage,
    sane numbers, same features, same behaviour. Exit 0 PASS, 1 FAIL, 2 INCONCLUSIVE or ERROR.
    """


@main.command()
@click.option("--reference", "-r", type=click.Path(path_type=Path), help="Full-precision model.")
@click.option("--candidate", "-c", type=click.Path(path_type=Path), help="Quantized model.")
@click.option("--inputs", "-i", type=click.Path(path_type=Path), help="X.npz: arrays named as the model's "
              "inputs, first axis the samples. Seeded inputs without it.")  # fmt: skip
@click.option("--labels", metavar="KEY", help="Array of labels in X.npz.")
@click.option("--slices", metavar="KEY", help="Array in X.npz that names each sample's slice.")
@click.option("--task", type=click.Choice(TASKS), help="Task metric; by default what the labels suggest.")
@click.option("--scheme", type=click.Choice(SCHEMES), default="auto", show_default=True,
              help="What the candidate must be; none verifies two float models as equivalent.")  # fmt: skip
@click.option("--derivation", type=click.Choice(DERIVATIONS), default="auto", show_default=True,
              help="How weights must follow from the reference.")  # fmt: skip
@click.option(
    "--io-map",
    multiple=True,
    metavar="REF=CAND",
    help="Candidate's name of an input or output; empty if it has none.",
)
@click.option("--io-optional", multiple=True, metavar="NAME", help="Input that one side may lack.")
@click.option("--io-type", multiple=True, metavar="NAME=DTYPE", help="Candidate's element type of an input.")
@click.option("--io-shape", multiple=True, metavar="NAME=1x576",
              help="Candidate's shape of an input or output; ? is any size.")  # fmt: skip
@click.option("--profile", help="strict, balanced or permissive, for one pair.  [default: balanced]")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True,
              help="Seed of generated inputs.")  # fmt: skip
@click.option("--samples", type=click.IntRange(1, 100_000), help="How many inputs are generated.")
@click.option("--report", "-o", type=click.Path(path_type=Path, file_okay=True), default=None,
              help="Folder for report.json, summary.md and report.html.")  # fmt: skip
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@click.option("--target", "-t", multiple=True, help="Only this target of the policy; repeatable.")
@click.option("--base", metavar="REV", help="Revision whose policy and baseline judge.")
@_guarded
def verify(
    reference: Path | None,
    candidate: Path | None,
    inputs: Path | None,
    labels: str | None,
    slices: str | None,
    task: str | None,
    scheme: str,
    derivation: str,
    io_map: tuple[str, ...],
    io_optional: tuple[str, ...],
    io_type: tuple[str, ...],
    io_shape: tuple[str, ...],
    profile: str | None,
    seed: int,
    samples: int | None,
    report: Path | None,
    config: str | None,
    target: tuple[str, ...],
    base: str | None,
) -> int:
    """Verifies one pair (--reference, --candidate) or the targets of a repository's policy."""
    from qgate.sandbox.protect import protect_parent

    protect_parent()
    pair = (
        reference,
        candidate,
        inputs,
        labels,
        slices,
        task,
        samples,
        scheme if scheme != "auto" else None,
        derivation if derivation != "auto" else None,
        seed or None,
        *io_map,
        *io_optional,
        *io_type,
        *io_shape,
    )
    if any(value is not None for value in pair):
        if config or target or base:
            raise UsageError(
                "--config, --target and --base are for a repository's policy, the others for one pair",
                remedy="Give both models, or the policy's options, not both",
            )
        if candidate is None or reference is None:
            lacking = "--candidate" if candidate is None else "--reference"
            raise UsageError(f"one pair needs {lacking} as well", remedy="Give both models, or neither")
        from qgate.sandbox.launch import waiting_child
        from qgate.sandbox.limits import Limits

        # Both processes import their libraries at the same time.
        with waiting_child(Limits()) as child:
            from qgate.verifier import AdHoc

            asked = AdHoc(
                candidate=candidate,
                reference=reference,
                inputs=inputs,
                labels=labels,
                slices=slices,
                task=task,
                scheme=scheme,
                derivation=derivation,
                interface=parse_interface(io_map, io_optional, io_type, io_shape),
                profile=profile or "balanced",
                seed=seed,
                samples=samples,
            )
            return _verify_pair(asked, report, child)
    return _verify_repository(config, target, base, profile, report)


def _verify_pair(asked: AdHoc, folder: Path | None, child: Child | None) -> int:
    from qgate.measure.progress import show_progress
    from qgate.report.compose import compose_report
    from qgate.report.provenance import build_provenance
    from qgate.report.write import prepare_folder
    from qgate.verifier import verify_ad_hoc

    if folder is not None:
        prepare_folder(folder)
    with show_progress(asked.candidate.name, sys.stderr) as progress:
        result = verify_ad_hoc(asked, progress, child)
    return _finish(compose_report(targets=(result,), provenance=build_provenance(seed=asked.seed)), folder)


def _verify_repository(
    config: str | None, targets: tuple[str, ...], base: str | None, profile: str | None, folder: Path | None
) -> int:
    from dataclasses import replace

    from qgate.events import Activity, Kind
    from qgate.gate.run import run_gate
    from qgate.report.write import prepare_folder
    from qgate.settings import read_settings, repository_path
    from qgate.verifier import rejudge_target, target_verifier

    settings = read_settings()
    settings = replace(
        settings,
        config=repository_path(config, "--config") if config else settings.config,
        targets=targets or settings.targets,
        base=base,
        report_dir=folder or settings.report_dir,
    )
    if profile is not None:
        raise UsageError(
            "--profile is for one pair; a repository's policy names its own", remedy="Set `profile` there"
        )
    prepare_folder(settings.report_dir)
    report = run_gate(
        settings,
        Activity(Kind.LOCAL, repository=settings.repository),
        verify=target_verifier(settings),
        judge_again=rejudge_target,
        progress=lambda line: click.echo(line, err=True),
    )
    return _finish(report, settings.report_dir)


def _finish(report: Report, folder: Path | None) -> int:
    from rich.console import Console

    from qgate.report.terminal import print_report
    from qgate.report.write import write_report

    if folder is not None:
        write_report(report, folder)
    print_report(report, Console(), directory=str(folder) if folder is not None else None)
    return report.verdict.exit_code


def parse_interface(
    names: tuple[str, ...], optional: tuple[str, ...], types: tuple[str, ...], shapes: tuple[str, ...]
) -> Interface:
    """Reads the --io options.

    Raises:
        UsageError: One is not of the form NAME=VALUE, or a shape is no shape.
    """
    from qgate.measure.interface import Interface

    # `sr=` maps an input to nothing: the candidate has none.
    absent = tuple(item[:-1] for item in names if item.endswith("=") and len(item) > 1)
    return Interface(
        map=_once((_split(item, "--io-map") for item in names if item[:-1] not in absent), "--io-map"),
        optional=(*optional, *absent),
        types=_once(((name, _dtype(text)) for name, text in _pairs(types, "--io-type")), "--io-type"),
        shapes=_once(((name, _shape(text)) for name, text in _pairs(shapes, "--io-shape")), "--io-shape"),
    )


def _pairs(items: tuple[str, ...], option: str) -> Iterator[tuple[str, str]]:
    return (_split(item, option) for item in items)


def _once(pairs: Iterable[tuple[str, V]], option: str) -> dict[str, V]:
    found: dict[str, V] = {}
    for name, value in pairs:
        if name in found:
            raise UsageError(f"{name!r} is declared twice", where=option, remedy="Declare each name once")
        found[name] = value
    return found


def _split(item: str, option: str) -> tuple[str, str]:
    name, separator, value = item.rpartition("=")
    if not separator or not name or not value:
        raise UsageError(
            f"{item!r} is not of the form NAME=VALUE", where=option, remedy=f"Write {option} input=other"
        )
    return name, value


def _dtype(text: str) -> str:
    from typing import get_args

    from qgate.policy.schema import DType

    known = get_args(DType)
    if text not in known:
        raise UsageError(
            f"{text!r} is no element type", where="--io-type", remedy="Write one of " + ", ".join(known)
        )
    return text


def _shape(text: str) -> tuple[int | None, ...]:
    parts = text.lower().split("x")
    if not all(part == "?" or (part.isdecimal() and 0 < int(part) < 2**31) for part in parts):
        raise UsageError(
            f"{text!r} is no shape", where="--io-shape", remedy="Write --io-shape input=1x3x?x224"
        )
    return tuple(None if part == "?" else int(part) for part in parts)


@main.command()
@click.argument("rule", required=False)
@_guarded
def explain(rule: str | None) -> int:
    """Explains a rule: what, why, how it is measured, thresholds, remedy. Lists all without RULE."""
    from qgate.rules.catalogue import catalogue, find_rule
    from qgate.rules.document import describe, list_rules

    click.echo(describe(find_rule(rule)) if rule else list_rules(catalogue().values()))
    return 0


@main.command()
@click.argument("target")
@click.option("--reason", required=True, help="Why the new numbers are accepted; stored in the file.")
@click.option("--config", default=None, help="Policy of the repository.  [default: qgate.yml]")
@_guarded
def accept(target: str, reason: str, config: str | None) -> int:
    """Measures TARGET and writes its baseline file, to be committed and reviewed."""
    from dataclasses import replace

    from qgate.baseline.acceptance import accept_target
    from qgate.report import figures
    from qgate.report.escape import visible
    from qgate.sandbox.protect import protect_parent
    from qgate.settings import read_settings, repository_path
    from qgate.verifier import target_verifier

    protect_parent()
    settings = read_settings()
    if config:
        settings = replace(settings, config=repository_path(config, "--config"))
    accepted = accept_target(settings, target, reason, target_verifier(settings))
    click.echo(f"{accepted.report.verdict}: {accepted.report.reason}")
    worse = [delta for delta in accepted.deltas if delta.worse]
    for delta in worse[:_SHOWN]:
        before, after = (figures.value(v, delta.unit) for v in (delta.baseline, delta.current))
        place = f" at {delta.at}" if delta.at else ""
        click.echo(f"  worse: {visible(f'{delta.name}{place}')}: {before} before, {after} now")
    gone = sum(delta.gone for delta in accepted.deltas)
    more = len(worse) - _SHOWN
    if more > 0:
        click.echo(f"  and {more} more that are worse")
    if gone:
        click.echo(f"  {gone} measurements of the old baseline are no longer made")
    click.echo(f"Wrote {accepted.path}. Commit it with the model.")
    return 0


if __name__ == "__main__":
    main()
