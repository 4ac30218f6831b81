"""Acquiring: whatever the place, the result is a private copy whose bytes were hashed as they came."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qgate.errors import FolderError, SourceError
from qgate.sources.arrays import ArraysSource
from qgate.sources.context import SIDE_FILES_MAX, SideFiles, SourceContext
from qgate.sources.git import GitSource
from qgate.sources.locator import (
    GitLocator,
    HttpsLocator,
    HubLocator,
    Locator,
    PathLocator,
    ReleaseLocator,
    relative_path,
)
from qgate.sources.newfile import Copied, NewFile
from qgate.sources.path import PathSource
from qgate.sources.pictures import PicturesSource
from qgate.sources.source import Source


@dataclass(frozen=True)
class Acquired:
    """A private copy of everything that a model (or a data set) consists of.

    Args:
        main: The main file's copy, read-only.
        files: sha256 of every file, by its name relative to the main file's folder; the main file is
            the first.
        bytes: Length of all files together.
        locator: Where it came from, in one line.
        notes: What the reader of the report should know of the way here.
    """

    main: Path
    files: dict[str, str]
    bytes: int
    locator: str
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of the main file."""
        return self.files[self.main.name]


def acquire(
    locator: Locator,
    destination: Path,
    context: SourceContext,
    *,
    side_files: SideFiles | None = None,
    most: int = SIDE_FILES_MAX,
) -> Acquired:
    """Copies a model with its side files into a folder of its own.

    Args:
        locator: Where it is.
        destination: A folder that is new or empty; files in it become 0444, folders 0755.
        context: Repository, servers, tokens, limits.
        side_files: Reads the copied main file and names the further files that belong to it, relative
            to the main file's folder (ONNX external data). None where there can be none.
        most: How many further files there may be.

    Returns:
        The copy; on an error nothing of it remains.

    Raises:
        SourceError: It cannot be had, is unsafe to read, or is another file than promised.
        FormatError: ``side_files`` could not read the main file.
    """
    return _copy(source_of(locator, context), locator.describe(), destination, context, side_files, most)


def acquire_file(
    path: Path,
    destination: Path,
    context: SourceContext,
    *,
    side_files: SideFiles | None = None,
    most: int = SIDE_FILES_MAX,
) -> Acquired:
    """Copies a model that the user named on the command line; arguments and errors as for ``acquire``.

    The file itself may be a symbolic link or have hard links, for the user named it; its side files,
    which the model named, may not.
    """
    if path.name in ("", ".."):
        raise FolderError(
            "this is a folder, not a file", where=str(path), remedy="Name the file that lies in it"
        )
    source = PathSource(path.parent, path.name, None, context, named_by_user=True)
    return _copy(source, str(path), destination, context, side_files, most)


def acquire_pictures(
    folder: Path,
    destination: Path,
    context: SourceContext,
    *,
    suffixes: tuple[str, ...],
    side_files: SideFiles,
    most: int,
) -> Acquired:
    """Copies the images of a folder that the user named on the command line, and a table that names them.

    Arguments and errors are as for ``acquire``; ``suffixes`` are those of images, in lower case.
    """
    source = PicturesSource(folder, context, suffixes, most)
    return _copy(source, str(folder), destination, context, side_files, most)


def acquire_arrays(
    folder: Path, destination: Path, context: SourceContext, *, names: Iterable[str]
) -> Acquired:
    """Copies ``.npy`` files of a folder that the user named on the command line into one ``.npz``; as ``acquire``."""
    return _copy(ArraysSource(folder, names), str(folder), destination, context, None, 0)


def source_of(locator: Locator, context: SourceContext) -> Source:
    """The source that serves a kind of place."""
    match locator:
        case PathLocator():
            if context.revision is None:
                return PathSource(context.repo, locator.path, locator.sha256, context)
            return GitSource(context.revision, locator.path, locator.sha256, context)
        case GitLocator():
            return GitSource(locator.git, locator.path, locator.sha256, context)
        case HttpsLocator():
            from qgate.sources.https import HttpsSource

            return HttpsSource(locator, context)
        case ReleaseLocator():
            from qgate.sources.release import ReleaseSource

            return ReleaseSource(locator, context)
        case HubLocator():
            from qgate.sources.hub import HubSource

            return HubSource(locator, context)


def _copy(
    source: Source,
    described: str,
    destination: Path,
    context: SourceContext,
    side_files: SideFiles | None,
    most: int,
) -> Acquired:
    _prepare(destination, described)
    main = destination / source.name
    try:
        notes: list[str] = []
        copied = {source.name: _copy_one(source, None, main, context.max_bytes, notes)}
        sides = _clean_names(side_files(main), source, most) if side_files is not None else ()
        for side in sides:
            room = context.max_bytes - sum(one.bytes for one in copied.values())
            target = destination / side
            _make_folders(destination, target.parent, source.place(side))
            copied[side] = _copy_one(source, side, target, room, notes)
    except BaseException:
        _empty(destination)
        raise
    digests = {name: one.sha256 for name, one in copied.items()}
    total = sum(one.bytes for one in copied.values())
    return Acquired(main, digests, total, described, tuple(notes))


def _copy_one(source: Source, side: str | None, target: Path, room: int, notes: list[str]) -> Copied:
    expected = source.expected(side)
    with NewFile(target, where=source.place(side), room=room) as file:
        source.write(side, file)
        copied = file.finish(expected)
    notes.extend(file.notes)
    return copied


def _clean_names(names: Sequence[str], source: Source, most: int) -> list[str]:
    """Side file names without doubles, each one below the model's folder.

    The reader that names them has checked them already; a model's word is checked twice.
    """
    where = source.place(None)
    if len(names) > most:
        raise SourceError(f"the model names {len(names):,} side files, more than {most}", where=where)
    clean: dict[str, None] = {}
    for name in names:
        try:
            side = relative_path(name)
        except ValueError as error:
            shown = ascii(name[:120])
            raise SourceError(
                f"the model names the side file {shown}, which is refused: {error}",
                where=where,
                remedy="Save the model again with its external data beside it",
            ) from error
        if side == source.name:
            raise SourceError("the model names itself as its side file", where=where)
        clean[side] = None
    return list(clean)


def _prepare(destination: Path, where: str) -> None:
    try:
        destination.mkdir(parents=True, exist_ok=True)
        if any(destination.iterdir()):
            raise SourceError(f"the folder for the private copy, {destination}, is not empty", where=where)
        destination.chmod(0o755)
    except OSError as error:
        raise _no_folder(destination, where, error) from error


def _make_folders(destination: Path, folder: Path, where: str) -> None:
    missing = [level for level in (folder, *folder.parents) if destination in level.parents]
    try:
        for level in reversed(missing):
            level.mkdir(exist_ok=True)
            level.chmod(0o755)
    except OSError as error:
        raise _no_folder(folder, where, error) from error


def _no_folder(folder: Path, where: str, error: OSError) -> SourceError:
    return SourceError(
        f"the folder {folder} for the private copy cannot be made ({error.strerror})",
        where=where,
        remedy="Give the run an empty folder on a disk with space",
    )


def _empty(destination: Path) -> None:
    for left in list(destination.iterdir()):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
