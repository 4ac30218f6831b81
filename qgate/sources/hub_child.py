"""The process that downloads one file from a model hub: an order on stdin, an answer on stdout.

Started as ``python -I -m qgate.sources.hub_child`` by ``hub.HubSource`` and by nobody else.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from qgate.errors import SourceError
from qgate.sources.addresses import AddressPolicy
from qgate.sources.context import SourceContext


class _ForbiddenAddressError(Exception):
    """A connection was refused before it was made."""


def guard_connections(context: SourceContext) -> list[str]:
    """Refuses every connection of this process to an address that the policy does not allow.

    The check sits in the interpreter's audit hook for ``connect``: it sees the address itself, whatever
    library resolved it. Host names that were resolved are remembered, so that an allowed host's
    address is known by it.

    Returns:
        The list that refused addresses are added to.
    """
    policy = AddressPolicy(context)
    allowed: set[tuple[str, int]] = set()
    refused: list[str] = []
    resolve = socket.getaddrinfo

    def remembering(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        answers = resolve(host, port, *arguments, **options)
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
        if isinstance(port, int) and policy.names(name, port):
            allowed.update((str(answer[4][0]), int(answer[4][1])) for answer in answers)
        return answers

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect":
            return
        address = arguments[1]
        if not isinstance(address, tuple) or len(address) < 2:
            raise _ForbiddenAddressError("no network address")
        if (str(address[0]), int(address[1])) in allowed:
            return
        try:
            policy.require_address(str(address[0]), int(address[1]), str(address[0]), where="")
        except SourceError as error:
            refused.append(str(address[0]))
            raise _ForbiddenAddressError(error.what) from None

    socket.getaddrinfo = remembering
    sys.addaudithook(check)
    return refused


def download(order: dict[str, Any], refused: list[str]) -> dict[str, str]:
    """Downloads what the order names.

    Returns:
        ``state`` (``done`` or why not) and ``what`` happened.
    """
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError:
        return {"state": "missing-package", "what": "huggingface_hub cannot be imported"}
    repository, file, revision = order["repository"], order["file"], order["revision"]
    endpoint, token = order["endpoint"], order["token"] or False
    try:
        url = hf_hub_url(repository, file, revision=revision, endpoint=endpoint)
        facts = get_hf_file_metadata(url, token=token, timeout=order["read_seconds"], endpoint=endpoint)
        if facts.size is not None and facts.size > order["room"]:
            return {"state": "too-large", "what": f"the file has {facts.size:,} bytes, more than allowed"}
        hf_hub_download(
            repository,
            file,
            revision=revision,
            endpoint=endpoint,
            token=token,
            local_dir=order["folder"],
            etag_timeout=order["read_seconds"],
        )
    except RepositoryNotFoundError:
        return {"state": "not-found", "what": "the hub has no such repository, or it is private or gated"}
    except RevisionNotFoundError:
        return {"state": "not-found", "what": f"the repository has no revision {revision}"}
    except EntryNotFoundError:
        return {"state": "not-found", "what": f"the revision has no file {file}"}
    except Exception as error:  # the library's errors are many, and its texts may hold signed addresses
        if refused:
            what = f"it leads to the address {refused[-1]}, which is not one of the public internet"
            return {"state": "forbidden-address", "what": what}
        return _local_failure(error) or {"state": "network", "what": type(error).__name__}
    return {"state": "done", "what": ""}


def _local_failure(error: BaseException) -> dict[str, str] | None:
    """A full disk or a spent size limit, which the library may have wrapped."""
    cause: BaseException | None = error
    for _ in range(20):
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            return {"state": "too-large", "what": "the server sent more bytes than allowed"}
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"state": "disk-full", "what": "the disk is full"}
        cause = None if cause is None else cause.__cause__ or cause.__context__
    return None


def main() -> None:
    """Reads the order, downloads, answers."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever the library prints is no answer
    order = json.loads(sys.stdin.buffer.read())
    os.environ["HF_HUB_DOWNLOAD_TIMEOUT"] = str(max(1, int(order["read_seconds"])))
    context = SourceContext(
        repo=Path(), hub_endpoint=order["endpoint"], allow_hosts=tuple(order["allow_hosts"])
    )
    answer = download(order, guard_connections(context))
    os.write(answers, json.dumps(answer).encode())


if __name__ == "__main__":
    main()
