"""A file behind a web address, pinned by its digest."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from qgate.errors import SourceError
from qgate.sources.cache import through_cache
from qgate.sources.context import SourceContext
from qgate.sources.locator import HttpsLocator, public_address
from qgate.sources.newfile import NewFile
from qgate.sources.source import pinned, plain_name
from qgate.sources.transfer import Transfer


class HttpsSource:
    """A model at a web address; its side files lie beside it, each with a digest of its own.

    Args:
        locator: Address and digests.
        context: Who may be asked, and the cache.
    """

    def __init__(self, locator: HttpsLocator, context: SourceContext) -> None:
        self._locator = locator
        self._context = context

    @property
    def name(self) -> str:
        """A plain file name made from the address."""
        return plain_name(urlsplit(self._locator.url).path)

    def place(self, side: str | None) -> str:
        """The address without its query."""
        return public_address(self._url(side))

    def expected(self, side: str | None) -> str:
        """The promised digest, which is required."""
        return pinned(self._locator.sha256, self._locator.files, side, self._locator.describe())

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes the file from the cache or from the network."""
        through_cache(self._context.cache, self.expected(side), file, lambda new: self._fetch(side, new))

    def _fetch(self, side: str | None, file: NewFile) -> None:
        with Transfer(self._context, file.where) as transfer:
            transfer.download(self._url(side), file, headers={}, secret={})

    def _url(self, side: str | None) -> str:
        url = self._locator.url
        if side is None:
            return url
        if urlsplit(url).query:
            raise SourceError(
                f"the side file {side} has no address, for the model's own carries a query",
                where=self._locator.describe(),
                remedy="Save the model as one file",
            )
        return urljoin(url, "./" + side)
