"""Where a model, a data set or a baseline comes from, as the policy writes it.

Five kinds of place, told apart by their keys; each also has a shorthand as one string:

| kind | keys | shorthand |
|---|---|---|
| file in the repository | ``path`` | ``models/plate.onnx`` |
| another git revision | ``git``, ``path`` | |
| web address | ``url``, ``sha256`` | ``https://host/model.onnx#sha256=...`` |
| GitHub release asset | ``release``, ``asset``, ``sha256`` | |
| hub | ``hf``, ``sha256`` | ``hf://owner/name@revision/file#sha256=...`` |

Nothing is opened here: a locator is a name whose grammar was checked.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from qgate.records import Record

MAX_PATH = 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/~^+@-]*")
_OWNER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_MOVING_REVISIONS = frozenset({"main", "master", "head"})


def relative_path(value: str) -> str:
    """A clean relative path with ``/`` between its parts.

    Args:
        value: The path as written; ``./`` and double slashes are folded away.

    Returns:
        The same path, normalised.

    Raises:
        ValueError: It is empty, absolute, too long, climbs with ``..``, enters a ``.git`` folder, or has
            a control character or a backslash in it.
    """
    if not value or len(value) > MAX_PATH:
        raise ValueError(f"a path has 1 to {MAX_PATH} characters")
    if not value.isprintable() or "\\" in value:
        raise ValueError("a path has no control characters and no backslash; folders are parted by '/'")
    if value.startswith("/"):
        raise ValueError("the path is absolute; write it relative to the repository's root")
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("the path climbs with '..'; write it relative to the repository's root")
    if not parts or value.endswith("/"):
        raise ValueError("the path names a folder, not a file")
    if any(part.lower() == ".git" for part in parts):
        raise ValueError("the path enters a .git folder, which no model lives in")
    if any(len(part.encode()) > 255 for part in parts):
        raise ValueError("a name in the path is longer than 255 bytes")
    return "/".join(parts)


def _digest(value: str) -> str:
    lowered = value.strip().lower().removeprefix("sha256:")
    if not _SHA256.fullmatch(lowered):
        raise ValueError("sha256 is 64 hexadecimal digits (what `sha256sum FILE` prints)")
    return lowered


def _revision(value: str) -> str:
    if len(value) > 250 or not _REVISION.fullmatch(value) or ".." in value or "@{" in value:
        raise ValueError("not a git revision: write a commit, a tag or a branch (`v1.2`, `origin/main~1`)")
    return value


def _web_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a web address ({error})") from error
    if parts.scheme not in ("https", "http") or not host or not value.isascii() or not value.isprintable():
        raise ValueError("a web address begins with https:// and has a host name in ASCII")
    if " " in value or "\\" in value:
        raise ValueError("a web address has no space and no backslash; write %20")
    if "@" in parts.netloc:
        raise ValueError("a web address carries no user name or password: the policy is public")
    if parts.fragment:
        raise ValueError("a web address has no #fragment here; the digest goes into sha256")
    return value


def _release(value: str) -> str:
    repository, at, tag = value.partition("@")
    if not at or not tag or not _OWNER_NAME.fullmatch(repository):
        raise ValueError("a release is written owner/repo@tag")
    if ".." in tag or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,249}", tag):
        raise ValueError(f"{tag[:40]!r} is not a tag")
    return value


def _asset(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+@-]{0,254}", value):
        raise ValueError("an asset is named as the release page lists it: one file name, no '/' and no space")
    return value


def _hub_reference(value: str) -> str:
    body = value.removeprefix("hf://")
    repository, at, rest = body.partition("@")
    revision, slash, file = rest.partition("/")
    if not at or not slash or not file or not _OWNER_NAME.fullmatch(repository):
        raise ValueError("a hub reference is written owner/name@revision/file")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,99}", revision) or ".." in revision:
        raise ValueError(f"{revision[:40]!r} is not a hub revision: write a full commit or a tag")
    if revision.lower() in _MOVING_REVISIONS:
        raise ValueError(f"{revision} is a branch and moves; pin the hub reference to a full commit or a tag")
    return f"{repository}@{revision}/{relative_path(file)}"


RelativePath = Annotated[str, AfterValidator(relative_path)]
Sha256 = Annotated[str, AfterValidator(_digest)]
SideDigests = Annotated[
    dict[RelativePath, Sha256],
    Field(description="sha256 of every side file (ONNX external data), by its name beside the model"),
]


class PathLocator(Record):
    """A file in the repository; a Git LFS pointer there is resolved."""

    path: RelativePath
    sha256: Sha256 | None = None

    @property
    def repository_path(self) -> str | None:
        """The path that a change list is matched with."""
        return self.path

    def describe(self) -> str:
        """The place in one line, for reports and errors."""
        return self.path


class GitLocator(Record):
    """A file at another revision of the same repository."""

    git: Annotated[str, AfterValidator(_revision)] = Field(description="A commit, a tag or a branch")
    path: RelativePath
    sha256: Sha256 | None = None

    @property
    def repository_path(self) -> str | None:
        """None: a change of the work tree does not change another revision."""
        return None

    def describe(self) -> str:
        """The place in one line, for reports and errors."""
        return f"{self.git}:{self.path}"


class HttpsLocator(Record):
    """A file behind a web address, pinned by its digest."""

    url: Annotated[str, AfterValidator(_web_address)]
    sha256: Sha256
    files: SideDigests = Field(default_factory=dict)

    @property
    def repository_path(self) -> str | None:
        """None: it is not in the repository."""
        return None

    def describe(self) -> str:
        """The address without its query, which may carry a signature."""
        return public_address(self.url)


class ReleaseLocator(Record):
    """An asset of a GitHub release, pinned by its digest."""

    release: Annotated[str, AfterValidator(_release)] = Field(description="owner/repo@tag")
    asset: Annotated[str, AfterValidator(_asset)]
    sha256: Sha256
    files: SideDigests = Field(default_factory=dict)

    @property
    def repository(self) -> str:
        """``owner/repo``."""
        return self.release.partition("@")[0]

    @property
    def tag(self) -> str:
        """The release's tag."""
        return self.release.partition("@")[2]

    @property
    def repository_path(self) -> str | None:
        """None: it is not in the repository."""
        return None

    def describe(self) -> str:
        """The place in one line, for reports and errors."""
        return f"release {self.release} asset {self.asset}"


