"""What copies the files of a pair into a folder, with the files beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import FormatError, SourceError
from qgate.formats.read import named_side_files
from qgate.measure.preprocessing import Preprocessing
from qgate.sources.acquire import Acquired, acquire
from qgate.sources.context import SideFiles, SourceContext
from qgate.verifier.folders import told_as_data
from qgate.verify.pair import Acquire

if TYPE_CHECKING:
    from qgate.plan.targets import TargetRun
    from qgate.settings import Settings
    from qgate.sources.locator import Locator

MIB = 2**20
MAX_FILES = 100_000
"""Files that a data set may consist of."""


def copied_from(
    locator: Locator,
    revision: str | None,
    run: TargetRun,
    settings: Settings,
    *,
    model: bool,
    room: int | None = None,
    images: Preprocessing | None = None,
) -> Acquire:
    """What copies a planned target's file into a folder.

    Args:
        locator: Where it is.
        revision: The commit that was decided for it.
        run: The planned target.
        settings: Tokens and addresses.
        model: Whether it is a model, whose side files are copied with it, or data.
        room: Most bytes, the policy's limit without it.
        images: How images of a data set become arrays.
    """
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
        sides = data_files(locator.describe(), images) if room is None else None

        def copied(folder: Path) -> Acquired:
            return acquire(locator, folder, context, side_files=sides, most=MAX_FILES)

        return told_as_data(copied) if room is None else copied
    return naming_tensors(lambda folder, sides: acquire(locator, folder, context, side_files=sides))


def data_files(label: str, images: Preprocessing | None = None) -> SideFiles:
    """Names the files that a data set consists of beside its main one."""

    def side_files(main: Path) -> list[str]:
        from qgate.measure.open_data import files_beside

        return files_beside(main, label, images)

    return side_files


def naming_tensors(copy: Callable[[Path, SideFiles], Acquired]) -> Acquire:
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
