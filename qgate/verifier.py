"""From a planned target or an ad-hoc pair to ``verify``: where the bytes come from and who judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qgate.errors import FormatError, SourceError, UsageError
from qgate.formats.read import named_side_files
from qgate.measure.interface import Interface
from qgate.measure.preprocessing import SUFFIXES, Preprocessing
from qgate.policy.code import python_specs
from qgate.report.write import leaves_file
from qgate.sandbox.launch import Child, waiting_child
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory
from qgate.signing.bundle import MAX_BUNDLE
from qgate.signing.order import SignatureOrder
from qgate.sources.acquire import Acquired, acquire, acquire_file, acquire_pictures
from qgate.sources.code import acquire_code, acquire_code_of_user
from qgate.sources.context import SideFiles, SourceContext
from qgate.sources.locator import GitLocator
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

MIB = 2**20
MAX_FILES = 100_000
"""Files that a data set may consist of."""


@dataclass(frozen=True)
class AdHoc:
    """A pair named on the command line.

    Args:
        candidate: The candidate's file; likewise reference and inputs.
        pictures: A folder of images in place of a file of inputs.
        images: How images become arrays.
        labels: Array of labels in the inputs; ``slices`` likewise.
        task: Metric, None for what labels and outputs suggest.
        task_options: What the task is told beside it.
        scheme: Declared scheme.
        derivation: Declared derivation.
        interface: Declared differences of the interface.
        profile: A built-in profile.
        seed: Seed of generated inputs.
        samples: How many inputs are generated, None for the default.
        cost: ``full`` measures time, memory and load time beside the size.
        signature: Who must have signed the candidate, None for nobody.
        runtimes: Where the candidate must run.
        deploy: ``avx2`` where it is served by processors that saturate.
        sandbox: ``required``, or ``reduced`` where models may run without Landlock or seccomp.
        leaves: The report's folder, for the leaves of the content digests.
        trust: ``code`` where files that hold programs may be run.
        code: Code by role as ``path/to/file.py:function``, relative to the current folder.
    """

    candidate: Path
    reference: Path | None
    inputs: Path | None = None
    pictures: Path | None = None
    images: Preprocessing | None = None
    labels: str | None = None
    slices: str | None = None
    task: str | None = None
    task_options: Mapping[str, float | str] = field(default_factory=dict)
    scheme: str = "auto"
    derivation: str = "auto"
    interface: Interface = field(default_factory=Interface)
    profile: str = "balanced"
    seed: int = 0
    samples: int | None = None
    cost: Literal["size", "full"] = "size"
    signature: SignatureOrder | None = None
    sandbox: Literal["required", "reduced"] = "required"
    runtimes: tuple[str, ...] = ("onnxruntime",)
    deploy: str | None = None
    leaves: Path | None = None
    code: Mapping[str, str] = field(default_factory=dict)
    trust: Literal["data", "code"] = "data"


def verify_ad_hoc(asked: AdHoc, progress: Progress | None = None, child: Child | None = None) -> TargetReport:
    """Verifies a pair without policy and baseline.

    Args:
        asked: The pair.
        progress: Told how many samples are done.
        child: A child that waits for the pair to be run.

    Raises:
        UsageError: Labels or slices are named without inputs.
    """
    pair = ad_hoc_pair(asked)
    with staging_directory() as staging:
        return verify(pair, staging=staging, progress=progress, child=child)


def ad_hoc_pair(asked: AdHoc) -> Pair:
    """The pair that somebody names, without policy and baseline.

    Raises:
        UsageError: Labels or slices are named without inputs.
    """
    data = asked.inputs or asked.pictures
    if data is None and (asked.labels or asked.slices):
        raise UsageError("--labels and --slices name arrays of the inputs", remedy="Give --inputs X.npz")
    _check_images(asked)
    context = SourceContext(repo=Path())

    def copied(path: Path, *, model: bool) -> Acquire:
        if not model:
            return lambda folder: acquire_file(
                path, folder, context, side_files=_data_files(path.name, asked.images), most=MAX_FILES
            )
        return _naming_tensors(lambda folder, sides: acquire_file(path, folder, context, side_files=sides))

    return Pair(
        name=asked.candidate.stem or "pair",
        candidate=copied(asked.candidate, model=True),
        candidate_locator=str(asked.candidate),
        reference=copied(asked.reference, model=True) if asked.reference is not None else None,
        reference_locator=str(asked.reference) if asked.reference is not None else None,
        data=_pictures(asked, context) or (copied(data, model=False) if data is not None else None),
        data_locator=str(data) if data is not None else None,
        images=asked.images,
        labels=asked.labels,
        slices=asked.slices,
        scheme=asked.scheme,
        derivation=asked.derivation,
        interface=asked.interface,
        profile=asked.profile,
        task=asked.task,
        task_options=asked.task_options,
        seed=asked.seed,
        samples=asked.samples,
        cost=asked.cost,
        signature=asked.signature,
        limits=Limits(reduced=asked.sandbox == "reduced"),
        sandbox=asked.sandbox,
        runtimes=asked.runtimes,
        deploy=asked.deploy,
        leaves=leaves_file(asked.leaves, asked.candidate.stem or "pair")
        if asked.leaves is not None
        else None,
        code=_code_of_user(asked.code),
        trust=asked.trust,
    )


def _check_images(asked: AdHoc) -> None:
    """Refuses images that nobody prepares, and a preparation of none."""
    if asked.pictures is not None and asked.inputs is not None:
        raise UsageError("--inputs and --images are two data sets", remedy="Give one of them")
    if asked.pictures is not None and asked.images is None:
        raise UsageError(
            "nobody says how the images become arrays",
            where="--images",
            remedy="Add --prepare imagenet, or --prepare size=HEIGHTxWIDTH and what the model was trained with",
        )
    if asked.images is not None and asked.pictures is None and asked.inputs is None:
        raise UsageError(
            "there are no images to prepare", where="--prepare", remedy="Give --images or --inputs"
        )


def _pictures(asked: AdHoc, context: SourceContext) -> Acquire | None:
    """Copies a folder of images, where one is named."""
    folder = asked.pictures
    if folder is None:
        return None
    sides = _data_files(str(folder), asked.images)
    return lambda into: acquire_pictures(
        folder, into, context, suffixes=SUFFIXES, side_files=sides, most=MAX_FILES
    )


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
            new=_source(run.candidate, run.candidate_revision, run, settings, model=True),
            old=_source(older.candidate, older.candidate_revision, older, settings, model=True)
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
        candidate=_source(run.candidate, run.candidate_revision, run, settings, model=True),
        candidate_locator=run.candidate.describe(),
        reference=None
        if run.reference is None
        else _source(run.reference, run.reference_revision, run, settings, model=True),
        reference_locator=run.reference.describe() if run.reference is not None else None,
        data=None
        if data is None
        else _source(data.inputs, run.data_revision, run, settings, model=False, images=images_of(data)),
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


def _code_of_user(named: Mapping[str, str]) -> dict[str, AcquireCode]:
    def copied(spec: str) -> AcquireCode:
        return lambda folder: acquire_code_of_user(spec, folder)

    return {role: copied(spec) for role, spec in named.items()}


def _signature(run: TargetRun, settings: Settings) -> SignatureOrder | None:
    spec = run.signature
    if spec is None:
        return None

    def copied(locator: Locator | None) -> Acquire | None:
        if locator is None:
            return None
        return _source(locator, run.signer_revision, run, settings, model=False, room=MAX_BUNDLE)

    signer = spec.key or spec.certificate
    return SignatureOrder(
        bundle=_source(spec.bundle, run.candidate_revision, run, settings, model=False, room=MAX_BUNDLE),
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


def _source(
    locator: Locator,
    revision: str | None,
    run: TargetRun,
    settings: Settings,
    *,
    model: bool,
    room: int | None = None,
    images: Preprocessing | None = None,
) -> Acquire:
    context = SourceContext(
        repo=run.repo,
        revision=revision,
        token=settings.token,
        hub_token=settings.hub_token,
        repository=settings.repository,
        server_url=settings.server_url,
        api_url=settings.api_url,
        allow_hosts=run.policy.allow_hosts,
        cache=settings.cache,
        max_bytes=room or run.policy.limits.download_mb * MIB,
    )
    if not model:
        sides = _data_files(locator.describe(), images) if room is None else None
        return lambda folder: acquire(locator, folder, context, side_files=sides, most=MAX_FILES)
    return _naming_tensors(lambda folder, sides: acquire(locator, folder, context, side_files=sides))


def images_of(data: DataSpec | None) -> Preprocessing | None:
    """How images are prepared, as the measurement takes it."""
    if data is None or data.images is None:
        return None
    return Preprocessing.from_data(data.images.model_dump())


def _data_files(label: str, images: Preprocessing | None = None) -> SideFiles:
    """Names the files that a data set consists of beside its main one."""

    def side_files(main: Path) -> list[str]:
        from qgate.measure.open_data import files_beside

        return files_beside(main, label, images)

    return side_files


def _naming_tensors(copy: Callable[[Path, SideFiles], Acquired]) -> Acquire:
    """Acquires a model; where one of its side files cannot be had, the error names the tensor in it."""

    def acquire_model(folder: Path) -> Acquired:
        named: dict[str, str] = {}

        def side_files(main: Path) -> list[str]:
            named.update(named_side_files(main))
            return list(named)

        try:
            return copy(folder, side_files)
        except SourceError as error:
            for name, tensor in named.items():
                if error.where.endswith(name):
                    raise FormatError(
                        f"external data of {tensor!r}: {error.what}",
                        where=error.where,
                        remedy=error.remedy,
                        rule="ART107",
                        tensor=tensor,
                    ) from error
            raise

    return acquire_model
