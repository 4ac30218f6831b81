"""A small client of Git LFS's batch API: fetches what a pointer file stands for."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qgate.errors import SourceError
from qgate.sources.cache import copy_if_intact, through_cache
from qgate.sources.context import SourceContext
from qgate.sources.newfile import NewFile
from qgate.sources.pointer import Pointer
from qgate.sources.transfer import HttpStatusError, Transfer

_MEDIA_TYPE = "application/vnd.git-lfs+json"


def fetch_pointer(
    pointer: Pointer, file: NewFile, context: SourceContext, *, command: str, store: Path | None = None
) -> None:
    """Writes the file that a pointer stands for; its digest and length are verified.

    Args:
        pointer: What to fetch.
        file: Where to write.
        context: Server, repository and token.
        command: What a user runs to have the file at hand, for errors.
        store: Git LFS's own store of this clone, looked into first.

    Raises:
        SourceError: It cannot be had, or is another file than promised.
    """
    if pointer.size > file.room:
        raise file.too_large()
    path = store / pointer.oid[:2] / pointer.oid[2:4] / pointer.oid if store is not None else None
    if path is None or not copy_if_intact(path, pointer.oid, file):
        through_cache(context.cache, pointer.oid, file, lambda new: _download(pointer, new, context, command))
    if file.bytes != pointer.size:
        raise SourceError(
            f"the Git LFS pointer promises {pointer.size:,} bytes, the file has {file.bytes:,}",
            where=file.where,
            remedy="The pointer is damaged: commit the model again with Git LFS installed",
        )


def _download(pointer: Pointer, file: NewFile, context: SourceContext, command: str) -> None:
    if context.repository is None:
        raise _unresolved("this run knows no GitHub repository to fetch it from", file.where, command)
    try:
        with Transfer(context, file.where) as transfer:
            href, headers = _download_action(pointer, transfer, file.where, command)
            transfer.download(href, file, headers={}, secret=headers)
    except HttpStatusError as error:
        why = f"the Git LFS server answered HTTP status {error.status}"
        if context.token is None:
            why += " and this run has no token"
        raise _unresolved(why, file.where, command) from None
    except SourceError as error:
        if error.where != file.where or command in error.remedy:
            raise
        remedy = f"{error.remedy}. Or run: {command}" if error.remedy else f"Run: {command}"
        raise SourceError(
            f"unresolved Git LFS pointer: {error.what}", where=file.where, remedy=remedy
        ) from None


def _download_action(
    pointer: Pointer, transfer: Transfer, where: str, command: str
) -> tuple[str, dict[str, str]]:
    context = transfer.context
    url = f"{context.server_url.rstrip('/')}/{context.repository}.git/info/lfs/objects/batch"
    answer = transfer.json(
        "POST",
        url,
        headers={"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE},
        secret=_basic(context.token),
        body={
            "operation": "download",
            "transfers": ["basic"],
            "objects": [{"oid": pointer.oid, "size": pointer.size}],
            "hash_algo": "sha256",
        },
    )
    found = _object(answer, pointer.oid)
    error = found.get("error")
    if isinstance(error, Mapping):
        code = error.get("code")
        shown = code if isinstance(code, int) else "?"
        raise _unresolved(f"the Git LFS server does not have the file (error {shown})", where, command)
    try:
        action = found["actions"]["download"]
        href, headers = action["href"], action.get("header") or {}
    except (KeyError, TypeError, AttributeError):
        raise _unresolved("the Git LFS server offers no download", where, command) from None
    if not isinstance(href, str) or not _are_headers(headers):
        raise _unresolved("the Git LFS server's answer is malformed", where, command)
    return href, dict(headers)


def _object(answer: Any, oid: str) -> Mapping[str, Any]:
    objects = answer.get("objects") if isinstance(answer, Mapping) else None
    for found in objects if isinstance(objects, list) else []:
        if isinstance(found, Mapping) and found.get("oid") == oid:
            return found
    return {}


def _are_headers(headers: object) -> bool:
    return isinstance(headers, Mapping) and all(
        isinstance(key, str)
        and re.fullmatch(r"[A-Za-z0-9-]{1,100}", key) is not None
        and isinstance(value, str)
        and re.fullmatch(r"[\x20-\x7e]{0,8192}", value) is not None
        for key, value in headers.items()
    )


def _basic(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    pair = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _unresolved(why: str, where: str, command: str) -> SourceError:
    return SourceError(f"unresolved Git LFS pointer: {why}", where=where, remedy=f"Run: {command}")
