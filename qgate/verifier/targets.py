"""From a planned target to ``verify``: which files, from which commits, by whose lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.measure.interface import Interface
from qgate.measure.preprocessing import Preprocessing
from qgate.policy.code import python_specs
from qgate.report.write import leaves_file
from qgate.sandbox.launch import waiting_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory
from qgate.signing.bundle import MAX_BUNDLE
from qgate.signing.order import SignatureOrder
from qgate.sources.code import acquire_code
from qgate.sources.context import SourceContext
from qgate.sources.locator import GitLocator
from qgate.verifier.copied import copied_from
from qgate.verify.again import judge_again
from qgate.verify.contents import Sources, locate
from qgate.verify.pair import Acquire, AcquireCode, Pair, Progress
from qgate.verify.target import verify

if TYPE_CHECKING:
    from qgate.baseline.choice import Locate
    from qgate.baseline.content import Side
    from qgate.plan.targets import TargetRun
    from qgate.policy.schema import DataSpec
    from qgate.report.schema import ContentDelta, TargetReport
    from qgate.settings import Settings
    from qgate.sources.locator import Locator


def target_verifier(
    settings: Settings,
    progress: Callable[[TargetRun], Progress | None] | None = None,
    today: date | None = None,
    *,
    leaves: Path | None = None,
) -> Callable[[TargetRun], TargetReport]:
    """The function that the gate calls for each planned target; ``leaves`` is the report's folder."""

    def run_target(run: TargetRun) -> TargetReport:
        shown = progress(run) if progress is not None else None
        pair = target_pair(run, settings, today)
        if leaves is not None and run.purpose == "judge":
            pair = replace(pair, leaves=leaves_file(leaves, run.name))
        with staging_directory() as staging, waiting_child(pair.limits or Limits()) as child:
            return verify(pair, staging=staging, progress=shown, child=child)

    return run_target


def content_locator(settings: Settings) -> Locate:
    """The function that says where in its tensors a candidate differs from the accepted model."""

    def locate_in(
        run: TargetRun, older: TargetRun | None, delta: ContentDelta, accepted: Side
    ) -> ContentDelta:
        here = older is not None and (
            older.candidate.repository_path is not None or isinstance(older.candidate, GitLocator)
        )
        sources = Sources(
            new=copied_from(run.candidate, run.candidate_revision, run, settings, model=True),
            old=copied_from(older.candidate, older.candidate_revision, older, settings, model=True)
            if older is not None and here
            else None,
            new_leaves=leaves_file(settings.report_dir, run.name),
            old_leaves=leaves_file(settings.leaves_dir, run.name) if settings.leaves_dir else None,
        )
        with staging_directory() as staging:
            return locate(delta, accepted, sources, staging)

    return locate_in


def rejudge_target(report: TargetReport, run: TargetRun) -> TargetReport:
    """Judges the measurements of one run by the lines of another."""
    return judge_again(report, target=run.target, policy=run.policy, profile=run.profile)


def target_pair(run: TargetRun, settings: Settings, today: date | None = None) -> Pair:
    """The pair of a planned target."""
    target, policy = run.target, run.policy
    data = run.data
    return Pair(
        name=run.name,
        candidate=copied_from(run.candidate, run.candidate_revision, run, settings, model=True),
        candidate_locator=run.candidate.describe(),
        reference=None
        if run.reference is None
        else copied_from(run.reference, run.reference_revision, run, settings, model=True),
        reference_locator=run.reference.describe() if run.reference is not None else None,
        data=None
        if data is None
        else copied_from(data.inputs, run.data_revision, run, settings, model=False, images=images_of(data)),
        images=images_of(data),
        data_locator=data.inputs.describe() if data is not None else None,
        labels=data.labels if data is not None else None,
        slices=data.slices if data is not None else None,
        scheme=target.scheme,
        derivation=target.derivation,
        runtimes=tuple(target.runtimes),
        deploy=target.deploy,
        interface=interface_of(target.io.map, target.io.optional, target.io.types, target.io.shapes),
        profile=run.profile,
        task=target.task.metric if target.task is not None else None,
        task_output=target.task.output if target.task is not None else None,
        task_options=target.task.options() if target.task is not None else {},
        policy=policy,
        target=target,
        waivers=policy.waivers,
        allowed_operators=frozenset(policy.allow_ops),
        limits=Limits(
            memory_mb=policy.limits.memory_mb,
            cpu_seconds=policy.limits.cpu_seconds,
            wall_seconds=policy.limits.wall_seconds,
            file_mb=policy.limits.file_mb,
            reduced=policy.sandbox == "reduced",
        ),
        seed=run.seed,
        cost=target.cost,
        proposed=run.proposed,
        trust=target.trust,
        signature=_signature(run, settings),
        sandbox=policy.sandbox,
        today=today,
        code=_code(run),
    )


def _code(run: TargetRun) -> dict[str, AcquireCode]:
    """What copies the code that a run's lines name, each at the commit that was decided for it."""
    context = SourceContext(repo=run.repo, revision=run.code_revision)

    def copied(spec: str) -> AcquireCode:
        return lambda folder: acquire_code(spec, folder, context)

    return {role: copied(spec) for role, spec in python_specs(run.target).items()}


def _signature(run: TargetRun, settings: Settings) -> SignatureOrder | None:
    spec = run.signature
    if spec is None:
        return None

    def copied(locator: Locator | None) -> Acquire | None:
        if locator is None:
            return None
        return copied_from(locator, run.signer_revision, run, settings, model=False, room=MAX_BUNDLE)

    signer = spec.key or spec.certificate
    return SignatureOrder(
        bundle=copied_from(spec.bundle, run.candidate_revision, run, settings, model=False, room=MAX_BUNDLE),
        bundle_locator=spec.bundle.describe(),
        key=copied(spec.key),
        certificate=copied(spec.certificate),
        identity=spec.identity,
        issuer=spec.issuer,
        trusted_root=copied(spec.trusted_root),
        signer_locator=signer.describe() if signer is not None else "",
        required=run.target.require_signature,
    )


def interface_of(
    names: Mapping[str, str],
    optional: tuple[str, ...],
    types: Mapping[str, str],
    shapes: Mapping[str, tuple[int | None, ...]],
) -> Interface:
    """Declared differences as the measurement takes them."""
    return Interface(dict(names), tuple(optional), dict(types), dict(shapes))


def images_of(data: DataSpec | None) -> Preprocessing | None:
    """How images are prepared, as the measurement takes it."""
    if data is None or data.images is None:
        return None
    return Preprocessing.from_data(data.images.model_dump())
