"""An asset of a GitHub release, pinned by its digest and found by the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from qgate.errors import SourceError
from qgate.sources.cache import through_cache
from qgate.sources.context import SourceContext
from qgate.sources.folder import nearest
from qgate.sources.locator import ReleaseLocator
from qgate.sources.newfile import NewFile
from qgate.sources.source import pinned, plain_name
from qgate.sources.transfer import HttpStatusError, Transfer

_API = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


class ReleaseSource:
    """A model among the assets of one release; its side files are assets of the same release.

    Args:
        locator: Release, asset and digests.
        context: The API, the token and the cache.
    """

    def __init__(self, locator: ReleaseLocator, context: SourceContext) -> None:
        self._locator = locator
        self._context = context

    @property
    def name(self) -> str:
        """The asset's name."""
        return plain_name(self._locator.asset)

    def place(self, side: str | None) -> str:
        """Release and asset."""
        return f"release {self._locator.release} asset {side or self._locator.asset}"

    def expected(self, side: str | None) -> str:
        """The promised digest, which is required."""
        return pinned(self._locator.sha256, self._locator.files, side, self._locator.describe())

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes the asset from the cache or from the API."""
        through_cache(self._context.cache, self.expected(side), file, lambda new: self._fetch(side, new))

    def _fetch(self, side: str | None, file: NewFile) -> None:
        base = f"{self._context.api_url.rstrip('/')}/repos/{self._locator.repository}/releases"
        token = self._context.token
        secret = {} if token is None else {"Authorization": f"Bearer {token}"}
        with Transfer(self._context, file.where) as transfer:
            try:
                tag = quote(self._locator.tag, safe="")
                answer = transfer.json("GET", f"{base}/tags/{tag}", headers=_API, secret=secret)
                number = self._asset_id(answer, side or self._locator.asset, file)
                headers = {**_API, "Accept": "application/octet-stream"}
                transfer.download(f"{base}/assets/{number}", file, headers=headers, secret=secret)
            except HttpStatusError as error:
                raise self._refused(error) from None

    def _asset_id(self, answer: Any, name: str, file: NewFile) -> int:
        listed = answer.get("assets") if isinstance(answer, Mapping) else None
        assets = {
            str(asset["name"]): asset
            for asset in (listed if isinstance(listed, list) else [])
            if isinstance(asset, Mapping) and isinstance(asset.get("name"), str)
        }
        if name not in assets:
            raise SourceError(
                f"the release has no asset {name}",
                where=file.where,
                remedy=nearest(name, assets) or "See the release's page for its assets' names",
            )
        number, size = assets[name].get("id"), assets[name].get("size")
        if not isinstance(number, int):
            raise SourceError("the API's answer has no asset id", where=file.where)
        if isinstance(size, int) and size > file.room:
            raise file.too_large()
        return number

    def _refused(self, error: HttpStatusError) -> SourceError:
        if error.status != 404:
            return error
        remedy = "Check owner, repository, tag and asset"
        if self._context.token is None:
            remedy += "; a private repository's release needs a token, and this run has none"
        else:
            remedy += "; the token must be able to read that repository, and a draft has no tag"
        return SourceError("there is no such release", where=error.where, remedy=remedy)
