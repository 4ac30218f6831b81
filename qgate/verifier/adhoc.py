"""A pair that somebody names on the command line, without policy and baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qgate.errors import UsageError
from qgate.measure.interface import Interface
from qgate.measure.preprocessing import SUFFIXES, Preprocessing
from qgate.report.write import leaves_file
from qgate.sandbox.launch import Child
from qgate.sandbox.limits import Limits
from qgate.sandbox.staging import staging_directory
from qgate.signing.order import SignatureOrder
from qgate.sources.acquire import acquire_file, acquire_pictures
from qgate.sources.code import acquire_code_of_user
from qgate.sources.context import SourceContext
from qgate.verifier.copied import MAX_FILES, data_files, naming_tensors
from qgate.verifier.folders import given_data
from qgate.verify.pair import Acquire, AcquireCode, Pair, Progress
from qgate.verify.target import verify

if TYPE_CHECKING:
    from qgate.report.schema import TargetReport


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


def _expect_text(path: Path | None) -> None:
    """Names that are no UTF-8 pass through Python as they are, and through no runtime and no report."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "the file's name is not UTF-8, which runtimes and reports need",
            where=str(path),
            remedy="Rename the file, or link to it by another name",
        ) from error


def ad_hoc_pair(asked: AdHoc) -> Pair:
    """The pair that somebody names, without policy and baseline.

    Raises:
        UsageError: Labels or slices are named without inputs, or a name is not UTF-8.
    """
    data = asked.inputs or asked.pictures
    for path in (asked.candidate, asked.reference, data):
        _expect_text(path)
    if data is None and (asked.labels or asked.slices):
        raise UsageError("--labels and --slices name arrays of the inputs", remedy="Give --inputs X.npz")
    _check_images(asked)
    context = SourceContext(repo=Path())

    def copied(path: Path, *, model: bool) -> Acquire:
        if not model:
            return given_data(path, context, data_files(path.name, asked.images), MAX_FILES)
        return naming_tensors(lambda folder, sides: acquire_file(path, folder, context, side_files=sides))

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
    sides = data_files(str(folder), asked.images)
    return lambda into: acquire_pictures(
        folder, into, context, suffixes=SUFFIXES, side_files=sides, most=MAX_FILES
    )


def _code_of_user(named: Mapping[str, str]) -> dict[str, AcquireCode]:
    def copied(spec: str) -> AcquireCode:
        return lambda folder: acquire_code_of_user(spec, folder)

    return {role: copied(spec) for role, spec in named.items()}
