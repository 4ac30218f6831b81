"""A file of a model hub, pinned by revision and digest, fetched by ``huggingface_hub`` in a child.

The library follows redirects, retries and reads its environment in ways of its own. So it runs in a
process with an empty environment, a file size limit and a wall clock, which may only connect to
addresses that the policy allows and hands back nothing but a file whose digest is checked here.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from qgate.errors import SourceError
from qgate.sources.cache import through_cache
from qgate.sources.context import SourceContext
from qgate.sources.folder import open_below, read_stable
from qgate.sources.locator import HubLocator
from qgate.sources.newfile import NewFile
from qgate.sources.source import beside, pinned, plain_name

_ANSWER_MAX = 2**16
_REMEDIES = {
    "missing-package": "Install qgate with its extra `hub`; the action's image has it",
    "not-found": "Check owner, name, revision and file; a private or gated repository needs HF_TOKEN",
    "forbidden-address": "List the host under allow_hosts in the base branch's policy if it is meant",
    "too-large": "Raise limits.download_mb in the policy if a file of this size is meant",
    "disk-full": "Free space on the runner's temporary disk, or use a larger runner",
    "network": "Check the network of the runner and the hub's address, then run again",
}


class HubSource:
    """A model in a hub repository; its side files lie beside it at the same revision.

    Args:
        locator: Repository, revision, file and digests.
        context: The hub, its token and the cache.
    """

    def __init__(self, locator: HubLocator, context: SourceContext) -> None:
        self._locator = locator
        self._context = context

    @property
    def name(self) -> str:
        """The file's name."""
        return plain_name(self._locator.file)

    def place(self, side: str | None) -> str:
        """The reference as the policy writes it."""
        return f"hf://{self._locator.repository}@{self._locator.revision}/{beside(self._locator.file, side)}"

    def expected(self, side: str | None) -> str:
        """The promised digest, which is required."""
        return pinned(self._locator.sha256, self._locator.files, side, self._locator.describe())

    def write(self, side: str | None, file: NewFile) -> None:
        """Writes the file from the cache or from the hub."""
        through_cache(self._context.cache, self.expected(side), file, lambda new: self._fetch(side, new))

    def _fetch(self, side: str | None, file: NewFile) -> None:
        if find_spec("huggingface_hub") is None:
            raise SourceError(
                "hub references need the package huggingface_hub, which is not installed",
                where=file.where,
                remedy=_REMEDIES["missing-package"],
            )
        with tempfile.TemporaryDirectory(dir=file.target.parent, prefix=".hub-") as folder:
            downloaded = self._download(side, Path(folder), file)
            descriptor = open_below(Path(folder), downloaded, where=file.where)
            try:
                file.write_all(read_stable(descriptor, where=file.where))
            finally:
                os.close(descriptor)

    def _download(self, side: str | None, folder: Path, file: NewFile) -> str:
        path = beside(self._locator.file, side)
        order = {
            "endpoint": self._context.hub_endpoint.rstrip("/"),
            "repository": self._locator.repository,
            "revision": self._locator.revision,
            "file": path,
            "folder": str(folder / "files"),
            "token": self._context.hub_token,
            "room": file.room,
            "allow_hosts": list(self._context.allow_hosts),
            "read_seconds": self._context.patience.read_seconds,
        }
        answer = self._run_child(json.dumps(order).encode(), folder, file)
        if answer.get("state") != "done":
            state, what = str(answer.get("state")), str(answer.get("what"))[:300]
            raise SourceError(
                f"the hub download failed: {what}",
                where=file.where,
                remedy=_REMEDIES.get(state, _REMEDIES["network"]),
            )
        return f"files/{path}"

    def _run_child(self, order: bytes, folder: Path, file: NewFile) -> dict[str, object]:
        seconds = self._context.patience.total_seconds
        with subprocess.Popen(
            [sys.executable, "-I", "-m", "qgate.sources.hub_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(folder),
            cwd=folder,
            start_new_session=True,
        ) as process:
            try:
                _limit_file_size(process.pid, file.room)
                output, _ = process.communicate(order, timeout=seconds)
            except subprocess.TimeoutExpired:
                raise SourceError(
                    f"the hub download took longer than {seconds:g} seconds",
                    where=file.where,
                    remedy=_REMEDIES["network"],
                ) from None
            finally:
                process.kill()
        try:
            answer = json.loads(output[:_ANSWER_MAX])
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            return {"state": "crash", "what": f"the download process ended with status {process.returncode}"}
        return answer

    def _environment(self, folder: Path) -> dict[str, str]:
        environment = {
            "HOME": str(folder),
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "LC_ALL": "C.UTF-8",
        }
        if self._context.verify is not None:
            environment["SSL_CERT_FILE"] = str(self._context.verify.resolve())
        return environment


def _limit_file_size(pid: int, room: int) -> None:
    """Bounds what a lying server can write; the library's own small files need a little room beside."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    limit = room + 2**20
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))