class HubLocator(Record):
    """A file of a model hub, pinned by revision and digest."""

    hf: Annotated[str, AfterValidator(_hub_reference)] = Field(description="owner/name@revision/file")
    sha256: Sha256
    files: SideDigests = Field(default_factory=dict)

    @property
    def repository(self) -> str:
        """``owner/name``."""
        return self.hf.partition("@")[0]

    @property
    def revision(self) -> str:
        """The pinned commit or tag."""
        return self.hf.partition("@")[2].partition("/")[0]

    @property
    def file(self) -> str:
        """The file's path within the hub repository."""
        return self.hf.partition("@")[2].partition("/")[2]

    @property
    def repository_path(self) -> str | None:
        """None: it is not in the repository."""
        return None

    def describe(self) -> str:
        """The place in one line, for reports and errors."""
        return f"hf://{self.hf}"


def public_address(url: str) -> str:
    """A web address without query and fragment, where signatures and tokens live."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _from_shorthand(value: object) -> object:
    """Turns one string into the keys that it stands for; everything else passes unchanged."""
    if not isinstance(value, str):
        return value
    if "://" not in value:
        return {"path": value}
    address, mark, digest = value.partition("#sha256=")
    pinned = {"sha256": digest} if mark else {}
    scheme = address.partition("://")[0].lower()
    if scheme == "hf":
        return {"hf": address, **pinned}
    if scheme in ("http", "https"):
        return {"url": address, **pinned}
    raise ValueError(f"{scheme[:20]}:// is no place that qgate can read; use a path, https:// or hf://")


_KINDS = ("git", "url", "release", "hf", "path")
_KIND_OF: dict[type, str] = {
    PathLocator: "path",
    GitLocator: "git",
    HttpsLocator: "url",
    ReleaseLocator: "release",
    HubLocator: "hf",
}


def _kind(value: object) -> str | None:
    if isinstance(value, dict):
        return next((kind for kind in _KINDS if kind in value), None)
    return _KIND_OF.get(type(value))


class _OrShorthand:
    """Tells editors that one string is as good as the keys."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        keyed = handler(core_schema)
        alternatives = keyed.get("oneOf") or keyed.get("anyOf") or [keyed]
        return {"anyOf": [{"type": "string", "minLength": 1}, *alternatives]}


Locator = Annotated[
    Annotated[PathLocator, Tag("path")]
    | Annotated[GitLocator, Tag("git")]
    | Annotated[HttpsLocator, Tag("url")]
    | Annotated[ReleaseLocator, Tag("release")]
    | Annotated[HubLocator, Tag("hf")],
    Discriminator(
        _kind,
        custom_error_type="locator",
        custom_error_message=(
            "not a place: write a path, or the keys path; git and path; url and sha256; "
            "release, asset and sha256; or hf and sha256"
        ),
    ),
    BeforeValidator(_from_shorthand),
    _OrShorthand,
]
"""Any kind of place; also accepts the shorthand of one string."""
