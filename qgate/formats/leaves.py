"""The file of leaves: what a later run locates a change by where the accepted model's bytes are not at hand.

    qgate-leaves/v1\\n
    {"content": ..., "graph": ..., "tensors": [["ENTRY", "QUANTIZATION", "SHA-256"], ...]}\\n
    leaf digests, 16 bytes each, tensor after tensor

The second line is JSON in ASCII without a line break. How many leaves a tensor has follows from its shape,
so the file's length is known before a byte of it is used. The file need not be trusted: every tensor's
leaves must give the root that a trusted baseline lists, or they are not used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from qgate.errors import FormatError
from qgate.files import replacing
from qgate.formats.content import ModelContent
from qgate.merkle import LEAF_BYTES, TensorId, content_digest, parse_entry, tensor_root

_FIRST = b"qgate-leaves/v1\n"
MAX_HEADER = 64 * 2**20
MAX_FILE = 2**30


def write_leaves(content: ModelContent, path: Path) -> None:
    """Writes the file whole or not at all, and its folder.

    Raises:
        OSError: It cannot be written.
    """
    head = {
        "content": content_digest(content.graph, content.entries),
        "graph": content.graph,
        "tensors": [[t.entry, t.identity.quantization, t.sha256.hex()] for t in content.tensors],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=0o644) as file:
        file.write(_FIRST + json.dumps(head, sort_keys=True).encode("ascii") + b"\n")
        for tensor in content.tensors:
            file.write(tensor.leaves)


def read_leaves(path: Path) -> Mapping[str, tuple[str, bytes]]:
    """Reads a file of leaves as hostile data.

    Returns:
        By tensor its root, recomputed from its leaves, and the leaves. It is for the caller to compare the
        roots with those that are trusted.

    Raises:
        FormatError: It is not such a file, or its leaves do not give its roots.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise ValueError(f"{size} bytes, more than {MAX_FILE}")
        with path.open("rb") as file:
            if file.readline(len(_FIRST)) != _FIRST:
                raise ValueError("it does not begin with qgate-leaves/v1")
            head = file.readline(MAX_HEADER)
            return _checked(head, file.read(MAX_FILE))
    except OSError as error:
        raise _unusable(path, error.strerror or "it cannot be read") from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _unusable(path, str(error)[:200]) from error


def _checked(head: bytes, held: bytes) -> Mapping[str, tuple[str, bytes]]:
    if not head.endswith(b"\n"):
        raise ValueError("its list of tensors is cut off")
    found: dict[str, tuple[str, bytes]] = {}
    at = 0
    for text, quantization, sha256 in json.loads(head)["tensors"]:
        entry = parse_entry(text)
        identity = TensorId(entry.dtype, entry.shape, quantization)
        end = at + LEAF_BYTES * identity.leaves
        leaves = held[at:end]
        if tensor_root(identity, bytes.fromhex(sha256), leaves) != entry.root or entry.name in found:
            raise ValueError(f"the leaves of {entry.name[:80]!r} do not give its root")
        found[entry.name], at = (entry.root, leaves), end
    if at != len(held):
        raise ValueError("bytes follow the last leaf")
    return found


def _unusable(path: Path, why: str) -> FormatError:
    return FormatError(
        f"the leaves cannot be used: {why}",
        where=path.name,
        remedy="Take the folder `leaves` of the report of the accepted model's run",
        rule="TRC114",
    )
